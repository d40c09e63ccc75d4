"""Training that earns nothing from its first step on stops, with what it saw and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted import ScriptedSampler

from firsthand.cli.main import main
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.trainer import followed, train
from firsthand.trainer import loop as training
from firsthand.trainer.patience import Patience

RECIPE: dict[str, Any] = {
    "name": "stock",
    "data": {"worlds": ["count"], "number": 8, "level": "easy"},
    "objective": {"kind": "grpo", "group_size": 2},
    "steps": 4,
    "prompts": 2,
    "patience": 8,
}


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes the policy's replies those of a script."""
    monkeypatch.chdir(tmp_path)

    def follow(*replies: str) -> None:
        def sampler(policy: object, encoder: Any, limits: object) -> ScriptedSampler:
            return ScriptedSampler(encoder, lambda prompt, i: replies[i % len(replies)])

        monkeypatch.setattr(followed, "sampler_for", sampler)
        monkeypatch.setattr(training, "update", lambda *_: {})  # scripted replies have no log-probs to train on

    return follow


def journalled() -> list[int]:
    [run] = Path("runs").glob("*-s0-*")
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def command(**changes: Any) -> list[str]:
    Path("recipe.yaml").write_text(yaml.safe_dump({**RECIPE, **changes}))
    return ["train", "recipe.yaml"]


def test_a_run_that_earns_nothing_stops_with_the_remedy(says: Any, capsys: pytest.CaptureFixture[str]) -> None:
    says("I see seven.\nOr so.")
    assert main(command()) == 1
    [run] = Path("runs").glob("stock-s0-*")
    said = capsys.readouterr().err
    assert said.startswith(f"firsthand: {run}: none of the first 8 replies earned anything (100% wrong_format)")
    assert "`system: default`" in said and "reward.answer: stated" in said and "Traceback" not in said
    assert not (run / "DONE").exists() and journalled() == [0, 1]


def test_it_goes_on_when_it_is_told_to(says: Any) -> None:
    says("I see seven.\nOr so.")
    assert main(command()) == 1
    assert main([*command(), "--set", "patience=0"]) == 0
    [run] = Path("runs").glob("stock-s0-*")  # the same one
    assert (run / "DONE").exists() and journalled() == [0, 1, 2, 3]


def test_one_reply_that_earns_something_ends_the_watch(says: Any) -> None:
    recipe = Recipe.model_validate(RECIPE)
    gold = {example.question: example.answer.text for example in recipe.data.load()}
    right = sorted(gold.values())[0]
    says(f"<answer>{right}</answer>", "no")
    assert main(command(prompts=8, patience=16)) == 0  # all questions in the first step: one is right


def test_a_stock_reply_is_paid_where_training_reads_what_is_stated(says: Any) -> None:
    recipe = Recipe.model_validate(RECIPE)
    right = sorted(example.answer.text for example in recipe.data.load())[0]
    says(f"The answer is {right}.", "I do not know.\nSorry.")
    assert main(command(prompts=8, patience=16, reward={"answer": "stated"})) == 0
    assert main(command(prompts=8, patience=16)) == 1


def steps(earning: float, number: int) -> list[Step]:
    return [Step(step=i, metrics={"reward/earning": earning}, seconds=1.0) for i in range(number)]


def test_a_resumed_run_counts_what_it_had_journalled() -> None:
    recipe = Recipe.model_validate(RECIPE)
    nothing = {"reward/earning": 0.0}
    assert Patience(recipe, []).after(nothing) is None
    assert Patience(recipe, steps(0.0, 1)).after(nothing) is not None
    assert Patience(recipe, steps(0.1, 1)).after(nothing) is None


@pytest.mark.parametrize("changes", [{"patience": 0}, {"objective": {"kind": "luffy"}}, {"objective": {"kind": "sft"}}])
def test_what_learns_otherwise_is_not_watched(changes: dict[str, Any]) -> None:
    watch = Patience(Recipe.model_validate({**RECIPE, **changes}), [])
    assert all(watch.after({"reward/earning": 0.0}) is None for _ in range(100))


def test_the_default_lets_a_slow_but_real_start_live() -> None:
    rate, replies = 0.005, Recipe.model_fields["patience"].default
    assert (1 - rate) ** replies < 0.01
    assert 1 - 0.05 ** (1 / replies) < 0.003  # the largest rate that has no success in so many replies, at 95 %


def test_words_are_trained_on_with_their_kind_alone(tmp_path: Path) -> None:
    rows = [{"question": f"{n}: which colour?", "answer": "teal", "kind": "text"} for n in range(4)]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = RECIPE | {"data": {"path": str(tmp_path / "words.jsonl")}, "steps": 1, "sampling": {"max_new_tokens": 8}}
    run = train(Recipe.model_validate(content), tmp_path / "runs")
    assert (run / "DONE").exists()
