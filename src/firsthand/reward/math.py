"""Maths reward: 1 when the answer is the same mathematical object as the ground truth (VLAA-Thinking).

answers/forms.py reads both as objects: values, tuples, sets, intervals, words ... GUARDS says which kinds can be equal,
and how; any other two are not. Values that are rational are compared here, exactly. What is left of an answer goes to a
worker (workers/maths.py) in one request: a pipe is slower than a comparison of two fractions, and expressions may hang.
"""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from firsthand.answers.expressions import Node, Unread, has_decimal, names_in, number_node
from firsthand.answers.forms import Form, canonical_points, plain_latex, read_form
from firsthand.answers.markup import without_markup
from firsthand.errors import excerpt
from firsthand.records import Expression, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed
from firsthand.workers.exact import NotExact, NoValue, TooLarge, exact_value, same_function, same_up_to_factor
from firsthand.workers.pool import DeadlineExceeded, WorkerDied

AskWorker = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a request to a worker and wait for its answer (workers/maths.py); raises DeadlineExceeded and WorkerDied."""

TOLERANCE = 1e-6
"""Relative: 333,333 millionths are a third."""
_DEFAULT_TOLERANCE = Fraction(str(TOLERANCE))
_MOST_PAIRS = 1_000
"""Of values that a worker compares for one answer (ours)."""
_BARE_NAME = re.compile(r"(?<![A-Za-z\\])(pi|sin|cos|tan|ln|log|exp|theta|alpha|beta)(?![A-Za-z])")


class _Broken(Exception):
    """Why there is no verdict."""


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
            if gold.kind in ("value", "label"):
                request |= _texts(content, truth)
            equality.answers = _answers(ask(request), truth)
            equal = equality.same(gold, got)
    except (DeadlineExceeded, WorkerDied) as error:
        return failed(error, said)
    except NoValue:
        return failed(f"the ground truth {excerpt(truth.latex)} has no value", said)
    except _Broken as error:
        return failed(str(error), said)
    return compared(equal, said, truth.latex)


def _read(text: str) -> Form | Unread:
    """What a text is, or why nobody knows."""
    try:
        return _last_of_chain(read_form(text))
    except Unread as why:
        return why


def _last_of_chain(form: Form) -> Form:
    """`2 + 3 = 5` says 5, if that is true."""
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
    return compared(_answers(answer, truth)[0], said, truth.latex)


def _texts(content: str, truth: Expression) -> dict[str, str]:
    return {"prediction": as_latex(content), "gold": as_latex(truth.latex)}


def _answers(answer: dict[str, Any], truth: Expression) -> list[bool]:
    if "error" in answer:
        raise _Broken(f"the comparison broke: {answer['error']}")
    if answer.get("unread") == "gold":
        raise _Broken(f"math-verify cannot read the ground truth {excerpt(truth.latex)}")
    if "unread" in answer:
        return [False]
    found = answer["equal"]
    return [bool(equal) for equal in found] if isinstance(found, list) else [bool(found)]


def as_latex(text: str) -> str:
    """Text that math-verify reads as the writer meant it: plain notation made LaTeX, in delimiters."""
    return f"$${_BARE_NAME.sub(lambda found: chr(92) + found[1] + ' ', plain_latex(text))}$$"


# ---- what is compared


class Equality:
    """One answer beside its ground truth: what can be decided here, and the pairs that a worker has to decide.

    Until there are `answers`, the pairs count as equal: what is unequal even so needs no worker.
    """

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        self._tolerance = Fraction(str(tolerance))
        self._places: dict[tuple[Any, ...], int] = {}
        self.pairs: list[dict[str, Any]] = []
        self.answers: list[bool] | None = None

    def same(self, gold: Form, got: Form) -> bool:
        """Whether two forms are the same object, by the rule that GUARDS has for their kinds. Raises NoValue."""
        rule = GUARDS.get((gold.kind, got.kind))
        return rule is not None and rule(self, gold, got)

    def values(self, gold: Form, got: Form) -> bool:
        """Two values: units must not contradict; a percent sign on one side only is a unit or a hundredth."""
        assert gold.node is not None and got.node is not None
        if "%" in (gold.text, got.text):
            if gold.text == got.text:
                return self.nodes(gold.node, got.node)
            right, left = (_hundredth(_node(form)) if form.text == "%" else _node(form) for form in (gold, got))
            return any([self.nodes(gold.node, got.node), self.nodes(right, left)])
        if gold.text and got.text and gold.text != got.text:
            return False
        return self.nodes(gold.node, got.node)

    def nodes(self, gold: Node, got: Node) -> bool:
        """Two expressions, by value."""
        try:
            if names_in(gold) or names_in(got):
                return same_function(got, gold)
            right = exact_value(gold, {})
        except (NotExact, TooLarge):
            return self._asked(gold, got, tolerance=str(self._tolerance_beside(None, got, gold)))
        try:
            left = exact_value(got, {})
        except NoValue:
            return False
        except (NotExact, TooLarge):
            return self._asked(gold, got, tolerance=str(self._tolerance_beside(right, gold, got)))
        return self._near(left, right, has_decimal(got), has_decimal(gold))

    def factors(self, gold: Node, got: Node, *, positive: bool = False) -> bool:
        """Two expressions of which one is a constant times the other; a positive one, as inequalities need it."""
        try:
            return same_up_to_factor(got, gold, positive=positive)
        except (NotExact, TooLarge, NoValue):
            return self._asked(gold, got, factor="positive" if positive else "any")

    def _near(self, left: Fraction, right: Fraction, left_rounded: bool, right_rounded: bool) -> bool:
        if left == right:
            return True
        if not (left_rounded or right_rounded):
            return False
        if self._tolerance <= _DEFAULT_TOLERANCE:
            if left_rounded and right_rounded:
                return False
            decimal, other = (left, right) if left_rounded else (right, left)
            if _places(other) <= _places(decimal):
                return False
        return abs(left - right) <= self._tolerance * max(abs(left), abs(right))

    def _tolerance_beside(self, exact: Fraction | None, one: Node, other: Node) -> Fraction:
        """The tolerance of a pair one of which is irrational: by default only for a decimal beside it."""
        if self._tolerance > _DEFAULT_TOLERANCE or has_decimal(one) != has_decimal(other):
            return self._tolerance
        return Fraction(0)

    def _asked(self, gold: Node, got: Node, **how: str) -> bool:
        key = (gold, got, *how.values())
        if key not in self._places:
            if len(self.pairs) == _MOST_PAIRS:
                raise _Broken(f"more than {_MOST_PAIRS:,} pairs of values to compare")
            self._places[key] = len(self.pairs)
            self.pairs.append({"got": got, "gold": gold, **how})
        return self.answers is None or self.answers[self._places[key]]


def _hundredth(node: Node) -> Node:
    return Node("*", (node, number_node(Fraction(1, 100))))


def _places(value: Fraction) -> float:
    """The decimal places of a value; infinity where no decimal ends."""
    rest, counts = value.denominator, []
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest //= prime
            count += 1
        counts.append(count)
    return max(counts) if rest == 1 else float("inf")


# ---- the rules of the table. None stops where it finds two that may be equal: a worker is asked for all pairs at once.

_Rule = Callable[[Equality, Form, Form], bool]


def by_value(equality: Equality, gold: Form, got: Form) -> bool:
    """As numbers or expressions."""
    return equality.values(gold, got)


def by_text(_: Equality, gold: Form, got: Form) -> bool:
    """The same words or names."""
    return gold.text == got.text


def in_order(equality: Equality, gold: Form, got: Form) -> bool:
    """The same number of parts, each equal to its counterpart."""
    if len(gold.parts) != len(got.parts):
        return False
    return all(equality.same(a, b) for a, b in zip(gold.parts, got.parts, strict=True))


def in_any_order(equality: Equality, gold: Form, got: Form) -> bool:
    """The same parts, in whatever order; a part that is there twice counts twice, but in a set."""
    is_set = gold.kind == got.kind == "set"
    if len(gold.parts) != len(got.parts) and not is_set:
        return False
    table = [[equality.same(a, b) for b in got.parts] for a in gold.parts]
    if is_set or equality.answers is None:
        return all(map(any, table)) and all(map(any, zip(*table, strict=True))) and bool(gold.parts) == bool(got.parts)
    return _is_matching(table)


def _is_matching(table: Sequence[Sequence[bool]]) -> bool:
    """Whether every row has a column of its own. Equality is transitive, so the first that is free will do."""
    free = set(range(len(table)))
    for row in table:
        place = next((at for at in sorted(free) if row[at]), None)
        if place is None:
            return False
        free.remove(place)
    return True


def ends(equality: Equality, gold: Form, got: Form) -> bool:
    """Intervals: brackets, both ends, and the variable where both name one. A pair is an open interval here."""
    if (gold.text or "()") != (got.text or "()") or len(gold.parts) != 2:
        return False
    if gold.node is not None and got.node is not None and gold.node != got.node:
        return False
    return in_order(equality, gold, got)


def proportions(equality: Equality, gold: Form, got: Form) -> bool:
    """Ratios: the same up to a factor. Two that may be times of day are the same only as times."""
    if len(gold.parts) != len(got.parts):
        return False
    if gold.text and (got.text or _is_reducible(gold)):
        return gold.text == got.text
    zeros = [[equality.same(part, _ZERO) for part in form.parts] for form in (gold, got)]
    if equality.answers is None and not equality.pairs and zeros[0] != zeros[1]:
        return False
    crossed = [
        equality.nodes(_times(gold.parts[i], got.parts[j]), _times(gold.parts[j], got.parts[i]))
        for j in range(len(gold.parts))
        for i in range(j)
    ]
    return all(crossed) and zeros[0] == zeros[1]


def as_quotient(equality: Equality, gold: Form, got: Form) -> bool:
    """2:3 beside 2/3."""
    ratio, value = (gold, got) if gold.kind == "ratio" else (got, gold)
    if len(ratio.parts) != 2 or value.node is None:
        return False
    quotient = Node("*", (_node(ratio.parts[0]), Node("^", (_node(ratio.parts[1]), number_node(Fraction(-1))))))
    pair = (quotient, value.node) if ratio is gold else (value.node, quotient)
    return equality.nodes(*pair)


def labelled(equality: Equality, gold: Form, got: Form) -> bool:
    """A value beside one with a name: `x = 5` and `5`."""
    return equality.same(*(form.parts[0] if form.kind == "label" else form for form in (gold, got)))


def both_labelled(equality: Equality, gold: Form, got: Form) -> bool:
    """The same equation, or the same value under whatever name: VLAA-Thinking's data names one function y and a.

    Not where the name is part of a value: y = 2x and x = 2x.
    """
    asked = len(equality.pairs)
    inside = [names_in(_node(form.parts[0])) for form in (gold, got)]
    is_named = not any({gold.text, got.text} & names for names in inside)
    equal = is_named and equality.same(gold.parts[0], got.parts[0])
    if equal and len(equality.pairs) == asked:
        return True
    return as_equation(equality, gold, got) or equal


def assigned(equality: Equality, gold: Form, got: Form) -> bool:
    """The same names with the same values."""
    if [part.text for part in gold.parts] != [part.text for part in got.parts]:
        return False
    return all(equality.same(a.parts[0], b.parts[0]) for a, b in zip(gold.parts, got.parts, strict=True))


def as_coordinates(equality: Equality, gold: Form, got: Form) -> bool:
    """`x = 3, y = -2` beside (3, -2): coordinates have their names in order."""
    named, plain = (gold, got) if gold.kind == "assignments" else (got, gold)
    if [part.text for part in named.parts] != ["x", "y", "z"][: len(plain.parts)]:
        return False
    values = tuple(part.parts[0] for part in named.parts)
    pairs = zip(values, plain.parts, strict=True) if named is gold else zip(plain.parts, values, strict=True)
    return all(equality.same(a, b) for a, b in pairs)


def as_equation(equality: Equality, gold: Form, got: Form) -> bool:
    """Equal up to a factor, both sides on one."""
    return gold.node is not None and got.node is not None and equality.factors(gold.node, got.node)


def as_inequality(equality: Equality, gold: Form, got: Form) -> bool:
    """Equal up to a positive factor, and equally strict."""
    if gold.text != got.text:
        return False
    return equality.factors(_node(gold), _node(got), positive=True)


def as_name(_: Equality, gold: Form, got: Form) -> bool:
    r"""An option: `\text{(C)}` and `C`."""
    word, value = (gold, got) if gold.kind == "word" else (got, gold)
    return value.node is not None and value.node.op == "name" and value.node.text.casefold() == word.text


def as_product(equality: Equality, gold: Form, got: Form) -> bool:
    r"""`ab` beside `a \cdot b`: only the latter says that it is a product."""
    word, value = (gold, got) if gold.kind == "word" else (got, gold)
    if as_name(equality, gold, got):
        return True
    if word.node is None or value.node is None or value.node.op != "*":
        return False
    return equality.nodes(word.node, value.node) if word is gold else equality.nodes(value.node, word.node)


def as_figure(_: Equality, gold: Form, got: Form) -> bool:
    r"""`\angle ABC` beside `ABC`; where only letters are wanted, their order counts."""
    if gold.kind == "word":
        return gold.text == got.parts[0].text
    kind = gold.text.partition(" ")[0]
    return got.text.isalpha() and f"{kind} {' '.join(canonical_points(kind, list(got.text.upper())))}" == gold.text


def as_time(_: Equality, gold: Form, got: Form) -> bool:
    """11:30 am beside 11:30."""
    one, other = (re.fullmatch(r"([0-9:]+)([apm]*)", form.text) for form in (gold, got))
    if one is None or other is None:
        return False
    return one[1] == other[1] and (one[2] == other[2] or not (one[2] and other[2]))


_ZERO = Form("value", node=number_node(Fraction(0)))


def _node(form: Form) -> Node:
    assert form.node is not None
    return form.node


def _times(one: Form, other: Form) -> Node:
    return Node("*", (_node(one), _node(other)))


def _is_reducible(ratio: Form) -> bool:
    parts = [int(part) for part in re.findall("[0-9]+", ratio.text)]
    return math.gcd(*parts) > 1


GUARDS: dict[tuple[str, str], _Rule] = {
    ("value", "value"): by_value,
    ("value", "label"): labelled,
    ("label", "value"): labelled,
    ("label", "label"): both_labelled,
    ("label", "equation"): as_equation,
    ("equation", "label"): as_equation,
    ("equation", "equation"): as_equation,
    ("assignments", "assignments"): assigned,
    ("assignments", "tuple"): as_coordinates,
    ("tuple", "assignments"): as_coordinates,
    ("word", "word"): by_text,
    ("word", "value"): as_product,
    ("value", "word"): as_product,
    ("figure", "figure"): by_text,
    ("figure", "word"): as_figure,
    ("word", "figure"): as_figure,
    ("based", "based"): by_text,
    ("time", "time"): as_time,
    ("time", "ratio"): as_time,
    ("ratio", "time"): as_time,
    ("ratio", "ratio"): proportions,
    ("ratio", "value"): as_quotient,
    ("value", "ratio"): as_quotient,
    ("tuple", "tuple"): in_order,
    ("matrix", "matrix"): in_order,
    ("sequence", "sequence"): in_order,
    ("endless", "endless"): in_order,
    ("list", "list"): in_any_order,
    ("set", "set"): in_any_order,
    ("list", "set"): in_any_order,
    ("set", "list"): in_any_order,
    ("interval", "interval"): ends,
    ("interval", "tuple"): ends,
    ("tuple", "interval"): ends,
    ("union", "union"): in_any_order,
    ("infinity", "infinity"): by_text,
    ("inequality", "inequality"): as_inequality,
    ("inequalities", "inequalities"): in_any_order,
}
"""(kind of the ground truth, kind of the answer) -> how they are compared. What is not here is not equal."""
