"""Step 1, collect: the first of several equal examples stays."""

import unicodedata
from collections.abc import Iterable, Iterator

from firsthand.forge.step import Dropped, ForgeStep, Kept, Outcome
from firsthand.records import Example, content_id


def _fingerprint(example: Example) -> str:
    """Hash of pictures, gold answer and question, up to white space and Unicode composition.

    Nothing more is folded: `x²` and `x2`, angle `A` and angle `a` are different questions. `example.id` will not do,
    because data may bring ids of its own.
    """
    question = " ".join(unicodedata.normalize("NFC", example.question).split())
    return content_id(question, [picture.sha256 for picture in example.images], example.answer.model_dump())


def _outcomes(examples: Iterable[Example]) -> Iterator[Outcome]:
    seen: set[str] = set()
    for example in examples:
        fingerprint = _fingerprint(example)
        yield Dropped(example, "duplicate") if fingerprint in seen else Kept(example)
        seen.add(fingerprint)


COLLECT = ForgeStep("collect", _outcomes)
