"""Step 1, collect: rows that can be read, and of several that are nearly the same only the first.

Two rows are duplicates when they have the same gold answer, the same words in the question, and pictures that look the
same. Rows that differ in a digit of the question, or in the answer, are never duplicates, however alike their pictures
are: the same scene asked about squares and about circles is two questions.

Pictures are compared in two stages. A 64-bit difference hash finds candidates; it survives re-encoding and resizing of
a photo (at most 3 bits change), but is blind to labels in a diagram. So candidates are compared as 16 x 16 grey values:
a photo's copies differ by at most 12 grey levels of 255, diagrams with another label by at least 23 (measured, ours).
"""

import base64
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from firsthand.data.stream import Refused
from firsthand.forge.step import Asked, Decision, Dropped, Kept, notes, source_of
from firsthand.records import Example, Picture, Record, content_id
from firsthand.teacher import Outcome

BANDS = 4
"""A hash is cut into so many parts; two hashes that differ in fewer bits agree in one part at least."""
HASH_BITS = 64
SIDE = 16
"""Of the grey values that candidates are compared by."""


class CollectConfig(Record):
    """What counts as the same."""

    near: int = Field(default=16, ge=0, le=255)
    """Pictures look the same when no grey value of theirs differs by more; 0 is for exact copies only (ours)."""
    unique_images: tuple[str, ...] = ()
    """Sources of which only the first question about a picture is kept, as VLAA-Thinking draws from six of its nine."""


class Collect:
    """Remembers how every kept row's pictures look: about 1 KB a row."""

    name = "collect"

    def __init__(self, config: CollectConfig) -> None:
        self._config = config
        self._seen: dict[int, list[tuple[bytes, ...]]] = {}

    def identity(self) -> dict[str, Any]:
        """The settings."""
        return self._config.model_dump(mode="json")

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """Nothing is asked."""
        return map(Asked, examples)

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep the first of what is nearly the same."""
        example = asked.example
        looks = tuple(base64.b64decode(look) for look in notes(example)["looks"])
        asks = (_words(example.question), example.answer.model_dump(mode="json"))
        about = _keys(asks, looks)
        if self._was_seen(about, looks):
            return Dropped(example, "duplicate", "question, answer and pictures are nearly those of an earlier row")
        source = source_of(example)
        if looks and source in self._config.unique_images:
            pictures = _keys(source, looks)
            if self._was_seen(pictures, looks):
                return Dropped(example, "image_seen", "an earlier row of this source has nearly the same picture")
            about += pictures
        for key in about:  # only of what is kept: a copy of a dropped row may still be wanted from another source
            self._seen.setdefault(key, []).append(looks)
        return Kept(example)

    def remember(self, decisions: Iterable[Decision]) -> None:
        """See again what an earlier process kept, in order, so that this one can go on."""
        for decision in decisions:
            if isinstance(decision, Kept):
                self.decide(Asked(decision.example), None)

    def _was_seen(self, keys: Iterable[int], looks: Sequence[bytes]) -> bool:
        return any(self._alike(looks, other) for key in keys for other in self._seen.get(key, ()))

    def _alike(self, first: Sequence[bytes], second: Sequence[bytes]) -> bool:
        return all(_distance(a, b) <= self._config.near for a, b in zip(first, second, strict=True))


def look(picture: Picture) -> bytes:
    """How a picture looks: a difference hash of 8 bytes, and 16 x 16 grey values.

    A bit of the hash says whether one of 8 x 8 regions is darker than the next one to its right. Raises OSError when
    the picture's file has gone.
    """
    grey = picture.open().convert("L")
    regions = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    values = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
    return np.packbits(regions[:, 1:] > regions[:, :-1]).tobytes() + values.tobytes()


def written(looks: Iterable[bytes]) -> list[str]:
    """Looks as a row notes them."""
    return [base64.b64encode(one).decode("ascii") for one in looks]


def _distance(first: bytes, second: bytes) -> int:
    """The largest difference of two grey values; 256 where the hashes differ too much to compare them."""
    hashes = int.from_bytes(first[:8], "big") ^ int.from_bytes(second[:8], "big")
    if hashes.bit_count() >= BANDS:
        return 256
    one, other = (np.frombuffer(look, dtype=np.uint8, offset=8).astype(np.int16) for look in (first, second))
    return int(np.abs(one - other).max())


def _keys(about: Any, looks: Sequence[bytes]) -> list[int]:
    """Numbers of which two rows that are nearly the same share at least one; a row without pictures has one."""
    if not looks:
        return [int(content_id(about), 16)]
    first, width = int.from_bytes(looks[0][:8], "big"), HASH_BITS // BANDS
    bands = [(band, (first >> (band * width)) & ((1 << width) - 1)) for band in range(BANDS)]
    return [int(content_id(about, len(looks), *band), 16) for band in bands]


def _words(question: str) -> str:
    """The question without what does not change it: case of ordinary words, white space, composition of signs.

    Signs and single letters stay: `x²` and `x2`, angle `A` and angle `a` are different questions.
    """
    text = " ".join(unicodedata.normalize("NFC", question).split())
    return re.sub(r"[A-Za-z]{2,}", lambda word: word.group().lower(), text)


def refused(row: Refused) -> Dropped:
    """The drop of a row that could not be read."""
    return Dropped(row, row.reason, row.detail)
