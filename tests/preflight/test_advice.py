"""What preflight advises can be said, of every recipe that ships and of every kind of data; and cards by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import picture, tiny_folder

from firsthand.cli.main import main
from firsthand.cli.terminal.preflight import _gib
from firsthand.cli.training import RECIPES
from firsthand.config import build, override, read_yaml
from firsthand.cost import RunCost
from firsthand.errors import RecipeError
from firsthand.preflight import check as room
from firsthand.preflight.check import advise, changed, changes, expected_cost, ways
from firsthand.preflight.estimate import Estimator, Memory
from firsthand.preflight.machine import CARDS, Machine, machine_of
from firsthand.preflight.workload import Lengths, Workload, examine_data
from firsthand.recipe import Recipe
from firsthand.study import Study
from firsthand.trainer import train
from firsthand.worlds import SMALL

GIB = 2**30
HERE = Machine("a test", "cpu", 64 * GIB, 0, None)
WORKLOAD = Workload((Lengths(20, 6, ((1, 4, 6),), 24 * 1176 * 4, 8),), 40, 0.001)
SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "model", "qwen2_5_vl", layers=1)


@pytest.fixture
def desk(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model without weights, and a data file in columns of somebody's own."""
    shutil.copytree(model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "picture.png").write_bytes(picture(56, 56).encoded())
    rows = [{"ask": f"How many, {i}?", "gold": str(i), "image": "picture.png"} for i in range(8)]
    rows.append({"ask": "How many?", "gold": "3", "image": "nothere.png"})
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATH_RECIPE = {
    "name": "mine",
    "model": "model",
    "data": {"path": "data.jsonl", "kind": "digit", "fields": {"question": "ask", "answer": "gold"}, "on_bad": "drop"},
    "objective": "grpo",
    "prompts": 8,
    "sampling": {"max_new_tokens": 32},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_advice_for_a_recipe_that_ships_is_one_that_it_accepts(model: Path, name: str) -> None:
    content, prefixes = read_yaml(RECIPES / f"{name}.yaml"), {}
    if "arms" in content:
        study = build(Study, content, name)
        starts = {arm: Path(arm) for arm in study.arms}
        prefixes = {f"arms.{arm}.": study.recipe(arm, 0, starts) for arm in study.arms}
    else:
        prefixes[""] = build(Recipe, content, name)
    for prefix, recipe in prefixes.items():
        estimator = Estimator(model, WORKLOAD, HERE)
        found = changes(recipe, estimator)
        assert "gradient_checkpointing" in found or recipe.gradient_checkpointing
        for change in found.values():
            tried = changed(recipe, change)
            assert tried != recipe
            assert tried.data == recipe.data
            if prefix.count(".") > 2:
                continue  # an arm whose name has a dot cannot be named by `--set`
            typed = override(content, [prefix + change])  # as a user gives it, over the file
            if prefix:
                arm = prefix.removeprefix("arms.").removesuffix(".")
                assert build(Study, typed, name).recipe(arm, 0, starts) == tried
            else:
                assert build(Recipe, typed, name) == tried


def test_advice_for_a_path_is_recomputed_and_fits(desk: Path) -> None:
    recipe = build(Recipe, PATH_RECIPE, "test")
    estimator = Estimator(desk / "model", examine_data(recipe, desk / "model"), HERE)
    least = advise(recipe, estimator, 0)[-1].total
    advice = advise(recipe, estimator, least)
    content: dict[str, object] = dict(PATH_RECIPE)
    for piece in advice:
        content = override(content, [piece.change])
        assert estimator.memory(build(Recipe, content, piece.change)).total == piece.total
    assert advice[-1].total <= least


def test_a_path_that_does_not_fit_is_answered_with_settings_that_the_command_takes(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "recipe.yaml").write_text(json.dumps(PATH_RECIPE))
    recipe = build(Recipe, PATH_RECIPE, "test")
    estimator = Estimator(desk / "model", examine_data(recipe, desk / "model"), HERE)
    free = (advise(recipe, estimator, 0)[0].total + estimator.memory(recipe).total) // 2
    monkeypatch.setattr(room, "find_machine", lambda: Machine("a test", "cpu", free, 0, None))
    assert main(["train", "recipe.yaml", "--preflight"]) == 1
    told = capsys.readouterr().err
    assert "with all of these it fits" in told
    said = [line.split("'")[1] for line in told.splitlines() if line.startswith("  --set")]
    assert said
    assert main(["train", "recipe.yaml", "--preflight", *(part for s in said for part in ("--set", s))]) == 0


@pytest.mark.parametrize(
    ("said", "name", "gib"),
    [
        ("h100-80gb", "h100-80gb", 80),
        ("NVIDIA H100 80GB", "h100-80gb", 80),
        ("a100_40gb", "a100-40gb", 40),
        ("rtx4090", "rtx4090-24gb", 24),
        ("RTX 4090", "rtx4090-24gb", 24),
        ("24", "a card of 24 GiB", 24),
        ("11.5 GiB", "a card of 11.5 GiB", 11.5),
    ],
)
def test_a_card_is_known_by_its_name_or_its_memory(said: str, name: str, gib: float) -> None:
    found = machine_of(said)
    assert found.name == name
    assert 0.9 * gib * GIB < found.free < 0.96 * gib * GIB
    assert (found.rates(torch.float32) is None) == name.startswith("a card")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("h10-80gb", "did you mean 'h100-80gb'"),
        ("a100", "which of a100-80gb, a100-40gb?"),
        ("", "such as 24"),
        ("0", "more than 0 GiB"),
        ("9" * 400, "more than 0 GiB"),
        ("nan", "such as 24"),
        ("-24", "such as 24"),
    ],
)
def test_an_unknown_card_is_answered_with_the_nearest(said: str, answer: str) -> None:
    with pytest.raises(RecipeError, match="--device") as error:
        machine_of(said)
    assert answer in str(error.value)


def test_rates_are_below_those_of_the_data_sheet_and_those_of_the_precision() -> None:
    for name, card in CARDS.items():
        assert name.endswith(f"-{card.gigabytes}gb")
        plain, half = (machine_of(name).rates(dtype) for dtype in (torch.float32, torch.bfloat16))
        assert plain is not None
        assert 0.5 * card.float32 * 1e12 < plain.flops < card.float32 * 1e12
        assert (half is None) == (card.bfloat16 is None)
        assert half is None or half.flops > plain.flops


def test_a_card_is_examined_without_one(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "recipe.yaml").write_text(json.dumps(PATH_RECIPE))
    assert main(["train", "recipe.yaml", "--preflight", "--device", "rtx4090"]) == 0
    told = capsys.readouterr().out
    for said in ("on rtx4090-24gb", "what fits into 22.6 GiB", "bfloat16, nf4", "per step"):
        assert said in told
    assert main(["train", "recipe.yaml", "--preflight", "--device", "0.001"]) == 1
    told_of_none = capsys.readouterr()
    assert "per step" not in told_of_none.out
    assert "a card of 0.001 GiB" in told_of_none.err
    assert main(["train", "recipe.yaml", "--preflight", "--device", "rtx4900"]) == 2
    assert "did you mean 'rtx4090-24gb'?" in capsys.readouterr().err
    assert main(["train", "recipe.yaml", "--device", "rtx4090"]) == 2
    assert "add --preflight" in capsys.readouterr().err


def study_of(desk: Path) -> Study:
    """A study of arms that differ in size, one after another arm; written as study.yaml, too."""
    shared = {key: value for key, value in PATH_RECIPE.items() if key != "name"} | {"steps": 4}
    arms = {
        "base": {"steps": 0},
        "grpo": {},
        "light": {"adapter": {}},
        "then": {"start": "grpo", "model": "nowhere", "steps": 2},
    }
    content = {"shared": shared, "arms": arms, "evaluation": {"data": {"worlds": ["count"], "number": 2}}}
    (desk / "study.yaml").write_text(json.dumps(content))
    return build(Study, content, "test")


def test_the_arms_of_a_study_are_examined_in_one_table(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(desk)
    before = sorted(desk.rglob("*"))
    assert main(["study", "study.yaml", "--preflight", "--device", "rtx4090", "--seeds", "0", "1"]) == 0
    told = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in told.splitlines() if line[:1].isalpha()}
    assert lines["base"] == ["base", *["-"] * 6]
    totals = {}
    for arm in ("grpo", "light", "then"):
        plan = room.preflight(study.recipe_from_scratch(arm, 0), "rtx4090", alone=False)
        assert lines[arm][1:4] == [_gib(plan.memory.total), plan.memory.worst, "yes"]
        assert lines[arm][-1] == f"{plan.cost.flops / 1e12:,.3g}"
        totals[arm] = plan.memory.total
    assert totals["light"] < totals["grpo"] == totals["then"]
    assert "22.6 GiB are free (rtx4090-24gb)" in told and "for all arms, 2 seeds" in told
    assert sorted(desk.rglob("*")) == before


@pytest.mark.slow
def test_arms_that_do_not_fit_are_answered_with_settings_that_the_command_takes(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(desk)
    workload, card = examine_data(study.recipe("grpo", 0, {}), desk / "model"), machine_of("1")
    estimator = Estimator(desk / "model", workload, card)
    grpo, light = (estimator.memory(study.recipe(arm, 0, {})).total for arm in ("grpo", "light"))
    command = ["study", "study.yaml", "--preflight", "--device", f"{(grpo + light) / 2 / card.free:.9f}"]
    assert main(command) == 1
    said = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in said.out.splitlines() if line[:1].isalpha()}
    assert [arm for arm, line in lines.items() if "no" in line] == ["grpo", "then"]
    typed = [line.split("'")[1] for line in said.err.splitlines() if line.startswith("  --set")]
    assert {one.split(".")[1] for one in typed} == {"grpo", "then"}
    assert main([*command, *(part for one in typed for part in ("--set", one))]) == 0


def test_ways_are_what_preflight_says_of_each(desk: Path) -> None:
    recipe = build(Recipe, PATH_RECIPE, "test")
    estimator = Estimator(desk / "model", examine_data(recipe, desk / "model"), machine_of("24"))
    row = sum(room.longest_row(recipe, estimator.workload))
    found = {way[:3]: way.total for way in ways(recipe, estimator)}
    assert {way[0] for way in found} == {"all", "language", "adapter"}
    typed = ["precision=bfloat16", "optimizer.offload=true", f"tokens_per_forward={row}", "gradient_checkpointing=true"]
    content = override(PATH_RECIPE, [*typed, "trainable=all"])
    assert found["all", "bfloat16, offload", True] == estimator.memory(build(Recipe, content, "typed")).total
    assert (
        found["all", "float32", False]
        > found["all", "bfloat16-pure", False]
        > found["language", "bfloat16-pure", False]
    )
    assert found["adapter", "bfloat16", False] > found["adapter", "bfloat16, nf4", False]
    old = Estimator(desk / "model", estimator.workload, machine_of("t4"))
    assert {way.precision for way in ways(recipe, old)} == {"float32"}


def test_the_docs_list_the_cards() -> None:
    page = (Path(__file__).parents[2] / "docs" / "preflight.md").read_text()
    for name, card in CARDS.items():
        bfloat16 = "-" if card.bfloat16 is None else f"{card.bfloat16:g}"
        rates = f"{card.float32:g} | {bfloat16} | {card.bandwidth:,}"
        assert f"| `{name}` | {card.gigabytes} | {rates} | {card.source} |" in page


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "sft", "style": "plain"},
        {"kind": "grpo", "group_size": 2, "kl": 0.1},
        {"kind": "papo", "group_size": 2},
        {"kind": "noisy-rollout", "group_size": 2, "kl": 0.1},
    ],
    ids=str,
)
def test_the_cost_that_is_expected_is_counted_as_the_run_counts_it(
    tmp_path: Path, objective: dict[str, object]
) -> None:
    content = {
        "name": "cost",
        "data": {"worlds": ["count"], "number": 4},
        "objective": objective,
        "prompts": 4,
        "steps": 1,
        "sampling": {"max_new_tokens": 1},
    }
    recipe = build(Recipe, content, "test")
    spent = RunCost.read(train(recipe, tmp_path))
    expected = expected_cost(recipe.settled(None), Estimator(SMALL, examine_data(recipe, SMALL), HERE))
    assert spent.flops is not None
    assert expected == (spent.prompt_tokens, spent.generated_tokens, spent.trained_tokens, round(spent.flops))


class TwoPhases:
    """Stands for an estimator: an update that checkpoints and short forwards make small, and a rollout."""

    workload, machine = WORKLOAD, HERE

    def settled(self, recipe: Recipe) -> Recipe:
        return recipe.settled(None)

    def memory(self, recipe: Recipe) -> Memory:
        update = 100 if not recipe.gradient_checkpointing else 30 if recipe.tokens_per_forward is None else 10
        return Memory({}, {"update": {"all": update}, "rollout": {"all": 31 if recipe.prompts == 8 else 12}})


def test_a_change_that_helps_only_after_another_is_advised_after_it() -> None:
    recipe = build(Recipe, {**PATH_RECIPE, "data": {"worlds": ["count"]}}, "test")
    advice = advise(recipe, TwoPhases(), 15)  # type: ignore[arg-type]
    assert [(a.change.partition("=")[0], a.total) for a in advice] == [
        ("gradient_checkpointing", 31),
        ("prompts", 30),
        ("tokens_per_forward", 12),
    ]
