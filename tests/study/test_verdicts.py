"""The questions of a study and their answers, from runs whose scores are known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import judged, write_lines, write_scored

from firsthand.cli.console import Console
from firsthand.config import build
from firsthand.errors import RecipeError
from firsthand.findings import Check, CheckState, Effect, Health, StudyVerdict
from firsthand.records import Score
from firsthand.stats import Covers
from firsthand.study import ArmRuns, Study
from firsthand.study.results import write_results
from firsthand.study.verdicts import verdicts_of

ARMS: dict[str, dict[str, Any]] = {
    "base": {"steps": 0},
    "sft": {"objective": {"kind": "sft"}},
    "grpo": {"objective": {"kind": "grpo"}},
    "sft+grpo": {"start": "sft", "objective": {"kind": "grpo"}},
}
SFT_FIRST = {"ask": "Does SFT before RL help?", "arm": "sft+grpo", "against": "grpo"}
ITEMS = 400


def study(
    questions: Mapping[str, Any] | None = None,
    arms: Mapping[str, Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
) -> Study:
    content = {
        "shared": {"data": {"worlds": ["count"], "number": 4}},
        "arms": arms or ARMS,
        "evaluation": {"data": {"worlds": ["count"], "number": 2}, "protocol": protocol or {}},
        "questions": questions or {},
    }
    return build(Study, content, "study")


def runs(root: Path, seeds: int = 5, items: int = ITEMS, **accuracy: float) -> dict[str, dict[int, ArmRuns]]:
    """Runs whose items are right by chance, alike under one seed for all arms: a better arm has some right beside."""
    found: dict[str, dict[int, ArmRuns]] = {arm: {} for arm in accuracy}
    for seed in range(seeds):
        luck = np.random.default_rng(seed).random(items)
        for arm, share in accuracy.items():
            folder = write_scored(root, arm, [float(x < share) for x in luck], seed=seed)
            found[arm][seed] = ArmRuns(folder, folder)
    return found


def unhealthy(arm: str) -> Health:
    check = Check(
        name="micro-batches",
        state=CheckState.FAILED,
        what="the gradient differs by 12 % when a batch is split",
        remedy="average over tokens, not batches",
    )
    return Health(arm=arm, checks=(check,))


def healthy(*arms: str) -> dict[str, Health]:
    return {arm: Health(arm=arm, checks=()) for arm in arms}


TRAINED = healthy("sft", "grpo", "sft+grpo")


def only(verdicts: Sequence[StudyVerdict]) -> StudyVerdict:
    (verdict,) = verdicts
    return verdict


# ---- the sentence, and what it rests on


def test_an_arm_that_scores_less_hurts_and_the_sentence_has_the_evidence(tmp_path: Path) -> None:
    found = only(verdicts_of(study({"q": SFT_FIRST}), runs(tmp_path, **{"grpo": 0.6, "sft+grpo": 0.5}), TRAINED))
    assert (found.effect, found.items, found.seeds, found.covers) == (Effect.HURTS, ITEMS, 5, Covers.BOTH)
    assert found.difference == pytest.approx(-0.1, abs=0.01)
    assert found.low is not None and found.high is not None and found.low < found.difference < found.high < 0
    assert found.p == found.p_corrected and found.needed_items is None and found.needed_seeds is None
    low, value, high = (f"{100 * number:+.1f}" for number in (found.low, found.difference, found.high))
    assert found.sentence == (
        f"SFT before RL hurts (sft+grpo against grpo, greedy): {value} points ({low} to {high}) over 400 items and 5 "
        "seeds, p < 0.001."
    )
    turned = {**SFT_FIRST, "arm": "grpo", "against": "sft+grpo"}
    helps = only(verdicts_of(study({"q": turned}), runs(tmp_path / "2", **{"grpo": 0.6, "sft+grpo": 0.5}), TRAINED))
    assert helps.effect is Effect.HELPS and helps.difference == -found.difference and helps.low == -found.high


def test_a_difference_that_chance_explains_is_not_resolved_and_says_what_would_resolve_it(tmp_path: Path) -> None:
    luck = np.random.default_rng(0)
    some = {
        arm: {seed: _scored(tmp_path, arm, seed, (luck.random(ITEMS) < share).astype(float)) for seed in range(4)}
        for arm, share in {"grpo": 0.50, "sft+grpo": 0.52}.items()
    }
    found = only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED))
    assert found.effect is Effect.OPEN and found.p is not None and found.p > 0.05
    assert found.needed_items is not None and found.needed_items > ITEMS
    assert found.needed_seeds is not None and found.needed_seeds > 4
    assert found.sentence.startswith("SFT before RL: not resolved (sft+grpo against grpo, greedy): ")
    assert found.sentence.endswith(
        f"; {found.needed_items:,} items or {found.needed_seeds:,} seeds would resolve a difference of this size."
    )


def test_where_seeds_alone_decide_no_number_of_items_is_promised(tmp_path: Path) -> None:
    some = {
        arm: {seed: _scored(tmp_path, arm, seed, np.arange(ITEMS) < right) for seed, right in enumerate(rights)}
        for arm, rights in {"grpo": (200, 200, 200), "sft+grpo": (160, 210, 260)}.items()
    }
    found = only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED))
    assert found.effect is Effect.OPEN and found.needed_items is None and found.needed_seeds is not None
    assert found.sentence.endswith(
        f"; {found.needed_seeds:,} seeds would resolve a difference of this size, no number of items alone would."
    )


def test_one_seed_resolves_nothing_however_large_the_difference_and_says_so(tmp_path: Path) -> None:
    some = runs(tmp_path, seeds=1, **{"grpo": 0.9, "sft+grpo": 0.1})
    found = only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED))
    assert (found.effect, found.covers, found.seeds) == (Effect.OPEN, Covers.QUESTIONS, 1)
    assert found.p is not None and found.p < 1e-6 and found.needed_items is found.needed_seeds is None
    assert "over 400 items and 1 seed" in found.sentence
    assert "one seed cannot tell a method from the luck of one training" in found.sentence
    assert found.sentence.endswith("(firsthand study --seeds 0 1 2).")


def test_a_few_items_are_too_few(tmp_path: Path) -> None:
    found = only(verdicts_of(study({"q": SFT_FIRST}), runs(tmp_path, items=19, **{"grpo": 1, "sft+grpo": 0}), TRAINED))
    assert found.effect is Effect.OPEN and "fewer than 20 items are too few" in found.sentence


def test_arms_without_an_item_in_common_have_no_difference(tmp_path: Path) -> None:
    some = runs(tmp_path, **{"grpo": 0.5})
    some["sft+grpo"] = {
        seed: ArmRuns(folder, folder)
        for seed in range(5)
        for folder in [write_scored(tmp_path, "sft+grpo", [1.0] * 30, seed=seed, first=ITEMS)]
    }
    found = only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED))
    assert (found.effect, found.difference, found.p_corrected, found.items) == (Effect.OPEN, None, None, 0)
    assert found.sentence.endswith("no item was measured in all of their runs.")


def test_an_item_that_one_run_did_not_measure_is_left_out(tmp_path: Path) -> None:
    some = runs(tmp_path, seeds=3, items=30, **{"grpo": 0.5})
    gaps = [[1.0, None, *[0.0] * 28], [1.0] * 30, [1.0] * 30]
    some["sft+grpo"] = {seed: _scored(tmp_path, "sft+grpo", seed, scores) for seed, scores in enumerate(gaps)}
    assert only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED)).items == 29


# ---- health


@pytest.mark.parametrize("sick", ["grpo", "sft+grpo", "sft"])
def test_an_unhealthy_arm_or_one_that_it_starts_from_carries_no_verdict(tmp_path: Path, sick: str) -> None:
    health = {**TRAINED, sick: unhealthy(sick)}
    found = only(verdicts_of(study({"q": SFT_FIRST}), runs(tmp_path, **{"grpo": 0.6, "sft+grpo": 0.5}), health))
    assert (found.effect, found.unhealthy) == (Effect.UNHEALTHY, (sick,))
    assert found.sentence.startswith("SFT before RL: baseline not healthy (sft+grpo against grpo, greedy): -")
    assert found.sentence.endswith(
        f"; {sick} has failed micro-batches: the gradient differs by 12 % when a batch is split (try: average over "
        "tokens, not batches)."
    )
    assert found.difference is not None and found.p is not None


def test_an_unhealthy_arm_elsewhere_does_no_harm(tmp_path: Path) -> None:
    question = {"ask": "Does RL help?", "arm": "grpo", "against": "base"}
    health = {**TRAINED, "sft": unhealthy("sft")}
    assert only(verdicts_of(study({"q": question}), runs(tmp_path, grpo=0.6, base=0.5), health)).effect is Effect.HELPS


def test_health_that_nobody_measured_is_said_of_trained_arms_alone(tmp_path: Path) -> None:
    question = {"ask": "Does RL help?", "arm": "grpo", "against": "base"}
    found = only(verdicts_of(study({"q": question}), runs(tmp_path, grpo=0.6, base=0.5)))
    assert (found.effect, found.unmeasured) == (Effect.HELPS, ("grpo",))
    assert found.sentence.endswith("; health of grpo not measured.")


@pytest.mark.parametrize(
    ("ask", "resolved", "open_"),
    [
        ("Does SFT help before RL?", "SFT helps (", "SFT: not resolved ("),
        ("Does one stage, SRFT, help, against two?", "one stage, SRFT helps (", "one stage, SRFT: not resolved ("),
        ("Do demonstrations help?", "demonstrations help (", "demonstrations: not resolved ("),
        ("Is it worth it?", "q helps (", "q: not resolved ("),
    ],
)
def test_a_verdict_begins_with_the_words_of_its_question(tmp_path: Path, ask: str, resolved: str, open_: str) -> None:
    question = {"q": {"ask": ask, "arm": "grpo", "against": "base"}}
    better, same = (
        only(verdicts_of(study(question), runs(tmp_path / str(rate), grpo=rate, base=0.5), TRAINED))
        for rate in (0.6, 0.5)
    )
    assert better.sentence.startswith(resolved) and same.sentence.startswith(open_)


# ---- several questions


def test_questions_are_corrected_for_their_number(tmp_path: Path) -> None:
    some = runs(tmp_path, base=0.5, sft=0.5, grpo=0.56, **{"sft+grpo": 0.5})
    one = {"rl": {"ask": "Does RL help?", "arm": "grpo", "against": "base"}}
    more = {**one, "sft": {"arm": "sft", "against": "base"}, "both": {"arm": "sft+grpo", "against": "base"}}
    alone, (among, *_) = only(verdicts_of(study(one), some, TRAINED)), verdicts_of(study(more), some, TRAINED)
    assert alone.p == among.p == alone.p_corrected
    assert among.p is not None and among.p_corrected == pytest.approx(3 * among.p)
    assert "after correction for 3 questions" in among.sentence and "correction" not in alone.sentence


def test_what_one_question_would_resolve_many_do_not(tmp_path: Path) -> None:
    some = runs(tmp_path, base=0.5, sft=0.5, grpo=0.5, **{"sft+grpo": 0.5})
    better = np.arange(ITEMS) < 212  # by 12 items under each seed
    some["base"] = {seed: _scored(tmp_path / "b", "base", seed, np.arange(ITEMS) < 200) for seed in range(5)}
    some["grpo"] = {seed: _scored(tmp_path / "g", "grpo", seed, np.roll(better, seed)) for seed in range(5)}
    one = {"rl": {"ask": "Does RL help?", "arm": "grpo", "against": "base"}}
    assert only(verdicts_of(study(one), some, TRAINED)).effect is Effect.HELPS
    others = {f"q{i}": {"arm": ["sft", "sft+grpo"][i % 2], "against": "base"} for i in range(300)}
    among = verdicts_of(study({**one, **others}), some, TRAINED)[0]
    assert among.p is not None and among.p < 0.05 < (among.p_corrected or 0) and among.effect is Effect.OPEN
    assert among.needed_items is not None and among.needed_items > ITEMS


def test_the_main_effect_of_a_factorial_is_the_mean_over_the_other_factor(tmp_path: Path) -> None:
    arms = {name: {} for name in ("a", "b", "a+f", "b+f")}
    effect = {"ask": "Does b help?", "arm": ["b", "b+f"], "against": ["a", "a+f"]}
    some = runs(tmp_path, a=0.4, b=0.5, **{"a+f": 0.6, "b+f": 0.8})
    found = only(verdicts_of(study({"q": effect}, arms), some, healthy(*arms)))
    assert found.difference == pytest.approx(0.15, abs=0.02) and found.effect is Effect.HELPS
    assert "(b and b+f against a and a+f, greedy)" in found.sentence


def test_samples_are_their_items_mean(tmp_path: Path) -> None:
    def sampled(arm: str, right: int) -> ArmRuns:
        folder = tmp_path / arm
        folder.mkdir()
        samples = tuple(judged("x", float(k < right)) for k in range(4))
        write_lines(
            folder / "scores.jsonl",
            [
                Score(example_id=f"{i}", question="?", gold="7", images=(), greedy=judged("x", 0.0), samples=samples)
                for i in range(30)
            ],
        )
        return ArmRuns(folder, folder)

    some = {"grpo": {0: sampled("grpo", 1)}, "sft+grpo": {0: sampled("sft+grpo", 3)}}
    found = only(verdicts_of(study({"q": {**SFT_FIRST, "measure": "sampled"}}), some, TRAINED))
    assert found.difference == pytest.approx(0.5) and found.measure == "sampled" and found.items == 30
    assert only(verdicts_of(study({"q": SFT_FIRST}), some, TRAINED)).difference == 0


# ---- what a study asks


def test_without_questions_each_trained_arm_is_held_against_the_untrained_one_and_a_start_against_none() -> None:
    asked = study().asked
    assert {name: (question.arm, question.against) for name, question in asked.items()} == {
        "sft-against-base": (("sft",), ("base",)),
        "grpo-against-base": (("grpo",), ("base",)),
        "sft-before-grpo": (("sft+grpo",), ("grpo",)),
        "sft+grpo-against-base": (("sft+grpo",), ("base",)),
    }
    assert [question.words for question in asked.values()][2] == "Does sft before grpo help?"
    assert {question.measure for question in asked.values()} == {"greedy"}
    assert {q.measure for q in study(protocol={"greedy": False}).asked.values()} == {"sampled"}


def test_another_objective_is_not_the_same_training_without_its_start() -> None:
    arms = {**ARMS, "sft+grpo": {"start": "sft", "objective": {"kind": "grpo", "group_size": 4}}}
    assert "sft-before-grpo" not in study(arms=arms).asked
    assert study(arms={"a": {}, "b": {}}).asked == {}


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"arm": "sft+grop", "against": "grpo"}, r"questions\.q: 'sft\+grop' is no arm .*; did you mean 'sft\+grpo'\?"),
        ({"arm": "sft", "against": ["grpo", "x"]}, r"questions\.q: 'x' is no arm of the study; known: base, grpo, sft"),
        ({"arm": "sft", "against": "sft"}, r"questions\.q: expected other arms in `against` than in `arm`, got sft tw"),
        ({"arm": [], "against": "sft"}, r"questions\.q\.arm"),
        ({"arm": "sft", "against": "base", "measure": "sampled"}, r"questions\.q: no samples are drawn; set protocol"),
        ({"arm": "sft", "agains": "base"}, r"questions\.q\.agains: unknown key; did you mean 'against'\?"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_what_to_do(question: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        study({"q": question}, protocol={"samples": 0})


def test_greedy_replies_that_are_not_drawn_are_not_compared() -> None:
    with pytest.raises(RecipeError, match=r"questions\.q: greedy replies are not drawn; set protocol\.greedy to true"):
        study({"q": {**SFT_FIRST, "measure": "greedy"}}, protocol={"greedy": False})


# ---- where they are written


def test_results_hold_the_verdicts_and_the_terminal_says_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verdicts_of(study({"q": SFT_FIRST}), runs(tmp_path, **{"grpo": 0.6, "sft+grpo": 0.5}), TRAINED)
    write_results(tmp_path, {}, {}, verdicts=found)
    written = json.loads((tmp_path / "results.json").read_text())
    assert [StudyVerdict.model_validate(verdict) for verdict in written["verdicts"]] == found
    Console().verdicts(tmp_path / "results.json")
    assert capsys.readouterr().out == f"{found[0].sentence}\n"
    write_results(tmp_path, {}, {}, verdicts=[])
    assert json.loads((tmp_path / "results.json").read_text()) == {"arms": {}}
    Console().verdicts(tmp_path / "results.json")
    assert capsys.readouterr().out == ""


def _scored(root: Path, arm: str, seed: int, scores: Any) -> ArmRuns:
    folder = write_scored(root, arm, [None if score is None else float(score) for score in scores], seed=seed)
    return ArmRuns(folder, folder)
