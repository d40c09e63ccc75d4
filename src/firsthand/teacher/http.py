"""Requests over HTTP: one event loop, many in flight, retried until they are answered or given up.

An attempt ends at its deadline whatever the server does. Proxies and redirects are not followed.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

import aiohttp

from firsthand.errors import DataError, FirsthandError, RecipeError, excerpt
from firsthand.teacher.budget import Breaker, Budget, Outage
from firsthand.teacher.completion import OVERLOAD, SETTING, Garbled, is_transient, read_completion, rejection
from firsthand.teacher.endpoint import Endpoint, body
from firsthand.teacher.limiter import Gate, Limiter
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Failure, Outcome, Request

LONGEST_RESPONSE = 1 << 24
"""Bytes (ours): several times the longest answer of any model."""
FIRST_NAP_S, LONGEST_NAP_S = 1.0, 60.0
"""At most, between two attempts; doubles with every attempt. A server's Retry-After comes on top (ours)."""
LONGEST_PAUSE_S = 900.0
"""A longer Retry-After ends the run: it is a quota's end, and not a moment's load (ours)."""


class _Again(Exception):
    """An attempt failed, and another may not."""

    def __init__(self, detail: str, *, overload: bool = False, pause: float = 0.0) -> None:
        super().__init__(detail)
        self.overload, self.pause = overload, pause


@final
class Client:
    """A connection pool to one endpoint. From `open` to `close` it lives within one event loop."""

    def __init__(self, endpoint: Endpoint, log: AnswerLog, budget: Budget, step: str) -> None:
        """Raises RecipeError when the environment has no key under the endpoint's name for it."""
        self.retried = 0
        self._endpoint, self._log, self._budget, self._step = endpoint, log, budget, step
        self._key = endpoint.key()
        self._breaker = Breaker()

    async def open(self) -> None:
        """Make the pool. What limits is the gate, and the deadline is ours."""
        slots = self._endpoint.in_flight
        self._gate = Gate(Limiter(slots.start, slots.max))
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=aiohttp.ClientTimeout()
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def stop(self, error: FirsthandError) -> None:
        """Start nothing any more: who waits for a turn gets the error."""
        self._gate.close(error)

    @property
    def in_flight(self) -> int:
        """Attempts that are under way."""
        return self._gate.inside

    async def ask(self, request: Request) -> Outcome:
        """The outcome of a request, once it is in the log.

        Raises BudgetSpent, Outage, or RecipeError for a wrong setting; after one of these no other request starts.
        """
        try:
            return await self._persist(request)
        except FirsthandError as error:
            self._gate.close(error)
            raise

    async def _persist(self, request: Request) -> Outcome:
        """Try until there is an outcome, or no attempt is left."""
        last = "nothing was tried"
        for attempt in range(1, self._endpoint.attempts + 1):
            try:
                return await self._through_the_gate(request)
            except _Again as again:
                last = str(again)
                if again.pause > LONGEST_PAUSE_S:
                    raise Outage(
                        f"{self._endpoint.url} asks to be left alone for {again.pause:,.0f} s: {last}. "
                        "What was answered is kept: give the same command again then"
                    ) from again
                if attempt == self._endpoint.attempts:
                    break
                self.retried += 1
                # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
                longest = min(LONGEST_NAP_S, FIRST_NAP_S * 2 ** (attempt - 1))
                await self._gate.nap(again.pause + random.uniform(0, longest))
        lost = Failure(reason="unanswered", detail=f"{attempt} attempts; the last: {last}")
        self._breaker.note(lost)
        return lost

    async def _through_the_gate(self, request: Request) -> Outcome:
        """One attempt, as soon as the limiter and the budget let it start."""
        started = await self._gate.enter()
        limiter, clock = self._gate.limiter, asyncio.get_running_loop().time
        try:
            self._budget.check(self._log.spent())
            outcome = await self._attempt(request)
            limiter.answered(started, clock(), self._gate.inside)
            # Inside the gate: what is not on the disk yet counts as in flight, and a kill loses no more than that.
            await self._keep(request, outcome)
            return outcome
        except _Again as again:
            if again.overload:
                limiter.overloaded(started, clock(), again.pause)
            raise
        finally:
            self._gate.leave()

    async def _keep(self, request: Request, outcome: Outcome) -> None:
        self._breaker.note(outcome)
        # What is rejected before anything was answered may be a setting's fault: it is asked again next time.
        if not (isinstance(outcome, Failure) and outcome.reason == "rejected") or self._breaker.proven:
            dollars = self._endpoint.dollars(outcome)
            await asyncio.wrap_future(self._log.put(request.key, outcome, step=self._step, dollars=dollars))
        self._budget.counts(outcome)

    async def _attempt(self, request: Request) -> Outcome:
        data = _encoded(request)
        try:
            async with (
                asyncio.timeout(self._endpoint.timeout_s),
                self._session.post(self._endpoint.url, data=data, allow_redirects=False) as response,
            ):
                raw = self._without_key(await _read(response))
        except TimeoutError as error:
            raise _Again(f"no whole answer within {self._endpoint.timeout_s:g} s", overload=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        if response.status == 200:
            try:
                return read_completion(raw)
            except Garbled as error:
                raise _Again(str(error)) from error
        return self._refusal(response.status, response.headers, raw)

    def _refusal(self, status: int, headers: Mapping[str, str], raw: bytes) -> Failure:
        """What a status other than 200 means. Raises _Again, and RecipeError for a wrong setting."""
        if is_transient(status):
            pause = retry_after(headers.get("Retry-After"), datetime.now(UTC))
            raise _Again(f"{status}: {excerpt(raw)}", overload=status in OVERLOAD, pause=pause)
        if status in SETTING or status < 400:
            raise RecipeError(
                f"{self._endpoint.url} answered {status}: {excerpt(raw)}; look at base_url, model "
                f"({self._endpoint.model}) and key_env ({self._endpoint.key_env}). What was answered is kept"
            )
        return rejection(status, raw)

    def _without_key(self, raw: bytes) -> bytes:
        """Some servers quote a wrong key in their error, and errors are shown and written."""
        return raw if self._key is None else raw.replace(self._key.encode(), b"[key]")


def retry_after(header: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where there is none, or none to be read."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now.timestamp())


def _encoded(request: Request) -> bytes:
    try:
        return json.dumps(body(request)).encode()
    except OSError as error:
        raise DataError(f"a picture that a teacher should see cannot be read: {error}; restore its file") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for piece in response.content.iter_any():
        raw += piece
        if len(raw) > LONGEST_RESPONSE:
            raise _Again(f"more than {LONGEST_RESPONSE:,} bytes")
    return bytes(raw)
