"""A healthy arm passes, a broken one fails, and what nobody measured is never passed."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from firsthand.config import build
from firsthand.findings import Check, CheckState, Health, Tuned
from firsthand.recipe import Recipe
from firsthand.records import Judged, Reply, Rollout, Score, Status, Step, StopReason, Verdict, json_lines
from firsthand.run import Run
from firsthand.study import ArmRuns, Study, checks
from firsthand.study.distance import relative_distance
from firsthand.study.evidence import ItemReply, Training, first_rollouts
from firsthand.study.health import checks_of, health_of
from firsthand.study.loops import loops

PASSED, FAILED, UNMEASURED = CheckState.PASSED, CheckState.FAILED, CheckState.UNMEASURED
SFT: dict[str, Any] = {
    "name": "sft",
    "data": {"worlds": ["count"], "number": 8},
    "objective": {"kind": "sft", "style": "plain"},
    "steps": 12,
    "prompts": 2,
    "probe": {"data": {"worlds": ["count"], "split": "validation", "number": 100}},
}
GRPO = SFT | {"objective": {"kind": "grpo", "group_size": 2}}


def demo(tokens: int, score: float | None = 1.0) -> Judged:
    status = Status.OK if score is not None else Status.UNSCORED
    reply = Reply(text="so", token_ids=(1,) * tokens, stop=StopReason.GIVEN)
    return Judged(reply=reply, verdict=Verdict(score=score, status=status, why=""))


def sampled(tokens: int, advantage: float, reward: float | None = 0.0) -> Judged:
    reply = Reply(text="so", token_ids=(1,) * tokens, logprobs=(0.0,) * tokens)
    return Judged(reply=reply, verdict=Verdict(score=0.0, status=Status.OK, why=""), reward=reward, advantage=advantage)


Groups = Sequence[Sequence[Judged]]
DEMONSTRATED: Groups = ((demo(5),), (demo(7),))
SAMPLED: Groups = ((sampled(3, 1.0), sampled(3, -1.0)),) * 2


def training(
    folder: Path,
    content: Mapping[str, Any] = SFT,
    metrics: Mapping[str, Sequence[float | None]] | None = None,
    groups: Groups = DEMONSTRATED,
    trained: Sequence[int] = (12,) * 12,
    after: Mapping[str, float] | None = None,
) -> Training:
    """A run of equal steps, whose metrics are given step by step; None: not measured."""
    folder.mkdir(parents=True, exist_ok=True)
    steps, rollouts = [], []
    for number, tokens in enumerate(trained):
        found = {name: values[number] for name, values in (metrics or {}).items()}
        known = {name: value for name, value in found.items() if value is not None}
        known |= {"tokens/trained": float(tokens)}
        steps.append(Step(step=number, metrics=known, seconds=1.0))
        for place, group in enumerate(groups):
            ids: dict[str, Any] = {"step": number, "example_id": f"{number}-{place}"}
            rollouts.append(Rollout(**ids, question="?", gold="1", images=(), group=tuple(group)))
    if after is not None:
        steps.append(Step(step=len(trained), metrics=dict(after), seconds=1.0, trained=False))
    (folder / "metrics.jsonl").write_text(json_lines(steps))
    (folder / "rollouts.jsonl").write_text(json_lines(rollouts))
    return Training.read(folder, Recipe.model_validate(content).settled(None))


def state(check: Check) -> CheckState:
    """That of a check that says what it found, and what to do about it if it failed."""
    assert check.what and bool(check.remedy) == (check.state is FAILED)
    return check.state


def test_a_run_that_trained_on_all_that_it_drew_is_covered(tmp_path: Path) -> None:
    check = checks.coverage([training(tmp_path)])
    assert state(check) is PASSED and check.value == 1.0
    assert check.what == "144 of 144 tokens that were due were trained on, in 12 of 12 steps"


@pytest.mark.parametrize(
    ("trained", "groups", "share", "complaint"),
    [
        ((12,) * 11, None, 11 / 12, "seed 0 has 11 steps, and its recipe 12"),  # a batch was dropped before its step
        ((12,) * 11 + (0,), None, 11 / 12, "step 11 of seed 0 trained on 0 of 12"),  # or after it was drawn
        ((12,) * 11 + (7,), None, 139 / 144, "step 11 of seed 0 trained on 7 of 12"),  # or a micro-batch of it
        ((12,) * 11 + (24,), None, 13 / 12, "step 11 of seed 0 trained on 24 of 12"),  # or it counted twice
        ((5,) * 12, ((demo(5),),), 1.0, "step 0 of seed 0 had 1 groups of 2"),
    ],
)
def test_whatever_was_not_trained_on_is_seen(
    trained: Sequence[int], groups: Groups | None, share: float, complaint: str, tmp_path: Path
) -> None:
    run = training(tmp_path, trained=trained, **({} if groups is None else {"groups": groups}))
    check = checks.coverage([run])
    assert state(check) is FAILED and complaint in check.what
    assert check.value == pytest.approx(share)


def test_one_seed_of_several_that_lost_a_batch_is_enough(tmp_path: Path) -> None:
    whole = training(tmp_path / "0")
    short = training(tmp_path / "1", SFT | {"seed": 1}, trained=(12,) * 10)
    assert state(checks.coverage([whole, short])) is FAILED


def test_groups_that_cannot_change_a_parameter_are_not_due_and_others_are(tmp_path: Path) -> None:
    flat, useful = [sampled(3, 0.0), sampled(4, 0.0)], [sampled(5, 1.0), sampled(6, -1.0), sampled(9, 0.0, reward=None)]
    run = training(tmp_path / "flat", GRPO, groups=(flat, useful), trained=(11,) * 12)
    assert state(checks.coverage([run])) is PASSED  # the last reply has no reward, and the flat group no gradient
    kl = {"policy/kl_weight": [0.1] * 12}
    run = training(tmp_path / "kl", GRPO, kl, groups=(flat, useful), trained=(11,) * 12)
    assert state(checks.coverage([run])) is FAILED  # with a KL, all tokens are looked at
    run = training(tmp_path / "all", GRPO, kl, groups=(flat, useful), trained=(18,) * 12)
    assert state(checks.coverage([run])) is PASSED


def test_a_group_that_was_left_out_is_not_due(tmp_path: Path) -> None:
    training(tmp_path)
    more = Rollout(step=0, example_id="x", question="?", gold="1", images=(), group=(demo(9),), left_out="surplus")
    with (tmp_path / "rollouts.jsonl").open("a") as file:
        file.write(json_lines([more]))
    run = Training.read(tmp_path, Recipe.model_validate(SFT).settled(None))
    assert sum(map(run.due, run.steps)) == 144
    assert [len(some) for _, some in first_rollouts(tmp_path, 2)] == [2, 2]


def test_a_run_that_counted_nothing_is_not_covered_and_not_uncovered(tmp_path: Path) -> None:
    run = training(tmp_path)
    old = [step.model_copy(update={"metrics": {}}) for step in run.steps]
    assert state(checks.coverage([run._replace(steps=old)])) is UNMEASURED


NOISY = [0.5, 0.1, 0.3, 0.3, 0.1, 0.5, 0.2, 0.4, 0.5, 0.1, 0.3, 0.4]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([1.0 - 0.05 * i for i in range(12)], PASSED),
        ([1.0 + 0.05 * i for i in range(12)], FAILED),
        (NOISY, PASSED),  # 0.30 and 0.27, which is less than batches differ
    ],
)
def test_a_training_loss_fails_when_it_rises_beyond_noise(
    losses: Sequence[float], expected: CheckState, tmp_path: Path
) -> None:
    assert state(checks.training_loss([training(tmp_path, metrics={"loss/nll": losses})])) is expected


def test_a_few_steps_have_no_trend(tmp_path: Path) -> None:
    run = training(tmp_path, metrics={"loss/nll": [2.0, 1.0]}, trained=(12, 12))
    assert state(checks.training_loss([run])) is UNMEASURED
    assert state(checks.reward([run])) is UNMEASURED


def probed(tmp_path: Path, *values: float, metric: str = "probe/nll") -> list[Training]:
    """A run that was probed before each of its first steps, and at its end."""
    curve = [*values[:-1], *[None] * (13 - len(values))]
    return [training(tmp_path, metrics={metric: curve}, after={metric: values[-1]})]


@pytest.mark.parametrize(
    ("curve", "expected", "said"),
    [
        ((0.5, 0.4, 0.3, 0.3, 0.2), PASSED, "0.500 nats per token before training, 0.200 after it"),
        ((0.5, 0.4, 0.3, 0.30, 0.31), PASSED, "0.310 after it"),  # a few percent
        ((0.5, 0.4, 0.3, 0.35, 0.4), FAILED, "0.300 after 2 steps: it turned"),
        ((0.5, 0.6, 0.6, 0.6, 0.6), FAILED, "it rose"),
    ],
)
def test_a_held_out_loss_falls_and_does_not_turn(
    curve: Sequence[float], expected: CheckState, said: str, tmp_path: Path
) -> None:
    check = checks.held_out_loss(probed(tmp_path, *curve))
    assert state(check) is expected and said in check.what


def test_a_rate_that_is_too_high_is_seen_though_the_loss_falls_again(tmp_path: Path) -> None:
    run = probed(tmp_path, 0.5, 1.1, 0.6, 0.4, 0.3)
    assert state(checks.held_out_loss(run)) is PASSED
    check = checks.overshoot(run)
    assert (
        state(check) is FAILED
        and "began at 0.500, and was never above 1.100, which it reached after 1 steps" in check.what
    )
    assert state(checks.overshoot(probed(tmp_path, 0.5, 0.9, 0.45, 0.4, 0.3))) is PASSED  # as healthy ones do, too
    assert state(checks.overshoot(probed(tmp_path, 0.5, 0.4, 0.3))) is UNMEASURED  # a rise would be missed


def test_a_rate_that_tuning_chose_may_overshoot_on_the_way(tmp_path: Path) -> None:
    run = probed(tmp_path, 0.5, 1.1, 0.6, 0.4, 0.3)
    rate = run[0].recipe.optimizer.lr

    def tuned(*rates: float) -> Tuned:
        key = "optimizer.lr"
        edges = (key,) if rate in (min(rates), max(rates)) else ()
        return Tuned(arm="a", settings={key: rate}, accuracy=0.5, grid={key: rates}, tries=len(rates), edges=edges)

    check = checks.overshoot(run, tuned(rate / 3, rate, rate * 3))
    assert state(check) is PASSED and "never above 1.100" in check.what and "tuning chose" in check.what
    assert state(checks.overshoot(run, tuned(rate, rate * 3))) is FAILED  # nothing says that a lower one is worse


def test_without_held_out_data_nothing_is_said_about_it(tmp_path: Path) -> None:
    run = [training(tmp_path, {k: v for k, v in SFT.items() if k != "probe"})]
    for check in (checks.held_out_loss, checks.held_out_accuracy, checks.overshoot):
        assert state(check(run)) is UNMEASURED and "validation" in check(run).what


def test_seeds_that_a_budget_ends_at_different_steps_are_compared_at_their_ends(tmp_path: Path) -> None:
    runs = [
        training(
            tmp_path / str(steps),
            metrics={"probe/score": [0.3, *[None] * (steps - 1)]},
            trained=(12,) * steps,
            after={"probe/score": end},
        )
        for steps, end in ((12, 0.6), (11, 0.8))
    ]
    check = checks.held_out_accuracy(runs)
    assert state(check) is PASSED and "0.700 at the end, 0.700 at best, after 12 of 12 steps" in check.what


def test_an_early_peak_is_one_only_beyond_chance(tmp_path: Path) -> None:
    check = checks.held_out_accuracy(probed(tmp_path, 0.3, 0.9, 0.8, 0.6, metric="probe/score"))
    assert state(check) is FAILED and "0.900 at best, after 1 of 12 steps (100 items)" in check.what
    assert "stop: 1" in check.remedy
    assert state(checks.held_out_accuracy(probed(tmp_path, 0.3, 0.8, 0.8, 0.75, metric="probe/score"))) is PASSED


def test_a_curve_that_only_chance_moves_peaks_early_in_one_of_twenty_at_most(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    run = training(tmp_path)

    def peaks_early() -> bool:
        values = rng.binomial(100, 0.7, 7) / 100
        steps = [
            step.model_copy(update={"metrics": step.metrics | {"probe/score": value}})
            for step, value in zip(run.steps, values, strict=False)
        ]
        return state(checks.held_out_accuracy([run._replace(steps=steps)])) is FAILED

    assert np.mean([peaks_early() for _ in range(1000)]) <= 0.05


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([7, 8, 9] + [5] * 16, True),
        ([7, 8, 9] + [5] * 15, False),  # a long number
        ([1, 2, 3, 4, 5] * 4, True),
        ([1, 2, 3, 4, 5] * 3 + [1, 2, 3, 4], False),
        ([*[1, 2, 3, 4, 5] * 4, 6, 7], True),  # it found its way out
        (list(range(10, 100)), False),
        ([n for i in range(40) for n in (1, i, 2)], False),  # `a1 no, a2 no, a3 no`: the same words, new places
        ([], False),
    ],
)
def test_a_reply_that_goes_round_in_circles(tokens: list[int], expected: bool) -> None:
    assert loops(Reply(text="", token_ids=tuple(tokens))) is expected
    words = Reply(text=" ".join(map(str, tokens)), token_ids=())
    assert loops(words) is expected


def replied(kinds: str) -> list[ItemReply]:
    """A letter for each reply: o fine, l loops, c cut, n no answer."""
    found = []
    for number, kind in enumerate(kinds):
        reply = Reply(
            text="",
            token_ids=(1,) * (20 if kind == "l" else 3),
            stop=StopReason.LENGTH if kind == "c" else StopReason.EOS,
        )
        verdict = Verdict(score=0.0, status=Status.WRONG_FORMAT if kind == "n" else Status.OK, why="")
        found.append(ItemReply(str(number), Judged(reply=reply, verdict=verdict)))
    return found


def test_more_degenerate_replies_than_the_base_has_fail_an_arm() -> None:
    broken = replied("l" * 10 + "c" * 10 + "n" * 10 + "o" * 70)
    check = checks.replies([broken], [replied("o" * 100)])
    assert state(check) is FAILED and check.value == pytest.approx(0.3)
    assert "30.0 % of the replies are degenerate (10.0 % loop, 10.0 % are cut, 10.0 % state no answer" in check.what
    assert state(checks.replies([broken], [broken])) is PASSED  # the base does so, too
    assert state(checks.replies([replied("l" + "o" * 9)], [replied("o" * 10)])) is PASSED  # one of ten may be chance
    assert state(checks.replies([], [])) is UNMEASURED


def test_demonstrations_are_accepted_by_their_own_verifier(tmp_path: Path) -> None:
    assert state(checks.demonstrations([training(tmp_path / "good")])) is PASSED
    check = checks.demonstrations([training(tmp_path / "bad", groups=((demo(5),), (demo(7, score=0.0),)))])
    assert state(check) is FAILED and check.value == 0.5
    unscored = training(tmp_path / "open", groups=((demo(5, score=None),), (demo(7, score=None),)))
    assert state(checks.demonstrations([unscored])) is UNMEASURED


def test_rewards_groups_and_parity_of_arms_that_sample(tmp_path: Path) -> None:
    values = {"reward/mean": [0.05 * i for i in range(12)], "groups/zero_variance": [0.5] * 12}
    run = [training(tmp_path / "good", GRPO, values | {"parity/max_abs": [1e-6] * 12})]
    assert [state(check) for check in (checks.reward(run), checks.groups(run), checks.parity(run, 1e-3))] == [
        PASSED
    ] * 3
    values = {"reward/mean": [1 - 0.05 * i for i in range(12)], "groups/zero_variance": [1.0] * 12}
    run = [training(tmp_path / "bad", GRPO, values | {"parity/max_abs": [1e-6] * 11 + [0.1]})]
    assert [state(check) for check in (checks.reward(run), checks.groups(run), checks.parity(run, 1e-3))] == [
        FAILED
    ] * 3


def tuned(rate: float, *edges: str) -> Tuned:
    grid: dict[str, tuple[Any, ...]] = {"optimizer.lr": (1e-5, 1e-6, 1e-7)}
    return Tuned(arm="sft", settings={"optimizer.lr": rate}, accuracy=0.5, grid=grid, tries=3, edges=edges)


def test_a_rate_is_the_tuned_one_and_not_at_an_edge(tmp_path: Path) -> None:
    run = [training(tmp_path)]  # at the default, 1e-6
    assert state(checks.tuned_rate(run, None)) is UNMEASURED
    assert state(checks.tuned_rate(run, tuned(1e-6))) is PASSED
    assert state(checks.tuned_rate(run, tuned(1e-7))) is FAILED
    assert state(checks.tuned_rate(run, tuned(1e-6, "optimizer.lr"))) is FAILED
    assert state(checks.tuned_rate(run, tuned(1e-6, "stop"))) is PASSED


def weights(folder: Path, value: float) -> Path:
    folder.mkdir(parents=True)
    content = {"a": np.full((3, 4), 2.0, np.float32), "b": np.full(5, value, np.float32)}
    save_file(content, folder / "model.safetensors")
    return folder


def test_the_distance_is_that_of_all_weights_and_none_is_no_training(tmp_path: Path) -> None:
    start, end = weights(tmp_path / "start", 1.0), weights(tmp_path / "end", 2.0)
    assert relative_distance(start, end) == pytest.approx((5 / (12 * 4 + 5)) ** 0.5)
    assert state(checks.distance(relative_distance(start, end))) is PASSED
    assert state(checks.distance(relative_distance(start, start))) is FAILED


def evaluation(folder: Path, kinds: str = "o" * 20) -> Path:
    folder.mkdir(parents=True)
    scores = [
        Score(example_id=one.question, question="?", gold="1", images=(), greedy=one.reply) for one in replied(kinds)
    ]
    (folder / "scores.jsonl").write_text(json_lines(scores))
    return folder


def studied(root: Path, broken: bool, apart: float = 0.0) -> dict[str, Health]:
    """A study of a base, an SFT arm, one that starts from it, and a GRPO arm from scratch, all finished.

    `broken` drops batches of the SFT arm, and the gradients of the GRPO arm are so far `apart`.
    """
    start = weights(root / "start", 1.0)
    arms: dict[str, Any] = {
        "base": {"steps": 0},
        "sft": {},
        "sft+grpo": {"start": "sft", "objective": {"kind": "grpo", "group_size": 2}},
        "grpo": {"objective": {"kind": "grpo", "group_size": 2}},
    }
    shared = {key: value for key, value in SFT.items() if key != "name"} | {"model": str(start)}
    content = {"shared": shared, "arms": arms, "evaluation": {"data": {"worlds": ["count"], "number": 4}}}
    study = build(Study, content, "study")
    runs: dict[str, dict[int, ArmRuns]] = {}
    for arm in arms:
        runs[arm] = {}
        for seed in (0, 1):
            folder = root / f"{arm}-s{seed}"
            short = (12,) * (10 if broken and arm == "sft" else 12)
            if arm != "base":
                training(folder, groups=SAMPLED if "grpo" in arm else DEMONSTRATED, trained=short)
            weights(folder / "model", random.Random(f"{arm} {seed}").random())
            (folder / "recipe.json").write_text(json.dumps({"id": folder.name}))
            (folder / "DONE").touch()
            with Run.open(root, f"health-{arm}", seed, {"name": arm, "health_of": folder.name, "batches": 3}) as kept:
                kept.write_json("health.json", {"apart": [1e-7, apart if arm == "grpo" else 0.0, 0.0]})
                kept.finish()
            runs[arm][seed] = ArmRuns(folder, evaluation(root / f"evaluate-{arm}-s{seed}"))
    return health_of(study, root, runs)


def test_an_arm_inherits_what_failed_in_the_one_that_it_starts_from(tmp_path: Path) -> None:
    found = studied(tmp_path / "whole", broken=False)
    assert [one.is_healthy for one in found.values()] == [True] * 4
    assert found["base"].checks == ()
    assert {check.name for check in found["grpo"].checks if check.state is PASSED} >= {
        "micro-batches",
        "coverage",
        "replies",
        "distance",
    }
    found = studied(tmp_path / "broken", broken=True, apart=0.1)
    assert {arm: [check.name for check in one.failed] for arm, one in found.items()} == {
        "base": [],
        "sft": ["coverage"],
        "sft+grpo": ["start"],
        "grpo": ["micro-batches"],
    }


def test_a_method_that_imitates_beside_rewards_may_forget_its_demonstrations(tmp_path: Path) -> None:
    luffy = SFT | {"objective": {"kind": "luffy", "style": "plain", "group_size": 2}}
    group = (sampled(3, 1.0), sampled(4, -1.0), demo(5))
    curve = {"probe/nll": [0.5, *[None] * 11]}
    run = training(tmp_path, luffy, curve, groups=(group,) * 2, trained=(24,) * 12, after={"probe/nll": 0.9})
    for number, folder in enumerate(("model", "start")):
        weights(tmp_path / folder, float(number))
    recipe = run.recipe.model_copy(update={"model": str(tmp_path / "start")})
    found = {check.name: check.state for check in checks_of([run._replace(recipe=recipe)], None)}
    assert FAILED not in found.values() and found["demonstrations"] is PASSED and "held-out loss" not in found


def test_no_check_of_a_method_is_made_that_it_cannot_have(tmp_path: Path) -> None:
    found = studied(tmp_path, broken=False)
    assert {check.name for check in found["sft"].checks} == {
        "micro-batches",
        "coverage",
        "demonstrations",
        "held-out loss",
        "overshoot",
        "training loss",
        "held-out accuracy",
        "learning rate",
        "distance",
        "replies",
    }
    assert {check.name for check in found["grpo"].checks} == {
        "micro-batches",
        "coverage",
        "reward",
        "groups",
        "parity",
        "held-out accuracy",
        "learning rate",
        "distance",
        "replies",
    }
