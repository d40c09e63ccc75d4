"""The benchmark against TRL: it times equal work only, and counts that work."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import counters
import equality
import pytest
import timing
import vs_trl
from our_side import Ours
from trl.trainer.grpo_trainer import GRPOTrainer
from trl_side import Trl, replies_only_head
from workload import Settings

from firsthand.errors import ParityError
from firsthand.policy.flops import Weights

# TRL 1.16 sets an argument, and reads an attribute, that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing` is deprecated:FutureWarning")

TINY = Settings(steps=1, prompts=2, group=2, reply_tokens=4, threads=1)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ours, Trl, equality.Frozen]]:
    with replies_only_head():
        yield vs_trl.frozen_sides(TINY, str(tmp_path_factory.mktemp("trl")))


def test_the_peer_is_trl_itself(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    assert type(sides[1].trainer) is GRPOTrainer


def test_one_update_on_the_same_replies_is_the_same_update_on_both_sides(
    sides: tuple[Ours, Trl, equality.Frozen],
) -> None:
    agreement = equality.compare(*sides)
    agreement.check()
    assert agreement.gradient_cosine > 0.999999
    assert agreement.parameter_gap > 0, "two different forwards cannot agree in every bit"


def test_sides_that_learn_something_else_are_not_timed(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    ours, theirs, frozen = sides
    first, *rest = frozen.ours
    worse = tuple(judged.model_copy(update={"advantage": -(judged.advantage or 0)}) for judged in first.replies)
    with pytest.raises(ParityError, match="expected one and the same update"):
        equality.compare(ours, theirs, replace(frozen, ours=[replace(first, replies=worse), *rest])).check()


def test_sides_that_read_other_prompts_are_not_timed(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    frozen = sides[2]
    with pytest.raises(ParityError, match=r"got other \['prompts', 'pixels'\]"):
        equality.check_inputs(frozen.ours[::-1], frozen.trl)


def test_the_work_of_a_full_step_is_the_work_of_the_formulas(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    ours, theirs = vs_trl.count_full_step(*sides[:2], step=1)
    assert (ours.images_processed, theirs.images_processed) == (2, 8)
    assert (ours.tower_images, theirs.tower_images) == (2, 8)
    assert ours.training_head_rows == theirs.training_head_rows == 2 * 2 * 4
    assert ours.decode_rows == theirs.decode_rows == 2 * 2 * 3
    assert ours.training_tokens < theirs.training_tokens


def test_counting_leaves_no_trace(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    ours = sides[0]
    with counters.counting(ours.policy.model, ours.image_processor):
        pass
    assert "_preprocess" not in vars(ours.image_processor)
    assert not ours.policy.model.lm_head._forward_pre_hooks


def test_the_sides_take_turns_at_going_first() -> None:
    ran: list[str] = []
    timing.alternate(lambda i: partial(ran.append, f"a{i}"), lambda i: partial(ran.append, f"b{i}"), range(3))
    assert ran == ["a0", "b0", "b1", "a1", "a2", "b2"]


def test_the_ratio_is_the_median_of_the_pairs_with_its_interval() -> None:
    pairs = timing.Pairs([(1.0, 2.0), (2.0, 6.0), (1.0, 100.0)])
    low, high = pairs.ci95
    assert pairs.ratio == 3.0
    assert pairs.medians == (1.0, 6.0)
    assert (low, high) == (2.0, 100.0)


def test_trl_in_several_forwards_makes_the_same_update(tmp_path: Path) -> None:
    with replies_only_head():
        ours, theirs, frozen = vs_trl.frozen_sides(TINY, str(tmp_path), forwards=2)
        assert theirs.forwards == 2
        equality.compare(ours, theirs, frozen).check()


def test_trl_in_several_forwards_generates_once_per_step(tmp_path: Path) -> None:
    with replies_only_head():
        recipe = TINY.recipe(tmp_path)
        examples = recipe.data.load()
        vs_trl.count_full_step(Ours(recipe, examples), Trl(recipe, examples, str(tmp_path), 2), step=0)


def test_a_scaled_picture_has_the_tokens_that_were_asked_for(tmp_path: Path) -> None:
    recipe = replace(TINY, image_tokens=100).recipe(tmp_path)
    prompt = Ours(recipe, examples := recipe.data.load()).encoder.prompt(examples[0])
    assert prompt.token_ids.count(6) == pytest.approx(100, rel=0.2)


def test_operations_repeat_a_prompt_for_every_reply_of_trl(sides: tuple[Ours, Trl, equality.Frozen]) -> None:
    ours, _, frozen = sides
    linear = replace(ours.policy.flops, pair=0, head=Weights(), patches=Weights(), merged=Weights(), vision_pair=0)
    prompt = frozen.ours[0].prompt
    G, P, R = 8, len(prompt.token_ids), 5
    found = counters.Operations.of(linear, [prompt], G, R, frozen=True)
    assert found.update_ratio == pytest.approx(G * (P + R) / (P + G * R))
    assert found.trl_full_step - found.trl_update == 2 * linear.layers.all * G * (P + R - 1)
    assert found.our_full_step - found.our_update == 2 * linear.layers.all * (P + G * (R - 1))
    with_tower = counters.Operations.of(replace(linear, patches=Weights(1000)), [prompt], G, R, frozen=True)
    assert with_tower.trl_full_step - found.trl_full_step == 2 * G * (with_tower.our_full_step - found.our_full_step)
