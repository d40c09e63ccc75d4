"""YAML into models: what a user's typing mistakes are answered with."""

import re
from pathlib import Path
from typing import Any

import pytest

from firsthand.config import build, in_todays_names, override, read_recipe, read_yaml
from firsthand.errors import RecipeError
from firsthand.recipe import Recipe
from firsthand.records import Record
from firsthand.study import Study

SMALLEST: dict[str, Any] = {"name": "a", "data": {"worlds": ["count"]}}


class Leaf(Record):
    size: int = 1


class Middle(Record):
    leaf: Leaf = Leaf()
    leaves: tuple[Leaf, ...] = ()


class Root(Record):
    middle: Middle | None = None
    rate: float


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def complaint(model: type[Record], content: dict[str, Any]) -> list[str]:
    """The lines of the error, without the first one, which names the file."""
    with pytest.raises(RecipeError) as caught:
        build(model, content, "recipe.yaml")
    first, *lines = str(caught.value).split("\n")
    assert first == "recipe.yaml:"
    return [line.strip() for line in lines]


def bomb(depth: int) -> str:
    """A kilobyte that means 9 ** depth values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(12), "with all aliases written out"),
        ("a: &a {b: *a}", "one inside of what it stands for"),
        ("a: &a [*a]", "one inside of what it stands for"),
        (f"a: {'[' * 5000}", "nested too deeply"),
        ("a: 2026-13-45", "month must be in 1..12"),
        (f"a: {'9' * 5000}", "Exceeds the limit"),
        ("on: 1", "expected keys that are text, got True"),
        ("{a: {1: 2}}", "expected keys that are text, got 1"),
        ("a: [{2026-01-01: 1}]", "expected keys that are text, got datetime"),
        ('"a\\nb": 1', "expected keys that are text, got 'a\\nb'"),
        ("a: " + "x" * 2**20, "expected at most 1,048,576 bytes"),
    ],
    ids=["bomb", "cycle", "list-cycle", "deep", "date", "digits", "on", "number", "date-key", "line", "long"],
)
def test_yaml_that_would_fill_the_memory_or_break_what_reads_it_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(written(tmp_path, text))
    assert said in str(caught.value) and str(tmp_path / "recipe.yaml") in str(caught.value)
    if len(text) < 10_000:
        value = text if text.startswith("{") else f"{{{text}}}" if ":" in text[:6] and "\n" not in text else "[1"
        with pytest.raises(RecipeError, match="--set a="):
            override({}, [f"a={value}"])


def test_an_alias_is_read_as_what_it_stands_for(tmp_path: Path) -> None:
    content = read_yaml(written(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]"))
    assert content == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "inf", "1e999", "nan"])
def test_numbers_are_finite(value: object) -> None:
    """Also one that is written as text, which is how YAML reads 1e999."""
    assert complaint(Root, {"rate": value}) == ["rate: expected a finite number"]


def test_every_number_that_is_not_finite_is_named() -> None:
    endless = {"sampling": {"temperature": float("inf")}, "optimizer": {"weight_decay": "inf"}}
    assert complaint(Recipe, SMALLEST | endless) == [
        "sampling.temperature: expected a finite number",
        "optimizer.weight_decay: expected a finite number",
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"optimizer": {"lr": 1e4}},
            "optimizer.lr: expected at most 1, .* got 10000; published runs take 1e-6 to 1e-3",
        ),
        (
            {"optimizer": {"lr": 0.1, "weight_decay": 10}},
            "optimizer.weight_decay: expected less than 1 / lr, .* got 10",
        ),
        ({"sampling": {"temperature": 70}}, "sampling.temperature: expected at most 10, .* got 70; 1.0 is usual"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(changed: dict[str, Any], said: str) -> None:
    [line] = complaint(Recipe, SMALLEST | changed)
    assert re.search(said, line)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"rates": 1.0, "rate": 1.0}, "rates: unknown key; did you mean 'rate'?"),
        ({"rate": 1.0, "middle": {"leave": {}}}, "middle.leave: unknown key; did you mean 'leaves'?"),
        ({"rate": 1.0, "middle": {"leaf": {"sise": 2}}}, "middle.leaf.sise: unknown key; did you mean 'size'?"),
        (
            {"rate": 1.0, "middle": {"leaves": [{}, {"siz": 2}]}},
            "middle.leaves.1.siz: unknown key; did you mean 'size'?",
        ),
        ({"rate": 1.0, "middle": {"zzz": 2}}, "middle.zzz: unknown key; known: leaf, leaves"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name_beside_it(content: dict[str, Any], line: str) -> None:
    assert complaint(Root, content) == [line]


@pytest.mark.parametrize(
    ("objective", "line"),
    [
        ({"kind": "grpo", "group_sise": 4}, "objective.group_sise: unknown key; did you mean 'group_size'?"),
        ({"kind": "sft", "styel": "plain"}, "objective.styel: unknown key; did you mean 'style'?"),
        # `group_size` belongs to another method, so it is no suggestion here.
        ({"kind": "sft", "group_size": 4}, "objective.group_size: unknown key; known: dft, kind, kl, style"),
        (
            {"kind": "grpo-d", "kl": {"low": 0.1, "hgih": 0.2}},
            "objective.kl.grpo-d.hgih: unknown key; did you mean 'high'?",
        ),
    ],
)
def test_inside_the_objective_only_the_keys_of_its_kind_are_suggested(objective: dict[str, Any], line: str) -> None:
    assert complaint(Recipe, {**SMALLEST, "objective": objective}) == [line]


def test_every_problem_is_reported_at_once_with_what_was_got() -> None:
    assert complaint(Recipe, {"name": "a", "stepz": 3, "prompts": 0, "trainable": "all", "seed": "x"}) == [
        "data: required, but not given",
        "prompts: input should be greater than 0, got 0",
        "seed: input should be a valid integer, unable to parse string as an integer, got 'x'",
        "stepz: unknown key; did you mean 'steps'?",
    ]


def test_an_unknown_kind_of_objective_is_answered_with_the_known_ones() -> None:
    (line,) = complaint(Recipe, {**SMALLEST, "objective": {"kind": "gpro"}})
    assert line.startswith("objective.kind: unknown method 'gpro'; known: sft, dft, grpo, ")


def test_what_a_validator_says_is_shown_as_it_is() -> None:
    assert complaint(Recipe, {"name": "a", "data": {}}) == [
        "data: give either `path` or `worlds`, or `environment` with `tasks`"
    ]
    assert complaint(Recipe, {**SMALLEST, "name": "a/b"}) == [
        "name 'a/b' becomes a folder: use letters, digits, '.', '+', '-' and '_'"
    ]


def test_a_file_becomes_a_model(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\ndata: {worlds: [count]}\noptimizer: {lr: 1e-5}\n")
    recipe = build(Recipe, read_yaml(path), str(path))
    assert recipe.optimizer.lr == 1e-5  # YAML 1.1 reads it as text
    assert recipe.data.worlds == ("count",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [unclosed", "not readable as YAML"),
        ("a: b: c", "not readable as YAML"),
        ("- a\n- b", "expected `key: value` lines, got list"),
        ("just words", "expected `key: value` lines, got str"),
        ("", "expected `key: value` lines, got NoneType"),
        ("!!python/object/apply:os.system ['true']", "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(RecipeError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: no such file"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_assignments_reach_any_depth_and_leave_the_rest_and_the_original_alone() -> None:
    content = {"steps": 1, "optimizer": {"lr": 1.0, "floor": 0.5}}
    changed = override(content, ["steps=2", "optimizer.lr=1e-5", "reward.format=1", "a.b.c=deep"])
    assert changed == {
        "steps": 2,
        "optimizer": {"lr": 1e-5, "floor": 0.5},
        "reward": {"format": 1},
        "a": {"b": {"c": "deep"}},
    }
    assert content == {"steps": 1, "optimizer": {"lr": 1.0, "floor": 0.5}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2", 2),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("sft+grpo", "sft+grpo"),
        ("[count, chart]", ["count", "chart"]),
        ("a=b", "a=b"),
        ("{kind: sft}", {"kind": "sft"}),
    ],
)
def test_assigned_values_are_read_as_yaml_and_1e_5_is_a_number(text: str, value: Any) -> None:
    found = override({}, [f"key={text}"])["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("assignment", ["steps", "=3", "steps: 3", "steps=[1", "steps={a: b: c}"])
def test_a_malformed_assignment_is_refused_and_repeated(assignment: str) -> None:
    with pytest.raises(RecipeError, match=r"--set") as caught:
        override({}, [assignment])
    assert f"--set {assignment}: " in str(caught.value)


def test_an_assignment_below_something_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--set steps\.x=1: 'steps' holds 60, which has no keys of its own"):
        override({"steps": 60}, ["steps.x=1"])


def test_a_study_file_takes_assignments_too(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "shared: {data: {worlds: [count]}, steps: 60}\narms: {base: {steps: 0}}\nevaluation: {data: {worlds: [count]}}",
    )
    study = Study.read(path, ["shared.steps=2", "evaluation.protocol.samples=0"])
    assert study.shared["steps"] == 2
    assert study.evaluation.protocol.samples == 0
    with pytest.raises(RecipeError, match=r"evaluation\.protocol\.sample: unknown key; did you mean 'samples'\?"):
        Study.read(path, ["evaluation.protocol.sample=0"])


# ---- renamed keys

OLD = """
name: a
data: {worlds: [count]}
objective: {kind: grpo, per: token, silent: filter}
sampling: {temperature: 0.8, seed: 3}
prompts: 4
updates: 2
"""
TODAY = {
    "name": "a",
    "data": {"worlds": ["count"]},
    "objective": {"kind": "grpo", "loss_agg_mode": "token-mean", "zero_variance": "filter"},
    "sampling": {"temperature": 0.8},
    "prompts": 4,
    "minibatches": 2,
}


def test_a_recipe_in_old_names_is_read_with_one_warning_that_has_the_new_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, OLD)
    content = read_recipe(path, ["objective.silent=keep", "steps=3"])
    assert content == {**TODAY, "objective": {**TODAY["objective"], "zero_variance": "keep"}, "steps": 3}
    assert build(Recipe, content, str(path)).minibatches == 2
    (warning,) = caplog.messages
    assert warning.startswith(f"{path}: keys have new names")
    told = ("zero_variance", "objective.loss_agg_mode", "updates is now minibatches", "sampling.seed is ignored")
    assert all(words in warning for words in told)


def test_todays_names_are_left_alone_and_warn_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert in_todays_names(TODAY, where="recipe a") == TODAY
    assert Recipe.model_validate(TODAY).objective.model_dump()["loss_agg_mode"] == "token-mean"
    assert caplog.messages == []


def test_an_assignment_in_an_old_name_goes_over_the_file_s_new_one(tmp_path: Path) -> None:
    path = written(tmp_path, "minibatches: 2\nobjective: {kind: sft, style: plain}\n")
    assert read_recipe(path, ["updates=4", "objective.trace=expert"]) == {
        "minibatches": 4,
        "objective": {"kind": "sft", "style": "expert"},
    }


def test_both_names_of_one_key_in_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="updates is now minibatches, and both are given; leave updates out"):
        read_recipe(written(tmp_path, "minibatches: 2\nupdates: 4\n"))


def test_a_study_in_old_names_is_read_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(
        tmp_path,
        "shared: {data: {worlds: [count]}, updates: 2}\n"
        "arms: {a: {objective: {kind: sft, trace: plain}}, b: {objective: {kind: sft, trace: expert}, updates: 1}}\n"
        "evaluation: {data: {worlds: [count]}}",
    )
    study = Study.read(path, ["arms.a.updates=4"])
    recipes = [study.recipe(arm, 0, {}) for arm in study.arms]
    assert [(r.minibatches, r.objective.model_dump()["style"]) for r in recipes] == [(4, "plain"), (1, "expert")]
    (warning,) = caplog.messages
    assert warning.count("objective.trace is now objective.style") == 1


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected a YAML file, got a folder; name the file in it"):
        read_yaml(tmp_path)
