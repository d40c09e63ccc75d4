"""In which numbers a model is held and computes, and what `auto` takes on a machine.

    float32         weights, gradients and moments of 4 bytes each
    bfloat16        weights of 2 bytes, which sampling and training read; the other 2 bytes of each float32 weight lie
                    beside them for the optimizer, whose moments are float32
    bfloat16-pure   weights and moments of 2 bytes, and 2 bytes for what rounding took from an update

Norms, softmax, log-probs and losses are float32 in each.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from firsthand.errors import RecipeError
from firsthand.policy.loading import model_class, set_up_training
from firsthand.policy.stored import stored_dtype, stored_tensors
from firsthand.processor import model_config

Precision = Literal["float32", "bfloat16", "bfloat16-pure"]
PrecisionSetting = Literal["auto", "float32", "bfloat16", "bfloat16-pure"]
OptimizerKind = Literal["adamw", "adamw-8bit", "adamw-kahan"]

DTYPE: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bfloat16-pure": torch.bfloat16,
}
"""Of the weights that sampling and training read."""
Stated = Literal["float32", "bfloat16", "float16"]
STATED: dict[Stated, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Of a model that is not trained."""
OPTIMIZERS: dict[Precision, tuple[OptimizerKind, ...]] = {
    "float32": ("adamw", "adamw-8bit"),
    "bfloat16": ("adamw", "adamw-8bit"),
    "bfloat16-pure": ("adamw-kahan",),
}
"""What keeps the updates of each; the first is its default."""
MOMENTS: dict[OptimizerKind, int] = {"adamw": 8, "adamw-8bit": 2, "adamw-kahan": 6}
"""Bytes of a trained weight's moments, and of what rounding took."""
_BESIDE_MOMENTS: dict[Precision, int] = {"float32": 4 + 4, "bfloat16": 2 + 2 + 4, "bfloat16-pure": 2 + 2}
"""Bytes of a trained weight itself, of its other half under `bfloat16`, and of its gradient."""
ROOM = 0.8
"""The share of a card that weights and what belongs to them may fill; the rest is for activations (ours)."""
_LOG = logging.getLogger(__name__)


class Accelerator(NamedTuple):
    """What `auto` asks of a GPU."""

    memory: int
    """Bytes, of the whole card."""
    has_bfloat16: bool

    @classmethod
    def here(cls) -> "Accelerator | None":
        """This machine's; None on a CPU."""
        if not torch.cuda.is_available():
            return None
        memory = torch.cuda.get_device_properties(0).total_memory
        return cls(memory, torch.cuda.is_bf16_supported(including_emulation=False))


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions with which oneDNN multiplies bfloat16, AVX-512 at least.

    Without them PyTorch does it number by number: a product took 75 times as long as in float32 (1024 x 1024, AMD EPYC
    with AVX2, one thread).
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class ParameterCount(NamedTuple):
    """How many numbers a model holds."""

    all: int
    trained: int

    @classmethod
    def of(cls, folder: Path, trainable: str) -> "ParameterCount":
        """From config.json alone. Raises DataError where there is none of a known family."""
        with torch.device("meta"):
            model = model_class(model_config(folder)).from_config(model_config(folder), trust_remote_code=False)
            set_up_training(model, trainable, None, gradient_checkpointing=False)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return cls(sum(p.numel() for p in model.parameters()), trained)

    def bytes(self, precision: Precision, kind: OptimizerKind, *, copies: int) -> int:
        """With gradients, moments and so many further copies of all weights, which a reference is."""
        each = DTYPE[precision].itemsize
        return (
            self.trained * (_BESIDE_MOMENTS[precision] + MOMENTS[kind])
            + (self.all * (1 + copies) - self.trained) * each
        )


def stated(folder: Path, said: Literal["auto"] | Stated) -> Stated:
    """What the weights of a folder that is not trained are held in: what was said, or what suits the machine."""
    if said != "auto":
        return said
    return stored_precision(folder) if torch.cuda.is_available() else "float32"


def stored_precision(folder: Path) -> Stated:
    """What most of a folder's weights are stored in; float32 where that is none of ours."""
    stored = stored_dtype(stored_tensors(folder))
    return next((name for name, dtype in STATED.items() if dtype == stored), "float32")


def warn_of_slow(precision: Precision, card: Accelerator | None) -> None:
    """Log it when this CPU would take tens of times as long in this precision as in float32."""
    if card is None and DTYPE[precision] is torch.bfloat16 and not cpu_multiplies_bfloat16():
        _LOG.warning(
            "precision: %s, on a CPU without instructions for it: expect each step to take tens of times as long as in "
            "float32; set precision to float32",
            precision,
        )


def kind_of(precision: Precision, asked: OptimizerKind | None, *, offload: bool, weight_decay: float) -> OptimizerKind:
    """The optimizer of a precision. Raises RecipeError where one was asked for that would lose updates."""
    kind = asked or OPTIMIZERS[precision][0]
    if kind == "adamw-kahan" and precision != "bfloat16-pure":
        raise RecipeError(
            f"optimizer.kind: adamw-kahan is for precision bfloat16-pure, got {precision}, which loses nothing; "
            "set one of the two"
        )
    if precision == "bfloat16-pure":
        _check_pure(kind, offload, weight_decay)
    elif offload and kind != "adamw":
        raise RecipeError(
            f"optimizer.offload: expected optimizer.kind adamw, whose moments it keeps on the CPU, got {kind}; "
            "leave out one of the two"
        )
    return kind


def _check_pure(kind: OptimizerKind, offload: bool, weight_decay: float) -> None:
    if kind != "adamw-kahan":
        raise RecipeError(
            f"optimizer.kind: {kind} loses updates under precision bfloat16-pure: most are smaller than half a unit in "
            "a weight's last place; set kind to adamw-kahan, or precision to bfloat16"
        )
    if offload:
        raise RecipeError(
            "optimizer.offload: keeps float32 weights on the CPU, got precision bfloat16-pure; "
            "set precision to bfloat16"
        )
    if weight_decay:  # (1 - lr * decay) * w rounds to w: half a unit in the last place is a 512th of it at least
        raise RecipeError(
            f"optimizer.weight_decay: expected 0 under precision bfloat16-pure, which rounds a decay away, got "
            f"{weight_decay:g}; set it to 0, or precision to bfloat16"
        )


def auto(
    card: Accelerator | None,
    kind: OptimizerKind | None,
    *,
    offload: bool,
    weight_decay: float,
    is_adapter: bool,
    weights: Callable[[], ParameterCount],
    copies: int,
    beside: Callable[[], int] = lambda: 0,
    tell: bool = True,
) -> Precision:
    """What a recipe that leaves it open gets, logged to `tell`; `copies` of all weights are a reference's.

    `beside` counts the bytes of other models, where they matter.
    """
    if card is None or not card.has_bfloat16:
        return "float32"
    if kind == "adamw-kahan":
        return "bfloat16-pure"
    if kind is not None or offload or weight_decay:  # which the other one refuses
        return "bfloat16"
    if is_adapter:  # of which so little is trained that the other one saves nothing
        return "bfloat16"
    needed = weights().bytes("bfloat16", "adamw", copies=copies) + beside()
    precision: Precision = "bfloat16" if needed <= ROOM * card.memory else "bfloat16-pure"
    _LOG.log(
        logging.WARNING if tell else logging.DEBUG,
        "precision: %s, for weights, gradients and moments of bfloat16 take %.1f GiB, and %.1f GiB of the card's %.1f "
        "are for them",
        *(precision, needed / 2**30, ROOM * card.memory / 2**30, card.memory / 2**30),
    )
    return precision
