"""The methods of the papers: each term by hand in float64, then LUFFY and SRFT computed again from their papers."""

import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.objective import (
    CHORD,
    CISPO,
    GRPO,
    LUFFY,
    PRESETS,
    SFT,
    SRFT,
    Count,
    Method,
    Table,
    Totals,
    parse,
    presets,
    register,
)
from firsthand.objective.methods import OPD, chord, chord_mu, cispo, clipped_share, grpo, luffy, opd, sft, srft

LN2 = math.log(2)


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def a_table(**columns: Any) -> Table:
    """One right reply (p = 1/2, 1/4), one wrong one (p = 1/2), and a demonstration (p = 1/4, 1/2), by hand."""
    return Table(
        **{
            "logp_BT": tensor([[-LN2, -2 * LN2], [-LN2, 0.0], [-2 * LN2, -LN2]]),
            "mask_BT": torch.tensor([[True, True], [True, False], [True, True]]),
            "advantage_B": tensor([0.5, -1.0, 0.5]),
            "score_B": tensor([1.0, 0.0, 1.0]),
            "is_demo_B": torch.tensor([False, False, True]),
            "entropy_BT": tensor([[0.5, 1.5], [2.0, 0.0], [1.0, 3.0]]),
            **columns,
        }
    )


TOTALS = Totals(sampled=Count(2, 3), demos=Count(1, 2), max_tokens=4, step=0, steps=10)


def terms(function: Any, settings: Method, table: Table | None = None, totals: Totals = TOTALS) -> dict[str, float]:
    found = function(table or a_table(), totals, settings)
    assert all(term.dtype == torch.float64 for term in found.values())
    return {name: term.item() for name, term in found.items()}


# ---- by hand


def test_sft_by_hand() -> None:
    demos = a_table(is_demo_B=torch.tensor([True] * 3))
    totals = Totals(Count(), Count(3, 5))
    assert terms(sft, SFT(), demos, totals) == pytest.approx({"nll": (1 + 2 + 1 + 2 + 1) * LN2 / 5})
    dft = (1 / 2 * 1 + 1 / 4 * 2 + 1 / 2 * 1 + 1 / 4 * 2 + 1 / 2 * 1) * LN2 / 5
    assert terms(sft, SFT(dft=True), demos, totals) == pytest.approx({"nll": dft})


def test_dft_weighs_without_a_gradient_of_its_own() -> None:
    logp_BT = tensor([[-LN2]]).requires_grad_()
    one = torch.ones(1, dtype=torch.float64)
    table = Table(logp_BT, torch.tensor([[True]]), one, one, torch.tensor([True]))
    sft(table, Totals(Count(), Count(1, 1)), SFT(dft=True))["nll"].backward()
    assert logp_BT.grad is not None and logp_BT.grad.item() == pytest.approx(-0.5)  # -p, not -p (1 + log p)


def test_sfts_kl_is_over_the_demonstrations() -> None:
    demos = a_table(is_demo_B=torch.tensor([True] * 3), ref_logp_BT=a_table().logp_BT - LN2 * a_table().mask_BT)
    found = terms(sft, SFT(), demos, Totals(Count(), Count(3, 5), kl_weight=0.2))
    assert found["kl"] == pytest.approx(0.2 * (1 / 2 + LN2 - 1))  # every token has q/p = 1/2


SAMPLED = torch.tensor([False, False, False])


def two_replies(**columns: Any) -> Table:
    """The table without its demonstration."""
    whole = a_table()
    rows = {
        name: getattr(whole, name)[:2]
        for name in ("logp_BT", "mask_BT", "advantage_B", "score_B", "is_demo_B", "entropy_BT")
    }
    return Table(**{**rows, **columns})


ONLY = Totals(sampled=Count(2, 3), max_tokens=4)


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        (GRPO(), -(0.5 + -1.0) / 2),  # on policy every ratio is 1: the mean over replies of -A
        (GRPO(loss_agg_mode="token-mean"), -(0.5 + 0.5 - 1.0) / 3),
        (GRPO(loss_agg_mode="seq-mean-token-sum-norm"), -(0.5 + 0.5 - 1.0) / (2 * 4)),
        (GRPO(ratio="sequence"), -(0.5 - 1.0) / 2),
        (GRPO(clip_low=None, clip_high=None), -(0.5 - 1.0) / 2),
    ],
)
def test_grpo_by_hand_on_policy(settings: GRPO, policy: float) -> None:
    assert terms(grpo, settings, two_replies(), ONLY) == pytest.approx({"policy": policy}, abs=1e-12)


def test_grpo_by_hand_off_policy() -> None:
    # Ratios: first reply 2 and 1/2, second reply 2.
    old = two_replies(old_logp_BT=tensor([[-2 * LN2, -LN2], [-2 * LN2, 0.0]]))
    first = (min(2 * 0.5, 1.2 * 0.5) + min(0.5 * 0.5, 0.8 * 0.5)) / 2
    second = min(2 * -1.0, 1.2 * -1.0)
    assert terms(grpo, GRPO(), old, ONLY) == pytest.approx({"policy": -(first + second) / 2})
    higher = (min(2 * 0.5, 1.28 * 0.5) + 0.25 + -2.0) / 3
    assert terms(grpo, parse("dapo"), old, ONLY) == pytest.approx({"policy": -higher})  # type: ignore[arg-type]
    # GSPO: the geometric means are 1 and 2; the second is over its clip, but a bad reply's is not clipped from above.
    assert terms(grpo, parse("gspo"), old, ONLY) == pytest.approx({"policy": -(0.5 - 2.0) / 2})


def test_a_token_is_clipped_where_a_good_ones_ratio_is_high_or_a_bad_ones_low() -> None:
    # Ratios: first reply, which is good, 2 and 1/2; second reply, which is bad, 2. Of the three the first is clipped.
    old = two_replies(old_logp_BT=tensor([[-2 * LN2, -LN2], [-2 * LN2, 0.0]]))
    share = clipped_share(old, ONLY, GRPO())
    assert share is not None and share.item() == pytest.approx(1 / 3)
    worse = dataclasses.replace(old, advantage_B=tensor([-0.5, -1.0]))  # now the second one is
    share = clipped_share(worse, ONLY, GRPO())
    assert share is not None and share.item() == pytest.approx(1 / 3)
    share = clipped_share(old, ONLY, GRPO(clip_high=None))
    assert share is not None and share.item() == 0.0
    share = clipped_share(old, ONLY, GRPO(ratio="sequence"))  # the geometric means are 1 and 2, and 2 is a bad one's
    assert share is not None and share.item() == 0.0
    assert clipped_share(two_replies(), ONLY, GRPO()) is None  # on policy there is nothing to measure
    assert clipped_share(old, ONLY, SFT()) is None


def test_cispo_by_hand() -> None:
    old = two_replies(old_logp_BT=tensor([[-4 * LN2, -LN2], [-2 * LN2, 0.0]]))  # ratios 8, 1/2; 2
    expected = -(5 * 0.5 * -LN2 + 0.5 * 0.5 * -2 * LN2 + 2 * -1.0 * -LN2) / 3
    assert terms(cispo, CISPO(), old, ONLY) == pytest.approx({"policy": expected})


def test_the_kl_term_by_hand() -> None:
    ref = two_replies(ref_logp_BT=tensor([[-2 * LN2, -2 * LN2], [0.0, 0.0]]))  # q/p: 1/2, 1; 2
    first, second = (1 / 2 + LN2 - 1 + 0) / 2, 2 - LN2 - 1
    totals = Totals(sampled=Count(2, 3), kl_weight=0.1)
    assert terms(grpo, GRPO(), ref, totals)["kl"] == pytest.approx(0.1 * (first + second) / 2)


def test_opd_by_hand() -> None:
    """log teacher - log policy is ln 2, 0 and -ln 2; off policy the old policy's log-probs stand in its place."""
    taught = two_replies(teacher_logp_BT=tensor([[0.0, -2 * LN2], [-2 * LN2, 0.0]]))
    assert terms(opd, OPD(), taught, ONLY) == pytest.approx({"distill": -(LN2 + 0 - LN2) / 3}, abs=1e-12)
    old = dataclasses.replace(taught, old_logp_BT=tensor([[-2 * LN2, -2 * LN2], [-2 * LN2, 0.0]]))  # ratios 2, 1; 2
    assert terms(opd, OPD(), old, ONLY) == pytest.approx({"distill": -(2 * 2 * LN2 + 0 + 0) / 3})
    with pytest.raises(ValueError, match="needs the teacher's log-probs; got none"):
        opd(two_replies(), ONLY, OPD())


def test_luffy_by_hand() -> None:
    shaped = 0.25 / 0.35 + 0.5 / 0.6
    assert terms(luffy, LUFFY()) == pytest.approx(
        {
            "off_policy": -0.5 * shaped / 5,
            "on_policy": -(0.5 + 0.5 - 1.0) / 5,
            "entropy": -0.0005 * (0.5 + 1.5 + 2.0 + 1.0 + 3.0) / 5,  # the demonstration's tokens too
        },
        abs=1e-12,
    )
    assert "entropy" not in terms(luffy, LUFFY(entropy_bonus=0))


def test_srft_by_hand() -> None:
    # H: replies 1 and 2, demonstration 2.
    found = terms(srft, SRFT())
    assert found == pytest.approx(
        {
            "sft_demo": 0.5 * math.exp(-2) * 3 * LN2 / 2,
            "rl_demo": -0.5 * (0.25 + 0.5) / 2,
            "rl_self": (0.1 * math.e * 3 * LN2 - LN2) / 3,
        }
    )


def test_srft_takes_its_entropy_of_tokens_or_of_the_batch() -> None:
    by_token = terms(srft, SRFT(entropy_of="token"))
    assert by_token["sft_demo"] == pytest.approx(0.5 * (math.exp(-1) * 2 * LN2 + math.exp(-3) * LN2) / 2)
    assert by_token["rl_self"] == pytest.approx((0.1 * (math.exp(0.5) * LN2 + math.exp(1.5) * 2 * LN2) - LN2) / 3)
    totals = Totals(sampled=Count(2, 3), demos=Count(1, 2), entropy=0.7)
    by_batch = terms(srft, SRFT(entropy_of="batch"), a_table(entropy_BT=None), totals)
    assert by_batch["sft_demo"] == pytest.approx(0.5 * math.exp(-0.7) * 3 * LN2 / 2)
    assert by_batch["rl_self"] == pytest.approx((0.1 * math.exp(0.7) * 3 * LN2 - LN2) / 3)
    with pytest.raises(ValueError, match="so the totals need the step's entropy; got none"):
        terms(srft, SRFT(entropy_of="batch"))


def test_chord_by_hand() -> None:
    found = terms(chord, CHORD())  # step 0 without warm-up: mu is 0.9
    assert found == pytest.approx({"policy": 0.1 * -(0.5 + 0.5 - 1.0) / 3, "sft": 0.9 * 3 * LN2 / 2}, abs=1e-12)
    phi = terms(chord, parse("chord-phi"))
    assert phi["sft"] == pytest.approx(0.1 * (3 / 16 * 2 * LN2 + 1 / 4 * LN2) / 2)
    assert phi["policy"] == pytest.approx(0.0, abs=1e-12)  # 0.5 + 0.5 - 1, each token once
    wrong = terms(chord, CHORD(loss_agg_mode="seq-mean-token-mean"))
    assert wrong["policy"] == pytest.approx(0.1 * 0.25)


def test_chord_bounds_the_loss_of_a_bad_reply_at_three_times_its_advantage() -> None:
    """Trinity-RFT's dual clip: the second reply, A = -1, has become 8 times as likely."""
    old = a_table(old_logp_BT=tensor([[-LN2, -2 * LN2], [-4 * LN2, 0.0], [0.0, 0.0]]))
    assert terms(chord, CHORD(), old)["policy"] == pytest.approx(0.1 * (-0.5 - 0.5 + 3.0) / 3)
    assert terms(chord, CHORD(clip_dual=None), old)["policy"] == pytest.approx(0.1 * (-0.5 - 0.5 + 8.0) / 3)


@pytest.mark.parametrize(
    ("step", "mu"),
    [(0, 0.0), (5, 0.45), (10, 0.9), (35, 0.475), (60, 0.05), (99, 0.05)],  # the cosine is half-way at 35 of 10 to 60
)
def test_chords_schedule_by_hand(step: int, mu: float) -> None:
    assert chord_mu(step, CHORD(mu_warmup_steps=10, mu_decay_steps=50)) == pytest.approx(mu)


def test_chord_falls_over_200_steps_however_long_the_run_is() -> None:
    of_60 = [chord_mu(step, CHORD()) for step in range(60)]
    assert min(of_60) == of_60[59] == pytest.approx(0.05 + 0.85 * 0.5 * (1 + math.cos(math.pi * 59 / 200)))  # 0.733
    assert (chord_mu(100, CHORD()), chord_mu(200, CHORD())) == pytest.approx((0.475, 0.05))
    phi = parse("chord-phi")
    assert isinstance(phi, CHORD) and {chord_mu(step, phi) for step in (0, 50, 500)} == {0.1}


def test_only_replies_without_a_demonstration_flag_meet_a_ratio() -> None:
    """A demonstration's behaviour probability is 1: its log-prob minus a sampled one would be nonsense."""
    nonsense = a_table(old_logp_BT=tensor([[-LN2, -2 * LN2], [-LN2, 0.0], [-9.0, -9.0]]))
    for function, settings in ((luffy, LUFFY()), (srft, SRFT()), (chord, CHORD())):
        assert terms(function, settings, nonsense) == pytest.approx(terms(function, settings))


# ---- computed again, from the papers


REPLIES = [
    # (probabilities of the tokens, entropies, reward, whether it is a demonstration)
    ([0.9, 0.3, 0.6], [0.4, 1.2, 0.9], 1.0, False),
    ([0.2], [1.7], 0.0, False),
    ([0.7, 0.8], [0.5, 0.3], 0.0, False),
    ([0.05, 0.4, 0.95, 0.5], [2.2, 1.1, 0.2, 0.8], 1.0, True),
]


def as_table(advantages: list[float]) -> Table:
    T = max(len(p) for p, *_ in REPLIES)
    logp, entropy = torch.zeros(4, T, dtype=torch.float64), torch.zeros(4, T, dtype=torch.float64)
    mask = torch.zeros(4, T, dtype=torch.bool)
    for b, (probabilities, entropies, *_) in enumerate(REPLIES):
        mask[b, : len(probabilities)] = True
        logp[b, : len(probabilities)] = tensor(probabilities).log()
        entropy[b, : len(probabilities)] = tensor(entropies)
    return Table(
        logp.requires_grad_(),
        mask,
        tensor(advantages),
        tensor([reward for *_, reward, _ in REPLIES]),
        torch.tensor([is_demo for *_, is_demo in REPLIES]),
        entropy_BT=entropy.requires_grad_(),
    )


WHOLE = Totals(sampled=Count(3, 6), demos=Count(1, 4))


def test_luffy_equals_a_recomputation_from_its_paper() -> None:
    """Mixed group mean, no deviation; (1/Z) over all tokens; f(p) = p / (p + 0.1) off policy; gradients too."""
    rewards = [reward for *_, reward, _ in REPLIES]
    mean = sum(rewards) / len(rewards)
    tokens = sum(len(p) for p, *_ in REPLIES)
    loss, slopes, entropy_slopes = 0.0, [], []
    for probabilities, entropies, reward, is_demo in REPLIES:
        advantage = reward - mean
        for p, h in zip(probabilities, entropies, strict=True):
            if is_demo:
                loss -= advantage * p / (p + 0.1) / tokens + 0.0005 * h / tokens
                slopes.append(-advantage * 0.1 * p / (p + 0.1) ** 2 / tokens)  # f'(p) dp/dlogp
            else:
                loss -= advantage / tokens + 0.0005 * h / tokens
                slopes.append(-advantage / tokens)
            entropy_slopes.append(-0.0005 / tokens)
    table = as_table([r - mean for r in rewards])
    found = torch.stack(list(luffy(table, WHOLE, LUFFY()).values())).sum()
    by_logp, by_entropy = torch.autograd.grad(found, [table.logp_BT, table.entropy_BT])  # type: ignore[list-item]
    assert found.item() == pytest.approx(loss, rel=1e-12)
    assert by_logp[table.mask_BT].tolist() == pytest.approx(slopes, rel=1e-12)
    assert by_entropy[table.mask_BT].tolist() == pytest.approx(entropy_slopes, rel=1e-12)


def test_srft_equals_a_recomputation_from_its_paper() -> None:
    """w = 0.5 exp(-H) and 0.1 exp(H) without gradient; pi_beta = 1 and no clip; +1 / -1 for right and wrong."""
    rewards = [reward for *_, reward, _ in REPLIES]
    mean = sum(rewards) / len(rewards)
    deviation = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)) + 1e-4
    loss, slopes = 0.0, []
    for probabilities, entropies, reward, is_demo in REPLIES:
        entropy = sum(entropies) / len(entropies)
        advantage = (reward - mean) / deviation
        for p in probabilities:
            if is_demo:
                weight = 0.5 * math.exp(-entropy)
                loss += (-weight * math.log(p) - p * advantage) / 4
                slopes.append((-weight - p * advantage) / 4)
            else:
                weight = 0.1 * math.exp(entropy) if reward == 1 else -1.0
                loss += -weight * math.log(p) / 6
                slopes.append(-weight / 6)
    table = as_table([(r - mean) / deviation for r in rewards])
    found = torch.stack(list(srft(table, WHOLE, SRFT()).values())).sum()
    (by_logp,) = torch.autograd.grad(found, [table.logp_BT])
    assert found.item() == pytest.approx(loss, rel=1e-12)
    assert by_logp[table.mask_BT].tolist() == pytest.approx(slopes, rel=1e-12)


# ---- names


@pytest.mark.parametrize("kind", PRESETS)
def test_a_method_is_a_function_of_at_most_forty_lines(kind: str) -> None:
    lines, _ = inspect.getsourcelines(PRESETS[kind].terms)
    assert len(lines) <= 40


def test_a_toy_method_takes_one_function_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from firsthand.recipe import Recipe
    from firsthand.trainer import train

    def toy(table: Table, totals: Totals, settings: GRPO) -> dict[str, Tensor]:
        """Push rewarded replies, whatever their ratio."""
        return {"toy": -(table.advantage_B[:, None] * table.logp_BT * table.mask_BT).sum() / totals.sampled.tokens}

    monkeypatch.setattr(presets, "PRESETS", PRESETS)  # one dictionary everywhere; put back below
    register("toy", toy)
    try:
        content = {
            "name": "toy",
            "data": {"worlds": ["count"], "number": 8},
            "objective": {"kind": "toy", "group_size": 4},
        }
        small = {"steps": 1, "prompts": 2, "sampling": {"max_new_tokens": 24}}
        folder = train(Recipe.model_validate({**content, **small}), tmp_path)
        assert '"loss/toy"' in (folder / "metrics.jsonl").read_text()
        with pytest.raises(ValueError, match="the method 'toy' is registered already"):
            register("toy", toy)
    finally:
        del PRESETS["toy"]


def test_a_method_may_have_settings_and_recipe_defaults_of_its_own() -> None:
    from firsthand.recipe import Recipe

    class Sharp(GRPO):
        """GRPO with a knob."""

        power: float = Field(default=2.0, gt=0)

    register("sharp", grpo, Sharp, {"group_size": 6}, {"prompts": 3})
    try:
        one = Recipe.model_validate(
            {"name": "a", "data": {"worlds": ["count"]}, "objective": {"kind": "sharp", "power": 3}}
        )
        assert (one.objective.model_dump()["power"], one.objective.samples, one.prompts) == (3.0, 6, 3)
    finally:
        del PRESETS["sharp"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "gpro"}, r"objective\.kind: unknown method 'gpro'; known: sft, dft, grpo"),
        (7, "objective: expected a method's name or a mapping with `kind`, got 7"),
        ({"kind": "luffy", "gama": 1}, r"gama: unknown key; did you mean 'gamma'"),
        ({"kind": "grpo-d", "kl": {"low": 0.3, "high": 0.1}}, "low must not exceed high: got 0.3 and 0.1"),
    ],
)
def test_a_method_that_makes_no_sense_is_refused(content: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(content)


def test_the_published_values_stand_in_the_presets() -> None:
    def settings(kind: str) -> dict[str, Any]:
        return parse(kind).model_dump()

    assert {k: settings("dapo")[k] for k in ("clip_low", "clip_high", "loss_agg_mode", "zero_variance")} == {
        "clip_low": 0.2, "clip_high": 0.28, "loss_agg_mode": "token-mean", "zero_variance": "resample",
    }  # fmt: skip
    assert (settings("dr-grpo")["scale"], settings("dr-grpo")["loss_agg_mode"]) == ("none", "seq-mean-token-sum-norm")
    assert (settings("gspo")["ratio"], settings("gspo")["clip_low"], settings("gspo")["clip_high"]) == (
        "sequence",
        3e-4,
        4e-4,
    )
    assert (
        settings("vlaa-grpo")["group_size"],
        settings("vlaa-grpo")["kl"]["init"],
        settings("vlaa-grpo")["kl"]["target"],
    ) == (4, 1e-3, 5e-4)
    assert (settings("luffy")["group_size"], settings("luffy")["gamma"], settings("luffy")["scale"]) == (7, 0.1, "none")
    assert (settings("srft")["sft_scale"], settings("srft")["rl_scale"], settings("srft")["scale"]) == (0.5, 0.1, "std")
    assert (settings("chord")["mu_peak"], settings("chord")["mu_valley"], settings("chord-phi")["mu_peak"]) == (
        0.9,
        0.05,
        0.1,
    )
    assert PRESETS["grpo-d"].recipe == {"reward": {"format": 1.0}}
