"""A command in a process of its own that a test can kill: forked from a server that has imported the package."""

import multiprocessing
from multiprocessing.process import BaseProcess

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["firsthand.cli.main", "firsthand.cli.console", "firsthand.study", "firsthand.report"])


def started(*arguments: str) -> BaseProcess:
    """The command, begun; on one thread, so that what it computes is repeated bit for bit."""
    process = CONTEXT.Process(target=_carry_out, args=arguments)
    process.start()
    return process


def _carry_out(*arguments: str) -> None:
    import torch

    from firsthand.cli.main import main

    torch.set_num_threads(1)
    raise SystemExit(main(list(arguments)))
