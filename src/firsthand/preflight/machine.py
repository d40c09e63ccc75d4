"""What this machine has: free memory, and rates that are measured on the spot instead of looked up."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import silu

from firsthand.preflight.kernels import Kernel

_SECONDS = 0.5
"""How long each rate is measured (ours)."""
_LONGEST_SIDE = {"cpu": 2048, "cuda": 8192}
"""Of a measured matrix product: from there on, a larger one runs no faster (ours)."""
_BUFFER = (2**18, 2**24)
"""Elements of the tensor at which the memory's rate is measured, least and most (ours)."""


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


@dataclass(frozen=True)
class Rates:
    """What a kernel cannot be faster than."""

    flops: float
    """Floating-point operations per second of a matrix product of the model's shape, float32."""
    bytes: float
    """Bytes per second, read or written, of an activation function."""
    launch: float
    """Seconds of the smallest kernel."""

    def seconds(self, kernels: Iterable[Kernel]) -> float:
        """Each kernel takes as long as the slowest of its arithmetic, its memory traffic and its launch."""
        return sum(max(k.flops / self.flops, k.bytes / self.bytes, self.launch) for k in kernels)


def find_machine() -> Machine:
    """The device that training would take: the GPU where there is one, else this machine's memory."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), "cuda", free, 0)
    resident = _kilobytes("/proc/self/status").get("VmRSS", 0)
    return Machine(f"{torch.get_num_threads()} CPU threads", "cpu", _available() + resident, resident)


def measure(device: str, rows: int, matrix: tuple[int, int]) -> tuple[Rates, Rates, Rates]:
    """Time products of [rows, inputs] with [inputs, outputs], activations of [rows, inputs], and tiny kernels.

    Gives the rates of the fastest tenth of the calls, of the median one, and of the slowest tenth.
    """
    longest = _LONGEST_SIDE[device]
    rows, (inputs, outputs), width = min(rows, longest), (min(side, longest) for side in matrix), matrix[0]
    x, weight = torch.randn(rows, inputs, device=device), torch.randn(inputs, outputs, device=device)
    gate = torch.randn(max(_BUFFER[0], min(rows * width, _BUFFER[1])), device=device)
    tiny = torch.zeros(1, device=device)
    works = (lambda: x @ weight, lambda: silu(gate) * gate, lambda: silu(tiny) * tiny)
    flops, moved = 2 * rows * inputs * outputs, 5 * gate.nbytes
    fast, usual, slow = (
        Rates(flops / product, moved / gating, two / 2)
        for product, gating, two in zip(*(_timed(work, device) for work in works), strict=True)
    )
    return fast, usual, slow


def _timed(work: Callable[[], object], device: str) -> tuple[float, float, float]:
    """Seconds of one call: the 10th, 50th and 90th percentile over about `_SECONDS`."""

    def seconds(repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - began) / repeats

    seconds(1)
    once = max(seconds(1), 1e-7)
    repeats = max(1, int(_SECONDS / 10 / once))  # ten samples, of many calls when one is short
    samples = sorted(seconds(repeats) for _ in range(max(3, int(_SECONDS / repeats / once))))
    return samples[len(samples) // 10], samples[len(samples) // 2], samples[len(samples) * 9 // 10]


def _available() -> int:
    """Bytes that processes could still take: the system's, or this container's share of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _kilobytes("/proc/meminfo").get("MemAvailable", physical)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available


def _kilobytes(path: str) -> dict[str, int]:
    """`Name: 123 kB` lines of one of Linux's files, in bytes; empty on other systems."""
    if not Path(path).exists():
        return {}
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {f[0].rstrip(":"): int(f[1]) * 1024 for f in fields if len(f) == 3 and f[2] == "kB"}
