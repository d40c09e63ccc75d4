"""From gradients to weights: halves of float32 numbers, gradients that add up, and nothing lost in a checkpoint."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from firsthand.errors import RecipeError
from firsthand.policy.precision import DTYPE, OPTIMIZERS, OptimizerKind, Precision
from firsthand.recipe import Optimizer, Recipe
from firsthand.trainer.optimizer import Updater, cut, dithered, join

SHAPES = ((64, 96), (96,), (7,))
"""One that has room for 8-bit moments (4,096 numbers or more), one that is too small for them, one that fills no
vector of a processor."""
COMBINATIONS: list[tuple[Precision, OptimizerKind]] = [(p, kind) for p, kinds in OPTIMIZERS.items() for kind in kinds]


def bits(number: Tensor) -> Tensor:
    return number.detach().contiguous().view(torch.int32)


def halves(whole: Tensor) -> tuple[Tensor, Tensor]:
    high, low = torch.empty_like(whole, dtype=torch.bfloat16), torch.empty_like(whole, dtype=torch.int16)
    cut(whole.clone(), high, low)
    return high, low


def floats(*patterns: int) -> Tensor:
    """The float32 numbers of these 32 bits."""
    return torch.tensor([p - 2**32 if p >= 2**31 else p for p in patterns], dtype=torch.int32).view(torch.float32)


def parameters(precision: Precision, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(s, generator=draw) * 0.05).bfloat16().to(DTYPE[precision])) for s in shapes]


def gradients(step: int, shapes: Sequence[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    """Of very different sizes, some of them 0, some of them subnormal; bfloat16 holds each exactly."""
    draw = torch.Generator().manual_seed(100 + step)
    sizes = torch.tensor([1.0, 1e-3, 1e-6, 1e-39, 0.0])
    found = []
    for shape in shapes:
        size = sizes[torch.randint(len(sizes), shape, generator=draw)]
        found.append((torch.randn(shape, generator=draw) * size).bfloat16())
    return found


def backward(values: Sequence[nn.Parameter], wanted: Sequence[Tensor]) -> None:
    """A backward that finds these gradients."""
    torch.stack(
        [(value * grad.to(value.dtype)).sum() for value, grad in zip(values, wanted, strict=True)]
    ).sum().backward()


def settings(kind: OptimizerKind | None = None, **fields: Any) -> Optimizer:
    return Optimizer(kind=kind, lr=1e-3, **fields)


def a_step(updater: Updater, values: Sequence[nn.Parameter], step: int, lr: float = 1e-3) -> None:
    for part in (2 * step, 2 * step + 1):
        backward(values, gradients(part, [tuple(v.shape) for v in values]))
    updater.clip(1e9)
    updater.step(lr)


def wholes(updater: Updater, values: Sequence[nn.Parameter]) -> list[Tensor]:
    """The float32 weights."""
    kept = updater.tensors()
    return [join(value.detach(), kept[f"{i}.low"]) for i, value in enumerate(values)]


# ---- halves


@given(st.lists(st.integers(0, 2**32 - 1).filter(lambda p: (p >> 23) & 0xFF != 0xFF), min_size=1, max_size=40))
def test_any_float32_number_is_its_two_halves(patterns: list[int]) -> None:
    whole = floats(*patterns)
    high, low = halves(whole)
    assert torch.equal(bits(join(high, low)), bits(whole))


@given(st.integers(0, 2**31 - 1).filter(lambda p: p < 0x7F7F8000))
def test_the_upper_half_is_the_nearest_bfloat16(pattern: int) -> None:
    whole = floats(pattern, pattern | 1 << 31)
    high, _ = halves(whole)
    usual = whole.bfloat16()
    assert torch.equal((high.double() - whole).abs(), (usual.double() - whole).abs())  # another only if it is as near


@pytest.mark.parametrize(
    ("pattern", "high", "low"),
    [
        (0x3F800000, 0x3F80, 0),
        (0x3F808000, 0x3F81, -(2**15)),  # halfway: away from zero, where to even would be 0x3F80
        (0x3F818000, 0x3F82, -(2**15)),
        (0xBF808000, 0xBF81, -(2**15)),
        (0x3F807FFF, 0x3F80, 2**15 - 1),
        (0x00000001, 0x0000, 1),  # the smallest subnormal number
        (0x80000000, 0x8000, 0),  # -0.0
        (0x7F7FFFFF, 0x7F80, -1),  # the largest number, whose bfloat16 is infinite
    ],
)
def test_halves_by_hand(pattern: int, high: int, low: int) -> None:
    found = halves(floats(pattern))
    assert (int(found[0].view(torch.int16)) & 0xFFFF, int(found[1])) == (high, low)


def test_steps_on_halves_are_adamws_on_float32_numbers_bit_for_bit() -> None:
    ours = parameters("bfloat16")
    updater = Updater(ours, settings(weight_decay=0.01))
    theirs, begun = ([nn.Parameter(whole) for whole in wholes(updater, ours)] for _ in range(2))
    plain = torch.optim.AdamW(theirs, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01, fused=True)
    for step in range(6):
        a_step(updater, ours, step)
        for value, first, second in zip(theirs, gradients(2 * step), gradients(2 * step + 1), strict=True):
            value.grad = first.float() + second.float()
        plain.step()
        for whole, value in zip(wholes(updater, ours), theirs, strict=True):
            assert torch.equal(bits(whole), bits(value))
    moved = [(value - start).abs().max() for value, start in zip(theirs, begun, strict=True)]
    assert min(moved) > 1e-3, "nothing was compared"


@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_the_betas_are_the_recipes(precision: Precision, kind: OptimizerKind) -> None:
    """A step without a gradient leaves so much of the second moment."""
    for betas, kept in (((0.5, 0.95), 0.95), (None, 0.99 if kind == "adamw-kahan" else 0.999)):
        ours = parameters(precision, SHAPES[:1])
        updater = Updater(ours, settings(kind, betas=betas))
        moments = []
        for size in (1.0, 0.0):
            backward(ours, [torch.full(SHAPES[0], size)])
            updater.step(1e-3)
            (second,) = [m for name, m in updater.tensors().items() if name in ("0.exp_avg_sq", "0.state2")]
            moments.append(second.float().mean().item())
        assert moments[0] > 0
        if kind == "adamw-8bit":  # whose bytes say where in a table, and not how much
            assert updater.optimizers[0].param_groups[0]["betas"] == (betas or (0.9, kept))
            continue
        share = kept / (1 + kept) if kind == "adamw-kahan" else kept  # torch-optimi keeps it without its bias
        assert moments[1] / moments[0] == pytest.approx(share, rel=4e-3)


def test_a_run_begins_at_random_within_what_rounds_to_its_weights() -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.bfloat16)
    every = every[every.isfinite()]
    whole = join(every, dithered(every))
    assert torch.equal(halves(whole)[0].view(torch.int16), every.view(torch.int16)), "not seen before the first step"
    assert torch.equal(whole[every == 0], torch.zeros(2))
    share = (whole - every.float()) / (torch.nextafter(every, every * 2) - every).float()
    ordinary = share[(every.abs() > 1e-30) & (every.abs() < 1e30)]
    assert ordinary.abs().max() <= 0.5 and float(ordinary.std()) == pytest.approx(12**-0.5, rel=0.02)


@pytest.mark.parametrize("precision", ["bfloat16", "bfloat16-pure"])
def test_weights_move_on_average_by_steps_that_none_of_them_could_take_alone(precision: Precision) -> None:
    value = nn.Parameter(torch.full((100_000,), 0.03, dtype=torch.bfloat16))
    start = float(value.detach()[0])  # the next number below is 1.2e-4 away
    updater = Updater([value], settings("adamw-kahan" if precision == "bfloat16-pure" else "adamw"))
    backward([value], [torch.ones(100_000)])
    updater.step(1e-5)
    assert start - float(value.detach().double().mean()) == pytest.approx(1e-5, rel=0.05)


def test_steps_that_a_bfloat16_number_cannot_hold_add_up() -> None:
    value = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))  # the next one below is 1 - 2^-8
    updater = Updater([value], settings())
    for _ in range(100):
        backward([value], [torch.ones(5)])
        updater.step(1e-4)
    assert float(value.detach()[0]) == pytest.approx(0.99, abs=2**-8)
    plain = nn.Parameter(torch.ones(5, dtype=torch.bfloat16))
    alone = torch.optim.AdamW([plain], lr=1e-4, weight_decay=0.0)
    for _ in range(100):
        plain.grad = torch.ones_like(plain)
        alone.step()
    assert float(plain.detach()[0]) == 1.0, "which is what halves are for"


# ---- gradients


@pytest.mark.parametrize("offload", [False, True])
def test_gradients_add_up_in_float32_and_leave_the_parameter(offload: bool) -> None:
    (value,) = parameters("bfloat16", [(3,)])
    updater = Updater([value], settings(offload=offload))
    for size in (1.0, *[2.0**-9] * 8):  # in bfloat16 each of these would be rounded away
        backward([value], [torch.full((3,), size)])
        assert value.grad is None
    assert float(updater.clip(1e9)) == pytest.approx((1 + 8 * 2.0**-9) * 3**0.5, rel=1e-6)


@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_the_gradient_is_clipped_to_its_norm(precision: Precision, kind: OptimizerKind) -> None:
    values = parameters(precision, [(2,), (2,)])
    updater = Updater(values, settings(kind))
    backward(values, [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])])
    norm = updater.clip(1.0)
    assert norm is not None and norm.dtype is torch.float32 and float(norm) == pytest.approx(5.0)
    assert float(updater.clip(1.0)) == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_forgotten_gradients_are_gone(precision: Precision, kind: OptimizerKind) -> None:
    values = parameters(precision)
    updater = Updater(values, settings(kind))
    backward(values, gradients(0))
    updater.zero_grad()
    assert updater.clip(1.0) is None
    assert all(value.grad is None for value in values)


def test_a_parameter_without_gradient_stays_and_has_no_moments() -> None:
    moved, still = parameters("bfloat16", [(4,), (4,)])
    before = still.detach().clone()
    updater = Updater([moved, still], settings(weight_decay=0.1))
    backward([moved], [torch.ones(4)])
    updater.step(1e-3)
    assert torch.equal(still, before)
    assert [name for name in updater.tensors() if name.startswith("1.")] == ["1.low"]


# ---- kinds


@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_what_a_checkpoint_keeps_goes_on_bit_for_bit(precision: Precision, kind: OptimizerKind) -> None:
    resumed_bit_for_bit(precision, settings(kind))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_a_checkpoint_keeps_of_offloaded_weights_goes_on_bit_for_bit(precision: Precision) -> None:
    resumed_bit_for_bit(precision, settings(offload=True))


def resumed_bit_for_bit(precision: Precision, how: Optimizer) -> None:
    whole = parameters(precision)
    updater = Updater(whole, how)
    for step in range(3):
        a_step(updater, whole, step)
    kept = load(save(updater.tensors()))
    broken = [nn.Parameter(value.detach().clone()) for value in whole]
    again = Updater(broken, how)
    again.restore(kept)
    for step in range(3, 6):
        a_step(updater, whole, step)
        a_step(again, broken, step)
    for a, b in zip(whole, broken, strict=True):
        assert torch.equal(a, b)
    a, b = updater.tensors(), again.tensors()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_offloaded_steps_are_the_same_steps_bit_for_bit(precision: Precision) -> None:
    here, there = parameters(precision), parameters(precision)
    torch.manual_seed(1)
    near = Updater(here, settings())
    torch.manual_seed(1)
    far = Updater(there, settings(offload=True))
    for step in range(4):
        a_step(near, here, step)
        a_step(far, there, step)
    for i, (a, b) in enumerate(zip(here, there, strict=True)):
        whole = join(a.detach(), near.tensors()[f"{i}.low"]) if precision == "bfloat16" else a
        assert torch.equal(far.tensors()[f"{i}.master"], whole)
        assert (a.float() - b.float()).abs().max() <= 2**-8 * a.abs().max().float()


@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_every_kind_reaches_what_adamw_reaches(precision: Precision, kind: OptimizerKind) -> None:
    """A matrix learns to be another one: by as much as float32 AdamW in as many steps, within a fifth of its way."""
    draw = torch.Generator().manual_seed(3)
    target = torch.randn(64, 96, generator=draw) * 0.05

    def left(precision: Precision, kind: OptimizerKind) -> float:
        (value,) = parameters(precision, [(64, 96)])
        updater = Updater([value], settings(kind))
        for _ in range(60):
            ((value.float() - target) ** 2).sum().backward()
            updater.step(1e-3)
        return float((value.detach().float() - target).norm())

    start, plain = float((parameters("float32", [(64, 96)])[0].detach() - target).norm()), left("float32", "adamw")
    assert plain < 0.5 * start
    assert left(precision, kind) - plain < 0.2 * (start - plain)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize(("precision", "kind"), COMBINATIONS)
def test_the_size_of_a_checkpoint_is_known_before_there_is_one(
    precision: Precision, kind: OptimizerKind, offload: bool
) -> None:
    if offload and kind != "adamw":
        return
    values = parameters(precision, [(512, 256)])
    updater = Updater(values, settings(kind, offload=offload))
    known = updater.size
    a_step(updater, values, 0)
    assert sum(tensor.nbytes for tensor in updater.tensors().values()) == pytest.approx(known, rel=0.03)


# ---- what does not go together, and what is not there


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"precision": "bfloat16-pure", "optimizer": {"kind": "adamw"}}, "loses updates.*set kind to adamw-kahan"),
        ({"precision": "bfloat16-pure", "optimizer": {"kind": "adamw-8bit"}}, "loses updates"),
        ({"precision": "bfloat16-pure", "optimizer": {"weight_decay": 0.1}}, "rounds a decay away.*set it to 0, or"),
        ({"precision": "bfloat16-pure", "optimizer": {"offload": True}}, "set precision to bfloat16"),
        ({"precision": "bfloat16", "optimizer": {"kind": "adamw-kahan"}}, "is for precision bfloat16-pure"),
        ({"precision": "bfloat16", "optimizer": {"kind": "adamw-8bit", "offload": True}}, "leave out one of the two"),
        ({"precision": "float16"}, "auto"),
    ],
)
def test_what_would_lose_updates_is_refused_with_a_remedy(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s){says}"):
        Recipe.model_validate({"name": "a", "data": {"worlds": ["count"]}, **fields})


def test_kahan_without_a_precision_is_refused_on_a_cpu_when_it_is_settled() -> None:
    recipe = Recipe.model_validate({"name": "a", "data": {"worlds": ["count"]}, "optimizer": {"kind": "adamw-kahan"}})
    with pytest.raises(RecipeError, match="got float32"):
        recipe.settled(None)


@pytest.mark.parametrize(
    ("precision", "kind", "module"),
    [("float32", "adamw-8bit", "bitsandbytes"), ("bfloat16-pure", "adamw-kahan", "optimi")],
)
def test_a_library_that_is_not_there_is_named(
    precision: Precision, kind: OptimizerKind, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RecipeError, match=rf"{kind} needs {module}.*pip install 'firsthand\[optimizers\]'"):
        Updater(parameters(precision), settings(kind))
