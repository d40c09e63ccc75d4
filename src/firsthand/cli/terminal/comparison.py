"""What a terminal shows of a comparison: the matrix, a line for each difference, and what a reader must know."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from firsthand.cli.terminal.screen import wide_screen

_CELL = 26
"""Columns of a terminal that a number takes with its interval, its frame and a benchmark's name above it."""


def show_comparison(content: Mapping[str, Any]) -> None:
    """The matrix, and a line for each difference."""
    names = list(dict.fromkeys(name for parts in content["models"].values() for name in parts))
    terminal = wide_screen(_CELL * (len(names) + 2))
    table = Table("model", *names)
    for model, parts in content["models"].items():
        shown = [parts.get(name, {}) for name in names]
        table.add_row(model, *(_percents(part["value"], part["ci95"]) if "value" in part else "-" for part in shown))
    terminal.print(f"by the {content['scorer']} scorer, in percent")
    terminal.print(table)
    for model, parts in content["differences"].items():
        for name, found in parts.items():
            terminal.print(_line(f"{model} - {content['baseline']} on {name}", found), soft_wrap=True)
    for note in content["notes"]:
        terminal.print(note, soft_wrap=True)


def _line(what: str, found: Mapping[str, Any]) -> str:
    reasons = {
        "unmeasured": "not measured by both",
        "only_baseline": "of the baseline alone",
        "only_other": "of the other alone",
    }
    left_out = ", ".join(f"{found[key]:,} {words}" for key, words in reasons.items() if found[key])
    left_out = f" (left out: {left_out})" if left_out else ""
    if "difference" not in found:
        return f"{what}: nothing that both measured{left_out}"
    return (
        f"{what}: {_percents(found['difference'], found['ci95'], sign='+')} points, p {found['p']:.2g} "
        f"({found['method']}; {found['wins']} won, {found['losses']} lost, {found['ties']} tied): {found['finding']}"
        f"{left_out}"
    )


def _percents(value: float, ends: Sequence[float | None], sign: str = "") -> str:
    low, high = ends
    interval = "" if low is None or high is None else f" ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
    return f"{100 * value:{sign}.1f}{interval}"
