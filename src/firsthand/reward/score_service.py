"""A service that scores answers, behind HTTP: a `Scorer`."""

import json
import math
from typing import Self, final

from firsthand.errors import excerpt
from firsthand.reward.open_ended import Context, ScoringFailed
from firsthand.teacher.completion import Garbled, read_json
from firsthand.teacher.endpoint import data_url
from firsthand.teacher.http import NoResponse, Transport
from firsthand.workers.pool import DeadlineExceeded


@final
class ScoreService:
    """POST {"question", "answer", "images": [data URL]} -> {"score": number}. Thread-safe; use as a context manager."""

    def __init__(self, url: str, *, deadline_s: float = 60.0) -> None:
        self._url, self._deadline_s = url.rstrip("/"), deadline_s
        self._transport = Transport()
        self.identity = f"service: {url}"

    def __enter__(self) -> Self:
        self._transport.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.__exit__()

    def score(self, context: Context, answer: str) -> float:
        """The service's score. Raises ScoringFailed for anything but one, DeadlineExceeded when it is late."""
        asked = {"question": context.question, "answer": answer, "images": [data_url(p) for p in context.images]}
        posted = self._transport.post(self._url, json.dumps(asked).encode(), self._deadline_s)
        try:
            status, _, body = self._transport.submit(posted).result()
            if status != 200:
                raise ScoringFailed(f"{self._url} answered {status}: {excerpt(body)}")
            reply = read_json(body)
        except NoResponse as error:
            raise (DeadlineExceeded if error.is_late else ScoringFailed)(f"{self._url}: {error}") from error
        except Garbled as error:
            raise ScoringFailed(f"{self._url}: {error}") from error
        score = reply.get("score") if isinstance(reply, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise ScoringFailed(f'expected {{"score": <number>}}, got {excerpt(json.dumps(reply).encode())}')
        return float(score)
