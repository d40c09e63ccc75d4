"""Weights that are divided among ranks: FSDP2 (`torch.distributed.fsdp.fully_shard`), a unit for each decoder layer.

Outside of a forward each rank holds its rows of every language weight. A layer's weights are gathered for its forward,
and again for its backward, which hands each rank its rows of the gradient, added up over ranks. Embeddings and output
layer are gathered once for both. The vision tower is on every rank: it is small, and whether it runs depends on a
rank's own pictures, whereas all ranks must gather the same weights at the same time.

Every rank therefore has to do as many forwards as the others, and what they can do at their own pace, such as writing
replies, they do inside of `whole`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

_Found = TypeVar("_Found")


class _Root(nn.Module):
    """Carries out work with the model as its forward, whichever of the model's parts the work calls: FSDP2 gathers
    and lets go at the two ends of a module's forward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], _Found]) -> _Found:
        return work()


@final
class Shards:
    """A model's weights among the ranks of torch's default process group."""

    def __init__(self, model: Any, tower: set[nn.Parameter]) -> None:
        """Divide them, all but the tower's. The model is on its device, and what is trained of it is settled."""
        mesh = init_device_mesh(model.device.type, (dist.get_world_size(),))
        # Each backward's gradients are added up in float32, whatever the weights are.
        settings: dict[str, Any] = {"mesh": mesh, "mp_policy": MixedPrecisionPolicy(reduce_dtype=torch.float32)}
        self._root = _Root(model)
        for layer in model.get_decoder().layers:
            fully_shard(layer, **settings)
        fully_shard(self._root, **settings, ignored_params=tower)
        self._units: list[Any] = [module for module in self._root.modules() if isinstance(module, FSDPModule)]
        for unit in self._units:
            unit.set_gradient_divide_factor(1.0)  # denominators are those of all ranks
            unit.set_force_sum_reduction_for_comms(True)
        self.are_whole = False
        with torch.no_grad():
            self._root(lambda: ())  # whose forward comes first is the root of all
        self._let_go()

    def forward(self, work: Callable[[], _Found]) -> _Found:
        """What the work gives, tensors of a tuple. Unless they are `whole`, every rank has to do it together."""
        found: _Found = work() if self.are_whole else self._root(work)
        return found

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, each rank has all weights, gathered once, and may do without the others what needs no gradient."""
        if self.are_whole:
            yield
            return
        for unit in self._units:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        self.are_whole = True
        try:
            yield
        finally:
            self.are_whole = False
            self._let_go()

    def _let_go(self) -> None:
        for unit in self._units:
            unit.set_reshard_after_forward(unit is not self._root, recurse=False)
            unit.reshard()


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor: all, unless it is divided. In its memory, and without gradient."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_divided(tensor: Tensor) -> bool:
    """Whether ranks hold parts of it."""
    return isinstance(tensor, DTensor)


def as_part(tensor: Tensor, of: Tensor) -> Tensor:
    """This rank's numbers as its part of a tensor that is divided as `of` is; others as they are."""
    if not isinstance(of, DTensor) or tensor.shape != local(of).shape:
        return tensor
    placed: dict[str, Any] = {"shape": of.shape, "stride": of.stride(), "run_check": False}
    return DTensor.from_local(tensor, of.device_mesh, of.placements, **placed)


def part_of(tensor: Tensor, of: Tensor) -> Tensor:
    """This rank's part of a tensor that every rank has, divided as `of` is; one of another shape stays whole."""
    if not isinstance(of, DTensor) or tensor.shape != of.shape:
        return tensor
    divided = distribute_tensor(tensor.to(of.device), of.device_mesh, of.placements, src_data_rank=None)
    return divided.to_local().clone()
