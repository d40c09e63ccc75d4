"""How measurements are put together: by the type of each metric, whatever its name."""

import math

import torch

from firsthand.trainer.metrics import Metric, over_forwards, over_minibatches


def mean(value: float) -> Metric:
    return Metric(torch.tensor(value), "mean")


def largest(value: float) -> Metric:
    return Metric(torch.tensor(value), "max")


def test_forwards_measure_shares_of_a_mean_which_add_up_and_a_maximum() -> None:
    found = over_forwards(
        [{"a": mean(0.25), "b": largest(1.0)}, {"a": mean(0.5), "b": largest(3.0)}, {"b": largest(2)}]
    )
    assert {name: (float(one.value), one.reduction) for name, one in found.items()} == {
        "a": (0.75, "mean"),
        "b": (3.0, "max"),
    }


def test_minibatches_are_averaged_over_those_that_measured_something() -> None:
    found = over_minibatches([{"a": mean(1.0), "b": largest(2.0)}, {"a": mean(2.0)}, {}])
    assert found == {"a": 1.5, "b": 2.0}
    assert over_minibatches([]) == over_forwards([]) == {}


def test_a_value_that_is_no_number_is_not_hidden_by_larger_ones() -> None:
    parts = [{"a": largest(math.nan)}, {"a": largest(1.0)}]
    assert math.isnan(float(over_forwards(parts)["a"].value))
    assert math.isnan(over_minibatches(parts)["a"])
