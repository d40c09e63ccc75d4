"""Step 1, collect: rows that can be read, and of several that are nearly the same only the first.

Two rows are duplicates when they have the same gold answer, the same words in the question, and pictures that look the
same. Rows that differ in a digit of the question, or in the answer, are never duplicates, however alike their pictures
are: the same scene asked about squares and about circles is two questions.

Pictures are compared in two stages. A 64-bit difference hash finds candidates; it survives re-encoding and resizing of
a photo (at most 3 bits change), but is blind to labels in a diagram. So candidates are compared as 16 x 16 grey values:
a photo's copies differ by at most 12 grey levels of 255, diagrams with another label by at least 23 (measured, ours).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from firsthand.forge.draft import Draft, source_of
from firsthand.forge.step import Asked, Decision, Dropped, ForgeStep, Kept
from firsthand.records import Record, content_id
from firsthand.teacher import Completion

_BANDS = 4
"""The 64 bits are cut into so many bands; two of them that differ in fewer bits agree in one band at least."""


class CollectConfig(Record):
    """What counts as the same."""

    near: int = Field(default=16, ge=0, le=255)
    """Pictures look the same when no grey value of theirs differs by more; 0 is for exact copies only (ours)."""
    unique_images: tuple[str, ...] = ()
    """Sources of which only the first question about a picture is kept, as VLAA-Thinking draws from six of its nine."""


class Collect(ForgeStep):
    """Remembers the hashes of every kept row's pictures: about 1 KB a row."""

    name = "collect"

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._seen: dict[int, list[tuple[bytes, ...]]] = {}

    def identity(self) -> dict[str, Any]:
        """The settings."""
        return self._config.model_dump(mode="json")

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep the first of what is nearly the same."""
        draft, example, hashes = asked.draft, asked.draft.example, asked.draft.hashes
        keys = _keys((_words(example.question), example.answer.model_dump(mode="json")), hashes)
        if self._was_seen(keys, hashes):
            return Dropped(draft, "duplicate", "question, answer and pictures are nearly those of an earlier row")
        source = source_of(draft)
        if hashes and source in self._config.unique_images:
            of_pictures = _keys(source, hashes)
            if self._was_seen(of_pictures, hashes):
                return Dropped(draft, "image_seen", "an earlier row of this source has nearly the same picture")
            keys += of_pictures
        for key in keys:  # only of what is kept: a copy of a dropped row may still be wanted from another source
            self._seen.setdefault(key, []).append(hashes)
        return Kept(draft)

    def remember(self, drafts: Iterable[Draft]) -> None:
        """See again what an earlier process kept, in order, so that this one can go on."""
        for draft in drafts:
            self.decide(Asked(draft), None)

    def _was_seen(self, keys: Iterable[int], hashes: Sequence[bytes]) -> bool:
        candidates = (zip(hashes, other, strict=True) for key in keys for other in self._seen.get(key, ()))
        return any(all(_distance(a, b) <= self._config.near for a, b in pairs) for pairs in candidates)


def perceptual_hash(picture: Image.Image) -> bytes:
    """How an upright RGB picture looks: a difference hash of 8 bytes, and 16 x 16 grey values.

    A bit of the hash says whether one of 8 x 8 regions is darker than the next one to its right.
    """
    grey = picture.convert("L")
    regions = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    values = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), dtype=np.uint8)
    return np.packbits(regions[:, 1:] > regions[:, :-1]).tobytes() + values.tobytes()


def _distance(first: bytes, second: bytes) -> int:
    """The largest difference of two grey values; 256 where the hashes differ too much to compare them."""
    differing = int.from_bytes(first[:8], "big") ^ int.from_bytes(second[:8], "big")
    if differing.bit_count() >= _BANDS:
        return 256
    one, other = (np.frombuffer(h, dtype=np.uint8, offset=8).astype(np.int16) for h in (first, second))
    return int(np.abs(one - other).max())


def _keys(about: Any, hashes: Sequence[bytes]) -> list[int]:
    """Numbers of which two rows that are nearly the same share at least one; a row without pictures has one."""
    if not hashes:
        return [int(content_id(about), 16)]
    first, width = int.from_bytes(hashes[0][:8], "big"), 64 // _BANDS
    bands = [(band, (first >> (band * width)) & ((1 << width) - 1)) for band in range(_BANDS)]
    return [int(content_id(about, len(hashes), *band), 16) for band in bands]


def _words(question: str) -> str:
    """The question without what does not change it: case of ordinary words, white space, composition of signs.

    Signs and single letters stay: `x²` and `x2`, angle `A` and angle `a` are different questions.
    """
    text = " ".join(unicodedata.normalize("NFC", question).split())
    return re.sub(r"[A-Za-z]{2,}", lambda word: word.group().lower(), text)
