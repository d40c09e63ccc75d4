"""What each precision and optimizer makes of the same gradients, beside AdamW on float32 weights."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from gpu_bench import Bench, Measurement
from gpu_memory import brought
from torch import Tensor, nn

from firsthand.policy.precision import DTYPE, Precision
from firsthand.recipe import Optimizer
from firsthand.trainer.optimizer import Updater, join

LR = 1e-6
BETAS = (0.9, 0.999)
STEPS = 10
STANDARD = 0.02
"""Deviation of the weights, as models are drawn with."""
NAIVE = "bfloat16 weights alone, adamw"
"""A wrong one, of which most steps are less than half a unit in a weight's last place: it must be seen to be wrong."""
KINDS: dict[str, tuple[Precision, Optimizer]] = {
    "float32, adamw-8bit": ("float32", Optimizer(lr=LR, kind="adamw-8bit")),
    "bfloat16, adamw": ("bfloat16", Optimizer(lr=LR, kind="adamw")),
    "bfloat16, adamw, offload": ("bfloat16", Optimizer(lr=LR, kind="adamw", offload=True)),
    "bfloat16, adamw-8bit": ("bfloat16", Optimizer(lr=LR, kind="adamw-8bit")),
    "bfloat16-pure, adamw-kahan": ("bfloat16-pure", Optimizer(lr=LR, kind="adamw-kahan")),
}


def optimizers(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Some steps of each: how far weights, and what the steps did to them, are from float32's, relative to these."""
    text = bench.size.text
    width, inner = text["hidden_size"], text["intermediate_size"]
    shapes = [(inner, width), (width, width), (width,)]
    # Numbers that bfloat16 has, so that all begin with the same.
    starts = [STANDARD * part.float() for part in drawn(shapes, 0, bench.device)]
    starts = [start.bfloat16() for start in starts]

    def beside(begun: list[Tensor], found: list[Tensor], betas: tuple[float, float]) -> dict[str, float]:
        begun = [start.to(bench.device) for start in begun]
        expected = plain(begun, torch.float32, betas)
        gap = norm([a.to(bench.device) - b for a, b in zip(found, expected, strict=True)])
        moved = norm([b - start.float() for b, start in zip(expected, begun, strict=True)])
        return {"of the weights": gap / norm(expected), "of the steps": gap / moved, "steps": STEPS}

    yield NAIVE, lambda: beside(starts, plain(starts, torch.bfloat16, BETAS), BETAS)
    for name, (precision, settings) in KINDS.items():
        yield name, partial(lambda *how: beside(*stepped(starts, *how)), precision, settings)


def drawn(shapes: Sequence[tuple[int, ...]], seed: int, device: str) -> list[Tensor]:
    """Normal numbers, in bfloat16; the gradients of a step, whose seed is its number."""
    draw = torch.Generator(device).manual_seed(seed)
    return [torch.randn(shape, generator=draw, device=device).bfloat16() for shape in shapes]


def gradients(starts: Sequence[Tensor], step: int) -> list[Tensor]:
    """Those of a step, which differ tenfold in size, as those of layers do."""
    found = drawn([tuple(start.shape) for start in starts], step, str(starts[0].device))
    return [gradient * 10.0**-i for i, gradient in enumerate(found)]


def plain(starts: Sequence[Tensor], dtype: torch.dtype, betas: tuple[float, float]) -> list[Tensor]:
    """The weights after steps of PyTorch's AdamW on weights of this type."""
    parameters = [nn.Parameter(start.to(dtype, copy=True)) for start in starts]
    adam = torch.optim.AdamW(parameters, lr=LR, betas=betas, weight_decay=0.0, fused=True)
    for step in range(1, STEPS + 1):
        for parameter, gradient in zip(parameters, gradients(starts, step), strict=True):
            parameter.grad = gradient.to(dtype)
        adam.step()
    return [parameter.detach().float() for parameter in parameters]


def stepped(
    starts: Sequence[Tensor], precision: Precision, settings: Optimizer
) -> tuple[list[Tensor], list[Tensor], tuple[float, float]]:
    """What steps of ours begin and end with, and its betas. Raises Skipped where a library was not brought."""
    parameters = [nn.Parameter(start.to(DTYPE[precision], copy=True)) for start in starts]
    updater: Updater = brought(lambda: Updater(parameters, settings))
    begun = wholes(parameters, updater)
    for step in range(1, STEPS + 1):
        for parameter, gradient in zip(parameters, gradients(starts, step), strict=True):
            parameter.backward(gradient.to(parameter.dtype))  # what holds gradients elsewhere takes them here
        updater.step(LR)
    group = updater.optimizers[0].param_groups[0]
    return begun, wholes(parameters, updater), group["betas"] if "betas" in group else (group["beta1"], group["beta2"])


def wholes(parameters: Sequence[nn.Parameter], updater: Updater) -> list[Tensor]:
    """The numbers that the next step begins with."""
    kept = updater.tensors()
    return [whole(parameter.detach().cpu(), kept, i).clone() for i, parameter in enumerate(parameters)]


def whole(parameter: Tensor, kept: Mapping[str, Tensor], index: int) -> Tensor:
    """The number that the next step begins with: the parameter, and what it lost by rounding."""
    if (master := kept.get(f"{index}.master")) is not None:
        return master
    if (low := kept.get(f"{index}.low")) is not None:
        return join(parameter, low)
    return parameter.float() + kept.get(f"{index}.kahan_comp", torch.zeros(())).float()


def norm(parts: list[Tensor]) -> float:
    """Of all their numbers."""
    return float(torch.stack([part.double().square().sum() for part in parts]).sum().sqrt())
