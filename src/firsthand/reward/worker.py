"""The child process of pool.py: compares mathematical expressions with math-verify. A script, not to import.

Protocol: one JSON object per line. First it says {"ready": true}; then each request
{"prediction", "gold", "deadline_s"} gets one of {"equal": bool}, {"unread": "prediction" | "gold"} and {"error": str}.
It imports nothing of ours, so it starts in well under a second and never loads torch.
"""

import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify  # type: ignore[import-untyped, unused-ignore]

MEMORY_BYTES = 1 << 30
"""Address space of one worker (ours): ordinary comparisons take 0.1 GB, and a bomb must not take the machine."""
OUT_OF_MEMORY = 12
"""Exit status of a worker that has used half of its address space: errno's ENOMEM."""
GRACE_S = 0.5
"""How much later than the parent's deadline a worker ends itself."""


def read(text: str) -> list[Any]:
    """What math-verify reads in LaTeX text with its delimiters; empty when it reads nothing.

    Strict: no fallback to strings, and no search for some other number when the expression as a whole is not readable.
    """
    found: list[Any] = parse(
        text,
        [LatexExtractionConfig()],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # math-verify's own time-outs are signal.alarm: the parent kills us instead
        raise_on_error=True,
    )
    return found


def compare(prediction: str, gold: str) -> dict[str, object]:
    """Whether the prediction equals the gold answer; never symmetric (math-verify follows the form of the gold)."""
    expected = read(gold)
    if not expected:
        return {"unread": "gold"}
    got = read(prediction)
    if not got:
        return {"unread": "prediction"}
    return {"equal": bool(verify(expected, got, timeout_seconds=None, raise_on_error=True))}


def peak_bytes() -> int:
    """The most memory that this process has ever held.

    Not getrusage on Linux: its ru_maxrss survives exec, so a child of a large training process would inherit a peak
    that is not its own, and every one of its answers would count as out of memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a library that prints must not write into the protocol
    logging.disable(logging.CRITICAL)  # math-verify warns that its time-outs are off
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel's default action ends the process, even inside C code
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # Should the parent be gone when the deadline comes, nobody else would end a comparison that never ends.
        signal.setitimer(signal.ITIMER_REAL, request["deadline_s"] + GRACE_S)
        try:
            answer = compare(request["prediction"], request["gold"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        # sympy and math-verify swallow a MemoryError and go on to "not equal": such an answer must not be given.
        if peak_bytes() > MEMORY_BYTES // 2:
            sys.exit(OUT_OF_MEMORY)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
