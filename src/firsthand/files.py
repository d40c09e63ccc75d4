"""Files and folders that appear whole: written beside their place, and renamed when they are complete."""

import difflib
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_LOG = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it takes the place of `path` when the block ends.

    A kill at any moment leaves either what was there before or the new content, and so does an error in the block. A
    folder takes the place of an empty one only.
    """
    draft = path.with_name(f".{path.name}.tmp")
    _remove(draft)
    try:
        yield draft
        _sync(draft)
        draft.replace(path)
        _sync(path.parent)
    finally:
        _remove(draft)


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """The folder of a file that the block writes; after an error it goes again, if it was made here and is empty."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a kill at any moment leaves either the old content or the new."""
    with replacing(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, for which other processes that do the same wait."""
    with lock_of(path):
        yield


def lock_of(path: Path) -> IO[str]:
    """A lock file in a folder that is made where there is none; close it to let others go on.

    Waits for the process that has it, and says so in the log.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = path.open("a")  # not "w", which would touch the file of a finished run
        except FileNotFoundError:
            continue  # its folder has just gone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.warning("%s: another process is working on this; waiting for it (Ctrl-C ends that)", path.parent)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
            return lock
        lock.close()  # whoever had it has deleted the folder


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock file."""
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go at once: several may ask
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def object_in(path: Path) -> dict[str, Any]:
    """The object of a JSON file; nothing where there is no such file, or none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def did_you_mean(missing: Path) -> str | None:
    """What to say of a path that leads nowhere: what stands beside it, and begins so or is alike; None without that."""
    if missing.exists():
        return None
    names = sorted(path.name for path in missing.parent.iterdir()) if missing.parent.is_dir() else []
    near = [n for n in names if n.startswith(missing.name)] or difflib.get_close_matches(missing.name, names)
    return f"did you mean {' or '.join(str(missing.with_name(name)) for name in near[:3])}?" if near else None


def _remove(draft: Path) -> None:
    """What an earlier kill, or an error, left half written."""
    if draft.is_dir():
        shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to the disk before the name says that they are there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
