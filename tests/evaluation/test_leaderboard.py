"""The leaderboard's scorers against VLMEvalKit's own verdicts, and the judge that they ask.

tests/data/vlmevalkit/<set>.jsonl holds made-up replies with what VLMEvalKit's functions decided on them, and
<set>.summary.json what its reports said; benchmarks/vlmevalkit_oracle.py wrote both. differences.json counts, by class,
the replies on which we differ on purpose.
"""

import base64
import csv
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from json_server import serving
from PIL import Image

from firsthand.evaluation.benchmarks.aggregate import ReplyMark, aggregate
from firsthand.evaluation.benchmarks.files import locate
from firsthand.evaluation.benchmarks.items import load
from firsthand.evaluation.benchmarks.judged import leaderboard_tables
from firsthand.evaluation.benchmarks.spec import find
from firsthand.evaluation.leaderboard import mathvision, prompts
from firsthand.evaluation.leaderboard.judging import (
    NO_JUDGE,
    LeaderboardJudge,
    LeaderboardScorer,
    NotScored,
    Pair,
    Scorers,
    open_scorers,
    score_replies,
)
from firsthand.evaluation.leaderboard.matching import infer_option
from firsthand.evaluation.leaderboard.scorer import QUIRKS, JudgeQuestion, ReplyScore, ScorerRun, TextCells
from firsthand.records import Choice, Example
from firsthand.teacher import AnswerLog, Endpoint, InFlight
from firsthand.workers.pool import MATHVISION, WorkerPool

DATA = Path(__file__).parents[1] / "fixtures" / "vlmevalkit"
SETS: tuple[LeaderboardScorer, ...] = get_args(LeaderboardScorer)
TRIES = 5
"""How often a call that fails is made, as VLMEvalKit does it: for every question of ours."""


class Outcome(NamedTuple):
    """How one item went with us: its mark, None where the judge gave nothing, and what was asked."""

    mark: ReplyScore | None
    asked: tuple[JudgeQuestion, ...]

    @property
    def right(self) -> bool | None:
        """The verdict."""
        return None if self.mark is None else self.mark.right


@cache
def items(name: LeaderboardScorer) -> list[dict[str, Any]]:
    """The items of a set; cells without text are absent, as in a benchmark that was loaded."""
    found = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    for item in found:
        item["cells"] = {column: text for column, text in item["cells"].items() if text}
    return found


def summary(name: LeaderboardScorer) -> Any:
    """What VLMEvalKit's report says of a set."""
    return json.loads((DATA / f"{name}.summary.json").read_text(encoding="utf-8"))


class Script:
    """Says what an item's judge says. The last entry is repeated; an empty one is a failed call."""

    def __init__(self, script: Mapping[str, list[str | None]]) -> None:
        self.script, self.calls = script, Counter[str]()

    def says(self, question: JudgeQuestion) -> str | None:
        """The answer to a question, None when every call fails."""
        kind = next(iter(self.script)) if len(self.script) == 1 else ("score" if is_verdict(question) else "extract")
        for _ in range(TRIES):
            said = self.script[kind][min(self.calls[kind], len(self.script[kind]) - 1)]
            self.calls[kind] += 1
            if said:
                return said.strip()
        return None


def is_verdict(question: JudgeQuestion) -> bool:
    """Whether MathVerse's second judge is asked."""
    return question.text.startswith(prompts.CONSISTENT[:40])


def drive(run: ScorerRun, says: Callable[[JudgeQuestion], str | None]) -> Outcome:
    """Lead a scorer to its end, or to the first question that has no answer."""
    asked: list[JudgeQuestion] = []
    try:
        question = next(run)
        while True:
            asked.append(question)
            said = says(question)
            if said is None:
                return Outcome(None, tuple(asked))
            question = run.send(said)
    except StopIteration as end:
        return Outcome(end.value, tuple(asked))


@pytest.fixture(scope="module")
def scorers() -> Iterator[Scorers]:
    with open_scorers() as started:
        yield started


@pytest.fixture(scope="module")
def outcomes(scorers: Scorers) -> dict[LeaderboardScorer, list[Outcome]]:
    """Ours, of every item."""
    return {
        name: [drive(scorers[name](i["cells"], i["prediction"]), Script(i["judge"]).says) for i in items(name)]
        for name in SETS
    }


# ---- item by item

DIFFERENCES: dict[str, Callable[[dict[str, Any], Outcome], bool]] = {
    # A judge that gives nothing: VLMEvalKit counts the reply as wrong or guesses, we leave it without a mark.
    "judge gives nothing": lambda item, ours: ours.mark is None,
    # VLMEvalKit ends its evaluation with an exception.
    "their code raises": lambda item, ours: "error" in item["theirs"],
    # WeMath's guess is a draw: ours is another one.
    "another guess": lambda item, ours: (
        "random" in item["theirs"] and ours.mark is not None and ours.mark.by == "chance"
    ),
    # VLMEvalKit's three attempts count failed calls, too, and then it guesses.
    "failed calls are repeated": lambda item, ours: (
        "random" in item["theirs"] and ours.mark is not None and ours.mark.by == "judge"
    ),
}
"""Why an item may differ."""


def why_different(item: dict[str, Any], ours: Outcome) -> str:
    """The class of a difference; it must be exactly one."""
    classes = [name for name, holds in DIFFERENCES.items() if holds(item, ours)]
    if "judge gives nothing" in classes:  # that is why, whatever VLMEvalKit did then
        return "judge gives nothing"
    assert len(classes) == 1, f"{item['index']} {item['case']}: {classes} explain {ours} against {item['theirs']}"
    return classes[0]


@pytest.mark.parametrize("name", SETS)
def test_every_item_gets_vlmevalkits_verdict_or_differs_for_a_reason_that_is_named_and_counted(
    name: LeaderboardScorer, outcomes: dict[LeaderboardScorer, list[Outcome]]
) -> None:
    pairs = list(zip(items(name), outcomes[name], strict=True))
    differing = [(item, ours) for item, ours in pairs if ours.right != item["theirs"]["right"]]
    found = {
        "items": len(pairs),
        "agreed": len(pairs) - len(differing),
        "different": dict(sorted(Counter(why_different(item, ours) for item, ours in differing).items())),
    }
    assert found == json.loads((DATA / "differences.json").read_text())[name], [
        (item["index"], item["case"], why_different(item, ours)) for item, ours in differing
    ]


def test_the_table_of_differences_has_the_sets_and_the_classes_that_there_are() -> None:
    table = json.loads((DATA / "differences.json").read_text())
    assert set(table) == set(SETS)
    assert {name for row in table.values() for name in row["different"]} == set(DIFFERENCES)


@pytest.mark.parametrize("name", SETS)
def test_where_both_agree_the_judge_was_asked_as_often(name: LeaderboardScorer, scorers: Scorers) -> None:
    for item in items(name):
        script = Script(item["judge"])
        ours = drive(scorers[name](item["cells"], item["prediction"]), script.says)
        never = ours.mark is not None and ours.mark.quirk == "never_right"  # nothing depends on the judge's answer
        if ours.right == item["theirs"]["right"] and not never:
            assert script.calls.total() == item["theirs"]["calls"], (item["index"], item["case"])


@pytest.mark.parametrize("name", SETS)
def test_where_both_agree_the_same_answer_was_extracted(
    name: LeaderboardScorer, outcomes: dict[LeaderboardScorer, list[Outcome]]
) -> None:
    for item, ours in zip(items(name), outcomes[name], strict=True):
        theirs = item["theirs"]
        if ours.mark is None or ours.right != theirs["right"] or "error" in theirs:
            continue
        if ours.mark.by == "chance" or ours.mark.quirk == "never_right":  # nothing was extracted by rule or judge
            continue
        assert same_text(ours.mark.extracted, theirs["extracted"]), (item["index"], item["case"], ours, theirs)


def same_text(ours: str | None, theirs: str | None) -> bool:
    """Equal but for what a spreadsheet does: no spaces at the ends, numbers as numbers, `null` and the like empty."""
    if ours is None or theirs is None or ours.strip() in ("", "nan", "NaN", "null", "None"):
        return (theirs or "").strip() in ("", "nan")
    try:
        return float(ours) == pytest.approx(float(theirs), rel=1e-12)
    except ValueError:
        return ours.strip() == theirs.strip()


@pytest.mark.parametrize(("reply", "letter"), [("B is right here", "B"), ("B is right here now", None)])
def test_a_letter_counts_among_the_last_four_words(reply: str, letter: str | None) -> None:
    assert infer_option(reply, {"A": "1", "B": "2"}) == letter


# ---- the numbers of a set, from their marks


def white() -> str:
    """A picture as a table's cell."""
    Image.new("RGB", (28, 28), "white").save(buffer := io.BytesIO(), "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


WHITE = white()


def examples(name: LeaderboardScorer, folder: Path) -> list[Example]:
    """The items of a set as a benchmark's rows, loaded from a table like VLMEvalKit's."""
    (benchmark,) = find(name)[1]
    columns = dict.fromkeys(column for item in items(name) for column in item["cells"])
    with (folder / f"{benchmark.files[0]}.tsv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*columns, "image"], delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows({**item["cells"], "image": WHITE} for item in items(name))
    return load(benchmark, locate(benchmark, folder))


def aggregated(name: LeaderboardScorer, folder: Path) -> dict[str, Any]:
    """Our numbers of VLMEvalKit's marks; rows at which its code raises are in neither."""
    (benchmark,) = find(name)[1]
    pairs = zip(items(name), examples(name, folder), strict=True)
    return aggregate(
        benchmark, [ReplyMark(e, 0, float(i["theirs"]["right"])) for i, e in pairs if "error" not in i["theirs"]]
    )


@pytest.mark.parametrize(
    ("name", "column", "label"),
    [("mathvista", "task", "Task&Skill"), ("mathvision", "category", "Subject"), ("logicvista", "skill", "Task&Skill")],
)
def test_accuracies_are_those_of_vlmevalkits_report(
    name: LeaderboardScorer, column: str, label: str, tmp_path: Path
) -> None:
    ours = aggregated(name, tmp_path)
    theirs = {row[label]: row for row in summary(name)["report"]}
    overall = theirs.pop("Overall")
    assert (100 * ours["value"], ours["replies"]) == (pytest.approx(overall["acc"]), overall["tot"])
    groups = ours["groups"][column]
    assert len(groups) >= 4
    for text, group in groups.items():
        labels = [skill for skill in theirs if skill in text] if text.startswith("[") else [text]
        for skill in labels:  # a row of two skills is in a group of its own with us, and counts in both with them
            theirs[skill]["hit"] -= round(group["value"] * group["n"])
            theirs[skill]["tot"] -= group["n"]
    left = {text: (row["hit"], row["tot"]) for text, row in theirs.items() if text not in SKILLS}
    assert set(left.values()) == {(0, 0)}, left


SKILLS = ("geometry reasoning", "algebraic reasoning", "statistical reasoning", "numeric commonsense")
"""MathVista's, which its report gives beside the tasks."""


def test_mathverses_accuracies_are_those_of_vlmevalkits_report(tmp_path: Path) -> None:
    ours = aggregated("mathverse", tmp_path)
    (theirs,) = summary("mathverse")["report"]
    assert 100 * ours["value"] == pytest.approx(theirs["Overall"])
    subjects = ("Plane Geometry", "Solid Geometry", "Functions")
    assert {name: pytest.approx(100 * row["value"]) for name, row in ours["groups"]["subject"].items()} == {
        name: theirs[name] for name in subjects
    }


def test_dynamaths_average_and_worst_case_are_those_of_vlmevalkits_report(tmp_path: Path) -> None:
    ours = aggregated("dynamath", tmp_path)
    average, worst = summary("dynamath")["report"]
    assert (average["Setting"], worst["Setting"]) == ("Average", "Worst Case")
    assert ours["average"]["value"] == pytest.approx(average["Overall"])
    assert ours["value"] == pytest.approx(worst["Overall"])
    for column, prefix in (("subject", "Subject-"), ("knowledge_level", "Level-")):
        assert {f"{prefix}{text}": pytest.approx(row["value"]) for text, row in ours["groups"][column].items()} == {
            key: value for key, value in average.items() if key.startswith(prefix)
        }


def test_wemaths_outcomes_are_those_of_vlmevalkits_report(tmp_path: Path) -> None:
    ours = aggregated("wemath", tmp_path)
    (theirs,) = summary("wemath")["report"]
    counted = {
        rule: {name: int(theirs[f"{their_name(name)} ({rule.title()})"].split("(")[1][:-1]) for name in OUTCOMES}
        for rule in ("strict", "loose")
    }
    assert ours["outcomes"] == counted
    for rule, key in (("strict", ours["value"]), ("loose", ours["loose"]["value"])):
        assert key == pytest.approx(wemath_score(counted[rule]))
        assert 100 * wemath_score(counted[rule], of=525) == pytest.approx(
            float(theirs[f"Score ({rule.title()})"][:-1]), abs=0.005
        )  # theirs is of 525 questions, however many there are
    assert f"{100 * ours['groups']['key']['3steps_multi']['value']:.2f}%" == theirs["Three-step(S3)"]


OUTCOMES = ("complete mastery", "inadequate generalization", "insufficient knowledge", "rote memorization")


def their_name(outcome: str) -> str:
    """An outcome as the report has it."""
    return outcome.title().replace(" ", "")


def wemath_score(counts: Mapping[str, int], of: int | None = None) -> float:
    """The published formula (arXiv:2407.01284): (N - IG / 2 - RM - IK) / N."""
    whole = of or sum(counts.values())
    generalised, rote, knowledge = (
        counts.get(name, 0) for name in ("inadequate generalization", "rote memorization", "insufficient knowledge")
    )
    return (whole - 0.5 * generalised - rote - knowledge) / whole


def test_wemaths_score_of_525_questions_is_the_formulas() -> None:
    (benchmark,) = find("wemath")[1]
    draw = random.Random(7)
    rows = []
    for question in range(525):
        steps = 2 + question % 2
        for key in (*(f"{steps}steps_{i + 1}" for i in range(steps)), f"{steps}steps_multi"):
            meta = {"ID": str(question // 2), "key": key}  # IDs are numbered anew for two steps and for three
            example = Example(id=f"{question}/{key}", question="?", images=(), answer=Choice(letter="A"), meta=meta)
            rows.append(ReplyMark(example, 0, float(draw.random() < 0.7)))
    ours = aggregate(benchmark, rows)
    for rule, value in (("strict", ours["value"]), ("loose", ours["loose"]["value"])):
        assert sum(ours["outcomes"][rule].values()) == 525
        assert len(ours["outcomes"][rule]) == 4
        assert value == pytest.approx(wemath_score(ours["outcomes"][rule], of=525))
    assert ours["value"] < ours["loose"]["value"]


# ---- a judge


@contextmanager
def judging(says: Callable[[dict[str, Any]], object]) -> Iterator[tuple[LeaderboardJudge, list[dict[str, Any]]]]:
    """A judge that says what `says` makes of a request's body, and the bodies; a number is a status of trouble."""

    def answer(body: dict[str, Any]) -> object:
        said = says(body)
        choice = {"message": {"content": said}, "finish_reason": "stop"} if isinstance(said, str) else said
        return said if isinstance(said, int) else {"choices": [choice], "model": "m"}

    with serving(answer) as (url, bodies):
        endpoint = Endpoint(base_url=url, model="m", attempts=1, in_flight=InFlight(start=1, max=1))
        yield LeaderboardJudge(endpoint=endpoint), bodies


CELLS = {"question_type": "free_form", "answer_type": "integer", "answer": "14", "question": "Question: how many?"}
VISTA: TextCells = CELLS


def number(body: dict[str, Any]) -> object:
    """What a reply `say X` wants the judge to say: X, or one of the troubles."""
    what: str = body["messages"][-1]["content"].rpartition("say ")[2].split()[0]
    troubles: dict[str, object] = {
        "cut": {"message": {"content": "14"}, "finish_reason": "length"},
        "cut-to-nothing": {"message": {"content": ""}, "finish_reason": "length"},
        "empty": {"message": {"content": ""}, "finish_reason": "stop"},
        "refused": {"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"},
        "filtered": {"message": {"content": ""}, "finish_reason": "content_filter"},
        "500": 500,
    }
    return troubles.get(what, what)


def test_what_a_judge_has_said_is_kept_and_not_asked_again(log: AnswerLog) -> None:
    pairs = [Pair(VISTA, f"I would say {said} here") for said in ("14", "15", "14")] + [Pair(VISTA, "14")]
    with judging(number) as (judge, asked):
        first, again = (score_replies("mathvista", pairs, judge, log) for _ in range(2))
    assert [(m.right, m.by, m.extracted) for m in first if isinstance(m, ReplyScore)] == [
        (True, "judge", "14"),
        (False, "judge", "15"),
        (True, "judge", "14"),
        (True, "rules", "14"),
    ]
    assert again == first
    assert len(asked) == 2  # one question for the two replies that are the same, and none for the bare number


def test_a_cut_answer_counts_and_one_that_was_not_given_leaves_no_mark(log: AnswerLog) -> None:
    troubles = ("cut", "cut-to-nothing", "empty", "refused", "filtered", "500")
    with judging(number) as (judge, _):
        found = score_replies("mathvista", [Pair(VISTA, f"I say {what} now") for what in troubles], judge, log)
    assert found[0] == ReplyScore(right=True, extracted="14", by="judge")
    whys = [mark.why for mark in found[1:] if isinstance(mark, NotScored)]
    assert [why.partition(",")[0] for why in whys] == [
        f"the judge gave no answer: {reason}" for reason in ("truncated", "empty", "refused", "filtered", "unanswered")
    ]


def test_without_a_judge_what_rules_decide_is_marked_and_the_rest_is_not(log: AnswerLog) -> None:
    pairs = [Pair(VISTA, "14"), Pair(VISTA, "It is 14.")]
    for found in (score_replies("mathvista", pairs, None, None), score_replies("mathvista", pairs, None, log)):
        assert found == [ReplyScore(right=True, extracted="14"), NotScored(why=NO_JUDGE)]


LOGIC: TextCells = {"question": "Which two?", "answer": "A, C"}


def test_questions_that_are_repeated_grow_hotter_and_are_each_asked_anew(log: AnswerLog) -> None:
    said = iter(("A and C", "a, c", "I cannot tell", "(AC)", "CA"))
    with judging(lambda body: next(said)) as (judge, asked):
        (mark,) = score_replies("logicvista", [Pair(LOGIC, "C as well as A")], judge, log)
    assert mark == ReplyScore(right=True, extracted="CA", by="judge")
    assert [body["temperature"] for body in asked] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert len({body["messages"][0]["content"] for body in asked}) == 1
    assert [body.get("seed") for body in asked] == [None, 1, 2, 3, 4]


def test_another_attempt_has_another_key_even_at_the_same_temperature() -> None:
    judge = LeaderboardJudge(endpoint=Endpoint(base_url="http://a/v1", model="m"))
    keys = [judge.request(JudgeQuestion("Which?", attempt)).key for attempt in range(3)]
    assert len(set(keys)) == 3


def test_a_judges_identity_depends_on_who_is_asked_and_not_on_where() -> None:
    ask = Endpoint(base_url="http://a/v1", model="m")
    same = [ask.model_copy(update=change) for change in ({}, {"base_url": "http://b/v1"}, {"timeout_s": 9.0})]
    others = [ask.model_copy(update=change) for change in ({"model": "n"}, {"extra": {"top_p": 0.5}})]
    assert len({LeaderboardJudge(endpoint=e).identity for e in same}) == 1
    assert len({LeaderboardJudge(endpoint=e).identity for e in (ask, *others)}) == 3


def test_rounds_keep_marks_in_their_order_whoever_needs_more_of_them(log: AnswerLog) -> None:
    def says(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        return "B" if "late" in text and body.get("seed") == 2 else "A" if "late" not in text else "no letter"

    pairs = [Pair({"question": "?", "answer": "A"}, reply) for reply in ("late", "early", "late, too")]
    with judging(says) as (judge, _):
        found = score_replies("logicvista", pairs, judge, log)
    assert [mark.extracted for mark in found if isinstance(mark, ReplyScore)] == ["B", "A", "B"]


# ---- prompts

HOSTILE = "the {question} of {reply}, {gold}, {answer}, {options}, {form}: \\boxed{{14}} {0} {} {unknown}"
"""A reply whose braces must stay text."""
OPTIONS = {"A": "first", "B": "second"}
ASKING: dict[LeaderboardScorer, TextCells] = {
    "mathvista": CELLS,
    "mathvision": CELLS | {"answer": "2\\sqrt{3}"},
    "mathverse": {"question_for_eval": "Q: how many?", "answer": "14"},
    "dynamath": {"answer_type": "float", "answer": "14.0", "question": "How many?"},
    "wemath": {**OPTIONS, "answer": "A", "question": "Question: which?"},
    "logicvista": {"question": "Question: which?", "answer": "A"},
}


@pytest.mark.parametrize("name", SETS)
def test_a_prompt_holds_the_reply_and_the_question_once_and_fills_no_braces_of_a_reply(
    name: LeaderboardScorer, scorers: Scorers
) -> None:
    reply = f"{{MARKED}} {HOSTILE}"
    asked = drive(scorers[name](ASKING[name], reply), lambda question: HOSTILE).asked
    seen = reply.replace("\\", "") if name == "dynamath" else reply  # which drops backslashes before anything else
    assert asked[0].text.count(seen) == asked[0].text.count("MARKED") == 1
    question = ASKING[name].get("question") or ASKING[name]["question_for_eval"]
    holds_question = [] if name == "dynamath" else asked[1:] if name == "mathverse" else asked
    assert bool(holds_question) == (name != "dynamath")
    for prompt in holds_question:
        assert prompt.text.count(question) == 1
    if name == "mathverse":
        assert asked[1].text.count(HOSTILE) == 1 and "MARKED" not in asked[1].text
    if name == "wemath":
        assert asked[0].text.count("\nA. first\nB. second") == 1
    for prompt in asked:  # but for the reply's own, no hole is left
        rest = prompt.text.replace(HOSTILE, "").replace(HOSTILE.replace("\\", ""), "")
        assert not any(f"{{{hole}}}" in rest for hole in ("question", "reply", "gold", "answer", "options", "form"))


def test_a_comparison_without_an_end_is_not_in_time_and_leaves_no_process_behind() -> None:
    small = WorkerPool(1, 1.0, (str(MATHVISION),))
    try:
        assert small.ask({"answer": "14.0", "gold": "14"})["equal"]
        before = small.pids
        start = time.monotonic()
        outcome = drive(mathvision.score_reply(CELLS, "9**9**9**9", ask=small.ask), lambda question: "9**9**9**9")
        assert outcome.mark == ReplyScore(right=False, extracted="9**9**9**9", by="judge", quirk="not_in_time")
        assert time.monotonic() - start < 10
        assert small.ask({"answer": "14.0", "gold": "14"})["equal"]  # the pool goes on
        seen = {*before, *small.pids}
    finally:
        small.close()
    assert len(seen) >= 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in seen)


# ---- quirks


def test_every_quirk_is_produced_by_an_item_and_every_quirk_produced_has_its_words(
    outcomes: dict[LeaderboardScorer, list[Outcome]],
) -> None:
    produced = {ours.mark.quirk for found in outcomes.values() for ours in found if ours.mark is not None} - {""}
    # `not_in_time` takes a comparison without an end: a test of its own has it
    assert produced | {"not_in_time"} == set(QUIRKS)


ODD: list[tuple[LeaderboardScorer, dict[str, str], str, str | None, bool, str]] = [
    ("mathvista", {**CELLS, "answer_type": "list", "answer": "[1, 2]"}, "[1, 2]", None, False, "never_right"),
    ("mathvista", {**CELLS, "answer": "0"}, "0", "0", True, "zero_is_asked"),
    ("mathvision", CELLS, "a", None, True, "name_a"),
    ("dynamath", {"answer_type": "text", "answer": "increasing"}, '{"short answer": ""}', None, True, "empty_is_right"),
    ("dynamath", {"answer_type": "text", "answer": "increasing"}, "in", None, True, "part_is_right"),
    ("dynamath", {"answer_type": "multiple choice", "answer": "E"}, "three", None, True, "letter_anywhere"),
    ("dynamath", {"answer_type": "multiple choice", "answer": "B"}, "Both A", "hm", True, "first_characters"),
    ("wemath", {"A": "1", "B": "None", "answer": "B", "question": "?"}, "A", None, False, "option_is_missing"),
    ("wemath", {"A": "1", "B": "2", "answer": "B", "question": "?"}, "hm", "hm", False, "chance"),
    ("mathverse", {"answer": "B", "question_for_eval": "?"}, "C", "yes", False, "unread_verdict"),
    ("logicvista", {"answer": "B", "question": "?"}, "C", "C, B", False, "unread_verdict"),
]


@pytest.mark.parametrize(("name", "cells", "reply", "said", "right", "quirk"), ODD, ids=[case[-1] for case in ODD])
def test_a_quirk_stands_with_the_score_that_it_decides(
    name: LeaderboardScorer, cells: TextCells, reply: str, said: str | None, right: bool, quirk: str, scorers: Scorers
) -> None:
    mark = drive(scorers[name](cells, reply), lambda question: said).mark
    assert mark is not None
    assert (mark.right, mark.quirk) == (right, quirk)


def test_every_quirk_has_a_case_of_its_own() -> None:
    assert {case[-1] for case in ODD} | {"not_in_time"} == set(QUIRKS)


def test_scores_of_an_earlier_version_are_read_under_the_new_name_of_a_quirk(tmp_path: Path) -> None:
    old = {"right": True, "extracted": "B", "by": "chance", "oddity": "chance"}
    assert ReplyScore.model_validate(old).quirk == "chance"
    board = {"accuracy": 0.5, "oddities": {"chance": {"right": 1, "wrong": 0}}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"leaderboard": {"rules": board}}))
    assert leaderboard_tables(tmp_path)["rules"]["quirks"] == board["oddities"]


def test_wemaths_guess_is_the_same_whenever_it_is_made_and_fair_over_questions(scorers: Scorers) -> None:
    def guess(question: int) -> str | None:
        cells = {**OPTIONS, "answer": "A", "question": f"Question {question}"}
        mark = drive(scorers["wemath"](cells, "hm"), lambda question: "hm").mark
        return None if mark is None else mark.extracted

    first = [guess(question) for question in range(300)]
    assert first == [guess(question) for question in range(300)]
    assert all(count > 60 for count in Counter(first).values()) and set(first) == {"A", "B", "Z"}
