"""Ground truth as data files hold it -> typed answers. One parser for every reader of a user's data.

Where the kind is known, everything is accepted that a verifier of that kind reads in a reply, besides numbers as
numbers, boxes as lists, lists of one that were written as text (`"['B']"`), and worked solutions that say what their
answer is: behind `####`, in a box, or as `the answer is 5`. Where the data does not say the kind, it is inferred only
if one reading is possible:

    options are given                              -> choice
    a list of four numbers                         -> box
    a number, or text that is one (`-3`, `2.5`)    -> digit
    text that is one LaTeX expression (`\\frac12`)  -> math
    anything else                                  -> refused, naming the kind that would fit

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
from typing import Any, cast

from firsthand.answers.letters import LETTERS, read_letter, read_letters
from firsthand.answers.literals import DEEPEST_LITERAL, are_four_numbers, cell_text, is_number, literal
from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import read_number
from firsthand.answers.options import option_texts
from firsthand.answers.stated import CLOSE, LONGEST_ANSWER, read_answer, split_last_block
from firsthand.answers.text import yes_or_no_of
from firsthand.answers.true_boxes import boxes_of, true_box
from firsthand.errors import BadRow, shown
from firsthand.records import KINDS, Answer, Choice, Digit, Environment, Expression, Kind, Letters, OpenEnded, Text

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_COUNTS = (
    'write the letter, or say how the number counts: fields: {answer: "choices[answer]"} from 0, '
    '"choices[answer-1]" from 1'
)
_POWER_OF_TEN = re.compile(
    r"([+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?)\s?(?:[eE]|(?:\\times|\\cdot|[x×*·])\s?10\s?\^)\{?([+-]?[0-9]{1,2})\}?"
)
_MATHS = re.compile(
    r"\\[A-Za-z]|[\^=<>≤≥√∪∞]|[0-9][A-Za-z(]|[(\[{]\s?[-+]?[0-9A-Za-z]+\s?,|(?<![A-Za-z])(?:[A-Za-z]|[0-9]+)\s?[-+*/]"
    r"\s?(?:[A-Za-z]|[0-9]+)(?![A-Za-z])"
)
"""Signs of an expression; only to guess which kind would fit."""
_LONGEST_TEXT = 300
"""Characters of a short text (ours)."""
_LONGEST_SOLUTION = 20_000
"""Characters of a worked solution in which the answer is looked for (ours)."""
_AGREED = 3
"""People who must have given an answer before it counts as right, where many were asked: VQA's full accuracy."""
_CHOSEN = tuple(kind for kind in KINDS if kind != "environment")
"""The kinds that a user may mean; rows of environments are not written by hand."""
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
    "environment": ("environment", "task", "entry"),
}
"""Columns that say more of a gold answer, by its kind."""


def typed_answer(
    value: object,
    kind: object = None,
    options: object = (),
    size: object = None,
    beside: Mapping[str, Any] = MappingProxyType({}),
    *,
    distinct: bool = True,
) -> Answer:
    """The ground truth of a row as a record; `kind` None infers it.

    `options` are the texts of a choice in letter order, which must differ if `distinct`; `size` is [width, height] of a
    box's picture in pixels, and `beside` holds the row's other columns, of which those of `BESIDE` are read. Raises
    BadRow, in the columns `answer`, `kind`, `choices` and those, when a value is not of its kind or has two readings.
    """
    texts = option_texts(options, distinct=distinct)
    value = _without_block(value)
    if isinstance(value, str) and not value.strip():
        raise BadRow("answer", "an answer", "empty text", "fill it in: every row needs a gold answer")
    kind = known_kind(kind) if kind is not None else _inferred(value, texts)
    if texts and kind not in ("choice", "letters"):
        remedy = "leave the options out, or use kind `choice`, or `letters` where several may be right"
        raise BadRow("kind", "`choice` for a row with options", f"`{kind}` and {len(texts)} options", remedy)
    if kind == "box":
        return true_box(value, size if size is not None else beside.get("size"), beside)
    if kind == "text":
        return _text(value, beside.get("aliases"))
    if kind == "environment":
        return _of_environment(value, beside)
    if kind == "letters":
        return Letters(letters=_letters(value, texts), options=texts)
    found = _only_one(value, kind)
    if kind == "choice" and isinstance(found, bool):  # JSON's true among yes and no
        named = [text for text in texts if yes_or_no_of(text) == ("yes" if found else "no")]
        found = named[0] if len(named) == 1 else found
    text = cell_text(found)
    if not text:
        several = kind == "choice" and isinstance(literal(value), list | tuple)
        remedy = "use kind `letters` where several options are right" if several else "write one answer, as text"
        raise BadRow("answer", f"text or a number for kind `{kind}`", shown(value), remedy)
    if kind == "choice":
        return Choice(letter=_letter(text, texts, is_text=isinstance(found, str)), options=texts)
    if kind == "digit":
        return Digit(value=_digits(text), tolerance=_tolerance(beside.get("tolerance")))
    return Expression(latex=_expression(text)) if kind == "math" else OpenEnded(reference=text)


def columns_beside(answer: Answer) -> dict[str, Any]:
    """The columns of `BESIDE` by which `typed_answer` makes the same record again, as JSON; none that says nothing."""
    held = answer.model_dump(mode="json", include=set(BESIDE.get(answer.kind, ())))
    return {name: value for name, value in held.items() if value}


def known_kind(kind: object) -> Kind:
    """The kind, if it is one of `records.KINDS`. Raises BadRow naming the nearest one."""
    for known in KINDS:
        if kind == known:
            return known
    word = str(kind).strip().lower()
    near = difflib.get_close_matches(word, [*_CHOSEN, *_OTHER_NAMES], n=1)
    remedy = f"did you mean `{_OTHER_NAMES.get(near[0], near[0])}`?" if near else "use one of these"
    raise BadRow("kind", f"one of {', '.join(_CHOSEN)}", shown(kind), remedy)


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


def _concluded(text: str) -> str | None:
    """What a worked solution says is its answer: behind `####` (GSM8K), in its box, or where it states it."""
    if len(text) > _LONGEST_SOLUTION:
        return None
    behind = text.rpartition("####")[2].strip() if "####" in text else ""
    if behind and "\n" not in behind:
        return behind
    said = read_answer(text, "stated")[0]
    return said if said and said != text.strip() else None


def _inferred(value: object, options: Sequence[str]) -> Kind:
    if options:
        return "choice"
    if are_four_numbers(value):
        return "box"
    if is_number(value) or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        return "digit"
    if isinstance(value, str) and _is_latex(value):
        return "math"
    likely = _likely(value)
    column = f"a column `kind` ({', '.join(_CHOSEN)})" if likely is None else f"a column `kind`: {likely} would fit"
    if likely is not None and isinstance(value, str) and (said := _concluded(value)) is not None:
        column += f" what this solution concludes, {shown(said)}"
    remedy = f"add {column}, or give one kind for all rows (`kind` in a recipe's data, --kind)"
    raise BadRow("answer", "an answer whose kind is beyond doubt, or a `kind`", shown(value), remedy)


def _likely(value: object) -> str | None:
    """The kind that would fit, in the words of a remedy; None where that is as unclear."""
    held = literal(value)
    if isinstance(value, bool):
        return "`text`"
    if isinstance(held, list | tuple | dict) and (boxes_of(value) or not held):
        return "`box`" if held else None
    if isinstance(held, list | tuple):
        return "`letters`" if _are_letters(held) else "`text`" if all(isinstance(v, str) for v in held) else "`math`"
    if not isinstance(value, str):
        return None
    if (said := _concluded(value)) is not None:
        return _likely(said)
    if len(value) > LONGEST_ANSWER:
        return "`open`"
    text = without_markup(value)
    if boxes_of(value):
        return "`box`"
    if _number_in(text) is not None:
        return "`digit`"
    if re.fullmatch(r"[A-Z]", text):
        return "`choice`, or `text`,"
    if _are_letters([text]):
        return "`letters`"
    if _MATHS.search(text):
        return "`math`"
    return "`text`" if len(text) <= _LONGEST_TEXT and len(text.split()) <= 5 else "`open`"


def _are_letters(parts: Sequence[object]) -> bool:
    """Whether parts name several letters, in order: `AC`, but not `CAT`."""
    texts = [part for part in parts if isinstance(part, str) and len(part) <= _LONGEST_TEXT]
    named = [text for text in texts if read_letters(_in_capitals(text))]
    letters = re.sub(r"[^A-Z]|\band\b", "", "".join(map(_in_capitals, named)))
    return len(named) == len(parts) and 1 < len(letters) <= 8 and "".join(sorted(set(letters))) == letters


def _is_latex(text: str) -> bool:
    """A LaTeX command, and no words around it: a worked solution in prose is not an answer."""
    other = re.sub(r"\\text\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    return re.search(r"\\[A-Za-z]+", text) is not None and re.search(r"[A-Za-z]{2,}", other) is None


def _digits(text: str) -> str:
    """One number as a reply may write it; powers of ten, which replies may not, in plain decimals."""
    for candidate in (text, _concluded(text)):
        if candidate is not None and (number := _number_in(candidate)) is not None:
            return number
    remedy = "write one number, with at most its unit, or use kind `math` or `text`"
    raise BadRow("answer", "a number for kind `digit`", shown(text), remedy)


def _number_in(text: str) -> str | None:
    if len(text) > LONGEST_ANSWER:
        return None
    power = _POWER_OF_TEN.fullmatch(without_markup(text).replace("\u2212", "-"))
    if power:
        return cell_text(Decimal(power[1]).scaleb(int(power[2])))
    return text if read_number(text) is not None else None


def _expression(text: str) -> str:
    """The expression, without the sentence around its box: `2+3 = \\boxed{5}.` -> `5`."""
    if len(text) > _LONGEST_SOLUTION or not ("####" in text or "\\boxed" in without_markup(text)):
        return text
    return _concluded(text) or text


def _letter(text: str, options: Sequence[str], *, is_text: bool) -> str:
    """The letter, given as one (`b`, `(B)`, `B. the text`) or as the text of exactly one option."""
    last = LETTERS[min(len(options), len(LETTERS)) - 1] if options else "Z"
    expected = f"a letter from A to {last}" + (", or the text of one option" if options else "")
    readings = {letter for letter, option in zip(LETTERS, options, strict=False) if option == text}
    if not is_text and not readings:
        raise BadRow("answer", expected, text, _COUNTS)
    as_letter = _LETTER.fullmatch(text)
    if as_letter and as_letter.group(1).upper() <= last:
        readings.add(as_letter.group(1).upper())
    if len(readings) > 1:
        got = f"{shown(text)}, which can mean {' or '.join(sorted(readings))}"
        raise BadRow("answer", expected, got, "write `(A)`, with brackets, to mean the letter")
    if readings:
        return readings.pop()
    for candidate in (text, _concluded(text)):
        letter = read_letter(candidate, tuple(options))[0] if candidate and len(candidate) <= LONGEST_ANSWER else None
        if letter is not None:
            return letter
    got = f"{shown(text)}, which is none of {len(options)} options" if options else shown(text)
    remedy = "use kind `letters` where several options are right" if _are_letters([text]) else ""
    remedy = _COUNTS if text.isdecimal() and options else remedy
    raise BadRow("answer", expected, got, remedy or "correct the answer or the options")


def _letters(value: object, options: tuple[str, ...]) -> str:
    """Several letters, as a list of letters or of options' texts, or in one text: `AC`, `A,C`, `A/C`, `A and C`."""
    last = LETTERS[min(len(options), len(LETTERS)) - 1] if options else "Z"
    expected = f"one or several letters from A to {last}, such as `A` or `A, C`"
    held = literal(value)
    found: set[str] = set()
    for part in held if isinstance(held, list | tuple) else [held]:
        text = cell_text(part) or ""
        named = read_letters(_in_capitals(text)) if isinstance(part, str) and len(text) <= LONGEST_ANSWER else None
        if named is None and not options:
            raise BadRow("answer", expected, shown(value), "correct the answer")
        found |= named if named and text not in options else {_letter(text, options, is_text=isinstance(part, str))}
    if not found or max(found) > last:
        raise BadRow("answer", expected, shown(value), "correct the answer")
    return "".join(sorted(found))


def _in_capitals(text: str) -> str:
    """`a/c` -> `A,C`; words stay."""
    return re.sub(r"(?<![A-Za-z])[a-z](?![A-Za-z])", lambda letter: letter[0].upper(), text.replace("/", ","))


def _text(value: object, aliases: object) -> Text:
    """A short text with its other spellings.

    Of a list in which an answer comes `_AGREED` times, as VQA's ten, only such answers are right.
    """
    counts = Counter(_texts("answer", value))
    enough = min(_AGREED, max(counts.values()))
    said = [text for text, times in counts.most_common() if times >= enough]
    also = [] if aliases is None else _texts("aliases", aliases)
    return Text(value=said[0], aliases=tuple(text for text in dict.fromkeys([*said, *also]) if text != said[0]))


def _of_environment(value: object, beside: Mapping[str, Any]) -> Environment:
    """As an example of an environment was written: its scorer reads what stands beside its answer."""
    told = {column: beside.get(column) for column in BESIDE["environment"]}
    for column, text in {"answer": value, **told}.items():
        if not isinstance(text, str) or (column == "entry" and not _is_entry(text)):
            expected = "JSON with `settings` and `metadata`" if column == "entry" else "text"
            remedy = "write it as the example of the environment has it, or use another kind"
            raise BadRow(column, expected, "nothing" if text is None else shown(text), remedy, "bad_answer")
    return Environment(value=cast(str, value), **told)


def _is_entry(text: str) -> bool:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and entry.keys() == {"settings", "metadata"}


def _texts(column: str, value: object) -> list[str]:
    held = literal(value)
    parts = [held.get("answer")] if isinstance(held, dict) else held
    if not isinstance(parts, list | tuple):
        parts = [value]
    elif isinstance(value, str) and not all(isinstance(part, str | dict) for part in parts):
        parts = [value]  # `[1, 2]` is one text
    texts = []
    for part in parts:
        said = part.get("answer") if isinstance(part, dict) else part  # VQA: {"answer": ..., "answer_id": ...}
        text = ("yes" if said else "no") if isinstance(said, bool) else cell_text(said)
        if len(parts) > 1 and not isinstance(said, str):
            text = None  # [1, 2]: whether both are meant, or either, cannot be known
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
    text = cell_text(value) or ""
    if not re.fullmatch(r"0?\.[0-9]{1,20}|0", text):
        remedy = "write 0.05 for 5 %, or leave it out"
        raise BadRow("tolerance", "a share from 0 to below 1", shown(value), remedy, "bad_answer")
    return float(text)
