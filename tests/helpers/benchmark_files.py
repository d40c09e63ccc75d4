"""Builders of benchmark files as users have them: VLMEvalKit's tables, JSONL, CSV, and folders in the hub's layout."""

import base64
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image

GENERATED = Path(__file__).parents[1] / "fixtures" / "vlmevalkit"
"""Rows in the exact columns of the leaderboard's sets, their contents made up."""

STEMS = {
    "mathvista": "MathVista_MINI",
    "mathvision": "MathVision",
    "mathverse": "MathVerse_MINI_Vision_Only",
    "dynamath": "DynaMath",
    "wemath": "WeMath",
    "logicvista": "LogicVista",
}
"""Benchmark -> what VLMEvalKit calls its file."""

_KIND: dict[str, Callable[[Mapping[str, str]], str]] = {
    "mathvista": lambda row: f"{row['question_type']} {row['answer_type']}",
    "mathvision": lambda row: str(row["choices"] == "[]"),
    "mathverse": lambda row: row["question_type"],
    "logicvista": lambda row: str(len(row["answer"].split(", "))),
}


def png(color: str = "white", size: tuple[int, int] = (56, 56)) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def generated(name: str) -> list[dict[str, str]]:
    """All rows of a set."""
    lines = (GENERATED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["cells"] for line in lines]


def some(name: str) -> list[dict[str, str]]:
    """A few rows of a set: one of each kind, or two questions with all their variants."""
    rows = generated(name)
    if name == "dynamath":  # a question of each type of answer
        return [row for row in rows if row["qid"] in ("0", "1", "2")]
    if name == "wemath":  # one of two steps and one of three
        return [row for row in rows if row["ID"] in ("1", "9")]
    first: dict[str, dict[str, str]] = {}
    for row in rows:
        first.setdefault(_KIND[name](row), row)
    return list(first.values())


def write_tsv(path: Path, rows: Iterable[Mapping[str, str]], image: bytes | None = None) -> Path:
    """A table as pandas writes it; with the same picture in each row unless that has its own cell."""
    shown = {"image": base64.b64encode(png() if image is None else image).decode()}
    whole = [{**shown, **row} for row in rows]
    columns = list(dict.fromkeys(column for row in whole for column in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(whole)
    return path


def write_set(name: str, root: Path, rows: Sequence[Mapping[str, str]] | None = None) -> Path:
    """A leaderboard's set under its own name; by default `some` of its rows."""
    return write_tsv(root / f"{STEMS[name]}.tsv", some(name) if rows is None else rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A line per row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A file as the hub holds it: nested columns, pictures as {bytes, path}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Comma-separated values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def logicvista_row(index: int, answer: str = "A", **cells: str) -> dict[str, str]:
    """A row of LogicVista."""
    question = f"Question {index}: which comes next?\n(A) one\n(B) two\n(C) three\n(D) four"
    return {"index": str(index), "question": question, "answer": answer, "skill": "inductive", **cells}
