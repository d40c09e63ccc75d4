"""Signs that rewards have stopped telling replies apart, for the progress line and the report."""

import statistics
from collections.abc import Mapping, Sequence

from firsthand.records import Status

ALARM_WINDOW = 10
"""Steps that alarms look at, and that a reward must have been constant for (ours)."""
OUTSIDE = "boxes/outside"
"""Of the replies whose boxes were read, and whose picture is known: the share with a box that leaves it."""
_SHARE = 0.05
"""Share of replies from which a status, or a box that leaves its picture, is an alarm."""
_MEANING = {
    Status.WRONG_FORMAT: "have no single answer block",
    Status.UNPARSED: "have an answer that is not of the kind of the ground truth",
    Status.TIMED_OUT: "could not be compared in time",
    Status.FAILED: "broke their verifier",
}


def alarms(window: Sequence[Mapping[str, float]]) -> list[str]:
    """What is wrong in the metrics of the last steps, oldest first; empty when nothing is.

    Only the last `ALARM_WINDOW` of them count. Keys that were not measured are absent and raise nothing.
    """
    last = list(window)[-ALARM_WINDOW:]
    found = _constant(last) + [line for status in _MEANING for line in _frequent(status, last)]
    return found + outside_alarms([metrics[OUTSIDE] for metrics in last if OUTSIDE in metrics])


def outside_alarms(shares: Sequence[float]) -> list[str]:
    """What is wrong where boxes leave their pictures, given each step's share of replies with one that does."""
    share = round(statistics.fmean(shares), 9) if shares else 0.0
    if share <= _SHARE:
        return []
    remedy = "where the model writes 0 to 1000, as Qwen2-VL and Qwen3-VL do, set reward.coordinates: thousand"
    return [f"{share:.0%} of replies have a box that leaves its picture: {remedy}"]


def _constant(window: Sequence[Mapping[str, float]]) -> list[str]:
    # Runs of the first version logged the score alone.
    logged = ["reward" if "reward/std" in metrics else "score" for metrics in window]
    means = [m[f"{name}/mean"] for m, name in zip(window, logged, strict=True) if m.get(f"{name}/std") == 0]
    if len(means) < ALARM_WINDOW or len(set(means)) > 1:
        return []
    return [f"every reply of the last {ALARM_WINDOW} steps scored {means[0]:g}: there is nothing to learn from"]


def _frequent(status: Status, window: Sequence[Mapping[str, float]]) -> list[str]:
    shares = [metrics[f"status/{status}"] for metrics in window if f"status/{status}" in metrics]
    if not shares or (share := round(statistics.fmean(shares), 9)) <= _SHARE:
        return []
    return [f"{share:.0%} of replies {_MEANING[status]} ({status})"]
