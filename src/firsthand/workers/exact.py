"""Exact values of expressions, and whether two are the same function, in bounded time: fractions, and nothing else.

An expression is a tree (op, parts, text), as answers/maths/expressions.py writes it. What has no rational value, or
one of too many digits, is for maths.py, which needs a process of its own. This module needs none.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Tree = Sequence[Any]
"""A node and what it is made of: (op, parts, text)."""
MOST_BITS = 20_000
"""Of a value that is computed here (ours): about 6,000 digits."""
_SCALES = (Fraction(1), Fraction(-1), Fraction(10**5), Fraction(-(10**5)))
_WIDE_SCALES = (*_SCALES, *(sign * Fraction(10) ** power for power in (-5, 12, 40) for sign in (1, -1)))
"""Where expressions with absolute values are compared too: |x + 1000| is x + 1000 above -1000."""
_BENT = frozenset(("abs", "floor", "ceil", "max", "min", "gcd", "lcm"))


class NotExact(Exception):
    """There is no rational value, or none that can be found here."""


class TooLarge(Exception):
    """The value has too many digits."""


class NoValue(Exception):
    """There is no value at all: 1/0."""


def exact_value(tree: Tree, at: Mapping[str, Fraction], most_bits: int = MOST_BITS) -> Fraction:
    """The value where the variables are what `at` says. Raises NotExact, TooLarge and NoValue."""
    op, parts, text = tree
    if op in ("number", "decimal"):
        return Fraction(text)
    if op == "name":
        if text not in at:
            raise NotExact(text)
        return at[text]
    if op not in _OPERATIONS and not (op == "call" and text in _CALLED):
        raise NotExact(op)
    values = [exact_value(part, at, most_bits) for part in parts]
    value = _CALLED[text](values, most_bits) if op == "call" else _OPERATIONS[op](values, most_bits)
    if _bits(value) > most_bits:
        raise TooLarge
    return value


def same_function(got: Tree, gold: Tree) -> bool:
    """Whether two rational expressions agree at points chosen by the variables' names.

    Two different ones agree at one such point with a probability of less than their degree in a million. Raises NoValue
    where the gold has no value at any, and NotExact and TooLarge.
    """
    compared = 0
    for point in _points(got, gold):
        try:
            right = exact_value(gold, point)
        except NoValue:
            continue
        compared += 1
        try:
            if exact_value(got, point) != right:
                return False
        except NoValue:
            return False
    if not compared:
        raise NoValue
    return True


def same_up_to_factor(got: Tree, gold: Tree, *, positive: bool) -> bool:
    """Whether one is a constant times the other, 0 excepted. Raises as same_function does."""
    factors = set()
    for point in _points(got, gold):
        left, right = exact_value(got, point), exact_value(gold, point)
        if (left == 0) != (right == 0):
            return False
        if right:
            factors.add(left / right)
    if not factors:
        raise NoValue
    return len(factors) == 1 and (not positive or min(factors) > 0)


def names_of(tree: Tree) -> frozenset[str]:
    """The variables."""
    op, parts, text = tree
    own = {text} if op == "name" else set()
    return frozenset(own.union(*map(names_of, parts)))


def calls(tree: Tree, functions: frozenset[str]) -> bool:
    """Whether one of these functions or constants is in it."""
    op, parts, text = tree
    return (op in ("call", "constant") and text in functions) or any(calls(part, functions) for part in parts)


def is_bent(tree: Tree) -> bool:
    """Whether it has absolute values and the like, which are one expression here and another there."""
    return calls(tree, _BENT)


def reach(got: Tree, gold: Tree) -> tuple[Fraction, Fraction]:
    """How far out two expressions may bend: beyond -a/b, for all numbers a and b in them, and beyond a/b."""
    sizes = [size for size in _sizes(got) + _sizes(gold) if size]
    far = 2 * max(sizes, default=Fraction(1)) / min([Fraction(1), *sizes])
    return far, -far


def _sizes(tree: Tree) -> list[Fraction]:
    try:
        return [abs(exact_value(tree, {}))]
    except (NotExact, TooLarge, NoValue):
        return [size for part in tree[1] for size in _sizes(part)]


def fraction_of(name: str, turn: int) -> Fraction:
    """A number between 0 and 127 for a variable: the same in every process."""
    return Fraction(zlib.crc32(f"{name} {turn}".encode()) % 999_983 + 2, 7919)


def _points(got: Tree, gold: Tree) -> list[dict[str, Fraction]]:
    names = sorted(names_of(got) | names_of(gold))
    if not names:
        return [{}]
    scales = (*_WIDE_SCALES, *reach(got, gold)) if is_bent(got) or is_bent(gold) else _SCALES
    points = [{name: scale * fraction_of(name, turn) for name in names} for turn, scale in enumerate(scales)]
    for turn in range(2 if len(names) > 1 else 0):  # signs that differ from name to name
        points.append({name: _signed(name, turn) * fraction_of(name, 90 + turn) for name in names})
    return points


def _signed(name: str, turn: int) -> int:
    return 1 if zlib.crc32(f"{turn} {name}".encode()) & 1 else -1


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _sum(values: Sequence[Fraction], most_bits: int) -> Fraction:
    total = Fraction(0)
    for value in values:
        total += value
        if _bits(total) > most_bits:
            raise TooLarge
    return total


def _product(values: Sequence[Fraction], most_bits: int) -> Fraction:
    result = Fraction(1)
    for value in values:
        result *= value
        if _bits(result) > most_bits:
            raise TooLarge
    return result


def _power(values: Sequence[Fraction], most_bits: int) -> Fraction:
    base, exponent = values
    if exponent.denominator != 1:
        return _power(
            [_root([base, Fraction(exponent.denominator)], most_bits), Fraction(exponent.numerator)], most_bits
        )
    if base == 0:
        if exponent <= 0:
            raise NoValue
        return base
    if abs(base) != 1 and abs(exponent.numerator) * _bits(base) > 2 * most_bits:
        raise TooLarge
    return base ** (exponent.numerator if abs(base) != 1 else exponent.numerator % 2)


def _root(values: Sequence[Fraction], _: int) -> Fraction:
    """A root that is rational; of a negative number, an odd one."""
    base, index = values
    if index.denominator != 1 or not 1 <= index.numerator <= 1000 or (base < 0 and index.numerator % 2 == 0):
        raise NotExact
    found = [_whole_root(abs(part), index.numerator) for part in base.as_integer_ratio()]
    if found[0] is None or found[1] is None:
        raise NotExact
    return Fraction(found[0] if base >= 0 else -found[0], found[1])


def _whole_root(number: int, index: int) -> int | None:
    if index == 2:
        root = math.isqrt(number)
        return root if root * root == number else None
    low, high = 0, 1 << (number.bit_length() // index + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**index <= number else (low, middle - 1)
    return low if low**index == number else None


def _whole(values: Sequence[Fraction], largest: int) -> list[int]:
    if any(value.denominator != 1 or value < 0 for value in values):
        raise NotExact
    if any(value > largest for value in values):
        raise TooLarge
    return [value.numerator for value in values]


_MOST_FACTORIAL = 1_500
_OPERATIONS: dict[str, Callable[[Sequence[Fraction], int], Fraction]] = {
    "+": _sum,
    "*": _product,
    "^": _power,
    "root": _root,
}
_CALLED: dict[str, Callable[[Sequence[Fraction], int], Fraction]] = {
    "abs": lambda values, _: abs(values[0]),
    "floor": lambda values, _: Fraction(math.floor(values[0])),
    "ceil": lambda values, _: Fraction(math.ceil(values[0])),
    "max": lambda values, _: max(values),
    "min": lambda values, _: min(values),
    "gcd": lambda values, _: Fraction(math.gcd(*_whole(values, 1 << MOST_BITS))),
    "lcm": lambda values, _: Fraction(math.lcm(*_whole(values, 1 << 64))),
    "factorial": lambda values, _: Fraction(math.factorial(_whole(values, _MOST_FACTORIAL)[0])),
    "binom": lambda values, _: Fraction(math.comb(*_whole(values, _MOST_FACTORIAL))),
}
