"""When a training run saves a checkpoint: by steps, by time, and when it is asked to stop."""

import logging
import signal
import threading
import time
from types import FrameType
from typing import Any, Self, final

from firsthand.recipe import Recipe

MINUTES = 10.0
"""Between two checkpoints at most, where a recipe says nothing (ours)."""
_STOPS = (signal.SIGINT, signal.SIGTERM)
_LOG = logging.getLogger(__name__)


@final
class Saving:
    """Says after which steps to save. A context manager: inside, Ctrl-C and SIGTERM wait for the end of a step.

    A step in progress has changed the weights in part, and going on from there would not be bit for bit. A second
    signal stops at once. Where training is not in the main thread, signals do what they did.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.is_stopping = False
        self._every = recipe.checkpoint_every
        self._seconds = 60 * (MINUTES if recipe.checkpoint_minutes is None else recipe.checkpoint_minutes)
        self._saved = time.monotonic()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {stop: signal.signal(stop, self._note) for stop in _STOPS}
        return self

    def __exit__(self, *_: object) -> None:
        for stop, handler in self._before.items():
            signal.signal(stop, handler)

    def is_due(self, steps: int) -> bool:
        """Whether to save after so many steps."""
        return self.is_stopping or steps % self._every == 0 or time.monotonic() - self._saved >= self._seconds

    def saved(self) -> None:
        """Note that a checkpoint was written. Raises KeyboardInterrupt when the run was asked to stop."""
        self._saved = time.monotonic()
        if self.is_stopping:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_stopping:
            raise KeyboardInterrupt
        self.is_stopping = True
        _LOG.warning("stopping after this step, with a checkpoint; once more stops at once, without")
