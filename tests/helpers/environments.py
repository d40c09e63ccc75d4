"""Examples of reasoning-gym, which not every installation has."""

import atexit
import importlib.util
from functools import cache
from typing import Any

import pytest

from firsthand.environments.draw import draw_examples
from firsthand.records import Environment, Example
from firsthand.workers.environments import environment_pool
from firsthand.workers.pool import WorkerPool

needs_reasoning_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None,
    reason="needs reasoning-gym: pip install 'firsthand[real]'",
)
DEMONSTRATED = ("leg_counting", "chain_sum", "letter_counting", "spell_backward", "number_sorting")


@cache
def gym_pool() -> WorkerPool:
    """One worker for all tests of this process: to import the package takes a second."""
    pool = environment_pool("reasoning-gym", 1, 60.0)
    atexit.register(pool.close)
    return pool


def gym(*tasks: str, number: int = 4, **said: Any) -> list[Example]:
    """Questions of some tasks, in turn, as `draw_examples` draws them."""
    return draw_examples("reasoning-gym", tasks, number, pool=gym_pool(), **said)


@cache
def drawn(*tasks: str, number: int = 8) -> list[Example]:
    """The first training questions of some tasks, in turn."""
    return gym(*tasks, number=number)


def of(example: Example) -> Environment:
    """The answer of an example of an environment."""
    assert isinstance(example.answer, Environment)
    return example.answer
