"""Keep answers in an SQLite file, each under its request's key: the one place where answers are kept.

An answer that is in the log is paid for, and survives `kill -9` and a loss of power. What is written at about the same
time shares one transaction, and so one fsync.
"""

import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import reduce
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Self, final

from pydantic import TypeAdapter, ValidationError

from firsthand.batched import batched
from firsthand.errors import DataError
from firsthand.teacher.types import Completion, Failure, Outcome

TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, step TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    step TEXT NOT NULL, model TEXT NOT NULL, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, dollars REAL NOT NULL, PRIMARY KEY (step, model));
CREATE TABLE IF NOT EXISTS sent (key TEXT PRIMARY KEY, step TEXT NOT NULL);
"""
PAY = """
INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens, dollars = dollars + excluded.dollars,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""

_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Completion | Failure)


class Spent(NamedTuple):
    """Requests, tokens and dollars that were paid for; what a server did not report counts as 0."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of prompts and completions."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Spent") -> "Spent":
        """The sum of both."""
        return Spent(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.dollars + other.dollars,
        )


_SPENT = TypeAdapter(Spent)
_Entry = tuple[tuple[str, str, str], tuple[str, str], Spent, "Future[None]"]
"""A row of `answers`, who pays for it and how much, and what is done when both are on the disk."""

_EARLIER_NAMES = ("judge.sqlite", "server.sqlite")
"""Of the log of a folder, in versions up to 0.1: what a judge said, and an evaluated model's replies."""


@final
class AnswerLog:
    """An open log; any thread may use it. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises DataError when there is something else under that name."""
        self.path = path
        self._guard = threading.Lock()
        self._reading, self._writing = self._connect(), self._connect()
        with self._whole():
            rows = self._reading.execute(
                "SELECT step, requests, prompt_tokens, completion_tokens, dollars FROM ledger"
            ).fetchall()
            self._spent: dict[str, Spent] = {}
            for step, *paid in rows:
                self._spent[step] = self.spent(step).plus(_SPENT.validate_python(paid))
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="answer log", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is queued, then close the file."""
        self._queue.put(None)
        self._writer.join()
        self._writing.close()
        self._reading.close()

    def get(self, key: str) -> Outcome | None:
        """The outcome that is kept under that key."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """The outcomes that are kept under those keys; other keys are absent. Raises DataError when one is damaged."""
        with self._whole():
            rows = self._rows("SELECT key, outcome FROM answers", keys)
            return {key: _OUTCOME.validate_json(outcome) for key, outcome in rows}

    def put(self, key: str, outcome: Outcome, *, step: str, dollars: float = 0.0) -> "Future[None]":
        """Keep an outcome; the future is done when it is on the disk, or raises DataError when that failed.

        An `unanswered` one is not kept, so that it is asked again. Of two under one key, the first one stays.
        """
        durable: Future[None] = Future()
        if isinstance(outcome, Failure) and outcome.reason == "unanswered":
            durable.set_result(None)
            return durable
        durable.set_running_or_notify_cancel()  # whoever waits may give up, but the writer will set a result
        cost = Spent(1, outcome.prompt_tokens or 0, outcome.completion_tokens or 0, dollars)
        model = outcome.model if isinstance(outcome, Completion) else ""
        with self._guard:
            self._spent[step] = self._spent.get(step, Spent()).plus(cost)
        self._queue.put(((key, step, outcome.model_dump_json()), (step, model), cost, durable))
        return durable

    def spent(self, step: str | None = None) -> Spent:
        """What a step has cost, or all of them; earlier runs included."""
        if step is not None:
            return self._spent.get(step, Spent())
        return reduce(Spent.plus, list(self._spent.values()), Spent())

    def expect(self, keys: Iterable[str], *, step: str) -> None:
        """Note that these keys went out in a batch file."""
        with self._guard, self._reading as db:
            db.executemany("INSERT OR REPLACE INTO sent VALUES (?, ?)", ((key, step) for key in keys))

    def expected(self, keys: Iterable[str]) -> dict[str, str]:
        """Of these keys, those that went out in a batch file, with their step."""
        with self._whole():
            return dict(self._rows("SELECT key, step FROM sent", keys))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Raises DataError when the file is found damaged in the block."""
        try:
            yield
        except (sqlite3.DatabaseError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise DataError(
                f"{self.path}: expected the answers that were kept, got a damaged file ({said}); restore it from a "
                "copy, or delete it: all is asked and paid again then"
            ) from error

    def _rows(self, select: str, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        for some in batched(keys, 500):  # SQLite allows 32,766 in one SELECT
            with self._guard:
                rows = self._reading.execute(f"{select} WHERE key IN ({', '.join('?' * len(some))})", some).fetchall()
            yield from rows

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=60.0, check_same_thread=False)  # while others write
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            db.close()
            raise DataError(f"{self.path}: expected a log of answers, got {error}; name another file") from error
        return db

    def _write(self) -> None:
        while True:
            entries = [self._queue.get()]
            while not self._queue.empty():
                entries.append(self._queue.get())
            self._commit([entry for entry in entries if entry is not None])
            if None in entries:
                return

    def _commit(self, entries: list[_Entry]) -> None:
        paid: dict[tuple[str, str], Spent] = {}
        for _, payer, cost, _ in entries:
            paid[payer] = paid.get(payer, Spent()).plus(cost)
        try:
            with self._writing as db:
                db.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (row for row, *_ in entries))
                db.executemany(PAY, ((*payer, *cost) for payer, cost in paid.items()))
        except sqlite3.Error as error:
            for *_, durable in entries:
                durable.set_exception(
                    DataError(f"{self.path}: an answer could not be kept: {error}; make room, and run again")
                )
        else:
            for *_, durable in entries:
                durable.set_result(None)


@contextmanager
def open_log(folder: Path | None) -> Iterator[AnswerLog]:
    """The log of a folder, `answers.sqlite`, made if it is new; one that ends with the block where there is no folder.

    A log that an earlier version has begun under another name goes on under that name.
    """
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        place = Path(place)
        place.mkdir(parents=True, exist_ok=True)
        earlier = (place / name for name in _EARLIER_NAMES if (place / name).exists())
        with AnswerLog(next(earlier, place / "answers.sqlite")) as log:
            yield log
