"""How verifiers word their verdicts. Wrong, unreadable and unmeasured are three things: each has its function."""

from firsthand.errors import excerpt
from firsthand.records import Status, Verdict
from firsthand.workers.pool import DeadlineExceeded

LARGEST_SCORE = 1e6
"""Of a scorer of somebody else (ours). Sums and squares of larger ones overflow, and would end a run."""


def is_usable(score: float) -> bool:
    """Whether a score can be reckoned with: finite, and not beyond LARGEST_SCORE."""
    return abs(score) <= LARGEST_SCORE


def compared(equal: bool, parsed: str, truth: str) -> Verdict:
    """The answer was read, and it is right (1) or wrong (0)."""
    return Verdict(
        score=float(equal),
        status=Status.OK,
        parsed=excerpt(parsed),
        why=f"equals {excerpt(truth)}" if equal else f"expected {excerpt(truth)}",
    )


def unparsed(content: str, why: str) -> Verdict:
    """There is an answer block, but nothing of the kind of the ground truth in it: scored 0."""
    return Verdict(score=0.0, status=Status.UNPARSED, parsed=excerpt(content), why=why)


def failed(why: str | Exception, parsed: str | None = None) -> Verdict:
    """The verifier, or the ground truth it was given, is broken or, as DeadlineExceeded says, too slow: unmeasured."""
    status = Status.TIMED_OUT if isinstance(why, DeadlineExceeded) else Status.FAILED
    return Verdict(score=None, status=status, parsed=None if parsed is None else excerpt(parsed), why=str(why))
