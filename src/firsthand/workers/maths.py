"""Compare expressions. A task of zygote.py, not to import.

A request has `pairs` of trees (op, parts, text), as answers/expressions.py writes them, or `prediction` and `gold`,
texts that only math-verify may read, or both: then the texts are for what is too large to compare as trees. It gets one
of {"equal": [bool, ...]}, for texts {"equal": bool}, {"unread": "prediction" | "gold"} and {"error": str}.

Trees are compared by their values, to so many digits that numbers of their size which differ cannot agree, at several
points where they have variables, and relative to the values: never by an absolute distance. What math-verify finds
equal must be so by its values too.
"""

import errno
import resource
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath  # type: ignore[import-untyped, unused-ignore]
import sympy  # type: ignore[import-untyped, unused-ignore]
from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped, unused-ignore]

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
)

_MEMORY_BYTES = 1 << 30
"""Address space of one worker (ours): ordinary comparisons take 0.1 GB, and a bomb must not take the machine."""
_MOST_DIGITS = 20_000
"""Of the numbers in a tree, powers carried out (ours)."""
_SYMPY_DIGITS = 120
_SCALES = (Fraction(1, 30), Fraction(-1, 30), Fraction(1), Fraction(-1), Fraction(1, 900), Fraction(-1, 900))
"""Of the points where functions are compared: values up to 4, 127 and 0.14."""
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


def before_fork() -> None:
    """Fill the parser's caches once, for every child: a first expression takes as long as a hundred later ones."""
    for text in (r"\frac{x^2+1}{2}=\sqrt{3}\sin(x)", "1{,}000.5", r"\{1, 2\}", r"50\%", r"x \le 5", "(1, 2)", "|x|"):
        _compare(f"${text}$", f"${text}$")


def prepare(_: str) -> None:
    """Limit this process's memory."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def answer(request: dict[str, Any]) -> dict[str, object]:
    """Compare; ends the process when that took too much memory."""
    try:
        result = _answer(request)
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    # sympy and math-verify swallow a MemoryError and go on to "not equal": such an answer must not be given.
    if _peak_bytes() > _MEMORY_BYTES // 2:
        sys.exit(errno.ENOMEM)
    return result


def _answer(request: dict[str, Any]) -> dict[str, object]:
    if "pairs" not in request:
        return _compare(request["prediction"], request["gold"])
    try:
        return {"equal": [_same(pair) for pair in request["pairs"]]}
    except TooLarge:
        if "gold" not in request:
            return {"error": "numbers of too many digits"}
        found = _compare(request["prediction"], request["gold"])
        if found.get("equal") and any(pair["got"] != pair["gold"] for pair in request["pairs"]):
            return {"error": "numbers of too many digits"}  # there sympy may have rounded
        return {"equal": [found["equal"]]} if "equal" in found else found


# ---- trees, by their values


def _same(pair: dict[str, Any]) -> bool:
    """Whether got and gold are the same: to a relative tolerance, or up to a factor, where the pair says so."""
    got, gold, factor = pair["got"], pair["gold"], pair.get("factor", "")
    digits = 50 + 3 * (_digits(got) + _digits(gold))
    names = sorted(names_of(got) | names_of(gold))
    if not names and not factor:
        tolerance = Fraction(pair.get("tolerance", "0"))
        return _near(got, gold, tolerance) or _agree(got, gold, {}, digits)
    is_complex = calls(got, _IMAGINARY) or calls(gold, _IMAGINARY)
    bent = is_bent(got) != is_bent(gold)
    ratios: list[Any] = []
    compared = 0
    scales = _WIDE_SCALES if is_bent(got) or is_bent(gold) else _SCALES
    points = [
        {name: _signed(scale, name, turn) * fraction_of(name, turn) for name in names}
        for turn, scale in enumerate(scales)
    ]
    if not all(any(_has_value(tree, point, digits, is_complex) for point in points) for tree in (got, gold)):
        points = [{name: Fraction(turn + 2 + len(name) % 3) for name in names} for turn in range(6)]  # (-1)^n
    for point in points:
        missing = [_has_value(tree, point, digits, is_complex) for tree in (got, gold)].count(False)
        if missing == 1 and bent:  # ln x and ln |x|: the bars are there for the side where the other has no value
            return False
        if missing:
            continue
        compared += 1
        if factor:
            ratios.append(_ratio(got, gold, point, digits))
        elif not _agree(got, gold, point, digits):
            return False
    if compared < 2:
        return False
    return not factor or _one_factor(ratios, digits, positive=factor == "positive")


def _signed(scale: Fraction, name: str, turn: int) -> Fraction:
    """The last two points have signs that differ from name to name."""
    return -scale if turn in (4, 5) and fraction_of(name, 77 + turn).numerator % 2 else scale


def _agree(got: Tree, gold: Tree, point: dict[str, Fraction], digits: int) -> bool:
    """Whether two values are equal: their distance is noise, which shrinks where more digits are computed."""
    gap, size = _gap(got, gold, point, digits)
    if gap <= size * mpmath.mpf(10) ** (-digits // 2):
        return True
    for _ in range(3):
        digits *= 2
        finer, _ = _gap(got, gold, point, digits)
        if finer > gap / 2:
            return False
        if finer <= gap * mpmath.mpf(10) ** (-digits // 8):
            return True
        gap = finer
    raise Undecided("two values that cannot be told apart")


def _gap(got: Tree, gold: Tree, point: dict[str, Fraction], digits: int) -> tuple[Any, Any]:
    """The distance of two values, and the larger of them."""
    with mpmath.workdps(digits):
        try:
            right = _value(gold, point)
        except (NoValue, ZeroDivisionError) as error:
            raise NoValue("the ground truth has no value") from error
        try:
            left = _value(got, point)
        except (NoValue, ZeroDivisionError):
            return mpmath.mpf(1), mpmath.mpf(0)
        return abs(left - right), max(abs(left), abs(right))


def _near(got: Tree, gold: Tree, tolerance: Fraction) -> bool:
    if not tolerance:
        return False
    gap, size = _gap(got, gold, {}, 60)
    with mpmath.workdps(60):
        return bool(gap <= size * tolerance.numerator / tolerance.denominator)


def _has_value(tree: Tree, point: dict[str, Fraction], digits: int, is_complex: bool) -> bool:
    """Whether there is a finite value, and a real one unless i is in it."""
    with mpmath.workdps(digits):
        try:
            value = _value(tree, point, real=not is_complex)
        except (NoValue, ZeroDivisionError):
            return False
        return bool(mpmath.isfinite(value))


def _ratio(got: Tree, gold: Tree, point: dict[str, Fraction], digits: int) -> Any:
    with mpmath.workdps(digits):
        left, right = _value(got, point), _value(gold, point)
        tiny = mpmath.mpf(10) ** (-digits // 2)
        if abs(right) < tiny or abs(left) < tiny:
            return None if abs(right) < tiny and abs(left) < tiny else mpmath.inf
        return left / right


def _one_factor(ratios: list[Any], digits: int, *, positive: bool) -> bool:
    found = [ratio for ratio in ratios if ratio is not None]
    if len(found) < 2 or any(not mpmath.isfinite(ratio) for ratio in found):
        return False
    with mpmath.workdps(digits):
        near = all(abs(ratio - found[0]) <= abs(found[0]) * mpmath.mpf(10) ** (-digits // 2) for ratio in found)
    return near and (not positive or (mpmath.im(found[0]) == 0 and mpmath.re(found[0]) > 0))


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


# ---- texts, by math-verify


def _read(text: str) -> list[Any]:
    """What math-verify reads; empty when it cannot read the whole: no fallback to strings or to some number inside."""
    found: list[Any] = parse(
        text,
        [LatexExtractionConfig()],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # math-verify's own time-outs are signal.alarm: the parent kills us instead
        raise_on_error=True,
    )
    return found


def _compare(prediction: str, gold: str) -> dict[str, object]:
    """Whether the prediction equals the gold answer; never symmetric (math-verify follows the form of the gold)."""
    expected = _read(gold)
    if not expected:
        return {"unread": "gold"}
    got = _read(prediction)
    if not got:
        return {"unread": "prediction"}
    equal = bool(verify(expected, got, timeout_seconds=None, raise_on_error=True))
    return {"equal": equal and _has_same_value(got[0], expected[0])}


def _has_same_value(got: Any, gold: Any) -> bool:
    """The guard of math-verify's verdicts: expressions whose values agree to 100 digits, relative to their size.

    Sets, tuples and relations never pass: it takes some for equal that are not, and we read them ourselves.
    """
    if not (isinstance(got, sympy.Expr) and isinstance(gold, sympy.Expr)):
        return False
    if got == gold and not gold.has(sympy.nan, sympy.zoo, sympy.oo):  # an integral without bounds has no value
        return True
    symbols = sorted(got.free_symbols | gold.free_symbols, key=str)
    for turn in range(3 if symbols else 1):
        numbers = {s: sympy.Rational(*fraction_of(str(s), turn).as_integer_ratio()) / 30 for s in symbols}
        left, right = (sympy.N(side.subs(numbers), _SYMPY_DIGITS) for side in (got, gold))
        if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
            return False
        if abs(left - right) > max(abs(left), abs(right)) * sympy.Float(10, _SYMPY_DIGITS) ** -(_SYMPY_DIGITS - 20):
            return False
    return True


def _peak_bytes() -> int:
    """The most memory that this process has ever held, in bytes.

    Not getrusage on Linux: its ru_maxrss survives exec, so a child of a large training process would inherit a peak
    that is not its own, and every one of its answers would count as out of memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
