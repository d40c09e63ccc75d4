"""A service that scores answers, behind HTTP: a `Scorer`."""

import json
import sys
from typing import Self, final

from firsthand.errors import RecipeError, excerpt
from firsthand.reward.open_ended import Context, ScoringFailed
from firsthand.teacher.completion import Garbled, read_json
from firsthand.teacher.endpoint import data_url, key_in, key_sent
from firsthand.teacher.http import NoResponse, Transport
from firsthand.workers.pool import DeadlineExceeded


@final
class ScoreService:
    """POST {"question", "answer", "images": [data URL]} -> {"score": number}. Thread-safe; use as a context manager."""

    def __init__(self, url: str, *, deadline_s: float = 60.0, key_env: str | None = None) -> None:
        """Raises RecipeError when `key_env` names a variable that holds no key."""
        self._url, self._deadline_s, self._key_env = url.rstrip("/"), deadline_s, key_env
        self._transport = Transport(key_in(key_env, url))
        self.identity = f"service: {url}"

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.__exit__()

    def score(self, context: Context, answer: str) -> float:
        """The service's score. Raises ScoringFailed for anything but one, DeadlineExceeded when it is late.

        Raises RecipeError when the service does not let us in: it would let in no other answer.
        """
        asked = {"question": context.question, "answer": answer, "images": [data_url(p) for p in context.images]}
        posted = self._transport.post(self._url, json.dumps(asked).encode(), self._deadline_s)
        try:
            status, _, body = self._transport.submit(posted).result()
            if status in (401, 403):
                held = key_sent(self._key_env)
                raise RecipeError(f"{self._url} answered {status}: {excerpt(body)}; it was given {held}")
            if status != 200:
                raise ScoringFailed(f"{self._url} answered {status}: {excerpt(body)}")
            reply = read_json(body)
        except NoResponse as error:
            raise (DeadlineExceeded if error.is_late else ScoringFailed)(f"{self._url}: {error}") from error
        except Garbled as error:
            raise ScoringFailed(f"{self._url}: {error}") from error
        score = reply.get("score") if isinstance(reply, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
            raise ScoringFailed(f'expected {{"score": <number>}}, got {excerpt(json.dumps(reply).encode())}')
        return float(score)
