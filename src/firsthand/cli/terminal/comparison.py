"""What a terminal shows of a comparison: the matrix, a line for each difference, and what a reader must know."""

from collections.abc import Mapping
from typing import Any

from firsthand.cli.terminal.screen import Screen, percents
from firsthand.stats import FEWEST_PAIRS


def show_comparison(content: Mapping[str, Any]) -> None:
    """The matrix, and a line for each difference."""
    names = list(dict.fromkeys(name for parts in content["models"].values() for name in parts))
    covers = dict.fromkeys(
        part["covers"] for parts in content["models"].values() for part in parts.values() if part["n"]
    )
    screen = Screen()
    screen.say(f"scorer: {content['scorer']}; in percent, with 95 % intervals over {', or '.join(covers)}")
    rows = []
    for model, parts in content["models"].items():
        shown = [parts.get(name, {}) for name in names]
        rows.append([model, *(percents(part["value"], part["ci95"]) if "value" in part else "-" for part in shown)])
    screen.table(["model", *names], rows)
    for model, parts in content["differences"].items():
        for name, found in parts.items():
            screen.say(_line(f"{model} - {content['baseline']} on {name}", found))
    for model, parts in content.get("surviving", {}).items():
        for name, found in parts.items():
            screen.say(surviving_line(f"{model} - {content['baseline']} on {name}", found))
    for note in content["notes"]:
        screen.say(note)


def surviving_line(what: str, found: Mapping[str, Any]) -> str:
    """How much of a gain there is when nothing can be seen."""
    gains = ", ".join(
        f"{words} {percents(found[key]['value'], found[key]['ci95'], sign='+')}"
        for key, words in (("gain", "seeing"), ("blind_gain", "blind"))
    )
    if (share := found.get("survives")) is None:
        said = {"worse": "there is no gain"}.get(found["finding"], "not resolved, for the gain is not")
    else:
        said = f"{percents(share['share'], share['ci95'])} % (over {share['covers']}, n {share['n']:,})"
    return f"{what}: of the gain survives without the picture: {said}; points {gains}"


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
    p = f"p {found['p']:.2g}, {found['method']}" if "p" in found else f"over {found['covers']}"
    return (
        f"{what}: {percents(found['difference'], found['ci95'], sign='+')} points "
        f"({p}; {found['wins']} won, {found['losses']} lost, {found['ties']} tied): {_finding(found)}{left_out}"
    )


def _finding(found: Mapping[str, Any]) -> str:
    if found["n"] >= FEWEST_PAIRS:
        return str(found["finding"])
    return "1 question is too few to say" if found["n"] == 1 else f"{found['n']} questions are too few to say"
