"""Weights as a folder has them: all there, none too many, and every one a finite number.

transformers draws what is missing at random and passes over what it does not know, each with a warning: such a model
answers, and its numbers mean nothing.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from firsthand.errors import DataError

_NAMED = 3
"""Tensors of one kind that an error names; it always gives the total."""
_LOADING = logging.getLogger("transformers.modeling_utils")


def read_weights(model_class: Any, folder: str | Path, **settings: Any) -> Any:
    """A model of that class of transformers, from the safetensors of a local folder; no code of the folder is run.

    Raises DataError naming the tensors that are missing, unexpected, of another shape, or not finite. What transformers
    knows to be tied or left out is none of them.
    """
    with _silent():  # of what is missing and unexpected, our error says all
        try:
            model, found = model_class.from_pretrained(
                str(folder),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, with the others
                **settings,
            )
        except SafetensorError as error:
            raise DataError(f"{folder}: expected readable safetensors, got: {error}; copy the file again") from error
    shapes = [f"{name} ({_shape(had)} for {_shape(wanted)})" for name, had, wanted in sorted(found["mismatched_keys"])]
    refuse(folder, model, found["missing_keys"], found["unexpected_keys"], shapes)
    return model


def refuse(
    folder: str | Path,
    model: nn.Module,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    misshapen: Iterable[str] = (),
) -> None:
    """Raise DataError when there are such tensors, or weights of the model that are not finite."""
    kinds = {
        "missing": sorted(missing),
        "that the model does not have": sorted(unexpected),
        "of another shape": sorted(misshapen),
        "with values that are not finite": not_finite(dict(model.named_parameters()) | dict(model.named_buffers())),
    }
    told = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
    if not told:
        return
    fits = not (kinds["missing"] or kinds["that the model does not have"] or kinds["of another shape"])
    remedy = (
        "the training that wrote them diverged, or the file is damaged: take an earlier model, or copy it again"
        if fits
        else "the files are not whole, or its config belongs to another model: download or copy the folder again"
    )
    raise DataError(f"{folder}: expected every weight of the model, and finite ones, got {', '.join(told)}; {remedy}")


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold a nan or an infinity."""
    floats = {n: t.detach() for n, t in tensors.items() if t.is_floating_point() and t.numel() and not t.is_meta}
    # Both ends of a tensor are nan where any value is, and reading them needs no copy of it.
    return [name for name, t in floats.items() if not torch.isfinite(torch.stack(t.aminmax())).all()]


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + " ..." * (len(names) > _NAMED)


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes)) or "scalar"


@contextmanager
def _silent() -> Iterator[None]:
    def nothing(_: logging.LogRecord) -> bool:
        return False

    _LOADING.addFilter(nothing)  # not by its level: above WARNING, transformers checks a plan for several machines
    try:
        yield
    finally:
        _LOADING.removeFilter(nothing)
