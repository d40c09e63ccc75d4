"""An evaluated run's replies as other tools want them: VLMEvalKit's table with a `prediction` column, or JSON."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from firsthand.errors import DataError, RecipeError, excerpt
from firsthand.evaluation.benchmarks.spec import GOLD_RULE
from firsthand.evaluation.leaderboard.scorer import LONGEST_WORKBOOK_CELL
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import read_journal
from firsthand.evaluation.table import counting
from firsthand.files import replacing, write_atomically

_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Control characters, and what is none, which no workbook may hold."""


def export_replies(run: Path, out: Path) -> Path:
    """Write a run's replies; by `out`'s ending as workbook, tab-separated values or JSON.

    The table has the benchmark's own columns, without pictures, and `prediction` as the protocol leaves it for a
    leaderboard's scorer; a row for each reply that the accuracy is about. Raises DataError when the run is no
    benchmark's.
    """
    if not (run / "DONE").exists() or not (run / "items.jsonl").exists():
        raise DataError(f"{run}: expected the run directory of `evaluate --benchmark`, finished, got none")
    writers = {".xlsx": _workbook, ".tsv": _tsv, ".json": _json}
    if out.suffix.lower() not in writers:
        raise RecipeError(f"--out {out}: expected a name that ends in {', '.join(writers)}")
    try:
        rows = _rows(run)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise DataError(
            f"{run}: expected the files of a finished evaluation, got {type(error).__name__}: {excerpt(str(error))}; "
            "restore them from a copy, or delete the folder and evaluate again"
        ) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    writers[out.suffix.lower()](rows, out)
    return out


def _rows(run: Path) -> list[dict[str, Any]]:
    protocol = Protocol.model_validate(json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["protocol"])
    lines = (run / "items.jsonl").read_bytes().splitlines()  # as text, some questions would end lines too
    cells = {item["id"]: item["cells"] for item in map(json.loads, lines)}
    rows = []
    for score in read_journal(run / "scores.jsonl"):
        for draw, judged in enumerate(counting(score)):
            own = {"index": score.example_id.rpartition("/")[2], **cells[score.example_id]}
            own.pop(GOLD_RULE, None)
            strict = judged.verdict.score
            rows.append({**own, "draw": draw, "prediction": protocol.predicted(judged.reply.text), "strict": strict})
    return rows


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _tsv(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _columns(rows), delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(out, text.getvalue())


def _json(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    write_atomically(out, json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n")


def _workbook(rows: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Text stays text: a prediction that begins with `=` must not become a formula."""
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
    except ImportError as error:
        raise RecipeError("a workbook needs openpyxl: pip install 'firsthand[xlsx]', or name a .tsv file") from error
    columns = _columns(rows)
    for row in rows:  # before there is a workbook: one that is given up leaves half a file
        for column, value in row.items():
            length = len(value.encode("utf-16-le", "surrogatepass")) // 2 if isinstance(value, str) else 0
            if length > LONGEST_WORKBOOK_CELL:
                raise DataError(
                    f"row {row['index']}, column {column}: {length:,} characters, and a workbook's cell holds "
                    f"{LONGEST_WORKBOOK_CELL:,}; write a .tsv file"
                )
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(columns)
    for row in rows:
        cells: list[Any] = []
        for column in columns:
            value = row.get(column)
            if isinstance(value, str):
                value = WriteOnlyCell(sheet, _ILLEGAL.sub("", value))
                value.data_type = "s"
            cells.append(value)
        sheet.append(cells)
    with replacing(out) as draft:
        book.save(draft)
