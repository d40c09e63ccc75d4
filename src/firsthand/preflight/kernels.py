"""What a computation holds, counted while it runs: bytes of all tensors at once, and how many kernels are called.

Fake tensors (shapes without numbers) cost here what real ones do, so a model that fits nowhere can be counted. What a
kernel holds only inside itself is not seen, nor what an allocator rounds.
"""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm}


class KernelCounter(TorchDispatchMode):
    """Counts what runs inside the context, forward or backward. Storages made before it are not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = 0
        self.live = 0
        """Bytes of the storages that were made here and still exist."""
        self.peak = 0
        """The largest that `live` has been since the last `mark`."""
        self.products: set[tuple[Any, ...]] = set()
        """Kinds of matrix products of bfloat16: kernel and shapes."""
        self._known = WeakIdKeyDictionary()

    def mark(self) -> int:
        """The peak so far; from here on, it is counted anew."""
        peak, self.peak = self.peak, self.live
        return peak

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one kernel, and count it."""
        read = _tensors((args, kwargs))
        for tensor in read:
            self._known.setdefault(tensor.untyped_storage(), None)
        if func._overloadpacket in _PRODUCTS and read[-1].dtype is torch.bfloat16:
            self.products.add((func, *(tensor.shape for tensor in read)))
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        for tensor in _tensors(out):
            self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known[storage] = None
        weakref.finalize(storage, self._free, storage.nbytes())
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _free(self, size: int) -> None:
        self.live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
