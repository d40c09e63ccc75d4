"""Maths reward: 1 when math-verify finds the answer equal to the right expression (VLAA-Thinking).

math-verify runs in worker processes only (workers/pool.py). Numbers, as answers/numbers.py reads them, are compared
here: they are most of what a policy writes, a pipe is slower than a comparison of two integers, and math-verify neither
reads Chinese digits nor tells 12 cm from 12 mm.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any

from firsthand.answers.markup import braces_match, without_markup
from firsthand.answers.numbers import Number, read_number, same_number
from firsthand.errors import excerpt
from firsthand.records import Expression, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed
from firsthand.workers.pool import DeadlineExceeded, WorkerDied

AskWorker = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a request to a worker and wait for its answer (workers/maths.py); raises DeadlineExceeded and WorkerDied."""

_TOLERANCE = Fraction(1, 100_000)
"""math-verify rounds decimals to 6 places (`float_rounding`): nearer than this, a decimal goes to math-verify."""

_DEEPEST = 30
"""Brackets within brackets of an expression that is compared (ours)."""

_DELIMITERS = ("$", "\\(", "\\[", "\\boxed")
_SIDE_BY_SIDE = re.compile(r"[0-9]\s+[0-9]")
_MIXED_NUMBER = re.compile(r"(-?[0-9]+)\s+([0-9]+)/([0-9]+)")
_LABEL = re.compile(r"(?P<name>[A-Za-z](?:\([A-Za-z]\))?)\s*=(?!=)(?P<value>[^=]+)")
_THIN_SPACE = re.compile(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))")
_BARE_NAME = re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|ln|log|exp|theta|alpha|beta)(?![A-Za-z])")
_NEGATIVE_POWER = re.compile(r"\^(-[0-9]+)")
_ROOT_OF_NUMBER = re.compile(r"\u221a([0-9]+)")
_SIGNS = str.maketrans(
    {
        "\u2212": "-",
        "\u00d7": "\\times ",
        "\u00f7": "\\div ",
        "\u00b7": "\\cdot ",
        "\u03c0": "\\pi ",
        "\u221e": "\\infty ",
        "\u00b0": "^\\circ",
        "\u00b2": "^2",
        "\u00b3": "^3",
        "\u221a": "sqrt",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
    }
)


def judge_math(content: str, truth: Expression, ask: AskWorker) -> Verdict:
    """Compare by value, in the worker that `ask` reaches unless both are plain numbers.

    A comparison that does not end is TIMED_OUT. A worker that dies, an error in the comparison, and a ground truth that
    math-verify cannot read are FAILED. None of them has a score.
    """
    got, expected = same_label(trimmed(content), trimmed(truth.latex))
    numbers = read_number(got), read_number(expected)
    if numbers[0] and numbers[1] and (equal := equal_numbers(numbers[0], numbers[1])) is not None:
        return compared(equal, got, truth.latex)
    got, expected = (rewritten(text, number) for text, number in zip((got, expected), numbers, strict=True))
    if flaw := malformed(got):
        return unparsed(content, flaw)
    try:
        answer = ask({"prediction": as_latex(got), "gold": as_latex(expected)})
    except (DeadlineExceeded, WorkerDied) as error:
        return failed(error, got)
    if "error" in answer:
        return failed(f"the comparison broke: {answer['error']}", got)
    if answer.get("unread") == "gold":
        return failed(f"math-verify cannot read the ground truth {excerpt(truth.latex)}", got)
    if "unread" in answer:
        return unparsed(got, "math-verify reads no expression")
    return compared(answer["equal"], got, truth.latex)


def malformed(text: str) -> str:
    """Why a reply is no expression, before math-verify tries: it adds up `1 2`, and some nesting costs it minutes."""
    if _SIDE_BY_SIDE.search(text) and not _MIXED_NUMBER.fullmatch(text):
        return "two numbers side by side are no expression"
    marks = text.replace("\\{", "").replace("\\}", "")
    if max(accumulate((c in "{([") - (c in "})]") for c in marks), default=0) > _DEEPEST:
        return f"brackets nested more than {_DEEPEST} deep"
    return "" if braces_match(marks) else "braces that do not match"


def trimmed(text: str) -> str:
    """The expression without the delimiters around it and without the full stop that ends a sentence."""
    return without_markup(without_markup(text).removesuffix("."))


def same_label(got: str, expected: str) -> tuple[str, str]:
    """Both without labels that differ: VLAA-Thinking's data name one function now y, now a; the name says nothing."""
    a, b = _LABEL.fullmatch(got), _LABEL.fullmatch(expected)
    if a is None or b is None or a["name"] == b["name"]:
        return got, expected
    return a["value"].strip(), b["value"].strip()


def equal_numbers(got: Number, expected: Number) -> bool | None:
    """Whether two numbers are equal; None when only math-verify can tell, because decimals may be rounded."""
    gap = abs(got.value - expected.value)
    if 0 < gap < _TOLERANCE and (got.is_decimal or expected.is_decimal):
        return None
    return same_number(got, expected)


def rewritten(text: str, number: Number | None) -> str:
    """A number in notation that math-verify reads; everything else as it is."""
    if number is None:
        return text
    top, bottom = number.value.as_integer_ratio()
    value = f"{top}/{bottom}" if bottom > 1 else str(top)
    if number.is_decimal:  # not as a fraction: math-verify rounds decimals only
        value = format(Decimal(top) / Decimal(bottom), "f")
    return value + "\\%" * number.percent


def as_latex(text: str) -> str:
    """Text that math-verify reads as the writer meant it: plain notation made LaTeX, in delimiters.

    Without this, math-verify reads `pi` as p times i, `2**3` not at all, and `1 1/2` as (1 + 1)/2.
    """
    text = _MIXED_NUMBER.sub(r"\1\\frac{\2}{\3}", text) if _MIXED_NUMBER.fullmatch(text) else text
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text)
    text = _THIN_SPACE.sub("", text).translate(_SIGNS).replace("**", "^").replace("\\$", "")
    text = _NEGATIVE_POWER.sub(r"^{\1}", _BARE_NAME.sub(r"\\\1 ", text))
    if text.count("$") == 1:  # a price
        text = text.replace("$", "")
    return text if any(mark in text for mark in _DELIMITERS) else f"$${text}$$"
