"""Maths reward: 1 when the answer is the same mathematical object as the ground truth (VLAA-Thinking).

answers/maths/objects.py reads both as objects: values, tuples, sets, words ... GUARDS says which kinds can be equal,
and how; any other two are not. Values that are rational are compared here, exactly. What is left of an answer goes to a
worker (workers/maths.py) in one request: a pipe is slower than a comparison of two fractions, and expressions may hang.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from firsthand.answers.markup import without_markup
from firsthand.answers.maths.expressions import Node, names_in, number_node
from firsthand.answers.maths.forms import INFINITY, MINUS_INFINITY, Form, facing, node_of
from firsthand.answers.maths.objects import read_form
from firsthand.answers.maths.sentences import plain_latex
from firsthand.answers.maths.tokens import Unread
from firsthand.errors import excerpt
from firsthand.records import Expression, Verdict
from firsthand.reward.guards import GUARDS, TOLERANCE, Broken, Equality
from firsthand.reward.verdicts import compared, failed, unparsed
from firsthand.workers.exact import NotExact, NoValue, TooLarge, exact_value
from firsthand.workers.pool import DeadlineExceeded, WorkerDied

AskWorker = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a request to a worker and wait for its answer (workers/maths.py); raises DeadlineExceeded and WorkerDied."""

_BARE_NAME = re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|ln|log|exp|theta|alpha|beta)(?![A-Za-z])")


def judge_math(content: str, truth: Expression, ask: AskWorker, tolerance: float = TOLERANCE) -> Verdict:
    """Compare as objects; values that are not rational in the worker that `ask` reaches.

    `tolerance` is relative, and only for values that are not exact: by default for a decimal beside a value that no
    decimal of its length equals (0.333333 and 1/3); a larger one for all decimals and all irrational values. 0 compares
    exactly.

    A comparison that does not end is TIMED_OUT. A worker that dies, an error in the comparison, and a ground truth that
    cannot be read are FAILED. None of them has a score.
    """
    said = without_markup(without_markup(content).removesuffix("."))
    gold, got = _read(truth.latex), _read(content)
    if isinstance(gold, Unread) and not gold.foreign:
        return failed(f"the ground truth {excerpt(truth.latex)} cannot be read: {gold}", said)
    if isinstance(got, Unread) and not got.foreign:
        return unparsed(content, str(got))
    try:
        if isinstance(gold, Unread) or isinstance(got, Unread):
            return _judge_texts(content, said, truth, ask)
        gold, got = _same_grouping(gold, got, truth.latex, content)
        if got.kind == "word" and got.node is None and gold.kind != "word":
            return unparsed(content, f"words, where the ground truth is a {gold.kind}")
        equality = Equality(tolerance)
        equal = equality.same(gold, got)
        if equal and equality.pairs:
            request: dict[str, Any] = {"pairs": equality.pairs}
            if {gold.kind, got.kind} <= {"value", "label"}:
                request |= _texts(content, truth)
            equality.answers = _answers(ask(request), truth, len(equality.pairs))
            equal = equality.same(gold, got)
    except (DeadlineExceeded, WorkerDied) as error:
        return failed(error, said)
    except NoValue:
        return failed(f"the ground truth {excerpt(truth.latex)} has no value", said)
    except Broken as error:
        return failed(str(error), said)
    return compared(equal, said, truth.latex)


def _read(text: str) -> Form | Unread:
    """What a text is, or why nobody knows."""
    try:
        return _solved(_last_of_chain(read_form(text)))
    except Unread as why:
        return why


def _last_of_chain(form: Form) -> Form:
    """`2 + 3 = 5` says 5, if that is true."""
    if form.kind == "label" and form.parts[0].kind == "chain":
        return form._replace(parts=(_last_of_chain(form.parts[0]),))
    if form.kind != "chain":
        return form
    try:
        values = {exact_value(part.node, {}) for part in form.parts if part.node is not None}
    except (NotExact, TooLarge):
        return form.parts[-1]
    except NoValue:
        values = set()
    if len(values) != 1:
        raise Unread("an equation that does not hold")
    return form.parts[-1]


def _solved(form: Form) -> Form:
    """Linear inequalities of one variable as intervals: `2x > 4`, `|2x - 1| < 3`."""
    lines = [_half_line(part) for part in (form.parts or (form,)) if part.kind == "inequality"]
    solved = [line for line in lines if line is not None]
    if not solved or len(solved) < len(lines):
        return form
    if len(solved) == 1:
        return solved[0]
    both = facing(*solved[:2]) if len(solved) == 2 else None
    return form if both is None else both


def _half_line(form: Form) -> Form | None:
    """Where a x + b is positive."""
    names = sorted(names_in(node_of(form)))
    if len(names) != 1:
        return None
    try:
        values = [exact_value(node_of(form), {names[0]: Fraction(x)}) for x in (0, 1, 2, 7, -5)]
    except (NotExact, TooLarge, NoValue):
        return None
    slope = values[1] - values[0]
    if slope == 0 or values[2:] != [values[0] + slope * x for x in (2, 7, -5)]:
        return None
    end = Form("value", node=number_node(-values[0] / slope))
    name = Node("name", (), names[0])
    closed = form.text == ">="
    if slope > 0:
        return Form("interval", (end, INFINITY), name, "[)" if closed else "()")
    return Form("interval", (MINUS_INFINITY, end), name, "(]" if closed else "()")


def _same_grouping(gold: Form, got: Form, gold_text: str, got_text: str) -> tuple[Form, Form]:
    """Both forms; where one is a list and the other is not, `100,200` is read as two numbers."""
    if (gold.kind, got.kind) in GUARDS or {gold.kind, got.kind} - {"value", "list", "set", "label"}:
        return gold, got
    try:
        return read_form(gold_text, grouped=False), read_form(got_text, grouped=False)
    except Unread:
        return gold, got


def _judge_texts(content: str, said: str, truth: Expression, ask: AskWorker) -> Verdict:
    """By math-verify alone: at least one side has notation that only it may read."""
    answer = ask(_texts(content, truth))
    if answer.get("unread") == "prediction":
        return unparsed(content, "math-verify reads no expression")
    return compared(_answers(answer, truth, 1)[0], said, truth.latex)


def _texts(content: str, truth: Expression) -> dict[str, str]:
    return {"prediction": as_latex(content), "gold": as_latex(truth.latex)}


def _answers(answer: dict[str, Any], truth: Expression, pairs: int) -> list[bool]:
    if "error" in answer:
        raise Broken(f"the comparison broke: {answer['error']}")
    if answer.get("unread") == "gold":
        raise Broken(f"math-verify cannot read the ground truth {excerpt(truth.latex)}")
    if "unread" in answer:
        return [False] * pairs
    found = answer["equal"]
    return [bool(equal) for equal in found] if isinstance(found, list) else [bool(found)]


def as_latex(text: str) -> str:
    """Text that math-verify reads as the writer meant it: plain notation made LaTeX, in delimiters."""
    return f"$${_BARE_NAME.sub(lambda found: chr(92) + found[1] + ' ', plain_latex(text))}$$"
