"""Questions that a run answers greedily from time to time: how far it is, and how much of that needs the picture.

A probe draws nothing at random and changes nothing of the training. It measures the policy as it is before a step, and
once more after the last one. Where the objective imitates, it is also told how much the questions' demonstrations,
which are held out, surprise it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from firsthand.data.blind import blinded
from firsthand.data.loaded import of_examples
from firsthand.objective import Imitating
from firsthand.policy import PrefixGroup
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Example
from firsthand.reward import Router
from firsthand.rollout import Sampler, grouped
from firsthand.trainer.ranks import balanced, dealt
from firsthand.trainer.sample import demonstration
from firsthand.trainer.update import forward_budget, split

if TYPE_CHECKING:
    from firsthand.trainer.state import State

SCORE = "probe/score"
NLL = "probe/nll"
OFTENER = 4
"""So many times as often as questions are asked, demonstrations are measured: it costs a fraction, and a loss that
rises while the rate is high falls again with the rate (ours)."""
_BLIND = "probe/blind-"


class Questions(NamedTuple):
    """What a run is probed with."""

    examples: Sequence[Example]
    """As they are judged."""
    shown: Mapping[str, Sequence[Example]]
    """Metric -> the examples as they are shown for it; empty where the recipe has no probe."""


def questions_of(recipe: Recipe, router: Router, encoder: Encoder) -> Questions:
    """Read the probe's questions. Raises DataError where one cannot be used, unless its data says `on_bad: drop`."""
    if (probe := recipe.probe) is None:
        return Questions((), {})
    loaded = probe.data.read()
    loaded = loaded.without([encoder.complaint(example, recipe.system) for example in loaded.examples])
    loaded = loaded.without(router.bad_ground_truths(loaded.examples))
    examples = loaded.settled(probe.data.on_bad)
    shown = {SCORE: examples} | {f"{_BLIND}{how}": blinded(examples, how, recipe.seed) for how in probe.blind}
    for name, some in shown.items():  # another question's picture may make a prompt that is too long
        of_examples(name, some).without([encoder.complaint(example, recipe.system) for example in some]).settled()
    return Questions(examples, shown)


def answer_probe(
    questions: Questions,
    recipe: Recipe,
    step: int,
    state: "State",
    sampler: Sampler,
    router: Router,
    *,
    is_over: bool = False,
) -> dict[str, float]:
    """The mean score of greedy replies, seeing and blind, and the loss of demonstrations where some are imitated.

    Nothing where no probe is due before this step; all where the last step `is_over`.
    """
    found: dict[str, float] = {}
    if recipe.probe is None:
        return found
    every = recipe.probe.every
    if (is_over or _is_due(step, math.ceil(every / OFTENER))) and (
        nll := held_out_nll(questions.examples, recipe, state)
    ) is not None:
        found[NLL] = nll
    if not is_over and not _is_due(step, every):
        return found
    for name, shown in questions.shown.items():
        mine = dealt([example.id for example in shown], state.ranks)
        prompts = [state.encoder.prompt(shown[i], recipe.system) for i in mine]
        replies = grouped(sampler.sample(prompts, 0, recipe.sampling, seed=recipe.seed, greedy=True), len(prompts))
        pairs = [(reply.text, questions.examples[i]) for (reply,), i in zip(replies, mine, strict=True)]
        judged = [verdict.score for verdict in router.judge_many(pairs) if verdict.score is not None]
        if scores := state.ranks.gathered(judged):
            found[name] = statistics.fmean(scores)
    return found


def _is_due(step: int, every: int) -> bool:
    return step % every == 0


@torch.no_grad()
def held_out_nll(examples: Sequence[Example], recipe: Recipe, state: "State") -> float | None:
    """Mean -log-prob per token (nats) of the demonstrations that the objective would imitate; None where it has none.

    Each ends with the token that ends a turn, which counts, too. Examples without such a demonstration are passed over.
    """
    method, encoder = recipe.objective, state.encoder
    if not isinstance(method, Imitating):
        return None
    found = [(example, demonstration(example, method.style)) for example in examples]
    groups = [
        PrefixGroup(encoder.prompt(example, recipe.system), (encoder.reply(trace.text),), given=(True,))
        for example, trace in found
        if trace is not None and encoder.complaint_of_trace(trace, example, recipe.system) is None
    ]
    if not groups:
        return None
    mine = balanced(groups, _tokens, state.ranks)
    found_sums = [
        -float(state.policy.logprobs(forward).logp_BT.double().sum())
        for forward in split(mine, forward_budget(recipe, state.policy.model.device, state.limits), _tokens)
    ]
    total = sum(state.ranks.gathered(found_sums))
    return total / sum(len(reply) for group in groups for reply in group.replies)


def _tokens(group: PrefixGroup) -> int:
    return group.tokens
