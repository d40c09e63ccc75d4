"""Open-ended reward: by how much a scorer prefers the reply to the reference (VLAA-Thinking, arXiv:2504.11468).

    R = 1 - exp(-beta (S(reply) - S(reference)))  where positive, else 0

S is whatever a `Scorer` gives, on its own scale: a judge, a reward model, or `WordOverlap`, which needs nothing.
beta fits the formula to that scale: it is calibrated from the scorer's spread on references (`calibrate`).
"""

import math
import re
import statistics
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, final

from pydantic import Field, field_validator, model_validator

from firsthand.errors import DataError, excerpt
from firsthand.records import Example, OpenEnded, Picture, Record, Status, Verdict
from firsthand.reward.verdicts import LARGEST_SCORE, failed, is_usable
from firsthand.teacher.endpoint import KeyVariable, whole_url
from firsthand.workers.pool import DeadlineExceeded

REMEMBERED = 10_000
"""Scores that are kept (ours): those of references are needed for every reply."""


class Context(NamedTuple):
    """The question that an answer belongs to."""

    question: str = ""
    images: tuple[Picture, ...] = ()
    scene: str | None = None
    """What is in the picture, in words, where the data knows it."""

    @classmethod
    def of(cls, example: Example) -> "Context":
        """The context of an example: all but its answer."""
        return cls(example.question, example.images, example.scene)


class ScoringFailed(Exception):
    """A scorer gave no usable score; the message says what it gave instead."""


class Scorer(Protocol):
    """Anything that can say how good an answer is, on a scale of its own."""

    @property
    def identity(self) -> str:
        """Names the scorer and its settings: a beta belongs to one identity."""

    def score(self, context: Context, answer: str) -> float:
        """How good the answer is. Raises ScoringFailed, or DeadlineExceeded when there is no score in time."""


@final
class WordOverlap:
    """F1 between the words of an answer and of its example's `scene`: for demos, blind to word order and to meaning."""

    identity = "overlap: F1 of the answer's words with the scene's, case-folded"

    def score(self, context: Context, answer: str) -> float:
        """In [0, 1]. Raises ScoringFailed when the scene is not known."""
        if not context.scene:
            raise ScoringFailed(
                "the overlap scorer needs the words of the scene; give the row a `scene`, or use a judge"
            )
        said, seen = (Counter(re.findall(r"[^\W_]+", text.casefold())) for text in (answer, context.scene))
        both = (said & seen).total()
        return 2 * both / (said.total() + seen.total()) if both else 0.0


class OpenEndedScoring(Record):
    """How open-ended answers are scored, as a recipe says it."""

    scorer: Literal["overlap", "judge", "service", "model"] = "overlap"
    """`overlap`: words shared with the scene. `judge`: a chat model at `url`. `service`: a scorer at `url`.
    `model`: a Hugging Face reward model in the folder `model`."""
    url: str | None = None
    model: str | None = None
    key_env: KeyVariable = Field(default=None, exclude=True)
    """The name of the environment variable that holds the judge's or the service's key. It is no part of a run's
    identity."""
    beta: float = Field(default=0.2, gt=0)
    """Fits the scorer's scale; `firsthand reward --calibrate` finds it. 0.2 is ScoreRS's."""
    deadline_s: float = Field(default=60.0, gt=0)
    """Of one request."""

    @field_validator("url")
    @classmethod
    def _whole(cls, url: str | None) -> str | None:
        return None if url is None else whole_url(url)

    @model_validator(mode="after")
    def _complete(self) -> "OpenEndedScoring":
        needs = {"overlap": (), "judge": ("url", "model"), "service": ("url",), "model": ("model",)}[self.scorer]
        given = [name for name in ("url", "model") if getattr(self, name) is not None]
        if set(given) != set(needs):
            raise ValueError(
                f"scorer {self.scorer} takes {' and '.join(needs) or 'neither url nor model'}, got {given}"
            )
        if self.key_env is not None and self.url is None:
            raise ValueError(f"scorer {self.scorer} takes no key_env; leave it out, or ask a judge or a service")
        return self


class Calibration(Record):
    """What `calibrate` found; kept with the run that uses its beta."""

    beta: float
    """ln 2 / spread: a reply that is one spread better than its reference earns 0.5."""
    spread: float
    """Standard deviation of the references' scores."""
    mean: float
    references: int
    scorer: str


def calibrate(scorer: Scorer, examples: Sequence[Example]) -> Calibration:
    """beta from the spread of the scorer on the references of open-ended examples.

    Raises DataError when fewer than two references differ in score, and ScoringFailed or DeadlineExceeded when one
    cannot be scored.
    """
    found = [scorer.score(Context.of(e), e.answer.reference) for e in examples if isinstance(e.answer, OpenEnded)]
    if not all(map(is_usable, found)):
        raise ScoringFailed(f"expected scores of at most {LARGEST_SCORE:g} for the references, got larger ones")
    if len(found) < 2 or (spread := statistics.stdev(found)) == 0:
        raise DataError(
            f"expected at least two references with different scores to calibrate beta, got {len(found)} with "
            f"{len(set(found))} different; give more open-ended rows, or set beta by hand"
        )
    return Calibration(
        beta=math.log(2) / spread,
        spread=spread,
        mean=statistics.fmean(found),
        references=len(found),
        scorer=scorer.identity,
    )


@final
class OpenVerifier:
    """Scores free text against its reference. Thread-safe; equal questions are asked once."""

    def __init__(self, scorer: Scorer, beta: float) -> None:
        """Raises ValueError unless beta is positive and finite."""
        if not 0 < beta < math.inf:
            raise ValueError(f"expected beta > 0, got {beta}; `firsthand reward --calibrate` finds it")
        self._scorer, self._beta = scorer, beta
        self._known: dict[tuple[str, tuple[str, ...], str | None, str], float] = {}
        self._lock = threading.Lock()

    def judge(self, content: str, gold: OpenEnded, context: Context) -> Verdict:
        """The verdict on one answer. Without a usable score it is TIMED_OUT or FAILED: unmeasured, not 0."""
        try:
            gap = self._score(context, content) - (reference := self._score(context, gold.reference))
        except (DeadlineExceeded, ScoringFailed) as error:
            return failed(error, content)
        reward = surplus(gap, self._beta)
        why = f"S = {reference + gap:.3g} against {reference:.3g} of the reference"
        return Verdict(score=reward, status=Status.OK, parsed=excerpt(content), why=why)

    def _score(self, context: Context, answer: str) -> float:
        key = (context.question, tuple(p.sha256 for p in context.images), context.scene, answer)
        if (known := self._known.get(key)) is not None:
            return known
        score = self._scorer.score(context, answer)
        if not is_usable(score):
            raise ScoringFailed(f"expected a score of at most {LARGEST_SCORE:g}, got {score:g}")
        with self._lock:
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            return self._known.setdefault(key, score)


def surplus(gap: float, beta: float) -> float:
    """1 - exp(-beta gap) where the gap is positive, else 0 (VLAA-Thinking §3.2)."""
    return -math.expm1(-beta * gap) if gap > 0 else 0.0
