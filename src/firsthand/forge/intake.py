"""What enters the forge: rows of every source in turn, pictures kept by content beside the work."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from PIL import Image

from firsthand.data.loaded import Refused
from firsthand.data.stream import stream_rows
from firsthand.files import sync
from firsthand.forge.collect import perceptual_hash
from firsthand.forge.config import AnySource, WorldsSource
from firsthand.forge.draft import Draft
from firsthand.records import Example, Picture
from firsthand.worlds import generate

_REMEMBERED = 65_536
"""Pictures whose hashes are kept: about 30 MB."""


@final
class PictureHashes:
    """Perceptual hashes by sha256, of the pictures seen last: one that several rows share is hashed once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, bytes] = OrderedDict()

    def see(self, sha256: str, image: Image.Image) -> None:
        """Hash an upright RGB picture."""
        self._known[sha256] = perceptual_hash(image)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def of(self, picture: Picture) -> bytes:
        """The hash of a picture, which is opened unless it has been seen. Raises OSError when its file has gone."""
        if picture.sha256 not in self._known:
            self.see(picture.sha256, picture.open())
        return self._known[picture.sha256]


def source_rows(sources: Sequence[AnySource], hashes: PictureHashes | None) -> Iterator[Example | Refused]:
    """The rows of all sources, one source after the other; `hashes` sees pictures when their loader decodes them."""
    see = None if hashes is None else hashes.see
    for source in sources:
        yield from _rendered(source) if isinstance(source, WorldsSource) else stream_rows(source, on_decoded=see)


def drafts(
    rows: Sequence[Example | Refused], pictures: Path, hashes: PictureHashes | None = None
) -> list[Draft | Refused]:
    """Rows as the steps want them: pictures by reference, and the hash of each. What costs time per row."""
    hashes = hashes or PictureHashes()
    return [row if isinstance(row, Refused) else _draft(row, pictures, hashes) for row in rows]


def _draft(example: Example, pictures: Path, hashes: PictureHashes) -> Draft:
    found = tuple(map(hashes.of, example.images))
    images = tuple(_kept(picture, pictures) for picture in example.images)
    return Draft.of(example.model_copy(update={"images": images}), found)


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
        partial = path.with_suffix(f".{os.getpid()}")  # Ray's tasks may write one picture at once
        partial.write_bytes(picture.data)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    return picture.model_copy(update={"data": None, "path": str(path.absolute())})
