"""Pictures -> pixels, each picture once."""

import os
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL.Image import Image
from torch import Tensor

from firsthand.errors import DataError
from firsthand.records import Picture

PIXEL_CACHE_BYTES = 2**30
THREADS = 4
"""That process pictures ahead of time, where there are cores for them: Pillow and NumPy let others run meanwhile
(ours)."""


class PixelCache:
    """Processes each picture once (by the hash of its bytes) and keeps the most recently used ones in memory."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._bytes = 0
        self._coming: dict[str, Future[tuple[Tensor, Tensor]]] = {}
        self._threads = ThreadPoolExecutor(max(1, min(THREADS, (os.cpu_count() or 1) - 1)), "pixels")

    def prefetch(self, pictures: Iterable[tuple[Picture, str]]) -> None:
        """Begin to process pictures, each with its `where`, that `of` will be asked for; it tells what goes wrong."""
        for picture, where in pictures:
            name = picture.sha256
            if name not in self._kept and name not in self._coming:
                self._coming[name] = self._threads.submit(self._process, picture, where)

    def of(self, picture: Picture, where: str) -> tuple[Tensor, Tensor]:
        """Pixels float32 [patches, features] and grid int64 [3] of a picture; DataError says `where` it failed."""
        name = picture.sha256
        if name not in self._kept:
            coming = self._coming.pop(name, None)
            self._kept[name] = coming.result() if coming else self._process(picture, where)
            self._bytes += self._kept[name][0].nbytes
            while self._bytes > PIXEL_CACHE_BYTES and len(self._kept) > 1:
                _, (pixels, _) = self._kept.popitem(last=False)
                self._bytes -= pixels.nbytes
        self._kept.move_to_end(name)
        return self._kept[name]

    def _process(self, picture: Picture, where: str) -> tuple[Tensor, Tensor]:
        image = opened(picture, where)
        try:
            found = self._image_processor(images=[image], return_tensors="pt")
        except ValueError as error:
            raise picture_error(picture, where, error) from error
        return found["pixel_values"], found["image_grid_thw"][0]


def opened(picture: Picture, where: str) -> Image:
    """The picture as RGB. Raises DataError, which says `where`, when it cannot be read."""
    try:
        return picture.open()
    except (OSError, ValueError) as error:
        raise picture_error(picture, where, error) from error


def picture_error(picture: Picture, where: str, error: Exception) -> DataError:
    """What to raise about a picture that the model's processor does not take."""
    source = picture.path or f"{picture.width}x{picture.height}, given as bytes"
    return DataError(
        f"{where} ({source}): expected an image that the model's processor takes, got: {error}; replace it"
    )
