"""Alarms of a training run: what about its rewards is worth a look."""

from firsthand.reward import alarms


def steps(number: int, **metrics: float) -> list[dict[str, float]]:
    return [{name.replace("__", "/"): value for name, value in metrics.items()}] * number


def test_a_reward_that_never_changes_raises_an_alarm() -> None:
    assert alarms(steps(10, reward__mean=0.0, reward__std=0.0)) == [
        "every reply of the last 10 steps scored 0: there is nothing to learn from"
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
    [line] = alarms([*steps(3, boxes__outside=0.1), *steps(3, boxes__outside=0.3), *steps(3)])
    assert line.startswith("20% of replies have a box that leaves its picture: ")
    assert "reward.coordinates: thousand" in line
    assert alarms(steps(3, boxes__outside=0.05)) == []
