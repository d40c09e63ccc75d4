"""Maths reward: 1 when math-verify finds the answer equal to the gold expression (VLAA-Thinking).

math-verify runs in worker processes only (pool.py). Numbers written plainly are compared here, exactly and with the
same verdict: they are most of what a policy writes, and a pipe is slower than a comparison of two integers.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from firsthand.records import Expression, Status, Verdict
from firsthand.reward.extract import bare
from firsthand.reward.pool import DeadlineExceeded, WorkerDied
from firsthand.reward.verdicts import compared, failed, shown, unparsed

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a request to a worker and wait for its answer; raises DeadlineExceeded and WorkerDied."""

_DIGITS = r"(?:0|[1-9][0-9]{0,11})"
PLAIN = re.compile(
    rf"(?P<sign>-?)(?:(?P<whole>{_DIGITS})(?P<decimals>\.[0-9]{{1,4}})?"
    rf"|(?P<top>{_DIGITS})/(?P<bottom>[1-9][0-9]{{0,11}})"
    rf"|\\frac\{{(?P<above>{_DIGITS})\}}\{{(?P<below>[1-9][0-9]{{0,11}})\}})"
)
TOLERANCE = Fraction(1, 100_000)
"""math-verify rounds decimals to 6 places (`float_rounding`): nearer than this, a decimal goes to math-verify."""

DELIMITERS = ("$", "\\(", "\\[", "\\boxed")
SIDE_BY_SIDE = re.compile(r"[0-9]\s+[0-9]")
MIXED_NUMBER = re.compile(r"(-?[0-9]+)\s+([0-9]+)/([0-9]+)")
BARE_NAME = re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|ln|log|exp|theta|alpha|beta)(?![A-Za-z])")
NEGATIVE_POWER = re.compile(r"\^(-[0-9]+)")
ROOT_OF_NUMBER = re.compile(r"\u221a([0-9]+)")
SIGNS = str.maketrans(
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


def judge_math(content: str, gold: Expression, ask: Ask) -> Verdict:
    """Compare by value, in the worker that `ask` reaches unless both are plain numbers.

    A comparison that does not end is TIMED_OUT. A worker that dies, an error in the comparison, and a gold that
    math-verify cannot read are FAILED. None of them has a score.
    """
    got, expected = trimmed(content), trimmed(gold.latex)
    if (equal := equal_numbers(got, expected)) is not None:
        return compared(equal, got, gold.latex)
    if SIDE_BY_SIDE.search(got) and not MIXED_NUMBER.fullmatch(got):
        return unparsed(content, "two numbers side by side are no expression")
    try:
        answer = ask({"prediction": as_latex(got), "gold": as_latex(expected)})
    except DeadlineExceeded as error:
        return Verdict(score=None, status=Status.TIMED_OUT, parsed=shown(got), why=str(error))
    except WorkerDied as error:
        return failed(str(error), got)
    return _verdict(answer, got, gold.latex)


def trimmed(text: str) -> str:
    """The expression without the delimiters around it and without the full stop that ends a sentence."""
    return bare(bare(text).removesuffix("."))


def equal_numbers(got: str, expected: str) -> bool | None:
    """Whether two plain numbers are equal as math-verify sees it; None when only math-verify can tell."""
    a, b = PLAIN.fullmatch(got), PLAIN.fullmatch(expected)
    if a is None or b is None:
        return None
    gap = abs(_value(a) - _value(b))
    if 0 < gap < TOLERANCE and (a["decimals"] or b["decimals"]):
        return None
    return gap == 0


def as_latex(text: str) -> str:
    """Text that math-verify reads as the writer meant it: plain notation made LaTeX, in delimiters.

    Without this, math-verify reads `pi` as p times i, `2**3` not at all, and `1 1/2` as (1 + 1)/2.
    """
    text = MIXED_NUMBER.sub(r"\1\\frac{\2}{\3}", text) if MIXED_NUMBER.fullmatch(text) else text
    text = ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text)
    text = text.translate(SIGNS).replace("**", "^").replace("\\$", "")
    text = NEGATIVE_POWER.sub(r"^{\1}", BARE_NAME.sub(r"\\\1 ", text))
    if text.count("$") == 1:  # a price
        text = text.replace("$", "")
    return text if any(mark in text for mark in DELIMITERS) else f"$${text}$$"


def _value(plain: re.Match[str]) -> Fraction:
    if plain["whole"]:
        size = Fraction(plain["whole"] + (plain["decimals"] or ""))
    else:
        size = Fraction(int(plain["top"] or plain["above"]), int(plain["bottom"] or plain["below"]))
    return -size if plain["sign"] else size


def _verdict(answer: dict[str, Any], got: str, gold: str) -> Verdict:
    """A worker's answer in our words (the protocol is in worker.py)."""
    if "error" in answer:
        return failed(f"the comparison broke: {answer['error']}", got)
    if answer.get("unread") == "gold":
        return failed(f"math-verify cannot read the gold answer {shown(gold)}", got)
    if "unread" in answer:
        return unparsed(got, "math-verify reads no expression")
    return compared(answer["equal"], got, gold)
