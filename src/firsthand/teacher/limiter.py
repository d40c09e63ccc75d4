"""Limit the requests in flight as TCP does: the limit grows until the server is overloaded, then halves.

`Limiter` is pure logic on times that it is given; `Gate` lets coroutines through as it says. Times are seconds of one
monotonic clock.
"""

import asyncio
from collections import deque
from typing import final

from firsthand.errors import FirsthandError

LATENCY_SAMPLE = 50
"""Answers that the smoothed latency is made of: the lengths of answers, and so their times, differ a lot (ours)."""
SLUMP = 0.25
"""Share of the best throughput below which latency has risen too much (ours)."""


@final
class Limiter:
    """Additive increase, multiplicative decrease (Chiu and Jain 1989); doubles per latency until the first cut."""

    def __init__(self, start: int, most: int) -> None:
        self.limit = float(start)
        self._most = most
        self._cut_at = float("-inf")
        self._resumes_at = float("-inf")
        self._doubling = True
        self._latency, self._answers, self._best = 0.0, 0, 0.0

    def admits(self, in_flight: int, now: float) -> bool:
        """Whether another request may start at time `now`."""
        return now >= self._resumes_at and in_flight < int(self.limit)

    def pause_left(self, now: float) -> float:
        """Seconds until the server's Retry-After is over."""
        return max(0.0, self._resumes_at - now)

    def answered(self, started: float, now: float, in_flight: int) -> None:
        """Note an answer that came in time; `in_flight` counts it. The limit grows only while it holds others back."""
        if started < self._cut_at or in_flight < int(self.limit):
            return
        self.limit = min(float(self._most), self.limit + (1.0 if self._doubling else 1.0 / self.limit))
        self._answers += 1
        self._latency += (max(now - started, 1e-9) - self._latency) / min(self._answers, LATENCY_SAMPLE)
        if self._answers < LATENCY_SAMPLE:
            return
        # Servers that batch get slower with every request and yet do more; only a loss of throughput is too much.
        throughput = in_flight / self._latency
        self._best = max(self._best, throughput)
        if throughput < SLUMP * self._best:
            self._cut(started, now)

    def overloaded(self, started: float, now: float, pause: float = 0.0) -> None:
        """Note an overload or a time-out; nothing starts for `pause` seconds, which are a Retry-After."""
        self._resumes_at = max(self._resumes_at, now + pause)
        self._cut(started, now)

    def _cut(self, started: float, now: float) -> None:
        """Halve, once per latency: requests that started before the last cut say nothing about the limit after it."""
        if started > self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._cut_at, self._doubling = now, False
            self._latency, self._answers, self._best = 0.0, 0, 0.0


@final
class Gate:
    """Lets as many coroutines through as the limiter says, in the order in which they came; one event loop."""

    def __init__(self, limiter: Limiter, loop: asyncio.AbstractEventLoop) -> None:
        self.limiter = limiter
        self.inside = 0
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._alarm: asyncio.TimerHandle | None = None

    async def enter(self) -> float:
        """Wait for a slot; returns the loop's time in seconds. Raises what the gate was closed with."""
        if self._closed.done():
            self._closed.result()
        ticket = self._loop.create_future()
        self._waiting.append(ticket)
        self._admit()
        await ticket
        if self._closed.done():  # between the turn's coming and now
            self.leave()
            self._closed.result()
        return self._loop.time()

    def leave(self) -> None:
        """Give the slot back. The limiter must know of the answer by then."""
        self.inside -= 1
        self._admit()

    async def nap(self, seconds: float) -> None:
        """Sleep. Raises what the gate was closed with, as soon as it is."""
        await asyncio.wait([self._closed], timeout=seconds)
        if self._closed.done():
            self._closed.result()

    def close(self, error: FirsthandError) -> None:
        """Let nothing in any more: whoever waits or comes later gets the error. Only the first call counts."""
        if self._closed.done():
            return
        self._closed.set_exception(error)
        self._closed.exception()  # seen: asyncio would complain of an error that nobody came to get
        while self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_exception(error)

    def _admit(self) -> None:
        now = self._loop.time()
        while self._waiting and self.limiter.admits(self.inside, now):
            ticket = self._waiting.popleft()
            if not ticket.done():  # a cancelled one is
                ticket.set_result(None)
                self.inside += 1
        pause = self.limiter.pause_left(now)
        if self._waiting and pause > 0 and self._alarm is None:
            self._alarm = self._loop.call_later(pause, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._admit()
