"""Ground truth as data files hold it -> typed answers. One parser for every reader of a user's data.

Where the kind is known, everything is accepted that a verifier of that kind reads in a reply, besides numbers as
numbers, boxes as lists, and lists of one that were written as text (`"['B']"`). Where the data does not say the kind,
it is inferred only if one reading is possible:

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
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeGuard, cast, get_args

from firsthand.answers.boxes import are_shares, area, leaves_picture, read_boxes, scale_to_truth
from firsthand.answers.letters import LETTERS, read_letter, read_letters
from firsthand.answers.literals import DEEPEST_LITERAL, literal
from firsthand.answers.numbers import read_number
from firsthand.answers.stated import CLOSE, LONGEST_ANSWER, split_last_block
from firsthand.errors import BadRow, shown
from firsthand.records import (
    KINDS,
    Answer,
    Box,
    Choice,
    Coordinates,
    Corners,
    Digit,
    Expression,
    Kind,
    Letters,
    OpenEnded,
    Text,
)

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_LONGEST_TEXT = 300
"""Characters of a short text (ours)."""
_OTHER_NAMES = {
    **dict.fromkeys(("number", "numeric", "int", "integer", "float"), "digit"),
    **dict.fromkeys(("mcq", "multiple choice", "option", "letter"), "choice"),
    **dict.fromkeys(("multi-select", "multiple answers", "multi"), "letters"),
    **dict.fromkeys(("maths", "latex", "expression"), "math"),
    **dict.fromkeys(("bbox", "bounding box", "iou"), "box"),
    **dict.fromkeys(("word", "words", "short", "string", "yes/no"), "text"),
    **dict.fromkeys(("free", "free text", "open-ended", "caption"), "open"),
}
"""What other data sets call the kinds; only to guess what a user meant."""
BESIDE: dict[str, tuple[str, ...]] = {
    "digit": ("tolerance",),
    "box": ("size", "coordinates", "answer_coordinates"),
    "text": ("aliases",),
}
"""Columns that say more of a gold answer, by its kind."""


def typed_answer(
    value: object,
    kind: object = None,
    options: object = (),
    size: object = None,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Answer:
    """The ground truth of a row as a record; `kind` None infers it.

    `options` are the texts of a choice in letter order, `size` is [width, height] of a box's picture in pixels, and
    `beside` the row's other columns, of which those of `BESIDE` are read. Raises BadRow, in the columns `answer`,
    `kind`, `choices`, `size` and those, when a value is not of its kind or has two readings.
    """
    texts = option_texts(options)
    value = _without_block(value)
    if isinstance(value, str) and not value.strip():
        raise BadRow("answer", "an answer", "empty text", "fill it in: every row needs a gold answer")
    kind = known_kind(kind) if kind is not None else _inferred(value, texts)
    if texts and kind not in ("choice", "letters"):
        remedy = "leave the options out, or use kind `choice`, or `letters` where several may be right"
        raise BadRow("kind", "`choice` for a row with options", f"`{kind}` and {len(texts)} options", remedy)
    if kind == "box":
        return _box(value, size if size is not None else beside.get("size"), beside)
    if kind == "text":
        return _text(value, beside.get("aliases"))
    if kind == "letters":
        return _letters(value, texts)
    text = cell_text(found := _only_one(value, kind))
    if not text:
        raise BadRow("answer", f"text or a number for kind `{kind}`", shown(value), "write one answer, as text")
    if kind == "choice":
        return Choice(letter=_letter(text, texts, is_text=isinstance(found, str)), options=texts)
    if kind == "digit":
        if len(text) > LONGEST_ANSWER or read_number(text) is None:
            remedy = "write one number, with at most its unit, or use kind `math` or `text`"
            raise BadRow("answer", "a number for kind `digit`", shown(text), remedy)
        return Digit(value=text, tolerance=_tolerance(beside.get("tolerance")))
    return Expression(latex=text) if kind == "math" else OpenEnded(reference=text)


def known_kind(kind: object) -> Kind:
    """The kind, if it is one of `records.KINDS`. Raises BadRow naming the nearest one."""
    for known in KINDS:
        if kind == known:
            return known
    word = str(kind).strip().lower()
    near = difflib.get_close_matches(word, [*KINDS, *_OTHER_NAMES], n=1)
    remedy = f"did you mean `{_OTHER_NAMES.get(near[0], near[0])}`?" if near else "use one of these"
    raise BadRow("kind", f"one of {', '.join(KINDS)}", shown(kind), remedy)


def option_texts(options: object, column: str = "choices") -> tuple[str, ...]:
    """The options of a choice, given as a list or as a stringified one; none when there are none. Raises BadRow."""
    found = literal(options)
    if found is None:
        return ()
    texts = [cell_text(option) for option in found] if isinstance(found, list | tuple) else [None]
    if None in texts:
        raise BadRow(column, "a list of texts", shown(options), 'write a list such as ["red", "blue"]')
    return tuple(text for text in texts if text is not None)


def cell_text(value: object) -> str | None:
    """Text without white space around it, or a number in plain decimals; None for anything else.

    Data frames turn whole numbers into floats as soon as one is missing, so 7.0 is written `7`; 1e-07 as `0.0000001`.
    """
    if isinstance(value, str):
        return value.strip()
    if not _is_number(value):
        return None
    number = Decimal(str(value))
    return format(number.to_integral_value() if number == number.to_integral_value() else number, "f")


def _without_block(value: object) -> object:
    """An answer without the tags that it has in a reply; with anything before or behind them it stays."""
    block = split_last_block(value, "answer") if isinstance(value, str) else None
    return value if block is None or block[0].strip() or CLOSE in block[1] else block[1]


def _only_one(value: object, kind: str) -> object:
    """What a list or an object of one holds, also if it was written as text: `"['B']"` -> `B`.

    In maths and words, `[5]` that was written as text is an expression: there only a list of text is a list of one.
    """
    found = value
    for _ in range(DEEPEST_LITERAL):
        held = literal(found)
        parts = list(held.values()) if isinstance(held, dict) else held
        if not isinstance(parts, list | tuple) or len(parts) != 1:
            break
        if isinstance(found, str) and kind in ("math", "open") and not isinstance(parts[0], str):
            break
        found = parts[0]
    return found


def _inferred(value: object, options: Sequence[str]) -> Kind:
    if options:
        return "choice"
    if _is_four_numbers(value):
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
    other = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    return re.search(r"\\[A-Za-z]+", text) is not None and re.search(r"[A-Za-z]{2,}", other) is None


def _letter(text: str, options: Sequence[str], *, is_text: bool) -> str:
    """The letter, given as one (`b`, `(B)`, `B. the text`) or as the text of exactly one option."""
    last = LETTERS[min(len(options), len(LETTERS)) - 1] if options else "Z"
    expected = f"a letter from A to {last}" + (", or the text of one option" if options else "")
    readings = {letter for letter, option in zip(LETTERS, options, strict=False) if option == text}
    if not is_text and not readings:
        remedy = "write the letter: whether a number counts options from 0 or from 1 cannot be known"
        raise BadRow("answer", expected, text, remedy)
    as_letter = _LETTER.fullmatch(text)
    if as_letter and as_letter.group(1).upper() <= last:
        readings.add(as_letter.group(1).upper())
    if len(readings) > 1:
        got = f"{shown(text)}, which can mean {' or '.join(sorted(readings))}"
        raise BadRow("answer", expected, got, "write `(A)`, with brackets, to mean the letter")
    if readings:
        return readings.pop()
    letter = read_letter(text, tuple(options))[0] if len(text) <= LONGEST_ANSWER else None
    if letter is None:
        got = f"{shown(text)}, which is none of {len(options)} options" if options else shown(text)
        raise BadRow("answer", expected, got, "correct the answer or the options")
    return letter


def _letters(value: object, options: tuple[str, ...]) -> Letters:
    """Several letters, as a list of letters or of options' texts, or in one text: `AC`, `A,C`, `A/C`, `A and C`."""
    found = literal(value)
    parts = list(found) if isinstance(found, list | tuple) else [found]
    texts = [cell_text(part) for part in parts]
    got: set[str] = set()
    for text, part in zip(texts, parts, strict=True):
        named = read_letters(_in_capitals(text)) if text and len(text) <= LONGEST_ANSWER else None
        if text and ((options and text in options) or named is None):
            got.add(_letter(text, options, is_text=isinstance(part, str)))
        else:
            got |= named or set()
    last = LETTERS[min(len(options), len(LETTERS)) - 1] if options else "Z"
    if not got or max(got) > last:
        raise BadRow("answer", f"letters from A to {last}, such as `A, C`", shown(value), "correct the answer")
    return Letters(letters="".join(sorted(got)), options=options)


def _in_capitals(text: str) -> str:
    """`a/c` -> `A,C`; words stay."""
    return re.sub(r"(?<![A-Za-z])[a-z](?![A-Za-z])", lambda letter: letter[0].upper(), text.replace("/", ","))


def _text(value: object, aliases: object) -> Text:
    """A short text with its other spellings. Of many people's answers those that three gave: VQA's full accuracy."""
    said = _texts("answer", value)
    counts = Counter(said)
    often = [text for text, number in counts.most_common() if number >= min(3, counts.most_common(1)[0][1])]
    also = [] if aliases is None else _texts("aliases", aliases)
    return Text(value=often[0], aliases=tuple(dict.fromkeys(text for text in [*often[1:], *also] if text != often[0])))


def _texts(column: str, value: object) -> list[str]:
    found = literal(value)
    parts = list(found) if isinstance(found, list | tuple) else [found]
    texts = []
    for part in parts:
        said = part.get("answer") if isinstance(part, dict) else part  # VQA: {"answer": ..., "answer_id": ...}
        text = {True: "yes", False: "no"}[said] if isinstance(said, bool) else cell_text(said)
        if not text or len(text) > _LONGEST_TEXT:
            expected = f"a text of at most {_LONGEST_TEXT} characters, or a list of such texts"
            raise BadRow(column, expected, shown(value), "correct it, or use kind `open`", "bad_answer")
        texts.append(text)
    if not texts:
        raise BadRow(column, "a text, or a list of texts", shown(value), "fill it in", "bad_answer")
    return texts


def _tolerance(value: object) -> float | None:
    if value is None:
        return None
    number = float(value) if _is_number(value) else -1.0
    if not 0 <= number < 1:
        remedy = "write 0.05 for 5 %, or leave it out"
        raise BadRow("tolerance", "a share from 0 to below 1", shown(value), remedy, "bad_answer")
    return number


def _box(value: object, size: object, beside: Mapping[str, Any]) -> Box:
    expected = "boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2"
    boxes = _boxes(value)
    if not boxes:
        raise BadRow("answer", expected, shown(value), "write four numbers in brackets")
    if any(area(box) <= 0 for box in boxes):
        remedy = "order the corners; [x, y, width, height] must become [x, y, x + width, y + height]"
        raise BadRow("answer", expected, shown(value), remedy)
    replies, own = _unit("coordinates", beside), _unit("answer_coordinates", beside)
    picture = _size(size)
    if own == "shares" and not all(are_shares(box) for box in boxes):
        raise BadRow("answer", "shares of the picture from 0 to 1", shown(value), "correct it, or `answer_coordinates`")
    if own == "thousand":
        boxes = _from_thousand(boxes, picture, value)
    truth = Box(xyxy=boxes[0] if len(boxes) == 1 else tuple(boxes), size=picture, coordinates=replies)
    if replies not in (None, "auto") and scale_to_truth(truth, replies) is None:
        got = f"`{replies}` for an answer in other units, and no size"
        raise BadRow("coordinates", "the picture's size", got, "give `size` as [width, height]", "bad_answer")
    if leaves_picture(boxes, truth, "auto"):
        got = f"{truth.text} in a picture of {picture}" if picture else truth.text
        remedy = "correct it; of numbers from 0 to 1000, say so in a column `answer_coordinates`: thousand"
        raise BadRow("answer", "boxes within their picture", got, remedy)
    return truth


def _from_thousand(boxes: list[Corners], size: tuple[int, int] | None, value: object) -> list[Corners]:
    if size is None:
        got = "`thousand` and no size"
        raise BadRow("answer_coordinates", "the picture's size", got, "give `size` as [width, height]", "bad_answer")
    if any(min(box) < 0 or max(box) > 1000 for box in boxes):
        raise BadRow("answer", "thousandths of the picture from 0 to 1000", shown(value), "correct it")
    x, y = size[0] / 1000, size[1] / 1000
    return [(box[0] * x, box[1] * y, box[2] * x, box[3] * y) for box in boxes]


def _unit(column: str, beside: Mapping[str, Any]) -> Coordinates | None:
    value = beside.get(column)
    if value is None:
        return None
    if value not in get_args(Coordinates):
        expected = f"one of {', '.join(get_args(Coordinates))}"
        raise BadRow(column, expected, shown(value), "correct it, or leave it out", "bad_answer")
    return cast(Coordinates, value)


def _boxes(value: object) -> list[Corners]:
    """One box, or several, from numbers or, as in a reply, from text."""
    found = literal(value)
    for boxes in ([found], found):
        if isinstance(boxes, list | tuple) and boxes and all(_is_four_numbers(box) for box in boxes):
            return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return read_boxes(text) if len(text) <= LONGEST_ANSWER else []


def _is_four_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 4 and all(_is_number(n) for n in value)


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value):
        return value[0], value[1]
    remedy = "correct it or leave it out"
    raise BadRow("size", "[width, height] of the picture in pixels", shown(value), remedy, "bad_answer")
