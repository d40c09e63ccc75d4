"""Gold answers from the values of data files: text, numbers and lists, in the spellings that real data sets use.

Everything that a verifier reads in a reply is accepted as gold, and what is stringified (`"['B']"`) is unwrapped.
"""

import ast
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from firsthand.answers.boxes import area, read_boxes
from firsthand.answers.letters import read_letter
from firsthand.answers.numbers import read_number
from firsthand.errors import DataError
from firsthand.records import KINDS, Answer, Box, Choice, Corners, Digit, Expression, OpenEnded

LONGEST_LITERAL = 10_000
"""Characters of a stringified value that are parsed (ours)."""


def typed_gold(value: object, kind: object, options: object = (), size: object = None) -> Answer:
    """The gold answer of a row as a record. Raises DataError when it is not of its kind."""
    if kind not in KINDS:
        raise DataError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}; write one of these")
    texts = texts_of(options)
    if texts and kind != "choice":
        raise DataError(f"choices: expected them only in rows of kind `choice`, got {len(texts)} in a row of {kind!r}")
    if kind == "box":
        return box_of(value, size)
    text = text_of(value)
    if kind == "choice":
        return Choice(letter=_letter(text, texts), options=texts)
    if kind == "digit" and read_number(text) is None:
        raise DataError(f"answer: expected one number, got {text!r}; write it in digits, or use another kind")
    return (
        Digit(value=text)
        if kind == "digit"
        else Expression(latex=text)
        if kind == "math"
        else OpenEnded(reference=text)
    )


def text_of(value: object) -> str:
    """One answer as text: numbers in plain decimals (7.0 is `7`), stringified lists of one unwrapped."""
    value = literal(value)
    if isinstance(value, list | tuple) and len(value) == 1:
        return text_of(value[0])
    if isinstance(value, dict) and len(value) == 1:
        return text_of(next(iter(value.values())))
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        number = Decimal(str(value))
        return format(number.to_integral_value() if number == number.to_integral_value() else number, "f")
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise DataError(f"answer: expected text or a number, got {value!r}; fill it in")


def texts_of(options: object) -> tuple[str, ...]:
    """The options of a choice, given as a list or as a stringified one."""
    found = literal(options)
    if found is None or found == ():
        return ()
    if not isinstance(found, list | tuple) or not all(isinstance(o, str | int | float) for o in found):
        raise DataError(f'choices: expected a list of texts, got {found!r}; write a list such as ["red", "blue"]')
    return tuple(text_of(option) if not isinstance(option, str) else option.strip() for option in found)


def literal(value: object) -> object:
    """A list or mapping that was written as text, in JSON or as Python shows it; everything else as it is.

    LaTeX such as `\\{1, 2\\}` and intervals such as `[1, 2)` are no literals and stay text.
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{") or len(value) > LONGEST_LITERAL:
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found: Any = parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list | dict) else value
    return value


def box_of(value: object, size: object = None) -> Box:
    """One box, or several, from numbers or text. Raises DataError when a box has no area."""
    boxes = read_boxes(value if isinstance(value, str) else json.dumps(value))
    if not boxes or any(area(box) <= 0 for box in boxes):
        raise DataError(
            f"answer: expected boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2, got {value!r}; "
            "[x, y, width, height] must become [x, y, x + width, y + height]"
        )
    xyxy: Corners | tuple[Corners, ...] = boxes[0] if len(boxes) == 1 else tuple(boxes)
    return Box(xyxy=xyxy, size=_size(size))


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value):
        return value[0], value[1]
    raise DataError(
        f"size: expected [width, height] of the picture in pixels, got {value!r}; correct it or leave it out"
    )


def _letter(text: str, options: Sequence[str]) -> str:
    reading = read_letter(text, tuple(options))
    if reading.letter is None:
        raise DataError(f"answer: expected an option letter, got {text!r} ({reading.why}); correct it or the choices")
    return reading.letter
