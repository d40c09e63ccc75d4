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
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from PIL import Image, ImageOps, UnidentifiedImageError

from firsthand.data.foreign import what_it_is
from firsthand.errors import BadRow, shown
from firsthand.records import Picture, open_picture, upright_rgb

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright, and 5 to 8 swap width and height
_REMEMBERED = 65_536
"""Pictures whose sizes are kept by hash, so that one that comes again is not decoded again: about 15 MB."""
_ENCODED_STARTS = ("iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "Qk")
"""How PNG, JPEG, WebP, GIF and BMP begin as base64."""
_LONGEST_PATH = 4096
"""Characters of a path (Linux)."""
_OUTSIDE = "put the picture there, or name its folder as the `images` of the source"
_GIVE = "give a path, a data: URI, the file's bytes, or {bytes, path}"
_LONGEST_NAME = 64
"""Characters of what is never taken for base64 (ours, and VLMEvalKit's)."""
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

OnDecoded = Callable[[str, Image.Image], None]
"""(sha256 of the encoded picture, the picture) -> nothing."""


@dataclass(frozen=True)
class PictureLimits:
    """What a picture may cost. The defaults are ours."""

    pixels: int = 120_000_000
    """Phones make 50 and 108 million at their full size, most cameras fewer. To ask a model about one of 108 million
    took 8 s and 1.5 GiB (on one core; 50 million: 3 s and 1.2 GiB), and about one of 200 million 10 s and 2.6 GiB."""
    file_bytes: int = 192 * 2**20
    """A PNG of a photo with 50 million pixels has about 90 MiB, a JPEG of 108 million 30."""
    side: int = 4
    """Pixels of the shorter side, at least. Image processors find the colours by an axis of length 1 or 3, so that a
    picture of 1 or 3 pixels a side can be read askew; and what is that small was a placeholder or a tracker's."""

    @classmethod
    def of(cls, pixels: int | None) -> "PictureLimits":
        """With so many pixels at most, where somebody has said so."""
        return cls() if pixels is None else cls(pixels)


class PictureLoader:
    """Checks pictures, and remembers which it has checked, for as long as one load lasts.

    A rooted loader is for paths that others wrote: none may lead out of the folder that it starts from. `on_decoded`
    is shown each picture that is decoded, with its sha256, as `Picture.open` would give it.
    """

    def __init__(self, limits: PictureLimits, *, is_rooted: bool = False, on_decoded: OnDecoded | None = None) -> None:
        self._limits = limits
        self._is_rooted = is_rooted
        self._on_decoded = on_decoded
        self._subfolders: dict[Path, list[str]] = {}
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
        try:
            return self._picture(value, folder)
        except BadRow as bad:
            name = "bytes" if isinstance(value, bytes) else shown(value)
            raise BadRow(column, bad.expected, name + bad.got, bad.remedy, bad.reason) from bad

    def _picture(self, value: object, folder: Path) -> Picture:
        """As `load`; a BadRow's `got` is what comes after the value."""
        if isinstance(value, bytes):
            return self._by_value(value)
        if not isinstance(value, str) or not value.strip():
            raise BadRow("image", "an image", "", _GIVE)
        if value.startswith("data:") or (value.startswith("image/") and ";base64," in value[:40]):
            return self._by_value(_decode_uri(value))
        if len(value) > _LONGEST_NAME and value.startswith(_ENCODED_STARTS) and "." not in value:
            return self._by_value(decoded_base64(value))
        if len(value) > _LONGEST_PATH:
            got = f", which is {len(value):,} characters long, and no picture as base64"
            raise BadRow("image", "the path of an image file", got, _GIVE, "image_missing")
        value = value.removeprefix("file://").replace("\\", "/")  # as Windows writes paths
        if "://" in value:
            raise BadRow("image", "the path of an image file", "", "download it first and give its path")
        path = _inside(folder, value) if self._is_rooted else (folder / value).absolute()
        known = self._by_path.get(path)
        if known is not None:
            return known
        try:
            encoded = _read(path, self._limits)
        except FileNotFoundError as gone:
            raise _missing(value, folder, is_rooted=self._is_rooted, found=self._below(folder, value)) from gone
        sha256, (width, height) = self._check(encoded)
        return self._by_path.setdefault(path, Picture(sha256=sha256, width=width, height=height, path=str(path)))

    def _below(self, folder: Path, value: str) -> str | None:
        """Where a picture is that stands in a folder beside the data file; None too where others wrote the paths."""
        if self._is_rooted:
            return None
        if folder not in self._subfolders:  # listed once: thousands of pictures may be missing
            self._subfolders[folder] = sorted(path.name for path in folder.iterdir() if path.is_dir())
        return next((f"{name}/{value}" for name in self._subfolders[folder] if (folder / name / value).is_file()), None)

    def _by_value(self, encoded: bytes) -> Picture:
        sha256, (width, height) = self._check(encoded)
        carried = Picture(sha256=sha256, width=width, height=height, data=encoded)
        # Parquet repeats a picture for each of its questions; one copy in memory is enough.
        return self._by_content.setdefault(sha256, carried)

    def _check(self, encoded: bytes) -> tuple[str, tuple[int, int]]:
        sha256 = hashlib.sha256(encoded).hexdigest()
        size = self._sizes.get(sha256)
        if size is None:
            _bound_bytes(len(encoded), self._limits)
            seen = None if self._on_decoded is None else partial(self._on_decoded, sha256)
            size = self._sizes[sha256] = _measure(encoded, self._limits, seen)
            if len(self._sizes) > _REMEMBERED:
                self._sizes.popitem(last=False)
        return sha256, size


def _decode_uri(uri: str) -> bytes:
    head, comma, payload = uri.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError("no `;base64,`")
        return base64.b64decode("".join(payload.split()), validate=True)  # some encoders break lines
    except ValueError as broken:
        remedy = "encode the file's bytes as base64"
        raise BadRow("image", "data:image/...;base64,...", f" ({broken})", remedy) from broken


def decoded_base64(value: str) -> bytes:
    """A picture's bytes from base64 without `data:` before it. Raises BadRow, whose `got` comes after the value."""
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except ValueError as broken:
        remedy = "encode the file's bytes as base64"
        raise BadRow("image", "a picture as base64", f" ({broken})", remedy) from broken


def _inside(folder: Path, value: str) -> Path:
    """The real path, links followed. Raises BadRow when it is not below `folder`; whether it exists stays unsaid."""
    try:
        root = Path(os.path.realpath(folder))
        path = Path(os.path.realpath(root / value))
    except (OSError, ValueError) as broken:  # a NUL in the path
        raise BadRow("image", "the path of an image file", "", "correct it", "image_missing") from broken
    if not path.is_relative_to(root):
        expected, got = "a path inside the folder of pictures", ", which leads out of the folder of pictures"
        raise BadRow("image", expected, got, _OUTSIDE, "image_outside_root")
    return path


def _missing(value: str, folder: Path, *, is_rooted: bool, found: str | None) -> BadRow:
    """A path that leads nowhere, and the likeliest reason; `found` is where a picture of that name is."""
    is_windows = "\\" in value or value[1:3] in (":/", ":\\")
    is_absolute = Path(value).is_absolute()
    where = "" if is_absolute else f" in {'the folder of pictures' if is_rooted else folder.absolute()}"
    if is_windows:
        remedy = "write a path of this machine, with / between folders"
    elif value.startswith("~"):
        remedy = "write the whole path: ~ is not read here"
    elif is_absolute:
        remedy = "correct it, or give a path that starts from the folder of the data file"
    elif found is not None:
        remedy = f"write {shown(found)}, or put the data file into that folder: paths start from where it is"
    else:
        remedy = "correct it: paths start from the folder of the data file"
    return BadRow("image", "the path of an image file", f", which does not exist{where}", remedy, "image_missing")


def _read(path: Path, limits: PictureLimits) -> bytes:
    """The bytes of a regular file; a pipe is never waited for. Raises BadRow, or FileNotFoundError."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode):
                _bound_bytes(status.st_size, limits)
                return file.read(limits.file_bytes + 1)
        got, remedy = ", which is a pipe or a device", "give a file"
    except (FileNotFoundError, NotADirectoryError, ValueError) as gone:  # ValueError: a NUL in the path
        raise FileNotFoundError(path) from gone
    except IsADirectoryError:
        got, remedy = ", which is a folder", "name the picture in it"
    except OSError as broken:
        got = f", which cannot be read ({broken.strerror})"
        raise BadRow("image", "a readable image file", got, "check path and rights", "image_missing") from broken
    raise BadRow("image", "the path of an image file", got, remedy, "image_missing")


def _bound_bytes(count: int, limits: PictureLimits) -> None:
    if count == 0:
        raise BadRow("image", "an image", ", which is empty", "fetch or export it again")
    if count > limits.file_bytes:
        expected = f"an image file of at most {limits.file_bytes / 2**20:,.0f} MiB"
        got, remedy = f", which has {count / 2**20:,.1f} MiB", "shrink it, or store it as JPEG"
        raise BadRow("image", expected, got, remedy, "image_too_large")


def _measure(
    encoded: bytes, limits: PictureLimits, on_decoded: Callable[[Image.Image], None] | None
) -> tuple[int, int]:
    """(width, height), upright, of a picture that has passed every check. Raises BadRow."""
    at_most = f"an image of at most {limits.pixels:,} pixels"
    try:
        image = open_picture(encoded, _FORMATS)
        width, height = image.size
        if width * height > limits.pixels:
            got = f", which has {width} x {height} = {width * height:,}"
            remedy = "shrink it, or allow more with max_picture_pixels (--max-picture-pixels)"
            raise BadRow("image", at_most, got, remedy, "image_too_large")
        if min(image.size) < limits.side:
            expected, got = f"an image of at least {limits.side} pixels a side", f", which has {width} x {height}"
            raise BadRow("image", expected, got, "look what it is: it may stand for a missing one", "image_too_small")
        _refuse_ambiguous(image)
        turned = image.getexif().get(_ORIENTATION, 1)
        if on_decoded is None:
            image.draft("L", (1, 1))  # JPEG only: decode at 1/8; other formats ignore it
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as Picture.open does, so that it does not fail there
        else:
            on_decoded(upright_rgb(image))
    except BadRow:
        raise
    except UnidentifiedImageError as broken:
        expected = f"a {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} image"
        found, remedy = what_it_is(encoded)
        raise BadRow("image", expected, f", which is {found}", remedy) from broken
    except Exception as broken:  # damaged files make Pillow raise anything: OSError, SyntaxError, struct.error, ...
        got = f", which does not decode ({broken})"
        raise BadRow("image", "a complete image", got, "fetch or export it again") from broken
    return (height, width) if turned in range(5, 9) else (width, height)


def _refuse_ambiguous(image: Image.Image) -> None:
    """Pictures that a model would see otherwise than their owner does."""
    moves: bool = getattr(image, "is_animated", False)  # only formats that can move have it
    if moves and image.format != "MPO":  # MPO: a phone's JPEG with a depth map behind the photo
        got, remedy = ", which has several frames", "export the frame that you mean"
        raise BadRow("image", "a still image", got, remedy, "image_moves")
    if image.mode in _DEEP_MODES:
        got = f", which has more (Pillow mode {image.mode})"
        remedy = "convert it to 8 bits: the usual conversion to RGB would turn it white"
        raise BadRow("image", "8 bits per channel", got, remedy, "image_not_8_bit")
