"""One optimizer step: the objective's terms over a gathered batch, micro-batch by micro-batch.

Denominators are those of the whole step (`Totals`), so splitting it changes no gradient. Shape letters: B replies,
T tokens.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firsthand.errors import ParityError, RecipeError
from firsthand.objective import PRESETS, Count, Seen, Table, Totals
from firsthand.objective.pieces import k3
from firsthand.objective.table import token_weights
from firsthand.policy import Group, Logprobs
from firsthand.recipe import Optimizer, Recipe
from firsthand.records import Judged, Reply
from firsthand.trainer.gather import Member
from firsthand.trainer.journal import sampled_entropy

if TYPE_CHECKING:
    from firsthand.trainer.state import State

TOKENS_PER_FORWARD = {"cpu": 2048, "cuda": 16384}
"""What fits one forward when a recipe leaves it open (ours)."""
MAXIMA = ("parity/max_abs",)
"""Facts of which a step reports the largest; all others are sums or means."""
PARITY = 1e-3
"""Largest difference between a token's log-prob in rollout and in training (nats, float32; measured near 1e-5)."""


def optimise(state: "State", batch: Sequence[Member], recipe: Recipe, step: int) -> dict[str, float]:
    """Learn from a gathered batch, in `recipe.minibatches` optimizer updates on as many shares of it.

    For each: accumulate the gradient of the sum of all terms, clip it, and step. Returns what was measured, losses and
    norms averaged over the updates. Raises ParityError in a run's first step when rollout and training disagree about
    a sampled token.
    """
    measured: dict[str, list[float]] = {}
    for number, share in enumerate(shares(batch, recipe.minibatches)):
        for name, value in _update(state, share, recipe, step, is_on_policy=number == 0).items():
            measured.setdefault(name, []).append(value)
    metrics = {name: max(v) if name in MAXIMA else math.fsum(v) / len(v) for name, v in measured.items()}
    metrics["optim/lr"] = learning_rate(step, recipe.steps, recipe.optimizer)
    return metrics if recipe.objective.kl.is_off else {**metrics, "policy/kl_weight": state.kl_weight}


def next_kl_weight(
    weight: float, recipe: Recipe, step: int, metrics: Mapping[str, float], batch: Sequence[Member]
) -> float:
    """beta of `step`, after what the step before measured."""
    replies = sum(not j.reply.is_demo for member in batch for j in member.learnt)
    seen = Seen(kl=metrics.get("policy/kl"), accuracy=metrics.get("score/mean"), replies=replies)
    return recipe.objective.kl.next(weight, step, recipe.steps, seen)


def shares(batch: Sequence[Member], number: int) -> list[Sequence[Member]]:
    """The batch in parts that differ by at most one member; an empty batch is one empty part."""
    number = max(1, min(number, len(batch)))
    edges = [len(batch) * i // number for i in range(number + 1)]
    return [batch[a:b] for a, b in itertools.pairwise(edges)]


def _update(
    state: "State", share: Sequence[Member], recipe: Recipe, step: int, *, is_on_policy: bool
) -> dict[str, float]:
    """One optimizer update."""
    totals = totals_of(share, recipe, step, state.kl_weight)
    measured: dict[str, Tensor] = {}
    taught = [member for member in share if is_taught(member, recipe, totals)]
    size = row_length if state.policy.sharing.allows(max(map(row_length, taught), default=0)) else separate_length
    for micro in split(taught, forward_budget(recipe, state.policy.model.device), size):
        terms, facts = _forward(state, micro, totals, recipe, is_on_policy)
        torch.stack(list(terms.values())).sum().backward()
        for name, value in [*((f"loss/{name}", term.detach().cpu()) for name, term in terms.items()), *facts.items()]:
            old = measured.get(name, torch.zeros(()))
            measured[name] = torch.maximum(old, value) if name in MAXIMA else old + value
        if step == 0 and is_on_policy and "parity/max_abs" in measured:
            _check_parity(float(measured["parity/max_abs"]), micro)
    metrics = {name: float(value) for name, value in measured.items()}
    losses = [value for name, value in metrics.items() if name.startswith("loss/")]
    if losses:
        metrics["loss/total"] = math.fsum(losses)
    return metrics | _descend(state, recipe, step)


def totals_of(share: Sequence[Member], recipe: Recipe, step: int, kl_weight: float) -> Totals:
    """What holds for a whole update: silent groups are counted, unmeasured replies are not."""
    learnt = [j.reply for member in share for j in member.learnt]
    return Totals(
        sampled=_count([reply for reply in learnt if not reply.is_demo]),
        demos=_count([reply for reply in learnt if reply.is_demo]),
        max_tokens=recipe.sampling.max_new_tokens,
        step=step,
        steps=recipe.steps,
        kl_weight=kl_weight,
        entropy=sampled_entropy(share),
    )


def _count(replies: Sequence[Reply]) -> Count:
    return Count(len(replies), sum(len(reply.token_ids) for reply in replies))


def is_taught(member: Member, recipe: Recipe, totals: Totals) -> bool:
    """Whether the group can change a parameter: a silent one cannot, unless a term looks at more than its credit.

    Leaving it out of the forward is exact, because the denominators count it all the same.
    """
    return bool(member.learnt) and not (recipe.objective.needs_advantage and totals.kl_weight == 0 and member.is_silent)


def forward_budget(recipe: Recipe, device: torch.device) -> int:
    """Tokens of one forward: what the recipe says, or what suits the device."""
    return recipe.tokens_per_forward or TOKENS_PER_FORWARD[device.type]


def split(batch: Sequence[Member], budget: int, size: Callable[[Member], int] | None = None) -> Iterator[list[Member]]:
    """Whole groups, like sizes together, as many at a time as fit: groups times the largest of them <= budget.

    `size` is a group's tokens in a forward; by default those of its packed row.
    """
    size = size or row_length
    micro: list[Member] = []
    for member in sorted(batch, key=size):  # ascending: the last one of a micro-batch is its largest
        if micro and (len(micro) + 1) * size(member) > budget:
            yield micro
            micro = []
        micro.append(member)
    if micro:
        yield micro


def row_length(member: Member) -> int:
    """Tokens of the packed row: the prompt once, and all replies."""
    return len(member.prompt.token_ids) + sum(len(j.reply.token_ids) for j in member.group)


def separate_length(member: Member) -> int:
    """Tokens of a group whose replies cannot share a row: the prompt once for each, padded to the longest."""
    lengths = [len(j.reply.token_ids) for j in member.group]
    return len(lengths) * (len(member.prompt.token_ids) + max(lengths))


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then a cosine to `floor * lr` (cosine with a floor: VLAA-Thinking §4)."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return settings.lr * (settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def _forward(
    state: "State", micro: Sequence[Member], totals: Totals, recipe: Recipe, is_on_policy: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a micro-batch, and facts about it: sums over the update, but for MAXIMA."""
    groups = [Group(m.prompt, tuple(j.reply.token_ids for j in m.learnt)) for m in micro]
    rows = [j for m in micro for j in m.learnt]
    method = recipe.objective
    temperature = recipe.sampling.temperature if method.samples else 1.0
    found = state.policy.logprobs(groups, temperature=temperature, entropy=method.entropy)
    reference_BT = None
    if totals.kl_weight and state.reference is not None:
        with torch.no_grad():
            reference_BT = state.reference.logprobs(groups, temperature=temperature).logp_BT
    table = table_of(rows, found, reference_BT, is_on_policy)
    terms = PRESETS[method.kind].terms(table, totals, method)
    facts = {}
    if reference_BT is not None:
        weight_BT = token_weights(table.mask_BT, totals.all, mode="token-mean")
        facts["policy/kl"] = (weight_BT * k3(table.logp_BT.detach(), reference_BT)).sum().cpu()
    gaps = [_gap(found.logp_BT[b], j.reply.logprobs) for b, j in enumerate(rows) if j.reply.logprobs]
    if gaps and is_on_policy:
        facts["parity/max_abs"] = torch.stack(gaps).max()
    return terms, facts


def table_of(rows: Sequence[Judged], found: Logprobs, reference_BT: Tensor | None, is_on_policy: bool) -> Table:
    """The replies of a micro-batch as the methods see them."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, device=found.logp_BT.device)

    return Table(
        logp_BT=found.logp_BT,
        mask_BT=found.mask_BT,
        advantage_B=column([j.advantage or 0.0 for j in rows]),
        score_B=column([j.verdict.score or 0.0 for j in rows]),
        is_demo_B=column([j.reply.is_demo for j in rows]).bool(),
        sampled_logp_BT=None if is_on_policy else _as_sampled(rows, found.logp_BT),
        ref_logp_BT=reference_BT,
        entropy_BT=found.entropy_BT,
    )


def _as_sampled(rows: Sequence[Judged], logp_BT: Tensor) -> Tensor:
    """The log-probs that replies were sampled with; a demonstration, which nobody sampled, gets the policy's own."""
    sampled_BT = logp_BT.detach().clone()
    for b, judged in enumerate(rows):
        logps = judged.reply.logprobs
        sampled_BT[b, : len(logps)] = torch.tensor(logps, device=logp_BT.device)
    return sampled_BT


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
        return {}
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
    return {"optim/grad_norm": float(norm)}
