"""What methods see of a forward's replies: a table, from a pass of each policy that looks at them.

Shape letters: B replies, T tokens.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firsthand.data.distort import masked
from firsthand.objective import Method, Sampled, Table, Totals
from firsthand.objective.pieces import correction
from firsthand.policy import Logprobs
from firsthand.recipe import Recipe
from firsthand.trainer.batch import Group

if TYPE_CHECKING:
    from firsthand.trainer.state import State


def read(
    state: "State", forward: Sequence[Group], totals: Totals, recipe: Recipe, is_on_policy: bool
) -> tuple[Table, Logprobs]:
    """The table of some groups, from a forward of each policy that looks at them.

    `is_on_policy` says that the policy is the one from before the batch's first update. That one has written the
    replies, unless they may be stale.
    """
    packed = [group.packed for group in forward]
    method = recipe.objective
    temperature = recipe.sampling.temperature if method.samples else 1.0
    # First, so that what its forward takes is given back before the policy's own keeps anything.
    teacher_BT = state.teacher.logprobs(forward, temperature) if state.teacher is not None else None
    masked_BT = masked_logprobs(state, forward, totals.step, recipe) if method.masks else None
    found = state.policy.logprobs(packed, temperature=temperature, entropy=method.entropy)
    reference_BT = None
    if totals.kl_weight and state.reference is not None:
        with torch.no_grad():
            reference_BT = state.reference.logprobs(packed, temperature=temperature).logp_BT
    others = {"ref_logp_BT": reference_BT, "teacher_logp_BT": teacher_BT, "masked_logp_BT": masked_BT}
    table = table_of(forward, found, is_on_policy and not recipe.staleness, **others)
    return _corrected(table, method), found


@torch.no_grad()
def masked_logprobs(state: "State", forward: Sequence[Group], step: int, recipe: Recipe) -> Tensor:
    """Log-probs [B, T] of the replies under the policy as it is, after prompts whose pictures are masked.

    A picture's mask is the same in all parts of a step, and another in the next.
    """
    packed = []
    for group in forward:
        example = masked(group.example, recipe.objective.masks, f"mask {recipe.seed} {step}")
        prompt = state.encoder.prompt(example, recipe.system)
        packed.append(dataclasses.replace(group.packed, prompt=prompt, sampled_logprobs=()))
    return state.policy.logprobs(packed, temperature=recipe.sampling.temperature).logp_BT


def surveyed(
    state: "State", forwards: Sequence[Sequence[Group]], totals: Totals, recipe: Recipe, is_on_policy: bool
) -> Totals:
    """The totals with what the method wants to know of all the step's tokens, where it wants something."""
    if not recipe.objective.surveys:
        return totals
    with state.whole(), torch.no_grad():
        tables = [read(state, forward, totals, recipe, is_on_policy)[0] for forward in forwards]
    everything = state.ranks.gathered(tables)
    return (
        dataclasses.replace(totals, survey=recipe.objective.survey(Table.joined(everything))) if everything else totals
    )


def keeps_old(method: Method) -> bool:
    """Whether the old policy's log-probs are the trainer's own: where sampled tokens are weighed for being the
    sampler's, and where the sampler's belong to another picture."""
    return method.distorts or (isinstance(method, Sampled) and method.correction != "none")


def _corrected(table: Table, method: Method) -> Table:
    """The table with weights of sampled tokens, where the method corrects for its sampler."""
    if not (isinstance(method, Sampled) and method.correction != "none" and table.sampler_logp_BT is not None):
        return table
    old_BT = (table.logp_BT - table.log_ratio_BT).detach()
    how, cap, level = method.correction, method.correction_cap, method.correction_level
    weight_BT = correction(old_BT, table.sampler_logp_BT, how=how, cap=cap, level=level)
    return dataclasses.replace(table, correction_BT=torch.where(table.is_demo_B[:, None], 1.0, weight_BT))


def with_old(state: "State", group: Group, recipe: Recipe) -> Group:
    """The group with the log-probs that the policy gives its replies now."""
    if not group.trainable:
        return group
    with torch.no_grad():
        logp_BT = state.policy.logprobs([group.packed], temperature=recipe.sampling.temperature).logp_BT.cpu()
    rows = zip(logp_BT.tolist(), group.trainable, strict=True)
    return dataclasses.replace(group, old_logprobs=tuple(tuple(row[: len(j.reply.token_ids)]) for row, j in rows))


def table_of(groups: Sequence[Group], found: Logprobs, is_on_policy: bool, **others: Tensor | None) -> Table:
    """The replies of a forward as the methods see them; `others` are columns of other policies."""
    rows = [j for group in groups for j in group.trainable]

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=found.logp_BT.device)

    return Table(
        logp_BT=found.logp_BT,
        mask_BT=found.mask_BT,
        advantage_B=column([j.advantage or 0.0 for j in rows]),
        score_B=column([j.verdict.score or 0.0 for j in rows]),
        is_demo_B=column([j.reply.is_demo for j in rows]).bool(),
        old_logp_BT=None if is_on_policy else _old(groups, found),
        sampler_logp_BT=found.sampled_logp_BT,
        group_B=column([group.number for group in groups for _ in group.trainable]).long(),
        accuracy_B=column([group.accuracy for group in groups for _ in group.trainable]),
        key_B=column([zlib.crc32(str(j.reply.token_ids).encode()) for j in rows]).long(),
        entropy_BT=found.entropy_BT,
        **others,
    )


def _old(groups: Sequence[Group], found: Logprobs) -> Tensor | None:
    """Log-probs under the policy before the batch's first update: the trainer's own where it kept them."""
    if any(group.old_logprobs is None for group in groups):
        return found.sampled_logp_BT
    old_BT = (found.logp_BT.detach() if found.sampled_logp_BT is None else found.sampled_logp_BT).clone()
    rows = [row for group in groups for row in zip(group.trainable, group.old_logprobs or (), strict=True)]
    for b, (judged, logprobs) in enumerate(rows):
        if not judged.reply.is_demo:  # which nobody sampled: it never meets a ratio
            old_BT[b, : len(logprobs)] = torch.tensor(logprobs)
    return old_BT
