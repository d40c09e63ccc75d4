"""Reward for several options: 1 when the reply names exactly the right ones, in any order."""

from firsthand.answers.letters import read_letters
from firsthand.records import Letters, Verdict
from firsthand.reward.verdicts import compared, unparsed


def judge_letters(content: str, truth: Letters) -> Verdict:
    """Compare sets of letters: one too few or too many is wrong."""
    got = read_letters(content, truth.options)
    if got is None:
        return unparsed(content, "expected one or several option letters")
    return compared(got == frozenset(truth.letters), ", ".join(sorted(got)), truth.text)
