"""Many requests to one teacher: in order, in flat memory, and nothing asked twice."""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, wait
from typing import NamedTuple, TypeVar, final

from firsthand.batched import batched
from firsthand.errors import FirsthandError
from firsthand.teacher.budget import Breaker, Budget
from firsthand.teacher.client import SyncClient
from firsthand.teacher.endpoint import Endpoint
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Outcome, Request, Teacher

_T = TypeVar("_T")
_Asked = Iterable[tuple[_T, Request | None]]
_Answered = Generator[tuple[_T, Outcome | None], None, None]
_Pending = Future[Outcome] | Outcome | None

_CHUNK = 256
"""Requests that are looked up in the log at once."""
LOOK_AHEAD = 4
"""How far ahead of the oldest unanswered request others may be asked, in multiples of the most in flight (ours)."""


class Progress(NamedTuple):
    """What a client has counted so far, in this run."""

    asked: int = 0
    from_log: int = 0
    retried: int = 0
    in_flight: int = 0
    tokens: int = 0
    dollars: float = 0.0


@final
class BatchClient:
    """Asks a teacher for many answers at once, and keeps each in a log."""

    def __init__(self, teacher: Endpoint | Teacher, log: AnswerLog, budget: Budget | None = None, *, step: str) -> None:
        """The log counts under `step`. Raises RecipeError when the endpoint has no prices for the budget, or no key."""
        self._teacher, self._log, self._budget, self._step = teacher, log, budget or Budget(), step
        self._asked = self._from_log = 0
        self._before = log.spent(step)
        self._client: SyncClient | None = None
        self._retried = 0
        self._breaker = Breaker()
        if isinstance(teacher, Endpoint):
            self._budget.fits(teacher)
            teacher.key()

    @property
    def progress(self) -> Progress:
        """The counts so far; any thread may read them."""
        spent, client = self._log.spent(self._step), self._client
        return Progress(
            asked=self._asked,
            from_log=self._from_log,
            retried=self._retried + (client.retried if client else 0),
            in_flight=client.in_flight if client else 0,
            tokens=spent.tokens - self._before.tokens,
            dollars=spent.dollars - self._before.dollars,
        )

    def answers(self, pairs: _Asked[_T]) -> _Answered[_T]:
        """The outcome of each request, in input order, once it is on the disk; None for None.

        Stops with BudgetSpent, Outage, or RecipeError for a wrong setting, after everything that was answered has been
        kept. Ending early (`close`, Ctrl-C) drops what is in flight, and leaves no thread and no socket behind.
        """
        if isinstance(self._teacher, Endpoint):
            return self._over_http(self._teacher, pairs)
        return self._in_process(self._teacher, pairs)

    def _in_process(self, teacher: Teacher, pairs: _Asked[_T]) -> _Answered[_T]:
        for chunk in batched(pairs, _CHUNK):
            known = self._look_up([request.key for _, request in chunk if request is not None])
            written = []
            for _, request in chunk:
                if request is not None and request.key not in known:
                    outcome = known[request.key] = teacher.answer(request)
                    written.append(self._log.put(request.key, outcome, step=self._step))
                    self._asked += 1
            for durable in written:
                durable.result()
            yield from ((tag, None if request is None else known[request.key]) for tag, request in chunk)

    def _over_http(self, endpoint: Endpoint, pairs: _Asked[_T]) -> _Answered[_T]:
        window: deque[tuple[_T, _Pending]] = deque()
        longest = LOOK_AHEAD * endpoint.in_flight.max
        with SyncClient(endpoint, self._log, self._budget, step=self._step, breaker=self._breaker) as client:
            self._client = client
            try:
                for chunk in batched(pairs, min(_CHUNK, longest)):
                    window.extend(zip((tag for tag, _ in chunk), self._begin(client, chunk), strict=True))
                    while window and (len(window) > longest or _is_settled(window[0][1])):
                        tag, pending = window.popleft()
                        yield tag, _settled(pending)
                while window:
                    tag, pending = window.popleft()
                    yield tag, _settled(pending)
            except FirsthandError as error:
                client.stop(error)
                wait([pending for _, pending in window if isinstance(pending, Future)])
                raise
            finally:
                self._client, self._retried = None, self._retried + client.retried

    def _begin(self, client: SyncClient, chunk: Sequence[tuple[_T, Request | None]]) -> list[_Pending]:
        """What each row of the chunk waits for: a known outcome, or a request that is under way or starts here."""
        keys = [request.key for _, request in chunk if request is not None]
        # Looked at before the log: what arrives between the two is found in the log, and nothing is missed.
        found: dict[str, _Pending] = {
            key: pending for key in keys if (pending := client.under_way.get(key)) is not None
        }
        found.update(self._look_up([key for key in keys if key not in found]))
        for _, request in chunk:
            if request is not None and request.key not in found:
                found[request.key] = client.ask(request)
                self._asked += 1
        return [None if request is None else found[request.key] for _, request in chunk]

    def _look_up(self, keys: Sequence[str]) -> dict[str, Outcome]:
        known = self._log.get_many(dict.fromkeys(keys))
        self._from_log += sum(key in known for key in keys)
        return known


def _is_settled(pending: _Pending) -> bool:
    return not isinstance(pending, Future) or pending.done()


def _settled(pending: _Pending) -> Outcome | None:
    return pending.result() if isinstance(pending, Future) else pending
