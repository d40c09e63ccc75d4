"""What a terminal shows of how far a study is: a line while it goes on, a table when it is asked for."""

import time
from collections.abc import Callable, Sequence
from typing import final

from firsthand.cli.terminal.screen import Screen
from firsthand.study.standing import Stage, Standing, training_title


@final
class Overall:
    """Which trainings of a study are done, and how long the others may take: as long as those that were done.

    An arm takes the time that it took under another seed; else, step for step, what the others took.
    """

    def __init__(self, standings: Sequence[Standing], clock: Callable[[], float] = time.monotonic) -> None:
        seeds = list(dict.fromkeys(one.seed for one in standings))
        self._all = {training_title(one.arm, one.seed, seeds): one for one in standings}
        self._clock = clock
        self._minutes = {
            name: one.minutes for name, one in self._all.items() if one.stage is Stage.DONE and one.minutes is not None
        }
        self._done = {name for name, one in self._all.items() if one.stage is Stage.DONE}
        self._current: str | None = None
        self._since: float | None = None

    def begin(self, name: str) -> None:
        """The training of that name comes next, and the one before is done. Others, such as tries, do not count."""
        if name in self._all:
            self.end()
            self._current = name

    def work(self) -> bool:
        """Something is done for the present one, now; whether that is the first time."""
        is_first = self._current is not None and self._since is None
        if is_first:
            self._since = self._clock()
            self._done.discard(str(self._current))
        return is_first

    def end(self) -> None:
        """The present one is done."""
        if self._current is None:
            return
        self._done.add(self._current)
        if self._since is not None and self._all[self._current].stage is Stage.MISSING:  # the whole of it was seen
            self._minutes[self._current] = (self._clock() - self._since) / 60
        self._current = self._since = None

    @property
    def trainings(self) -> int:
        """How many there are."""
        return len(self._all)

    def line(self) -> str:
        """In a line, such as `study: 12 of 85 done; now grpo, seed 1; about 1 h 20 min left`."""
        now = "" if self._current is None else f"; now {self._current}"
        left = self._left()
        return f"study: {len(self._done)} of {len(self._all)} done{now}{'' if left is None else f'; {left}'}"

    def _left(self) -> str | None:
        """None until something is known."""
        minutes = [self._expected(name) for name in self._all if name not in self._done]
        known = [one for one in minutes if one is not None]
        if not minutes or len(known) < len(minutes):
            return None
        passed = 0.0 if self._since is None else (self._clock() - self._since) / 60
        return f"about {duration(max(0.0, sum(known) - passed))} left"

    def _expected(self, name: str) -> float | None:
        """Minutes of a training and its evaluations."""
        one = self._all[name]
        whole = self._of_arm(one.arm)
        if whole is None:
            whole = self._of_steps(one.steps)
        left = max(0.0, 1 - one.step / one.steps) if one.steps else float(one.stage is not Stage.TRAINED)
        return None if whole is None else whole * left

    def _of_steps(self, steps: int | None) -> float | None:
        """Minutes of so many steps, as far as other arms tell."""
        known = {name: self._all[name].steps for name in self._minutes}
        total = sum(number for number in known.values() if number)
        minutes = sum(self._minutes[name] for name, number in known.items() if number is not None)
        return None if steps is None or not total else minutes / total * steps

    def _of_arm(self, arm: str) -> float | None:
        found = [minutes for name, minutes in self._minutes.items() if self._all[name].arm == arm]
        return sum(found) / len(found) if found else None


def show_standing(standings: Sequence[Standing]) -> None:
    """Arms and seeds, and how far each is."""
    seeds = list(dict.fromkeys(one.seed for one in standings))
    rows: dict[str, list[str]] = {}
    for one in standings:
        rows.setdefault(one.arm, [one.arm]).append(_cell(one))
    screen = Screen()
    screen.table(["arm", *(f"seed {seed}" for seed in seeds)], list(rows.values()))
    screen.say(Overall(standings).line())


def duration(minutes: float) -> str:
    """In the two largest units that say something."""
    whole = round(minutes)
    if whole < 1:
        return "1 min"
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def _cell(one: Standing) -> str:
    is_on_its_way = one.stage in (Stage.BEGUN, Stage.RUNNING)
    of = "" if one.steps is None else f" of {one.steps}"
    return f"{one.stage}, step {one.step}{of}" if is_on_its_way else str(one.stage)
