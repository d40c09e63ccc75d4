"""Models behind HTTP: an OpenAI-compatible chat model (a `Teacher`), and a service that scores answers (a `Scorer`).

A request ends at its deadline whatever the server does: a watchdog shuts its socket. (A socket's own time-out counts
from byte to byte, and a server that sends one byte a second would never reach it.) Proxies and redirects are not
followed. Only the name's look-up is outside the deadline: give addresses where names may be slow.
"""

import http.client
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final
from urllib.parse import urlsplit

from firsthand.errors import RecipeError, excerpt
from firsthand.reward.open_ended import Context, ScoringFailed
from firsthand.teacher import Message
from firsthand.teacher.endpoint import content_of, data_url
from firsthand.workers.pool import DeadlineExceeded

LONGEST_RESPONSE = 1 << 20
"""Bytes of a response that are read (ours)."""


@final
class ChatEndpoint:
    """A teacher behind an OpenAI-compatible server, such as vLLM's: POST <url>/chat/completions at temperature 0."""

    def __init__(self, url: str, model: str, *, deadline_s: float = 60.0, key: str | None = None) -> None:
        """`url` ends in the version, as in http://localhost:8000/v1. Raises RecipeError when it is not http(s).

        `key` is sent as bearer token; None takes the environment's OPENAI_API_KEY, if there is one.
        """
        self._url, self._model, self._deadline_s = checked(url), model, deadline_s
        key = os.environ.get("OPENAI_API_KEY") if key is None else key
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def reply(self, messages: Sequence[Message]) -> str:
        """The text of the next turn. Raises ScoringFailed for anything but one, DeadlineExceeded when it is late."""
        body = {
            "model": self._model,
            "messages": [{"role": m.role, "content": content_of(m)} for m in messages],
            "temperature": 0,
            "seed": 0,
            "response_format": {"type": "json_object"},
        }
        answer = post_json(f"{self._url}/chat/completions", body, self._headers, self._deadline_s)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ScoringFailed(f"expected a chat completion, got {excerpt(json.dumps(answer))}") from error
        if not isinstance(text, str):
            raise ScoringFailed(f"expected a text, got {excerpt(json.dumps(text))}")
        return text


@final
class ScoreService:
    """A scorer behind HTTP: POST {"question", "answer", "images": [data URL]} -> {"score": number}."""

    def __init__(self, url: str, *, deadline_s: float = 60.0) -> None:
        """Raises RecipeError when the URL is not http(s)."""
        self._url, self._deadline_s = checked(url), deadline_s
        self.identity = f"service: {url}"

    def score(self, context: Context, answer: str) -> float:
        """The service's score. Raises ScoringFailed for anything but one, DeadlineExceeded when it is late."""
        body = {"question": context.question, "answer": answer, "images": [data_url(p) for p in context.images]}
        reply = post_json(self._url, body, {}, self._deadline_s)
        score = reply.get("score") if isinstance(reply, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ScoringFailed(f'expected {{"score": <number>}}, got {excerpt(json.dumps(reply))}')
        return float(score)


def checked(url: str) -> str:
    """The URL without a final slash. Raises RecipeError when it is not http(s) with a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RecipeError(f"expected a URL such as http://localhost:8000/v1, got {url!r}; write it in full")
    return url.rstrip("/")


def post_json(url: str, body: object, headers: dict[str, str], deadline_s: float) -> Any:
    """The JSON that a server answers with. Raises ScoringFailed, and DeadlineExceeded at the deadline."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(str(parts.hostname), parts.port, timeout=deadline_s)
    end = time.monotonic() + deadline_s
    try:
        connection.connect()
        with _shut_at(end, connection.sock):
            content = {"Content-Type": "application/json", "Connection": "close", **headers}
            connection.request("POST", parts.path or "/", json.dumps(body), content)
            response = connection.getresponse()
            text = response.read(LONGEST_RESPONSE + 1)
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= end:
            raise DeadlineExceeded(f"no answer from {parts.netloc} within {deadline_s:g} s") from error
        raise ScoringFailed(f"{parts.netloc}: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if time.monotonic() >= end:
        raise DeadlineExceeded(f"no whole answer from {parts.netloc} within {deadline_s:g} s")
    return _json(response.status, text, parts.netloc)


def _json(status: int, text: bytes, server: str) -> Any:
    told = excerpt(text[:1000].decode("utf-8", "replace"))
    if status != http.client.OK or len(text) > LONGEST_RESPONSE:
        raise ScoringFailed(f"{server} answered {status} with {len(text)} bytes: {told}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScoringFailed(f"{server} answered with something else than JSON: {told}") from error


@contextmanager
def _shut_at(end: float, waiting: socket.socket) -> Iterator[None]:
    """Shut a socket at a time of the monotonic clock, under the thread that waits on it."""

    def shut() -> None:
        try:
            waiting.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was faster
            return

    watchdog = threading.Timer(max(0.0, end - time.monotonic()), shut)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
