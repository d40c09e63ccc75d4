"""What a step costs in tokens and arithmetic, by formula: a function of its lengths alone, so that equal runs agree.

A frozen tower's features are kept, and a run that goes on after a kill makes them anew; here every prompt's pictures
count once per step, whoever still had them.
"""

from collections.abc import Sequence

import torch

from firsthand.policy.flops import Flops
from firsthand.trainer.batch import Group
from firsthand.trainer.metrics import Metric
from firsthand.trainer.teaching import TeacherReader


def of_sampling(groups: Sequence[Group], flops: Flops) -> dict[str, float]:
    """Of prompts and the replies that were written to them, those of groups that were then left out included."""
    written = [(group.prompt, _written(group)) for group in groups]
    prompts = [(len(prompt.token_ids), flops.of_prompt(prompt), max(1, len(views))) for prompt, views in written]
    return {
        "tokens/prompt": float(sum(tokens * views for tokens, _, views in prompts)),
        "tokens/generated": float(sum(sum(lengths) for _, views in written for lengths in views)),
        "flops/vision": float(sum(pictures * views for _, pictures, views in prompts)),
        "flops/rollout": float(
            sum(flops.rollout(len(prompt.token_ids), lengths) for prompt, views in written for lengths in views)
        ),
    }


def _written(group: Group) -> list[list[int]]:
    """Lengths of its sampled replies, those to the prompt, and those to its distorted pictures; without empty lists."""
    replies = [judged.reply for judged in group.replies if not judged.reply.is_demo]
    views = [[len(reply.token_ids) for reply in replies if reply.distorted == said] for said in (False, True)]
    return [lengths for lengths in views if lengths]


def of_update(
    groups: Sequence[Group],
    flops: Flops,
    *,
    forwards: int = 1,
    teacher: TeacherReader | None = None,
    masked: bool = False,
) -> dict[str, Metric]:
    """Of the groups that an optimizer step learned from; a trained tower sees and learns their pictures in it.

    A teacher sees them, too, each after its own prompt, and so does the policy where pictures are masked.
    """
    learned = 0
    for group in groups:
        lengths = [len(judged.reply.token_ids) for judged in group.trainable]
        learned += flops.update(len(group.prompt.token_ids), lengths, forwards=forwards)
        if masked:
            learned += flops.scoring(len(group.prompt.token_ids), lengths) + flops.of_prompt(group.prompt)
        if teacher is not None:
            seen_by = teacher.packed(group).prompt
            learned += teacher.policy.flops.scoring(len(seen_by.token_ids), lengths)
            learned += teacher.policy.flops.of_prompt(seen_by)
        if flops.patches.trained:
            seen = [flops.of_prompt(group.prompt, backward=backward) for backward in (False, True)]
            sampled = any(not judged.reply.is_demo for judged in group.replies)
            learned += seen[1] + seen[0] * sampled  # without a rollout, `flops/vision` has its forward
    return {"flops/update": Metric(torch.tensor(learned, dtype=torch.float64), "sum")}
