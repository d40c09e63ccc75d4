"""Weights as a folder has them: all there, none too many, and every one a finite number.

transformers draws what is missing at random and passes over what it does not know, each with a warning: such a model
answers, and its numbers mean nothing.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firsthand.errors import DataError
from firsthand.policy import quantising
from firsthand.policy.stored import Stored, stored_dtype, stored_tensors
from firsthand.processor.folder import reading

_NAMED = 3
"""Tensors of one kind that an error names; it always gives the total."""
_FAR_MORE = 4
"""By how many times a model may be larger than its files (ours) before it is refused without being made: where less is
missing, the tensors are named, and weights in four bits count double."""
_LOADING = logging.getLogger("transformers.modeling_utils")


def read_weights(
    auto_class: Any,
    folder: str | Path,
    config: Any,
    *,
    dtype: torch.dtype | None = None,
    quantize_on: torch.device | str | None = None,
    **settings: Any,
) -> Any:
    """A model of a class of transformers, from the safetensors of a local folder; no code of the folder is run.

    Tensors are read one by one, so that one copy of the weights is in memory, in the precision that is asked for.

    Args:
        auto_class: as `AutoModelForCausalLM`.
        dtype: of the weights; None: that of the files.
        quantize_on: the device on which language layers are quantised; None leaves them as they are.
        settings: of `from_config`, such as `attn_implementation`.

    Raises DataError naming the tensors that are missing, unexpected, of another shape, or not finite. What transformers
    knows to be tied or left out is none of them.
    """
    tensors = stored_tensors(folder)
    dtype = dtype or stored_dtype(tensors)
    tensors = {name: replace(tensor, wanted=dtype) for name, tensor in tensors.items()}
    with reading(folder, "a config.json of a whole model"), torch.device("meta"):
        blank = auto_class.from_config(config, dtype=dtype, trust_remote_code=False, **settings)
    _refuse_far_more(folder, blank, tensors)
    if quantize_on is not None:
        settings |= quantising.loading_settings(blank, dtype, quantize_on)
    bad: list[str] = []
    with _silent():  # of what is missing and unexpected, our error says all
        model, found = type(blank).from_pretrained(
            None,
            config=blank.config,
            # Four bits show no nan: what is quantised is looked at before.
            state_dict=tensors if quantize_on is None else {n: _Watched(t, bad) for n, t in tensors.items()},
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, with the others
            **settings,
        )
    if quantize_on is not None:
        quantising.settle(model)
    shapes = [f"{name} ({_shape(had)} for {_shape(wanted)})" for name, had, wanted in sorted(found["mismatched_keys"])]
    refuse(folder, model, found["missing_keys"], found["unexpected_keys"], shapes, bad)
    return model


def _refuse_far_more(folder: str | Path, blank: nn.Module, tensors: Mapping[str, Stored]) -> None:
    """Raise DataError for a config of a far larger model: what is missing would be allocated before it is named."""
    means = sum(parameter.numel() for parameter in blank.parameters())
    holds = sum(prod(tensor.shape) for tensor in tensors.values())
    if means > _FAR_MORE * holds:
        raise DataError(
            f"{folder}: expected the {means:,} weights that its config.json means, got {holds:,}; the files are not "
            "whole, or its config belongs to another model: download or copy the folder again"
        )


class _Watched:
    """A stored tensor that notes, when it is read, whether a number is not finite."""

    def __init__(self, stored: Stored, bad: list[str]) -> None:
        self._stored = stored
        self._bad = bad

    def __getitem__(self, key: Any) -> Tensor:
        tensor = self._stored[key]
        self._bad += not_finite({self._stored.name: tensor})
        return tensor


def refuse(
    folder: str | Path,
    model: nn.Module,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    misshapen: Iterable[str] = (),
    bad: Iterable[str] = (),
) -> None:
    """Raise DataError when there are such tensors, or weights of the model (or `bad` ones) that are not finite."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    kinds = {
        "missing": sorted(missing),
        "that the model does not have": sorted(unexpected),
        "of another shape": sorted(misshapen),
        "with values that are not finite": list(bad) or not_finite(own),
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
