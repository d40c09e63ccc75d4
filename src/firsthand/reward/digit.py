r"""Digit reward: 1 when the answer is the right number, by value (VLAA-Thinking's counting questions).

The answer must be one number, as answers/numbers.py reads it: `7`, `7.0`, `1,000`, `50%`, `7 apples`, `七`. Two
numbers, a sum or a sentence are not read: in an answer block nobody should have to guess which number counts.
"""

from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import read_number, same_number
from firsthand.records import Digit, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed


def judge_digit(content: str, truth: Digit, tolerance: float = 0.0) -> Verdict:
    """Compare by value, exactly or within a share of the truth, whose own `tolerance` comes first.

    Units must not contradict. A ground truth that is no number gives FAILED, not 0.
    """
    expected, got = read_number(truth.value), read_number(content)
    if expected is None:
        return failed(f"the ground truth {truth.value!r} is not a number")
    if got is None:
        return unparsed(content, "expected one number, with at most its unit")
    allowed = tolerance if truth.tolerance is None else truth.tolerance
    return compared(same_number(got, expected, allowed), without_markup(content), truth.value)
