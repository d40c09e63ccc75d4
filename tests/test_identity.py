"""A run's id holds everything that can change its result: examples, recipe, model folders and a user's own code."""

import json
import os
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from firsthand import identity
from firsthand.cost import TrainingBudget
from firsthand.data.difficulty import PassRate
from firsthand.evaluation import Protocol
from firsthand.evaluation.benchmarks.spec import Benchmark, Gold
from firsthand.evaluation.custom import settings
from firsthand.evaluation.generator import identity as model_identity
from firsthand.identity import code_files, code_id, data_id, folder_id
from firsthand.objective import GRPO, PRESETS, presets, register
from firsthand.policy import Lora
from firsthand.policy.precision import Accelerator
from firsthand.recipe import Data, Optimizer, Probe, Recipe, TeacherPolicy
from firsthand.records import (
    Answer,
    Box,
    Choice,
    Digit,
    Environment,
    Example,
    Expression,
    Letters,
    OpenEnded,
    Picture,
    Text,
    Trace,
    content_id,
)
from firsthand.reward import Reward
from firsthand.reward.open_ended import OpenEndedScoring
from firsthand.rollout import Sampling
from firsthand.teacher import Endpoint, Served
from firsthand.worlds import SMALL

NO_CHANGE = object()
"""Stands for a field whose value cannot change a result; the comment beside it says why."""

RECIPE: dict[str, Any] = {
    "name": "mine",
    "data": {"path": "data.jsonl"},
    "objective": {"kind": "grpo"},
    "reward": {"open": {"scorer": "overlap"}},
    "optimizer": {},
    "sampling": {},
    "adapter": {},
    "probe": {"data": {"worlds": ["count"]}},
    "budget": {"unit": "flops", "amount": 1e12},
}
AT = {
    Data: "data",
    GRPO: "objective",
    Reward: "reward",
    Optimizer: "optimizer",
    Sampling: "sampling",
    Lora: "adapter",
    Probe: "probe",
    TrainingBudget: "budget",
}
"""Parts of a recipe, by their keys."""

CHANGED: dict[type[BaseModel], dict[str, Any]] = {
    Recipe: {
        "name": "other",
        "model": str(SMALL),
        "start": NO_CHANGE,  # another run: see `test_a_run_that_starts_from_another_run`
        "data": {"path": "other.jsonl"},
        "system": "Answer.",
        "objective": {"kind": "sft"},
        "reward": {"format": 1.0},
        "probe": None,
        "steps": 61,
        "budget": {"unit": "steps", "amount": 5},
        "stop": 5,  # one at the last step is none: see `test_a_stop_at_the_last_step_is_none`
        "prompts": 17,
        "minibatches": 2,
        "sampling": {"temperature": 0.5},
        "rollout": {"url": "http://localhost:8000"},  # where it is changes nothing: see `test_a_server_that_samples`
        "staleness": NO_CHANGE,  # only beside a server: see `test_how_stale_replies_may_be`
        "optimizer": {"lr": 1e-5},
        "trainable": "all",
        "adapter": None,
        "precision": "bfloat16",
        "gradient_checkpointing": True,
        "teacher": NO_CHANGE,  # only some methods have one: see `test_a_teacher`
        "fully_shard": NO_CHANGE,  # where weights lie, which moves nothing but last digits
        "patience": NO_CHANGE,  # a run that goes on after it was stopped is the same run
        "tokens_per_forward": 1000,
        "checkpoint_every": 21,
        "checkpoint_minutes": 5.0,
        "seed": 1,
    },
    Data: {
        "path": "other.jsonl",
        "kind": "digit",
        "fields": {"answer": "gold"},
        "preset": "chartqa",
        "worlds": NO_CHANGE,  # in place of a path: see `test_worlds`
        "environment": NO_CHANGE,  # see `test_environments`
        "tasks": NO_CHANGE,
        "split": NO_CHANGE,
        "seed": NO_CHANGE,
        "level": NO_CHANGE,
        "shifted": NO_CHANGE,
        "number": 7,
        "on_bad": "drop",
        "max_picture_pixels": 10_000,
        "pass_rate": {"scores": "runs/evaluate-base"},
    },
    GRPO: {
        "kind": "dapo",
        "kl": 0.1,
        "group_size": 4,
        "scale": "none",
        "loss_agg_mode": "token-mean",
        "zero_variance": "filter",
        "ratio": "sequence",
        "top_entropy": 0.2,
        "correction": "truncate",
        "correction_cap": 3.0,
        "correction_level": "sequence",
        "pass_k": 4,
        "clip_low": 0.1,
        "clip_high": None,
        "clip_dual": 3.0,
    },
    Reward: {
        "answer": "stated",
        "format": 1.0,
        "overlong": 0.2,
        "box": "stepped",
        "coordinates": "pixels",
        "digit_tolerance": 0.05,
        "math_tolerance": 0.05,
        "text": "anls",
        "environment": "partial",
        "open": {"scorer": "overlap", "beta": 1.0},
        "function": "mine:score",
        "truncated": "mask",
    },
    TrainingBudget: {"unit": "seconds", "amount": 5},
    Probe: {"data": {"worlds": ["digits"]}, "every": 7, "blind": ["gray"]},
    Optimizer: {
        "kind": "adamw-8bit",
        "offload": True,
        "lr": 1e-5,
        "warmup": 0.1,
        "floor": 0.1,
        "betas": [0.9, 0.95],
        "weight_decay": 0.1,
        "max_grad_norm": 2.0,
    },
    Sampling: {"max_new_tokens": 7, "temperature": 0.5},
    Lora: {"rank": 4, "alpha": 8.0, "targets": ["q_proj"], "quantize": "nf4"},
}
OF_ENVIRONMENT = {
    "environment": "reasoning-gym",  # there is no other yet
    "tasks": ["lcm"],
    "split": "test",
    "seed": 1,
    "level": {"max_value": 9},
    "number": 3,
}
OF_WORLDS = {"worlds": ["digits"], "split": "test", "seed": 1, "level": "easy", "shifted": True, "number": 3}

FULL = Example(
    question="How many?",
    images=(Picture(sha256="a" * 64, width=4, height=3, path="a.png"),),
    answer=Digit(value="7"),
    id="one",
    family="count",
    traces=(Trace(style="plain", text="<answer>7</answer>"),),
    system="Look.",
    scene="seven cats",
    meta={"bonus": 1},
)
OTHERWISE: dict[str, Any] = {
    "question": "How many cats?",
    "images": (Picture(sha256="b" * 64, width=4, height=3, path="a.png"),),
    "answer": Digit(value="8"),
    "id": "two",  # it seeds the replies
    "family": "digits",  # tables have a line for each
    "traces": (Trace(style="plain", text="<answer>8</answer>"),),
    "system": "Look twice.",
    "scene": "eight cats",
    "meta": {"bonus": 2},
}
ANSWERS: list[tuple[Answer, dict[str, Any]]] = [
    (Digit(value="7"), {"value": "8", "tolerance": 0.1}),
    (Choice(letter="A", options=("x", "y")), {"letter": "B", "options": ("x", "z")}),
    (Letters(letters="AC", options=("x", "y", "z")), {"letters": "AB", "options": ("x", "y", "w")}),
    (Expression(latex="x"), {"latex": "y"}),
    (Box(xyxy=(0, 0, 1, 1)), {"xyxy": (0, 0, 1, 0.5), "size": (4, 3), "coordinates": "pixels"}),
    (Text(value="cat"), {"value": "dog", "aliases": ("kitten",)}),
    (OpenEnded(reference="a cat"), {"reference": "a dog"}),
    (
        Environment(value="7", environment="reasoning-gym", task="gcd", entry="{}"),
        {"value": "8", "environment": "another", "task": "lcm", "entry": '{"metadata": {}}'},
    ),
]


def as_read(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in code_files("mine").values()]


def recipe_id(content: dict[str, Any], examples: list[Example] | None = None) -> str:
    return content_id(Recipe.model_validate(content).identity(examples or []))


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a reward function of a user's own; no hash is remembered outside it."""
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk/mine.py").write_text("def score(reply, answer):\n    return 1.0\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


# ---- recipes and protocols


@pytest.mark.parametrize("model", CHANGED, ids=lambda model: model.__name__)
def test_every_key_of_a_recipe_is_in_its_id(model: type[BaseModel]) -> None:
    assert CHANGED[model].keys() == model.model_fields.keys(), "a new key needs a decision: does it change a result?"
    before = recipe_id(RECIPE)
    for field, value in CHANGED[model].items():
        if value is NO_CHANGE:
            continue
        there = RECIPE if model is Recipe else RECIPE[AT[model]]
        changed = {**there, field: value}
        assert recipe_id(changed if model is Recipe else {**RECIPE, AT[model]: changed}) != before, field


def test_the_precision_and_the_optimizer_that_every_run_once_had_are_not_in_the_id() -> None:
    said = {"precision": "float32", "optimizer": {"kind": "adamw", "offload": False}}
    content = Recipe.model_validate({**RECIPE, **said}).identity([])
    assert "precision" not in content and content["optimizer"].keys() == {
        "lr",
        "warmup",
        "floor",
        "weight_decay",
        "max_grad_norm",
    }
    assert content_id(content) == recipe_id(RECIPE)  # `auto`, on a CPU
    pure = {**RECIPE, "precision": "bfloat16-pure"}
    assert recipe_id(pure) == recipe_id({**pure, "optimizer": {"kind": "adamw-kahan"}})


def test_auto_is_in_the_id_as_what_it_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Accelerator(memory=24 * 2**30, has_bfloat16=True)
    monkeypatch.setattr(Accelerator, "here", classmethod(lambda cls: here))
    assert Recipe.model_validate(RECIPE).identity([])["precision"] == "bfloat16"
    monkeypatch.setattr(Accelerator, "here", classmethod(lambda cls: here._replace(has_bfloat16=False)))
    assert "precision" not in Recipe.model_validate(RECIPE).identity([])


def test_a_server_that_samples_is_in_the_id_and_where_it_is_is_not() -> None:
    def served(**said: Any) -> str:
        return recipe_id({**RECIPE, "rollout": {"url": "http://a", **said}})

    changed: dict[str, Any] = {"url": "http://b", "weights": "/tmp", "key_env": "KEY", "timeout_s": 5.0}
    decided = {"engine", *changed}  # there is no other engine yet
    assert Served.model_fields.keys() == decided, "a new key needs a decision: does it change a result?"
    assert {served(), *(served(**{key: value}) for key, value in changed.items())} == {served()}
    assert served() != recipe_id(RECIPE)


def test_how_stale_replies_may_be_is_in_the_id_and_not_where_none_may() -> None:
    served = {**RECIPE, "rollout": {"url": "http://a"}}
    assert recipe_id({**served, "staleness": 1}) not in (recipe_id(served), recipe_id({**served, "staleness": 2}))
    assert "staleness" not in Recipe.model_validate(served).identity([])


def test_a_stop_at_the_last_step_is_none() -> None:
    assert recipe_id({**RECIPE, "steps": 7, "stop": 7}) == recipe_id({**RECIPE, "steps": 7})
    assert "stop" not in Recipe.model_validate(RECIPE).identity([])


def test_worlds() -> None:
    base = {"worlds": ["count"]}
    said = {base_field for base_field, value in CHANGED[Data].items() if value is NO_CHANGE}
    assert said <= OF_WORLDS.keys() | OF_ENVIRONMENT.keys()
    for field, value in OF_WORLDS.items():
        assert recipe_id({**RECIPE, "data": {**base, field: value}}) != recipe_id({**RECIPE, "data": base}), field


def test_environments() -> None:
    base = {"environment": "reasoning-gym", "tasks": ["gcd"]}
    for field, value in OF_ENVIRONMENT.items():
        changed = {**RECIPE, "data": {**base, field: value}}
        assert field == "environment" or recipe_id(changed) != recipe_id({**RECIPE, "data": base}), field


def test_a_pass_rate_is_in_the_id_and_where_its_scores_lie_is_not() -> None:
    changed: dict[str, Any] = {"least": 0.3, "most": 0.7}
    decided = {"scores", *changed}  # what they have left is in data_id
    assert PassRate.model_fields.keys() == decided, "a new key needs a decision: does it change a result?"

    def filtered(**said: Any) -> str:
        return recipe_id({**RECIPE, "data": {"path": "data.jsonl", "pass_rate": {"scores": "a", **said}}})

    assert len({recipe_id(RECIPE), filtered(), *(filtered(**{key: v}) for key, v in changed.items())}) == 4
    assert filtered(scores="b") == filtered()
    assert recipe_id({**RECIPE, "data": {"path": "data.jsonl", "pass_rate": None}}) == recipe_id(RECIPE)


def test_what_a_probe_asks_is_in_the_id_and_a_run_without_one_keeps_its_own() -> None:
    recipe = Recipe.model_validate(RECIPE)
    assert recipe.identity([], [FULL]) != recipe.identity([], [FULL.model_copy(update=OTHERWISE)])
    without = Recipe.model_validate({**RECIPE, "probe": None}).identity([])
    assert not {"probe", "probe_id"} & without.keys()


def test_every_key_of_a_scorer_is_in_the_id() -> None:
    judge = {"scorer": "judge", "url": "http://a/v1", "model": "m"}
    changed = [{"url": "http://b/v1"}, {"model": "n"}, {"beta": 1.0}, {"deadline_s": 1.0}]
    others = [*({**judge, **change} for change in changed), {"scorer": "service", "url": "http://a/v1"}]
    decided = {"scorer", "key_env"}.union(*changed)  # a key's name changes no score
    assert OpenEndedScoring.model_fields.keys() == decided, "a new key needs a decision: does it change a result?"
    assert len({recipe_id({**RECIPE, "reward": {"open": said}}) for said in [judge, *others]}) == 1 + len(others)


def test_a_run_that_starts_from_another_run(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.json").write_text(json.dumps({"id": name}))
        (tmp_path / name / "DONE").touch()
        found.add(recipe_id({**RECIPE, "start": str(tmp_path / name)}))
    shutil.move(tmp_path / "a", tmp_path / "moved")
    assert len(found | {recipe_id({**RECIPE, "start": str(tmp_path / "moved")})}) == 2


def test_a_teacher(tmp_path: Path) -> None:
    shutil.copytree(SMALL, tmp_path / "folder")
    shutil.copytree(SMALL, tmp_path / "run/model")
    (tmp_path / "run/DONE").touch()
    taught = {**RECIPE, "objective": {"kind": "opd"}}
    changed = {"model": str(tmp_path / "folder"), "system": "Look.", "suffix": " Think.", "precision": "bfloat16"}
    assert changed.keys() == TeacherPolicy.model_fields.keys(), "a new key needs a decision: does it change a result?"
    before = recipe_id({**taught, "teacher": "small"})
    same = ({"model": "small", "precision": "float32"}, str(tmp_path / "folder"), str(tmp_path / "run"))
    assert {recipe_id({**taught, "teacher": said}) for said in same} == {before}  # wherever the same weights lie
    config = tmp_path / "folder/config.json"
    config.write_text(config.read_text() + " ")
    found = {recipe_id({**taught, "teacher": {"model": "small", field: value}}) for field, value in changed.items()}
    assert len({before, *found}) == 5


def test_every_key_of_a_protocol_is_in_an_evaluation_s_id() -> None:
    changed = {
        "max_new_tokens": 7,
        "samples": 3,
        "temperature": 0.5,
        "seed": 1,
        "system": "Look.",
        "greedy": False,
        "answer": "tags",
        "suffix": "!",
        "min_pixels": 100,
        "max_pixels": 10_000,
        "precision": "bfloat16",
        "prediction": "answer_block",
        "blind": "gray",
        "rollout": {"url": "http://localhost:8000"},
    }
    assert changed.keys() == Protocol.model_fields.keys(), "a new key needs a decision: does it change a result?"
    data = Data(worlds=("count",))
    before = settings(data, Protocol())
    assert all(settings(data, Protocol.model_validate({field: v})) != before for field, v in changed.items())
    assert settings(data, Protocol(precision="float32")) == before  # `auto`, on a CPU


def test_how_answers_are_judged_is_in_an_evaluation_s_id() -> None:
    data = Data(worlds=("count",))
    before = settings(data, Protocol())
    silent = {f for f, v in CHANGED[Reward].items() if settings(data, Protocol(), Reward(**{f: v})) == before}
    assert silent == {"answer", "format", "overlong", "truncated"}  # training's; a protocol has an `answer` of its own


def test_what_a_server_is_asked_is_in_an_evaluation_s_id() -> None:
    asked = {"base_url": "http://b/v1", "model": "n", "extra": {"top_p": 0.5}}
    waiting = {"key_env", "timeout_s", "in_flight", "attempts", "prompt_price", "completion_price"}
    others = {*Endpoint.model_fields} - {*asked} - waiting
    server = Endpoint(base_url="http://a/v1", model="m")
    before = model_identity(server)
    for field, value in asked.items():
        assert model_identity(server.model_copy(update={field: value})) != before, field
    assert others <= {"temperature", "max_tokens", "seed"}  # of teachers: the protocol says them here


def test_how_a_benchmark_is_judged_and_added_up_is_in_an_evaluation_s_id() -> None:
    changed: dict[str, Any] = {
        "name": "other",
        "gold": (Gold(kind="digit", answer="gold"),),
        "short_answer": "answer",
        "leaderboard": "mathvista",
        "aggregate": "worst",
        "cluster": "question",
        "groups": ("subject",),
    }
    in_rows = {"files", "worlds", "columns", "fields", "only", "prompt", "option_line", "shuffle"}
    of_no_result = {"title", "source", "hub", "rows", "required"}  # `required` refuses rows, or does nothing
    of_the_protocol = {"draws", "protocol"}
    decided = {*changed, *in_rows, *of_no_result, *of_the_protocol}
    assert decided == Benchmark.model_fields.keys(), "a new key needs a decision: does it change a result?"
    base = Benchmark.model_validate({"name": "mine", "title": "Mine", "worlds": {"worlds": ["count"]}})
    found = [base.model_copy(update={field: value}).identity for field, value in changed.items()]
    assert all(one != base.identity for one in found)


# ---- examples


def test_all_that_a_run_reads_of_an_example_is_in_its_id() -> None:
    assert OTHERWISE.keys() == Example.model_fields.keys(), "a new field needs a decision: what reads it?"
    other = [FULL.model_copy(update={field: value}) for field, value in OTHERWISE.items()]
    assert len({data_id([example]) for example in [FULL, *other]}) == 1 + len(other)
    assert data_id([FULL, other[0]]) != data_id([other[0], FULL])  # a step draws by place


@pytest.mark.parametrize(("answer", "changed"), ANSWERS, ids=lambda one: getattr(one, "kind", ""))
def test_all_of_an_answer_is_in_the_id(answer: Answer, changed: dict[str, Any]) -> None:
    assert {*changed, "kind"} == {*type(answer).model_fields}, "a new field needs a decision"
    other = [answer.model_copy(update={field: value}) for field, value in changed.items()]
    found = {data_id([FULL.model_copy(update={"answer": one})]) for one in [answer, *other]}
    assert len(found) == 1 + len(other)


def test_every_kind_of_answer_is_in_the_table() -> None:
    kinds = get_args(get_args(Answer)[0])
    assert {type(answer) for answer, _ in ANSWERS} == {*kinds}


def test_a_picture_counts_by_its_content_wherever_it_lies() -> None:
    moved = FULL.images[0].model_copy(update={"path": "elsewhere/a.png"})
    assert data_id([FULL]) == data_id([FULL.model_copy(update={"images": (moved,)})])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"objective": {"kind": "grpo"}}, "traces"),
        ({"reward": {}}, "scene"),
        ({"reward": {}}, "meta"),
    ],
)
def test_what_a_run_does_not_read_makes_no_other_run(content: dict[str, Any], field: str) -> None:
    other = FULL.model_copy(update={field: OTHERWISE[field]})
    assert recipe_id({**RECIPE, **content}, [FULL]) == recipe_id({**RECIPE, **content}, [other])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"objective": {"kind": "sft"}}, "traces"),
        ({"objective": {"kind": "luffy"}}, "traces"),
        ({"reward": {"open": {"scorer": "overlap"}}}, "scene"),
        ({"reward": {"function": "mine:score"}}, "meta"),
        ({}, "system"),
    ],
)
def test_what_a_run_reads_makes_another_run(content: dict[str, Any], field: str) -> None:
    other = FULL.model_copy(update={field: OTHERWISE[field]})
    assert recipe_id({**RECIPE, **content}, [FULL]) != recipe_id({**RECIPE, **content}, [other])


# ---- model folders


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALL, tmp_path / "model"))


def flip(at: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    return change


def more(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.safetensors", flip(-1)),
        ("model.safetensors", flip(SMALL.joinpath("model.safetensors").stat().st_size // 2)),
        ("config.json", more),
        ("generation_config.json", more),
        ("preprocessor_config.json", more),
        ("tokenizer.json", more),
        ("tokenizer_config.json", more),
        ("chat_template.jinja", more),
    ],
)
def test_every_byte_that_is_read_of_a_model_s_folder_is_in_its_id(
    model: Path, name: str, change: Callable[[Path], None]
) -> None:
    before = folder_id(model), recipe_id({**RECIPE, "model": str(model)}), model_identity(model)
    change(model / name)
    after = folder_id(model), recipe_id({**RECIPE, "model": str(model)}), model_identity(model)
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_folder_s_files_all_count_and_its_place_does_not(model: Path, tmp_path: Path) -> None:
    before = folder_id(model)
    assert folder_id(Path(shutil.copytree(model, tmp_path / "copied"))) == before
    for name in ("merges.txt", "vocab.json", "spiece.model", "adapter_model.safetensors", "adapter_config.json"):
        (model / name).write_bytes(b"{}")
        assert folder_id(model) != before, name
        before = folder_id(model)
    (model / "README.md").write_text("Other words.")
    assert folder_id(model) == before


def test_a_reward_model_s_folder_is_in_the_id(model: Path) -> None:
    scored = {**RECIPE, "reward": {"open": {"scorer": "model", "model": str(model)}}}
    before = recipe_id(scored), settings(Data(worlds=("count",)), Protocol(), Reward(**scored["reward"]))
    flip(-1)(model / "model.safetensors")
    assert recipe_id(scored) != before[0]
    assert settings(Data(worlds=("count",)), Protocol(), Reward(**scored["reward"])) != before[1]


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hashes of files of any size and age are kept."""
    monkeypatch.setattr(identity, "_REMEMBERED", 0)
    monkeypatch.setattr(identity, "_SETTLED_S", -1.0)
    return tmp_path / "cache/firsthand/sha256"


def test_a_large_file_is_hashed_once(model: Path, remembering: Path) -> None:
    before = folder_id(model)
    kept = sorted(remembering.iterdir())
    assert len(kept) == len([p for p in model.iterdir() if p.suffix != ".md"])
    assert folder_id(model) == before and sorted(remembering.iterdir()) == kept
    for path in kept:
        path.write_text("0" * 64)
    assert folder_id(model) != before  # what is kept is believed
    for path in kept:
        path.write_text("torn")
    assert folder_id(model) == before  # unless it cannot be a hash


def test_a_file_that_changes_under_its_size_and_time_is_hashed_again(model: Path, remembering: Path) -> None:
    weights = model / "model.safetensors"
    before, stat = folder_id(model), weights.stat()
    flip(-1)(weights)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert weights.stat().st_size == stat.st_size and weights.stat().st_mtime_ns == stat.st_mtime_ns
    assert folder_id(model) != before


def test_a_file_that_has_just_changed_is_not_remembered(
    model: Path, remembering: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_SETTLED_S", 3600.0)
    folder_id(model)
    assert not remembering.exists()


def test_a_cache_that_cannot_be_written_is_no_error(
    model: Path, remembering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder_id(model)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert folder_id(model) == before
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert folder_id(model) == before and not Path("not").exists()


# ---- a user's own code


def test_the_file_of_a_method_that_a_script_registers_is_in_the_id(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firsthand.objective.presets.PRESETS", {**PRESETS})
    found = []
    for factor in (1, 2):
        (desk / "script.py").write_text(f"def plain(table, totals, settings): return {{'policy': {factor}}}\n")
        module = runpy.run_path(str(desk / "script.py"))
        monkeypatch.delitem(presets.PRESETS, "plain", raising=False)
        register("plain", module["plain"])
        found.append(recipe_id({**RECIPE, "objective": "plain"}))
    assert found[0] != found[1]
    assert "method_id" not in Recipe.model_validate({**RECIPE, "objective": "grpo"}).identity([])


def test_the_source_of_a_user_s_function_is_in_the_id(desk: Path) -> None:
    own = {**RECIPE, "reward": {"function": "mine:score"}}
    judged = Reward(function="mine:score")
    before = recipe_id(own), settings(Data(worlds=("count",)), Protocol(), judged)
    (desk / "mine.py").write_text("def score(reply, answer):\n    return 0.0\n")
    assert recipe_id(own) != before[0]
    assert settings(Data(worlds=("count",)), Protocol(), judged) != before[1]


def test_what_a_module_imports_from_beside_it_counts_and_nothing_is_imported(desk: Path) -> None:
    package = desk / "rewards/inner"
    package.mkdir(parents=True)
    (desk / "mine.py").write_text("import json, numpy\nfrom rewards import inner\nraise SystemExit\n")
    (desk / "rewards/__init__.py").write_text("from rewards.words import WORDS\n")
    (desk / "rewards/words.py").write_text("WORDS = 1\n")
    (package / "__init__.py").write_text("from . import deep\nfrom ..words import WORDS\n")
    (package / "deep.py").write_text("import mine\n")
    (desk / "stranger.py").write_text("")
    assert sorted(as_read(desk)) == [
        "mine.py",
        "rewards/__init__.py",
        "rewards/inner/__init__.py",
        "rewards/inner/deep.py",
        "rewards/words.py",
    ]
    for path in code_files("mine").values():
        before = code_id("mine:score")
        path.write_text(path.read_text() + "# more\n")
        assert code_id("mine:score") != before, path
    assert code_files("rewards.inner.deep").keys() == code_files("mine").keys()


def test_code_that_is_no_python_or_not_there(desk: Path) -> None:
    (desk / "mine.py").write_text("def (:\n")
    assert code_id("mine:score") is not None
    assert code_id("nowhere:score") is None
    assert code_id("sys:exit") is None  # built in
    assert [*code_files("json.decoder")] == ["json.decoder"]  # installed: its own file alone
