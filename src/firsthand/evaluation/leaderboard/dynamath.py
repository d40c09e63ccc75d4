"""DynaMath: the reply's JSON first, then its text, then a judge (arXiv:2411.00836)."""

import json
import math
from typing import NamedTuple

from firsthand.evaluation.leaderboard.prompts import ANSWER_FORMS, SHORT_ANSWER, SHORT_ANSWER_SYSTEM, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file

_CHOICE, _FLOAT = "multiple choice", "float"


class _Read(NamedTuple):
    """An answer of its type: a letter, a number or text."""

    value: str | float
    quirk: str = ""


def score_reply(cells: TextCells, reply: str) -> ScorerRun:
    """Score one reply: its JSON's `short answer`, or else all of it; where neither is of its type, a judge is asked."""
    kind, text = cells["answer_type"], _stripped(through_a_file(reply))
    read, by = _from_json(text, kind) or _read(text, kind), "rules"
    if read is None:
        form = ANSWER_FORMS.get(kind, ANSWER_FORMS["text"])
        question = fill(SHORT_ANSWER, reply=text, form=form)
        said = yield JudgeQuestion(question, max_tokens=2048, system=SHORT_ANSWER_SYSTEM)
        read, by = _read(said, kind), "judge"
    if read is not None:
        right, quirk = _compared(read, through_a_file(cells["answer"]), kind)
        return ReplyScore(right=right, extracted=str(read.value), by="rules" if by == "rules" else "judge", quirk=quirk)
    if kind == _CHOICE and cells["answer"] in text[:3].upper():
        return ReplyScore(right=True, extracted=None, quirk="first_characters")
    return ReplyScore(right=False, extracted=None)


def _stripped(reply: str) -> str:
    """From the first brace to the last one, without any backslash: JSON loses its escapes, and LaTeX its commands."""
    first, last = reply.find("{"), reply.rfind("}")
    inner = reply[first : last + 1] if 0 <= first < last else reply
    return inner.replace("\\", "")


def _from_json(text: str, kind: str) -> _Read | None:
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    short = found.get("short answer") if isinstance(found, dict) else None
    read = _read(short, kind) if isinstance(short, str) else None
    return read and read._replace(quirk="")  # a short answer is meant to be searched


def _read(text: str, kind: str) -> _Read | None:
    """The answer as its type has it: a number before the first space, perhaps of pi; one letter; or any text."""
    if kind == _FLOAT:
        value = _number(text if text.isdigit() else text.split(" ")[0])
        return None if value is None else _Read(value)
    if kind != _CHOICE:
        return _Read(text)
    if len(text) == 1:
        return _Read(text.upper())
    held = [letter for letter in "ABCDE" if letter in text.upper()]
    return _Read(held[0], "letter_anywhere") if len(held) == 1 else None


def _number(text: str) -> float | None:
    factor, pi, _ = text.partition("\u03c0")
    try:
        return float(factor) * (math.pi if pi else 1.0)
    except ValueError:
        return None


def _compared(read: _Read, gold: str, kind: str) -> tuple[bool, str]:
    if isinstance(read.value, float):
        return abs(read.value - float(gold)) <= 0.001, ""
    if kind == _CHOICE:
        return read.value == gold, read.quirk
    part, whole = read.value.lower(), gold.lower()
    if part == whole or part not in whole:
        return part == whole, ""
    return True, "part_is_right" if part else "empty_is_right"
