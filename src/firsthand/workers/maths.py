"""Compare expressions with math-verify. A task of zygote.py, not to import.

A request {"prediction", "gold"} gets one of {"equal": bool}, {"unread": "prediction" | "gold"} and {"error": str}.
"""

import errno
import resource
import sys
from pathlib import Path
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped, unused-ignore]

_MEMORY_BYTES = 1 << 30
"""Address space of one worker (ours): ordinary comparisons take 0.1 GB, and a bomb must not take the machine."""


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
        result = _compare(request["prediction"], request["gold"])
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    # sympy and math-verify swallow a MemoryError and go on to "not equal": such an answer must not be given.
    if _peak_bytes() > _MEMORY_BYTES // 2:
        sys.exit(errno.ENOMEM)
    return result


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
    return {"equal": bool(verify(expected, got, timeout_seconds=None, raise_on_error=True))}


def _peak_bytes() -> int:
    """The most memory that this process has ever held, in bytes.

    Not getrusage on Linux: its ru_maxrss survives exec, so a child of a large training process would inherit a peak
    that is not its own, and every one of its answers would count as out of memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes
