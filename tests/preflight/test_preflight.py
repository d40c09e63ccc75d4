"""Whether a recipe fits, and how long it takes: counted on models without weights, and held against real ones."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from tiny import FAMILIES, tiny_folder
from tiny_families import family_folder

from firsthand.cli.main import main
from firsthand.config import build
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.lora import Lora
from firsthand.preflight import check as room
from firsthand.preflight.blueprint import Blueprint
from firsthand.preflight.check import advise, changed, changes
from firsthand.preflight.estimate import Estimator, per_weight
from firsthand.preflight.kernels import KernelCounter
from firsthand.preflight.machine import Machine, machine_of
from firsthand.preflight.workload import Lengths, Workload, examine_data
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.trainer.optimizer import Updater

GIB = 2**30
HERE = Machine("a test", "cpu", 64 * GIB, 0, None)
ROWS = ((12, 9, 9, 9, 9), (12, 9, 9, 9, 9))
RECIPE = {
    "name": "mine",
    "model": "model",
    "data": {"worlds": ["count"], "number": 40},
    "objective": {"kind": "grpo", "group_size": 4},
    "prompts": 4,
    "sampling": {"max_new_tokens": 16},
}


def recipe(**more: object) -> Recipe:
    return build(Recipe, {**RECIPE, **more}, "test").settled(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "model", "qwen2_5_vl", layers=1)


@pytest.fixture
def workload() -> Workload:
    """Two prompts of 20 and 30 tokens, each with a picture of 24 patches, and demonstrations of 8 and 12 tokens."""
    picture_bytes = 24 * 1176 * 4
    lengths = tuple(Lengths(p, 6, ((1, 4, 6),), picture_bytes, d) for p, d in ((20, 8), (30, 12)))
    return Workload(lengths, 40, 0.001)


def real(folder: Path, chosen: Recipe) -> tuple[int, int]:
    """What the forward keeps, and the most that is held, of a policy with weights that computes numbers."""
    policy = Policy.load(
        folder,
        trainable=chosen.trainable,
        dtype=chosen.dtype,
        gradient_checkpointing=chosen.gradient_checkpointing,
        adapter=chosen.adapter,
    )
    groups = [PrefixGroup(Prompt("x", (1,) * p, None, None), tuple((1,) * n for n in replies)) for p, *replies in ROWS]
    updater = Updater(policy.parameters, chosen.optimizer)
    with KernelCounter() as counter:
        updater.zero_grad()
        logp_BT = policy.logprobs(groups).logp_BT
        kept = counter.live
        logp_BT.sum().backward()
    return kept, counter.peak


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gradient_checkpointing": True},
        {"adapter": {"rank": 4}},
        {"trainable": "all"},
        {"precision": "bfloat16"},
        {"precision": "bfloat16-pure"},
    ],
    ids=str,
)
def test_a_model_without_weights_holds_what_one_with_weights_does(folder: Path, more: dict[str, object]) -> None:
    chosen = recipe(prompts=len(ROWS), sampling={"max_new_tokens": ROWS[0][1]}, **more)
    workload = Workload((Lengths(ROWS[0][0], 0, (), 0, None),), 40, 0.001)
    estimator = Estimator(folder, workload, HERE)
    kept, peak = real(folder, chosen)
    found = estimator.memory(chosen).phases["update"]
    # The policy unpacks its log-probs, which are few, into a table.
    assert found["activations"] == pytest.approx(kept, rel=0.03)
    assert found["activations"] + found["gradients and workspace"] == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize(
    ("precision", "optimizer", "state", "gradient"),
    [
        ("float32", {}, 8, 4),
        ("float32", {"kind": "adamw-8bit"}, 2, 4),
        ("float32", {"offload": True}, 12, 4),
        ("bfloat16", {}, 10, 4),
        ("bfloat16", {"kind": "adamw-8bit"}, 4, 4),
        ("bfloat16", {"offload": True}, 12, 4),
        ("bfloat16-pure", {}, 6, 2),
    ],
    ids=str,
)
def test_an_optimizer_is_asked_for_what_it_holds(
    precision: str, optimizer: dict[str, object], state: int, gradient: int
) -> None:
    found = per_weight(recipe(precision=precision, optimizer=optimizer))
    assert found.state == pytest.approx(state, rel=0.02)
    assert found.gradient == gradient


def test_on_a_card_what_is_offloaded_takes_nothing(folder: Path, workload: Workload) -> None:
    chosen = recipe(precision="bfloat16", optimizer={"offload": True})
    here, card = (Estimator(folder, workload, one).memory(chosen) for one in (HERE, machine_of("24")))
    assert here.held["optimizer's state"] > 0 == card.held["optimizer's state"]
    assert card.phases["optimizer"]["gradients"] == 0
    assert card.held["weights"] == here.held["weights"]


def test_memory_is_counted_while_it_is_held_and_views_hold_none() -> None:
    given = torch.zeros(250)
    with KernelCounter() as counter:
        first = given * 2
        row = first.view(10, 25)[3]
        assert (counter.live, counter.peak) == (1000, 1000)
        second = first * 2
        del first, row
        assert (counter.live, counter.peak) == (1000, 2000)
        del second
        assert counter.live == 0
    assert counter.calls == 4


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3", "smolvlm", "gemma3"])
def test_config_json_is_all_that_a_model_of_any_family_needs(tmp_path: Path, family: str) -> None:
    whole = (tiny_folder if family in FAMILIES else family_folder)(tmp_path / "whole", family)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(whole / "config.json", bare)
    blueprint = Blueprint(recipe(), bare)
    sizes = blueprint.sizes()
    policy = Policy.load(whole, trainable="language")
    assert sum(size.trained for size in sizes.values()) == sum(p.numel() for p in policy.parameters)
    assert sum(map(sum, sizes.values())) == sum(p.numel() for p in policy.model.parameters())
    assert blueprint.update(ROWS, "none", reference=False).moments[-1].done == sum(p.numel() for p in policy.parameters)
    text = policy.model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kept = 2 * 4 * text.num_hidden_layers * text.num_key_value_heads * head
    shares = policy.sharing.allows(12 + 5)
    tokens = 2 * 12 + 6 * 5 if shares else 6 * (12 + 5)  # a prompt is held once for its replies, or for each
    cache = blueprint.rollout([12, 12], 3, 5).cache
    assert 0.8 * kept * tokens < cache < 1.1 * kept * tokens  # layers with a window hold less


def test_only_an_adapter_s_parameters_are_trained(folder: Path) -> None:
    sizes = Blueprint(recipe(adapter={"rank": 4}, trainable="all"), folder).sizes()
    policy = Policy.load(folder, adapter=Lora(rank=4))
    assert sizes["adapters"] == (0, sum(p.numel() for p in policy.parameters))
    assert {name for name, size in sizes.items() if size.trained} == {"adapters"}


def test_a_prompt_is_held_once_for_all_of_its_replies(folder: Path) -> None:
    blueprint = Blueprint(recipe(), folder)
    alone, shared = (
        blueprint.update(rows, "none", reference=False).activations for rows in ([(90, 5)] * 4, [(90, 5, 5, 5, 5)])
    )
    assert shared < 0.4 * alone


def test_a_trained_tower_keeps_activations(folder: Path) -> None:
    blueprint = Blueprint(recipe(trainable="all"), folder)
    frozen, trained = (blueprint.pictures((1, 4, 6), 1176, 2, learn=learn) for learn in (False, True))
    assert frozen.features == trained.features == 2 * 6 * 32 * 4
    assert trained.peak > 2 * frozen.peak


def test_memory_has_the_parts_that_the_recipe_asks_for(folder: Path, workload: Workload) -> None:
    estimator = Estimator(folder, workload, HERE)
    plain, kl, adapter = (
        estimator.memory(recipe(**more))
        for more in (
            {},
            {"objective": {**RECIPE["objective"], "kl": 0.1}},
            {"objective": {**RECIPE["objective"], "kl": 0.1}, "adapter": {"rank": 4}},
        )
    )
    sizes = estimator.blueprint(recipe()).sizes()
    trained = sum(size.trained for size in sizes.values())
    assert plain.held["weights"] == pytest.approx(4 * sum(map(sum, sizes.values())), rel=0.01)
    assert plain.held["weights"] == kl.held["reference policy"]
    assert (plain.held["optimizer's state"], plain.phases["optimizer"]["gradients"]) == (8 * trained, 4 * trained)
    assert (plain.held["reference policy"], adapter.held["reference policy"]) == (0, 0)
    assert adapter.held["optimizer's state"] < plain.held["optimizer's state"]
    assert plain.phases["rollout"]["keys and values"] == pytest.approx(128 * 4 * (30 + 4 * 16), rel=0.1)
    assert plain.held["picture features"] == 40 * 6 * 32 * 4
    assert plain.total == sum(plain.held.values()) + max(sum(parts.values()) for parts in plain.phases.values())
    assert "vision tower" not in plain.phases
    assert "vision tower" in estimator.memory(recipe(trainable="all")).phases


def test_a_teacher_is_counted(folder: Path, tmp_path: Path) -> None:
    """Its weights in its own precision, its forward after its own prompt, and its arithmetic."""
    large = tiny_folder(tmp_path / "large", "qwen2_5_vl", layers=3)
    taught = {"model": str(folder), "objective": {"kind": "opd", "group_size": 4}}
    teacher = {"model": str(large), "suffix": " Think step by step."}
    chosen = recipe(**taught, teacher=teacher)
    workload = examine_data(chosen, folder)
    assert all(one.taught == one.prompt + len(" Think step by step.") for one in workload.lengths)  # a byte, a token
    estimator = Estimator(folder, workload, HERE)
    memory = estimator.memory(chosen)
    weights = sum(p.nbytes for p in Policy.load(large).model.parameters())
    assert memory.held["teacher"] == pytest.approx(weights, rel=0.01)
    half = estimator.memory(recipe(**taught, teacher={**teacher, "precision": "bfloat16"})).held["teacher"]
    assert half == pytest.approx(weights / 2, rel=0.01)
    longest = max(one.taught for one in workload.lengths)
    policy = Policy.load(large)
    rows = [PrefixGroup(Prompt("x", (1,) * longest, None, None), ((1,) * 16,) * 4)] * 4
    with torch.no_grad(), KernelCounter() as counter:
        policy.logprobs(rows)
    assert memory.phases["teacher"]["activations"] == pytest.approx(counter.peak, rel=0.03)
    alike = recipe(**taught, teacher=str(folder))
    costs = [
        room.expected_cost(one, Estimator(folder, examine_data(one, folder), HERE)).flops for one in (chosen, alike)
    ]
    assert costs[0] > costs[1]


def test_imitation_writes_no_replies(folder: Path, workload: Workload) -> None:
    estimator, sft = Estimator(folder, workload, HERE), recipe(objective={"kind": "sft", "style": "plain"})
    assert "rollout" not in estimator.memory(sft).phases


def test_gradients_of_earlier_forwards_lie_beside_the_activations_of_later_ones(
    folder: Path, workload: Workload
) -> None:
    estimator, row = Estimator(folder, workload, HERE), 30 + 4 * 16
    alone, of_two = (estimator.memory(recipe(prompts=prompts, tokens_per_forward=row)).phases for prompts in (1, 2))
    assert of_two["update"]["activations"] == alone["update"]["activations"]
    assert of_two["update"]["gradients and workspace"] > alone["update"]["gradients and workspace"]


def test_lengths_are_those_of_the_encoder_where_the_folder_has_one(folder: Path) -> None:
    chosen = recipe(objective={"kind": "sft", "style": "plain"})
    found = examine_data(chosen, folder)
    encoder, examples = Encoder.load(folder), chosen.data.load()
    prompts = [encoder.prompt(example) for example in examples[:32]]
    assert [one.prompt for one in found.lengths] == [len(prompt.token_ids) for prompt in prompts]
    assert [one.grids for one in found.lengths] == [tuple(map(tuple, p.grids.tolist())) for p in prompts]
    assert found.lengths[0].demonstration == len(encoder.reply(examples[0].trace("plain").text))
    assert found.examples == 40


def test_advice_is_what_preflight_says_of_the_changed_recipe(folder: Path, workload: Workload) -> None:
    first = chosen = recipe(trainable="all", objective={**RECIPE["objective"], "kl": 0.1}, prompts=16)
    estimator = Estimator(folder, workload, HERE)
    before = estimator.memory(chosen).total
    advice = advise(chosen, estimator, 0)
    assert len(advice) > 1
    for piece in advice:
        chosen = changed(chosen, piece.change)
        assert piece.total == estimator.memory(chosen).total < before
        before = piece.total
    enough = advise(first, estimator, advice[0].total)
    assert all(piece.total > advice[0].total for piece in enough[:-1])
    assert enough[-1].total <= advice[0].total


def test_what_saves_most_is_advised_first(folder: Path, workload: Workload) -> None:
    chosen = recipe(sampling={"max_new_tokens": 200}, tokens_per_forward=830)
    estimator = Estimator(folder, workload, HERE)
    first, *_ = advise(chosen, estimator, 0)
    alone = {c: estimator.memory(changed(chosen, c)).total for c in changes(chosen, estimator).values()}
    assert len(alone) == 5
    assert first.total == alone[first.change] == min(alone.values()) < max(alone.values())


@pytest.fixture
def desk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a recipe and its model, without weights."""
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))  # YAML reads JSON
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_that_fits_is_told_with_tables_and_nothing_is_trained(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "recipe.yaml", "--preflight"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    for said in (
        "vision tower",
        "optimizer's state",
        "keys and values",
        "precision float32, optimizer adamw",
        "GFLOP/s",
        "per step",
    ):
        assert said in told.out
    assert sorted(path.name for path in desk.iterdir()) == ["model", "recipe.yaml"]


def test_a_recipe_that_does_not_fit_is_refused_with_what_to_change(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_machine", lambda: HERE)
    process = room.preflight(recipe()).memory.held["process"]  # more where more libraries are imported by now
    free = process + 2**20
    monkeypatch.setattr(room, "find_machine", lambda: dataclasses.replace(HERE, free=free))
    assert main(["train", "recipe.yaml", "--preflight"]) == 1
    told = capsys.readouterr()
    assert "memory at the longest lengths" in told.out
    assert "per step" not in told.out
    expected = f"firsthand: mine: expected a step that fits into {free / GIB:.3f} GiB of free memory (a test)"
    assert told.err.startswith(expected)
    assert "GiB too much, in the update" in told.err
    assert "--set '" in told.err
    assert "not enough: take a model of about" in told.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model=nothere", "nothere: expected a local Hugging Face model folder"),
        ("data={path: nothere.jsonl}", "nothere.jsonl: expected a data file"),
        ("objective={kind: sft, style: nobody}", "a demonstration of style 'nobody'"),
        ("start=nothere", "start: expected a finished run directory"),
    ],
)
def test_mistakes_are_told_as_training_tells_them(
    desk: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    assert main(["train", "recipe.yaml", "--preflight", "--set", change]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_kind_of_model_is_refused(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "model" / "config.json").write_text('{"model_type": "nothing"}')
    assert main(["train", "recipe.yaml", "--preflight"]) == 2
    assert "got nothing" in capsys.readouterr().err


def test_the_plan_ranges_from_short_replies_to_the_longest(desk: Path) -> None:
    plan = room.preflight(recipe())
    assert plan.time is not None
    low, usual, high = plan.time.seconds
    assert 0 < low <= usual <= high < math.inf
    assert math.fsum(cost.seconds for cost in plan.time.parts.values()) == pytest.approx(usual)


def test_kernels_are_kept_of_bfloat16_on_a_cpu_alone(folder: Path, workload: Workload) -> None:
    half = recipe(precision="bfloat16", steps=1)
    short, long = (
        Estimator(folder, workload, HERE).memory(half.model_copy(update={"steps": steps})).held["kernels"]
        for steps in (1, 10_000)
    )
    assert 0 < short < long == 1024 * 556 * 2**10
    assert Estimator(folder, workload, HERE).memory(recipe()).held["kernels"] == 0
    assert Estimator(folder, workload, machine_of("24")).memory(half).held["kernels"] == 0
    assert Estimator(folder, workload, dataclasses.replace(HERE, kernel=0)).memory(half).held["kernels"] == 0
