"""What a file is that should be a picture and is none that is read: a failed download, or a picture of another format.

A wrong guess costs a user an hour: each is told by the first bytes of its kind, and what is not known is not guessed.
"""

import re

_AGAIN = "fetch it again"
_CONVERT = "convert it to PNG or JPEG"
_PAGE = "the download failed, or wants a login: open its address in a browser, and fetch the picture itself"
_UNPACK = "unpack it"

_BY_START: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the picture", "fetch the pictures with `git lfs pull`"),
    (b"\xff\xd8", "a JPEG with a damaged head", _AGAIN),
    (b"\x89PNG\r\n\x1a\n", "a PNG with a damaged head", _AGAIN),
    (b"\x89PNG", "a PNG whose line ends were changed on the way", "fetch it again, as a binary file"),
    (b"\xc2\x89PNG", "a PNG that was written as text", "write its bytes as they are, in mode 'wb'"),
    (b"\xef\xbf\xbd", "a picture that was read as text, which has lost its bytes", "fetch it again, as bytes"),
    (b"II*\0", "a TIFF, or a camera's raw file", _CONVERT),
    (b"MM\0*", "a TIFF, or a camera's raw file", _CONVERT),
    (b"II+\0", "a TIFF", _CONVERT),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL", _CONVERT),
    (b"\xff\x0a", "a JPEG XL", _CONVERT),
    (b"\0\0\1\0", "an icon", _CONVERT),
    (b"8BPS", "a Photoshop file", _CONVERT),
    (b"%PDF", "a PDF", "draw the page that you mean into a PNG"),
    (b"%!PS", "a PostScript drawing", "draw it into a PNG"),
    (b"\x1aE\xdf\xa3", "a video", "export the frame that you mean"),
    (b"PK\3\4", "a ZIP archive", _UNPACK),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "a NumPy array", "write it as a PNG, with Image.fromarray(array).save(...)"),
)
_BASE64 = (b"iVBORw0KGgo", b"/9j/", b"R0lGOD", b"UklGR", b"data:image/")
"""How base64 of a PNG, JPEG, GIF or WebP begins."""
_HTML = re.compile(rb"<!doctype html|<html|<head|<body|<script|<!--.{0,200}?<html", re.DOTALL)
_PHOTOS = (b"hei", b"hev", b"mif1", b"msf1")


def what_it_is(encoded: bytes) -> tuple[str, str]:
    """What the bytes of a file are, and what to do."""
    for start, name, remedy in _BY_START:
        if encoded.startswith(start):
            return name, remedy
    if encoded[4:8] == b"ftyp":
        return _of_brand(encoded[8:12].lower())
    if not encoded[:1024].strip(b"\0"):
        return "nothing but zeros, as a download leaves it that was cut off", _AGAIN
    return _of_text(encoded[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()) or (
        f"none of these (it starts with {encoded[:8]!r})",
        "look what it is, and convert it to PNG or JPEG",
    )


def _of_brand(brand: bytes) -> tuple[str, str]:
    """Photos and videos of phones share a container."""
    if brand.startswith(b"avi"):
        return "an AVIF", _CONVERT
    return ("an HEIC photo", _CONVERT) if brand.startswith(_PHOTOS) else ("a video", "export the frame that you mean")


def _of_text(text: bytes) -> tuple[str, str] | None:
    lower = text.lower()
    if _HTML.match(lower):
        return "an HTML page, not a picture", _PAGE
    if lower.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        if b"<svg" in lower:
            return "an SVG drawing", "draw it into a PNG"
        return "an XML text, such as a server's error message, not a picture", _PAGE
    if text.startswith((b"{", b"[{")):
        return "a JSON text, such as a server's error message, not a picture", _PAGE
    if text.startswith(_BASE64):
        return "base64 text", "write the bytes that it stands for, e.g. with base64.b64decode"
    try:
        shown = text.decode("utf-8", "strict") if len(text) < 1000 else text[:-3].decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return None
    return (f"text ({shown[:40]!r}), not a picture", _PAGE) if shown.isprintable() or "\n" in shown else None
