"""Which mathematical objects can be equal, and how they are compared: GUARDS, one row for each pair of kinds.

What is not in the table is not equal: a tuple is no set, and an interval no list. Rational values are compared here,
exactly; pairs of others are collected, for a worker to compare in one request.
"""

import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from firsthand.answers.maths.expressions import Node, has_decimal, names_in, number_node
from firsthand.answers.maths.forms import Form, canonical_points, node_of
from firsthand.workers.exact import NotExact, NoValue, TooLarge, exact_value, same_function, same_up_to_factor

TOLERANCE = 1e-6
"""Relative: 333,333 millionths are a third."""
_DEFAULT_TOLERANCE = Fraction(str(TOLERANCE))
_MOST_PAIRS = 1_000
"""Of values that a worker compares for one answer (ours)."""


class Broken(Exception):
    """Why there is no verdict."""


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
        if "%" in (gold.text, got.text):
            if gold.text == got.text:
                return self.nodes(node_of(gold), node_of(got))
            right, left = (_hundredth(node_of(form)) if form.text == "%" else node_of(form) for form in (gold, got))
            return any([self.nodes(node_of(gold), node_of(got)), self.nodes(right, left)])
        if gold.text and got.text and gold.text != got.text:
            return False
        return self.nodes(node_of(gold), node_of(got))

    def nodes(self, gold: Node, got: Node) -> bool:
        """Two expressions, by value."""
        try:
            if names_in(gold) or names_in(got):
                return same_function(got, gold)
        except (NotExact, TooLarge):
            return self._asked(gold, got, tolerance="0")
        right = _rational(gold)
        try:
            left = _rational(got)
        except NoValue:
            return False
        if left is None or right is None:
            rounded = (left is not None and has_decimal(got)) or (right is not None and has_decimal(gold))
            tolerance = self._tolerance if rounded or self._tolerance > _DEFAULT_TOLERANCE else 0
            return self._asked(gold, got, tolerance=str(tolerance))
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

    def _asked(self, gold: Node, got: Node, **how: str) -> bool:
        key = (gold, got, *how.values())
        if key not in self._places:
            if len(self.pairs) == _MOST_PAIRS:
                raise Broken(f"more than {_MOST_PAIRS:,} pairs of values to compare")
            self._places[key] = len(self.pairs)
            self.pairs.append({"got": got, "gold": gold, **how})
        return self.answers is None or self.answers[self._places[key]]


def _rational(node: Node) -> Fraction | None:
    """The value, if it is rational and not too large. Raises NoValue."""
    try:
        return exact_value(node, {})
    except (NotExact, TooLarge):
        return None


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
    if is_set:
        return bool(gold.parts) == bool(got.parts) and all(map(any, table)) and all(map(any, zip(*table, strict=True)))
    return _is_matching(table)


def _is_matching(table: Sequence[Sequence[bool]]) -> bool:
    """Whether every row can have a column of its own (augmenting paths: rounded values may equal several)."""
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, equal in enumerate(table[row]):
            if equal and column not in tried:
                tried.add(column)
                if column not in owner or place(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(table)))


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
    if [*map(_is_zero, gold.parts)] != [*map(_is_zero, got.parts)]:
        return False
    crossed = [
        equality.nodes(_times(gold.parts[i], got.parts[j]), _times(gold.parts[j], got.parts[i]))
        for j in range(len(gold.parts))
        for i in range(j)
    ]
    return all(crossed)


def as_quotient(equality: Equality, gold: Form, got: Form) -> bool:
    """2:3 beside 2/3."""
    ratio, value = (gold, got) if gold.kind == "ratio" else (got, gold)
    if len(ratio.parts) != 2 or ratio.text:  # 12:30 is no quotient
        return False
    quotient = Node("*", (node_of(ratio.parts[0]), Node("^", (node_of(ratio.parts[1]), number_node(Fraction(-1))))))
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
    inside = [names_in(node_of(form.parts[0])) for form in (gold, got)]
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
    return equality.factors(node_of(gold), node_of(got), positive=True)


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


def _is_zero(form: Form) -> bool:
    return _rational(node_of(form)) == 0


def _times(one: Form, other: Form) -> Node:
    return Node("*", (node_of(one), node_of(other)))


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
    ("statement", "statement"): by_text,
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
    ("congruence", "congruence"): in_order,
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
