"""What a computation costs, counted while it runs: floating-point operations, bytes moved, and bytes held at once.

Fake tensors (shapes without numbers) cost here what real ones do, so a model that fits nowhere can be counted. Kernels'
own scratch space and the allocator's rounding are not seen. torch's MemTracker, in a private module, would give the
bytes held; the time of a step needs every kernel.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

_aten = torch.ops.aten
_READS_WHAT_IT_WRITES = {_aten.embedding, _aten.index_select, _aten.index, _aten.gather}
"""Kernels that look into a table without reading all of it."""
_MOVES_NOTHING = {_aten.empty, _aten.new_empty, _aten.empty_like, _aten.detach, _aten._unsafe_view}


class Kernel(NamedTuple):
    """One call: floating-point operations (0 for what is not a matrix product), and bytes read and written."""

    flops: int
    bytes: int


class KernelCounter(TorchDispatchMode):
    """Counts what runs inside the context. Storages made before it are not counted as held, but as read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []
        self.live = 0
        """Bytes of the storages that were made here and still exist."""
        self.peak = 0
        """The largest that `live` has been."""
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one kernel, forward or backward, and count it."""
        kwargs = kwargs or {}
        read = _tensors((args, kwargs))
        for tensor in read:
            self._known.setdefault(tensor.untyped_storage(), None)
        out = func(*args, **kwargs)
        made = [tensor for tensor in _tensors(out) if self._is_new(tensor)]
        packet = func._overloadpacket
        if packet in _MOVES_NOTHING or not (made or func._schema.is_mutable):
            self.kernels.append(Kernel(0, 0))  # a view: no work, but Python and the dispatcher take their time
            return out
        formula = _FORMULAS.get(packet)
        flops = int(formula(*args, **kwargs, out_val=out)) if formula else 0
        written = sum(tensor.nbytes for tensor in made)
        fetched = written if packet in _READS_WHAT_IT_WRITES else sum(map(_occupied, read))
        self.kernels.append(Kernel(flops, fetched + written))
        return out

    def _is_new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return False
        self._known[storage] = None
        weakref.finalize(storage, self._free, storage.nbytes())
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        return True

    def _free(self, size: int) -> None:
        self.live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _occupied(tensor: Tensor) -> int:
    """Bytes of memory behind a tensor: one that is expanded is read over and over, but fetched once."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())


_FORMULAS: dict[Any, Callable[..., Any]] = {
    **flop_registry,
    # The attention of CPUs, which torch's own table leaves out.
    _aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_aten._scaled_dot_product_flash_attention],
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _aten._scaled_dot_product_flash_attention_backward
    ],
}
"""Kernel -> its floating-point operations, as torch's FlopCounterMode counts them."""
