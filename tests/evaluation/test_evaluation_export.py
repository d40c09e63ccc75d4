"""Replies for other tools: what is read back is what was written, in every format."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from benchmark_files import STEMS, logicvista_row, some, write_set
from benchmark_server import ChatServer

from firsthand.cli.main import main
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation import Protocol
from firsthand.evaluation.benchmarks.evaluate import evaluate_benchmark, read_task
from firsthand.evaluation.benchmarks.export import export_replies
from firsthand.evaluation.benchmarks.spec import find
from firsthand.evaluation.leaderboard.scorer import LONGEST_WORKBOOK_CELL

GREEDY = Protocol(samples=0)
REPLIES = [
    "=1+1",
    "+1",
    "@SUM(A1)",
    "0012",
    "1e5",
    "None",
    "NA",
    "#N/A",
    "TRUE",
    "two\nlines",
    "a\ttab",
    'say "B"',
    "\U0001f914 so",
    "one line\u2028and another\x85and a third",
    "x _x000D_ y",
    "https://x.y/z",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    started = ChatServer(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


def run_of(
    server: ChatServer, root: Path, replies: list[str], drawing: Protocol = GREEDY, name: str = "logicvista"
) -> Path:
    """A run whose questions were answered with these replies, in order."""
    server.follow(*({"when": f"Question {i}:", "text": text} for i, text in enumerate(replies)), {"when": ""})
    rows = [logicvista_row(i, knowledge="a\u2028b\x85c") for i in range(len(replies))]
    write_set(name, root, rows if replies else None)
    task = read_task(find(name)[1][0], root)
    return evaluate_benchmark(server.endpoint(), task, drawing, root / "runs")


@pytest.fixture(scope="module")
def run(server: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(server, tmp_path_factory.mktemp("run"), REPLIES)


def sheet(path: Path) -> list[dict[str, Any]]:
    head, *rows = openpyxl.load_workbook(path).worksheets[0].iter_rows()
    return [{str(h.value): cell.value for h, cell in zip(head, row, strict=True)} for row in rows]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_workbook_holds_every_reply_as_the_text_that_it_is(run: Path, tmp_path: Path) -> None:
    out = export_replies(run, tmp_path / "new" / "folder" / "r.XLSX")
    assert [row["prediction"] for row in sheet(out)] == REPLIES
    cells = openpyxl.load_workbook(out).worksheets[0].iter_rows(min_row=2)
    assert {type(value.value) for row in cells for value in row if isinstance(value.value, str)} == {str}
    assert [path.name for path in out.parent.iterdir()] == ["r.XLSX"]


def test_a_workbook_has_no_formulas(run: Path, tmp_path: Path) -> None:
    rows = openpyxl.load_workbook(export_replies(run, tmp_path / "r.xlsx")).worksheets[0].iter_rows(min_row=2)
    assert {cell.data_type for row in rows for cell in row if cell.value is not None} == {"s", "n"}


def test_tab_separated_values_are_read_back_as_they_were(run: Path, tmp_path: Path) -> None:
    out = export_replies(run, tmp_path / "r.tsv")
    assert [row["prediction"] for row in table(out)] == REPLIES
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(out, sep="\t", dtype=str, keep_default_na=False)
    assert frame["prediction"].tolist() == REPLIES
    assert frame["question"].tolist() == [logicvista_row(i)["question"] for i in range(len(REPLIES))]


def test_json_is_read_back_as_it_was(run: Path, tmp_path: Path) -> None:
    rows = json.loads(export_replies(run, tmp_path / "r.json").read_text())
    assert [row["prediction"] for row in rows] == REPLIES
    assert [row["strict"] for row in rows] == [0.0] * len(REPLIES)


@pytest.mark.parametrize("name", STEMS)
def test_the_table_has_the_columns_that_vlmevalkit_reads(name: str, server: ChatServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path, [], name=name)
    rows, theirs = table(export_replies(run, tmp_path / "r.tsv")), some(name)
    for row, its in zip(rows, theirs, strict=True):
        assert next(iter(row)) == "index" and row["prediction"] == "" and "image" not in row
        assert {column: value for column, value in its.items() if value}.items() <= row.items()


def test_every_draw_has_a_row_and_a_prediction_as_the_scorer_is_given_it(server: ChatServer, tmp_path: Path) -> None:
    drawing = Protocol(samples=2, greedy=False, prediction="answer_block")
    run = run_of(server, tmp_path, ["<think>A?</think><answer>A</answer>", "B"], drawing)
    rows = json.loads(export_replies(run, tmp_path / "r.json").read_text())
    assert [(row["index"], row["draw"], row["prediction"], row["strict"]) for row in rows] == [
        ("0", 0, "A", 1.0),
        ("0", 1, "A", 1.0),
        ("1", 0, "B", 0.0),
        ("1", 1, "B", 0.0),
    ]


def test_what_no_workbook_may_hold_is_left_out_of_it_alone(server: ChatServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path, ["a\x00b\x07c\x0bd\ufffee"])
    assert sheet(export_replies(run, tmp_path / "r.xlsx"))[0]["prediction"] == "abcde"
    assert table(export_replies(run, tmp_path / "r.tsv"))[0]["prediction"] == "a\x00b\x07c\x0bd\ufffee"


@pytest.mark.parametrize("text", ["x" * (LONGEST_WORKBOOK_CELL + 1), "\U0001f914" * (LONGEST_WORKBOOK_CELL // 2 + 1)])
def test_a_reply_that_no_cell_holds_is_not_cut(text: str, server: ChatServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path, ["A", text])
    with pytest.raises(DataError) as error:
        export_replies(run, tmp_path / "r.xlsx")
    assert str(error.value) == (
        "row 1, column prediction: 32,768 characters, and a workbook's cell holds 32,767; write a .tsv file"
    )
    assert not list(tmp_path.glob("*.xlsx*"))
    assert table(export_replies(run, tmp_path / "r.tsv"))[1]["prediction"] == text


def test_the_longest_reply_that_a_cell_holds_is_written(server: ChatServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path, ["x" * LONGEST_WORKBOOK_CELL])
    assert sheet(export_replies(run, tmp_path / "r.xlsx"))[0]["prediction"] == "x" * LONGEST_WORKBOOK_CELL


def test_what_cannot_be_exported_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match=r"--out .*r\.csv: expected a name that ends in \.xlsx, \.tsv, \.json"):
        export_replies(run, tmp_path / "r.csv")
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "r.tsv")]) == 2
    assert capsys.readouterr().err == (
        f"firsthand: {tmp_path}: expected the run directory of `evaluate --benchmark`, finished, got none\n"
    )
    done = run / "DONE"
    done.unlink()
    try:
        with pytest.raises(DataError, match="finished, got none"):
            export_replies(run, tmp_path / "r.tsv")
    finally:
        done.touch()
    assert not list(tmp_path.iterdir())


def test_the_command_says_where_the_table_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--out", str(tmp_path / "r.tsv")]) == 0
    assert capsys.readouterr().out == f"replies: {tmp_path / 'r.tsv'}\n"
