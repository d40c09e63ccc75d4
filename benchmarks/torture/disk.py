"""Faults of the file system: a disk that is full or read-only from its n-th write on; files that are cut, or changed.

A write is whatever opens a file for writing, renames, or makes a folder below the command's output; its place is where
Python asks the system (an audit hook), and the system's answer is what a full disk gives. What writes without Python
(weights, Parquet, SQLite) meets a limit of the size of files instead, whose answer comes in the middle of a write.

A command that meets one ends with one message, and given again it ends as if nothing had been. After damage to a file
it may also refuse; it may never end well with another result, nor with a traceback.
"""

import errno
import functools
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture.commands import differing, names, result, started

FAULTS = ("full", "read-only", "short", "cut", "flipped", "zeros")
_ERRORS = {"full": errno.ENOSPC, "read-only": errno.EROFS}
_NAMES = {"os.rename", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
_GONE = {"os.remove", "os.rmdir"}
"""What a full disk still does, and a read-only one does not."""


def run(
    seed: int, chosen: str | None, number: int, place: Path, *, ends: float, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """So many faults, in turns over the commands and the kinds; what fails stays in its folder below `place`."""
    dice = random.Random(f"{seed} disk")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    expected: dict[str, dict[str, str]] = {}
    writes: dict[str, int] = {}
    for name in names(chosen):
        out = place / f"{name}-undisturbed" / "out"
        counter = out.parent / "writes"
        status, said = _carried_out(name, out, functools.partial(_count, str(out), str(counter)))
        assert status == 0, f"{name} does not end undisturbed: {said[-2000:]}"
        expected[name], writes[name] = result(out), counter.stat().st_size
        say(f"{name}: {writes[name]} writes, {len(expected[name])} files")
    done: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    while sum(done.values()) < number and time.monotonic() < ends:
        for name in expected:
            fault = dice.choice(FAULTS)
            folder = place / f"{name}-{sum(done.values())}"
            outcome, wrong = _tried(name, folder / "out", fault, writes[name], expected[name], dice)
            done[fault] += 1
            outcomes[outcome] += 1
            if wrong:
                failures.append(f"{folder}: {fault}: {wrong}")
                say(failures[-1])
            else:
                shutil.rmtree(folder)
            if sum(done.values()) >= number or time.monotonic() >= ends:
                break
    return {
        "faults": sum(done.values()),
        "by_kind": dict(done),
        "writes": writes,
        "outcomes": dict(outcomes),
        "failures": len(failures),
        "kept": failures,
    }


def _tried(
    name: str, out: Path, fault: str, writes: int, expected: dict[str, str], dice: random.Random
) -> tuple[str, str]:
    """What became of a command with one fault, and what was wrong with that, if anything was."""
    at = dice.randrange(writes)
    if fault == "short":
        longest = int(2 ** dice.uniform(13, 23))  # what a command says is a file, too
        status, said = _carried_out(name, out, functools.partial(_longest, longest))
    elif fault in _ERRORS:
        status, said = _carried_out(name, out, functools.partial(_fail_from, str(out), at, fault))
    else:
        status, said = _carried_out(name, out, functools.partial(_die_at, str(out), at))
        what = _damaged(out, fault, dice)
        status, said = _carried_out(name, out, None)
        said = f"{what}\n{said}"
        if status == 0:
            differ = differing(expected, result(out))
            return "the same", f"{what}: another result without a word: {', '.join(differ[:3])}" if differ else ""
        wrong = _is_told(status, said)
        return "refused", f"{what}: {wrong}" if wrong else ""
    if status != 0 and (wrong := _is_told(status, said)):
        return "failed", wrong
    again, said = _carried_out(name, out, None)
    if again != 0:
        return "failed", f"given again it ends with {again}: {said[-300:]}"
    differ = differing(expected, result(out))
    return ("the same", f"given again: {', '.join(differ[:3])}") if differ else ("the same", "")


def _is_told(status: int | None, said: str) -> str:
    """What is wrong with how a command has failed."""
    if status is None or status < 0:
        return f"ended by signal {status}"
    if "Traceback (most recent call last)" in said:
        return said.strip().splitlines()[-1][:300]
    return "" if "firsthand: " in said else f"status {status} without a message: {said[-200:]}"


def _damaged(out: Path, fault: str, dice: random.Random) -> str:
    """Damage one file of an output that was left in its middle; which, and where."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.stat().st_size and path.name != ".lock"]
    if not files:
        return "no file yet"
    path = dice.choice(files)
    content = bytearray(path.read_bytes())
    at = dice.randrange(len(content))
    if fault == "flipped":
        content[at] ^= 1 << dice.randrange(8)
    elif fault == "cut":
        del content[at:]
    else:
        content[at:] = bytes(len(content) - at)
    path.write_bytes(content)
    return f"{path.relative_to(out)} {fault} at {at} of {len(content)}"


def _carried_out(name: str, out: Path, before: Callable[[], None] | None) -> tuple[int | None, str]:
    """The exit status of a command, and what it said."""
    said = out.parent / "said.txt"
    said.parent.mkdir(parents=True, exist_ok=True)
    said.unlink(missing_ok=True)
    process = started(name, out, said, before)
    process.join()
    return process.exitcode, said.read_text(encoding="utf-8", errors="replace")


def _hooked(below: str, on_write: Callable[[bool], None]) -> None:
    """Have a function called before each write below a folder; it is told whether something is only removed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            is_write = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            path, is_write = (arguments[0] if arguments else None), event in _NAMES or event in _GONE
        if is_write and isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(below):
            on_write(event in _GONE)

    sys.addaudithook(hook)


def _count(below: str, counter: str) -> None:
    """A byte in a file for every write: what a command does is known when it has ended, however it does."""
    descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _hooked(below, lambda gone: None if gone else os.write(descriptor, b"."))  # type: ignore[arg-type, return-value]


def _fail_from(below: str, at: int, fault: str) -> None:
    """Every write from this one on fails."""
    left = [at]

    def fail(gone: bool) -> None:
        if not gone:
            left[0] -= 1
        if left[0] < 0 and (fault == "read-only" or not gone):
            raise OSError(_ERRORS[fault], os.strerror(_ERRORS[fault]), below)

    _hooked(below, fail)


def _die_at(below: str, at: int) -> None:
    """The process is killed before this write."""
    left = [at]

    def die(gone: bool) -> None:
        left[0] -= not gone
        if left[0] < 0:
            os.killpg(0, signal.SIGKILL)

    _hooked(below, die)


def _longest(size: int) -> None:
    """No file grows beyond so many bytes, as on a disk that is full by then."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
