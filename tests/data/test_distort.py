"""Pictures with less in them: how much, and always the same for one key."""

import math

import numpy as np
import pytest

from firsthand.data.blind import blinded
from firsthand.data.distort import PATCH, masked, noisy
from firsthand.recipe import Data
from firsthand.records import Example


@pytest.fixture(scope="module")
def example() -> Example:
    return Data(worlds=("count",), number=1).load()[0]


def pixels(example: Example) -> np.ndarray:
    return np.asarray(example.images[0].open())


def test_a_masked_picture_has_black_squares_and_is_else_as_it_was(example: Example) -> None:
    before, after = pixels(example), pixels(masked(example, 0.6, "a"))
    assert before.shape == after.shape and before.min(axis=2).max() > 0
    is_black = (after == 0).all(axis=2) & (before != 0).any(axis=2)
    assert (before[~is_black] == after[~is_black]).all()
    whole = is_black[: is_black.shape[0] // PATCH * PATCH, : is_black.shape[1] // PATCH * PATCH]
    squares = whole.reshape(-1, PATCH, whole.shape[1] // PATCH, PATCH).mean(axis=(1, 3))
    assert set(np.unique(squares)) == {0.0, 1.0}


def test_about_the_share_is_black(example: Example) -> None:
    shares = [(pixels(masked(example, 0.6, str(i))) == 0).all(axis=2).mean() for i in range(100)]
    assert np.mean(shares) == pytest.approx(0.6, abs=0.03)
    assert (pixels(masked(example, 1.0, "a")) == 0).all()


def test_a_mask_follows_from_its_key_and_the_example_alone(example: Example) -> None:
    first, again, other = (masked(example, 0.6, key) for key in ("a", "a", "b"))
    assert first == again and first.images != other.images
    assert first.id == other.id == example.id
    assert masked(example.model_copy(update={"images": ()}), 0.6, "a").images == ()


@pytest.mark.parametrize(("level", "kept"), [(0, 0.999978), (100, 0.9966), (200, 0.9878)])
def test_noise_keeps_a_share_of_the_picture(example: Example, level: int, kept: float) -> None:
    """The shares are those of the authors' code, which multiplies up in torch."""
    (gray,) = blinded([example], "gray")
    found = pixels(noisy(gray, level, "a")) / 255
    assert found.mean() == pytest.approx(math.sqrt(kept) * 128 / 255, abs=2e-3)
    assert found.std() == pytest.approx(math.sqrt(1 - kept), rel=0.02 if level else 0.1)  # steps of 1 / 255
    assert noisy(gray, level, "a") == noisy(gray, level, "a") != noisy(gray, level, "b")
