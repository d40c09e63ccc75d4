"""Values that were written as text: lists and objects as JSON, or as Python shows them."""

import ast
import json
import re
from itertools import accumulate

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


def _is_plain(text: str) -> bool:
    """Nothing but values in few brackets: sums, signs and names can nest as deep as the text is long."""
    skeleton = _VALUE.sub("0", _STRING.sub("0", text))
    depth = list(accumulate((sign in "[({") - (sign in "])}") for sign in skeleton))
    return _SHAPE.fullmatch(skeleton) is not None and max(depth) <= DEEPEST_LITERAL
