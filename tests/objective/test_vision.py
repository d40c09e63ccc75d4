"""Methods of vision.py, worked by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.objective import PRESETS, Count, Table, Totals, parse

LN2 = math.log(2)
ONLY = Totals(sampled=Count(2, 3), max_tokens=4)


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def a_table(**columns: Any) -> Table:
    """Two replies of two tokens and one; under masked pictures the first token is half as likely, the last twice."""
    return Table(
        **{
            "logp_BT": tensor([[-LN2, -2 * LN2], [-LN2, 0.0]]),
            "masked_logp_BT": tensor([[-2 * LN2, -2 * LN2], [0.0, 0.0]]),
            "mask_BT": torch.tensor([[True, True], [True, False]]),
            "advantage_B": tensor([0.5, -1.0]),
            "score_B": tensor([1.0, 0.0]),
            "is_demo_B": torch.tensor([False, False]),
            **columns,
        }
    )


def terms(table: Table, **settings: Any) -> dict[str, float]:
    found = PRESETS["papo"].terms(table, ONLY, parse({"kind": "papo", "kl": 0.0, **settings}))
    return {name: term.item() for name, term in found.items()}


def test_papo_by_hand() -> None:
    """k3 of a half is .5 + ln 2 - 1, of 2 it is 2 - ln 2 - 1, and of 1 it is 0: .5 in all, over three tokens."""
    expected = {"policy": -(0.5 + 0.5 - 1.0) / 3, "perception": -0.02 * 0.5 / 3}
    assert terms(a_table()) == pytest.approx(expected)
    assert terms(a_table(), eta=0.05) == pytest.approx(expected | {"entropy": 0.05 * 4 * LN2 / 3})
    assert set(terms(a_table(masked_logp_BT=None), gamma=0)) == {"policy"}
    with pytest.raises(ValueError, match="needs log-probs under masked pictures"):
        terms(a_table(masked_logp_BT=None))


def test_the_divergence_of_papo_counts_at_most_ten_a_token() -> None:
    far = a_table(masked_logp_BT=tensor([[-LN2 + 5, -2 * LN2], [-LN2, 0.0]]))  # e^5 - 5 - 1 is 142
    assert terms(far)["perception"] == pytest.approx(-0.02 * 10 / 3)


def test_papo_descends_away_from_the_policy_that_sees_less() -> None:
    """A token that the picture makes likelier becomes likelier still, and one that it makes unlikely less likely."""
    logp_BT = a_table().logp_BT.clone().requires_grad_()
    loss = PRESETS["papo"].terms(a_table(logp_BT=logp_BT), ONLY, parse({"kind": "papo", "kl": 0.0}))["perception"]
    (slope_BT,) = torch.autograd.grad(loss, logp_BT)
    torch.testing.assert_close(slope_BT, -0.02 / 3 * tensor([[1 - 0.5, 0.0], [1 - 2.0, 0.0]]))


def test_papo_needs_no_advantage() -> None:
    assert not parse("papo").needs_advantage and parse("papo").masks == 0.6
    plain = parse({"kind": "papo", "gamma": 0})
    assert plain.needs_advantage and plain.masks == 0


def test_the_noise_of_noisy_rollout_falls_as_in_its_script() -> None:
    """500 at first, half of it after 40 of 60 steps, none at the end."""
    method = parse("noisy-rollout")
    assert [method.noise_at(step, 60) for step in (0, 39, 59)] == [499, 250, 0]
    assert method.noise_at(33, 60) == int(500 / (1 + math.exp(30 * (34 - 40) / 60)))
    assert not parse("grpo").distorts


def test_a_correction_of_noisy_rollouts_is_refused() -> None:
    with pytest.raises(RecipeError, match="correction: truncate would weigh replies to distorted pictures"):
        parse({"kind": "noisy-rollout", "correction": "truncate"})
