"""Which files of a folder hold the data: the layouts of the Hugging Face hub and of `datasets.save_to_disk`.

    train-00000-of-00002.parquet, data/test-00000-of-00001.parquet, train.parquet, train/data-00000-of-00001.arrow ...
    metadata.jsonl, train/metadata.csv (an imagefolder's), train.jsonl, test.csv

A file belongs to the split that its folder is called after, or else to the one in its name. Shards that say `of 3` must
all be there.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from firsthand.errors import DataError

_SPLITS = ("train", "validation", "valid", "val", "dev", "test")
_SHARD = re.compile(r"(?P<name>.+)-(?P<index>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]{16})?")
_PATTERNS = ("*.parquet", "data-*-of-*.arrow")  # other .arrow files are caches of `datasets`
_METADATA = ("metadata.jsonl", "metadata.csv")
"""What describes the pictures of an imagefolder, where no file holds them."""
_TEXT = ("*.jsonl", "*.csv", "*.tsv")
"""Of these a folder is read that has one alone, or one for each split."""


def data_files(folder: Path, split: str | None) -> list[Path]:
    """The files of one split, in order. Raises DataError when there are none, or several splits and no choice."""
    files = _found(folder, _PATTERNS) or _found(folder, _METADATA)
    if not files:
        text = _found(folder, _TEXT)
        files = text if len(text) == 1 or all(_split_of(file, folder) for file in text) else []
    if not files:
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        remedy = "export it, e.g. dataset.to_parquet(...), or give the path of a .jsonl or .csv file itself"
        expected = (
            "*.parquet, data/*.parquet, a saved data set, an imagefolder's metadata.jsonl or one file of questions"
        )
        raise DataError(f"{folder}: expected {expected}, got {there}; {remedy}")
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, folder), []).append(file)
    there = ", ".join(sorted(name or "files without one" for name in by_split))
    if split is None and len(by_split) > 1:
        example = next(name for name in by_split if name)
        raise DataError(f"{folder}: expected one split, got {there}; choose one, e.g. {folder}:{example}")
    if split is not None and split not in by_split:
        raise DataError(f"{folder}:{split}: expected a split that is there, got {split!r}; there is {there}")
    chosen = by_split[split] if split is not None else next(iter(by_split.values()))
    refuse_gaps(chosen, folder)
    return chosen


def _found(folder: Path, patterns: Iterable[str]) -> list[Path]:
    places = [folder, folder / "data", *(folder / name for name in _SPLITS)]
    return sorted(file for place in places for pattern in patterns for file in place.glob(pattern))


def _split_of(file: Path, folder: Path) -> str | None:
    if file.parent != folder and file.parent.name in _SPLITS:
        return file.parent.name
    shard = _SHARD.fullmatch(file.stem)
    name = shard["name"] if shard else file.stem
    return name if shard or name in _SPLITS else None


def refuse_gaps(files: list[Path], folder: Path) -> None:
    """Raise DataError where a shard is missing: a download that ended early leaves out whole ones, and no row shows."""
    shards = [shard for shard in (_SHARD.fullmatch(file.stem) for file in files) if shard]
    for count in {int(shard["count"]) for shard in shards}:
        have = {int(shard["index"]) for shard in shards if int(shard["count"]) == count}
        missing = sorted(set(range(count)) - have)
        if missing:
            got = f"{len(have)} (number {missing[0]} is missing)"
            raise DataError(f"{folder}: expected {count} shards, got {got}; fetch the data set again")
