"""What a machine has: this one's free memory and rates, measured on the spot, or those of a card that is not here."""

import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import silu

from firsthand.config import nearest
from firsthand.errors import RecipeError
from firsthand.policy.precision import Accelerator, cpu_multiplies_bfloat16

_SECONDS = 0.5
"""How long each rate is measured (ours)."""
_LONGEST_SIDE = {"cpu": 2048, "cuda": 8192}
"""Of a measured matrix product: from there on, a larger one runs no faster (ours)."""
_BUFFER = 2**24
"""Elements of the tensor at which the memory's rate is measured (ours)."""
_GIB = 2**30
_USABLE = 0.94
"""Of a card's memory: the rest is CUDA's context, its libraries, and the difference of a vendor's GB (ours)."""
_REACHED = 0.65
"""Of a data sheet's rates (ours; a large bfloat16 product was measured to reach 0.77 on an H200)."""
_LAUNCH = 4e-6
"""Seconds of a call, views too: a written token of Qwen2.5-VL-3B is 8,489 of them, and was measured to take 32 ms on an
H200 (docs/performance.md)."""


class Rates(NamedTuple):
    """How fast a machine is."""

    flops: float
    """Floating-point operations per second of a matrix product."""
    bytes: float
    """Per second, read or written."""
    launch: float
    """Seconds of the smallest kernel."""


class Gpu(NamedTuple):
    """One kind of card."""

    gigabytes: int
    float32: float
    """TFLOP/s."""
    bfloat16: float | None
    """TFLOP/s of the tensor cores; None where they do not know the type."""
    bandwidth: int
    """GB/s of its memory."""
    source: str
    """Whose numbers these are."""


AMX_KERNEL, AVX_KERNEL = 556 * 2**10, 1150 * 2**10
"""Of an Intel Xeon with AMX (35.6 MiB for 64 shapes), and of an AMD EPYC whose AVX-512 multiplies bfloat16 (runs of the
small model). Measured, ours."""


@dataclass(frozen=True)
class Machine:
    """Where the recipe would run."""

    name: str
    device: str
    """`cpu` or `cuda`."""
    free: int
    """Bytes that a new process could have now."""
    process: int
    """Bytes that a process holds before it has a model: libraries and examples. 0 on a GPU, where `free` is without."""
    card: Accelerator | None
    """What `auto` asks of it; None of a CPU."""
    gpu: Gpu | None = None
    """The data sheet of a card that was asked for by name."""
    is_here: bool = True
    """Whether its rates can be measured."""
    kernel: int = AMX_KERNEL
    """Bytes of the code that oneDNN makes for each shape of a product of bfloat16, and keeps; 0 where it makes none."""

    def rates(self, dtype: torch.dtype) -> Rates | None:
        """Of a card's data sheet; None where there is none, or it does not know the type."""
        teraflops = None if self.gpu is None else self.gpu.bfloat16 if dtype is torch.bfloat16 else self.gpu.float32
        if self.gpu is None or teraflops is None:
            return None
        return Rates(_REACHED * 1e12 * teraflops, _REACHED * 1e9 * self.gpu.bandwidth, _LAUNCH)


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


def find_machine() -> Machine:
    """The device that training would take: the GPU where there is one, else this machine's memory."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), "cuda", free, 0, Accelerator.here())
    resident = _kilobytes("/proc/self/status").get("VmRSS", 0)
    name = f"{torch.get_num_threads()} CPU threads"
    kernel = (AMX_KERNEL if torch.cpu._is_amx_tile_supported() else AVX_KERNEL) if cpu_multiplies_bfloat16() else 0
    return Machine(name, "cpu", _available() + resident, resident, None, kernel=kernel)


def machine_of(said: str) -> Machine:
    """A card by name, such as `h100-80gb`, `H100 80GB` or `rtx4090`, or any with so many GiB: `24`.

    Raises RecipeError naming the nearest card.
    """
    if size := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(?:gi?b?)?", said.strip().lower()):
        return _card(f"a card of {float(size[1]):g} GiB", float(size[1]), said)
    name = re.sub(r"[\s_-]+", "", said.lower()).removeprefix("nvidia").removeprefix("geforce")
    plain = {card.replace("-", ""): card for card in CARDS}
    found = [card for short, card in plain.items() if short == name or (name and short.startswith(name))]
    if len(found) != 1:
        hint = f"which of {', '.join(found)}?" if found else nearest(said.lower(), CARDS)
        raise RecipeError(f"--device {said}: expected the name of a card or its memory in GiB, such as 24; {hint}")
    return _card(found[0], CARDS[found[0]].gigabytes, said, CARDS[found[0]])


def _card(name: str, gib: float, said: str, gpu: Gpu | None = None) -> Machine:
    if not (gib > 0 and math.isfinite(gib)):
        raise RecipeError(f"--device {said}: expected more than 0 GiB of memory")
    accelerator = Accelerator(int(gib * _GIB), gpu is None or gpu.bfloat16 is not None)
    return Machine(name, "cuda", int(gib * _USABLE * _GIB), 0, accelerator, gpu, is_here=False)


def measure(device: str, rows: int, matrix: tuple[int, int], dtype: torch.dtype) -> Rates:
    """Time products of [rows, inputs] with [inputs, outputs] in a precision, a large activation, and a tiny one."""
    longest = _LONGEST_SIDE[device]
    rows, inputs, outputs = (min(side, longest) for side in (rows, *matrix))
    x, weight = (torch.randn(shape, device=device).to(dtype) for shape in ((rows, inputs), (inputs, outputs)))
    large, tiny = torch.randn(_BUFFER, device=device), torch.zeros(1, device=device)
    flops = 2 * rows * inputs * outputs / _timed(lambda: x @ weight, device)
    return Rates(flops, 2 * large.nbytes / _timed(lambda: silu(large), device), _timed(lambda: silu(tiny), device))


def _timed(work: Callable[[], object], device: str) -> float:
    """Seconds of one call, the median of ten samples in about `_SECONDS`."""

    def seconds(repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / repeats

    seconds(1)
    repeats = max(1, int(_SECONDS / 10 / max(seconds(1), 1e-7)))
    return sorted(seconds(repeats) for _ in range(10))[5]


def _available() -> int:
    """Bytes that processes could still take: the system's, or this container's share of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _kilobytes("/proc/meminfo").get("MemAvailable", physical)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text(encoding="utf-8").strip() != "max":
        available = min(available, int(limit.read_text(encoding="utf-8")) - int(used.read_text(encoding="utf-8")))
    return available


def _kilobytes(path: str) -> dict[str, int]:
    """`Name: 123 kB` lines of one of Linux's files, in bytes; empty on other systems."""
    if not Path(path).exists():
        return {}
    fields = (line.split() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {f[0].rstrip(":"): int(f[1]) * 1024 for f in fields if len(f) == 3 and f[2] == "kB"}
