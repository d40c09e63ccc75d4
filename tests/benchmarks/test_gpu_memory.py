"""What the GPU's benchmark says of memory and optimizers: it can tell that something does not fit, or is wrong."""

from pathlib import Path
from typing import Any

import gpu_bench
import gpu_memory
import gpu_optimizers
import pytest
import torch
from gpu_workload import TINY, policy_of, random_group, random_model, random_prompt
from short_of_memory import fail_when

from firsthand.policy import Policy
from firsthand.policy.quantising import is_quantized
from firsthand.recipe import Recipe
from firsthand.trainer.state import State

BENCH = gpu_bench.Bench(TINY, "cpu", ends=float("inf"))


@pytest.fixture
def training() -> tuple[State, Recipe]:
    return gpu_memory.in_training(TINY, "cpu", gpu_memory.CASES["bfloat16"])


def learned(training: tuple[State, Recipe]) -> dict[str, Any]:
    return gpu_memory.learned(BENCH, *training, gpu_memory.judged_group(TINY, 0, TINY.tokens))


def test_a_step_that_fits_is_a_step(training: tuple[State, Recipe]) -> None:
    found = learned(training)
    assert found["fits"] and found["retries"] == 0 and found["seconds"] > 0
    kept = training[0].optimizer.tensors()
    assert any(bool(value.any()) for name, value in kept.items() if name.endswith("exp_avg"))


def test_a_step_that_fits_only_in_parts_says_how_often_it_was_cut(training: tuple[State, Recipe]) -> None:
    whole = random_group(TINY, 0, TINY.group, TINY.tokens).tokens
    failures = fail_when(training[0].policy.language.layers[0], lambda hidden: hidden.shape[1] >= whole)
    found = learned(training)
    assert found["fits"] and found["retries"] == len(failures) == 1


def test_a_step_that_does_not_fit_says_so_and_leaves_no_gradient(training: tuple[State, Recipe]) -> None:
    fail_when(training[0].policy.language.layers[1], lambda hidden: True)
    found = learned(training)
    assert not found["fits"] and "out of memory" in found["why"]
    assert all(p.grad is None for p in training[0].policy.parameters)


def test_another_error_is_no_lack_of_memory(training: tuple[State, Recipe]) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    training[0].policy.language.layers[0].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        learned(training)


def test_four_bits_are_those_of_a_folder_that_is_read(tmp_path: Path) -> None:
    plain = policy_of(random_model(TINY, "cpu"))
    plain.save(tmp_path)
    read = Policy.load(tmp_path, dtype=torch.bfloat16, adapter=gpu_memory.NF4)
    model = random_model(TINY, "cpu")
    gpu_memory.in_four_bits(model)
    made = policy_of(model, adapter=gpu_memory.NF4)
    assert [name for name, m in made.model.named_modules() if is_quantized(m)] == [
        name for name, m in read.model.named_modules() if is_quantized(m)
    ]
    group = random_group(TINY, 0, 2, 5)
    with torch.no_grad():
        expected, found, unlike = (policy.logprobs([group]).logp_BT for policy in (read, made, plain))
    assert torch.equal(found, expected) and not torch.equal(unlike, expected)


def test_preflight_is_asked_about_the_prompt_that_is_learned_from() -> None:
    [lengths] = gpu_memory.workload_of(TINY).lengths
    prompt = random_prompt(TINY, 0)
    assert prompt.pixels is not None and prompt.grids is not None
    assert lengths.prompt == len(prompt.token_ids) and lengths.pixel_bytes == prompt.pixels.nbytes
    assert lengths.grids == tuple(map(tuple, prompt.grids.tolist()))


def test_a_cap_is_what_a_card_leaves_and_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Card:
        total_memory = 80 * gpu_bench.GIB

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    bench = gpu_bench.Bench(TINY, "cuda", ends=0.0)
    for card in (16, 160):
        with gpu_memory.capped(bench, card):
            pass
    assert shares == [pytest.approx(0.94 * 16 / 80), 1.0, 1.0, 1.0]


def test_what_loses_steps_is_seen_to_and_what_keeps_them_is_near() -> None:
    found = {name: measure() for name, measure in gpu_optimizers.optimizers(BENCH)}
    assert found.pop(gpu_optimizers.NAIVE)["of the steps"] > 0.5
    assert found["bfloat16, adamw"]["of the steps"] == found["bfloat16, adamw, offload"]["of the steps"] == 0
    assert max(one["of the steps"] for one in found.values()) < 0.05
