"""Signs that rewards have stopped telling replies apart, and what to do, for the terminal and the report."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from firsthand.answers.stated import Rule
from firsthand.records import Status

ALARM_WINDOW = 10
"""Steps that alarms look at, and that a reward must have been constant or small for (ours)."""
OUTSIDE = "boxes/outside"
"""Of the replies whose boxes were read, and whose picture is known: the share with a box that leaves it."""
EARNING = "reward/earning"
"""Share of all sampled replies whose reward is above 0."""
TRUNCATED = "reply/truncated"
"""Share of sampled replies that were cut."""
_SHARE = 0.05
"""Share of replies from which a status, or a box that leaves its picture, is an alarm."""
_POOR = 0.015
"""A mean reward below it is shown as 0.00 or 0.01 (ours)."""
_HALF = 0.5
_FORMAT: dict[Rule, tuple[str, str]] = {
    "tags": (
        "have no single answer block",
        "ask for the tags with `system: default`, or read replies without tags with reward.answer: stated",
    ),
    "stated": ("state no single answer", "ask for one with `system: default`"),
}
"""What is wrong with a reply's format, and what to do, by the rule that reads its answer."""
_MEANING = {
    Status.UNPARSED: "have an answer that is not of the kind of the ground truth",
    Status.TIMED_OUT: "could not be compared in time",
    Status.FAILED: "broke their verifier",
}
_CUT = "they are cut before their answer: raise sampling.max_new_tokens"
_TOO_HARD = "take easier data, a larger objective.group_size, or start from a run that has imitated demonstrations"
_REASONS = "rollouts.jsonl has such replies, each with its reason"
_REMEDY = {
    Status.UNPARSED: "see that the rows' `kind` is what the question asks for; " + _REASONS,
    Status.TIMED_OUT: _REASONS,
    Status.FAILED: _REASONS,
}


class Alarm(NamedTuple):
    """Something that is wrong with the rewards of the last steps."""

    name: str
    """The same as long as it is the same trouble, whatever its numbers are."""
    line: str
    remedy: str

    @property
    def text(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.line}: {self.remedy}"


def alarms(window: Sequence[Mapping[str, float]], rule: Rule = "tags") -> list[Alarm]:
    """What is wrong in the metrics of the last steps, oldest first; empty when nothing is.

    Only the last `ALARM_WINDOW` of them count. Keys that were not measured are absent and raise nothing. The rule is
    the one by which answers were read.
    """
    last = list(window)[-ALARM_WINDOW:]
    found = _constant(last, rule) or _poor(last, rule)
    found += [alarm for status in (Status.WRONG_FORMAT, *_MEANING) for alarm in _frequent(status, last, rule)]
    return found + outside_alarms([metrics[OUTSIDE] for metrics in last if OUTSIDE in metrics])


def outside_alarms(shares: Sequence[float]) -> list[Alarm]:
    """What is wrong where boxes leave their pictures, given each step's share of replies with one that does."""
    share = round(statistics.fmean(shares), 9) if shares else 0.0
    if share <= _SHARE:
        return []
    remedy = "where the model writes 0 to 1000, as Qwen2-VL and Qwen3-VL do, set reward.coordinates: thousand"
    return [Alarm("outside", f"{share:.0%} of replies have a box that leaves its picture", remedy)]


def as_seen(steps: Sequence[Mapping[str, float]]) -> str:
    """What became of the replies of these steps: `97% wrong_format, 3% ok`; nothing where that was not measured."""
    shares = {status: share for status in Status if (share := _mean(steps, f"status/{status}"))}
    ranked = sorted(shares.items(), key=lambda one: -one[1])
    return ", ".join([f"{share:.0%} {status}" for status, share in ranked])


def remedy_of(steps: Sequence[Mapping[str, float]], rule: Rule) -> str:
    """What to do about replies that earn nothing, by what most of them are."""
    shares = {status: _mean(steps, f"status/{status}") for status in (Status.WRONG_FORMAT, *_MEANING)}
    worst = max(shares, key=lambda status: shares[status])
    if shares[worst] <= _HALF:
        return _TOO_HARD
    if worst is not Status.WRONG_FORMAT:
        return _REMEDY[worst]
    _, remedy = _FORMAT[rule]
    return f"{_CUT}; {remedy}" if _mean(steps, TRUNCATED) > _HALF else remedy


def unread_remedy(table: Mapping[str, Any]) -> str | None:
    """What to do where more than half of an evaluation's replies could not be read, in one line; None: they could."""
    unread, unstated, cut = (table.get(key) or 0.0 for key in ("unparsed", "unstated", "truncated"))
    if unread <= _HALF or table.get("unstated") is None:  # an earlier version did not tell the two apart
        return None
    causes = []
    if cut > _HALF * unread:
        causes.append(f"{cut:.0%} were cut: raise --max-new-tokens")
    if unstated > _HALF * unread:
        causes.append(f"{unstated:.0%} state no answer: ask for one with --system default")
    if unread - unstated > _HALF * unread:
        causes.append(
            f"{unread - unstated:.0%} state one of another kind than the gold answer: look at the data's kind"
        )
    return f"{unread:.0%} of replies could not be read, and count as wrong; " + "; ".join(causes)


def _constant(window: Sequence[Mapping[str, float]], rule: Rule) -> list[Alarm]:
    means = [metrics[f"{name}/mean"] for metrics in window if metrics.get(f"{(name := _logged(metrics))}/std") == 0]
    if len(means) < ALARM_WINDOW or len(set(means)) > 1:
        return []
    line = f"every reply of the last {ALARM_WINDOW} steps scored {means[0]:g}, so there is nothing to learn from"
    return [Alarm("constant", line, remedy_of(window, rule) if means[0] <= 0 else "take harder data")]


def _poor(window: Sequence[Mapping[str, float]], rule: Rule) -> list[Alarm]:
    means = [metrics[key] for metrics in window if (key := f"{_logged(metrics)}/mean") in metrics]
    if len(means) < ALARM_WINDOW or max(means) >= _POOR:
        return []
    line = f"replies of the last {ALARM_WINDOW} steps earned {statistics.fmean(means):.3f} on average"
    return [Alarm("poor", line, remedy_of(window, rule))]


def _logged(metrics: Mapping[str, float]) -> str:
    """Runs of the first version logged the score alone."""
    return "reward" if "reward/std" in metrics else "score"


def _frequent(status: Status, window: Sequence[Mapping[str, float]], rule: Rule) -> list[Alarm]:
    if (share := _mean(window, f"status/{status}")) <= _SHARE:
        return []
    if status is Status.WRONG_FORMAT:
        meaning, remedy = _FORMAT[rule]
        remedy = _CUT if _mean(window, TRUNCATED) > _HALF * share else remedy
    else:
        meaning, remedy = _MEANING[status], _REMEDY[status]
    return [Alarm(status, f"{share:.0%} of replies {meaning} ({status})", remedy)]


def _mean(window: Sequence[Mapping[str, float]], key: str) -> float:
    """Over the steps that measured it; 0 where none did."""
    found = [metrics[key] for metrics in window if key in metrics]
    return round(statistics.fmean(found), 9) if found else 0.0
