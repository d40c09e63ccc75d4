"""Compare expressions. A task of zygote.py, not to import.

A request has `pairs` of trees (op, parts, text), as answers/maths/expressions.py writes them, or `prediction` and
`gold`, texts that only math-verify may read, or both: then the texts are for what is too large to compare as trees. It
gets one of {"equal": [bool, ...]}, for texts {"equal": bool}, {"unread": "prediction" | "gold"} and {"error": str}.

Trees are compared by their values (values.py). What math-verify finds equal must be so by its values too.
"""

import errno
import resource
import sys
from pathlib import Path
from typing import Any

import sympy  # type: ignore[import-untyped, unused-ignore]
from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped, unused-ignore]

from firsthand.workers.exact import TooLarge, fraction_of
from firsthand.workers.limits import limit
from firsthand.workers.values import same_by_value

_MEMORY_BYTES = 1 << 30
"""Address space of one worker (ours): ordinary comparisons take 0.1 GB, and a bomb must not take the machine."""
_SYMPY_DIGITS = 120


def before_fork() -> None:
    """Fill the parser's caches once, for every child: a first expression takes as long as a hundred later ones."""
    for text in (r"\frac{x^2+1}{2}=\sqrt{3}\sin(x)", "1{,}000.5", r"\{1, 2\}", r"50\%", r"x \le 5", "(1, 2)", "|x|"):
        _compare(f"${text}$", f"${text}$")


def prepare(_: str) -> None:
    """Limit this process's memory."""
    limit(resource.RLIMIT_AS, _MEMORY_BYTES)


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
        found = _compare(request["prediction"], request["gold"], guarded=False)
        if found.get("equal") or len(request["pairs"]) > 1:  # sympy may have rounded
            return {"error": "numbers of too many digits"}
        return {"equal": [False]} if "equal" in found else found


def _same(pair: dict[str, Any]) -> bool:
    try:
        return same_by_value(pair)
    except TooLarge:
        if pair["got"] == pair["gold"]:
            return True
        raise


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


def _compare(prediction: str, gold: str, *, guarded: bool = True) -> dict[str, object]:
    """Whether the prediction equals the gold answer; never symmetric (math-verify follows the form of the gold)."""
    expected = _read(gold)
    if not expected:
        return {"unread": "gold"}
    got = _read(prediction)
    if not got:
        return {"unread": "prediction"}
    equal = bool(verify(expected, got, timeout_seconds=None, raise_on_error=True))
    return {"equal": equal and (not guarded or _has_same_value(got[0], expected[0]))}


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
        numbers = {s: 2 + fraction_of(str(s), turn).numerator % 97 for s in symbols}  # bounds of sums are whole
        left, right = (sympy.N(side.subs(numbers).doit(), _SYMPY_DIGITS) for side in (got, gold))
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
        return int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
