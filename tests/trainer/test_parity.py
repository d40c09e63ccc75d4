"""In every precision, the first step tells rounding from a sampler and a trainer that mean different distributions."""

import math
from collections.abc import Sequence

import pytest
import torch
from equivalence import leaky_mask
from torch import Tensor

from firsthand.errors import ParityError
from firsthand.objective import GRPO
from firsthand.policy import Policy, attention, packing
from firsthand.policy.precision import DTYPE, Precision
from firsthand.processor import Encoder
from firsthand.recipe import Data, Recipe
from firsthand.records import Judged, Status, Verdict
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.trainer.batch import Group
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.trainer.update import PARITY, Gap, update
from firsthand.worlds import SMALL

RECIPE = Recipe(name="a", data=Data(worlds=("count", "digits", "chart", "geometry"), number=16), objective=GRPO())


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    return request.param


@pytest.fixture(scope="module")
def groups(precision: Precision) -> list[Group]:
    """A batch of the usual size that the small model has written, with rewards that teach."""
    policy, encoder = Policy.load(SMALL, dtype=DTYPE[precision]), Encoder.load(SMALL)
    examples = RECIPE.data.load()
    prompts = [encoder.prompt(example) for example in examples]
    replies = grouped(LocalSampler(policy, encoder).sample(prompts, 8, Sampling(max_new_tokens=64)), len(prompts))
    verdict = Verdict(score=1.0, status=Status.OK)
    return [
        Group(
            example,
            prompt,
            tuple(Judged(reply=r, verdict=verdict, reward=i % 2, advantage=i % 2 - 0.5) for i, r in enumerate(written)),
        )
        for example, prompt, written in zip(examples, prompts, replies, strict=True)
    ]


def first_step(precision: Precision, groups: Sequence[Group], *, noise: float = 0.0) -> dict[str, float]:
    """The update of the small model's first step; its weights may have been changed since by this share."""
    policy = Policy.load(SMALL, trainable="language", dtype=DTYPE[precision])
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(torch.randn_like(parameter) * parameter.float().std().to(parameter.dtype) * noise)
    updater = Updater(policy.parameters, RECIPE.optimizer)
    return update(State(policy, Encoder.load(SMALL), updater, None, 0, 0.0), groups, RECIPE, 0)


def test_rounding_is_let_through_with_room(
    precision: Precision, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = Gap(*(limit / 5 for limit in PARITY[DTYPE[precision]]))
    monkeypatch.setitem(PARITY, DTYPE[precision], narrow)
    assert first_step(precision, groups)["parity/max_abs"] > 0


def test_replies_that_see_each_other_are_caught(
    precision: Precision, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "block_mask", leaky_mask)
    monkeypatch.setattr(attention, "WORTHWHILE", math.inf)
    with pytest.raises(ParityError):
        first_step(precision, groups)


@pytest.mark.parametrize("by", [1, -1])
def test_positions_that_are_off_by_one_are_caught(
    precision: Precision, groups: list[Group], by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = packing.row_positions

    def off(prompt_3P: Tensor, lengths: Sequence[int]) -> Tensor:
        positions = right(prompt_3P, lengths)
        positions[:, prompt_3P.shape[1] :] += by
        return positions

    monkeypatch.setattr(packing, "row_positions", off)
    with pytest.raises(ParityError):
        first_step(precision, groups)


def test_other_weights_are_caught(precision: Precision, groups: list[Group]) -> None:
    with pytest.raises(ParityError):
        first_step(precision, groups, noise=0.1)
