"""Digit reward: 1 when the answer is the gold number, by value (VLAA-Thinking's counting questions).

The answer must be nothing but one number. Words around it ("the answer is 7"), units, percent signs, thousands
separators, exponents and number words are not read: in an answer block nobody should have to guess which number counts.
"""

import re
from decimal import Decimal

from firsthand.records import Digit, Verdict
from firsthand.reward.extract import bare
from firsthand.reward.verdicts import compared, failed, unparsed

# ASCII digits only: Python's \d also takes look-alikes. No exponent: nobody counts to 1e999999999.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
MINUS_SIGN = "\u2212"


def judge_digit(content: str, gold: Digit) -> Verdict:
    """Compare by value: `7`, `7.0`, `07` and `+7` are one number. A gold that is no number gives FAILED, not 0."""
    expected, got = read_number(gold.value), read_number(content)
    if expected is None:
        return failed(f"the gold answer {gold.value!r} is not a number")
    if got is None:
        return unparsed(content, "expected a number and nothing else")
    return compared(got == expected, bare(content), gold.value)


def read_number(text: str) -> Decimal | None:
    """The number that the text is, exactly, or None when it is anything but one number."""
    number = bare(text).replace(MINUS_SIGN, "-")
    return Decimal(number) if NUMBER.fullmatch(number) else None
