"""One command line -> one command and its exit status."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from firsthand.cli.parser import parser
from firsthand.errors import FirsthandError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Errors that a user can mend are one message, without a traceback."""
    args = parser().parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except FirsthandError as error:
        print(f"firsthand: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # `firsthand benchmarks | head`: nobody reads on, and nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nfirsthand: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
