r"""Digit reward: 1 when the answer is the gold number, by value (VLAA-Thinking's counting questions).

The answer must be one number, in any of the notations of numerals.py: `7`, `7.0`, `1,000`, `50%`, `7 apples`, `七`.
Two numbers, a sum or a sentence are not read: in an answer block nobody should have to guess which number counts.
"""

from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import read_number, same_number
from firsthand.records import Digit, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed


def judge_digit(content: str, gold: Digit) -> Verdict:
    """Compare by exact value; units must not contradict. A gold that is no number gives FAILED, not 0."""
    expected, got = read_number(gold.value), read_number(content)
    if expected is None:
        return failed(f"the gold answer {gold.value!r} is not a number")
    if got is None:
        return unparsed(content, "expected one number, with at most its unit")
    return compared(same_number(got, expected), without_markup(content), gold.value)
