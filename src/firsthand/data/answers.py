"""The gold answer of a row: what kind it is, and whether it is of that kind.

The kind comes from the data. When the data does not say, it is inferred only where one reading is possible:

    options are given                              -> choice
    a list of four numbers                         -> box
    a number, or text that is one (`-3`, `2.5`)    -> digit
    text that is one LaTeX expression (`\\frac12`)  -> math
    anything else                                  -> refused: say which kind it is

`cat`, `B` without options, `1/2` or `[1, 2, 3, 4]` as text have several readings, and a wrong guess would be scored
by the wrong verifier for a whole training run.
"""

import difflib
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import TypeGuard

from firsthand.errors import BadRow, shown
from firsthand.records import KINDS, Answer, Box, Choice, Digit, Expression, OpenEnded

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_OTHER_NAMES = {
    **dict.fromkeys(("number", "numeric", "int", "integer", "float"), "digit"),
    **dict.fromkeys(("mcq", "multiple choice", "option", "letter"), "choice"),
    **dict.fromkeys(("maths", "latex", "expression"), "math"),
    **dict.fromkeys(("bbox", "bounding box", "iou"), "box"),
    **dict.fromkeys(("text", "free", "open-ended", "caption"), "open"),
}
"""What other data sets call the kinds; only to guess what a user meant."""


def typed_answer(value: object, kind: str | None, options: Sequence[str]) -> Answer:
    """The gold answer as a record; `kind` None infers it. Raises BadRow when the answer is not of its kind."""
    if isinstance(value, str) and not value.strip():
        raise BadRow("answer", "an answer", "empty text", "fill it in: every row needs a gold answer")
    kind = known_kind(kind) if kind is not None else _inferred(value, options)
    if options and kind != "choice":
        remedy = "leave the options out, or use kind `choice`"
        raise BadRow("kind", "`choice` for a row with options", f"`{kind}` and {len(options)} options", remedy)
    if kind == "choice":
        return Choice(letter=_letter(value, options), options=tuple(options))
    if kind == "box":
        return Box(xyxy=_corners(value))
    text = plain_text(value)
    if text is None:
        raise BadRow("answer", f"text or a number for kind `{kind}`", shown(value), "write one answer, as text")
    if kind == "digit":
        return Digit(value=_digits(text))
    return Expression(latex=text) if kind == "math" else OpenEnded(reference=text)


def known_kind(kind: object) -> str:
    """The kind, if it is one of `records.KINDS`. Raises BadRow naming the nearest one."""
    if isinstance(kind, str) and kind in KINDS:
        return kind
    word = str(kind).strip().lower()
    near = difflib.get_close_matches(word, [*KINDS, *_OTHER_NAMES], n=1)
    remedy = f"did you mean `{_OTHER_NAMES.get(near[0], near[0])}`?" if near else "use one of these"
    raise BadRow("kind", f"one of {', '.join(KINDS)}", shown(kind), remedy)


def plain_text(value: object) -> str | None:
    """Text without white space around it, or a number in plain decimals; None for anything else.

    Data frames turn whole numbers into floats as soon as one is missing, so 7.0 is written `7`; 1e-07 as `0.0000001`.
    """
    if isinstance(value, str):
        return value.strip()
    if not _is_number(value):
        return None
    number = Decimal(str(value))
    return format(number.to_integral_value() if number == number.to_integral_value() else number, "f")


def _inferred(value: object, options: Sequence[str]) -> str:
    if options:
        return "choice"
    if isinstance(value, list | tuple) and len(value) == 4 and all(_is_number(v) for v in value):
        return "box"
    if _is_number(value) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        return "digit"
    if isinstance(value, str) and _is_latex(value):
        return "math"
    remedy = f"add a column `kind` ({', '.join(KINDS)}), or give one kind for all rows"
    raise BadRow("answer", "an answer whose kind is beyond doubt, or a `kind`", shown(value), remedy)


def _is_number(value: object) -> TypeGuard[int | float | Decimal]:
    # The bound also refuses infinities, NaN, and integers that no float can hold.
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and -1e300 < value < 1e300


def _is_latex(text: str) -> bool:
    """A LaTeX command, and no words around it: a worked solution in prose is not an answer."""
    bare = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    return re.search(r"\\[A-Za-z]+", text) is not None and re.search(r"[A-Za-z]{2,}", bare) is None


def _digits(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        remedy = "write plain digits such as 1000 or -2.5, or use kind `math` or `open`"
        raise BadRow("answer", "a number for kind `digit`", shown(text), remedy)
    return text


def _letter(value: object, options: Sequence[str]) -> str:
    """The letter, given as one (`b`, `(B)`, `B.`) or as the text of exactly one option."""
    last = LETTERS[len(options) - 1] if options else "Z"
    expected = f"a letter from A to {last}" + (", or the text of one option" if options else "")
    if not isinstance(value, str):
        remedy = "write the letter: whether a number counts options from 0 or from 1 cannot be known"
        raise BadRow("answer", expected, shown(value), remedy)
    text = value.strip()
    readings = {letter for letter, option in zip(LETTERS[: len(options)], options, strict=True) if option == text}
    as_letter = _LETTER.fullmatch(text)
    if as_letter and as_letter.group(1).upper() <= last:
        readings.add(as_letter.group(1).upper())
    if len(readings) == 1:
        return readings.pop()
    if readings:
        got = f"{shown(text)}, which can mean {' or '.join(sorted(readings))}"
        raise BadRow("answer", expected, got, "write `(A)`, with brackets, to mean the letter")
    got = f"{shown(text)}, which is none of {len(options)} options" if options else shown(text)
    raise BadRow("answer", expected, got, "correct the answer or the options")


def _corners(value: object) -> tuple[float, float, float, float]:
    expected = "a box [x1, y1, x2, y2] with x1 < x2 and y1 < y2"
    numbers = value
    if isinstance(value, str):
        try:
            numbers = json.loads(value)
        except (ValueError, RecursionError) as broken:
            raise BadRow("answer", expected, shown(value), "write four numbers in brackets") from broken
    if not isinstance(numbers, list | tuple) or len(numbers) != 4 or not all(_is_number(n) for n in numbers):
        raise BadRow("answer", expected, shown(value), "write four numbers in brackets")
    x1, y1, x2, y2 = (float(n) for n in numbers)
    if x1 >= x2 or y1 >= y2:
        remedy = "order the corners; [x, y, width, height] must become [x, y, x + width, y + height]"
        raise BadRow("answer", expected, shown(value), remedy)
    return x1, y1, x2, y2
