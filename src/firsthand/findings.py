"""What a study finds: is each arm healthy, and what answers its questions. Written by it, read by its report.

Check         one thing that a healthy arm shows: passed, failed, or unmeasured
Health        the checks of an arm; an unhealthy one carries no verdict
StudyVerdict  a question and its answer: helps, hurts, not resolved, or baseline not healthy
Tuned         the settings that an arm chose on validation data, and what it chose from
TokenChange   one reply under two models: what training did to the probability of each of its tokens
Distances     how far the arms' weights are from each other, and from where all began
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import model_validator

from firsthand.records import Record
from firsthand.stats import Covers

TOKENS_FILE = "tokens.jsonl"
"""A `TokenChange` a line, in a run directory whose recipe says which training it is `tokens_of`."""
DISTANCES_FILE = "distances.json"
"""A `Distances`, in a run directory whose recipe says which trainings it has `distances_of`, by arm."""


class CheckState(StrEnum):
    """What became of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNMEASURED = "unmeasured"
    """Nobody could tell; not the same as passed."""


class Check(Record):
    """One thing that a healthy arm shows."""

    name: str
    """Such as `micro-batches`."""
    state: CheckState
    what: str
    """What was measured and what it was, in a sentence."""
    value: float | None = None
    limit: float | None = None
    """From where on the check fails; None where no single number decides."""
    remedy: str = ""
    """What to try; empty unless it failed."""


class Health(Record):
    """The checks of an arm."""

    arm: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What speaks against the arm."""
        return tuple(check for check in self.checks if check.state is CheckState.FAILED)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing speaks against the arm; unmeasured checks are shown, and do not."""
        return not self.failed


class Effect(StrEnum):
    """The answer to a question of a study."""

    HELPS = "helps"
    HURTS = "hurts"
    OPEN = "not resolved"
    UNHEALTHY = "baseline not healthy"


class StudyVerdict(Record):
    """A question of a study and its answer: a difference, paired over items and seeds, `arms` minus `against`."""

    name: str
    ask: str
    """The question in words: `Does SFT before RL help?`."""
    arms: tuple[str, ...]
    """The mean of these is compared."""
    against: tuple[str, ...]
    measure: str
    """What is compared: `greedy` or `sampled` accuracy."""
    effect: Effect
    sentence: str
    """All of it in one sentence."""
    difference: float | None
    """None where the two have no measured item in common."""
    low: float | None
    """End of the 95 % interval, as `high`; not corrected for the number of questions."""
    high: float | None
    p: float | None
    """Two-sided, of this question alone; the level at which the interval just reaches 0."""
    p_corrected: float | None
    """For all questions of the study; what the effect goes by."""
    items: int
    """That every run of both sides has measured."""
    seeds: int
    covers: Covers = Covers.BOTH
    """What chance the interval is about. Of the questions alone it never says that an arm helps or hurts."""
    needed_items: int | None = None
    """Where it is not resolved: how many would resolve a difference of this size in 80 % of studies, with as many seeds
    as there are. None where no number would, or where one seed cannot say."""
    needed_seeds: int | None = None
    """The same, with as many items as there are."""
    unhealthy: tuple[str, ...] = ()
    """The arms that cannot carry a verdict: of either side, or below one in its chain of starts."""
    unmeasured: tuple[str, ...] = ()
    """The trained ones of these arms whose health nobody has measured."""


class Tuned(Record):
    """The settings that an arm chose on validation data."""

    arm: str
    settings: dict[str, Any]
    """Key of the recipe -> value: `{"optimizer.lr": 1e-4, "stop": 40}`. A stop of None: where its budget ends."""
    accuracy: float
    """On the validation items, under these settings; of the best of several, so a little too high."""
    standard_error: float | None = None
    """Of that accuracy, over the items."""
    grid: dict[str, tuple[Any, ...]]
    """What was to choose from."""
    tries: int
    """Candidates that were begun."""
    edges: tuple[str, ...] = ()
    """Settings whose best value is at an end of its grid: a better one may lie beyond."""


class TokenChange(Record):
    """One reply under two models: the one that a chain of trainings began with, and the tuned one."""

    example_id: str
    family: str = ""
    question: str
    gold: str
    images: tuple[str, ...]
    """sha256 of each picture; the evaluation that the reply is of has them."""
    by: Literal["start", "tuned"]
    """Who wrote it, greedily."""
    text: str
    score: float | None
    """None: not measured."""
    pieces: tuple[str, ...]
    """The text of each token; empty of one that writes nothing, such as that which ends the reply."""
    start: tuple[float, ...]
    """Log-prob (natural) of each token under the model before training."""
    tuned: tuple[float, ...]
    """The same under the tuned one."""

    @model_validator(mode="after")
    def _one_of_each_for_every_token(self) -> "TokenChange":
        if not len(self.pieces) == len(self.start) == len(self.tuned):
            raise ValueError(
                f"expected a piece and two log-probs for every token, got {len(self.pieces)}, {len(self.start)} and "
                f"{len(self.tuned)}"
            )
        return self


class Distances(Record):
    """How far weights are from each other, over the norm of the weights that all trainings began with."""

    names: tuple[str, ...]
    """Of the models; the first one is where all began."""
    starts: tuple[str | None, ...]
    """The model that each began with, by name; None of the first one."""
    relative: tuple[tuple[float, ...], ...]
    """||a - b|| / ||first||, a row for each name."""
    cosines: tuple[tuple[float | None, ...], ...]
    """Of the ways that two models went from the first one; None where one of them has not moved."""
