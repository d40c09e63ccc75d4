"""Requests to one chat server: many in flight, retried until they are answered or given up, every answer kept."""

import asyncio
import json
import os
import random
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Self, final
from urllib.parse import urlsplit

from firsthand.errors import DataError, FirsthandError, RecipeError, excerpt
from firsthand.teacher.budget import Breaker, Budget, Outage
from firsthand.teacher.completion import OVERLOAD, SETTING, Garbled, is_transient, read_completion, rejection
from firsthand.teacher.endpoint import Endpoint, body
from firsthand.teacher.http import NoResponse, Transport
from firsthand.teacher.limiter import Gate, Limiter
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Failure, Outcome, Request

FIRST_NAP_S, LONGEST_NAP_S = 1.0, 60.0
"""At most, between two attempts; doubles with every attempt. A server's Retry-After comes on top (ours)."""
LONGEST_PAUSE_S = 900.0
"""A longer Retry-After ends the run: it is a quota's end, and not a moment's load (ours)."""
FIRST_ATTEMPTS, FIRST_S = 4, 4.0
"""Attempts, and seconds after which no other one starts, of a request before which nothing was answered (ours). A
server that says it is busy has all its attempts."""
FIRST_REQUESTS = 3
"""Requests without an answer before anything was answered that are an outage (ours): one may be at fault itself."""


class _Again(Exception):
    """An attempt failed, and another may succeed."""

    def __init__(self, detail: str, *, overload: bool = False, pause: float = 0.0, is_unreached: bool = False) -> None:
        super().__init__(detail)
        self.overload, self.pause, self.is_unreached = overload, pause, is_unreached


@final
class SyncClient:
    """A `Teacher` behind a server, for any thread; what its log holds is not asked again. Use as a context manager.

    Until the server has answered something, requests go one at a time, with few attempts: a server that is down, or
    that answers with errors only, is told within seconds instead of after every row's eight attempts.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        log: AnswerLog,
        budget: Budget | None = None,
        *,
        step: str,
        deadline_s: float | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """The log counts under `step`; `deadline_s` is one request's; `breaker` knows what an earlier client has seen.

        Raises RecipeError where the key is not set.
        """
        self.retried = 0
        self.under_way: dict[str, Future[Outcome]] = {}
        self._endpoint, self._log, self._budget, self._step = endpoint, log, budget or Budget(), step
        self._deadline_s = deadline_s
        self._transport = Transport(endpoint.key())
        self._breaker = breaker or Breaker()
        self._lock = Lock()
        self._first, self._lost_first = asyncio.Lock(), 0

    def __enter__(self) -> Self:
        self._transport.__enter__()
        slots = self._endpoint.in_flight
        self._gate = Gate(Limiter(slots.start, slots.max), self._transport.loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.__exit__()

    def stop(self, error: FirsthandError) -> None:
        """Start nothing any more: whoever waits for a slot gets the error. What is in flight may end."""
        self._transport.loop.call_soon_threadsafe(self._gate.close, error)

    @property
    def in_flight(self) -> int:
        """Attempts that are under way."""
        return self._gate.inside

    def answer(self, request: Request) -> Outcome:
        """The outcome of a request, once it is in the log; equal ones that are under way are asked once.

        Raises TimeoutError at the deadline. Raises BudgetSpent, Outage, or RecipeError for a wrong setting; after one
        of these no other request starts.
        """
        with self._lock:
            # Looked at before the log: what arrives between the two is found in the log.
            pending = self.under_way.get(request.key)
            if pending is None:
                known = self._log.get(request.key)
                if known is not None:
                    return known
                pending = self.ask(request)
        return pending.result()

    def ask(self, request: Request) -> Future[Outcome]:
        """The outcome of a request, log or no log, as `answer` gives it; `under_way` holds it until then."""
        key, pending = request.key, self._transport.submit(self._ask(request))
        self.under_way[key] = pending
        pending.add_done_callback(lambda _: self.under_way.pop(key))  # holds the key alone: a request has pictures
        return pending

    async def _ask(self, request: Request) -> Outcome:
        try:
            async with self._first:  # in the order in which they came
                if not self._breaker.proven:
                    return await self._in_time(request, is_first=True)
            return await self._in_time(request)
        except FirsthandError as error:
            self._gate.close(error)
            raise

    async def _in_time(self, request: Request, *, is_first: bool = False) -> Outcome:
        """Raises TimeoutError at the deadline."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._persist(request, is_first=is_first)
        except TimeoutError as error:
            late = f"no answer from {self._endpoint.base_url} within {self._deadline_s:g} s"
            self._lose(late, is_first=is_first)
            raise TimeoutError(late) from error

    async def _persist(self, request: Request, *, is_first: bool) -> Outcome:
        """Try until there is an outcome, or no attempt is left. `is_first`: nothing was answered so far."""
        last, broken, began = "nothing was tried", 0, asyncio.get_running_loop().time()
        for attempt in range(1, self._endpoint.attempts + 1):
            try:
                return await self._through_the_gate(request)
            except _Again as again:
                last = str(again)
                broken += not again.overload
                is_over = broken >= FIRST_ATTEMPTS or asyncio.get_running_loop().time() - began >= FIRST_S
                if is_first and again.is_unreached and is_over:
                    raise Outage(
                        f"{self._endpoint.url} cannot be reached: {last}. Start the server, or correct base_url"
                    ) from again
                if again.pause > LONGEST_PAUSE_S:
                    raise Outage(
                        f"{self._endpoint.url} asks to be left alone for {again.pause:,.0f} s: {last}. "
                        "What was answered is kept: give the same command again then"
                    ) from again
                if attempt == self._endpoint.attempts or (is_first and is_over and not again.overload):
                    break
                self.retried += 1
                # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
                longest = min(LONGEST_NAP_S, FIRST_NAP_S * 2 ** (attempt - 1))
                await self._gate.nap(again.pause + random.uniform(0, longest))
        return self._lose(f"{attempt} attempts; the last: {last}", is_first=is_first)

    def _lose(self, detail: str, *, is_first: bool) -> Failure:
        """Give a request up. Raises Outage when too many were, or the first ones."""
        lost = Failure(reason="unanswered", detail=detail)
        self._breaker.note(lost)
        self._lost_first += is_first
        if self._lost_first >= FIRST_REQUESTS:
            raise Outage(
                f"{self._endpoint.url} has answered none of the first {FIRST_REQUESTS} requests; the last: {detail}. "
                f"Look at the server, and at base_url and model ({self._endpoint.model})"
            )
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
            self._breaker.note(outcome)
            # What is rejected before anything was answered may be a setting's fault: it is asked again next time.
            if not (isinstance(outcome, Failure) and outcome.reason == "rejected") or self._breaker.proven:
                dollars = self._endpoint.dollars(outcome)
                await asyncio.wrap_future(self._log.put(request.key, outcome, step=self._step, dollars=dollars))
            self._budget.counts(outcome)
            return outcome
        except _Again as again:
            if again.overload:
                limiter.overloaded(started, clock(), again.pause)
            raise
        finally:
            self._gate.leave()

    async def _attempt(self, request: Request) -> Outcome:
        try:
            data = json.dumps(body(request)).encode()
        except OSError as error:
            raise DataError(f"a picture that a teacher should see cannot be read: {error}; restore its file") from error
        try:
            status, headers, raw = await self._transport.post(self._endpoint.url, data, self._endpoint.timeout_s)
        except NoResponse as error:
            raise _Again(str(error), overload=error.is_late, is_unreached=error.is_unreached) from error
        if status == 200:
            try:
                return read_completion(raw)
            except Garbled as error:
                raise _Again(str(error)) from error
        return self._refusal(status, headers, raw)

    def _refusal(self, status: int, headers: Mapping[str, str], raw: bytes) -> Failure:
        """What a status other than 200 means. Raises _Again, and RecipeError for a wrong setting."""
        if is_transient(status):
            pause = retry_after(headers.get("Retry-After"), datetime.now(UTC))
            raise _Again(f"{status}: {excerpt(raw)}", overload=status in OVERLOAD, pause=pause)
        if status in SETTING or status < 400:
            remedy = ""
            if status in (404, 405) and not urlsplit(self._endpoint.base_url).path:
                remedy = f". Most servers want a version in base_url: {self._endpoint.base_url}/v1"
            if status in (401, 403) and self._endpoint.key_env is None and "OPENAI_API_KEY" in os.environ:
                remedy = (
                    ". OPENAI_API_KEY is set, and no key is sent unless key_env names it: set key_env to OPENAI_API_KEY"
                )
            if status in (401, 403) and self._endpoint.key_env is not None:
                remedy = f". The server does not accept the key in the environment variable {self._endpoint.key_env}"
            raise RecipeError(
                f"{self._endpoint.url} answered {status}: {excerpt(raw)}; look at base_url, model "
                f"({self._endpoint.model}) and key_env ({self._endpoint.key_env or 'not set'}). What was answered is "
                f"kept{remedy}"
            )
        return rejection(status, raw)


def retry_after(header: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where there is none, or none to be read."""
    if header is None:
        return 0.0
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError):
        until = parsedate_to_datetime(header)
        return max(0.0, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - now.timestamp())
    return 0.0
