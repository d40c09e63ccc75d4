"""Graphics cards by name: what `--device` knows of a card that is not here.

Memory as it is sold, rates as the vendor's data sheet gives them: matrix products without sparsity (data sheets that
print the rate with it print twice as much), of bfloat16 with sums in float32. Each number was compared with what others
quote of the data sheet that `source` names; the sheets themselves were not at hand.

The T4's data sheet has 300 GB/s, its product page "320+". That of the RTX A6000 has no bfloat16: 309.7 "tensor" with
sparsity, and the GA102 paper 154.8 without. The RTX 5090's 104.8 was found rounded to 105 alone.
"""

import math
import re
from typing import NamedTuple

from firsthand.config import nearest
from firsthand.errors import RecipeError
from firsthand.preflight.machine import Machine, Rates

_GIB = 2**30
_USABLE = 0.94
"""Of a card's memory: the rest is CUDA's context, its libraries, and the difference of a vendor's GB (ours)."""
_REACHED = (0.8, 0.65, 0.4)
"""Of a data sheet's rates: at best, as expected, and at worst. A large bfloat16 product was measured to reach 0.77 on
an H200 (docs/performance.md); the others are ours."""
_LAUNCH = (3e-6, 4e-6, 8e-6)
"""Seconds of a call, views too. A written token of Qwen2.5-VL-3B is 8,489 of them, and was measured to take 32 ms
on an H200 (docs/performance.md): that is the expected one; the others are ours."""


class Gpu(NamedTuple):
    """One kind of card."""

    gigabytes: int
    float32: float
    """TFLOP/s: the rate of training, whose weights are float32."""
    bfloat16: float | None
    """TFLOP/s of the tensor cores; None where they do not know the type."""
    bandwidth: int
    """GB/s of its memory."""
    source: str
    """Whose numbers these are."""


CARDS = {
    "h200-141gb": Gpu(141, 67, 989, 4800, "NVIDIA H200 data sheet, SXM"),
    "h100-80gb": Gpu(80, 67, 989, 3350, "NVIDIA H100 data sheet, SXM"),
    "h100-pcie-80gb": Gpu(80, 51, 756, 2000, "NVIDIA H100 data sheet, PCIe"),
    "a100-80gb": Gpu(80, 19.5, 312, 2039, "NVIDIA A100 data sheet, 80GB SXM"),
    "a100-40gb": Gpu(40, 19.5, 312, 1555, "NVIDIA A100 data sheet, 40GB"),
    "l40s-48gb": Gpu(48, 91.6, 362, 864, "NVIDIA L40S data sheet"),
    "rtxa6000-48gb": Gpu(48, 38.7, 154.8, 768, "NVIDIA RTX A6000 data sheet"),
    "a10-24gb": Gpu(24, 31.2, 125, 600, "NVIDIA A10 data sheet"),
    "l4-24gb": Gpu(24, 30.3, 121, 300, "NVIDIA L4 data sheet"),
    "rtx5090-32gb": Gpu(32, 104.8, 209.5, 1792, "NVIDIA RTX Blackwell architecture paper"),
    "rtx4090-24gb": Gpu(24, 82.6, 165.2, 1008, "NVIDIA Ada architecture paper"),
    "rtx3090-24gb": Gpu(24, 35.6, 71, 936, "NVIDIA GA102 architecture paper"),
    "v100-32gb": Gpu(32, 15.7, None, 900, "NVIDIA V100 data sheet, SXM2"),
    "v100-16gb": Gpu(16, 15.7, None, 900, "NVIDIA V100 data sheet, SXM2"),
    "t4-16gb": Gpu(16, 8.1, None, 300, "NVIDIA T4 data sheet"),
}
"""Name -> card."""


class Device(NamedTuple):
    """A machine that somebody thinks of, and its rates: best, usual, worst; None where only its memory is known."""

    machine: Machine
    rates: tuple[Rates, Rates, Rates] | None


def device_of(said: str) -> Device:
    """A card by name, such as `h100-80gb`, `H100 80GB` or `rtx4090`, or any with so many GiB: `24`.

    Raises RecipeError naming the nearest card.
    """
    if size := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:gi?b?)?", said.strip().lower()):
        return Device(_machine(f"a card of {float(size[1]):g} GiB", float(size[1]), said), None)
    name = re.sub(r"[\s_-]+", "", said.lower()).removeprefix("nvidia").removeprefix("geforce")
    plain = {card.replace("-", ""): card for card in CARDS}
    found = [card for short, card in plain.items() if short == name or (name and short.startswith(name))]
    if len(found) != 1:
        hint = f"which of {', '.join(found)}?" if found else nearest(said.lower(), CARDS)
        raise RecipeError(f"--device {said}: expected the name of a card or its memory in GiB, such as 24; {hint}")
    card = CARDS[found[0]]
    best, usual, worst = (
        Rates(card.float32 * 1e12 * share, card.bandwidth * 1e9 * share, launch)
        for share, launch in zip(_REACHED, _LAUNCH, strict=True)
    )
    return Device(_machine(found[0], card.gigabytes, said), (best, usual, worst))


def _machine(name: str, gib: float, said: str) -> Machine:
    if not (gib > 0 and math.isfinite(gib)):
        raise RecipeError(f"--device {said}: expected more than 0 GiB of memory")
    return Machine(name, "cuda", int(gib * _USABLE * _GIB), 0)
