"""Too little memory: for real, in a process of its own, or by a script that says which calls fail."""

import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn


def leave_only(size: int) -> None:
    """Let this process take `size` more bytes of address space than it has; for good, so call it in a process to lose.

    What PyTorch asks for beyond that fails as it does where a machine has no more.
    """
    found = re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    limit = 1024 * int(found[1]) + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fail_when(module: nn.Module, is_too_much: Callable[[torch.Tensor], bool]) -> list[int]:
    """Have a module run out of memory on inputs that are too much; the list grows by their rows with each failure."""
    failures: list[int] = []

    def fail(_: Any, args: tuple[torch.Tensor, ...]) -> None:
        if is_too_much(args[0]):
            failures.append(len(args[0]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    module.register_forward_pre_hook(fail)
    return failures


def fail_in_backward_when(module: nn.Module, is_too_much: Callable[[torch.Tensor], bool]) -> list[int]:
    """The same in the backward of a module."""
    failures: list[int] = []

    def fail(_: Any, grads: tuple[torch.Tensor, ...]) -> None:
        if is_too_much(grads[0]):
            failures.append(len(grads[0]))
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    module.register_full_backward_pre_hook(fail)
    return failures
