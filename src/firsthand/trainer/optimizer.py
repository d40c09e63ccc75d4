"""From the gradients of a step to new weights, in every precision: the only file that knows optimizers.

Under `bfloat16` a weight is a float32 number cut in two. Its upper half, rounded, is the bfloat16 number that the model
computes with; the rest, 16 bits, lies here. Joined they are the float32 number again, to the bit, so that AdamW's steps
are those of float32 weights. They are joined for one parameter at a time. With `offload`, whole float32 weights and the
moments lie on the CPU instead, and are stepped there.

A run begins at weights that bfloat16 holds exactly, and until a step or many have added up to half a unit in the last
place, the model would stay as it was. So each weight begins at random within what rounds to it (`dithered`): then the
model moves from the first step on, on average by as much as the float32 numbers.

Gradients are added up over the forwards of a step in float32 (under `bfloat16-pure` in bfloat16).
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from firsthand.errors import RecipeError
from firsthand.policy.precision import MOMENTS, OptimizerKind
from firsthand.policy.sharding import as_part, is_divided, local, part_of
from firsthand.recipe import Optimizer
from firsthand.trainer.ranks import ALONE, Ranks

_SHARED = "group"
"""Stands for a parameter's index in the names of what all parameters share."""
_BETAS = (0.9, 0.999)
_BETAS_PURE = (0.9, 0.99)
"""torch-optimi's own. A bfloat16 number that loses a thousandth is rounded back to what it was (half a unit in its last
place is a 512th at most), so that under 0.999 the second moment would never fall."""


@final
class Updater:
    """Steps the trained parameters of a policy, and holds all that has to outlive a step."""

    def __init__(self, parameters: Sequence[nn.Parameter], settings: Optimizer) -> None:
        """The settings are of a settled recipe. Raises RecipeError when a library that they need is not installed."""
        self._parameters = list(parameters)
        self._bytes = MOMENTS[settings.kind or "adamw"]
        self._is_offloaded = settings.offload
        self._masters: list[Master] = []
        is_whole = settings.kind == "adamw-kahan" or all(p.dtype is torch.float32 for p in parameters)
        if settings.offload or not is_whole:
            master = Offloaded if settings.offload else Halves
            self._masters = [master(parameter) for parameter in parameters]
        self._values = [master.value for master in self._masters] or [_own(p) for p in self._parameters]
        self._divided = {id(v) for v, p in zip(self._values, self._parameters, strict=True) if is_divided(p)}
        together = [[value] for value in self._values] if self._masters else [self._values]
        self.optimizers = [_optimizer(values, settings) for values in together]
        """One for each parameter where these are stepped one by one, otherwise one for all."""

    @property
    def size(self) -> int:
        """Bytes of `tensors` after a step of all parameters, nearly."""
        beside = (4 if self._is_offloaded else 2) if self._masters else 0
        return sum(p.numel() for p in self._parameters) * (self._bytes + beside)

    def zero_grad(self) -> None:
        """Forget all gradients that were added up."""
        for parameter in (*self._parameters, *self._values):
            parameter.grad = None

    @property
    def gradients(self) -> list[Tensor | None]:
        """What was added up for each parameter; None where there is nothing."""
        return [value.grad for value in self._values]

    def add_up(self, ranks: Ranks) -> None:
        """Add up the gradients of all ranks; a parameter that no rank has reached has none after it, too."""
        if ranks.size == 1:
            return
        reached = ranks.any([value.grad is not None for value in self._values])
        moved = [value for value, is_reached in zip(self._values, reached, strict=True) if is_reached]
        for value in moved:
            if value.grad is None:
                value.grad = torch.zeros(value.shape, dtype=value.dtype, device=value.device)
        # Those of divided weights have been added up in every backward.
        ranks.add_up([value.grad for value in moved if value.grad is not None and id(value) not in self._divided])

    def clip(self, max_norm: float, ranks: Ranks = ALONE) -> Tensor | None:
        """Bring the gradient's norm down to `max_norm`; what it was, float32. None where there is no gradient.

        It is the norm over all ranks; call `add_up` before.
        """
        moved = [value for value in self._values if value.grad is not None]
        if not moved:
            return None
        norm = _norm([value.grad for value in moved if value.grad is not None and id(value) not in self._divided])
        if self._divided:
            parts = [value.grad for value in moved if value.grad is not None and id(value) in self._divided]
            square = _norm(parts).square()
            ranks.add_up([square])
            norm = (norm.to(square.device).square() + square).sqrt()
        clip_grads_with_norm_(moved, max_norm, norm)
        return norm

    def step(self, lr: float) -> None:
        """Step every parameter that has a gradient, and forget the gradients."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        if self._masters:
            for master, optimizer in zip(self._masters, self.optimizers, strict=True):
                if master.value.grad is not None:
                    master.step(optimizer)
        else:
            self.optimizers[0].step()
        self.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside the weights, on the CPU: `<parameter index>.<name>`.

        A parameter without gradient so far has no moments.
        """
        found: dict[str, Tensor] = {}
        for i, value in enumerate(self._values):
            found |= {f"{i}.{name}": _apart(name, kept) for name, kept in self._state(i).get(value, {}).items()}
        for i, master in enumerate(self._masters):
            found |= {f"{i}.{name}": kept for name, kept in master.tensors().items()}
        if "step" in (group := self.optimizers[0].param_groups[0]):
            found[f"{_SHARED}.step"] = group["step"]
        return {name: kept.detach().cpu().contiguous() for name, kept in found.items()}

    def parts(self) -> dict[str, Tensor]:
        """`tensors`, as parts of what all ranks hold, where weights are divided: for torch.distributed.checkpoint."""
        return {name: as_part(kept, self._of(name)) for name, kept in self.tensors().items()}

    def room(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Where this rank reads its part of a tensor of `parts` that is so large as a whole."""
        parameter = self._of(name)
        if shape != parameter.shape:
            return torch.zeros(shape, dtype=dtype)
        return as_part(torch.zeros(local(parameter).shape, dtype=dtype), parameter)

    def _of(self, name: str) -> Tensor:
        return self._parameters[int(name.partition(".")[0])]

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, bit for bit. The parameters hold their values of that time already.

        A divided parameter takes its part of what one process gave.
        """
        tensors = {
            key: kept if key.startswith(_SHARED) else part_of(local(kept), self._of(key))
            for key, kept in tensors.items()
        }
        by_index: dict[str, dict[str, Tensor]] = {}
        for key, kept in tensors.items():
            index, _, name = key.partition(".")
            by_index.setdefault(index, {})[name] = kept
        for i, master in enumerate(self._masters):
            master.take(by_index.get(str(i), {}))
        for i, value in enumerate(self._values):
            if moments := by_index.get(str(i)):
                self._state(i)[value] = {name: _as_it_was(kept, value.device) for name, kept in moments.items()}
        if shared := by_index.get(_SHARED):  # torch-optimi counts steps once for all parameters
            self.optimizers[0].param_groups[0].update(shared, setup=True)

    def _state(self, index: int) -> dict[Any, Any]:
        return self.optimizers[index if self._masters else 0].state


class Master(Protocol):
    """The float32 value of one parameter. Gradients of the parameter are added up in that of `value`."""

    value: nn.Parameter

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the optimizer of `value` step it, and give the parameter its new value."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What there is of the value beyond the parameter."""
        ...

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take up, and take out, what `tensors` gave. The parameter holds its value of that time already."""
        ...


@final
class Halves:
    """A float32 value in two halves: the parameter, and 16 bits here."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter
        held = local(parameter)
        self._low = dithered(held)
        self._nothing = torch.zeros((), device=parameter.device).expand(held.shape)
        self.value = nn.Parameter(self._nothing)  # has its numbers only in `step`
        parameter.register_post_accumulate_grad_hook(_adding_up(self.value))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """See `Master`."""
        self.value.data = join(local(self._parameter), self._low)
        optimizer.step()
        cut(self.value.data, local(self._parameter), self._low)
        self.value.data = self._nothing

    def tensors(self) -> dict[str, Tensor]:
        """See `Master`."""
        return {"low": self._low}

    def take(self, tensors: dict[str, Tensor]) -> None:
        """See `Master`."""
        self._low.copy_(tensors.pop("low"))


@final
class Offloaded:
    """A float32 value on the CPU."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter
        self.value = nn.Parameter(_whole(parameter.detach()).to("cpu", copy=True))
        parameter.register_post_accumulate_grad_hook(_adding_up(self.value))

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """See `Master`."""
        optimizer.step()
        self._parameter.detach().copy_(self.value.detach())

    def tensors(self) -> dict[str, Tensor]:
        """See `Master`."""
        return {"master": self.value}

    def take(self, tensors: dict[str, Tensor]) -> None:
        """See `Master`."""
        self.value.detach().copy_(tensors.pop("master"))


def join(high: Tensor, low: Tensor) -> Tensor:
    """The float32 numbers of these halves, bfloat16 and int16."""
    bits = high.view(torch.int16).to(torch.int32)
    return bits.bitwise_left_shift_(16).add_(low).view(torch.float32)


def cut(whole: Tensor, high: Tensor, low: Tensor) -> None:
    """Write the halves of float32 numbers, which are lost by it: `high` is each, rounded, and `low` is the rest.

    Halfway is rounded away from zero, and not to even as elsewhere, so that the rest fits 16 bits: -2^15 to 2^15 - 1.
    """
    bits = whole.view(torch.int32)
    low.copy_(bits)  # its lower 16 bits
    high.view(torch.int16).copy_(bits.add_(1 << 15).bitwise_right_shift_(16))


def dithered(high: Tensor) -> Tensor:
    """Lower halves at random, int16, that are rounded away: what they are joined to stays what it is."""
    low = torch.randint(-(2**15), 2**15, high.shape, dtype=torch.int16, device=high.device)
    return low.masked_fill_(high == 0, 0)  # the numbers beside it are closer by far, and lie on both sides


def _whole(parameter: Tensor) -> Tensor:
    """The float32 numbers that a parameter begins at."""
    return parameter if parameter.dtype is torch.float32 else join(parameter, dithered(parameter))


def _adding_up(value: nn.Parameter) -> Callable[[Tensor], None]:
    """A hook that moves a parameter's gradient into the float32 one of `value` as soon as a backward has made it."""

    def move(parameter: Tensor) -> None:
        grad, parameter.grad = parameter.grad, None
        assert grad is not None
        grad = local(grad)
        if value.grad is None:
            value.grad = grad.to(value.device, torch.float32)
        else:
            value.grad.add_(grad.to(value.device))

    return move


def _own(parameter: nn.Parameter) -> nn.Parameter:
    """What an optimizer steps in place of a float32 parameter: itself, or this rank's part, in the same memory."""
    if not is_divided(parameter):
        return parameter
    value = nn.Parameter(local(parameter))
    parameter.register_post_accumulate_grad_hook(_adding_up(value))
    return value


def _optimizer(values: list[nn.Parameter], settings: Optimizer) -> torch.optim.Optimizer:
    betas = settings.betas or (_BETAS_PURE if settings.kind == "adamw-kahan" else _BETAS)
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "betas": betas}
    if settings.kind == "adamw-8bit":
        eight_bit: torch.optim.Optimizer = _library("bitsandbytes", settings.kind).optim.AdamW8bit(values, **common)
        return eight_bit
    if settings.kind == "adamw-kahan":
        plain = {"kahan_sum": True, "foreach": False, "triton": False}  # the same on every device
        kahan: torch.optim.Optimizer = _library("optimi", settings.kind).AdamW(values, **common, eps=1e-8, **plain)
        for value in values:
            kahan.state[value] = _from_the_start(value.detach())
        return kahan
    # Fused: one pass over memory instead of twelve, 3 ms for 19 on two CPU cores.
    return torch.optim.AdamW(values, **common, fused=True)


def _from_the_start(value: Tensor) -> dict[str, Tensor]:
    """torch-optimi's state of a parameter, whose compensation is not 0 as it would be but what dithering asks for."""
    moments = {name: torch.zeros_like(value) for name in ("exp_avg", "exp_avg_sq")}
    return moments | {"kahan_comp": (_whole(value) - value.float()).to(value.dtype)}


def _library(name: str, kind: OptimizerKind) -> Any:
    """A library of optimizers, imported when one is wanted: bitsandbytes takes some seconds."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(
            f"optimizer.kind: {kind} needs {name}, which is not installed: pip install 'firsthand[optimizers]'"
        ) from error


def _norm(gradients: list[Tensor]) -> Tensor:
    """Their norm, float32 whatever they are."""
    if not gradients or gradients[0].dtype is torch.float32:
        return get_total_norm(gradients)
    return get_total_norm([torch.linalg.vector_norm(g, dtype=torch.float32) for g in gradients])


def _apart(name: str, kept: Tensor | int) -> Tensor:
    """A tensor that shares no memory with another, which safetensors refuses."""
    # The 256 values that 8 bits stand for are one tensor for all parameters.
    return torch.as_tensor(kept).clone() if name.startswith("qmap") else torch.as_tensor(kept)


def _as_it_was(kept: Tensor, device: torch.device) -> Tensor | int:
    """A tensor aligned as weights are, or a count of steps, which bitsandbytes keeps as a number."""
    return int(kept) if kept.dtype is torch.int64 else kept.to(device, copy=True)
