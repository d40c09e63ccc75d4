"""Values of expressions to any number of digits, and whether two are the same by them.

Two values are compared to so many digits that numbers of their size which differ cannot agree, at several points where
there are variables, and relative to the values: never by an absolute distance. This may take long, or much memory: only
maths.py calls it, in a worker.
"""

from contextlib import suppress
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped, unused-ignore]

from firsthand.workers.exact import (
    NotExact,
    NoValue,
    TooLarge,
    Tree,
    calls,
    exact_value,
    fraction_of,
    is_bent,
    names_of,
    reach,
)

_MOST_DIGITS = 20_000
"""Of the numbers in a tree, powers carried out (ours)."""
_SCALES = (Fraction(1, 30), Fraction(-1, 30), Fraction(1, 9), Fraction(-1, 9), Fraction(1, 900), Fraction(-1, 900))
"""Of the points where functions are compared: values up to 4, 14 and 0.14."""
_WIDE_SCALES = (*_SCALES, *(sign * Fraction(10) ** power for power in (3, 6) for sign in (1, -1)))
_IMAGINARY = frozenset("i")
_FUNCTIONS = {
    **{name: getattr(mpmath.mp, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{"exp": mpmath.exp, "abs": abs, "floor": mpmath.floor, "ceil": mpmath.ceil, "max": max, "min": min},
    **{"arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan, "lg": mpmath.log10},
    **{"factorial": mpmath.factorial, "binom": mpmath.binomial},
}


class Undecided(Exception):
    """Two values neither agree nor differ, however many digits are computed."""


def same_by_value(pair: dict[str, Any]) -> bool:
    """Whether got and gold are the same: to a relative tolerance, or up to a factor, where the pair says so."""
    got, gold, factor = pair["got"], pair["gold"], pair.get("factor", "")
    digits = 50 + 3 * (_digits(got) + _digits(gold))
    names = sorted(names_of(got) | names_of(gold))
    if not names and not factor:
        return _same_constant(got, gold, digits, Fraction(pair.get("tolerance", "0")))
    is_real = not (calls(got, _IMAGINARY) or calls(gold, _IMAGINARY))
    scales = (*_WIDE_SCALES, *reach(got, gold)) if is_bent(got) or is_bent(gold) else _SCALES
    points = [
        {name: _signed(scale, name, turn) * fraction_of(name, turn) for name in names}
        for turn, scale in enumerate(scales)
    ]
    bent = is_bent(got) != is_bent(gold)
    both: list[tuple[Any, Any]] = []
    for point in points:
        left, right = (_value_if_any(tree, point, digits, is_real) for tree in (got, gold))
        if bent and (left is None) != (right is None):
            return False  # ln x and ln |x|: the bars are there for the side where the other has no value
        if left is None or right is None:
            continue
        if not factor and _agree(left, right, digits) is False:
            return False  # the first difference ends it: some values take long
        both.append((left, right))
    if len(both) < 2:
        both += _further_values(got, gold, names, digits)
    if factor:
        return _is_factor(both, digits, positive=factor == "positive")
    compared = [_agree(left, right, digits) for left, right in both]
    return False not in compared and compared.count(True) > 1


def _further_values(got: Tree, gold: Tree, names: list[str], digits: int) -> list[tuple[Any, Any]]:
    """Where hardly any point has two values: larger ones (x - 700), whole ones ((-1)^n), and at last complex values."""
    large = [{name: scale * fraction_of(name, 50) for name in names} for scale in (1, -1, 10, -10, 1000)]
    whole = [{name: Fraction(turn + 2 + len(name) % 3) for name in names} for turn in range(4)]
    for points, is_real in ((large, True), (whole, True), (large, False)):
        found = [[_value_if_any(tree, point, digits, is_real) for tree in (got, gold)] for point in points]
        both = [(left, right) for left, right in found if left is not None and right is not None]
        if len(both) > 1:
            return both
    return []


def _signed(scale: Fraction, name: str, turn: int) -> Fraction:
    """The last two points have signs that differ from name to name."""
    return -scale if turn in (4, 5) and fraction_of(name, 77 + turn).numerator % 2 else scale


def _same_constant(got: Tree, gold: Tree, digits: int, tolerance: Fraction) -> bool:
    right = _value_if_any(gold, {}, digits, False)
    if right is None:
        raise NoValue("the ground truth has no value")
    left = _value_if_any(got, {}, digits, False)
    if left is None:
        return False
    gap, size = abs(left - right), max(abs(left), abs(right))
    if tolerance and gap <= size * tolerance.numerator / tolerance.denominator:
        return True
    equal = _agree(left, right, digits)
    if equal is None:
        raise Undecided("two values that cannot be told apart")
    return equal


def _agree(left: Any, right: Any, digits: int) -> bool | None:
    """Whether two values are equal to half of the digits; None where one is 0 and the other too near to tell."""
    gap, size = abs(left - right), max(abs(left), abs(right))
    tiny = mpmath.mpf(10) ** (-digits // 2)
    if gap <= size * tiny:
        return True
    return None if min(abs(left), abs(right)) == 0 and size < tiny else False


def _is_factor(values: list[tuple[Any, Any]], digits: int, *, positive: bool) -> bool:
    tiny = mpmath.mpf(10) ** (-digits // 2)
    if any((left == 0) != (right == 0) for left, right in values):
        return False
    with mpmath.workdps(2 * digits):
        ratios = [left / right for left, right in values if right != 0]
        if len(ratios) < 2 or any(abs(ratio - ratios[0]) > abs(ratios[0]) * tiny for ratio in ratios):
            return False
        return not positive or bool(mpmath.im(ratios[0]) == 0 and mpmath.re(ratios[0]) > 0)


def _value_if_any(tree: Tree, point: dict[str, Fraction], digits: int, real: bool) -> Any:
    """The value, to so many digits or more, once further digits do not change it; 0 where they only make it smaller.

    None where there is no finite value, or none that is real. Raises TooLarge where it does not settle.
    """
    most = max(2 * digits, _MOST_DIGITS // 2)
    try:
        value = _computed(tree, point, digits, real)
        while digits < most:
            digits *= 2
            finer = _computed(tree, point, digits, real)
            if abs(value - finer) <= abs(finer) * mpmath.mpf(10) ** (-digits // 4):
                return finer
            if abs(value) < mpmath.mpf(10) ** (-digits // 8) and abs(finer) < abs(value) ** 1.5:
                return mpmath.mpf(0)
            if abs(value) > mpmath.mpf(10) ** (digits // 8) and abs(finer) > abs(value) ** 1.5:
                return None  # a pole
            value = finer
    except (NoValue, ZeroDivisionError):
        return None
    raise TooLarge


def _computed(tree: Tree, point: dict[str, Fraction], digits: int, real: bool) -> Any:
    with mpmath.workdps(digits):
        value = _value(tree, point, real)
        if not mpmath.isfinite(value):
            raise NoValue("not finite")
        return value


def _value(tree: Tree, point: dict[str, Fraction], real: bool = False) -> Any:
    """The value to as many digits as mpmath works with. Raises NoValue; if `real`, also where a step is not real."""
    op, parts, text = tree
    if op in ("number", "decimal", "name"):
        value = point[text] if op == "name" else Fraction(text)
        return mpmath.mpf(value.numerator) / value.denominator
    if op == "constant":
        if text not in ("pi", "e", "i"):
            raise NoValue(text)
        return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[text]
    if op in ("^", "root"):
        value = _powered(tree, point, real)
    else:
        value = _operated(op, text, [_value(part, point, real) for part in parts])
    if real and isinstance(value, mpmath.mpc):
        raise NoValue("not real")
    return value


def _operated(op: str, text: str, values: list[Any]) -> Any:
    if op == "+":
        return mpmath.fsum(values)
    if op == "*":
        return mpmath.fprod(values)
    if op == "unknown":  # some function: one that no two arguments share the value of by chance
        seed = [fraction_of(text, place) for place in range(len(values) + 1)]
        turns = [value * part.numerator / part.denominator for value, part in zip(values, seed, strict=False)]
        return mpmath.cos(mpmath.fsum(turns) + mpmath.mpf(seed[-1].numerator) / seed[-1].denominator)
    if text in ("ln", "log"):
        return _logarithm(text, values)
    if text in ("gcd", "lcm"):
        raise NotExact(text)
    return _FUNCTIONS[text](*values)


def _logarithm(text: str, values: list[Any]) -> Any:
    """Of a base that is not said, anything may be the base: log 8 is 3 log 2, and neither ln 8 nor 0.9."""
    if values[0] == 0:
        raise NoValue("the logarithm of 0")
    base = values[1] if len(values) > 1 else mpmath.mpf(37) / 7
    if text == "log" and base in (0, 1):
        raise NoValue("a logarithm of this base")
    return mpmath.log(values[0]) / mpmath.log(base) if text == "log" else mpmath.log(values[0])


def _powered(tree: Tree, point: dict[str, Fraction], real: bool) -> Any:
    """A power or a root; of a negative number, the odd root that is real."""
    base = _value(tree[1][0], point, real)
    try:
        exponent = exact_value(tree[1][1], {})
    except (NotExact, NoValue):
        raised = _value(tree[1][1], point, real)
        if base == 0:
            raise NoValue("a power of 0") from None
        raised = 1 / raised if tree[0] == "root" else raised
        return (
            mpmath.exp(raised) if tree[1][0][0] == "constant" and tree[1][0][2] == "e" else mpmath.power(base, raised)
        )
    if tree[0] == "root":
        if exponent == 0:
            raise NoValue("a root of index 0")
        exponent = 1 / exponent
    if base == 0:
        if exponent <= 0:
            raise NoValue("a power of 0")
        return base
    is_negative = not isinstance(base, mpmath.mpc) and base < 0
    if exponent.denominator == 1:
        return mpmath.power(base, exponent.numerator)
    if is_negative and exponent.denominator % 2:
        size = mpmath.power(-base, mpmath.mpf(exponent.numerator) / exponent.denominator)
        return -size if exponent.numerator % 2 else size
    return mpmath.power(base, mpmath.mpf(exponent.numerator) / exponent.denominator)


def _digits(tree: Tree) -> int:
    """How many digits the numbers in it have, powers carried out. Raises TooLarge."""
    op, parts, text = tree
    if op in ("number", "decimal"):
        return len(text)
    found = sum(map(_digits, parts))
    if op == "^":
        with suppress(NotExact, NoValue):
            found = _digits(parts[0]) * max(1, int(abs(exact_value(parts[1], {}))))
    if op == "call" and text in ("factorial", "binom"):
        with suppress(NotExact, NoValue):
            size = int(max(abs(exact_value(part, {})) for part in parts))
            found = size * size.bit_length()
    if found > _MOST_DIGITS:
        raise TooLarge
    return found
