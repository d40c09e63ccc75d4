"""What a training run is asked to do: data on a command line, and requests that make no sense."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from firsthand.config import ELSEWHERE, build
from firsthand.errors import DataError, RecipeError
from firsthand.objective import GRPO, PRESETS, SFT
from firsthand.policy import Lora
from firsthand.recipe import Data, Recipe, TeacherPolicy
from firsthand.records import content_id
from firsthand.worlds import SMALL

COUNT = Data(worlds=("count",), number=4)


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"name": "a", "data": COUNT, **fields})


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("worlds:count", Data(worlds=("count",), split="test", number=200)),
        ("worlds:count,chart", Data(worlds=("count", "chart"), split="test", number=200)),
        ("worlds:count,chart:train", Data(worlds=("count", "chart"), split="train", number=200)),
        ("worlds:count:validation:7", Data(worlds=("count",), split="validation", number=7)),
        (
            "environment:reasoning-gym:gcd,lcm",
            Data(environment="reasoning-gym", tasks=("gcd", "lcm"), split="test", number=200),
        ),
        (
            "environment:reasoning-gym:gcd:validation:7",
            Data(environment="reasoning-gym", tasks=("gcd",), split="validation", number=7),
        ),
        ("mine/rows.jsonl", Data(path="mine/rows.jsonl")),
        ("C:/rows.jsonl", Data(path="C:/rows.jsonl")),
    ],
)
def test_data_of_a_command_line(text: str, data: Data) -> None:
    assert Data.parse(text) == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worlds:", "unknown worlds"),
        ("worlds:count,chat", r"unknown worlds \['chat'\]; known: count, digits, chart"),
        ("worlds:count:tset", "'train', 'validation' or 'test'"),
        ("worlds:count:test:many", r"expected worlds:NAMES\[:SPLIT\[:NUMBER\]\], such as worlds:count,chart:test:200"),
        ("worlds:count:test:-1", "expected worlds:NAMES"),
        ("worlds:count:test:5:6", "expected worlds:NAMES"),
        ("worlds:count:test:0", "greater than 0"),
        (
            "environment:reasoning-gym",
            r"expected environment:NAME:TASKS\[:SPLIT\[:NUMBER\]\], such as environment:reason",
        ),
        ("environment:reasoning-gym:gcd:test:5:6", "expected environment:NAME"),
        ("environment:reasoning-gim:gcd", "unknown environment 'reasoning-gim'; did you mean 'reasoning-gym'"),
        ("environment:reasoning-gym:gcd,gcd", r"each once, got \['gcd', 'gcd'\]"),
    ],
)
def test_data_that_a_command_line_gets_wrong_is_refused_and_repeated(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Data.parse(text)
    assert str(caught.value).startswith(f"--data {text}: ")


@pytest.mark.parametrize("source", [{}, {"path": "rows.jsonl", "worlds": ["count"]}])
def test_data_has_exactly_one_source(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give either `path` or `worlds`"):
        Data.model_validate(source)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tasks": []}, "expected the names of some tasks of reasoning-gym"),
        ({"level": "hard"}, "level: expected settings of the tasks, such as"),
        (
            {"level": 3},
            r"^1 validation error [\s\S]*expected easy, hard or mixed, or settings of an environment's tasks, got 3",
        ),
        ({"shifted": True}, "shifted: only worlds have it"),
        ({"kind": "digit"}, "kind: only a `path` has it, and `environment` is given"),
        ({"worlds": ["count"]}, "give either"),
        ({"environment": None, "worlds": ["count"]}, "only an `environment` has them"),
        ({"environment": None, "path": "rows.jsonl"}, "tasks: only what is drawn has it"),
    ],
)
def test_keys_of_an_environment_that_do_not_go_together_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data.model_validate({"environment": "reasoning-gym", "tasks": ["gcd"], **said})


def test_worlds_share_the_examples_in_turn() -> None:
    examples = Data(worlds=("count", "chart", "digits"), number=5, seed=3).load()
    assert [e.family for e in examples] == ["count", "chart", "digits", "count", "chart"]
    assert len({e.id for e in examples}) == 5
    assert Data(worlds=("count", "chart", "digits"), number=5, seed=3).load() == examples
    assert Counter(e.meta["split"] for e in examples) == {"train": 5}


def test_a_path_gives_its_first_rows(tmp_path: Path) -> None:
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1), "images": []} for i in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [e.question for e in Data(path=str(path), number=2).load()] == ["What is 0 + 1?", "What is 1 + 1?"]
    assert len(Data(path=str(path), number=10).load()) == 3
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        Data(path=str(tmp_path / "nowhere.jsonl")).load()


def test_grpo_without_randomness_is_refused_and_sft_does_not_sample() -> None:
    with pytest.raises(ValidationError, match=r"sampling\.temperature is 0, so all replies of a group agree"):
        recipe(sampling={"temperature": 0}, objective=GRPO())
    assert recipe(sampling={"temperature": 0}, objective=SFT()).sampling.temperature == 0


@pytest.mark.parametrize("name", ["sft+grpo", "grpo_b-0.04", "Übung"])
def test_a_name_that_can_be_a_folder_is_taken(name: str) -> None:
    assert recipe(name=name).name == name


@pytest.mark.parametrize("name", ["a/b", "../a", "a b", "a:b", "a\n"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="becomes a folder: use letters, digits"):
        recipe(name=name)


@pytest.mark.parametrize(
    "wrong", [{"optimizer": {"lr": 0}}, {"optimizer": {"warmup": 1}}, {"steps": -1}, {"modle": "x"}]
)
def test_settings_out_of_range_and_unknown_ones_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        recipe(**wrong)


def test_a_recipe_survives_json() -> None:
    one = recipe(objective={"kind": "grpo", "kl": 0.04})
    assert Recipe.model_validate_json(one.model_dump_json()) == one


def test_small_is_the_model_that_ships_and_anything_else_is_a_folder() -> None:
    assert recipe().model_folder() == SMALL
    assert recipe(model="models/mine").model_folder() == Path("models/mine")


def test_a_start_must_be_a_finished_run(tmp_path: Path) -> None:
    begun = recipe(start=str(tmp_path))
    with pytest.raises(RecipeError, match=r"finished run directory, got .* without DONE; train that run first"):
        begun.model_folder()
    (tmp_path / "DONE").touch()
    with pytest.raises(RecipeError, match=r"expected the recipe.json of a run in .*, got none that can be read"):
        begun.model_folder()
    (tmp_path / "recipe.json").write_text('{"id": "0123456789abcdef"}')
    assert begun.model_folder() == tmp_path / "model"


def test_a_start_that_is_not_there_is_told_with_the_run_whose_name_begins_so(tmp_path: Path) -> None:
    for name in ("mine-s0-1a2b3c4d", "other-s0-5e6f7a8b"):
        (tmp_path / name).mkdir()
    with pytest.raises(RecipeError) as caught:
        recipe(start=str(tmp_path / "mine-s0-")).model_folder()
    assert str(caught.value).endswith(f"; did you mean {tmp_path / 'mine-s0-1a2b3c4d'}?")


def test_a_path_takes_a_kind_for_rows_that_name_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Solve x + 1 = 3.", "answer": "2", "images": []}) + "\n")
    assert Data(path=str(path)).load()[0].answer.kind == "digit"
    assert Data(path=str(path), kind="math").load()[0].answer.kind == "math"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "rows.jsonl", "split": "test", "level": "hard"}, "level, split: only what is drawn has it"),
        ({"worlds": ["count"], "kind": "digit"}, "kind: only a `path` has it"),
    ],
)
def test_a_key_that_would_be_ignored_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data.model_validate(fields)


def test_a_method_brings_its_papers_defaults_and_the_recipe_goes_over_them() -> None:
    published = recipe(objective="vlaa-grpo")
    assert (published.objective.samples, published.sampling.temperature) == (4, 0.8)
    assert (published.optimizer.warmup, published.optimizer.floor) == (0.03, 0.5)
    own = recipe(objective={"kind": "vlaa-grpo", "group_size": 6}, sampling={"temperature": 1.0})
    assert (own.objective.samples, own.sampling.temperature, own.optimizer.floor) == (6, 1.0, 0.5)
    assert recipe(objective="grpo-d").reward.format == 1.0
    assert recipe(objective={"kind": "grpo-d"}, reward={"format": 0.0}).reward.format == 0.0
    assert recipe(objective="grpo").reward.format == 0.0


def test_every_method_survives_json_with_all_that_it_set() -> None:
    for kind in PRESETS:
        one = recipe(objective=kind, **({"teacher": "small"} if PRESETS[kind].settings.needs_teacher else {}))
        again = Recipe.model_validate_json(one.model_dump_json())
        assert again == one and type(again.objective) is type(one.objective) and again.objective.kind == kind


def test_a_teacher_is_named_where_one_is_needed_and_nowhere_else() -> None:
    assert recipe(objective="opd", teacher="small").teacher == TeacherPolicy(model="small")
    with pytest.raises(ValidationError, match="opd learns from a teacher; name a model folder or a finished run: teac"):
        recipe(objective="opd")
    with pytest.raises(ValidationError, match="teacher: grpo looks at none; leave it out"):
        recipe(objective="grpo", teacher="small")


def test_a_paper_s_minibatches_are_no_more_than_there_are_prompts() -> None:
    assert [recipe(objective=kind).minibatches for kind in ("gspo", "vlaa-grpo", "cispo")] == [4, 8, 16]
    assert recipe(objective="cispo", prompts=6).minibatches == 6
    assert recipe(objective="cispo", prompts=6, minibatches=2).minibatches == 2
    with pytest.raises(ValidationError, match="minibatches must not exceed prompts: got 7 and 6"):
        recipe(objective="cispo", prompts=6, minibatches=7)
    with pytest.raises(ValidationError, match="prompts\n  Input should be a valid integer"):
        recipe(objective="cispo", prompts="many")


def test_a_beta_that_a_bfloat16_moment_cannot_follow_is_refused() -> None:
    pure = recipe(precision="bfloat16-pure", optimizer={"betas": (0.9, 0.95)})
    assert pure.settled(None).optimizer.betas == (0.9, 0.95)
    with pytest.raises(
        ValidationError, match=r"optimizer\.betas: .* at most 0\.996 with adamw-kahan.* got 0\.999; lower it"
    ):
        recipe(precision="bfloat16-pure", optimizer={"betas": (0.9, 0.999)})
    with pytest.raises(ValidationError, match="less than 1"):
        recipe(optimizer={"betas": (0.9, 1.0)})


def test_a_minibatch_needs_a_prompt_of_its_own() -> None:
    assert recipe(prompts=4, minibatches=4).minibatches == 4
    with pytest.raises(ValidationError, match="minibatches must not exceed prompts: got 5 and 4"):
        recipe(prompts=4, minibatches=5)


IDS = {
    "sft": "dd50366a2454c0a1",
    "grpo": "4a79d5cead09c567",
    "dapo": "a022920742b10256",
    "dr-grpo": "00455190615e0991",
    "srft": "cec6b25aaa60a8b6",
}
"""Method -> the hash of its recipe: a key that a later version adds disowns no run that says nothing of it."""


@pytest.mark.parametrize("kind", IDS)
def test_the_words_of_a_recipe_have_the_id_that_they_had(kind: str) -> None:
    content = recipe(data=Data(worlds=("count",)), objective=kind).identity([])
    assert content_id({k: v for k, v in content.items() if k not in ("model_id", "data_id")}) == IDS[kind]


def test_the_names_that_other_trainers_have_for_a_key_lead_to_it() -> None:
    with pytest.raises(RecipeError, match=r"optimizer\.learning_rate: unknown key; here it is optimizer\.lr"):
        build(Recipe, {"name": "x", "data": {"path": "x"}, "optimizer": {"learning_rate": 1e-5}}, "recipe.yaml")
    with pytest.raises(RecipeError, match=r"num_generations: unknown key; here it is objective\.group_size"):
        build(Recipe, {"name": "x", "data": {"path": "x"}, "num_generations": 8}, "recipe.yaml")


@pytest.mark.parametrize(
    "key", sorted({re.split(r",? ", said)[0] for said in ELSEWHERE.values()} - {"chosen", "--out"})
)
def test_a_key_that_another_name_leads_to_is_one(key: str) -> None:
    section: Any = recipe(adapter=Lora())
    for part in key.split("."):
        assert part in type(section).model_fields
        section = getattr(section, part)
