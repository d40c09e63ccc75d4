"""Trainings by several processes on this machine, forked from a server that has imported the package."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from killable import CONTEXT


def train_on(ranks: int, recipes: Sequence[Mapping[str, Any]], out: Path, *, pause: float | None = None) -> list[Path]:
    """Carry out recipes, one after the other, by so many processes together, beside `out`; their run directories."""
    port = _free_port()
    jobs = [CONTEXT.Process(target=_carry_out, args=(rank, ranks, port, recipes, out, pause)) for rank in range(ranks)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * ranks
    return [next(out.glob(f"{recipe['name']}-s*")) for recipe in recipes]


def _carry_out(
    rank: int, ranks: int, port: int, recipes: Sequence[Mapping[str, Any]], out: Path, pause: float | None
) -> None:
    import torch

    from firsthand.config import build
    from firsthand.recipe import Recipe
    from firsthand.trainer import train

    torch.set_num_threads(1)
    os.chdir(out.parent)
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    for recipe in recipes:
        train(build(Recipe, recipe, str(recipe["name"])), out, pause=pause)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
