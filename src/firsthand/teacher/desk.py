"""Many requests to one teacher: in order, in flat memory, nothing asked twice. (In work.)"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from firsthand.teacher.nouns import Outcome, Request

T = TypeVar("T")


class Desk:
    """Asks a teacher many things at once."""

    def answers(self, pairs: Iterable[tuple[T, Request | None]]) -> Iterator[tuple[T, Outcome | None]]:
        """The outcome of each request, in input order; None for None."""
        raise NotImplementedError
