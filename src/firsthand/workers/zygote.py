"""The parent of a reward worker: imports once, and forks the child that does the work. A script, not to import.

    zygote.py TASK.py [ARGUMENT]

A child that hangs is killed, and its successor is a fork away: milliseconds, not the second that importing sympy takes.
TASK.py has `before_fork()`, called once, `prepare(argument)`, called in every child, and `answer(request)`.

Protocol: one JSON object per line. Requests {"n", "deadline_s", ...} go to whichever child there is. Back come
{"ready": pid} of a new child, {"n", ...} with its answer, {"broken": why} when `prepare` raises, and from the zygote
{"died": exit status}, with a "why" where it has ended the child by itself. SIGUSR1 kills the child, SIGTERM the child
and the zygote. When stdin ends, both do.
It imports nothing of ours, so it starts in well under a second and never loads torch.

It ends what hangs, crashes or eats memory. It is no sandbox. Not covered:

- The child has its user's rights: it may read and write files, open connections, start processes, and see the
  environment with the keys in it.
- Processes that the child starts are killed with it, wherever they have gone; not if the zygote is killed itself.
- `MOST_PROCESSES` are counted twice a second: for so long there may be more.
- Memory is limited by the task, for each process alone; of the disk, the size of a file (user_function.py). CPU is not.
- A child keeps its state from one request to the next, until it is killed: a function may remember what it was asked.
- A child may write into the protocol itself, or switch off the timer that ends it when the parent is gone.
"""

import ctypes
import importlib.util
import json
import logging
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from types import FrameType, ModuleType

GRACE_S = 0.5
"""How much later than the parent's deadline a child ends itself."""
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
MOST_PROCESSES = 64
"""That a child may have started and not ended (ours): more of them are taken for a leak."""
COUNTED_EVERY_S = 0.5
PR_SET_CHILD_SUBREAPER = 36
"""From prctl.h: what the child has started becomes the zygote's own when its parent is gone."""

child = 0
"""The process id of the child that has not been reaped."""


def main(script: str, argument: str) -> None:
    """Keep a child alive until one ends by itself, because its input has ended."""
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not write into the protocol
    logging.disable(logging.CRITICAL)  # math-verify warns that its time-outs are off
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    task = load_task(script)
    task.before_fork()
    for number in SIGNALS:
        signal.signal(number, on_signal)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # waited for
    while True:
        status, why = one_child(task, argument, out)
        if not status:
            return
        say(out, {"died": status, **({"why": why} if why else {})})


def one_child(task: ModuleType, argument: str, out: int) -> tuple[int, str]:
    """Fork a child and wait until it and all that it has started are gone.

    Its exit status, negative for a signal, and why it was ended, if the zygote has done so by itself.
    """
    global child
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # Ctrl-C is not for it, nor for what it starts
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [*SIGNALS, signal.SIGCHLD])
        work(task, argument, out)
        os._exit(0)
    with suppress(OSError):  # it may have done so itself, and have ended
        os.setpgid(child, child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    why = watch()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    end_descendants()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), why


def watch() -> str:
    """Wait until the child has ended, or end it; it is not reaped: its number must not go to a stranger while a signal
    may still have us kill it."""
    why, pause = "", COUNTED_EVERY_S
    while not bury():
        if signal.sigtimedwait([signal.SIGCHLD], pause) is not None:
            continue
        began = time.monotonic()
        if (number := len(descendants()) - 1) > MOST_PROCESSES:
            why = f"it had started {number} processes, and {MOST_PROCESSES} are the most"
            os.kill(child, signal.SIGKILL)
        pause = max(COUNTED_EVERY_S, 50 * (time.monotonic() - began))  # where thousands run, counting takes its time
    return why


def bury() -> bool:
    """Reap what the child has left and what has ended since; whether the child itself has ended."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is not None:
        if ended.si_pid == child:
            return True
        os.waitpid(ended.si_pid, 0)
    return False


def work(task: ModuleType, argument: str, out: int) -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel's default action ends the process, even inside C code
    try:
        task.prepare(argument)
    except Exception:
        say(out, {"broken": traceback.format_exc(limit=-1)})
        return
    say(out, {"ready": os.getpid()})
    for line in sys.stdin:
        request = json.loads(line)
        # Should the parent be gone when the deadline comes, nobody else would end a comparison that never ends.
        signal.setitimer(signal.ITIMER_REAL, request["deadline_s"] + GRACE_S)
        try:
            answer = task.answer(request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        say(out, {"n": request["n"], **answer})


def say(out: int, message: dict[str, object]) -> None:
    """Write one line; it starts on a new line even if the child before was killed in the middle of one."""
    os.write(out, b"\n" + json.dumps(message).encode("ascii") + b"\n")


def on_signal(number: int, _: FrameType | None) -> None:
    """Kill the child and what it has started, and end with it when asked to."""
    os.kill(child, signal.SIGKILL)
    if number == signal.SIGTERM:
        end_descendants()
        os.waitpid(child, 0)
        os._exit(0)


def end_descendants() -> None:
    """Kill the processes that the child has started, and theirs. All are stopped first: they could start others."""
    found: set[int] = set()
    while new := descendants() - found:
        for pid in new:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        found |= new
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def descendants() -> set[int]:
    """The processes below this one that have not ended."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # it may have ended meanwhile
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state != b"Z" or int(name) == child:
                children.setdefault(int(parent), []).append(int(name))
    found: set[int] = set()
    left = [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found.update(below)
        left += below
    return found


def load_task(script: str) -> ModuleType:
    """A module from its file: its folder is not on sys.path, where our math.py would hide the standard library's."""
    spec = importlib.util.spec_from_file_location("task", script)
    assert spec is not None and spec.loader is not None
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    return task


if __name__ == "__main__":
    main(sys.argv[1], "".join(sys.argv[2:]))
