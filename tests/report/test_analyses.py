"""The analyses of a report, on runs of a few lines whose numbers are worked out by hand."""

import json
import re
from dataclasses import replace
from math import atanh, sqrt, tanh
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from small_runs import asked, evidence, grouped, said, write_run

from firsthand.data.loaded import Chosen
from firsthand.findings import DISTANCES_FILE, TOKENS_FILE, Distances, TokenChange
from firsthand.records import Agreement, Score, Step
from firsthand.report.analyses import (
    difficulty,
    exploration,
    families,
    length,
    panels,
    passes,
    prediction,
    probabilities,
    race,
    reasoning,
    reflection,
    scale,
    transfer,
    weights,
)
from firsthand.report.analyses.length import Told
from firsthand.report.analyses.tally import Expressions, tallied
from firsthand.report.analyses.tenths import tenths
from firsthand.run import CHOSEN
from firsthand.stats import student95


def greedy(*scores: float | None, tokens: int = 4) -> list[Score]:
    return [asked(i, said(score, tokens)) for i, score in enumerate(scores)]


# Expressions of doubt.


def test_an_expression_is_whole_words_and_each_place_counts_once() -> None:
    text = "Wait, let me double-check. I should check again; checks await nobody."
    assert Expressions().found_in(text) == ["wait", "double-check", "i should check", "again"]


def test_of_two_expressions_that_begin_alike_the_longer_one_counts() -> None:
    assert Expressions(["wait", "wait a moment"]).found_in("Wait a moment. Wait.") == ["wait a moment", "wait"]


def test_other_expressions_take_the_place_of_the_published_ones() -> None:
    assert Expressions(["Moment mal"]).found_in("Wait. MOMENT MAL, wait") == ["moment mal"]
    assert Expressions([]).found_in("wait") == []


def test_right_and_wrong_replies_are_tallied_apart_and_those_without_a_score_nowhere() -> None:
    replies = [
        said(1, 10, "wait, wait"),
        said(1, 10),
        said(0, 20, "hmm"),
        said(0, 20),
        said(0, 20),
        said(None, 9, "hmm"),
    ]
    right, wrong = tallied(replies, Expressions())
    assert (right.replies, right.share_reflecting, right.per_thousand) == (2, 0.5, 100.0)  # 2 places in 20 tokens
    assert (wrong.replies, wrong.share_reflecting) == (3, 1 / 3)
    assert wrong.per_thousand == pytest.approx(1000 / 60)


def test_a_demonstration_is_nobodys_reply(tmp_path: Path) -> None:
    rollouts = [grouped(0, said(1, 5, "wait", demo=True), said(0, 5, "no")), grouped(9, said(1, 5, "wait"))]
    run = write_run(tmp_path, "srft", steps=[{}] * 10, rollouts=rollouts)
    lines = reflection.lines(evidence(run))
    assert [(line.when, line.outcome, line.tally.places["wait"]) for line in lines] == [
        (0.5, "wrong", 0),
        (9.5, "right", 1),
    ]


def test_no_expression_no_panel(tmp_path: Path) -> None:
    assert reflection.panel(evidence(write_run(tmp_path, "base", scores=greedy(1, 0)))) is None


# Length.


def test_right_replies_are_compared_with_wrong_ones_to_the_same_question() -> None:
    replies = [
        *(Told("a", tokens, True) for tokens in (10, 14)),
        Told("a", 8, False),  # 12 - 8 = 4
        Told("b", 5, True),
        *(Told("b", tokens, False) for tokens in (7, 9)),  # 5 - 8 = -3
        Told("c", 99, True),  # has no wrong one
    ]
    found = length.within_questions(replies)
    assert found is not None
    reach = student95(1) * sqrt(3.5**2 + 3.5**2) / sqrt(2)
    assert found[:4] == (0.5, pytest.approx(0.5 - reach), pytest.approx(0.5 + reach), 2)


def test_a_reply_is_in_one_bin_and_the_longest_is_in_the_last() -> None:
    replies = [Told(str(tokens), tokens, tokens > 4) for tokens in range(1, 8)]
    ends = length.edges([replies])
    assert ends == [1, 2, 3, 4, 5, 6, 7]
    bins = length.binned(replies, ends)
    assert [one.replies for one in bins] == [1, 1, 1, 1, 1, 2]
    assert [one.right.value for one in bins] == [0, 0, 0, 0, 1, 1]


def test_replies_of_one_length_have_one_bin() -> None:
    replies = [Told("a", 4, True), Told("b", 4, False)]
    assert [one.replies for one in length.binned(replies, length.edges([replies]))] == [2]


# pass@k.


def sampled(hits: list[int], of: int) -> list[Score]:
    return [asked(i, said(1), [said(1)] * h + [said(0)] * (of - h)) for i, h in enumerate(hits)]


def test_the_untrained_model_draws_level_where_its_breadth_tells(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, "base", scores=sampled([1] * 60, 4)),  # 1/4, 1/2, 3/4, 1
        write_run(tmp_path, "grpo", steps=[{}], scores=sampled([4] * 30 + [0] * 30, 4)),  # 1/2 at every k
    ]
    found = evidence(*runs)
    base, grpo = (passes.passes(arm) for arm in found.arms)
    assert base is not None
    assert grpo is not None
    assert [base.estimate(k).value for k in (1, 2, 3, 4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [grpo.estimate(k).value for k in (1, 4)] == [0.5, 0.5]
    crossing = passes.crossing(grpo, base)
    assert crossing is not None
    assert (crossing.first.value, crossing.last.value, crossing.k, crossing.at) == (0.25, -0.5, 4, 2)
    assert crossing.low == 2
    assert crossing.high in (2, 3)
    sentence = passes.on_sharpening("grpo", "base", crossing)
    assert "it sharpens, and loses breadth. base draws level at k = 2" in sentence


def test_a_gain_at_every_k_is_more_than_sharpening(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, "base", scores=sampled([0] * 40, 2)),
        write_run(tmp_path, "grpo", steps=[{}], scores=sampled([2] * 40, 2)),
    ]
    panel = passes.panel(evidence(*runs))
    assert panel is not None
    assert "more than sharpening" in panel.body
    assert [row[:4] for row in panel.rows] == [
        ("base", 1, 40, 0),
        ("base", 2, 40, 0),
        ("grpo", 1, 40, 1),
        ("grpo", 2, 40, 1),
    ]


def test_an_arm_below_the_untrained_model_has_no_gain_to_explain(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, "base", scores=sampled([2] * 40, 2)),
        write_run(tmp_path, "sft", steps=[{}], scores=sampled([0] * 40, 2)),
    ]
    panel = passes.panel(evidence(*runs))
    assert panel is not None
    assert "sft is below base at k = 1, −100.0 points" in panel.body


def test_a_question_with_an_unmeasured_sample_is_in_no_pass_at_k(tmp_path: Path) -> None:
    scores = [*sampled([1, 1], 2), asked(2, said(1), [said(1), said(None)])]
    [arm] = evidence(write_run(tmp_path, "base", scores=scores)).arms
    found = passes.passes(arm)
    assert found is not None
    assert found.questions == ("0000", "0001")


# The race.


def stepped(scores: list[float]) -> list[dict[str, float]]:
    costs = {"tokens/generated": 60.0, "tokens/trained": 40.0, "flops/update": 2e12, "reply/truncated": 0.0}
    return [{"score/mean": score, **costs} for score in scores]


@pytest.fixture
def racers(tmp_path: Path) -> dict[str, Path]:
    """One step is a minute, 100 tokens and 2 TFLOP; a score counts as reached by the mean of ten steps."""
    sft = write_run(tmp_path, "sft", steps=[{k: v for k, v in stepped([1.0])[0].items() if k != "reply/truncated"}] * 7)
    return {
        "base": write_run(tmp_path, "base", scores=greedy(*[0.0] * 40)),
        "sft": sft,
        "srft": write_run(tmp_path, "srft", steps=stepped([0.0] * 5 + [0.5] * 15), scores=greedy(*[1.0] * 40)),
        "sft+grpo": write_run(
            tmp_path, "sft+grpo", start=sft, steps=stepped([0.0] * 10 + [0.5] * 10), scores=greedy(*[1.0] * 40)
        ),
        "idle": write_run(tmp_path, "idle", steps=stepped([0.9] * 20), scores=greedy(*[0.0] * 40)),
    }


def raced(runs: list[Path], first: str, second: str) -> race.Race:
    found = evidence(*runs)
    by_name = {arm.name: arm for arm in found.arms}
    return race.race(found, by_name[first], by_name[second])


def test_an_arm_pays_for_the_run_that_it_started_from(racers: dict[str, Path]) -> None:
    found = raced(list(racers.values()), "srft", "sft+grpo")
    assert found.goal == 0.5
    assert found.spent == ((15, 1500, 30), (27, 2700, 54))  # 20 steps, and 7 of sft
    assert {what: ratio.value for what, ratio in found.ratios.items()} == pytest.approx(dict.fromkeys(race.SPENT, 1.8))
    assert found.ratios["minutes"].low is None


def test_there_is_no_ratio_where_an_arm_does_not_end_above_the_untrained_model(racers: dict[str, Path]) -> None:
    found = raced(list(racers.values()), "srft", "idle")
    assert (found.ratios, found.reason) == ({}, "idle does not end above base on held-out questions")


def test_there_is_no_ratio_without_the_run_that_an_arm_started_from(racers: dict[str, Path]) -> None:
    runs = [run for name, run in racers.items() if name != "sft"]
    assert raced(runs, "srft", "sft+grpo").reason == "the run that sft+grpo started from is not there"


def test_there_is_no_ratio_for_what_samples_nothing(racers: dict[str, Path], tmp_path: Path) -> None:
    silent = [{"score/mean": 1.0} for _ in range(20)]
    imitates = write_run(tmp_path, "sft-plain", steps=silent, scores=greedy(*[1.0] * 40))
    found = raced([*racers.values(), imitates], "srft", "sft-plain")
    assert found.reason == "sft-plain samples nothing in training, and has no probe"


def test_a_ratio_over_seeds_is_their_geometric_mean(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, "base", scores=greedy(*[0.0] * 40))]
    for seed, late in enumerate((5, 15)):  # 2 times as slow, and 4/3
        right = greedy(*[1.0] * 40)
        steps = stepped([0.5] * 25)
        runs.append(write_run(tmp_path, "a", seed=seed, steps=steps, scores=right, seconds=60 if seed == 0 else 45))
        steps = stepped([0.0] * late + [0.5] * (25 - late))
        runs.append(write_run(tmp_path, "b", seed=seed, steps=steps, scores=right))
    found = raced(runs, "a", "b").ratios["minutes"]
    slow, fast = (15.0, 25.0), (10.0, 7.5)
    assert found.value == pytest.approx(sqrt(slow[0] / fast[0] * slow[1] / fast[1]))
    assert found.low is not None
    assert found.low < found.value


# Over training.


def test_a_tenth_is_the_mean_over_its_steps_and_runs_and_a_probe_after_the_last_step_is_none(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, "grpo", seed=seed, steps=[{"policy/entropy": at + seed} for at in range(20)])
        for seed in (0, 1)
    ]
    for run in runs:
        with (run / "metrics.jsonl").open("a") as file:
            file.write(
                Step(step=20, metrics={"policy/entropy": 99.0}, seconds=1, trained=False).model_dump_json() + "\n"
            )
    [arm] = evidence(*runs).arms
    found = tenths(arm, "policy/entropy")
    assert found[0] == (1.0, 1.0)  # 0, 1 and 1, 2
    assert found[9] == (19.0, 19.0)  # 18, 19 and 19, 20
    assert len(found) == 10


def test_families_are_those_of_policies_that_sample(tmp_path: Path) -> None:
    own = {"score/mean": 0.5, "score/std": 0.1, "reply/truncated": 0.0}
    grpo = write_run(tmp_path, "grpo", steps=[{**own, "score/count": 0.25, "score/chart": 0.75}] * 10)
    sft = write_run(tmp_path, "sft", steps=[{"score/mean": 1.0, "score/digits": 1.0}] * 10)
    found = evidence(grpo, sft)
    assert families.families_of(found) == ["chart", "count"]
    assert families.rows(found)[:1] == [("grpo", "chart", 0.5, 0.75)]
    assert len(families.rows(found)) == 20


def test_a_warm_start_is_told_beside_the_arm_that_does_the_same_without(tmp_path: Path) -> None:
    def entropy(first: float, last: float) -> list[dict[str, float]]:
        return [{"policy/entropy": first}] * 5 + [{"policy/entropy": last}] * 5

    sft = write_run(tmp_path, "sft", steps=[{}], scores=greedy(*[0.0] * 40))
    cold = write_run(tmp_path, "grpo", steps=entropy(0.2, 0.1), scores=greedy(*[0.0] * 40), recipe={"lr": 1})
    warm = write_run(tmp_path, "warm", start=sft, steps=entropy(2.0, 0.1), scores=greedy(*[1.0] * 40), recipe={"lr": 1})
    [found] = exploration.warm_starts(evidence(sft, cold, warm))
    assert (found.warm.name, found.cold.name) == ("warm", "grpo")
    assert found.entropy == ((2.0, 0.1), (0.2, 0.1))
    assert found.difference.estimate.value == 1.0
    other = write_run(tmp_path, "fast", start=sft, steps=entropy(2, 1), scores=greedy(*[1.0] * 40), recipe={"lr": 9})
    assert exploration.warm_starts(evidence(sft, cold, other)) == []


# Same task, other task.


def of_families(**scores: float) -> list[Score]:
    numbers = iter(range(1000))
    return [asked(next(numbers), said(score), family=name) for name, score in scores.items() for _ in range(25)]


def test_a_gain_is_on_a_trained_family_or_on_another_also_by_the_start(tmp_path: Path) -> None:
    base = write_run(tmp_path, "base", scores=of_families(count=0, chart=0, digits=0))
    sft = write_run(tmp_path, "sft", steps=[{"score/mean": 1.0, "score/chart": 1.0}])
    steps = [{"score/mean": 0.5, "score/std": 0.5, "score/count": 0.5}]
    grpo = write_run(tmp_path, "grpo", start=sft, steps=steps, scores=of_families(count=1, chart=0, digits=1))
    found = transfer.transfers(evidence(base, sft, grpo))
    assert [(one.family, one.is_trained, one.difference.value) for one in found] == [
        ("chart", True, 0.0),
        ("count", True, 1.0),
        ("digits", False, 1.0),
    ]
    panel = transfer.panel(evidence(base, sft, grpo))
    assert panel is not None
    assert "grpo: +50.0 points" in panel.body


def test_there_is_no_matrix_where_every_arm_was_trained_on_everything(tmp_path: Path) -> None:
    base = write_run(tmp_path, "base", scores=of_families(count=0))
    grpo = write_run(tmp_path, "grpo", steps=[{"score/count": 0.5}], scores=of_families(count=1))
    assert transfer.panel(evidence(base, grpo)) is None


# How many demonstrations.


def test_arms_that_differ_in_demonstrations_alone_are_of_one_kind(tmp_path: Path) -> None:
    def imitator(name: str, steps: int, number: int, **more: object) -> Path:
        recipe = {"prompts": 16, "data": {"worlds": ["count"], "number": number}, **more}
        return write_run(tmp_path, name, steps=[{}] * steps, scores=greedy(1, 0), recipe=recipe)

    runs = [
        imitator("long", 20, 64),
        imitator("short", 2, 64),
        imitator("many", 20, 1024),
        imitator("fast", 9, 64, lr=1),
    ]
    recipe = {"prompts": 16, "data": {"worlds": ["count"], "number": 64}}
    rl = write_run(tmp_path, "rl", steps=[{"reply/truncated": 0.0}] * 5, scores=greedy(1), recipe=recipe)
    [kind] = scale.kinds(evidence(*runs, rl))
    assert [(one.arm.name, one.seen, one.different) for one in kind] == [
        ("short", 32, 32),
        ("long", 320, 64),
        ("many", 320, 320),
    ]


# Filtered by difficulty.


def filtered_beside_rl(folder: Path) -> list[Path]:
    """SFT on all examples and on those of medium difficulty, the same after a start, and RL; two families of 25."""
    sft: dict[str, Any] = {"objective": {"kind": "sft"}, "data": {"worlds": ["count"]}}
    some = {**sft, "data": {"worlds": ["count"], "pass_rate": {"least": 0.25, "most": 0.75}}}
    other = {"objective": {"kind": "dft"}, "data": {"worlds": ["count"]}}
    rl = {"objective": {"kind": "grpo"}, "data": {"worlds": ["count"]}}
    runs = [
        write_run(folder, "base", scores=of_families(count=0, chart=0)),
        write_run(folder, "sft", steps=[{}], recipe=sft, scores=of_families(count=1, chart=0)),
        write_run(folder, "medium", steps=[{}], recipe=some, scores=of_families(count=1, chart=1)),
        write_run(folder, "dft", steps=[{}], recipe=other, scores=of_families(count=1, chart=0)),
        write_run(folder, "grpo", steps=[{"reply/truncated": 0}], recipe=rl, scores=of_families(count=0, chart=1)),
    ]
    kept = Chosen(scores="a", least=0.25, most=0.75, kept=3, of=12, unmeasured=0, rates={"0": 9, "0.5 to 0.6": 3})
    (runs[2] / CHOSEN).write_text(kept.model_dump_json())
    again = write_run(folder, "after", start=runs[1], steps=[{}], recipe=sft, scores=of_families(count=1, chart=0))
    return [*runs, again]


def test_a_filtered_arm_stands_beside_the_same_method_on_all_examples_and_beside_rl(tmp_path: Path) -> None:
    found = difficulty.beside_the_filtered(evidence(*filtered_beside_rl(tmp_path)))
    assert {one.arm.name for one in found} == {"medium"}
    assert [(one.other.name, one.which, one.family, one.difference.value, *one.accuracies) for one in found] == [
        ("sft", difficulty.ALL_EXAMPLES, "all", 0.5, 1.0, 0.5),
        ("sft", difficulty.ALL_EXAMPLES, "chart", 1.0, 1.0, 0.0),
        ("sft", difficulty.ALL_EXAMPLES, "count", 0.0, 1.0, 1.0),
        ("grpo", difficulty.RL, "all", 0.5, 1.0, 0.5),
        ("grpo", difficulty.RL, "chart", 0.0, 1.0, 1.0),
        ("grpo", difficulty.RL, "count", 1.0, 1.0, 0.0),
    ]


def test_the_panel_says_what_was_kept_and_has_every_evaluation(tmp_path: Path) -> None:
    once = evidence(*filtered_beside_rl(tmp_path))
    panel = difficulty.panel(once)
    assert panel is not None
    assert "medium was trained on 3 of 12 examples (25%), with a pass rate of 0.25 to 0.75." in panel.body
    assert "medium against grpo, RL on all examples: +50.0 points" in panel.body
    assert {row[-2:] for row in panel.rows} == {(3, 12)}
    shifted = [replace(arm, table="shifted") for arm in once.arms]
    both = difficulty.panel(replace(once, everywhere=[*once.arms, *shifted]))
    assert both is not None and [row[0] for row in both.rows].count("shifted") == len(panel.rows) == 6


def test_without_a_filtered_arm_or_something_beside_it_there_is_no_panel(tmp_path: Path) -> None:
    base, sft, medium, dft, grpo, _ = filtered_beside_rl(tmp_path)
    assert difficulty.panel(evidence(base, sft, dft, grpo)) is None
    assert difficulty.panel(evidence(base, medium, dft)) is None
    (medium / CHOSEN).unlink()
    panel = difficulty.panel(evidence(base, medium, grpo))
    assert panel is not None and {row[-2:] for row in panel.rows} == {(None, None)}


# What foretells.


def test_a_rank_correlation_is_spearmans_with_shared_ranks() -> None:
    found = prediction.rank_correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    assert found is not None
    assert found.value == pytest.approx(1 - 6 * 4 / (5 * 24))  # 0.8
    reach = 1.959964 * sqrt((1 + 0.32) / 2)
    assert (found.low, found.high) == pytest.approx((tanh(atanh(0.8) - reach), tanh(atanh(0.8) + reach)), abs=1e-6)
    tied = prediction.rank_correlation([1, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert tied is not None
    assert tied.value == pytest.approx(0.9746794)  # scipy.stats.spearmanr


def test_a_perfect_order_of_five_has_an_interval_and_four_have_no_correlation() -> None:
    found = prediction.rank_correlation([1, 2, 3, 4, 5], [5, 6, 7, 8, 9])
    assert found is not None
    assert (found.value, found.high) == (pytest.approx(1), pytest.approx(1))
    assert found.low < 0
    assert prediction.rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
    assert prediction.rank_correlation([1] * 5, [1, 2, 3, 4, 5]) is None


def test_a_run_of_rl_is_set_beside_what_was_known_of_its_own_start(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        loss = [{"probe/nll": 2.0}, {"probe/nll": 1.0 + seed}]
        start = write_run(tmp_path, "sft", seed=seed, steps=loss, scores=sampled([seed, 2], 2))
        after = greedy(float(seed), 1.0)
        rl = write_run(tmp_path, "rl", seed=seed, start=start, steps=[{"reply/truncated": 0.0}], scores=after)
        runs += [start, rl]
    found = prediction.foretold(evidence(*runs))
    assert [(one.arm.name, one.seed, one.start, one.after) for one in found] == [
        ("rl", 0, "sft", 0.5),
        ("rl", 1, "sft", 1.0),
    ]
    assert [one.known for one in found] == [
        {"accuracy": 1.0, "pass@k": 0.5, "held-out loss": 1.0},
        {"accuracy": 1.0, "pass@k": 1.0, "held-out loss": 2.0},
    ]
    panel = prediction.panel(evidence(*runs))
    assert panel is not None
    assert "too few pairs (2 of the 5 it takes)" in panel.body


# Reasoning and answer.


def test_contradictions_of_right_and_wrong_replies_are_told_apart(tmp_path: Path) -> None:
    replies = [
        *[said(1, agreement=Agreement.AGREES)] * 3,
        said(1, agreement=Agreement.DISAGREES),
        said(0, agreement=Agreement.DISAGREES),
        said(0, agreement=Agreement.UNREAD),
        said(0),  # nobody can tell
        said(None, agreement=Agreement.AGREES),
    ]
    [arm] = evidence(write_run(tmp_path, "grpo", scores=[asked(i, one) for i, one in enumerate(replies)])).arms
    right, wrong = reasoning.reasoned(arm)
    assert (right.agrees, right.disagrees, right.unread, right.share) == (3, 1, 0, 0.25)
    assert (wrong.agrees, wrong.disagrees, wrong.unread, wrong.share) == (0, 1, 1, 1.0)


def test_a_probe_is_paid_for_by_the_steps_before_it_also_after_the_last_one(tmp_path: Path) -> None:
    run = write_run(tmp_path, "sft", steps=[{**step, "probe/score": i / 4} for i, step in enumerate(stepped([0] * 2))])
    with (run / "metrics.jsonl").open("a") as file:
        last = Step(step=2, metrics={"probe/score": 0.5}, seconds=9, trained=False)
        file.write(last.model_dump_json() + "\n")
    found = evidence(run)
    assert race.miles(found, found.arms[0].runs[0], "probe/score") == [
        ((0, 0, 0), 0.0),
        ((1, 100, 2), 0.25),
        ((2, 200, 4), 0.5),
    ]


def test_an_arrival_is_read_between_two_measurements() -> None:
    line = [race.Mile((0.0, 0.0, None), 0.2), race.Mile((10.0, 100.0, None), 0.6), race.Mile((20.0, 200.0, None), 0.5)]
    assert race.arrival(line, 0.5) == pytest.approx((7.5, 75.0, None))
    assert race.arrival(line, 0.2) == (0.0, 0.0, None)


# Token probabilities and weights.


def change(by: Literal["start", "tuned"], *gaps: float, text: str = "a") -> TokenChange:
    """A reply whose tokens became likelier by so many nats, from a probability of 1 / e."""
    pieces = tuple(text for _ in gaps)
    after = tuple(gap - 1 for gap in gaps)
    return TokenChange(
        example_id="a", question="?", gold="7", images=(), by=by, text="", score=0.0, pieces=pieces,
        start=(-1.0,) * len(gaps), tuned=after,
    )  # fmt: skip


def measured(root: Path, name: str, of: object, file: str, content: str) -> None:
    folder = root / f"{name}-s0-12345678"
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps({"name": name, **(of if isinstance(of, dict) else {})}))
    (folder / file).write_text(content)


def run_id(run: Path) -> str:
    return str(json.loads((run / "recipe.json").read_text())["id"])


def test_a_token_that_became_likelier_is_counted_with_those_of_its_writer() -> None:
    changes = [change("tuned", 0.0, 0.3, 2.0), change("start", -9.0)]
    assert probabilities.moved(changes, "tuned") == pytest.approx([0.0, 0.3, 2.0])
    counts = probabilities.histogram(probabilities.moved(changes, "tuned"))
    assert [(probabilities.EDGES[i], n) for i, n in enumerate(counts) if n] == [(-0.25, 1), (0.25, 1), (1.75, 1)]
    assert probabilities.histogram(probabilities.moved(changes, "start"))[0] == 1  # what lies beyond is outermost


def test_the_replies_of_an_arm_are_coloured_and_what_models_wrote_is_text(tmp_path: Path) -> None:
    grpo = write_run(tmp_path, "grpo", steps=[{}])
    changes = [change("tuned", 2.0, -0.2, 0.0, text="<b>x</b>"), change("start", 1.5)]
    lines = "".join(f"{one.model_dump_json()}\n" for one in changes) + "{torn"
    measured(tmp_path, "tokens-grpo", {"tokens_of": run_id(grpo)}, TOKENS_FILE, lines)
    panel = probabilities.panel(evidence(grpo))
    assert panel is not None
    found = re.findall(r'<span class="([a-z0-9 ]+)" title="([^"]+)">(.*?)</span>', panel.body.split("coloured")[1])
    assert found[:2] == [
        ("likelier by3", "probability 0.368 before, 2.72 after", "&lt;b&gt;x&lt;/b&gt;"),
        ("rarer by1", "probability 0.368 before, 0.301 after", "&lt;b&gt;x&lt;/b&gt;"),
    ]
    assert "33\u00a0% of the 3 tokens of its own replies" in panel.body
    assert "100\u00a0% of the 1 tokens of the untrained model" in panel.body
    assert "Lines of tokens.jsonl that cannot be read, left out: 1." in panel.body


def test_token_probabilities_of_another_training_are_not_the_arms(tmp_path: Path) -> None:
    grpo = write_run(tmp_path, "grpo", steps=[{}])
    measured(tmp_path, "tokens-sft", {"tokens_of": "other"}, TOKENS_FILE, change("tuned", 1.0).model_dump_json())
    assert probabilities.panel(evidence(grpo)) is None


def test_a_map_keeps_distances_that_a_plane_allows() -> None:
    places = np.array([(0.0, 0.0), (3.0, 0.0), (0.0, 4.0)])
    wanted = np.linalg.norm(places[:, None] - places[None], axis=2)
    found, share = weights.scaled(wanted.tolist())
    assert np.linalg.norm(found[:, None] - found[None], axis=2) == pytest.approx(wanted)
    assert found[0] == pytest.approx([0, 0])
    assert share == pytest.approx(1.0)


def test_a_map_says_how_much_of_the_distances_a_plane_cannot_hold() -> None:
    corners = 1.0 - np.eye(4)  # of a tetrahedron: three directions alike
    assert weights.scaled(corners.tolist())[1] == pytest.approx(2 / 3)


def test_a_map_leads_from_what_an_arm_started_from(tmp_path: Path) -> None:
    sft = write_run(tmp_path, "sft", steps=[{}])
    both = write_run(tmp_path, "sft+grpo", start=sft, steps=[{}])
    found = Distances(
        names=("base", "sft", "sft+grpo"),
        starts=(None, "base", "sft"),
        relative=((0, 3, 5), (3, 0, 4), (5, 4, 0)),
        cosines=((None, None, None), (None, 1, 0.6), (None, 0.6, 1)),
    )
    of = {"distances_of": {"sft": run_id(sft), "sft+grpo": run_id(both)}}
    measured(tmp_path, "distances", of, DISTANCES_FILE, found.model_dump_json())
    panel = weights.panel(evidence(sft, both))
    assert panel is not None
    assert panel.rows == (("sft", "base", 3, None), ("sft+grpo", "base", 5, None), ("sft+grpo", "sft", 4, 0.6))
    paths = dict(re.findall(r'data-name="([^"]+)".*?class="smooth" d="([^"]+)"', panel.body))
    assert paths["sft"].split("L")[1] == paths["sft+grpo"][1:].split("L")[0]
    assert weights.panel(evidence(sft)) is None  # another report, without all of its arms


# All together.


def test_a_report_of_one_untrained_model_has_no_analysis_of_training(tmp_path: Path) -> None:
    arms = evidence(write_run(tmp_path, "base", scores=greedy(1, 0, 1))).arms
    assert [panel.name for panel in panels(arms, None)] == ["length"]


def test_what_a_panel_draws_of_names_is_escaped(racers: dict[str, Path], tmp_path: Path) -> None:
    hostile = write_run(
        tmp_path,
        "x",
        steps=stepped([0.5] * 20),
        scores=greedy(*[1.0] * 40),
        recipe={"name": "<script>alert(1)</script>"},
    )
    found = panels(evidence(*racers.values(), hostile).arms, None)
    assert {"length", "race"} <= {panel.name for panel in found}
    assert not any("<script" in panel.body for panel in found)
    assert any("&lt;script" in panel.body for panel in found)


def test_runs_that_say_they_started_from_each_other_are_each_met_once(tmp_path: Path) -> None:
    first, second, own = (write_run(tmp_path, name) for name in ("first", "second", "own"))
    ids = {run: json.loads((run / "recipe.json").read_text())["id"] for run in (first, second, own)}
    for run, start in ((first, second), (second, first), (own, own)):
        recipe = json.loads((run / "recipe.json").read_text())
        (run / "recipe.json").write_text(json.dumps({**recipe, "start": ids[start]}))
    found = evidence(first, second, own)
    chains = {run.name: [one.name for one in found.chain(run)] for arm in found.arms for run in arm.runs}
    assert chains == {"first": ["first", "second"], "second": ["second", "first"], "own": ["own"]}
    assert not any(found.is_whole(run) for arm in found.arms for run in arm.runs)
