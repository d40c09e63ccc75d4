"""The processes that train together, as torchrun starts them; one process alone is the plainest case.

Every rank holds all examples and knows all groups of a step, so that whatever is decided is decided alike everywhere:
ranks divide the work, and never the decisions. Only rank 0 writes, and what it measures of time is what counts.

The weights' gradients are added up over ranks once per optimizer step, when each rank has added up those of its own
forwards in float32. That is what DistributedDataParallel computes, but for its mean: here denominators are global
already. Its hooks would do it in every backward, and want as many of them on every rank, whereas ranks here have what
their tokens ask for.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

_Item = TypeVar("_Item")
_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process, and what other launchers tell as it does."""
_GRACE_S = 10.0
"""How long a rank keeps its error to itself: the launcher ends it when rank 0 has failed, mostly of the same."""
_PATIENCE = timedelta(hours=2)
"""How long a rank waits for another (ours): rank 0 may wait for a judge, or write a large model."""


class Ranks(Protocol):
    """What the trainer asks of the processes that it runs in. Each call waits for all ranks."""

    number: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes."""
        ...

    def gathered(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """The items of all ranks, those of rank 0 first."""
        ...

    def agreed(self, thing: _Item) -> _Item:
        """What rank 0 has."""
        ...

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Flag by flag, whether a rank has it set."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over ranks, to the bit the same on all."""
        ...

    def on_first(self, work: Callable[[], None]) -> None:
        """Have rank 0 do it while the others wait."""
        ...


@final
class Alone:
    """One process: there is nobody to ask or to wait for."""

    number = 0
    size = 1
    is_first = True

    def gathered(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """See `Ranks`."""
        return items

    def agreed(self, thing: _Item) -> _Item:
        """See `Ranks`."""
        return thing

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """See `Ranks`."""
        return list(flags)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """See `Ranks`."""

    def on_first(self, work: Callable[[], None]) -> None:
        """See `Ranks`."""
        work()


@final
class Several:
    """The ranks of torch's default process group: gloo between CPUs, and NCCL between GPUs where there are some."""

    def __init__(self) -> None:
        """Raises what `init_process_group` raises where the ranks do not find each other."""
        if not dist.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
                backend = "cpu:gloo,cuda:nccl"
            store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
            # torchrun's store outlives its ranks: started again, they would find each other's old addresses in it.
            store = dist.PrefixStore(  # type: ignore[attr-defined]
                os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store
            )
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
        self.number, self.size = dist.get_rank(), dist.get_world_size()
        self.is_first = self.number == 0

    def gathered(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """See `Ranks`."""
        found: list[Sequence[_Item]] = [[] for _ in range(self.size)]
        dist.all_gather_object(found, items)
        return [item for some in found for item in some]

    def agreed(self, thing: _Item) -> _Item:
        """See `Ranks`."""
        held = [thing]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """See `Ranks`."""
        found = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return [bool(flag) for flag in found.tolist()]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """See `Ranks`."""
        under_way = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work in under_way:
            work.wait()

    def on_first(self, work: Callable[[], None]) -> None:
        """See `Ranks`."""
        if self.is_first:
            work()
        self.any([False])  # not `barrier`, which under NCCL waits on a GPU


ALONE = Alone()


def ranks_here() -> Ranks:
    """Those that a launcher has started with this process; else this process alone."""
    launched = all(name in os.environ for name in _LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1
    return Several() if launched else ALONE


@contextmanager
def silent_rank() -> Iterator[None]:
    """Inside, a rank other than 0 logs only errors, and what it raises waits until rank 0 has told its own."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except Exception:
        time.sleep(_GRACE_S)
        raise
    finally:
        logging.disable(before)


def dealt(names: Sequence[str], ranks: Ranks) -> list[int]:
    """The places of this rank's part of what is named so, in order. Equal names stay together: each distinct one goes
    to the next rank."""
    turns = {name: turn % ranks.size for turn, name in enumerate(dict.fromkeys(names))}
    return [place for place, name in enumerate(names) if turns[name] == ranks.number]


def balanced(items: Sequence[_Item], size: Callable[[_Item], int], ranks: Ranks) -> list[_Item]:
    """This rank's part of the items, in order: the largest go first, each to the rank with the least so far."""
    if ranks.size == 1:
        return list(items)
    sizes = [size(item) for item in items]
    loads, mine = [0] * ranks.size, list[int]()
    for place in sorted(range(len(items)), key=lambda place: -sizes[place]):
        rank = loads.index(min(loads))
        loads[rank] += sizes[place]
        if rank == ranks.number:
            mine.append(place)
    return [items[place] for place in sorted(mine)]
