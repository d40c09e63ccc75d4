"""What this machine has: free memory, and rates that are measured on the spot instead of looked up."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from firsthand.preflight.ledger import Kernel

SECONDS = 0.5
"""How long each rate is measured (ours)."""
LARGEST = {"cpu": 2048, "cuda": 8192}
"""Longest side of a measured matrix product: from there on, a larger one runs no faster (ours)."""
BUFFER = (2**18, 2**24)
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


@dataclass(frozen=True)
class Measured:
    """Rates in three moods of the machine."""

    fast: Rates
    usual: Rates
    slow: Rates

    @property
    def moods(self) -> tuple[Rates, Rates, Rates]:
        """All three, the fastest first."""
        return self.fast, self.usual, self.slow


def find_machine() -> Machine:
    """The device that training would take: the GPU where there is one, else this machine's memory."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Machine(torch.cuda.get_device_name(), "cuda", free, 0)
    resident = _resident()
    return Machine(f"{torch.get_num_threads()} CPU threads", "cpu", _available() + resident, resident)


def measure(machine: Machine, rows: int, matrix: tuple[int, int], width: int) -> Measured:
    """Time products of [rows, inputs] with [inputs, outputs], activations of [rows, width], and tiny kernels."""
    longest = LARGEST[machine.device]
    rows, (inputs, outputs) = min(rows, longest), (min(side, longest) for side in matrix)
    device = machine.device
    x, weight = torch.randn(rows, inputs, device=device), torch.randn(inputs, outputs, device=device)
    gate = torch.randn(max(BUFFER[0], min(rows * width, BUFFER[1])), device=device)
    tiny = torch.zeros(1, device=device)
    product = _timed(lambda: x @ weight, device)
    activation = _timed(lambda: torch.nn.functional.silu(gate) * gate, device)
    launch = _timed(lambda: torch.nn.functional.silu(tiny) * tiny, device)
    flops, moved = 2 * rows * inputs * outputs, 5 * gate.nbytes

    def rates(mood: int) -> Rates:
        return Rates(flops / product[mood], moved / activation[mood], launch[mood] / 2)

    return Measured(rates(0), rates(1), rates(2))


def _timed(work: Callable[[], object], device: str) -> tuple[float, float, float]:
    """Seconds of one call: the 10th, 50th and 90th percentile over about `SECONDS`."""
    _synchronised(work, device)
    once = _synchronised(work, device)
    repeats = max(1, int(SECONDS / 10 / max(once, 1e-7)))  # ten samples or more, of many calls when one is short
    samples: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS or len(samples) < 3:
        samples.append(_synchronised(lambda: [work() for _ in range(repeats)], device) / repeats)
    samples.sort()
    return samples[len(samples) // 10], samples[len(samples) // 2], samples[len(samples) * 9 // 10]


def _synchronised(work: Callable[[], object], device: str) -> float:
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _resident() -> int:
    """Bytes of memory that this process holds now."""
    return _lines("/proc/self/status").get("VmRSS", 0)


def _available() -> int:
    """Bytes that processes could still take: the system's, or this container's share of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = _lines("/proc/meminfo").get("MemAvailable", physical)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available


def _lines(path: str) -> dict[str, int]:
    """`Name: 123 kB` lines of one of Linux's files, in bytes; empty on other systems."""
    if not Path(path).exists():
        return {}
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {f[0].rstrip(":"): int(f[1]) * 1024 for f in fields if len(f) == 3 and f[2] == "kB"}
