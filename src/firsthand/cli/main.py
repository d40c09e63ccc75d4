"""One command line -> one command and its exit status."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from firsthand.cli.parser import parser
from firsthand.cli.training import train_command
from firsthand.errors import FirsthandError

_REMEDIES = {
    errno.ENOSPC: "make room on the disk, then give the same command again: what is done is kept",
    errno.EDQUOT: "make room in your quota, then give the same command again: what is done is kept",
    errno.EROFS: "nothing can be written there: choose another folder with --out",
    errno.EACCES: "look at who may read and write there, or choose another folder",
    errno.EPERM: "look at who may read and write there, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link there leads back to itself: delete it, or name the file that was meant",
    errno.EEXIST: "something that is no folder stands there: choose another name, or move it away",
    errno.ENOTDIR: "a file stands where a folder should: choose another name, or move the file away",
    errno.EISDIR: "a folder stands where a file should: name the file, or move the folder away",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "the disk does not work: copy what is there to another one",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Errors that a user can mend are one message, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stream of a test's has no encoding to speak of
            # A locale without a sign that we write, such as ×, must not end a command.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        args = parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = args.command
        _refuse_ranks(command)
        status = command(args)
        sys.stdout.flush()
        return status
    except FirsthandError as error:
        _tell(str(error))
        return error.exit_status
    except BrokenPipeError:  # `firsthand benchmarks | head`: nobody reads on, and nothing is wrong
        _write_nowhere()
        return 0
    except OSError as error:
        _tell(_trouble(error))
        return 2
    except KeyboardInterrupt:
        if argv is None:  # a program of its own: another one, while this ends, would print a traceback
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _tell("stopped; the same command goes on from the last checkpoint", before="\n")
        return 130


def _tell(message: str, before: str = "") -> None:
    try:
        print(f"{before}firsthand: {message}", file=sys.stderr)
        sys.stdout.flush()
    except OSError:  # what cannot be written to is what went wrong
        _write_nowhere()


def _write_nowhere() -> None:
    """Python flushes standard output at its end, and would complain again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _trouble(error: OSError) -> str:
    """An error of the operating system in one line: where, what, and what to do."""
    if isinstance(error, FileNotFoundError) and not _is_here():
        return "the folder in which this command was given has gone; change to another one, and give it there"
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = " and ".join(named)
    what = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "look at the path and at the disk, and give the same command again")
    return f"{where}{': ' if where else ''}{what}; {remedy}"


def _is_here() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _refuse_ranks(command: Callable[[argparse.Namespace], int]) -> None:
    """Only one command divides its work; of the others each process would do all of it."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "LOCAL_RANK" in os.environ and command is not train_command:
        raise FirsthandError(
            "expected one process, got several that torchrun or the like has started, which only `firsthand train` "
            "divides its work among; give this command without it"
        )
