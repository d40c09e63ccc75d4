"""Cells of data files: lists and objects that were written as text, as JSON or as Python shows them; and plain text."""

import ast
import json
import re
from decimal import Decimal
from itertools import accumulate
from typing import TypeGuard

_LONGEST_LITERAL = 50_000
"""Characters of a stringified value that are parsed (ours)."""
DEEPEST_LITERAL = 16
"""Brackets inside each other (ours): Python's parser can run out of stack."""

_VALUE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|True|False|None|true|false|null")
_SHAPE = re.compile(r"(?!.*0\s*0)[\s0\[\](){},:]*+", re.DOTALL)
# One that is never closed goes to the end: looking for each quote's partner anew would take the square of the length.
_STRING = re.compile(r"'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)|\"(?:[^\"\\]++|\\.)*+(?:\"|\\?\Z)", re.DOTALL)


def literal(value: object) -> object:
    """A list or object that was written as text; everything else as it is, LaTeX and intervals included."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{") or len(value) > _LONGEST_LITERAL:
        return value
    text = value.strip()
    if not _is_plain(text):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found: object = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        return found if isinstance(found, list | dict) else value
    return value


def cell_text(value: object) -> str | None:
    """Text without white space around it, or a number in plain decimals; None for anything else.

    Data frames turn whole numbers into floats as soon as one is missing, so 7.0 is written `7`; 1e-07 as `0.0000001`.
    """
    if isinstance(value, str):
        return value.strip()
    if not is_number(value):
        return None
    number = Decimal(str(value))
    return format(number.to_integral_value() if number == number.to_integral_value() else number, "f")


def is_number(value: object) -> TypeGuard[int | float | Decimal]:
    """Whether a cell holds a number, and one that a float can hold: no infinity, NaN or truth value."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and -1e300 < value < 1e300


def are_four_numbers(value: object) -> TypeGuard[list[int | float] | tuple[int | float, ...]]:
    """Whether a cell holds what may be a box."""
    return isinstance(value, list | tuple) and len(value) == 4 and all(is_number(n) for n in value)


def _is_plain(text: str) -> bool:
    """Nothing but values in few brackets: sums, signs and names can nest as deep as the text is long."""
    skeleton = _VALUE.sub("0", _STRING.sub("0", text))
    depth = list(accumulate((sign in "[({") - (sign in "])}") for sign in skeleton))
    return _SHAPE.fullmatch(skeleton) is not None and max(depth) <= DEEPEST_LITERAL
