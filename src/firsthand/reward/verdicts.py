"""How verifiers word their verdicts. Wrong, unreadable and unmeasured are three things: each has its function."""

from firsthand.records import Status, Verdict

LONGEST_SHOWN = 200
"""Characters of a reply that a verdict quotes (ours); verdicts are kept by the million."""


def compared(equal: bool, parsed: str, gold: str) -> Verdict:
    """The answer was read, and it is right (1) or wrong (0)."""
    return Verdict(
        score=float(equal),
        status=Status.OK,
        parsed=shown(parsed),
        why=f"equals {shown(gold)}" if equal else f"expected {shown(gold)}",
    )


def unparsed(content: str, why: str) -> Verdict:
    """There is an answer block, but nothing of the gold answer's kind in it: scored 0."""
    return Verdict(score=0.0, status=Status.UNPARSED, parsed=shown(content), why=why)


def failed(why: str, parsed: str | None = None) -> Verdict:
    """The verifier, or the gold answer it was given, is broken: unmeasured."""
    return Verdict(score=None, status=Status.FAILED, parsed=None if parsed is None else shown(parsed), why=why)


def shown(text: str) -> str:
    """Untrusted text as a verdict may carry it: short, and valid Unicode (a record refuses lone surrogates)."""
    text = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
