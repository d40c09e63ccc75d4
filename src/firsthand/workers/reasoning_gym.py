"""Draw questions of reasoning-gym, and score answers to them. A task of zygote.py, not to import.

{"draw": {"task", "settings", "seed", "most"}} gets {"entries": [{"question", "answer", "metadata"}, ...]}, the items of
that seed and those after it: `most` of them, or fewer when a second has passed. (The package draws item i of a data set
with the seed of the data set + i.) One that it cannot draw is {"broken": why}. Where somebody has asked for what is not
there, the answer is {"unknown": "task" or "setting", "got", "known"}, and where the package refuses the settings,
{"refused": why}.

{"score": {"task", "settings", "metadata", "gold", "answer"}} gets {"score": number}.

Some scorers of the package evaluate an answer as Python. While one is at work, this process writes no file, starts no
process and opens no connection; zygote.py says what is not covered all the same.
"""

import dataclasses
import json
import os
import random
import resource
import sys
import time
import warnings
from functools import lru_cache
from typing import Any

from firsthand.workers.limits import limit

_MEMORY_BYTES = 4 << 30
"""Address space of one worker (ours): the package and what it imports take 0.2 GB of it."""
_PATIENCE_S = 1.0
"""After which a request for several items is answered with those that are there (ours)."""
_OURS = ("seed", "size")
"""Settings that every task has, and that we choose."""
_SIZE = 500
"""Items of one data set, the package's default: some tasks plan them all when it is made."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REFUSED = (
    *("os.exec", "os.fork", "os.kill", "os.link", "os.mkdir", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir"),
    *("os.spawn", "os.symlink", "os.system", "os.truncate", "shutil.", "socket.", "subprocess.", "ctypes."),
)
"""How the names of Python's audit events begin that scoring an answer never needs."""

_is_scoring = False


def before_fork() -> None:
    """Import the package once, for every child: it takes a second."""
    import reasoning_gym  # noqa: F401


def prepare(_: str) -> None:
    """Limit this process's memory and what scoring may do, and throw away what the package prints and warns of."""
    warnings.simplefilter("ignore")
    limit(resource.RLIMIT_AS, _MEMORY_BYTES)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    sys.addaudithook(_refuse)


def answer(request: dict[str, Any]) -> dict[str, object]:
    """Draw or score. Raises what the package raises."""
    return _draw(**request["draw"]) if "draw" in request else _score(**request["score"])


def _draw(task: str, settings: dict[str, Any], seed: int, most: int) -> dict[str, object]:
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        return {"unknown": "task", "got": task, "known": sorted(DATASETS)}
    known = [field.name for field in dataclasses.fields(DATASETS[task][1]) if field.name not in _OURS]
    for name in settings:
        if name not in known:
            return {"unknown": "setting", "got": name, "known": known}
    try:
        _items(task, json.dumps(settings), seed - seed % _SIZE)
    except (AssertionError, TypeError, ValueError) as error:
        return {"refused": str(error)}
    entries: list[dict[str, Any]] = []
    end = time.monotonic() + _PATIENCE_S
    while len(entries) < most and (not entries or time.monotonic() < end):
        try:
            entries.append(_item(task, json.dumps(settings), seed + len(entries)))
        except Exception as error:  # such as a maze that does not come about
            entries.append({"broken": f"{type(error).__name__}: {str(error)[:200]}"})
    return {"entries": entries}


def _item(task: str, settings: str, seed: int) -> dict[str, Any]:
    items = _items(task, settings, seed - seed % _SIZE)
    _seed(seed)
    item = items[seed % _SIZE]
    kept = {name: item[name] for name in ("question", "answer", "metadata")}
    found: dict[str, Any] = json.loads(json.dumps(kept, default=_as_json))
    return found


def _as_json(value: Any) -> Any:
    """NumPy's numbers as numbers; a fraction as text."""
    import numpy as np

    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def _score(task: str, settings: dict[str, Any], metadata: dict[str, Any], gold: str, answer: str) -> dict[str, object]:
    global _is_scoring
    items = _items(task, json.dumps(settings), 0)
    _is_scoring = True
    try:
        return {"score": float(items.score_answer(answer, {"answer": gold, "metadata": metadata}))}
    finally:
        _is_scoring = False


@lru_cache(maxsize=32)
def _items(task: str, settings: str, seed: int) -> Any:
    """A task's data set; some read a list of words first."""
    from reasoning_gym import create_dataset

    _seed(seed)
    return create_dataset(task, seed=seed, size=_SIZE, **json.loads(settings))


def _seed(seed: int) -> None:
    """Some tasks draw from Python's and NumPy's own generators."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _is_scoring and (event.startswith(_REFUSED) or (event == "open" and (arguments[2] or 0) & _WRITING)):
        raise PermissionError(f"{event} while an answer is scored")
