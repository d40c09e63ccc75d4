"""When a training run saves a checkpoint: by steps, by time, and when it is asked to stop."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, final

from firsthand.recipe import Recipe
from firsthand.trainer.ranks import ALONE, Ranks

MINUTES = 10.0
"""Between two checkpoints at most, where a recipe says nothing (ours)."""
SHARE = 0.03
"""Of a run's time that may go into checkpoints before those minutes are over, where a recipe says nothing (ours)."""
RATE = 2.5e8
"""Bytes per second at which the first checkpoint is expected to be written (measured on a shared virtual disk)."""
_STOPS = (signal.SIGINT, signal.SIGTERM)
_LOG = logging.getLogger(__name__)


@final
class Saving:
    """Says after which steps to save. A context manager: inside, Ctrl-C and SIGTERM wait for the end of a step.

    A step in progress has changed the weights in part, and going on from there would not be bit for bit. A second
    signal stops at once. Where training is not in the main thread, signals do what they did.
    """

    def __init__(self, recipe: Recipe, size: int, ranks: Ranks = ALONE) -> None:
        """`size` is that of a checkpoint, in bytes. What one of the ranks wants, all do."""
        self._ranks = ranks
        self.is_stopping = False
        self._every = recipe.checkpoint_every
        self._minutes = recipe.checkpoint_minutes
        self._saved = time.monotonic()
        self._pause = self._pause_after(size / RATE)
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
        is_due = steps % self._every == 0 or time.monotonic() - self._saved >= self._pause
        self.is_stopping, is_due = self._ranks.any([self.is_stopping, is_due])
        return self.is_stopping or is_due

    def carry_out(self, save: Callable[[], None]) -> None:
        """Write a checkpoint; the next is due by what this one cost. Raises KeyboardInterrupt when asked to stop."""
        began = time.monotonic()
        save()
        self._saved = time.monotonic()
        self._pause = self._pause_after(self._saved - began)
        if self.is_stopping:
            raise KeyboardInterrupt

    def _pause_after(self, cost: float) -> float:
        """Seconds until the next checkpoint, where one costs so many: as the recipe says, else in proportion."""
        return min(60 * MINUTES, cost / SHARE) if self._minutes is None else 60 * self._minutes

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_stopping:
            raise KeyboardInterrupt
        self.is_stopping = True
        _LOG.warning("stopping after this step, with a checkpoint; once more stops at once, without")
