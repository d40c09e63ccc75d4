"""A forged data set -> one HTML file: the funnel, and examples of what every step kept and dropped, with pictures."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from pydantic import TypeAdapter

from firsthand.data import parquet
from firsthand.errors import DataError, excerpt
from firsthand.files import write_atomically
from firsthand.records import Answer, content_in
from firsthand.report.pictures import embedded

_DROPPED_SHOWN = 3
"""Rows that are shown for each reason of a step."""
_KEPT_SHOWN = 8
"""Rows that are shown of each part."""
_LONGEST = 4_000
"""Characters of a text that are shown."""

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)

_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, UndefinedError)
"""What reading damaged rows raises, beside what reading damaged files does."""
_ForgedRow = dict[str, Any]
"""One row as the page shows it; texts that there are not are empty."""


def write_forge_report(folder: Path, costs: list[dict[str, Any]] | None = None) -> Path:
    """Write `report.html` into a forge's folder, and return its path. Raises DataError when it is no such folder."""
    path = folder / "funnel.json"
    if not path.is_file():
        raise DataError(f"{folder}: expected the folder of a finished forge, got one without funnel.json; run it first")
    funnel = content_in(path)
    try:
        page = _page(folder, funnel, costs or [])
    except DataError:
        raise
    except (*_DAMAGED, pa.ArrowException, OSError) as error:
        raise DataError(
            f"{folder}: expected the files of a finished forge, got {type(error).__name__}: {excerpt(str(error))}; "
            "give `firsthand forge` again, which writes what was damaged anew"
        ) from error
    out = folder / "report.html"
    write_atomically(out, page.lstrip())
    return out


def _page(folder: Path, funnel: dict[str, Any], costs: list[dict[str, Any]]) -> str:
    environment = Environment(
        loader=PackageLoader("firsthand", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("forge.html.j2").render(
        funnel=funnel,
        costs=costs,
        dropped={step["step"]: _dropped(folder / "dropped" / f"{step['step']}.parquet") for step in funnel["steps"]},
        kept={part: _kept(sorted((folder / part).glob("*.parquet"))) for part in ("sft", "rl")},
        style=Markup(files("firsthand.report").joinpath("page.css").read_text("utf-8")),
    )


def _dropped(file: Path) -> list[tuple[str, list[_ForgedRow]]]:
    """Reason -> its first rows, the most frequent reason first."""
    counts: Counter[str] = Counter()
    shown: defaultdict[str, list[_ForgedRow]] = defaultdict(list)
    for cells in _cells([file]):
        reason = cells["reason"]
        counts[reason] += 1
        if counts[reason] <= _DROPPED_SHOWN:
            row = json.loads(cells["row"])
            shown[reason].append(_row(cells, row.get("meta", {}), row.get("traces", []), cells["answer"]))
    return [(reason, shown[reason]) for reason, _ in counts.most_common()]


def _kept(paths: Iterable[Path]) -> list[_ForgedRow]:
    rows = []
    for cells in islice(_cells(paths), _KEPT_SHOWN):
        meta = json.loads(cells["meta"])
        gold = _ANSWER.validate_json(cells["answer"]).text
        kept = {**cells, "source": meta.get("source", {}).get("name", ""), "reason": "", "detail": ""}
        rows.append(_row(kept, meta, json.loads(cells["traces"]), gold))
    return rows


def _row(cells: dict[str, Any], meta: dict[str, Any], traces: list[dict[str, Any]], gold: str) -> _ForgedRow:
    forge = meta.get("forge", {})
    told = ("rules", "rules_why", "judge", "judged_by", "distilled_by")
    return {
        **{name: cells[name] for name in ("id", "source", "reason", "detail")},
        "question": cells["question"][:_LONGEST],
        "gold": gold[:_LONGEST],
        "shots": [embedded(image["bytes"]) for image in cells["images"]],
        "caption": str(forge.get("caption", ""))[:_LONGEST],
        "said": traces[0]["text"][:_LONGEST] if traces and "answer" in forge else "",
        "forge": {key: forge[key] for key in told if key in forge},
    }


def _cells(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        for batch in parquet.batches(path):
            yield from batch.to_pylist()
