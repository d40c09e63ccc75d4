"""Call a user's reward function. A task of zygote.py, not to import.

A request {"reply", "columns"} gets {"score": number or null}, or {"error": str}. A function with a parameter
`completions` is called as TRL calls it, with a batch of one; any other as function(reply, answer).
"""

import importlib
import inspect
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from firsthand.workers.limits import limit

LARGEST_FILE = 2**30
"""Bytes of a file that the function writes (ours)."""

function: Callable[..., Any]


def before_fork() -> None:
    """Nothing: a user's modules may start threads, and threads do not survive a fork."""


def prepare(path: str) -> None:
    """Bound memory (a quarter of the machine's) and files, and import the function at `module:function`.

    Raises ValueError or whatever its module raises."""
    global function
    limit(resource.RLIMIT_DATA, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    limit(resource.RLIMIT_CORE, 0)
    sys.path.insert(0, os.getcwd())  # as `python -m` would: recipes are run from where their code is
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module), name)
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ValueError(f"{path} is a {type(found).__name__}; expected an ordinary function")
    function = found


def answer(request: dict[str, Any]) -> dict[str, object]:
    """The function's score of one reply. Raises what the function raises, and TypeError or ValueError for no number."""
    score = call(request["reply"], request["columns"])
    value = None if score is None else float(score)
    return {"score": None if value != value else value}  # TRL writes None as NaN


def call(reply: str, columns: dict[str, Any]) -> Any:
    """What the function says of one reply."""
    parameters = inspect.signature(function).parameters
    if "completions" not in parameters:
        return function(reply, columns["answer"])
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    message = [{"role": "assistant", "content": reply}]
    batch = {name: [value] for name, value in columns.items() if takes_all or name in parameters}
    rewards = function(completions=[message], **batch)
    if len(rewards) != 1:
        raise ValueError(f"expected one reward for one completion, got {len(rewards)}")
    return rewards[0]
