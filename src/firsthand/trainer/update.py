"""One optimizer step: the objective's terms over a gathered batch, micro-batch by micro-batch.

Denominators are those of the whole step (`Totals`), so splitting it changes no gradient. Shape letters: B replies,
T tokens.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firsthand.errors import ParityError, RecipeError
from firsthand.objective import GRPO, TERMS, Table, Totals
from firsthand.policy import Group
from firsthand.recipe import Optimizer, Recipe
from firsthand.trainer.gather import Member

if TYPE_CHECKING:
    from firsthand.trainer.state import State

PARITY = 1e-3
"""Largest difference between a token's log-prob in rollout and in training (nats, float32; measured near 1e-5)."""


def optimise(state: "State", batch: Sequence[Member], recipe: Recipe, step: int) -> dict[str, float]:
    """Accumulate the gradient of the sum of all terms, clip it, and step. Returns what was measured.

    Raises ParityError in a run's first step when rollout and training disagree about a sampled token.
    """
    totals = totals_of(batch)
    measured: dict[str, Tensor] = {}
    for micro in split([m for m in batch if is_taught(m, recipe)], recipe.tokens_per_forward):
        terms, facts = _forward(state, micro, totals, recipe)
        torch.stack(list(terms.values())).sum().backward()
        for name, value in terms.items():
            measured[f"loss/{name}"] = measured.get(f"loss/{name}", torch.zeros(())) + value.detach().cpu()
        for name, value in facts.items():
            measured[name] = torch.maximum(measured.get(name, value), value)
        if step == 0 and "parity/max_abs" in measured:
            _check_parity(float(measured["parity/max_abs"]), micro)
    metrics = {name: float(value) for name, value in measured.items()}
    losses = [value for name, value in metrics.items() if name.startswith("loss/")]
    if losses:
        metrics["loss/total"] = math.fsum(losses)
    return metrics | _descend(state, recipe, step)


def totals_of(batch: Sequence[Member]) -> Totals:
    """Replies and tokens of a whole step, silent groups included, unmeasured replies left out."""
    replies = [j.reply for member in batch for j in member.group if j.verdict.score is not None or j.reply.is_demo]
    return Totals(replies=max(1, len(replies)), tokens=max(1, sum(len(r.token_ids) for r in replies)))


def is_taught(member: Member, recipe: Recipe) -> bool:
    """Whether the group can change a parameter: a silent one cannot, unless a KL term looks at it too.

    Leaving it out of the forward is exact, because the denominators count it all the same.
    """
    return not (isinstance(recipe.objective, GRPO) and recipe.objective.beta == 0 and member.is_silent)


def split(batch: Sequence[Member], budget: int) -> Iterator[list[Member]]:
    """Whole groups, like lengths together, as many at a time as fit: rows times the longest of them <= budget."""
    micro: list[Member] = []
    for member in sorted(batch, key=row_length):  # ascending: the last one of a micro-batch is its longest
        if micro and (len(micro) + 1) * row_length(member) > budget:
            yield micro
            micro = []
        micro.append(member)
    if micro:
        yield micro


def row_length(member: Member) -> int:
    """Tokens of the packed row: the prompt once, and all replies."""
    return len(member.prompt.token_ids) + sum(len(j.reply.token_ids) for j in member.group)


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then a cosine to `floor * lr` (cosine with a floor: VLAA-Thinking §4)."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return settings.lr * (settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def _forward(
    state: "State", micro: Sequence[Member], totals: Totals, recipe: Recipe
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a micro-batch, and facts about it of which the step's maximum is reported."""
    kept = [(m, [j for j in m.group if j.verdict.score is not None or j.reply.is_demo]) for m in micro]
    groups = [Group(m.prompt, tuple(j.reply.token_ids for j in judged)) for m, judged in kept]
    rows = [j for _, judged in kept for j in judged]
    temperature = recipe.sampling.temperature if isinstance(recipe.objective, GRPO) else 1.0
    found = state.policy.logprobs(groups, temperature=temperature)
    reference_BT = None
    if state.reference is not None:
        with torch.no_grad():
            reference_BT = state.reference.logprobs(groups, temperature=temperature).logp_BT
    table = Table(
        logp_BT=found.logp_BT,
        mask_BT=found.mask_BT,
        advantage_B=torch.tensor([j.advantage or 0.0 for j in rows], device=found.logp_BT.device),
        ref_logp_BT=reference_BT,
    )
    terms = TERMS[recipe.objective.kind](table, totals, recipe.objective)
    gaps = [_gap(found.logp_BT[b], j.reply.logprobs) for b, j in enumerate(rows) if j.reply.logprobs]
    return terms, {"parity/max_abs": torch.stack(gaps).max()} if gaps else {}


def _gap(logp_T: Tensor, sampled: Sequence[float]) -> Tensor:
    """Largest difference between a reply's log-probs in training and as it was sampled."""
    return (logp_T[: len(sampled)].detach().cpu() - torch.tensor(sampled)).abs().max()


def _check_parity(gap: float, micro: Sequence[Member]) -> None:
    if not gap <= PARITY:  # also catches nan
        names = ", ".join(member.example.id for member in micro)
        raise ParityError(
            f"rollout and training disagree by {gap:.2g} nats about a sampled token of examples {names} (at most "
            f"{PARITY} is rounding). Training would learn from a distribution that nobody sampled. Are the weights "
            "float32, and do sampler and trainer hold the same ones?"
        )


def _descend(state: "State", recipe: Recipe, step: int) -> dict[str, float]:
    """Clip, step, and clear. A step in which no group taught anything leaves parameters and moments alone."""
    lr = learning_rate(step, recipe.steps, recipe.optimizer)
    parameters = [p for p in state.policy.parameters if p.grad is not None]
    if not parameters:
        return {"optim/lr": lr}
    norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.optimizer.max_grad_norm)
    if not torch.isfinite(norm):
        raise RecipeError(
            f"step {step}: expected a finite gradient norm, got {float(norm)}: training has diverged; "
            "lower optimizer.lr or optimizer.max_grad_norm"
        )
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    return {"optim/lr": lr, "optim/grad_norm": float(norm)}
