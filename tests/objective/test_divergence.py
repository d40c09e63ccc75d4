"""Which gradient each KL estimator has: every reply over a small vocabulary, weighed by how often it is sampled."""

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.objective import PRESETS, Count, Table, Totals, parse
from firsthand.objective.divergence import estimate, kl_term

V, T = 4, 2
"""Tokens of the vocabulary, and of each reply."""
REPLIES = torch.tensor(list(itertools.product(range(V), repeat=T)))
PREFIXES = torch.tensor([0, *(1 + first for first in range(V))])
"""A distribution for the first token, and one for the second after each first."""


def logits(seed: int) -> Tensor:
    return torch.randn(len(PREFIXES), V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


POLICY, REFERENCE, ELSEWHERE = logits(0), logits(1), logits(2)


def log_probs(logits: Tensor) -> Tensor:
    """Of the tokens of every reply, [B, T]."""
    each = logits.log_softmax(-1)
    return torch.stack([each[0, REPLIES[:, 0]], each[1 + REPLIES[:, 0], REPLIES[:, 1]]], dim=1)


def of_term(sampler: Tensor, term: str = "kl", **kl: Any) -> Tensor:
    """The expected gradient of grpo's `kl`, or of opd, with the logits, on replies that `sampler` draws."""
    policy = POLICY.clone().requires_grad_()
    table = Table(
        log_probs(policy),
        torch.ones(REPLIES.shape, dtype=torch.bool),
        torch.zeros(len(REPLIES)),
        torch.zeros(len(REPLIES)),
        torch.zeros(len(REPLIES), dtype=torch.bool),
        old_logp_BT=None if sampler is POLICY else log_probs(sampler),
        ref_logp_BT=log_probs(REFERENCE),
        teacher_logp_BT=log_probs(REFERENCE),
    )
    kind = "grpo" if term == "kl" else "opd"
    settings = parse({"kind": kind, "kl": {"beta": 1.0, "kind": "constant", **kl}})
    found = torch.zeros_like(POLICY)
    for b, often in enumerate(log_probs(sampler).sum(1).exp()):
        one = Table(**{f.name: None if (c := getattr(table, f.name)) is None else c[b : b + 1] for f in FIELDS})
        loss = PRESETS[kind].terms(one, Totals(Count(1, T), kl_weight=1.0), settings)[term]
        found += often * torch.autograd.grad(T * loss, policy, retain_graph=True)[0]
    return found


FIELDS = dataclasses.fields(Table)


def of_divergence(direction: str, before: Tensor) -> Tensor:
    """The gradient of the KL of the next token, both summed over places that `before` reaches."""
    policy = POLICY.clone().requires_grad_()
    reaches = torch.cat([torch.ones(1, dtype=torch.float64), before[0].softmax(-1)]).detach()
    p, q = policy.log_softmax(-1), REFERENCE.log_softmax(-1)
    each = (p.exp() * (p - q) if direction == "reverse" else q.exp() * (q - p)).sum(-1)
    return torch.autograd.grad((reaches * each).sum(), policy)[0]


def of_sequences() -> Tensor:
    """The gradient of KL(policy || reference) of whole replies, what a token does to later ones included."""
    policy = POLICY.clone().requires_grad_()
    p, q = log_probs(policy).sum(1), log_probs(REFERENCE).sum(1)
    return torch.autograd.grad((p.exp() * (p - q)).sum(), policy)[0]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


FORWARD, REVERSE = of_divergence("forward", POLICY), of_divergence("reverse", POLICY)


def test_the_two_directions_are_told_apart() -> None:
    assert distance(FORWARD, REVERSE) > 0.5
    assert distance(of_sequences(), REVERSE) > 0.1


@pytest.mark.parametrize(
    ("kl", "wanted"),
    [
        ({"estimator": "k2"}, REVERSE),
        ({"estimator": "k3"}, FORWARD),
        ({"estimator": "k3-corrected"}, REVERSE),
        ({"estimator": "k1", "place": "reward"}, of_sequences()),
    ],
    ids=["k2", "k3", "k3-corrected", "k1 as a reward"],
)
def test_the_expected_gradient_on_policy(kl: dict[str, Any], wanted: Tensor) -> None:
    assert distance(of_term(POLICY, **kl), wanted) < 1e-12


def test_off_policy_only_the_ratio_keeps_the_direction() -> None:
    reverse, forward = (of_divergence(way, ELSEWHERE) for way in ("reverse", "forward"))
    assert distance(of_term(ELSEWHERE, estimator="k3-corrected"), reverse) < 1e-12
    for estimator in ("k2", "k3"):
        found = of_term(ELSEWHERE, estimator=estimator)
        assert min(distance(found, reverse), distance(found, forward)) > 0.5, estimator


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_as_a_reward_the_other_estimators_are_biased(estimator: str) -> None:
    assert distance(of_term(POLICY, estimator=estimator, place="reward"), of_sequences()) > 0.5


def test_distillation_descends_the_reverse_kl_to_the_teacher() -> None:
    """The reference stands for the teacher; off policy the ratio corrects the sampling, and log p is the old one's."""
    found = of_term(POLICY, term="distill")
    assert distance(found, REVERSE) < 1e-12


def test_k1_has_no_gradient_in_the_loss_and_is_refused_there() -> None:
    logits = POLICY.clone().requires_grad_()
    expected = (log_probs(POLICY).sum(1).exp() * estimate("k1", log_probs(logits), log_probs(REFERENCE)).sum(1)).sum()
    assert torch.autograd.grad(expected, logits)[0].abs().max() < 1e-12
    with pytest.raises(RecipeError, match="k1 in the loss has an expected gradient of 0; take k2 or k3-corrected"):
        parse({"kind": "grpo", "kl": {"kind": "constant", "beta": 0.1, "estimator": "k1"}})


@pytest.mark.parametrize(
    ("kind", "kl", "why"),
    [
        (
            "grpo",
            {"place": "reward", "estimator": "k3-corrected"},
            "a reward is weighed by the ratio as it is; take k1",
        ),
        ("sft", {"estimator": "k3-corrected"}, "sft samples no replies"),
        ("sft", {"place": "reward", "estimator": "k1"}, "sft samples no replies"),
    ],
)
def test_what_has_no_meaning_is_refused(kind: str, kl: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        parse({"kind": kind, "kl": {"kind": "constant", "beta": 0.1, **kl}})


def test_what_each_estimator_gives_by_hand() -> None:
    half, quarter = torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log()
    found = {name: estimate(name, half, quarter).item() for name in ("k1", "k2", "k3")}  # q/p = 1/2
    assert found == pytest.approx({"k1": math.log(2), "k2": math.log(2) ** 2 / 2, "k3": 0.5 + math.log(2) - 1})


def test_a_reward_pays_for_what_comes_after_a_token_by_hand() -> None:
    two = torch.tensor([[0.5, 0.5]]).log().requires_grad_()
    ref = torch.tensor([[0.25, 0.125]]).log()  # a token costs ln 2, the next one 2 ln 2
    one = torch.ones(1)
    table = Table(two, torch.ones(1, 2).bool(), one, one, torch.zeros(1).bool(), ref_logp_BT=ref)
    settings = parse({"kind": "grpo", "kl": {"kind": "constant", "beta": 0.1, "estimator": "k1", "place": "reward"}})
    term = kl_term(table, Totals(Count(1, 2), kl_weight=0.1), "token-mean", settings.kl)["kl"]
    assert term.item() == pytest.approx(0.1 * (3 + 2) * math.log(2) / 2)
    (slope,) = torch.autograd.grad(term, two)
    assert slope.tolist()[0] == pytest.approx([0.1 * 3 * math.log(2) / 2, 0.1 * 2 * math.log(2) / 2])


def test_the_defaults_leave_ids_as_they_were() -> None:
    written = parse({"kind": "grpo", "kl": 0.1}).model_dump(mode="json")["kl"]
    assert written == {"kind": "constant", "beta": 0.1}
    other = parse({"kind": "grpo", "kl": {"kind": "constant", "beta": 0.1, "estimator": "k2"}})
    assert other.model_dump(mode="json")["kl"] == {**written, "estimator": "k2"}
