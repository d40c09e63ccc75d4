"""A Ray cluster for as long as a block takes: the one at RAY_ADDRESS, or else the processors of this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from firsthand.errors import RecipeError

Engine = Literal["local", "ray"]
"""Where work is done: here, or on the machines of a cluster."""


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """The module `ray`, connected. Raises RecipeError where it is not installed, or no cluster answers."""
    # Ray would write a token into the home folder, and report its use.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise RecipeError("--engine ray needs Ray; pip install 'firsthand[ray]'") from error
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise RecipeError(
                f"--engine ray: expected a cluster at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}, got {error}; start "
                "one with `ray start --head`, or unset RAY_ADDRESS to use this machine alone"
            ) from error
    try:
        yield ray
    finally:
        if began:
            ray.shutdown()
