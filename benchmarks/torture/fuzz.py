"""Fuzzing: a case is a pure function of the seed, the reader and its number; a failure keeps the smallest input.

Cases run in a child, which writes down each one before it begins. So the parent knows which case has ended the child,
has kept it computing for more than five seconds (the kernel ends it then), or has kept it waiting for a minute.
"""

import faulthandler
import hashlib
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torture import seeds
from torture.mutate import changed
from torture.readers import READERS, Reader, quietly

LONGEST_S = 5.0
"""Processor seconds of a case."""
LONGEST_WAIT_S = 60.0
"""Seconds of a case that waits instead: a busy machine must not look like a hang."""
MOST_BYTES = 2 << 30
"""That a case may add to the process."""
_CELL = struct.Struct("<q")


@dataclass
class Failure:
    """One kind of failure: where it comes from, the first case, and how many more had it."""

    reader: str
    number: int
    said: str
    count: int = 1
    kept: str = ""
    """The folder with the smallest input."""


@dataclass
class Found:
    """What a campaign has found."""

    cases: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Failure] = field(default_factory=dict)
    """By what is told alike."""

    def add(self, key: str, failure: Failure) -> bool:
        """Whether it is a new kind."""
        if key in self.failures:
            self.failures[key].count += 1
            return False
        self.failures[key] = failure
        return True


def case(seed: int, name: str, number: int) -> seeds.Files:
    """The files of a case: a corpus entry of which one file, seldom two, is damaged."""
    rng = random.Random(f"{seed} {name} {number}")
    corpus = _corpus(name)
    files = dict(rng.choice(corpus))
    others = [content for one in corpus for content in one.values()]
    named = next(iter(files))  # what the reader is told to read; that there is no such file is no damage
    for _ in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice(sorted(files))
        if path != named and rng.random() < 0.05:
            del files[path]
        else:
            files[path] = changed(rng, path, files[path], others)
    return files


_CORPORA: dict[str, list[seeds.Files]] = {}
_WARM: set[str] = set()


def _corpus(name: str) -> list[seeds.Files]:
    if name not in _CORPORA:
        _CORPORA[name] = READERS[name].seeds()
    return _CORPORA[name]


def warm(name: str) -> None:
    """Read the corpus once, so that what a reader imports is there in every child."""
    if name in _WARM:
        return
    _WARM.add(name)
    for files in _corpus(name):
        with TemporaryDirectory() as place:
            ask(READERS[name], files, Path(place, "case"))


def ask(reader: Reader, files: seeds.Files, place: Path) -> BaseException | None:
    """Write a case's files into an empty folder, and have them read."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return quietly(reader, place)


def run(
    seed: int,
    chosen: Sequence[str],
    cases: int,
    keep: Path,
    *,
    ends: float = float("inf"),
    first: int = 0,
    say: Callable[[str], object] = print,
) -> Found:
    """So many cases, shared among readers by their shares, numbered from `first`; failures are kept below `keep`."""
    found = Found()
    whole = sum(READERS[name].share for name in chosen)
    left = {name: max(1, cases * READERS[name].share // whole) for name in chosen}
    at = dict.fromkeys(chosen, first)
    while any(left.values()) and time.monotonic() < ends:
        for name in chosen:  # in turns, so that a campaign that is cut short has asked all of them
            block = min(left[name], max(1, READERS[name].share * 25))
            if block and time.monotonic() < ends:
                _block(seed, name, range(at[name], at[name] + block), found, keep, ends, say)
                at[name] += block
                left[name] -= block
    return found


def _block(
    seed: int, name: str, numbers: range, found: Found, keep: Path, ends: float, say: Callable[[str], object]
) -> None:
    """Cases in one child after the other: a child ends with the case that ends it."""
    warm(name)
    number = numbers.start
    while number < numbers.stop and time.monotonic() < ends:
        with TemporaryDirectory() as place:
            done, key, said = _child(seed, name, range(number, numbers.stop), Path(place), ends)
        found.cases[name] += done - number
        number = done
        if not said:
            continue
        failure = Failure(name, done - 1, said)
        if found.add(key, failure):
            failure.kept = str(_keep(seed, failure, key, keep))
            say(f"{name} {failure.number}: {said.strip().splitlines()[-1][:200]} -> {failure.kept}")


def _child(seed: int, name: str, numbers: range, place: Path, ends: float) -> tuple[int, str, str]:
    """How far a child came, and with what it ended if a case was at fault: what is told alike, and a message."""
    shared = mmap.mmap(-1, _CELL.size)
    told = place / "told"
    _CELL.pack_into(shared, 0, numbers.start)
    pid = forked()
    if pid == 0:
        _limit()
        try:
            for number in numbers:
                _CELL.pack_into(shared, 0, number)
                _allow_seconds()
                if (error := ask(READERS[name], case(seed, name, number), place / "case")) is not None:
                    told.write_text("\n".join(signature(error)), encoding="utf-8", errors="backslashreplace")
                    os._exit(1)
                if time.monotonic() > ends:
                    _CELL.pack_into(shared, 0, number + 1)
                    os._exit(2)
        except BaseException:
            told.write_text(f"campaign\n{traceback.format_exc()}", encoding="utf-8", errors="backslashreplace")
            os._exit(1)
        os._exit(0)
    status, is_stuck = _waited(pid, shared)
    number = int(_CELL.unpack_from(shared, 0)[0])
    shared.close()
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return numbers.stop, "", ""
    if code == 2:
        return number, "", ""
    if code == 1 and told.exists():
        key, _, said = told.read_text(encoding="utf-8").partition("\n")
        return number + 1, key, said
    said = f"waited for more than {LONGEST_WAIT_S:g} s" if is_stuck else _ended(code)
    return number + 1, f"{name} {said}", said


def forked() -> int:
    """As `os.fork`. Libraries have threads of their own, of which Python 3.12 warns; a child that they stop is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _waited(pid: int, shared: mmap.mmap) -> tuple[int, bool]:
    """A child's status, and whether it had to be ended because a case went on for too long."""
    number, since, nap = None, time.monotonic(), 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, False
        if (now := _CELL.unpack_from(shared, 0)[0]) != number:
            number, since = now, time.monotonic()
        elif time.monotonic() - since > LONGEST_WAIT_S:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1], True
        time.sleep(nap)
        nap = min(0.05, 2 * nap)


def _limit() -> None:
    """Of this process, which is a child: its memory; and that the kernel ends it when its time is over."""
    faulthandler.disable()  # the parent tells of a crash, once
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allow_seconds() -> None:
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)


def _ended(code: int) -> str:
    if code == -signal.SIGPROF:
        return f"computed for more than {LONGEST_S:g} s"
    return f"ended the process: {signal.Signals(-code).name}" if code < 0 else f"ended the process with status {code}"


def signature(error: BaseException) -> tuple[str, str]:
    """What makes two failures one kind, the error's type and the last line of ours that it passed; and a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "firsthand" in Path(f.filename).parts] or list(frames)
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} {where}", "".join(traceback.format_exception(error))[-6000:]


def _keep(seed: int, failure: Failure, key: str, keep: Path) -> Path:
    """Keep the smallest input of a failure, with a note of what happens."""
    files = smallest(READERS[failure.reader], case(seed, failure.reader, failure.number), key, failure.reader)
    folder = keep / f"{failure.reader.replace(' ', '-')}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / "input" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "input" / path).write_bytes(content)
    folder.mkdir(parents=True, exist_ok=True)
    said = f"seed {seed}, reader {failure.reader}, case {failure.number}\n\n{failure.said}\n"
    (folder / "failure.txt").write_text(said, encoding="utf-8", errors="backslashreplace")
    return folder


def smallest(reader: Reader, files: seeds.Files, key: str, name: str, tries: int = 150) -> seeds.Files:
    """The files without what the failure does not need: whole files first, then pieces of halving size."""
    ends = time.monotonic() + 60
    left = [tries]

    def fails(candidate: seeds.Files) -> bool:
        left[0] -= 1
        return left[0] >= 0 and time.monotonic() < ends and _ends_as(reader, candidate, name) == key

    kept = dict(files)
    for path in sorted(list(kept)[1:], key=lambda p: -len(kept[p])):
        less = {p: c for p, c in kept.items() if p != path}
        if fails(less):
            kept = less
    for path in sorted(kept, key=lambda p: -len(kept[p])):
        for size in _sizes(len(kept[path])):
            at = 0
            while at < len(kept[path]) and left[0] > 0:
                less = {**kept, path: kept[path][:at] + kept[path][at + size :]}
                if fails(less):
                    kept = less
                else:
                    at += size
    return kept


def _sizes(length: int) -> Iterator[int]:
    size = length // 2
    while size:
        yield size
        size //= 2


def _ends_as(reader: Reader, files: seeds.Files, name: str) -> str:
    """The kind of failure of these files; empty where there is none."""
    with TemporaryDirectory() as place:
        told = Path(place, "told")
        shared = mmap.mmap(-1, _CELL.size)
        pid = forked()
        if pid == 0:
            try:
                _limit()
                _allow_seconds()
                error = ask(reader, files, Path(place, "case"))
                if error is not None:
                    told.write_text(signature(error)[0])
            finally:
                os._exit(0 if not told.exists() else 1)
        status, is_stuck = _waited(pid, shared)
        shared.close()
        code = os.waitstatus_to_exitcode(status)
        if told.exists():
            return told.read_text()
        if is_stuck:
            return f"{name} waited for more than {LONGEST_WAIT_S:g} s"
        return f"{name} {_ended(code)}" if code else ""


def summary(found: Found) -> dict[str, Any]:
    """As a line of JSON."""
    return {
        "cases": sum(found.cases.values()),
        "by_reader": dict(found.cases),
        "kinds_of_failures": len(found.failures),
        "failures": sum(one.count for one in found.failures.values()),
        "kept": [one.kept for one in found.failures.values()],
    }


@contextmanager
def in_memory() -> Iterator[None]:
    """Temporary files of this process where they cost no disk, if there is such a place."""
    import tempfile

    before = tempfile.tempdir
    if os.access("/dev/shm", os.W_OK):
        tempfile.tempdir = "/dev/shm"
    try:
        yield
    finally:
        tempfile.tempdir = before


if __name__ == "__main__":
    sys.exit("run it with `python -m torture fuzz`")
