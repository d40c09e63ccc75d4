"""What enters the forge: rows of every source in turn, pictures kept by content beside the work."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from firsthand.data.stream import Refused, stream_rows
from firsthand.forge.collect import perceptual_hash
from firsthand.forge.config import AnySource, WorldsSource
from firsthand.forge.draft import Draft
from firsthand.records import Example, Picture
from firsthand.worlds import generate


def source_rows(sources: Sequence[AnySource]) -> Iterator[Example | Refused]:
    """The rows of all sources, one source after the other."""
    for source in sources:
        yield from _rendered(source) if isinstance(source, WorldsSource) else stream_rows(source)


def drafts(rows: Sequence[Example | Refused], pictures: Path) -> list[Draft | Refused]:
    """Rows as the steps want them: pictures by reference, and the hash of how each looks. What costs time per row."""
    return [row if isinstance(row, Refused) else _draft(row, pictures) for row in rows]


def _draft(example: Example, pictures: Path) -> Draft:
    images = tuple(_kept(picture, pictures) for picture in example.images)
    hashes = tuple(perceptual_hash(picture.open()) for picture in example.images)
    return Draft.of(example.model_copy(update={"images": images}), hashes)


def _rendered(source: WorldsSource) -> Iterator[Example]:
    share = -(-source.number // len(source.worlds))
    for family in source.worlds:
        # A world's rows are a function of their index, so that a longer list begins with the shorter one.
        for number, example in enumerate(generate(family, source.split, share, seed=source.seed)):
            origin = {"name": family, "file": "", "row": number, "license": "Apache-2.0", "origin": "firsthand worlds"}
            yield example.model_copy(update={"meta": {**example.meta, "source": origin}})


def _kept(picture: Picture, pictures: Path) -> Picture:
    if picture.data is None:
        return picture
    path = pictures / picture.sha256[:2] / picture.sha256
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without fsync: the data set is written only from pictures that still have the hash they came with.
        partial = path.with_suffix(f".{os.getpid()}")  # Ray's tasks may write one picture at once
        partial.write_bytes(picture.data)
        partial.replace(path)
    return picture.model_copy(update={"data": None, "path": str(path.absolute())})
