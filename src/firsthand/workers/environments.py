"""Environments: packages of others that draw questions and score answers, each behind workers of its own.

An environment is a task of zygote.py with two requests, told in reasoning_gym.py. The package is imported by its
workers alone, so that what it prints, breaks or never ends stays there.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

from firsthand.errors import RecipeError
from firsthand.workers.pool import WorkerPool


class Package(NamedTuple):
    """Where an environment's code is."""

    module: str
    task: Path
    """What its workers run."""


ENVIRONMENTS = {"reasoning-gym": Package("reasoning_gym", Path(__file__).with_name("reasoning_gym.py"))}
"""Name of the distribution -> its package."""


def environment_pool(name: str, workers: int, deadline_s: float) -> WorkerPool:
    """Workers of an environment, started at the first request. Raises RecipeError where it is not known or not there.

    Requests raise what those of every pool do.
    """
    if name not in ENVIRONMENTS:
        raise RecipeError(f"environment: expected one of {', '.join(ENVIRONMENTS)}, got {name!r}")
    package = ENVIRONMENTS[name]
    if importlib.util.find_spec(package.module) is None:
        raise RecipeError(f"environment: {name} is not installed: pip install 'firsthand[real]'")
    return WorkerPool(workers, deadline_s, (str(package.task),))
