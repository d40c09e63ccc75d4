"""What a computation costs, counted while it runs: floating-point operations, bytes moved, and bytes held at once.

A `Ledger` sees every kernel that torch starts, forward and backward. It counts the same on fake tensors (the meta
device with a device's name on it: shapes without numbers) as on real ones, so a model that fits nowhere can be counted.
Kernels' own scratch space and the allocator's rounding are not seen.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten
READS_WHAT_IT_WRITES = {aten.embedding, aten.index_select, aten.index, aten.gather}
"""Kernels that look into a table without reading all of it."""
MOVES_NOTHING = {aten.empty, aten.new_empty, aten.empty_like, aten.detach, aten._unsafe_view}


class Kernel(NamedTuple):
    """One call: floating-point operations (0 for what is not a matrix product), and bytes read and written."""

    flops: int
    bytes: int


class Ledger(TorchDispatchMode):
    """Counts what runs inside the context. Storages made before it are not counted as held, but as read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: list[Kernel] = []
        self.live = 0
        """Bytes of the storages that were made here and still exist."""
        self.peak = 0
        """The largest that `live` has been."""
        self._known = WeakIdKeyDictionary()

    @property
    def flops(self) -> int:
        """Floating-point operations of all matrix products; a multiplication and an addition are two."""
        return sum(kernel.flops for kernel in self.kernels)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See TorchDispatchMode."""
        kwargs = kwargs or {}
        read = _tensors((args, kwargs))
        for tensor in read:
            self._known.setdefault(tensor.untyped_storage(), None)
        out = func(*args, **kwargs)
        made = [tensor for tensor in _tensors(out) if self._is_new(tensor)]
        self._note(func, args, kwargs, read, made, out)
        return out

    def _is_new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return False
        self._known[storage] = None
        size = storage.nbytes()
        weakref.finalize(storage, self._free, size)
        self.live += size
        self.peak = max(self.peak, self.live)
        return True

    def _free(self, size: int) -> None:
        self.live -= size

    def _note(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        read: Iterable[Tensor],
        made: list[Tensor],
        out: Any,
    ) -> None:
        packet = func._overloadpacket
        if packet in MOVES_NOTHING or not (made or func._schema.is_mutable):
            self.kernels.append(Kernel(0, 0))  # a view: no work, but Python and the dispatcher take their time
            return
        count = FORMULAS.get(packet)
        flops = int(count(*args, **kwargs, out_val=out)) if count else 0
        written = sum(tensor.nbytes for tensor in made)
        moved = written if packet in READS_WHAT_IT_WRITES else sum(map(_occupied, read))
        self.kernels.append(Kernel(flops, moved + written))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _occupied(tensor: Tensor) -> int:
    """Bytes of memory behind a tensor: one that is expanded is read over and over, but fetched once."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())


def _cpu_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Forward of CPU attention, which torch's own table leaves out: scores, then their mean of the values."""
    return 4 * query.shape[:3].numel() * key.shape[2] * query.shape[3]


def _cpu_attention_backward(grad: Tensor, query: Tensor, key: Tensor, *rest: Any, **__: Any) -> int:
    """Five products where the forward has two: it makes the scores again."""
    return _cpu_attention(query, key, key) * 5 // 2


FORMULAS: dict[Any, Callable[..., Any]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
}
"""Kernel -> its floating-point operations, as torch's FlopCounterMode counts them."""
