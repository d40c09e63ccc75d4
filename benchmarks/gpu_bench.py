"""How anything on the GPU is measured: its time, its memory, its kernels; section by section, each within its time."""

import gc
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from gpu_workload import Size, random_policy

from firsthand.policy import Policy

GIB = 2**30
PRECISIONS = {"float32": (torch.float32, "ieee"), "tf32": (torch.float32, "tf32"), "bfloat16": (torch.bfloat16, "ieee")}
"""Type of the weights, and what float32 matrix products are made of."""


class Skipped(Exception):
    """Something that this machine does not have; what, and why."""


@dataclass
class Bench:
    """What all measurements share."""

    size: Size
    device: str
    ends: float
    """The moment, on `time.monotonic`, after which nothing new begins."""
    section_ends: float = float("inf")
    """The same for the section that is measured."""
    peaks: dict[str, float] = field(default_factory=dict)
    """Operations per second of a matrix product by precision, and bytes per second of a copy (`bytes`)."""

    measured: dict[str, float] = field(default_factory=dict)
    """GiB that an update step took, by the name of its measurement."""

    @property
    def is_over(self) -> bool:
        """Whether the time is up, of all or of this section."""
        return time.monotonic() > min(self.ends, self.section_ends)

    @cached_property
    def policy(self) -> Policy:
        """Random weights of the full size, in bfloat16."""
        return random_policy(self.size, self.device)

    def forget(self) -> None:
        """Give back the memory of the policy, until it is asked for again."""
        self.__dict__.pop("policy", None)
        free(self)

    def seconds(self, action: Callable[[], object]) -> float:
        """Time of an action on the device, by its own events; on a CPU by the clock."""
        if self.device == "cpu":
            began = time.perf_counter()
            action()
            return time.perf_counter() - began
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        action()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3


Measurement = Callable[[], Any]


class Section(NamedTuple):
    """Measurements that belong together, made one after the other."""

    measurements: Callable[[Bench], Iterator[tuple[str, Measurement]]]
    seconds: float
    """After which none of them begins; it has what those before it have left, too."""


def carry_out(
    bench: Bench, sections: Mapping[str, Section], keep: Callable[[str, str, Any], None], share: float = 1.0
) -> None:
    """Measure, one after the other; `keep(section, name, result)` gets each result, or why there is none.

    Each section has `share` of its seconds.
    """
    due = time.monotonic()
    for title, section in sections.items():
        due += share * section.seconds
        bench.section_ends = max(due, time.monotonic() + share * section.seconds)
        try:
            _measure(bench, section, partial(keep, title))
        except Skipped as reason:
            keep(title, "preparation", {"skipped": str(reason)})
        except Exception:
            keep(title, "preparation", {"error": traceback.format_exc()[-2000:]})
        free(bench)


def _measure(bench: Bench, section: Section, keep: Callable[[str, Any], None]) -> None:
    for name, measurement in section.measurements(bench):
        if bench.is_over:
            return
        began = time.perf_counter()
        result = _result(measurement)
        del measurement  # with the model that it holds, before the next one is made
        keep(name, {**result, "took_s": round(time.perf_counter() - began, 2)})
        free(bench)


def _result(measurement: Measurement) -> dict[str, Any]:
    try:
        return {"result": measurement()}
    except Skipped as reason:
        return {"skipped": str(reason)}
    except Exception:
        return {"error": traceback.format_exc()[-2000:]}


def free(bench: Bench) -> None:
    """Give back what nobody refers to."""
    gc.collect()
    if bench.device != "cpu":
        torch.cuda.empty_cache()


@contextmanager
def precision(name: str) -> Iterator[None]:
    """float32 products in full (`ieee`) or by TF32, in matrix products and in the vision tower's convolution alike."""
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = PRECISIONS[name][1]
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


def median(bench: Bench, action: Callable[[], object], times: int = 9) -> float:
    """Seconds of an action, after three that are not timed."""
    for _ in range(3):
        action()
    return statistics.median(bench.seconds(action) for _ in range(times))


def peak(bench: Bench, action: Callable[[], object]) -> dict[str, float]:
    """GiB of memory before an action, and at its worst moment; nothing on a CPU."""
    if bench.device == "cpu":
        action()
        return {}
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    found = {"GiB at most": torch.cuda.max_memory_allocated(), "GiB reserved at most": torch.cuda.max_memory_reserved()}
    return {name: bytes_ / GIB for name, bytes_ in {"GiB before": before, **found}.items()}


def kernels(bench: Bench, action: Callable[[], object], most: int = 12) -> dict[str, Any]:
    """Where the device's time goes: how many kernels, their milliseconds in all, and the costliest names."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    on_gpu = bench.device != "cpu"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as found:
        seconds = bench.seconds(action)
    wanted, cost = (DeviceType.CUDA, "self_device_time_total") if on_gpu else (DeviceType.CPU, "self_cpu_time_total")
    events = [event for event in found.key_averages() if event.device_type == wanted]
    events.sort(key=lambda event: -getattr(event, cost))
    return {
        "wall, ms (profiled)": seconds * 1e3,
        "kernels, ms": sum(getattr(event, cost) for event in events) / 1e3,
        "launched": sum(event.count for event in events),
        "costliest": [[event.key[:90], getattr(event, cost) / 1e3, event.count] for event in events[:most]],
    }
