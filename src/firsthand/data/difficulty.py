"""Examples of some difficulty: those that a model solves neither too seldom nor too often.

RL learns from groups that disagree, which is a filter for medium difficulty that nobody asked for; demonstrations can
be filtered so, too (arXiv:2602.10815).
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from firsthand.data.loaded import Chosen, Loaded
from firsthand.errors import BadRow, DataError
from firsthand.records import Example, Record, Score
from firsthand.stats import SUCCESS


class PassBounds(Record):
    """Which examples are kept: those that a model solved in so large a share of its samples."""

    least: float = Field(default=0.25, ge=0, le=1)
    """Of the samples whose score was measured, as `most`; an example at either end is kept (both ours)."""
    most: float = Field(default=0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"expected least to be at most most, got {self.least:g} and {self.most:g}")
        return self

    def holds(self, rate: float) -> bool:
        """Whether an example that was solved so often is kept."""
        return self.least <= rate <= self.most


class PassRate(PassBounds):
    """Bounds, and where the pass rates are from."""

    scores: str
    """A finished evaluation, with samples, of these very examples: its run directory, or its scores.jsonl."""


class _Solved(NamedTuple):
    """What a model's samples to one example came to."""

    right: int
    measured: int

    @property
    def rate(self) -> float:
        return self.right / self.measured

    @property
    def tenth(self) -> str:
        """Where it is in a histogram: 0 and 1 are apart, and a tenth has its lower end."""
        if self.right in (0, self.measured):
            return f"{self.rate:g}"
        place = 10 * self.right // self.measured
        return f"{place / 10:g} to {(place + 1) / 10:g}"


_Asked = tuple[str, str]
"""Id and question: ids of a user's own may be those of another file, too."""


def of_difficulty(loaded: Loaded, wanted: PassRate, remedy: str) -> Loaded:
    """The examples whose pass rate is within bounds; those that were not evaluated are bad rows, whose `remedy` it is.

    An example of which no sample could be measured is left out, and counted.
    Raises DataError when the scores cannot be read or have no samples, and with a histogram when nothing is left.
    """
    path = scores_file(wanted.scores)
    solved = _solved(path)
    loaded = loaded.without([_complaint(example, solved, path, remedy) for example in loaded.examples])
    rates = [solved[_asked(example)] for example in loaded.examples]
    kept = [i for i, found in enumerate(rates) if found.measured and wanted.holds(found.rate)]
    measured = sorted((found for found in rates if found.measured), key=lambda found: found.rate)
    chosen = Chosen(
        scores=wanted.scores,
        least=wanted.least,
        most=wanted.most,
        kept=len(kept),
        of=len(rates),
        unmeasured=len(rates) - len(measured),
        rates=dict(Counter(found.tenth for found in measured)),
    )
    if rates and not kept:
        raise DataError(
            f"pass_rate: expected examples that are solved in {wanted.least:g} to {wanted.most:g} of the samples of "
            f"{path}, got none among {len(rates):,}; {chosen.histogram}; set least and most around some of them"
        )
    examples, origins = [loaded.examples[i] for i in kept], [loaded.origins[i] for i in kept]
    return replace(loaded, examples=examples, origins=origins, chosen=chosen)


def scores_file(scores: str) -> Path:
    """The scores.jsonl of a finished evaluation. Raises DataError when there is none."""
    folder = Path(scores)
    if not folder.is_dir():
        return folder
    if not (folder / "DONE").exists() or not (folder / "scores.jsonl").exists():
        raise DataError(f"pass_rate.scores: expected a finished evaluation, got {folder}; finish it first")
    return folder / "scores.jsonl"


def _solved(path: Path) -> dict[_Asked, _Solved]:
    """Of every example in the scores; one that is there twice has the samples of both."""
    found: dict[_Asked, _Solved] = defaultdict(lambda: _Solved(0, 0))
    drawn = 0
    for score in _scores(path):
        measured = [sample.verdict.score for sample in score.samples if sample.verdict.score is not None]
        right, all_measured = found[score.example_id, score.question]
        hits = sum(value >= SUCCESS for value in measured)
        found[score.example_id, score.question] = _Solved(right + hits, all_measured + len(measured))
        drawn += len(score.samples)
    if not drawn:
        raise DataError(f"pass_rate: expected sampled replies in {path}, got none; evaluate with --samples 8")
    return dict(found)


def _scores(path: Path) -> Iterator[Score]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _score(path, number, line)
    except OSError as error:
        raise DataError(f"pass_rate.scores: expected a readable file, got {path}: {error.strerror}") from error


def _score(path: Path, number: int, line: bytes) -> Score:
    try:
        return Score.model_validate_json(line)
    except ValidationError as error:
        got = line[:60].decode("utf-8", "replace")
        raise DataError(f"{path} line {number}: expected a line of scores.jsonl, got {got!r}; evaluate anew") from error


def _asked(example: Example) -> _Asked:
    return example.id, example.question


def _complaint(example: Example, solved: Container[_Asked], path: Path, remedy: str) -> BadRow | None:
    if _asked(example) in solved:
        return None
    return BadRow(None, f"a pass rate in {path}", "none", remedy, "no_pass_rate")
