"""Methods of variants.py: worked by hand; those of TRL are oracles in test_objective.py."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from firsthand.objective import PRESETS, Count, Table, Totals, group_advantage, parse

LN2 = math.log(2)
ONLY = Totals(sampled=Count(2, 3), max_tokens=4)


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def a_table(**columns: Any) -> Table:
    """A right reply of two tokens, whose ratios are 2 and 1/2, and a wrong one of one token, whose ratio is 2."""
    return Table(
        **{
            "logp_BT": tensor([[-LN2, -2 * LN2], [-LN2, 0.0]]),
            "old_logp_BT": tensor([[-2 * LN2, -LN2], [-2 * LN2, 0.0]]),
            "mask_BT": torch.tensor([[True, True], [True, False]]),
            "advantage_B": tensor([0.5, -1.0]),
            "score_B": tensor([1.0, 0.0]),
            "is_demo_B": torch.tensor([False, False]),
            **columns,
        }
    )


def policy(kind: str, table: Table, **settings: Any) -> float:
    return PRESETS[kind].terms(table, ONLY, parse({"kind": kind, "kl": 0.0, **settings}))["policy"].item()


def test_rloo_by_hand() -> None:
    """The product of the first reply's ratios is 1, of the second 2, which a wrong reply's loss does not clip."""
    assert policy("rloo", a_table()) == pytest.approx(-(1 * 0.5 + 2 * -1.0) / 2)
    assert group_advantage([1.0, 0.0, 0.0], scale="loo") == pytest.approx([1.0, -0.5, -0.5])  # 1 - 0, 0 - 1/2
    assert group_advantage([1.0, None, 0.0], scale="loo") == [1.0, 0.0, -1.0]
    assert group_advantage([1.0, 1.0], scale="loo") == [0.0, 0.0]


def test_reinforce_with_a_batch_deviation_by_hand() -> None:
    """Per token: min(2 * .5, 1.2 * .5), min(.5 * .5, .8 * .5), and 2 * -1, over three tokens."""
    assert policy("reinforce++", a_table()) == pytest.approx(-(0.6 + 0.25 - 2.0) / 3)
    settings = parse("reinforce++")
    assert (settings.kl.estimator, settings.kl.place, settings.kl.first(1)) == ("k2", "loss", 1e-3)


def test_gmpo_by_hand() -> None:
    """A good reply's log-ratios ln 2 and -ln 2: the first is clipped at 0.4; a bad one's ln 2 is not."""
    first, second = math.exp((0.4 - LN2) / 2), math.exp(LN2)
    assert policy("gmpo", a_table()) == pytest.approx(-(first * 0.5 + second * -1.0) / 2)
    bad = a_table(advantage_B=tensor([-0.5, 1.0]))  # clipped at -0.4 below, and at 0.4 above
    first, second = math.exp((LN2 - 0.4) / 2), math.exp(0.4)
    assert policy("gmpo", bad) == pytest.approx(-(first * -0.5 + second * 1.0) / 2)


def test_sapo_by_hand() -> None:
    def gate(ratio: float, tau: float) -> float:
        return 4 / tau / (1 + math.exp(-tau * (ratio - 1)))

    first, second = 0.5 * (gate(2, 1.0) + gate(0.5, 1.0)) / 2, -1.0 * gate(2, 1.05)
    assert policy("sapo", a_table()) == pytest.approx(-(first + second) / 2)


def test_the_gate_of_sapo_has_the_slope_of_the_ratio_on_policy() -> None:
    logp_BT = a_table().logp_BT.clone().requires_grad_()
    table = a_table(logp_BT=logp_BT, old_logp_BT=None)
    slopes = []
    for kind in ("sapo", "grpo"):
        loss = PRESETS[kind].terms(table, ONLY, parse(kind))["policy"]
        slopes.append(torch.autograd.grad(loss, logp_BT)[0])
    torch.testing.assert_close(slopes[0], slopes[1])


@pytest.mark.parametrize(("positive", "loss"), [(0.0, 2.0 / 3), (0.1, (2.0 - 0.12 - 0.05) / 3)])
def test_nsr_by_hand(positive: float, loss: float) -> None:
    """A wrong reply's ratio of 2 is not clipped; a right one's 2 is, at 1.2; its 1/2 is not. Nobody has advantages."""
    table = a_table(advantage_B=tensor([0.0, 0.0]))
    assert policy("nsr", table, positive=positive) == pytest.approx(loss)
    assert not parse("nsr").needs_advantage  # a group of wrong replies teaches


def test_hpt_by_hand() -> None:
    """Two groups of one reply and one demonstration: the first fails and imitates, the second learns."""
    table = Table(
        logp_BT=tensor([[-LN2], [-2 * LN2], [-LN2], [-3 * LN2]]),
        mask_BT=torch.ones(4, 1, dtype=torch.bool),
        advantage_B=tensor([-1.0, 0.5, 1.0, 0.5]),
        score_B=tensor([0.0, 1.0, 1.0, 1.0]),
        is_demo_B=torch.tensor([False, True, False, True]),
        accuracy_B=tensor([0.0, 0.0, 0.5, 0.5]),
    )
    totals = Totals(sampled=Count(2, 2), demos=Count(2, 2))
    found = {name: term.item() for name, term in PRESETS["hpt"].terms(table, totals, parse("hpt")).items()}
    assert found == pytest.approx({"policy": -1.0 / 2, "sft": 2 * LN2 / 2})
    half = parse({"kind": "hpt", "gate": 0.5, "sft_weight": 0.3})
    found = {name: term.item() for name, term in PRESETS["hpt"].terms(table, totals, half).items()}
    assert found == pytest.approx({"policy": 0.0, "sft": 0.3 * 5 * LN2 / 2})
