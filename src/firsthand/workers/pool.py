"""Worker processes for untrusted work, such as comparing expressions, that are killed at a deadline.

Why processes: a Python signal handler cannot interrupt one long operation in C, and is not to be had off the main
thread; a thread pool's time-out returns and leaves the thread computing. Only a process can be ended. Why not
multiprocessing: it pickles, and its children import the parent's main module (and torch with it). Here a worker is one
script (zygote.py) that reads and writes JSON lines; it forks its child only after it has imported what is slow.
"""

import atexit
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any

ZYGOTE = Path(__file__).with_name("zygote.py")
MATHS = Path(__file__).with_name("maths.py")
MATHVISION = Path(__file__).with_name("mathvision.py")
USER_FUNCTION = Path(__file__).with_name("user_function.py")
START_LIMIT_S = 120.0
"""How long a worker may take to import sympy; ours, generous for a loaded machine. It does not count as comparing."""

MOST_ANSWER = 2**26
"""Bytes of an answer (ours); the longest that a task gives is a rendered conversation, of half that at most."""
MOST_OUTPUT = 2**24
"""Bytes that a worker and what it starts may print (ours): more would fill a log."""


class DeadlineExceeded(Exception):
    """A comparison did not end in time; its worker has been killed."""


class WorkerDied(Exception):
    """A worker ended in the middle of a comparison."""


class ChildDied(WorkerDied):
    """Only the child has ended; its zygote is there and has forked another."""


class WorkerBroken(RuntimeError):
    """A worker cannot be started at all: a mistake of the installation or of the user, and not of any reply."""


class Worker:
    """A zygote and its child, started at the first request; a child that was killed is replaced. Not thread-safe."""

    def __init__(self, task: Sequence[str]) -> None:
        """`task` is the script that the child runs, and its argument."""
        self._task = tuple(task)
        self._process: subprocess.Popen[bytes] | None = None
        self._child: int | None = None
        self._number = 0
        self._unread = b""
        self._reader: Thread | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the processes that are running: the zygote's, and its child's where it is known."""
        if self._process is None:
            return ()
        return (self._process.pid,) if self._child is None else (self._process.pid, self._child)

    def ask(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """One request's answer. Raises DeadlineExceeded and WorkerDied; the next request finds another child then."""
        process = self._process or self._launch()
        try:
            if self._child is None:
                self._await_child(process)
            self._number += 1
            message = {**request, "n": self._number, "deadline_s": deadline_s}
            assert process.stdin is not None
            process.stdin.write(json.dumps(message).encode() + b"\n")
            return self._answer(process, deadline_s)
        except (DeadlineExceeded, ChildDied):
            raise
        except BrokenPipeError as error:
            status = process.wait()
            self.stop()
            raise WorkerDied(f"the worker ended with exit status {status}") from error
        except BaseException:  # whatever ended the wait, nobody knows what will come through these pipes
            self.stop()
            raise

    def stop(self) -> None:
        """Kill the zygote and its child, if there are any, and wait until they are gone."""
        if self._process is None:
            return
        process, child = self._process, self._child
        self._process, self._child, self._unread = None, None, b""
        process.terminate()
        try:
            process.wait(10.0)  # a zygote ends itself and its child
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode != 0 and child is not None:  # somebody has killed the zygote: its child is an orphan
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        if self._reader is not None:
            self._reader.join(1.0)  # what it has printed is told, unless somebody holds the pipe open

    def _launch(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            # -P keeps the script's folder off sys.path, where our math.py would hide the standard library's.
            [sys.executable, "-P", str(ZYGOTE), *self._task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # sympy orders some sets by hash: one seed in every worker, so that every worker gives the same verdict.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        assert self._process.stderr is not None
        self._reader = Thread(target=_pass_on, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        return self._process

    def _await_child(self, process: subprocess.Popen[bytes]) -> None:
        """Pass over what earlier children have left, up to the first word of the one that is there."""
        end = time.monotonic() + START_LIMIT_S
        try:
            while self._child is None:
                message = self._message(process, end, START_LIMIT_S)
                if "broken" in message:
                    raise WorkerBroken(message["broken"])
                self._child = message.get("ready")
        except (DeadlineExceeded, WorkerDied) as error:
            raise WorkerBroken(
                f"a worker does not start ({error}); is what it imports, such as math-verify, installed?"
            ) from error

    def _answer(self, process: subprocess.Popen[bytes], deadline_s: float) -> dict[str, Any]:
        end = time.monotonic() + deadline_s
        try:
            while True:
                message = self._message(process, end, deadline_s)
                if "died" in message:
                    self._child = None
                    why = f": {message['why']}" if message.get("why") else ""
                    raise ChildDied(f"the worker ended with exit status {message['died']}{why}")
                if message.get("n") == self._number:
                    return message
        except DeadlineExceeded:
            if process.poll() is None:
                self._child = None
                process.send_signal(signal.SIGUSR1)  # no kill of ours: only the zygote knows which child is there
            else:  # somebody has killed the zygote
                self.stop()
            raise

    def _message(self, process: subprocess.Popen[bytes], end: float, limit_s: float) -> dict[str, Any]:
        """The next message; half of one, left by a killed child, is passed over. `end`: of the monotonic clock."""
        assert process.stdout is not None
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                with suppress(ValueError):
                    if isinstance(message := json.loads(line), dict):
                        return message
            elif len(self._unread) > MOST_ANSWER:
                raise WorkerDied(f"the worker was ended: it answered with more than {MOST_ANSWER:,} bytes")
            elif not _readable(process.stdout, end - time.monotonic()):
                raise DeadlineExceeded(f"no answer within {limit_s:g} s")
            elif chunk := os.read(process.stdout.fileno(), 65536):
                self._unread += chunk
            else:
                raise WorkerDied(f"the worker ended with exit status {process.wait()}")


class WorkerPool:
    """At most `workers` comparisons at once, each ended after `deadline_s` seconds. Thread-safe, lazily started."""

    def __init__(self, workers: int, deadline_s: float, task: Sequence[str] = ()) -> None:
        """`task` is the script that workers run, and its argument; the comparison of expressions without one."""
        self._deadline_s = deadline_s
        self._workers = tuple(Worker(task or (str(MATHS),)) for _ in range(workers))
        # Last in, first out: while one worker keeps up, the others never start.
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._closed = False
        for worker in self._workers:
            self._idle.put(worker)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running, successors that wait for their turn included."""
        return tuple(pid for worker in self._workers for pid in worker.pids)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer of the next free worker. Raises DeadlineExceeded, WorkerDied, or WorkerBroken when none starts."""
        worker = self._idle.get()
        try:
            if self._closed:
                raise RuntimeError("the worker pool is closed: judge inside `with Router() as router:`")
            return worker.ask(request, self._deadline_s)
        finally:
            if self._closed:
                worker.stop()
            self._idle.put(worker)

    def close(self) -> None:
        """Kill every worker and wait until it is gone. The pool answers nothing after this."""
        self._closed = True
        for worker in self._workers:
            worker.stop()


_LOCK = Lock()
_SHARED: dict[tuple[int, str], WorkerPool] = {}
"""(process, task) -> its worker: a process that is forked must not speak through its parent's pipes."""


def shared_pool(task: str, deadline_s: float) -> WorkerPool:
    """The one worker of this process for a task that needs no more, until the process ends."""
    with _LOCK:
        if (pool := _SHARED.get((os.getpid(), task))) is None:
            pool = _SHARED[os.getpid(), task] = WorkerPool(1, deadline_s, (task,))
            atexit.register(pool.close)
        return pool


def _pass_on(pipe: IO[bytes]) -> None:
    """Write what a worker prints to our stderr, up to a limit, and read on until it has ended: it must not block."""
    left = MOST_OUTPUT
    with pipe:
        while chunk := os.read(pipe.fileno(), 65536):
            if left <= 0:
                continue
            if (left := left - len(chunk)) <= 0:
                chunk = chunk[:left] if left else chunk
                chunk += f"\n... a worker has printed more than {MOST_OUTPUT:,} bytes; the rest is left out\n".encode()
            with suppress(OSError):  # where nobody reads it, there is nobody to tell
                os.write(2, chunk)


def _readable(pipe: IO[bytes], limit_s: float) -> bool:
    """Whether something can be read from a pipe, or it ends, within so many seconds."""
    with selectors.DefaultSelector() as ready:  # not select(): training processes have file descriptors above 1023
        ready.register(pipe, selectors.EVENT_READ)
        return bool(ready.select(max(0.0, limit_s)))
