"""Whether a server's weights are those of the trainer, told from numbers alone."""

import math

import pytest
import torch

from firsthand.errors import ParityError
from firsthand.rollout.parity import Gap, Watch

BOUND = Gap(1e-3, 1e-4)
START = torch.linspace(-3.0, -0.1, 64)


def rounded(logp_K: torch.Tensor, seed: int) -> torch.Tensor:
    return logp_K + 1e-6 * torch.randn(len(logp_K), generator=torch.Generator().manual_seed(seed))


def moved(by: float, seed: int) -> torch.Tensor:
    return START + by * torch.randn(len(START), generator=torch.Generator().manual_seed(seed))


def test_a_server_that_follows_passes_however_far_the_policy_goes() -> None:
    watch = Watch(BOUND)
    for step, by in enumerate((0.0, 1e-9, 1e-5, 1e-3, 1.0, 1.0)):
        now = moved(by, step)
        assert watch.check(rounded(now, 100 + step), now).max < 1e-5


@pytest.mark.parametrize("by", [1e-8, 1e-5, 5e-5])
def test_weights_that_stayed_are_found_within_the_bound(by: float) -> None:
    """Each is less than rounding is allowed; what gives a server away is that its numbers have not moved at all."""
    watch, old = Watch(BOUND), rounded(START, 0)
    watch.check(old, START)
    with pytest.raises(ParityError, match=r"to the bit, what they were before the push.*Restart the server"):
        watch.check(old, START + by)


def test_weights_that_stayed_in_part_are_found_as_soon_as_rounding_is_left_behind() -> None:
    """A server whose output layer stays: its numbers move a little, and the wrong way."""
    watch = Watch(Gap(1.0, 0.1))  # bfloat16's, under which a whole run may be hidden
    watch.check(rounded(START, 0), START)
    watch.check(rounded(START, 1), START + 1e-6)  # too little to tell
    with pytest.raises(ParityError, match="nearer to the log-probs of weights before"):
        watch.check(rounded(START, 2), START + 1e-4)


@pytest.mark.parametrize("far", [0.01, math.nan])
def test_what_is_beyond_rounding_stops_the_first_push(far: float) -> None:
    server = START.clone()
    server[3] += far
    with pytest.raises(ParityError, match="differ by"):
        Watch(BOUND).check(server, START)
