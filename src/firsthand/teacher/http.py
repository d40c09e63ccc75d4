"""POST over HTTP, in an event loop that any thread may use.

A request ends at its deadline whatever the server does. Proxies and redirects are not followed.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Self, TypeVar, final

import aiohttp

from firsthand.teacher.scrub import Scrubber

_T = TypeVar("_T")

LONGEST_RESPONSE = 1 << 24
"""Bytes (ours): several times the longest answer of any model."""


CONNECT_S = 8.0
"""Seconds to reach a server (ours): a host that is not there must not look like a slow answer."""


class NoResponse(Exception):
    """There was no whole response; the message says why. `is_unreached`: there was no connection."""

    def __init__(self, detail: str, *, is_late: bool = False, is_unreached: bool = False) -> None:
        super().__init__(detail)
        self.is_late, self.is_unreached = is_late, is_unreached


@final
class Transport:
    """A connection pool, in an event loop with a thread of its own; any thread may submit work. A context manager."""

    def __init__(self, key: str | None = None) -> None:
        """`key` is sent as bearer token, and struck out of whatever comes back."""
        self._key = key
        self._scrubbed = Scrubber(key)

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="http", daemon=True)
        self._thread.start()
        self.submit(self._open()).result()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel what is running, close every connection, and end the thread."""
        self.submit(_cancel_others()).result()
        self.submit(self._session.close()).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def post(
        self, url: str, data: bytes, timeout_s: float, longest: int = LONGEST_RESPONSE
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of at most `longest` bytes. Raises NoResponse; `is_late` when nothing whole came
        within `timeout_s` seconds."""
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(url, data=data, allow_redirects=False) as response,
            ):
                return response.status, response.headers, self._scrubbed(await _read(response, longest))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NoResponse(f"{type(error).__name__}: {error}", is_unreached=True) from error
        except TimeoutError as error:
            raise NoResponse(f"no whole answer within {timeout_s:g} s", is_late=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoResponse(f"{type(error).__name__}: {error}") from error

    async def _open(self) -> None:
        """Make the pool, without limits of its own, and with no deadline but that of connecting."""
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=aiohttp.ClientTimeout(connect=CONNECT_S)
        )


async def _read(response: aiohttp.ClientResponse, longest: int) -> bytes:
    raw = bytearray()
    async for piece in response.content.iter_any():
        raw += piece
        if len(raw) > longest:
            raise NoResponse(f"more than {longest:,} bytes")
    return bytes(raw)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
