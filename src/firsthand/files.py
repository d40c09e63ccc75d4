"""Files and folders that appear whole, and journals that grow: what is written here survives a loss of power.

Content comes to the disk before the name that says it is there, and the name before anybody is told.
"""

import difflib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

_LOG = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it takes the place of `path` when the block ends.

    A kill at any moment leaves either what was there before or the new content, and so do an error in the block and a
    loss of power. A folder takes the place of an empty one only.
    """
    draft = path.with_name(f".{path.name}.tmp")
    _remove(draft)
    try:
        yield draft
        sync_tree(draft)
        draft.replace(path)
        sync(path.parent)
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


def append(path: Path, lines: str) -> None:
    """Add lines to a journal, in UTF-8; they are on the disk when this returns."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8") as journal:
        journal.write(lines)
        journal.flush()
        os.fsync(journal.fileno())
    if is_new:
        sync(path.parent)


def sync_tree(path: Path) -> None:
    """Bring a file, or a folder with all that is below it, to the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync(Path(folder, name))
        sync(Path(folder))
    if not path.is_dir():
        sync(path)


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
            lock = path.open("a", encoding="utf-8")  # not "w", which would touch the file of a finished run
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
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go at once: several may ask
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


Kinds = Mapping[str, type | tuple[type, ...]]
"""What the values of some keys of a JSON object are; null, and a key that is not there, are always right."""


def object_in(path: Path, kinds: Kinds = MappingProxyType({})) -> dict[str, Any]:
    """The object of a JSON file; nothing where there is none, or none that can be read, or is of those kinds."""
    try:
        content = json.loads(path.read_bytes())
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair can be read, and not written again
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and strange_key(content, kinds) is None else {}


def strange_key(content: Mapping[str, Any], kinds: Kinds) -> str | None:
    """The first key whose value is of another kind; None: there is none. True and false are no numbers."""
    for key, kind in kinds.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            return key
    return None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to the disk before the name says that they are there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
