"""The seam to helper models, which caption, distil, rewrite and judge: one method, `Teacher.reply`.

Wrap a teacher in a `CachedTeacher`, and a second run asks nothing, costs nothing and reads the same bytes.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol, final

from firsthand.errors import DataError
from firsthand.records import Picture, Record, content_id


class Message(Record):
    """One turn of a conversation with a teacher; the images come before the text."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[Picture, ...] = ()


class Teacher(Protocol):
    """A helper model."""

    def reply(self, messages: Sequence[Message]) -> str:
        """The text of the next assistant turn. What goes wrong raises: there is no empty or made-up reply."""
        ...


@final
class ScriptedTeacher:
    """The twin for tests and dry runs: answers from a script, keyed by the text of the last message."""

    def __init__(self, script: Mapping[str, str]) -> None:
        self._script = dict(script)
        self.asked: list[tuple[Message, ...]] = []
        """Every conversation that reached this teacher, in order."""

    def reply(self, messages: Sequence[Message]) -> str:
        """The scripted line. Raises DataError when the script has none."""
        self.asked.append(tuple(messages))
        cue = messages[-1].text
        if cue not in self._script:
            raise DataError(f"expected a message the script knows, got {cue!r}; add a line for it to the script")
        return self._script[cue]


@final
class CachedTeacher:
    """A teacher that is asked each question once; its replies live in an SQLite file.

    A failed call is not cached. Threads and processes may share the file: of two simultaneous replies to one question
    the first one written is the one that everybody gets, then and later.
    """

    def __init__(self, teacher: Teacher, file: Path, *, identity: str) -> None:
        """`identity` names the model and its settings: two teachers in one file answer only for themselves."""
        self._teacher, self._file, self._identity = teacher, file, identity
        with self._connect() as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def reply(self, messages: Sequence[Message]) -> str:
        """The cached reply, or else the teacher's own, which is kept. Raises what the teacher raises."""
        key = self._key(messages)
        with self._connect() as db:
            row = db.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return str(row[0])
        fresh = self._teacher.reply(messages)
        with self._connect() as db, db:
            db.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, fresh))
        return self.reply(messages)

    def _key(self, messages: Sequence[Message]) -> str:
        return content_id(self._identity, [(m.role, m.text, [p.sha256 for p in m.images]) for m in messages])

    def _connect(self) -> closing[sqlite3.Connection]:
        # One connection per call: SQLite's must not cross threads, and must not survive a fork.
        return closing(sqlite3.connect(self._file))
