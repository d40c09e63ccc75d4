"""Whether a model says one thing to a whole family: where many questions have that answer, it looks like skill.

RL finds such answers, for a guess that is right of three questions in four earns three quarters of the reward.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from firsthand.evaluation.table import counting
from firsthand.records import Record, Score
from firsthand.stats import SUCCESS

_FEWEST = 20
"""Questions of a family, below which nothing is said (ours)."""
_ONE = 0.9
"""Share of the replies that say the same, from which on it is a guess, and of the questions, from which on it may be
knowledge (ours)."""


class Guess(Record):
    """The answer that nearly all replies to a family give. Shares, in [0, 1]."""

    answer: str
    replies: float
    """That give it."""
    right: float
    """Of these, those that are right."""

    def line(self, family: str) -> str:
        """In words, for people."""
        return (
            f"{family}: {self.replies:.0%} of the replies answer {self.answer!r}, and {self.right:.0%} of these are "
            "right: a guess, and no sign of more. Take questions whose answers differ"
        )


def guesses(scores: Sequence[Score]) -> dict[str, Guess]:
    """Families that are answered by one guess, of the replies that the accuracy is about.

    A family whose questions have one answer, nearly all, is none: nobody can tell there.
    """
    by_family: dict[str, list[tuple[str | None, bool]]] = defaultdict(list)
    for score in scores:
        for judged in counting(score):
            if judged.verdict.score is not None:
                by_family[score.family].append((judged.verdict.parsed, judged.verdict.score >= SUCCESS))
    found = {}
    for family, replies in sorted(by_family.items()):
        said = Counter(parsed for parsed, _ in replies if parsed is not None)
        if len(replies) < _FEWEST or not said:
            continue
        [(answer, times)] = said.most_common(1)
        right = sum(is_right for parsed, is_right in replies if parsed == answer) / times
        if times >= _ONE * len(replies) and right < _ONE:
            found[family or "all questions"] = Guess(answer=answer, replies=times / len(replies), right=right)
    return found


def guess_lines(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The guesses that tables of evaluations have, of the seeds of an arm or of one run, in words; shares are means."""
    found: dict[tuple[str, str], list[Guess]] = defaultdict(list)
    for table in tables:
        for family, content in table.get("guesses", {}).items():
            guess = Guess.model_validate(content)
            found[family, guess.answer].append(guess)
    told = []
    for (family, answer), some in found.items():
        replies, right = fmean(guess.replies for guess in some), fmean(guess.right for guess in some)
        seeds = f" ({len(some)} of {len(tables)} seeds)" if len(tables) > 1 else ""
        told.append(Guess(answer=answer, replies=replies, right=right).line(family) + seeds)
    return told
