"""The parent of a reward worker: imports once, and forks the child that does the work. A script, not to import.

    zygote.py TASK.py [ARGUMENT]

A child that hangs is killed, and its successor is a fork away: milliseconds, not the second that importing sympy takes.
TASK.py has `before_fork()`, called once, `prepare(argument)`, called in every child, and `answer(request)`.

Protocol: one JSON object per line. Requests {"n", "deadline_s", ...} go to whichever child there is. Back come
{"ready": pid} of a new child, {"n", ...} with its answer, {"broken": why} when `prepare` raises, and from the zygote
{"died": exit status}. SIGUSR1 kills the child, SIGTERM the child and the zygote. When stdin ends, both do.
It imports nothing of ours, so it starts in well under a second and never loads torch.

It ends what hangs, crashes or eats memory. It is no sandbox. Not covered:

- The child has its user's rights: it may read and write files, open connections, start processes, and see the
  environment with the keys in it.
- Processes that the child starts are killed with it, unless they leave its group.
- Memory is limited by the task (maths.py and mathvision.py do), for each process alone. Disk and CPU are not limited.
- A child keeps its state from one request to the next, until it is killed: a function may remember what it was asked.
- A child may write into the protocol itself, or switch off the timer that ends it when the parent is gone.
"""

import importlib.util
import json
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from types import FrameType, ModuleType

GRACE_S = 0.5
"""How much later than the parent's deadline a child ends itself."""
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

child = 0
"""The process id of the child that has not been reaped."""


def main(script: str, argument: str) -> None:
    """Keep a child alive until one ends by itself, because its input has ended."""
    out = os.dup(1)
    os.dup2(2, 1)  # a library that prints must not write into the protocol
    logging.disable(logging.CRITICAL)  # math-verify warns that its time-outs are off
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    task = load_task(script)
    task.before_fork()
    for number in SIGNALS:
        signal.signal(number, on_signal)
    while status := one_child(task, argument, out):
        say(out, {"died": status})


def one_child(task: ModuleType, argument: str, out: int) -> int:
    """Fork a child and wait until it is gone; its exit status, negative for a signal."""
    global child
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # what it starts goes with it
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(task, argument, out)
        os._exit(0)
    with suppress(OSError):  # it may have done so itself, and have ended
        os.setpgid(child, child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # Not reaped yet: its number must not go to a stranger while a signal may still have us kill it.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    kill_group()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
    kill_group()
    if number == signal.SIGTERM:
        os.waitpid(child, 0)
        os._exit(0)


def kill_group() -> None:
    """Kill the processes that the child has started, and that have not left its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def load_task(script: str) -> ModuleType:
    """A module from its file: its folder is not on sys.path, where our math.py would hide the standard library's."""
    spec = importlib.util.spec_from_file_location("task", script)
    assert spec is not None and spec.loader is not None
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    return task


if __name__ == "__main__":
    main(sys.argv[1], "".join(sys.argv[2:]))
