"""Whether a reply's answer is the one that its steps lead to, on worlds, whose steps can be read exactly.

A world's steps end in what they have found: a running count or sum, a marked option, a cell. That is compared with the
answer, and not with the truth; a slip on the way that the later steps carry on is no disagreement. Reinforcement
learning can make reasoning and answer part (arXiv:2604.18892).
"""

import re
from collections.abc import Callable, Iterable
from fractions import Fraction

from firsthand.answers.boxes import are_shares, read_boxes
from firsthand.answers.letters import read_letter
from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import read_number
from firsthand.answers.stated import OPEN, Rule, read_answer
from firsthand.records import Agreement, Choice, Example, Expression, Verdict
from firsthand.worlds.draw import CELL

_OF_WORLDS = {"level", "split", "shifted"}
"""What `generate` notes in an example's meta: a family's name alone may be a user's."""
_COUNTED = re.compile(r"\b[a-d][1-9] [a-z]+ [a-z]+ (?:yes ([0-9]{1,3})|no)\b")
_RESULT = re.compile(r"= ([0-9]{1,6})\b")
_MARKED = re.compile(r"\b([A-D]) [0-9]{1,6} yes\b")
_PLACE = re.compile(r"\bis in ([a-d])([1-9])\b")
_ROOT = re.compile(r"\\?sqrt\s?[{(]\s?([0-9]{1,6})\s?[)}]")


def agreement(text: str, example: Example, rule: Rule) -> Agreement | None:
    """What a reply's steps have to do with its answer, read by that rule; None where the example has no known steps.

    Replies without an answer or without steps, and those in which either cannot be read, are UNREAD.
    """
    compare = _COMPARED.get(example.family)
    if compare is None or not example.meta.keys() >= _OF_WORLDS:
        return None
    answer, _ = read_answer(text, rule)
    same = None if answer is None else compare(_steps(text), answer, example)
    return Agreement.UNREAD if same is None else Agreement.AGREES if same else Agreement.DISAGREES


def with_agreement(verdict: Verdict, text: str, example: Example, rule: Rule) -> Verdict:
    """The verdict on a reply, which also says whether its steps lead to its answer."""
    found = agreement(text, example, rule)
    return verdict if found is None else verdict.model_copy(update={"agreement": found})


def _steps(text: str) -> str:
    """What is before the answer: the thinking, or without its tags all up to the answer block."""
    thinking, closed, _ = text.rpartition("</think>")
    return thinking if closed else text.partition(OPEN)[0]


def _count(steps: str, answer: str, example: Example) -> bool | None:
    counted = list(_COUNTED.finditer(steps))
    totals = [int(found[1]) for found in counted if found[1]]
    return _equals(answer, totals[-1] if totals else 0) if counted else None


def _sum(steps: str, answer: str, example: Example) -> bool | None:
    results = _RESULT.findall(steps)
    return _equals(answer, int(results[-1])) if results else None


def _option(steps: str, answer: str, example: Example) -> bool | None:
    marked, options = _MARKED.findall(steps), example.answer.options if isinstance(example.answer, Choice) else ()
    letter, _ = read_letter(answer, options)
    return letter == marked[-1] if marked and letter else None


def _length(steps: str, answer: str, example: Example) -> bool | None:
    """Steps to a longest side end in its square, whose root the answer is."""
    results = _RESULT.findall(steps)
    if not results:
        return None
    wants_root = isinstance(example.answer, Expression) and "sqrt" in example.answer.latex
    found = Fraction(results[-1])
    root, number = _ROOT.fullmatch(without_markup(answer)), read_number(answer)
    if root is None and number is None:
        return None
    squared = Fraction(root[1]) if root else number.value**2 if number else None
    return squared == (found if wants_root else found**2)


def _cell(steps: str, answer: str, example: Example) -> bool | None:
    """Whether the middle of the one box that is answered lies in the cell that was named."""
    places, boxes = _PLACE.findall(steps), read_boxes(answer)
    if not places or len(boxes) != 1 or not are_shares(boxes[0]):
        return None
    (column, row), [(x1, y1, x2, y2)], picture = places[-1], boxes, example.images[0]
    x, y = (x1 + x2) / 2 * picture.width / CELL, (y1 + y2) / 2 * picture.height / CELL
    return (int(x), int(y)) == ("abcd".index(column), int(row) - 1)


def _equals(answer: str, found: int) -> bool | None:
    number = read_number(answer)
    return None if number is None else number.value == found


_COMPARED: dict[str, Callable[[str, str, Example], bool | None]] = {
    "count": _count,
    "digits": _sum,
    "chart": _option,
    "geometry": _length,
    "compare": _sum,
    "locate": _cell,
}
"""Family -> whether the steps lead to the answer; None: one of the two cannot be read."""


def agreements(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Shares of the replies whose steps agree with their answer, disagree with it, or cannot be read.

    Of those to worlds, whose steps somebody looked at; nothing where there is none.
    """
    found = [verdict.agreement for verdict in verdicts if verdict.agreement is not None]
    return {str(state): found.count(state) / len(found) for state in Agreement} if found else {}
