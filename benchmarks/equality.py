"""The same update twice: one batch of given replies in both trainers' form, and how far their results are apart.

Only equal work may be timed against each other.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from our_side import Ours
from trl_side import Trl, repeated
from workload import Recorder, group_of, reward

from firsthand.errors import ParityError
from firsthand.objective import group_advantage
from firsthand.records import Example, Judged, Reply, Status, Verdict
from firsthand.trainer.batch import Group

COSINE = 0.9999
GAP = 1e-5
LR = 0.1
"""Of the plain SGD step that is compared. AdamW's first step is lr * sign(gradient), which turns rounding of gradients
near zero into whole steps; SGD's error is the gradient's."""


@dataclass(frozen=True)
class Frozen:
    """One batch of given replies in both forms."""

    ours: list[Group]
    trl: dict[str, Any]


@dataclass(frozen=True)
class Agreement:
    """How far two updates on the same replies are apart."""

    gradient_cosine: float
    gradient_norm_gap: float
    """Relative."""
    parameter_gap: float
    """Largest difference of any parameter after one step of plain SGD."""

    def check(self) -> None:
        """Raises ParityError when the difference is more than rounding."""
        near = self.gradient_cosine > COSINE and self.gradient_norm_gap < 1 - COSINE and self.parameter_gap < GAP
        if not near:
            raise ParityError(
                f"expected one and the same update (cosine > {COSINE}, norm within {1 - COSINE:.0e}, parameters within "
                f"{GAP:.0e}), got {asdict(self)}; timing different work would say nothing"
            )


def freeze(ours: Ours, theirs: Trl, examples: list[Example]) -> Frozen:
    """TRL's replies to the examples, as both trainers want them.

    Raises ParityError when the sides read the same example differently, or give other advantages for the same rewards.
    """
    group = group_of(ours.recipe)
    inputs = theirs.replay(repeated(examples, group))
    replies = inputs["completion_ids"].tolist()
    advantages = group_advantage([reward(i, group) for i in range(group)], scale="std")
    groups = []
    for k, example in enumerate(examples):
        judged = tuple(
            Judged(
                reply=Reply(text="", token_ids=tuple(replies[k * group + i])),
                verdict=Verdict(score=reward(i, group), status=Status.OK),
                reward=reward(i, group),
                advantage=advantages[i],
            )
            for i in range(group)
        )
        groups.append(Group(example, ours.encoder.prompt(example), judged))
    check_inputs(groups, inputs)
    return Frozen(groups, inputs)


def check_inputs(groups: list[Group], inputs: dict[str, Any]) -> None:
    """Raises ParityError unless our batch and TRL's hold the same prompts, pictures and advantages."""
    group = len(groups[0].replies)
    pixels = torch.cat([g.prompt.pixels for g in groups for _ in range(group) if g.prompt.pixels is not None])
    advantages = torch.tensor([j.advantage for g in groups for j in g.replies])
    masked = zip(inputs["prompt_ids"], inputs["prompt_mask"].bool(), strict=True)
    same = {
        "prompts": [tuple(ids[mask].tolist()) for ids, mask in masked]
        == [g.prompt.token_ids for g in groups for _ in range(group)],
        "reply lengths": bool(inputs["completion_mask"].all()),
        "pixels": torch.equal(pixels, inputs["pixel_values"].cpu()),
        "advantages": torch.allclose(advantages, inputs["advantages"].cpu(), atol=1e-6),
    }
    if not all(same.values()):
        raise ParityError(f"expected the same inputs on both sides, got other {[k for k, v in same.items() if not v]}")


def compare(ours: Ours, theirs: Trl, frozen: Frozen) -> Agreement:
    """One plain SGD step on each side. The optimizers are put back; the parameters stay where the step took them."""
    kept, mine = (ours.recipe, theirs.optimizer), ours.state.optimizer.optimizers
    ours.recipe = kept[0].model_copy(update={"optimizer": kept[0].optimizer.model_copy(update={"lr": LR})})
    ours.state.optimizer.optimizers = [our_sgd := Recorder(ours.policy.parameters, lr=LR)]
    theirs.optimizer = their_sgd = Recorder(theirs.parameters, lr=LR)
    our_norm, their_norm = ours.update(frozen.ours), theirs.update(frozen.trl)
    (ours.recipe, theirs.optimizer), ours.state.optimizer.optimizers = kept, mine
    a, b = our_sgd.gradient.double(), their_sgd.gradient.double()
    return Agreement(
        gradient_cosine=float(a @ b / (a.norm() * b.norm())),
        gradient_norm_gap=abs(our_norm - their_norm) / their_norm,
        parameter_gap=max(
            float((p - q).detach().abs().max()) for p, q in zip(ours.policy.parameters, theirs.parameters, strict=True)
        ),
    )
