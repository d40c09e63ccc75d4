"""Files as users have them, with bad rows of every class among good ones: told all at once, or dropped and counted."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from firsthand.cli.main import main

GOOD: list[dict[str, Any]] = [
    {"question": f"How many are {i}?", "answer": str(i), "solution": "I count.", "image": "red.png"} for i in range(5)
]
BAD: list[tuple[Any, str, str, str]] = [
    (
        {"question": "<|vision_start|><|image_pad|><|vision_end|>How many?", "answer": "3", "image": "red.png"},
        "bad_question",
        "column `question`: expected text without the model's special tokens, got <|vision_start|>, <|image_pad|>, ",
        "remove them",
    ),
    (
        {"prompt": "How many?<|im_end|>", "answer": "3"},
        "bad_question",
        "column `prompt`: expected text without the model's special tokens, got <|im_end|> in 'How many?<|im_end|>'",
        "remove them",
    ),
    (
        {"question": "How many?", "answer": "3", "system": "Be <|endoftext|>"},
        "bad_row",
        "column `system`: expected text without the model's special tokens",
        "remove them",
    ),
    (
        {"question": "Which?", "answer": "A", "choices": ["<|im_start|>", "b"]},
        "bad_answer",
        "column `choices`: expected text without the model's special tokens",
        "remove them",
    ),
    (
        {"question": "How many?", "answer": "3", "image": "thin.png"},
        "bad_image",
        "column `image`: expected a picture that the model's processor takes, got 5 x 1200 pixels",
        "crop it",
    ),
    (
        {"question": "Why? " * 3000, "answer": "3"},
        "bad_question",
        "column `question`: expected a prompt of at most 2048 tokens (the model's context), got 12",
        "shorten the question",
    ),
    (
        {"question": "y?", "answer": r"\frac{1}{", "kind": "math"},
        "bad_answer",
        "column `answer`: expected a ground truth of kind `math` that its own verifier accepts",
        "correct it",
    ),
    ({"question": "What?", "answer": "a cat", "kind": "open"}, "bad_answer", "column `kind`: expected one of", "leave"),
    (
        {"question": "What?", "answer": "cat"},
        "bad_answer",
        "column `answer`: expected an answer whose kind is beyond doubt",
        "`text` would fit",
    ),
    ({"question": "How many?", "answer": "3", "image": "page.jpg"}, "bad_image", "an HTML page", "the download failed"),
    ({"question": "How many?", "answer": "3", "image": "no.png"}, "image_missing", "does not exist in", "correct it"),
    (GOOD[0], "bad_row", "a copy of rows.jsonl line 1", "delete one"),
    ("{torn", "bad_row", "expected one JSON object per line", "repair it"),
]
"""(row, reason, what is said of it, what is to be done)."""
RECIPE = """\
name: mine
data: {path: rows.jsonl}
objective: {kind: grpo, group_size: 2}
sampling: {max_new_tokens: 8}
steps: 1
prompts: 2
"""


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with good and bad rows in turn, and a recipe."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    Image.new("RGB", (5, 1200), "red").save(tmp_path / "thin.png")
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html>404</html>")
    write(tmp_path / "rows.jsonl", mixed(BAD))
    write(tmp_path / "bad.jsonl", [row for row, *_ in BAD if row is not GOOD[0]])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mixed(bad: list[tuple[Any, str, str, str]]) -> list[Any]:
    """The good rows, each followed by bad ones."""
    return [row for i, good in enumerate(GOOD) for row in (good, *(b[0] for b in bad[i :: len(GOOD)]))]


def places(rows: list[Any]) -> dict[str, tuple[Any, str, str, str]]:
    """Place -> the bad row that stands there. Copies of the first row come after it."""
    by_text = {json.dumps(bad[0]): bad for bad in BAD}
    lines = enumerate(map(json.dumps, rows), start=1)
    return {f"rows.jsonl line {n}": by_text[text] for n, text in lines if text in by_text and n > 1}


@pytest.mark.parametrize("command", ["train recipe.yaml", "evaluate small --data rows.jsonl"])
def test_all_bad_rows_are_named_at_once_before_anything_is_made(
    desk: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = sorted(desk.rglob("*"))
    assert main(command.split()) == 2
    headline, *lines, offer = capsys.readouterr().err.strip().split("\n")
    assert headline == "firsthand: rows.jsonl: 13 of 18 rows cannot be used, so nothing was loaded."
    expected = places(mixed(BAD))
    assert len(expected) == len(lines) == 13
    for line, (place, (_, _, said, remedy)) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"  {place}, ") and said in line and remedy in line.partition("; ")[2]
    assert "--on-bad drop" in offer
    assert sorted(desk.rglob("*")) == before


@pytest.mark.parametrize("command", ["train recipe.yaml", "evaluate small --data rows.jsonl --samples 0"])
def test_dropped_rows_are_counted_and_listed_in_the_run(
    desk: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, command: str
) -> None:
    assert main([*command.split(), "--on-bad", "drop"]) == 0
    [run] = (desk / "runs").iterdir()
    told = "rows.jsonl: 13 of 18 rows cannot be used (4 bad_answer, 3 bad_question, 3 bad_row, 2 bad_image, 1 image_mi"
    assert told in caplog.text and f"listed in runs/{run.name}/refused.jsonl" in caplog.text
    rows = [json.loads(line) for line in (run / "refused.jsonl").read_text().splitlines()]
    expected = places(mixed(BAD))
    assert [(row["place"], row["reason"]) for row in rows] == [(place, bad[1]) for place, bad in expected.items()]
    assert all(bad[2] in row["detail"] for row, bad in zip(rows, expected.values(), strict=True))
    content = json.loads((run / "recipe.json").read_text())
    assert content["data"]["on_bad"] == "drop"
    if command.startswith("evaluate"):
        table = json.loads((run / "evaluation.json").read_text())
        assert table["refused"] == 13 and table["n"] + table["unmeasured"] == 5
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    page = (desk / "report.html").read_text()
    assert "<dt>rows left out</dt><dd>13 (4 bad_answer, 3 bad_question" in page


def test_a_study_drops_bad_rows_in_training_and_evaluation_whatever_its_file_says(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {"data": {"path": "rows.jsonl"}, "prompts": 2, "steps": 1, "sampling": {"max_new_tokens": 4}}
    arms = {"grpo": {"objective": {"kind": "grpo", "group_size": 2}, "data": {"on_bad": "refuse"}}}
    test = {"data": {"path": "rows.jsonl"}, "protocol": {"samples": 0, "max_new_tokens": 4}}
    (desk / "study.yaml").write_text(json.dumps({"shared": shared, "arms": arms, "evaluation": test}))
    assert main(["study", "study.yaml"]) == 2
    assert "--on-bad drop" in capsys.readouterr().err
    assert main(["study", "study.yaml", "--on-bad", "drop"]) == 0
    measured = {"health", "tokens", "distances"}  # of these two
    runs = sorted(path.parent for path in (desk / "runs").glob("*/*/recipe.json"))
    runs = [run for run in runs if run.name.partition("-")[0] not in measured]
    assert [run.name.rpartition("-s")[0] for run in runs] == ["evaluate-grpo", "grpo"]
    for run in runs:
        assert len((run / "refused.jsonl").read_text().splitlines()) == 13
        assert json.loads((run / "recipe.json").read_text())["data"]["on_bad"] == "drop"


def test_a_file_of_bad_rows_alone_is_refused_even_when_they_may_be_dropped(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "recipe.yaml", "--set", "data.path=bad.jsonl", "--on-bad", "drop"]) == 2
    err = capsys.readouterr().err
    assert "bad.jsonl: 12 of 12 rows cannot be used" in err and "--on-bad" not in err
    assert not (desk / "runs").exists()


def test_more_bad_rows_than_a_message_holds_are_listed_in_a_file(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"How many are {i}?", "answer": f"cat {i}", "system": "<|im_end|>"} for i in range(50)]
    write(desk / "rows.jsonl", [*GOOD, *rows])
    assert main(["evaluate", "small", "--data", "rows.jsonl", "--out", "out"]) == 2
    headline, *lines, where, _ = capsys.readouterr().err.strip().split("\n")
    assert headline.endswith(
        "50 of 55 rows cannot be used, so nothing was loaded. They are 50 bad_answer. The first 20:"
    )
    assert len(lines) == 20
    assert where == "All of them: out/rows.jsonl.refused.jsonl"
    listed = [json.loads(line) for line in (desk / "out/rows.jsonl.refused.jsonl").read_text().splitlines()]
    assert [row["place"] for row in listed] == [f"rows.jsonl line {n}" for n in range(6, 56)]


def test_rows_with_one_fault_share_a_line(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"How many are {i}?", "label": "3"} for i in range(80)]
    write(desk / "rows.jsonl", [*rows, {"question": "What is it?", "answer": "cat"}])
    assert main(["evaluate", "small", "--data", "rows.jsonl"]) == 2
    headline, of_many, of_one, where = capsys.readouterr().err.strip().split("\n")
    assert headline.endswith("81 of 81 rows cannot be used, so nothing was loaded. They are 81 bad_answer.")
    assert of_many.startswith("  rows.jsonl line 1 and 79 more, column `answer`: ") and "`label`" in of_many
    assert of_one.startswith("  rows.jsonl line 81, ") and where.startswith("All of them: ")


def test_a_missing_picture_by_an_absolute_path_is_not_said_to_be_missing_in_a_folder(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(desk / "absolute.jsonl", [{**GOOD[0], "image": "/nowhere/red.png"}])
    assert main(["evaluate", "small", "--data", "absolute.jsonl"]) == 2
    assert "got '/nowhere/red.png', which does not exist; correct it, or give a path" in capsys.readouterr().err


def test_a_clean_file_loses_nothing_and_has_the_same_examples_either_way(desk: Path) -> None:
    write(desk / "rows.jsonl", GOOD)
    for out, more in (("refuse", ()), ("drop", ("--on-bad", "drop")), ("again", ("--on-bad", "refuse"))):
        assert main(["train", "recipe.yaml", "--set", "steps=0", "--out", out, *more]) == 0
        assert not list(desk.glob(f"{out}/*/refused.jsonl"))
    [refused], [dropped], [again] = ([*(desk / out).iterdir()] for out in ("refuse", "drop", "again"))
    assert refused.name == again.name
    ids = [json.loads((run / "recipe.json").read_text())["data_id"] for run in (refused, dropped)]
    assert ids[0] == ids[1]
    assert "on_bad" not in (refused / "recipe.json").read_text()


def test_a_larger_picture_is_read_where_that_is_said(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(desk / "rows.jsonl", GOOD)
    command = ["evaluate", "small", "--data", "rows.jsonl", "--samples", "0", "--max-new-tokens", "2"]
    assert main([*command, "--max-picture-pixels", "4095"]) == 2
    assert "got 'red.png', which has 64 x 64 = 4,096; shrink it, or allow more with max_picture_pixels (--max-" in (
        capsys.readouterr().err
    )
    assert main([*command, "--max-picture-pixels", "4_096"]) == 0
    assert main(["train", "recipe.yaml", "--max-picture-pixels", "4095"]) == 2
    with pytest.raises(SystemExit):
        main([*command, "--max-picture-pixels", "0"])


def test_a_forge_is_told_of_the_largest_picture_in_the_same_words(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(desk / "rows.jsonl", GOOD)
    forge = {"name": "f", "sources": [{"path": "rows.jsonl"}], "teachers": {"default": {"scenes": True}}}
    (desk / "forge.yaml").write_text(json.dumps(forge))
    command = ["forge", "forge.yaml", "--dry-run", "--max-picture-pixels"]
    assert main([*command, "4095", "--out", "small"]) == 1
    assert "collect: image_too_large 5" in capsys.readouterr().err
    assert main([*command, "4096", "--out", "large"]) == 0
    assert json.loads((desk / "large" / "funnel.json").read_text())["steps"][0]["kept"] == 5


@pytest.mark.slow
def test_a_killed_run_that_drops_rows_goes_on_with_the_same_ones(desk: Path) -> None:
    more = ["--set", "steps=4", "--set", "checkpoint_every=2", "--on-bad", "drop"]
    command = [sys.executable, "-m", "firsthand", "train", "recipe.yaml", *more]

    def journalled() -> int:
        return sum(path.read_text().count("\n") for path in desk.glob("broken/*/metrics.jsonl"))

    subprocess.run([*command, "--out", "whole"], check=True, capture_output=True)
    process = subprocess.Popen([*command, "--out", "broken"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while journalled() < 3:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--out", "broken"], check=True, capture_output=True)
    [whole], [broken] = ([*(desk / out).iterdir()] for out in ("whole", "broken"))
    assert whole.name == broken.name
    for name in ("refused.jsonl", "rollouts.jsonl", "model/model.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
