"""Out of memory: how to know it, what to give back, and what has turned out to fit."""

import gc
from dataclasses import dataclass

import torch

_SIGNS = (
    "DefaultCPUAllocator",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What the messages of plain RuntimeErrors hold that mean it."""


@dataclass
class Limits:
    """What may be computed at once: smaller after each error, and never larger again."""

    rows: int
    """Replies that are written at once."""
    tokens: int | None = None
    """Of one forward in training, rows times the longest; None until one was too large."""
    retries: int = 0
    """Errors that were survived, since somebody last set it to 0."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def release() -> None:
    """Give back what nobody refers to. Call it outside of `except`: there the error still holds its frames' tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
