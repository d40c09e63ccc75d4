"""Pictures of a run directory as data URIs: as they are where they are small, scaled down where they are not."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from firsthand.data.images import PictureLimits
from firsthand.records import open_picture

SHOWN_SIDE = 336
"""CSS pixels of the longer side on the page."""
PIXEL_SIDE = SHOWN_SIDE // 2
"""Up to here a picture is enlarged by a whole factor without smoothing, so that one sees the pixels the model saw."""
_HASH = re.compile("[0-9a-f]{64}")
"""How a run names its pictures."""
_MOST_BYTES = 80_000
"""A larger file is replaced by a JPEG of at most twice SHOWN_SIDE."""


@dataclass(frozen=True)
class Shot:
    """One picture, ready for an `img` element: width and height are what it takes on the page, in CSS pixels."""

    uri: str
    width: int
    height: int
    pixelated: bool


def shot(folders: Sequence[Path], sha256: str) -> Shot | None:
    """The picture of that name from the first directory that holds it; None when none does, or when it is damaged.

    Runs are passed on: a name that is no hash, or a link, would put any picture of its reader's on the page.
    """
    if not _HASH.fullmatch(sha256):
        return None
    paths = (folder / "images" / f"{sha256}.png" for folder in folders)
    return next(
        filter(None, (embedded(path.read_bytes()) for path in paths if path.is_file() and not path.is_symlink())), None
    )


def embedded(encoded: bytes) -> Shot | None:
    """The picture that an image file's bytes hold; None when they are damaged."""
    try:
        with open_picture(encoded) as picture:
            width, height = picture.size
            if width * height > PictureLimits().pixels:
                return None
            mime = picture.get_format_mimetype()
            picture.load()
            if len(encoded) > _MOST_BYTES:
                encoded, mime = _smaller(picture), "image/jpeg"
    except Exception:  # damaged files make Pillow raise anything
        return None
    side = max(width, height)
    factor = SHOWN_SIDE // side if side <= PIXEL_SIDE else SHOWN_SIDE / side
    uri = f"data:{mime};base64,{base64.b64encode(encoded).decode()}"
    return Shot(uri, round(width * factor), round(height * factor), pixelated=factor >= 2)


def _smaller(picture: Image.Image) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((2 * SHOWN_SIDE, 2 * SHOWN_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
