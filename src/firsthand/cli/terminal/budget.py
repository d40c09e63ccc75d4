"""What a terminal shows of what was made equal between arms, and of how equal it is."""

from collections.abc import Mapping
from typing import Any

from firsthand.cli.terminal.screen import Screen

_WORDS = {
    "steps": ("steps", 1.0),
    "generated": ("generated", 1.0),
    "trained": ("trained on", 1.0),
    "flops": ("TFLOP", 1e12),
    "seconds": ("minutes", 60.0),
}
"""Measure -> its heading, and what it is divided by."""


def show_budget(budget: Mapping[str, Any]) -> None:
    """Every arm's cost with all that it is built on, and what that is of the budget; nothing where none was matched."""
    if "match" not in budget:
        return
    match, arms = budget["match"], budget["arms"]
    of = budget.get("of", "the budget")
    whole = budget["amount"] if "amount" in budget else arms[of][match]

    def share(value: float | None) -> str:
        return "-" if value is None or not whole else f"{100 * value / whole:.1f} %"

    rows = [[arm, *(_cell(unit, costs[unit]) for unit in _WORDS), share(costs[match])] for arm, costs in arms.items()]
    screen = Screen()
    screen.say(f"the same with all that an arm is built on; {_WORDS[match][0]} are matched to those of {of}")
    screen.table(["arm", *(heading for heading, _ in _WORDS.values()), f"of {of}"], rows)


def _cell(unit: str, value: float | None) -> str:
    scale = _WORDS[unit][1]
    return "-" if value is None else f"{value / scale:,.4g}" if scale > 1 else f"{value:,.0f}"
