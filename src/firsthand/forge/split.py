"""Step 6, split: what hesitates or is hard is explored (`rl`), the rest is imitated (`sft`); then quotas.

Two passes over the rows, because a quota is about all of them: the first remembers 16 hex digits and a word for each.
"""

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from firsthand.errors import DataError
from firsthand.forge.draft import DATA_PARTS, DataPart, Draft, source_of
from firsthand.forge.step import Asked, Decision, Dropped, ForgeStep, Kept
from firsthand.records import Record, Score, content_id
from firsthand.stats import SUCCESS
from firsthand.teacher import Completion

REFLECTIVE_CUES = ("wait", "again", "double-check", "hmm", "mistake", "alternatively", "check", "i should confirm")
"""VLAA-Thinking's list (arXiv:2504.11468)."""


class Quota(Record):
    """At most so many rows of a source; None is no bound."""

    sft: int | None = Field(default=None, ge=0)
    rl: int | None = Field(default=None, ge=0)


class SplitConfig(Record):
    """Which rows go where, and how many."""

    by: Literal["cues", "pass_rate"] = "cues"
    """`cues`: words of doubt in the thinking (published). `pass_rate`: how often a model solved the question."""
    cues: tuple[str, ...] = REFLECTIVE_CUES
    match: Literal["substring", "word"] = "substring"
    """`substring`, in lower case, is published: `against` counts as `again`. `word` wants whole words."""
    scores: tuple[str, ...] = ()
    """scores.jsonl of evaluations with samples, for `pass_rate`; rates of several are averaged."""
    solved: float = Field(default=0.75, gt=0, le=1)
    """`pass_rate`: rows solved at least so often are imitated, the others explored (ours)."""
    quotas: dict[str, Quota] = Field(default_factory=dict)
    """Source -> its bounds. The rows that stay are drawn by seed, whatever their order."""
    subset: int | None = Field(default=None, gt=0)
    """Of the `sft` rows only so many, those of the highest perplexity (VLAA-Thinking's 25K, 10K and 5K)."""
    perplexity: tuple[str, ...] = ()
    """Files of `firsthand perplexity`, one per model; a row's perplexities are averaged."""
    seed: int = 0

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "SplitConfig":
        if (self.by == "pass_rate") != bool(self.scores):
            raise ValueError("scores: give the scores.jsonl of an evaluation for by: pass_rate, and only then")
        if (self.subset is not None) != bool(self.perplexity):
            raise ValueError("subset and perplexity go together: how many rows, and the files that rank them")
        return self


class Split(ForgeStep):
    """Decides after `survey` has seen every row."""

    name = "split"

    def __init__(self, config: SplitConfig) -> None:
        """Raises DataError when a file of scores cannot be read."""
        self._config = config
        self._rates = _pass_rates(config.scores)
        self._perplexities = _perplexities(config.perplexity)
        self._places: dict[str, str] = {}

    def identity(self) -> dict[str, Any]:
        """The settings, and what the files of scores say."""
        measured = content_id(sorted(self._rates.items()), sorted(self._perplexities.items()))
        settings = self._config.model_dump(mode="json", exclude={"scores", "perplexity"})
        return {**settings, "measured": measured}

    def survey(self, drafts: Iterable[Draft]) -> None:
        """See every row once, and settle which part each belongs to, or why to none."""
        drawn: dict[tuple[str, DataPart], list[str]] = defaultdict(list)
        for draft in drafts:
            part, identity = self._part(draft), draft.example.id
            self._places[identity] = part or "no_pass_rate"
            if part is not None:
                drawn[source_of(draft), part].append(identity)
        for (source, part), ids in drawn.items():
            bound = getattr(self._config.quotas.get(source, Quota()), part)
            if bound is not None:
                for identity in sorted(ids, key=lambda i: content_id(self._config.seed, i))[bound:]:
                    self._places[identity] = "over_quota"
        if self._config.subset is not None:
            self._rank(self._config.subset)

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep in a part, or drop for a quota."""
        place = self._places[asked.draft.example.id]
        for part in DATA_PARTS:
            if place == part:
                return Kept(replace(asked.draft, part=part))
        return Dropped(asked.draft, place)

    def _rank(self, most: int) -> None:
        imitated = [i for i, place in self._places.items() if place == "sft"]
        unknown = [i for i in imitated if i not in self._perplexities]
        if unknown:
            raise DataError(
                f"split.perplexity: expected a perplexity of every row to be imitated, got none of {len(unknown):,} of "
                f"{len(imitated):,} (first: {unknown[0]}); run `firsthand perplexity` on the present data set"
            )
        for identity in sorted(imitated, key=lambda i: (-self._perplexities[i], i))[most:]:
            self._places[identity] = "not_in_subset"

    def _part(self, draft: Draft) -> DataPart | None:
        if draft.answer is None:
            return "rl"
        if self._config.by == "cues":
            return "rl" if shows_cue(draft.thinking or "", self._config.cues, self._config.match) else "sft"
        rate = self._rates.get(draft.example.id)
        return None if rate is None else "sft" if rate >= self._config.solved else "rl"


def shows_cue(text: str, cues: Sequence[str], match: Literal["substring", "word"] = "substring") -> bool:
    """Whether a text shows one of the cues, in any case of letters."""
    lowered = text.lower()
    if match == "substring":
        return any(cue.lower() in lowered for cue in cues)
    return any(re.search(rf"(?<!\w){re.escape(cue.lower())}(?!\w)", lowered) for cue in cues)


def _pass_rates(files: Sequence[str]) -> dict[str, float]:
    """Example's id -> share of its samples that solved it, averaged over files."""
    found: dict[str, list[float]] = defaultdict(list)
    for file in files:
        for number, line in _lines(file):
            try:
                score = Score.model_validate_json(line)
            except ValidationError as error:
                raise DataError(
                    f"{file} line {number}: expected a line of scores.jsonl, got another; {error}"
                ) from error
            hits = [s.verdict.score >= SUCCESS for s in score.samples if s.verdict.score is not None]
            if hits:
                found[score.example_id].append(statistics.fmean(hits))
    if files and not found:
        raise DataError(
            f"split.scores: expected sampled replies in {', '.join(files)}, got none; evaluate with --samples 8"
        )
    return {identity: statistics.fmean(rates) for identity, rates in found.items()}


def _perplexities(files: Sequence[str]) -> dict[str, float]:
    """Example's id -> perplexity, averaged over the files that have one."""
    found: dict[str, list[float]] = defaultdict(list)
    for file in files:
        for number, line in _lines(file):
            try:
                row: Mapping[str, Any] = json.loads(line)
                found[str(row["id"])].append(float(row["perplexity"]))
            except (ValueError, KeyError, TypeError) as error:
                expected = 'expected {"id": ..., "perplexity": <number>}'
                raise DataError(f"{file} line {number}: {expected}, got {line[:80]!r}; write it anew") from error
    return {identity: statistics.fmean(values) for identity, values in found.items()}


def _lines(file: str) -> Iterable[tuple[int, str]]:
    try:
        with Path(file).open(encoding="utf-8") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except OSError as error:
        raise DataError(f"{file}: expected a readable file, got: {error.strerror}; correct the path") from error
