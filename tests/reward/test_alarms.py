"""Alarms of a training run: what about its rewards is worth a look."""

import pytest

from firsthand.cli.terminal.bell import Bell
from firsthand.reward.alarms import alarms as ringing


def alarms(window: list[dict[str, float]]) -> list[str]:
    """What is wrong, without what to do."""
    assert all(alarm.remedy and alarm.text.endswith(alarm.remedy) for alarm in ringing(window))
    return [alarm.line for alarm in ringing(window)]


def steps(number: int, **metrics: float) -> list[dict[str, float]]:
    return [{name.replace("__", "/"): value for name, value in metrics.items()}] * number


def test_a_reward_that_never_changes_raises_an_alarm() -> None:
    assert alarms(steps(10, reward__mean=0.0, reward__std=0.0)) == [
        "every reply of the last 10 steps scored 0, so there is nothing to learn from"
    ]
    assert alarms(steps(9, reward__mean=0.0, reward__std=0.0)) == []
    assert alarms(steps(10, reward__mean=0.4, reward__std=0.5)) == []
    assert alarms(steps(5, reward__mean=0.0, reward__std=0.0) + steps(5, reward__mean=1.0, reward__std=0.0)) == []
    assert alarms(steps(30, reward__mean=0.5, reward__std=0.5) + steps(10, reward__mean=1.0, reward__std=0.0)) != []


def test_a_status_above_five_percent_raises_an_alarm_and_unmeasured_keys_none() -> None:
    assert alarms(steps(3, status__failed=0.06)) == ["6% of replies broke their verifier (failed)"]
    assert alarms(steps(3, status__failed=0.05, status__ok=0.95, status__unscored=1.0)) == []
    assert alarms(steps(9) + steps(1, status__timed_out=0.5)) == [
        "50% of replies could not be compared in time (timed_out)"
    ]
    assert alarms([]) == alarms([{}]) == []


def test_boxes_that_leave_their_pictures_raise_an_alarm_with_its_remedy() -> None:
    [alarm] = ringing([*steps(3, boxes__outside=0.1), *steps(3, boxes__outside=0.3), *steps(3)])
    assert alarm.line == "20% of replies have a box that leaves its picture"
    assert "reward.coordinates: thousand" in alarm.remedy
    assert alarms(steps(3, boxes__outside=0.05)) == []


def test_a_reward_that_stays_next_to_nothing_raises_an_alarm() -> None:
    low = [
        {"reward/mean": mean, "reward/std": 0.05} for mean in (0.0, 0.008, 0.014, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0)
    ]
    assert alarms(low) == ["replies of the last 10 steps earned 0.003 on average"]
    assert alarms(low[1:]) == alarms([*low, *steps(1, reward__mean=0.015, reward__std=0.1)]) == []


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ({"status__wrong_format": 0.9, "reply__truncated": 0.1}, "system: default"),
        ({"status__wrong_format": 0.9, "reply__truncated": 0.8}, "sampling.max_new_tokens"),
        ({"status__unparsed": 0.9}, "`kind`"),
        ({"status__timed_out": 0.9}, "rollouts.jsonl"),
        ({"status__failed": 0.9}, "rollouts.jsonl"),
    ],
)
def test_every_kind_of_alarm_has_its_remedy(metrics: dict[str, float], remedy: str) -> None:
    [alarm] = ringing(steps(3, **metrics))
    assert remedy in alarm.remedy


def test_replies_that_are_read_by_what_they_state_are_not_told_to_be_read_so() -> None:
    window = steps(10, reward__mean=0.0, reward__std=0.0, status__wrong_format=1.0)
    for alarm in ringing(window, "stated"):
        assert "reward.answer" not in alarm.text and "system: default" in alarm.remedy
    assert Bell(20, "stated").hear(1, steps(1, status__wrong_format=0.5)[0]) == [
        "ALARM at step 1: 50% of replies state no single answer (wrong_format): ask for one with `system: default`"
    ]


@pytest.mark.parametrize(
    ("metrics", "remedy"),
    [
        ({"reward__mean": 0.0, "status__wrong_format": 0.04}, "easier data"),
        ({"reward__mean": 1.0}, "harder data"),
    ],
)
def test_a_constant_reward_is_too_easy_or_too_hard(metrics: dict[str, float], remedy: str) -> None:
    [alarm] = ringing(steps(10, reward__std=0.0, **metrics))
    assert remedy in alarm.remedy


def heard(*metrics: dict[str, float]) -> dict[int, list[str]]:
    bell = Bell(len(metrics))
    lines = {step: bell.hear(step, measured) for step, measured in enumerate(metrics, start=1)}
    return {step: said for step, said in lines.items() if said}


def test_an_alarm_is_told_when_it_begins_and_at_the_end() -> None:
    told = heard(*steps(40, status__wrong_format=1.0, reply__truncated=0.0))
    assert list(told) == [1, 40] and all(len(lines) == 1 for lines in told.values())
    assert told[1][0].startswith("ALARM at step 1: 100% of replies have no single answer block (wrong_format): ask for")
    assert told[40][0].startswith("ALARM since step 1, still at the end: 100% of replies")


def test_an_alarm_that_ends_is_told_once_and_may_begin_again() -> None:
    bad, good = steps(1, status__failed=1.0), steps(1, status__failed=0.0)
    told = heard(*bad * 2, *good * 40, *bad * 2)
    first, over, again, end = told
    assert (first, again, end) == (1, 43, 44)
    assert told[over][0].startswith("alarm over since step ") and told[again][0].startswith("ALARM at step 43")
    assert heard(*good * 40) == {}
