"""Worker processes that compare untrusted expressions, and that we kill at a deadline.

Why processes: a Python signal handler cannot interrupt one long operation in C, and is not to be had off the main
thread; a thread pool's time-out returns and leaves the thread computing. Only a process can be ended. Why not
multiprocessing: it pickles, and its children import the parent's main module (and torch with it). Here a child is one
script that reads and writes JSON lines.
"""

import json
import os
import queue
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("worker.py")
START_LIMIT_S = 120.0
"""How long a worker may take to import sympy; ours, generous for a loaded machine. It does not count as comparing."""


class DeadlineExceeded(Exception):
    """A comparison did not end in time; its worker has been killed."""


class WorkerDied(Exception):
    """A worker ended in the middle of a comparison."""


class Worker:
    """One child process, started at the first request and started again after it was killed. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is no child."""
        return None if self._process is None else self._process.pid

    def ask(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises DeadlineExceeded and WorkerDied; the child is gone then, and the next request starts another.
        """
        process = self._process or self._start()
        try:
            _send(process, {**request, "deadline_s": deadline_s})
            answer: dict[str, Any] = json.loads(_read_line(process, deadline_s))
        except BaseException:  # whatever ended the wait: a late answer must never be taken for the next request's
            self.stop()
            raise
        return answer

    def stop(self) -> None:
        """Kill the child, if there is one, and wait until it is gone."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = process = subprocess.Popen(
            # -P keeps the script's folder off sys.path, where our math.py would hide the standard library's.
            [sys.executable, "-P", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # sympy orders some sets by hash: one seed in every worker, so that every worker gives the same verdict.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        try:
            _read_line(process, START_LIMIT_S)
        except (DeadlineExceeded, WorkerDied) as error:
            self.stop()
            raise RuntimeError(f"a reward worker does not start ({error}); is math-verify installed?") from error
        except BaseException:
            self.stop()
            raise
        return process


class WorkerPool:
    """At most `workers` comparisons at once, each ended after `deadline_s` seconds. Thread-safe, lazily started."""

    def __init__(self, workers: int, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._workers = tuple(Worker() for _ in range(workers))
        # Last in, first out: while one worker keeps up, the others never start.
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        self._closed = False
        for worker in self._workers:
            self._idle.put(worker)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One worker's answer to a JSON-serialisable request; waits for a free worker first.

        Raises DeadlineExceeded or WorkerDied when there is no answer, RuntimeError when no worker can be started.
        """
        worker = self._idle.get()
        try:
            if self._closed:
                raise RuntimeError("the worker pool is closed: judge inside `with Router() as router:`")
            return worker.ask(request, self._deadline_s)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill every worker and wait until it is gone. The pool answers nothing after this."""
        self._closed = True
        for worker in self._workers:
            worker.stop()


def _send(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
    except BrokenPipeError as error:
        raise WorkerDied(_exit(process)) from error


def _read_line(process: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """The child's next line; it writes one per request and nothing else."""
    assert process.stdout is not None
    end = time.monotonic() + limit_s
    line = b""
    with selectors.DefaultSelector() as ready:  # not select(): training processes have file descriptors above 1023
        ready.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not ready.select(max(0.0, end - time.monotonic())):
                raise DeadlineExceeded(f"no answer within {limit_s:g} s")
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                raise WorkerDied(_exit(process))
            line += chunk
    return line


def _exit(process: subprocess.Popen[bytes]) -> str:
    """How a child that has closed its end of the pipe ended."""
    return f"the worker ended with exit status {process.wait()}"
