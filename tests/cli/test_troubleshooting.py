"""docs/troubleshooting.md quotes what users are told: each message that a command can show is shown by one here."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from pages import REPOSITORY, page, section
from PIL import Image

from firsthand.cli.main import main

SECTIONS = ("Recipes and commands", "Servers", "Models", "Data", "Training", "Reports")
SHOWN = {
    "no such file": "train away/recipe.yaml",
    "group_sise: unknown key": "train recipe.yaml --set objective.group_sise=3",
    "optimizer.lr: input should": "train recipe.yaml --set optimizer.lr=abc",
    "--set foo": "train recipe.yaml --set foo",
    "sampling.temperature is 0": "train recipe.yaml --set sampling.temperature=0",
    "start: expected": "train recipe.yaml --set start=runs/x",
    "expected a finished run, got one": "evaluate runs/x --data data.jsonl",
    "expected a local Hugging Face model": "train recipe.yaml --set model=Qwen/Qwen2.5-VL-3B-Instruct",
    "expected a model of type": "train recipe.yaml --set model=strange",
    "1 of 2 rows": "train recipe.yaml --set data.path=data.jsonl",
    "special tokens": "train recipe.yaml --set data.path=special.jsonl",
    "processor takes": "train recipe.yaml --set data.path=thin.jsonl",
    "replies to them are": "reward --problems data.jsonl --replies replies.jsonl --out v.jsonl",
    "expected *.parquet": "evaluate small --data mine",
    "expected a demonstration of style": "train recipe.yaml --set 'objective={kind: sft, style: expert}'",
    "add a column": "train recipe.yaml --set data.path=bare.jsonl --set 'objective={kind: sft, style: expert}'",
    "which no verifier scores": "train recipe.yaml --set data.path=open.jsonl",
    "unknown worlds": "evaluate small --data worlds:cuont",
    "which holds none": "report mine",
}
"""A piece of a heading -> the command that shows it."""
WRITTEN = (
    "another process is working on this; waiting for it",
    "already done: ",
    "stopping after this step, with a checkpoint",
    " cannot be reached",
    " has answered none of the first ",
    " rows is left after the six steps",
    "expected a chat template (chat_template.jinja), got none; use an instruct model",
    "a prompt of at most ",
    "expected a model of architecture ",
    ": the last digits of its numbers may depend on it",
    "an image of at most ",
    " replies earned anything (",
    "could not be compared in time",
    "rollout and training disagree by ",
    " nats about a sampled token",
    "training has diverged; ",
    "expected every weight of the model, and finite ones, got ",
    " tokens: from here on ",
    "expected memory for the update on one reply at a time, got too little even for that",
)
"""Pieces of the other headings: what takes a server, a large model or a long run. They stand in the source."""


def headings() -> list[str]:
    paragraphs = (" ".join(part.split()) for name in SECTIONS for part in PAGE[name].split("\n\n"))
    return [found[1] for part in paragraphs if (found := re.match(r"\*\*`(.*?)`\*\*", part))]


PAGE = {name: section(page("docs/troubleshooting.md"), name) for name in SECTIONS}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe, and data of every kind of trouble."""
    for folder in ("mine", "runs/x", "strange"):
        (tmp_path / folder).mkdir(parents=True)
    for name, size in (("red.png", (64, 64)), ("thin.png", (5, 1200)), ("mine/0.png", (64, 64))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    for name in ("mine/one.jsonl", "mine/two.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "runs/x/recipe.json").write_text("{}")
    (tmp_path / "strange/config.json").write_text('{"model_type": "nothing"}')
    good = [{"question": f"How many, {i}?", "answer": i, "image": "red.png"} for i in range(4)]
    files: dict[str, list[dict[str, Any]]] = {
        "good": [{**row, "trace": "I count."} for row in good],
        "bare": good,
        "data": [{**good[0], "id": "a"}, {**good[1], "id": "b", "image": "gone.png"}],
        "special": [{**good[0], "question": "<|image_pad|> How many?"}],
        "thin": [{**good[0], "image": "thin.png"}],
        "open": [{**good[0], "answer": "a cat", "kind": "open"}],
        "replies": [{"id": "a", "reply": "0"}],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {"name": "mine", "data": {"path": "good.jsonl"}, "objective": {"kind": "grpo", "group_size": 2}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("piece", SHOWN)
def test_a_message_is_told_as_the_page_quotes_it(desk: Path, capsys: pytest.CaptureFixture[str], piece: str) -> None:
    [heading] = [heading for heading in headings() if piece in heading]
    main(shlex.split(SHOWN[piece]))
    said = capsys.readouterr()
    parts = map(re.escape, heading.rstrip(".").replace("MODEL", "...").split("..."))
    assert re.search(".*".join(parts), " ".join((said.err + said.out).split())), said.err


def test_every_other_message_of_the_page_stands_in_the_source() -> None:
    source = "".join(path.read_text("utf-8") for path in (REPOSITORY / "src").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that go on in the next line are one
    others = [heading for heading in headings() if not any(piece in heading for piece in SHOWN)]
    assert [piece for piece in WRITTEN if piece not in source] == []
    assert [heading for heading in others if not any(piece in heading for piece in WRITTEN)] == []
