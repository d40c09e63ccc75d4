"""Whether a recipe fits, and how long it takes: counted on models without weights, and held against real ones."""

import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import FAMILIES, picture, tiny_folder
from tiny_families import family_folder
from torch.utils.flop_counter import FlopCounterMode

from firsthand.cli.main import main
from firsthand.config import build
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.lora import Lora
from firsthand.preflight import check as room
from firsthand.preflight.blueprint import Blueprint, UpdateCost
from firsthand.preflight.check import advise, changed, changes
from firsthand.preflight.estimate import Estimator
from firsthand.preflight.kernels import Kernel, KernelCounter
from firsthand.preflight.machine import Machine, Rates
from firsthand.preflight.workload import Lengths, Workload, examine_data
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Data, Recipe

GIB = 2**30
HERE = Machine("a test", "cpu", 64 * GIB, 0)
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
    return build(Recipe, {**RECIPE, **more}, "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "model", "qwen2_5_vl", layers=1)


@pytest.fixture
def workload() -> Workload:
    """Two prompts of 20 and 30 tokens, each with a picture of 24 patches, and demonstrations of 8 and 12 tokens."""
    picture_bytes = 24 * 1176 * 4
    lengths = tuple(Lengths(p, 6, ((1, 4, 6),), picture_bytes, d) for p, d in ((20, 8), (30, 12)))
    return Workload(lengths, 40, 0.001)


def flops(kernels: Sequence[Kernel]) -> int:
    """Floating-point operations of all matrix products; a multiplication and an addition are two."""
    return sum(kernel.flops for kernel in kernels)


def real(folder: Path, chosen: Recipe) -> UpdateCost:
    """What `Blueprint.update` counts, of a policy with weights that computes numbers."""
    policy = Policy.load(
        folder,
        trainable=chosen.trainable,
        gradient_checkpointing=chosen.gradient_checkpointing,
        adapter=chosen.adapter,
    )
    groups = [PrefixGroup(Prompt("x", (1,) * p, None, None), tuple((1,) * n for n in replies)) for p, *replies in ROWS]
    for parameter in policy.parameters:
        parameter.grad = torch.zeros_like(parameter)
    with KernelCounter() as counter:
        logp_BT = policy.logprobs(groups).logp_BT
        kept = counter.live
        logp_BT.sum().backward()
    return UpdateCost(kept, 0, counter.peak - kept, counter.kernels, ())


@pytest.mark.parametrize(
    "more", [{}, {"gradient_checkpointing": True}, {"adapter": {"rank": 4}}, {"trainable": "all"}], ids=str
)
def test_a_model_without_weights_costs_what_one_with_weights_does(folder: Path, more: dict[str, object]) -> None:
    chosen = recipe(**more)
    found, expected = Blueprint(chosen, folder, "cpu").update(ROWS, "none", reference=False), real(folder, chosen)
    assert flops(found.kernels) == flops(expected.kernels) > 0
    # The policy unpacks its log-probs, which are few, into a table.
    assert found.activations + found.head == pytest.approx(expected.activations, rel=0.03)
    assert found.workspace == pytest.approx(expected.workspace, rel=0.03)


def test_arithmetic_is_counted_as_pytorch_counts_it() -> None:
    a, b = torch.randn(5, 7, requires_grad=True), torch.randn(7, 3)
    with KernelCounter() as ours, FlopCounterMode(display=False) as theirs:
        torch.relu(a @ b).sum().backward()
    assert flops(ours.kernels) == theirs.get_total_flops() == 2 * (2 * 5 * 7 * 3)


def test_attention_on_a_cpu_is_counted_forward_and_backward() -> None:
    query, key = (torch.randn(2, 3, tokens, 8, requires_grad=True) for tokens in (5, 9))
    with KernelCounter() as counter:
        out = torch.nn.functional.scaled_dot_product_attention(query, key, key)
        forward = flops(counter.kernels)
        out.sum().backward()
    assert forward == 2 * (2 * 2 * 3 * 5 * 9 * 8)
    assert flops(counter.kernels) == forward + 5 * (2 * 2 * 3 * 5 * 9 * 8)


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
    assert [kernel.bytes for kernel in counter.kernels if kernel.bytes] == [2000, 2000]


def test_a_lookup_moves_what_it_finds_and_not_the_whole_table() -> None:
    table, places = torch.zeros(1000, 10), torch.tensor([3, 5])
    with KernelCounter() as counter:
        torch.nn.functional.embedding(places, table)
    assert sum(kernel.bytes for kernel in counter.kernels) == 2 * 2 * 10 * 4


def test_a_kernel_takes_as_long_as_the_slowest_of_its_limits() -> None:
    rates = Rates(flops=100.0, bytes=10.0, launch=0.5)
    assert [rates.seconds([Kernel(*k)]) for k in ((100, 0), (0, 20), (1, 1))] == [1.0, 2.0, 0.5]


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3", "smolvlm", "gemma3"])
def test_config_json_is_all_that_a_model_of_any_family_needs(tmp_path: Path, family: str) -> None:
    whole = (tiny_folder if family in FAMILIES else family_folder)(tmp_path / "whole", family)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(whole / "config.json", bare)
    blueprint = Blueprint(recipe(), bare, "cpu")
    sizes = blueprint.sizes()
    policy = Policy.load(whole, trainable="language")
    assert sum(size.trained for size in sizes.values()) == sum(p.numel() for p in policy.parameters)
    assert sum(map(sum, sizes.values())) == sum(p.numel() for p in policy.model.parameters())
    assert blueprint.update(ROWS, "none", reference=False).activations > 0
    text = policy.model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kept = 2 * 4 * text.num_hidden_layers * text.num_key_value_heads * head
    assert blueprint.rollout([12, 12], 3).bytes_per_token == kept


def test_only_an_adapter_s_parameters_are_trained(folder: Path) -> None:
    sizes = Blueprint(recipe(adapter={"rank": 4}, trainable="all"), folder, "cpu").sizes()
    policy = Policy.load(folder, adapter=Lora(rank=4))
    assert sizes["adapters"] == (0, sum(p.numel() for p in policy.parameters))
    assert {name for name, size in sizes.items() if size.trained} == {"adapters"}


def test_a_prompt_is_computed_once_for_all_of_its_replies(folder: Path) -> None:
    blueprint = Blueprint(recipe(), folder, "cpu")
    alone, shared = (
        flops(blueprint.update(rows, "none", reference=False).kernels) for rows in ([(90, 5)] * 4, [(90, 5, 5, 5, 5)])
    )
    assert shared < 0.4 * alone


def test_a_frozen_tower_learns_nothing_and_a_trained_one_keeps_activations(folder: Path) -> None:
    frozen, trained = (
        Blueprint(recipe(trainable=t), folder, "cpu").picture((1, 4, 6), 1176) for t in ("language", "all")
    )
    assert frozen.features == trained.features == 6 * 32 * 4
    assert not frozen.backward
    assert flops(trained.backward) > flops(trained.forward)
    assert trained.kept > 10 * frozen.kept


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
    assert plain.held["weights"] == 4 * sum(map(sum, sizes.values())) == kl.held["reference policy"]
    assert (plain.held["AdamW's moments"], plain.phases["update"]["gradients"]) == (8 * trained, 4 * trained)
    assert (plain.held["reference policy"], adapter.held["reference policy"]) == (0, 0)
    assert adapter.held["AdamW's moments"] < plain.held["AdamW's moments"]
    assert plain.phases["rollout"]["KV cache of replies"] == 4 * 4 * 16 * 128
    assert plain.phases["rollout"]["KV cache of prompts"] == 4 * 30 * 128
    assert plain.held["picture features"] == 40 * 6 * 32 * 4
    assert plain.total == sum(plain.held.values()) + max(sum(parts.values()) for parts in plain.phases.values())


def test_imitation_writes_no_replies(folder: Path, workload: Workload) -> None:
    estimator, sft = Estimator(folder, workload, HERE), recipe(objective={"kind": "sft", "style": "plain"})
    assert "rollout" not in estimator.memory(sft).phases
    assert set(estimator.work(sft, [(20, 8)] * 4, Rates(1, 1, 1), Rates(1, 1, 1))) == {
        "pictures",
        "forward and backward",
        "AdamW",
    }


def test_work_grows_with_the_replies_and_halves_with_the_rates(folder: Path, workload: Workload) -> None:
    estimator, slow, fast = Estimator(folder, workload, HERE), Rates(1e9, 1e9, 1e-9), Rates(2e9, 2e9, 0.5e-9)
    chosen = recipe(objective={**RECIPE["objective"], "kl": 0.1}, tokens_per_forward=60)
    short, long = ([(20, *[length] * 4)] * 4 for length in (5, 10))
    before, after = (estimator.work(chosen, short, rates, rates) for rates in (slow, fast))
    more = estimator.work(chosen, long, slow, slow)
    for name in ("prompts", "replies", "reference", "forward and backward", "AdamW"):
        assert after[name].seconds == pytest.approx(before[name].seconds / 2)
    assert more["replies"].flops == 2 * before["replies"].flops
    assert more["prompts"] == before["prompts"]
    assert before["reference"].flops < before["forward and backward"].flops < more["forward and backward"].flops


def test_lengths_are_those_of_the_encoder_where_the_folder_has_one(folder: Path) -> None:
    chosen = recipe(objective={"kind": "sft", "style": "plain"})
    found = examine_data(chosen, folder)
    encoder, examples = Encoder.load(folder), chosen.data.load()
    prompts = [encoder.prompt(example) for example in examples[:32]]
    assert [one.prompt for one in found.lengths] == [len(prompt.token_ids) for prompt in prompts]
    assert [one.grids for one in found.lengths] == [tuple(map(tuple, p.grids.tolist())) for p in prompts]
    assert found.lengths[0].demonstration == len(encoder.reply(examples[0].trace("plain").text))
    assert found.examples == 40
    assert "encoded" in found.source


def test_lengths_without_a_tokenizer_are_assumed_and_say_so(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "config.json", tmp_path)
    (tmp_path / "picture.png").write_bytes(picture(280, 140).encoded())
    row = {"question": "How many?" + " or" * 100, "answer": "3", "image": "picture.png"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    found = examine_data(recipe(data=Data(path=str(tmp_path / "data.jsonl"))), tmp_path)
    (one,) = found.lengths
    assert one.grids == ((1, 10, 20),)
    assert one.image_tokens == 50
    assert one.prompt == 50 + 40 + 309 // 3
    assert "assumed" in found.source
    assert found.demonstrations == ()


def test_advice_is_what_preflight_says_of_the_changed_recipe(folder: Path, workload: Workload) -> None:
    first = chosen = recipe(trainable="all", objective={**RECIPE["objective"], "kl": 0.1}, prompts=16)
    estimator = Estimator(folder, workload, HERE)
    before = estimator.memory(chosen).total
    advice = advise(chosen, estimator, 0)
    assert len(advice) > 2
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
        "AdamW's moments",
        "KV cache of replies",
        "forward and backward",
        "GFLOP/s",
        "per step",
    ):
        assert said in told.out
    assert sorted(path.name for path in desk.iterdir()) == ["model", "recipe.yaml"]


def test_a_recipe_that_does_not_fit_is_refused_with_what_to_change(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_machine", lambda: dataclasses.replace(HERE, free=2**23))
    assert main(["train", "recipe.yaml", "--preflight"]) == 1
    told = capsys.readouterr()
    assert "memory at the longest lengths" in told.out
    assert "per step" not in told.out
    assert told.err.startswith("firsthand: mine: expected a step that fits into 0.008 GiB of free memory (a test)")
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
    assert 0 < low < usual < high < math.inf
    assert math.fsum(cost.seconds for cost in plan.time.parts.values()) == pytest.approx(usual)
