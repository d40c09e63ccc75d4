"""Fourth stage of a step: the objective's terms over a batch, forward by forward, and an optimizer step or several.

Denominators are those of a whole optimizer step (`Totals`), so splitting it changes no gradient. Shape letters: B
replies, T tokens.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from firsthand.errors import Diverged, ParityError, RecipeError
from firsthand.objective import Count, Sampled, Seen, Totals, terms_of
from firsthand.objective.divergence import measured_kl
from firsthand.objective.methods import clipped_share
from firsthand.policy import Limits
from firsthand.policy.memory import is_out_of_memory, release
from firsthand.recipe import Optimizer, Recipe
from firsthand.records import Reply
from firsthand.rollout.parity import PARITY, Gap
from firsthand.trainer.batch import Group, sampled_entropy
from firsthand.trainer.columns import keeps_old, read, surveyed, with_old
from firsthand.trainer.cost import of_update
from firsthand.trainer.metrics import Metric, over_forwards, over_minibatches, scores
from firsthand.trainer.ranks import balanced
from firsthand.trainer.together import bare, with_pixels

if TYPE_CHECKING:
    from firsthand.trainer.state import State

_LOG = logging.getLogger(__name__)
_Row = TypeVar("_Row")
TOKENS_PER_FORWARD = {"cpu": 2048, "cuda": 16384}
"""What fits one forward when a recipe leaves it open (ours)."""
TRAINED = "tokens/trained"
_SUMS = "mismatch/"
"""Sums over a step's sampled tokens, of which `_mismatch` makes metrics."""


def update(
    state: "State", groups: Sequence[Group], recipe: Recipe, step: int, place: int | None = None
) -> dict[str, float]:
    """Train on a batch, in an optimizer step on each of its minibatches; then move the KL weight.

    `place` is the step's among the `steps` that schedules are planned for, where it is not its number.
    For each: accumulate the gradient of the sum of all terms, clip it, and step. Returns what was measured, losses and
    norms averaged over the minibatches. Raises ParityError in a run's first step when rollout and training disagree
    about a sampled token.
    """
    place = step if place is None else place
    lr = learning_rate(place, recipe.steps, recipe.optimizer)
    groups = [group.placed(number) for number, group in enumerate(groups)]
    parts = minibatches(groups, recipe.minibatches)
    totals = [totals_of(part, recipe, step, state.kl_weight) for part in parts]
    trained = [_trained(state, part, recipe, total) for part, total in zip(parts, totals, strict=True)]
    if keeps_old(recipe.objective):  # before anything moves
        first = 0 if recipe.staleness else 1
        with state.policy.whole():
            trained[first:] = [[with_old(state, group, recipe) for group in part] for part in trained[first:]]
    metrics = over_minibatches(
        [
            _optimise(state, part, total, recipe, step, lr, is_on_policy=number == 0)
            for number, (part, total) in enumerate(zip(trained, totals, strict=True))
        ]
    )
    metrics["optim/lr"] = lr
    metrics["memory/tokens_per_forward"] = forward_budget(recipe, state.policy.model.device, state.limits)
    metrics["memory/retries"], state.limits.retries = state.limits.retries, 0
    if not recipe.objective.kl.is_off:
        metrics["policy/kl_weight"] = state.kl_weight
    seen = Seen(
        kl=metrics.get("policy/kl"),
        accuracy=scores(groups).get("score/mean"),
        replies=sum(not j.reply.is_demo for group in groups for j in group.trainable),
    )
    state.kl_weight = recipe.objective.kl.next(state.kl_weight, place + 1, recipe.steps, seen)
    return metrics


def gradient(state: "State", groups: Sequence[Group], recipe: Recipe, step: int) -> list[Tensor]:
    """The gradient of an optimizer step on these groups, as `update` adds it up, parameter by parameter; nothing moves.

    On the CPU. A parameter that the step does not reach has none. Raises as `update` does.
    """
    placed = [group.placed(number) for number, group in enumerate(groups)]
    totals = totals_of(placed, recipe, step, state.kl_weight)
    trained = [group for group in placed if needs_forward(group, recipe, totals)]
    _learn(state, trained, totals, recipe, step, is_on_policy=True)
    found = [grad.to("cpu", copy=True) for grad in state.optimizer.gradients if grad is not None]
    state.optimizer.zero_grad()
    return found


def minibatches(groups: Sequence[Group], number: int) -> list[Sequence[Group]]:
    """The batch in parts that differ by at most one group; an empty batch is one empty part."""
    number = max(1, min(number, len(groups)))
    edges = [len(groups) * i // number for i in range(number + 1)]
    return [groups[a:b] for a, b in itertools.pairwise(edges)]


def totals_of(minibatch: Sequence[Group], recipe: Recipe, step: int, kl_weight: float) -> Totals:
    """What holds for a whole optimizer step: zero-variance groups are counted, unmeasured replies are not."""
    replies = [j.reply for group in minibatch for j in group.trainable]
    return Totals(
        sampled=_count([reply for reply in replies if not reply.is_demo]),
        demos=_count([reply for reply in replies if reply.is_demo]),
        max_tokens=recipe.sampling.max_new_tokens,
        step=step,
        steps=recipe.steps,
        kl_weight=kl_weight,
        entropy=sampled_entropy(minibatch),
    )


def _trained(state: "State", minibatch: Sequence[Group], recipe: Recipe, totals: Totals) -> list[Group]:
    """This rank's part, by tokens, of the groups that can change a parameter."""
    needed = [group for group in minibatch if needs_forward(group, recipe, totals)]
    mine = balanced(needed, _tokens, state.ranks)
    return [with_pixels(group, state.encoder, recipe.system) for group in mine]


def needs_forward(group: Group, recipe: Recipe, totals: Totals) -> bool:
    """Whether the group can change a parameter: one of zero variance cannot, unless a term looks at more than that.

    Leaving it out of the forward is exact, because the denominators count it all the same.
    """
    method = recipe.objective
    is_looked_at = totals.kl_weight > 0 or method.surveys or not method.needs_advantage
    is_flat = group.has_zero_variance and not is_looked_at
    return bool(group.trainable) and not is_flat


def forward_budget(recipe: Recipe, device: torch.device, limits: Limits | None = None) -> int:
    """Tokens of one forward: what the recipe says, or what suits the device; less where that was too much."""
    budget = recipe.tokens_per_forward or TOKENS_PER_FORWARD[device.type]
    return min(budget, limits.tokens) if limits and limits.tokens else budget


def split(groups: Sequence[_Row], budget: int, size: Callable[[_Row], int]) -> Iterator[list[_Row]]:
    """Whole groups, like sizes (tokens) together, as many at a time as fit: groups times the largest <= budget."""
    forward: list[_Row] = []
    for group in sorted(groups, key=size):  # ascending: the last one of a forward is its largest
        if forward and (len(forward) + 1) * size(group) > budget:
            yield forward
            forward = []
        forward.append(group)
    if forward:
        yield forward


def divided(group: Group, limit: int | None, size: Callable[[Group], int]) -> list[Group]:
    """The group, or where it is larger than `limit` tokens the same replies in several, down to one in each.

    Each part has the whole prompt. Advantages were relative to the whole group, and stay.
    """
    if limit is None or size(group) <= limit or len(group.trainable) == 1:
        return [group]
    return [part for half in group.halves() for part in divided(half, limit, size)]


def learning_rate(step: int, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then a cosine to `floor * lr` (cosine with a floor: VLAA-Thinking §4)."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return settings.lr * (settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimise(
    state: "State",
    trained: Sequence[Group],
    totals: Totals,
    recipe: Recipe,
    step: int,
    lr: float,
    *,
    is_on_policy: bool,
) -> dict[str, Metric]:
    """One optimizer step, on what this rank trains of its groups. `loss/total` is the sum of the terms."""
    nothing = {TRAINED: Metric(torch.zeros((), dtype=torch.float64), "sum")}
    measured = _learn(state, trained, totals, recipe, step, is_on_policy)
    metrics = nothing | over_forwards(state.ranks.gathered(measured))
    losses = [float(metric.value) for name, metric in metrics.items() if name.startswith("loss/")]
    if losses:
        metrics["loss/total"] = Metric(torch.tensor(math.fsum(losses), dtype=torch.float64), "mean")
    has_reference = bool(totals.kl_weight) and state.reference is not None
    # A survey is counted without its teacher's pass; old log-probs of all but the first minibatch are a pass, too.
    passes = 1 + has_reference + recipe.objective.surveys
    passes += keeps_old(recipe.objective) and (not is_on_policy or recipe.staleness > 0)
    cost = of_update(
        trained, state.policy.flops, forwards=passes, teacher=state.teacher, masked=recipe.objective.masks > 0
    )
    metrics = _mismatch(metrics)
    return metrics | over_forwards(state.ranks.gathered([cost])) | _descend(state, recipe, step, lr)


def _learn(
    state: "State", trained: Sequence[Group], totals: Totals, recipe: Recipe, step: int, is_on_policy: bool
) -> list[dict[str, Metric]]:
    """Accumulate the gradient of an optimizer step; what each of its forwards measured.

    Where memory runs out it all begins anew, in smaller forwards. Raises RecipeError when one reply is too much.
    """
    shares = state.policy.sharing.allows(max((group.packed.tokens for group in trained), default=0))

    def size(group: Group) -> int:
        return group.packed.tokens if shares else group.packed.tokens_apart

    while True:
        budget = forward_budget(recipe, state.policy.model.device, state.limits)
        parts = [part for group in trained for part in divided(group, state.limits.tokens, size)]
        forwards = list(split(parts, budget, size))
        try:
            idle = _idle(state, forwards, recipe)
            totals = surveyed(state, forwards, totals, recipe, is_on_policy)
            # A patch keeps less than a token: the tower's part is no larger than a forward.
            with state.policy.tower.once([[group.prompt for group in forward] for forward in forwards], budget):
                found = [_accumulate(state, forward, totals, recipe, step, is_on_policy) for forward in forwards]
                for forward in idle:
                    _accumulate(state, forward, totals, recipe, step, is_on_policy, weight=0.0)
                return found
        except (RuntimeError, MemoryError) as error:
            if state.ranks.size > 1 and (recipe.objective.surveys or state.policy.is_divided):
                _refuse_alone(step, budget, error)
            _lower(state.limits, forwards, size, step, error)
        state.optimizer.zero_grad()
        release()


def _idle(state: "State", forwards: Sequence[Sequence[Group]], recipe: Recipe) -> list[list[Group]]:
    """Where weights are divided, forwards to do for nothing: this rank then does as many as the one that has most."""
    if not state.policy.is_divided:
        return []
    told = state.ranks.gathered([(len(forwards), _smallest(forwards))])
    missing = max(number for number, _ in told) - len(forwards)
    if not missing:
        return []
    group = min((group for _, group in told if group is not None), key=_tokens)
    return [[with_pixels(group, state.encoder, recipe.system)]] * missing


def _smallest(forwards: Sequence[Sequence[Group]]) -> Group | None:
    return min((bare(group) for forward in forwards for group in forward), key=_tokens, default=None)


def _tokens(group: Group) -> int:
    return group.packed.tokens


def _refuse_alone(step: int, budget: int, error: Exception) -> None:
    """A rank cannot begin its step again while the others wait for it. Raises RecipeError where memory ran out."""
    if is_out_of_memory(error):
        raise RecipeError(
            f"step {step}: expected memory for forwards of {budget} tokens on every rank, got too little on this one; "
            f"set tokens_per_forward to less, or gradient_checkpointing: true ({error})"
        ) from error
    raise error


def _accumulate(
    state: "State",
    forward: Sequence[Group],
    totals: Totals,
    recipe: Recipe,
    step: int,
    is_on_policy: bool,
    weight: float = 1.0,
) -> dict[str, Metric]:
    """The gradient of some groups, added to what is there, and what was measured: the terms as `loss/...`, and more."""
    terms, measured, gap = _forward(state, forward, totals, recipe, is_on_policy)
    loss = torch.stack(list(terms.values())).sum()
    (loss if weight == 1.0 else weight * loss).backward()
    if gap is not None and not recipe.staleness and (step == 0 or recipe.rollout is not None):
        _check_parity(gap, _bound(state, recipe), forward)
    return {f"loss/{name}": Metric(term.detach().cpu(), "mean") for name, term in terms.items()} | measured


def _lower(
    limits: Limits, forwards: Sequence[Sequence[Group]], size: Callable[[Group], int], step: int, error: Exception
) -> None:
    """Halve what a forward may hold, from what these held. Raises the error when smaller ones would not help."""
    if not is_out_of_memory(error):
        raise error
    largest = max(forwards, key=lambda forward: len(forward) * size(forward[-1]))
    tokens = len(largest) * size(largest[-1])
    if all(len(forward) == len(forward[0].trainable) == 1 for forward in forwards):
        raise RecipeError(
            f"step {step}: expected memory for the update on one reply at a time, got too little even for that: its "
            f"row has {tokens} tokens (example {largest[-1].example.id}); set gradient_checkpointing: true, lower "
            f"sampling.max_new_tokens or the pictures' size, or train an adapter ({error})"
        ) from error
    limits.tokens = min(tokens, limits.tokens or tokens) // 2  # always less than before, so that this ends
    limits.retries += 1
    _LOG.warning("Out of memory in step %d with forwards of %d tokens: from here on %d.", step, tokens, limits.tokens)


def _forward(
    state: "State", forward: Sequence[Group], totals: Totals, recipe: Recipe, is_on_policy: bool
) -> tuple[dict[str, Tensor], dict[str, Metric], Gap | None]:
    """The terms of some groups, and what else was measured; how far rollout and training are apart, where that is."""
    method = recipe.objective
    table, found = read(state, forward, totals, recipe, is_on_policy)
    terms = terms_of(table, totals, method)
    # Counted where the gradient is made, and not where the batch was: so that a part that is lost between is seen.
    metrics = {TRAINED: Metric(table.mask_BT.sum().double().cpu(), "sum")}
    if (kl := measured_kl(table, totals)) is not None:
        metrics["policy/kl"] = Metric(kl.cpu(), "mean")
    if (share := clipped_share(table, totals, method)) is not None:
        metrics["policy/clipped"] = Metric(share.cpu(), "mean")
    gap = None
    if is_on_policy and found.sampled_logp_BT is not None:
        # 0 wherever the sampler's log-prob is unknown, or of another prompt: those tokens count in no mean.
        gap_BT = (found.logp_BT.detach() - found.sampled_logp_BT).abs()
        compared = sum(len(logps) for group in forward for logps in group.packed.sampled_logprobs)
        metrics["parity/max_abs"] = Metric(gap_BT.max().cpu(), "max")
        gap = Gap(float(gap_BT.max()), float(gap_BT.sum()) / compared)
        if recipe.rollout is not None:
            metrics |= _sums(found.logp_BT.detach() - found.sampled_logp_BT, found.mask_BT & ~table.is_demo_B[:, None])
    return terms, metrics, gap


def _sums(apart_BT: Tensor, mask_BT: Tensor) -> dict[str, Metric]:
    """What is added up over the sampled tokens of a step, of log(trainer / sampler)."""
    apart_K = apart_BT[mask_BT].double().cpu()
    weight_K = apart_K.exp()
    found = {
        "tokens": torch.tensor(len(apart_K), dtype=torch.float64),
        "abs": apart_K.abs().sum(),
        "kl": (weight_K - apart_K - 1).sum(),
        "weight": weight_K.sum(),
        "square": weight_K.square().sum(),
    }
    return {f"{_SUMS}{name}": Metric(value, "sum") for name, value in found.items()}


def _mismatch(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """How far a server's log-probs are from the trainer's: the sums replaced by what they say.

    `parity/kl` estimates KL(sampler || trainer) per token (k3), `parity/ess` is the effective sample size of weights
    p_trainer / p_sampler, as a share of the tokens (Kish: (sum w)^2 / sum w^2).
    """
    sums = {name.removeprefix(_SUMS): float(m.value) for name, m in metrics.items() if name.startswith(_SUMS)}
    kept = {name: metric for name, metric in metrics.items() if not name.startswith(_SUMS)}
    if not sums.get("tokens"):
        return kept
    found = {
        "mean_abs": sums["abs"] / sums["tokens"],
        "kl": sums["kl"] / sums["tokens"],
        "ess": sums["weight"] ** 2 / (sums["square"] * sums["tokens"]),
    }
    return kept | {f"parity/{n}": Metric(torch.tensor(v, dtype=torch.float64), "mean") for n, v in found.items()}


def _bound(state: "State", recipe: Recipe) -> Gap:
    """How far rollout and training may be apart; a single token may be, where a server's tokens are weighed for it."""
    bound = PARITY[state.policy.model.dtype]
    method = recipe.objective
    if recipe.rollout is not None and isinstance(method, Sampled) and method.correction != "none":
        return bound._replace(max=math.inf)
    return bound


def _check_parity(gap: Gap, bound: Gap, forward: Sequence[Group]) -> None:
    if not gap.within(bound):
        names = ", ".join(group.example.id for group in forward)
        raise ParityError(
            f"rollout and training disagree by {gap.max:.2g} nats about a sampled token, and by {gap.mean:.2g} on "
            f"average, of examples {names} (at most {bound.max} and {bound.mean} are rounding). Training would learn "
            "from a distribution that nobody sampled. Do sampler and trainer hold the same weights, in one precision?"
        )


def _descend(state: "State", recipe: Recipe, step: int, lr: float) -> dict[str, Metric]:
    """Add up over ranks, clip, step, and clear. Where no group was trained, parameters and moments stay as they are."""
    state.optimizer.add_up(state.ranks)
    norm = state.optimizer.clip(recipe.optimizer.max_grad_norm, state.ranks)
    if norm is None:
        return {}
    if not torch.isfinite(norm):
        raise Diverged(
            f"step {step}: expected a finite gradient norm, got {float(norm)}: training has diverged; "
            "lower optimizer.lr or optimizer.max_grad_norm"
        )
    state.optimizer.step(lr)
    state.policy.tower.forget()
    return {"optim/grad_norm": Metric(norm.detach().cpu(), "mean")}


def _count(replies: Sequence[Reply]) -> Count:
    return Count(len(replies), sum(len(reply.token_ids) for reply in replies))
