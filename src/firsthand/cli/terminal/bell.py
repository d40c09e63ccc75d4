"""Alarms of a training run as lines: one when an alarm begins to ring, and one when it ends, or the run does."""

from collections import deque
from collections.abc import Mapping
from typing import final

from firsthand.answers.stated import Rule
from firsthand.reward.alarms import ALARM_WINDOW, Alarm, alarms


@final
class Bell:
    """Hears the metrics of every step of one run."""

    def __init__(self, steps: int, rule: Rule = "tags") -> None:
        """`rule` is the one by which the run reads answers."""
        self._steps, self._rule = steps, rule
        self._window: deque[Mapping[str, float]] = deque(maxlen=ALARM_WINDOW)
        self._ringing: dict[str, tuple[Alarm, int, int]] = {}
        """Name -> the alarm as last heard, the first step of it, and the last one."""

    def hear(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """What there is to say after a step, the first being 1."""
        self._window.append(metrics)
        lines = []
        for alarm in alarms(self._window, self._rule):
            _, first, _ = self._ringing.get(alarm.name, (alarm, step, step))
            if first == step:
                lines.append(f"ALARM at step {step}: {alarm.text}")
            self._ringing[alarm.name] = alarm, first, step
        for name, (alarm, first, last) in list(self._ringing.items()):
            if step - last >= ALARM_WINDOW:  # a share that crosses the limit to and fro is one alarm
                lines.append(f"alarm over since step {last}: {alarm.line}")
                del self._ringing[name]
            elif step == self._steps and first < step == last:
                lines.append(f"ALARM since step {first}, still at the end: {alarm.text}")
        return lines
