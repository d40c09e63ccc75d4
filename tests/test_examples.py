"""The examples, from the files that they take to a trained model."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from firsthand.data import load_examples, read_examples
from firsthand.records import Text
from firsthand.study import Study

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDER = EXAMPLES / "easy-vqa"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("easy")
    subprocess.run([sys.executable, FOLDER / "prepare.py"], cwd=folder, check=True, capture_output=True)
    return folder


def test_every_question_of_easy_vqa_becomes_a_row_and_no_picture_is_in_both_parts(prepared: Path) -> None:
    rows = {
        part: [json.loads(line) for line in (prepared / "easy-vqa" / f"{part}.jsonl").read_text().splitlines()]
        for part in ("train", "test")
    }
    assert {part: len(found) for part, found in rows.items()} == {"train": 38_575, "test": 9_673}
    assert {row["answer"] for row in rows["test"]} == {
        *("yes", "no", "circle", "rectangle", "triangle"),
        *("black", "blue", "brown", "gray", "green", "red", "teal", "yellow"),
    }
    pictures = {part: {Path(row["image"]).read_bytes() for row in found[:500]} for part, found in rows.items()}
    assert not pictures["train"] & pictures["test"]


@pytest.mark.slow
def test_the_study_of_easy_vqa_trains_and_evaluates(prepared: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):  # checking the pictures of all rows takes longer than training on these
        rows = (prepared / "easy-vqa" / f"{part}.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "easy-vqa").mkdir(exist_ok=True)
        (tmp_path / "easy-vqa" / f"{part}.jsonl").write_text("".join(rows[:60]))
    examples = load_examples(str(tmp_path / "easy-vqa" / "train.jsonl"), kind="text")
    assert all(isinstance(example.answer, Text) and example.traces for example in examples)
    small = ["shared.steps=2", "shared.prompts=4", "evaluation.data.number=8", "evaluation.protocol.samples=2"]
    command = [sys.executable, "-m", "firsthand", "study", FOLDER / "easy-vqa.yaml"]
    settings = [word for setting in small for word in ("--set", setting)]
    subprocess.run([*command, *settings], cwd=tmp_path, check=True, capture_output=True)
    results = json.loads((tmp_path / "runs" / "easy-vqa" / "results.json").read_text())
    assert results["arms"].keys() == {"base", "sft", "grpo", "sft+grpo"}


def test_four_tasks_for_a_model_that_sees_are_in_equal_parts_and_share_no_picture(tmp_path: Path) -> None:
    folder = EXAMPLES / "worlds-vlm"
    subprocess.run([sys.executable, folder / "prepare.py"], cwd=tmp_path, check=True, capture_output=True)
    parts = {
        part: read_examples(tmp_path / "worlds-vlm" / f"{part}.parquet") for part in ("train", "validation", "test")
    }
    assert {part: len(examples) for part, examples in parts.items()} == {"train": 512, "validation": 100, "test": 400}
    for examples in parts.values():
        assert set(Counter(e.family for e in examples).values()) == {len(examples) // 4}
        assert all({trace.style for trace in e.traces} == {"plain", "expert"} for e in examples)
        easy = Counter(e.answer.text for e in examples if e.family == "easy-vqa")
        assert max(easy.values()) <= len(examples) // 16 + 1  # no guess is right of more than a quarter
    shown = [{p.sha256 for e in examples for p in e.images} for examples in parts.values()]
    assert sum(map(len, shown)) == len(set().union(*shown))
    study = Study.read(folder / "study.yaml")
    assert {"base", "grpo", "sft-plain", "srft", "luffy", "opd"} < study.arms.keys()
