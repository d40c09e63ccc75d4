"""The door for pictures: bounded before they are decoded, decoded once to prove that they can be, never kept decoded.

What is checked, in this order, and why so:
1. the size of the file, before it is read;
2. the format, from a short list: Pillow's rarer readers start other programs (EPS) or are large and brittle (TIFF);
3. the pixels that the header promises, before any is decoded: a 50 kB PNG can unfold to gigabytes;
4. that the picture decodes. Pillow's own `verify()` does not look into JPEG data, so a half-downloaded photo would pass
   it and fail in the middle of a training run. JPEGs are decoded at an eighth of their size, which still reads every
   byte and costs a third of the time; the pixels are thrown away;
5. that it means one thing: one frame, upright, eight bits per channel.

A picture that several rows share is checked once.
"""

import base64
import binascii
import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

from PIL import Image, UnidentifiedImageError

from firsthand.records import Picture
from firsthand.sources.rows import BadRow, shown

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True)
class Limits:
    """What a picture may cost. Both defaults are ours: above any common camera, far below what hurts a machine."""

    pixels: int = 40_000_000
    file_bytes: int = 64 * 2**20


class _Found(NamedTuple):
    """Where a picture came from, for the error that may follow."""

    column: str
    name: str

    def refuse(self, expected: str, got: str, remedy: str) -> NoReturn:
        raise BadRow(self.column, expected, f"{self.name}, {got}", remedy)


class PictureDoor:
    """Admits pictures and remembers which it has checked, for as long as one load lasts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sizes: dict[str, tuple[int, int]] = {}
        self._by_path: dict[Path, Picture] = {}
        self._by_content: dict[str, Picture] = {}

    def admit(self, value: object, folder: Path, column: str) -> Picture:
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
        path = (folder / value).absolute()
        if path not in self._by_path:
            found = _Found(column, shown(value))
            sha256, (width, height) = self._check(_read(path, folder, self._limits, found), found)
            self._by_path[path] = Picture(sha256=sha256, width=width, height=height, path=str(path))
        return self._by_path[path]

    def _by_value(self, encoded: bytes, found: _Found) -> Picture:
        sha256, (width, height) = self._check(encoded, found)
        carried = Picture(sha256=sha256, width=width, height=height, data=encoded)
        # Parquet repeats a picture for each of its questions; one copy in memory is enough.
        return self._by_content.setdefault(sha256, carried)

    def _check(self, encoded: bytes, found: _Found) -> tuple[str, tuple[int, int]]:
        sha256 = hashlib.sha256(encoded).hexdigest()
        if sha256 not in self._sizes:
            _bound_bytes(len(encoded), self._limits, found)
            self._sizes[sha256] = _measure(encoded, self._limits, found)
        return sha256, self._sizes[sha256]


def _decode_uri(uri: str, column: str) -> bytes:
    head, comma, payload = uri.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("no `;base64,`")
        return base64.b64decode(payload, validate=True)
    except (ValueError, binascii.Error) as broken:
        got = f"{shown(uri)} ({broken})"
        raise BadRow(column, "data:image/...;base64,...", got, "encode the file's bytes as base64") from broken


def _read(path: Path, folder: Path, limits: Limits, found: _Found) -> bytes:
    try:
        if not path.is_file():
            got = "which is a folder" if path.is_dir() else f"which does not exist in {folder}"
            found.refuse("the path of an image file", got, "correct it: paths start from the folder of the data file")
        _bound_bytes(path.stat().st_size, limits, found)
        return path.read_bytes()
    except OSError as broken:
        got = f"which cannot be read ({broken.strerror})"
        raise BadRow(found.column, "a readable image file", f"{found.name}, {got}", "check path and rights") from broken


def _bound_bytes(count: int, limits: Limits, found: _Found) -> None:
    if count == 0:
        found.refuse("an image", "which is empty", "fetch or export it again")
    if count > limits.file_bytes:
        expected = f"an image file of at most {limits.file_bytes / 2**20:,.0f} MiB"
        found.refuse(expected, f"which has {count / 2**20:,.1f} MiB", "shrink it, or store it as JPEG")


def _measure(encoded: bytes, limits: Limits, found: _Found) -> tuple[int, int]:
    """(width, height) of a picture that has passed every check. Raises BadRow."""
    try:
        with warnings.catch_warnings():
            # Our own limit comes next, with a better message than Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        _bound_pixels(image.size, limits, found)
        size = image.size
        _refuse_ambiguous(image, found)
        image.draft("L", (1, 1))  # JPEG only: decode at 1/8; other formats ignore it
        image.load()
    except BadRow:
        raise
    except UnidentifiedImageError:
        got = f"which is none of these (it starts with {encoded[:8]!r})"
        found.refuse(f"a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image", got, "convert it to PNG or JPEG")
    except Image.DecompressionBombError as bomb:
        found.refuse(_at_most(limits), f"which promises more than Pillow opens at all ({bomb})", "shrink it")
    except Exception as broken:  # damaged files make Pillow raise anything: OSError, SyntaxError, struct.error, ...
        got = f"{found.name}, which does not decode ({broken})"
        raise BadRow(found.column, "a complete image", got, "fetch or export it again") from broken
    return size


def _at_most(limits: Limits) -> str:
    return f"an image of at most {limits.pixels:,} pixels"


def _bound_pixels(size: tuple[int, int], limits: Limits, found: _Found) -> None:
    if size[0] * size[1] > limits.pixels:
        found.refuse(_at_most(limits), f"which has {size[0]} x {size[1]} = {size[0] * size[1]:,}", "shrink it")


def _refuse_ambiguous(image: Image.Image, found: _Found) -> None:
    """Pictures that a model would see otherwise than their owner does."""
    frames: int = getattr(image, "n_frames", 1)  # only formats that can move have it
    if frames > 1 and image.format != "MPO":  # MPO: a phone's JPEG with a depth map behind the photo
        found.refuse("a still image", f"which has {frames} frames", "export the frame that you mean")
    if image.mode in _DEEP_MODES:
        got = f"which has more (Pillow mode {image.mode})"
        found.refuse("8 bits per channel", got, "convert it to 8 bits: the usual conversion to RGB would turn it white")
    turned = image.getexif().get(_ORIENTATION, 1)
    if turned in range(2, 9):
        got = f"which its EXIF data turns (orientation {turned})"
        found.refuse("an upright image", got, "turn the pixels themselves, e.g. `mogrify -auto-orient`")
