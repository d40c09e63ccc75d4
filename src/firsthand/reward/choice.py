"""Option-letter reward: 1 when the reply names the right option, by its letter or by its full text (VLAA-Thinking)."""

from firsthand.answers.letters import read_letter
from firsthand.records import Choice, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed


def judge_choice(content: str, truth: Choice) -> Verdict:
    """Compare letters. A right letter that names none of its own options gives FAILED, not 0."""
    expected, why = read_letter(truth.letter, truth.options)
    if expected is None:
        return failed(f"the ground truth {truth.letter!r} is not an option letter: {why}")
    got, why = read_letter(content, truth.options)
    return unparsed(content, why) if got is None else compared(got == expected, got, expected)
