"""The analyses of a report, on runs of a few lines whose numbers are worked out by hand."""

from math import sqrt
from pathlib import Path

import pytest
from small_runs import asked, evidence, grouped, said, write_run

from firsthand.records import Score
from firsthand.report.analyses import length, panels, passes, race, reflection
from firsthand.report.analyses.length import Told
from firsthand.report.analyses.tally import Expressions, tallied
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
