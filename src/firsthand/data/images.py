"""Pictures on their way in: bounded before they are decoded, decoded once as a proof that they can be, thrown away.

What is checked, in this order, and why so:
0. where the loader is rooted: that the path, links followed, stays in the folder of pictures;
1. that it is a file and no pipe or device, which could hang or never end, and its size, before it is read;
2. the format, from a short list: Pillow's rarer readers start other programs (EPS) or are large and brittle (TIFF);
3. the pixels that the header promises, before any is decoded: a 50 kB PNG can unfold to gigabytes;
4. that the picture decodes. Pillow's own `verify()` does not look into JPEG data, so a half-downloaded photo would pass
   it and fail in the middle of a training run. JPEGs are decoded at an eighth of their size, which still reads every
   byte and costs a third of the time, unless somebody wants to see them; the pixels are thrown away;
5. that it means one thing: one frame, eight bits per channel, and a turn in its EXIF data that can be carried out.

A picture that several rows share is checked once, and held once for as long as anybody holds it: the loader itself
keeps nothing but sizes, so that a long stream of pictures takes no memory.
"""

import base64
import binascii
import hashlib
import io
import os
import stat
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn
from weakref import WeakValueDictionary

from PIL import Image, ImageOps, UnidentifiedImageError

from firsthand.errors import BadRow, shown
from firsthand.records import Picture, upright_rgb

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_ON_ITS_SIDE = range(5, 9)
"""Orientations that swap width and height."""
_REMEMBERED = 65_536
"""Pictures whose sizes are kept by hash, so that one that comes again is not decoded again: about 15 MB."""
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

OnDecoded = Callable[[str, Image.Image], None]
"""(sha256 of the encoded picture, the picture) -> nothing."""


@dataclass(frozen=True)
class PictureLimits:
    """What a picture may cost. The defaults are ours: above any common camera, far below what hurts a machine."""

    pixels: int = 40_000_000
    file_bytes: int = 64 * 2**20
    side: int = 4
    """Pixels of the shorter side, at least. Image processors find the colours by an axis of length 1 or 3, so that a
    picture of 1 or 3 pixels a side can be read askew; and what is that small was a placeholder or a tracker's."""


class _Found(NamedTuple):
    """Where a picture came from, for the error that may follow."""

    column: str
    name: str

    def refuse(self, expected: str, got: str, remedy: str, reason: str = "bad_image") -> NoReturn:
        raise BadRow(self.column, expected, f"{self.name}, {got}", remedy, reason)


class PictureLoader:
    """Checks pictures, and remembers which it has checked, for as long as one load lasts.

    A rooted loader is for paths that others wrote: none may lead out of the folder that it starts from. `on_decoded`
    is shown each picture that is decoded, with its sha256, as `Picture.open` would give it.
    """

    def __init__(self, limits: PictureLimits, *, is_rooted: bool = False, on_decoded: OnDecoded | None = None) -> None:
        self._limits = limits
        self._is_rooted = is_rooted
        self._on_decoded = on_decoded
        self._sizes: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._by_path: WeakValueDictionary[Path, Picture] = WeakValueDictionary()
        self._by_content: WeakValueDictionary[str, Picture] = WeakValueDictionary()

    def load(self, value: object, folder: Path, column: str) -> Picture:
        """A Picture from a path (relative to `folder`), bytes, a `data:` URI or a Hugging Face `{bytes, path}`.

        A path stays a reference (made absolute); everything else is carried by value, in its encoded form.
        Raises BadRow.
        """
        if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
            value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return self._by_value(value, _Found(column, "bytes"))
        if isinstance(value, str) and value.startswith("data:"):
            return self._by_value(_decode_uri(value, column), _Found(column, shown(value)))
        if isinstance(value, str) and value.strip():
            return self._reference(value, folder, column)
        remedy = "give a path, a data: URI, the file's bytes, or {bytes, path}"
        raise BadRow(column, "an image", shown(value), remedy)

    def _reference(self, value: str, folder: Path, column: str) -> Picture:
        if "://" in value:
            raise BadRow(column, "the path of an image file", shown(value), "download it first and give its path")
        found = _Found(column, shown(value))
        path = _inside(folder, value, found) if self._is_rooted else (folder / value).absolute()
        known = self._by_path.get(path)
        if known is not None:
            return known
        where = "the folder of pictures" if self._is_rooted else str(folder)
        sha256, (width, height) = self._check(_read(path, where, self._limits, found), found)
        return self._by_path.setdefault(path, Picture(sha256=sha256, width=width, height=height, path=str(path)))

    def _by_value(self, encoded: bytes, found: _Found) -> Picture:
        sha256, (width, height) = self._check(encoded, found)
        carried = Picture(sha256=sha256, width=width, height=height, data=encoded)
        # Parquet repeats a picture for each of its questions; one copy in memory is enough.
        return self._by_content.setdefault(sha256, carried)

    def _check(self, encoded: bytes, found: _Found) -> tuple[str, tuple[int, int]]:
        sha256 = hashlib.sha256(encoded).hexdigest()
        size = self._sizes.get(sha256)
        if size is None:
            _bound_bytes(len(encoded), self._limits, found)
            seen = None if self._on_decoded is None else partial(self._on_decoded, sha256)
            size = self._sizes[sha256] = _measure(encoded, self._limits, found, seen)
            if len(self._sizes) > _REMEMBERED:
                self._sizes.popitem(last=False)
        return sha256, size


def _decode_uri(uri: str, column: str) -> bytes:
    head, comma, payload = uri.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("no `;base64,`")
        return base64.b64decode(payload, validate=True)
    except (ValueError, binascii.Error) as broken:
        got = f"{shown(uri)} ({broken})"
        raise BadRow(column, "data:image/...;base64,...", got, "encode the file's bytes as base64") from broken


def _inside(folder: Path, value: str, found: _Found) -> Path:
    """The real path, links followed. Raises BadRow when it is not below `folder`; whether it exists stays unsaid."""
    try:
        root = Path(os.path.realpath(folder))
        path = Path(os.path.realpath(root / value))
    except (OSError, ValueError) as broken:  # a NUL in the path
        raise BadRow(found.column, "the path of an image file", found.name, "correct it", "image_missing") from broken
    if not path.is_relative_to(root):
        got = "which leads out of the folder of pictures"
        found.refuse("a path inside the folder of pictures", got, "put the picture there", "image_outside_root")
    return path


def _read(path: Path, where: str, limits: PictureLimits, found: _Found) -> bytes:
    """The bytes of a regular file; a pipe is never waited for. Raises BadRow."""
    remedy = "correct it: paths start from the folder of the data file"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                _refuse_other(status.st_mode, found, remedy)
            _bound_bytes(status.st_size, limits, found)
            return file.read(limits.file_bytes + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        got = f"which does not exist in {where}"
        found.refuse("the path of an image file", got, remedy, "image_missing")
    except IsADirectoryError:
        _refuse_other(stat.S_IFDIR, found, remedy)
    except OSError as broken:
        got = f"{found.name}, which cannot be read ({broken.strerror})"
        expected = "a readable image file"
        raise BadRow(found.column, expected, got, "check path and rights", "image_missing") from broken


def _refuse_other(mode: int, found: _Found, remedy: str) -> NoReturn:
    got = "which is a folder" if stat.S_ISDIR(mode) else "which is a pipe or a device"
    found.refuse("the path of an image file", got, remedy, "image_missing")


def _bound_bytes(count: int, limits: PictureLimits, found: _Found) -> None:
    if count == 0:
        found.refuse("an image", "which is empty", "fetch or export it again")
    if count > limits.file_bytes:
        expected = f"an image file of at most {limits.file_bytes / 2**20:,.0f} MiB"
        got, remedy = f"which has {count / 2**20:,.1f} MiB", "shrink it, or store it as JPEG"
        found.refuse(expected, got, remedy, "image_too_large")


def _measure(
    encoded: bytes, limits: PictureLimits, found: _Found, on_decoded: Callable[[Image.Image], None] | None
) -> tuple[int, int]:
    """(width, height), upright, of a picture that has passed every check. Raises BadRow."""
    try:
        with warnings.catch_warnings():
            # Our own limit comes next, with a better message than Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
        _bound_pixels(image.size, limits, found)
        width, height = image.size
        _refuse_ambiguous(image, found)
        turned = image.getexif().get(_ORIENTATION, 1)
        if on_decoded is None:
            image.draft("L", (1, 1))  # JPEG only: decode at 1/8; other formats ignore it
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as Picture.open does, so that it does not fail there
        else:
            on_decoded(upright_rgb(image))
    except BadRow:
        raise
    except UnidentifiedImageError:
        got = f"which is none of these (it starts with {encoded[:8]!r})"
        found.refuse(f"a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} image", got, "convert it to PNG or JPEG")
    except Image.DecompressionBombError as bomb:
        got = f"which promises more than Pillow opens at all ({bomb})"
        found.refuse(_at_most(limits), got, "shrink it", "image_too_large")
    except Exception as broken:  # damaged files make Pillow raise anything: OSError, SyntaxError, struct.error, ...
        got = f"{found.name}, which does not decode ({broken})"
        raise BadRow(found.column, "a complete image", got, "fetch or export it again") from broken
    return (height, width) if turned in _ON_ITS_SIDE else (width, height)


def _at_most(limits: PictureLimits) -> str:
    return f"an image of at most {limits.pixels:,} pixels"


def _bound_pixels(size: tuple[int, int], limits: PictureLimits, found: _Found) -> None:
    shape = f"which has {size[0]} x {size[1]}"
    if size[0] * size[1] > limits.pixels:
        found.refuse(_at_most(limits), f"{shape} = {size[0] * size[1]:,}", "shrink it", "image_too_large")
    if min(size) < limits.side:
        expected = f"an image of at least {limits.side} pixels a side"
        found.refuse(expected, shape, "look what it is: it may stand for a missing one", "image_too_small")


def _refuse_ambiguous(image: Image.Image, found: _Found) -> None:
    """Pictures that a model would see otherwise than their owner does."""
    moves: bool = getattr(image, "is_animated", False)  # only formats that can move have it
    if moves and image.format != "MPO":  # MPO: a phone's JPEG with a depth map behind the photo
        found.refuse("a still image", "which has several frames", "export the frame that you mean", "image_moves")
    if image.mode in _DEEP_MODES:
        got = f"which has more (Pillow mode {image.mode})"
        remedy = "convert it to 8 bits: the usual conversion to RGB would turn it white"
        found.refuse("8 bits per channel", got, remedy, "image_not_8_bit")
