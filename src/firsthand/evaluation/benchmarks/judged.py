"""What judges have found on a run's replies: a folder for each below the run, written once.

    judged/<judge>/
        leaderboard.jsonl      the leaderboard's mark of each reply, or why there is none
        disagreements.jsonl    where the strict verdict is another one
        units.jsonl            what the headline number is the mean of
        table.json             the number, and all that belongs to it

`<judge>` names model and prompts; `rules` stands for none. Earlier versions kept the first three beside the replies as
`<name>-<judge>.jsonl`, and the tables in evaluation.json: they are read as well.
"""

from pathlib import Path
from typing import Any, Literal

from firsthand.errors import DataError
from firsthand.files import object_in

RULES = "rules"
"""Stands for the judge in names where nobody was asked."""


def judged_folder(run: Path, judge: str) -> Path:
    """Where a judge's marks are, or will be."""
    return run / "judged" / judge


def judged_file(run: Path, judge: str, name: Literal["leaderboard", "disagreements", "units"]) -> Path:
    """One of a judge's files."""
    earlier = run / f"{name}-{judge}.jsonl"
    return earlier if earlier.exists() else judged_folder(run, judge) / f"{name}.jsonl"


def judges_of(run: Path) -> list[str]:
    """Who has marked a run's replies."""
    earlier = [path.stem.removeprefix("units-") for path in run.glob("units-*.jsonl")]
    today = [path.parent.name for path in run.glob("judged/*/units.jsonl")]
    return [name for name in earlier if name != "strict"] + today


def leaderboard_tables(run: Path, wanted: str | None = None) -> dict[str, Any]:
    """The table of each judge; that of rules alone only where nobody was asked, or where it is `wanted`.

    Raises DataError when one cannot be read.
    """
    earlier: dict[str, Any] = object_in(run / "evaluation.json", {"leaderboard": dict}).get("leaderboard") or {}
    own = {path.parent.name: _table(path) for path in sorted(run.glob("judged/*/table.json"))}
    tables = {  # in earlier versions `quirks` were `oddities`
        name: {"quirks" if key == "oddities" else key: value for key, value in table.items()}
        for name, table in {**earlier, **own}.items()
    }
    return {name: table for name, table in tables.items() if name != RULES or wanted == RULES} or tables


def _table(path: Path) -> dict[str, Any]:
    if not (table := object_in(path)):
        raise DataError(
            f"{path}: expected a judge's table, got none that can be read; delete the folder {path.parent} and "
            "evaluate again: what the judge has said is kept"
        )
    return table
