"""A folder's weights, tensor by tensor: each is read when it is asked for, and no file is ever held whole.

A memory-mapped file would count as memory beside the weights that were made of it, until the last of them is read.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from firsthand.errors import DataError
from firsthand.processor.folder import reading, settings_in

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
"""Names of a folder's weights in one file, and of what lists the files where there are several."""
SHARD_BYTES = 2**30
"""Of a file that is written: so much is held in memory at once (ours)."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Floats, as safetensors calls them."""


class Readable(Protocol):
    """A tensor that is read when it is asked for, with `tensor[...]`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype | None: ...

    def __getitem__(self, _: Any) -> Tensor: ...


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in a file; `stored[...]` reads it, as it reads a slice of safetensors."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    """None where it is no float."""
    wanted: torch.dtype | None = None
    """What the tensor is made to be by whoever reads it; None: what it is."""

    def __getitem__(self, _: Any) -> Tensor:
        """The tensor, in a place of its own unless it is converted next.

        That place is aligned as PyTorch aligns its tensors. Matrix products on a CPU round by the place of their
        factors within 64 bytes, and in files of different headers tensors lie differently, so that a run that goes on
        from a checkpoint would differ in the last digits from one that never stopped.
        """
        with safe_open(self.file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(self.name)
            return tensor if self.wanted not in (None, tensor.dtype) else tensor.clone()


def stored_tensors(folder: str | Path, file: str | None = None) -> dict[str, Stored]:
    """Of all weights of a folder, or of this file of it, by their names. Raises DataError where one cannot be read."""
    return {name: tensor for path in _files(Path(folder), file) for name, tensor in _tensors(folder, path).items()}


def refuse_full(folder: Path) -> None:
    """Raise DataError unless there is no such folder, or an empty one."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: expected no folder of that name, or an empty one, got a full one; name another")


def stored_dtype(tensors: Mapping[str, Stored]) -> torch.dtype:
    """The precision of most of these numbers; float32 where none is a float."""
    numbers: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        if tensor.dtype is not None:
            numbers[tensor.dtype] += prod(tensor.shape)
    return numbers.most_common(1)[0][0] if numbers else torch.float32


def write_changed(
    tensors: Mapping[str, Readable], deltas: Mapping[str, Callable[[], Tensor]], folder: Path, dtype: torch.dtype
) -> None:
    """Write tensors with something added to some of them, in this precision, one file after the other.

    Sums are made in float32, and rounded once.
    """
    size = dtype.itemsize
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: prod(tensor.shape) * size,
        get_storage_id=lambda tensor: None,
        filename_pattern=_WEIGHTS.replace(".", "{suffix}.", 1),
        max_shard_size=SHARD_BYTES,
    )
    for file, names in plan.filename_to_tensors.items():
        shard = {name: _changed(tensors[name], deltas.get(name), dtype) for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
        del shard  # before the next one is made
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / _INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def share_mode(folder: Path) -> None:
    """Let those read the weights of a folder who can read its config: they are written for their owner alone."""
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / "config.json").stat().st_mode)


def _changed(stored: Readable, delta: Callable[[], Tensor] | None, dtype: torch.dtype) -> Tensor:
    tensor = stored[...]
    if stored.dtype is None:
        return tensor
    return (tensor if delta is None else tensor.float() + delta().float().to(tensor.device)).to(dtype)


def _files(folder: Path, file: str | None) -> list[Path]:
    index = folder / _INDEX
    names = [file or _WEIGHTS]
    if file is None and index.is_file():
        with reading(index, "a list of files of weights"):
            names = sorted(set(settings_in(index)["weight_map"].values()))
            if strange := [name for name in names if Path(name).name != name]:
                raise ValueError(f"{strange[0]!r}, which is no file of this folder")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(f"{folder}: expected weights in {missing[0]}, got no such file; download the folder again")
    return [folder / name for name in names]


def _tensors(folder: str | Path, file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            return {
                name: Stored(file, name, tuple(part.get_shape()), _DTYPES.get(part.get_dtype()))
                for name, part in slices.items()
            }
    except SafetensorError as error:
        raise DataError(f"{folder}: expected readable safetensors, got: {error}; copy the file again") from error
