"""Marks -> a benchmark's number: questions with variants, what was not measured, and what the number is the mean of."""

import statistics
from collections.abc import Sequence
from typing import Any

import pytest

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.aggregate import (
    ReplyMark,
    aggregate,
    cluster_of,
    refuse_missing_variants,
    units,
    wemath_outcome,
)
from firsthand.evaluation.benchmarks.spec import Benchmark, Gold
from firsthand.records import Digit, Example
from firsthand.stats import clustered_mean

PLAIN = Benchmark(name="plain", title="Plain", files=("x",), gold=(Gold(kind="digit"),), groups=("topic",))
WORST = PLAIN.model_copy(update={"name": "worst", "aggregate": "worst", "cluster": "qid"})
WEMATH = PLAIN.model_copy(update={"name": "wemath", "aggregate": "wemath", "cluster": "ID", "groups": ()})


def example(name: str, **meta: str) -> Example:
    return Example(id=name, question="?", images=(), answer=Digit(value="7"), meta=meta)


def variants(qid: str, *values: float | None, draw: int = 0, **meta: str) -> list[ReplyMark]:
    """A question's variants, with a mark each."""
    return [
        ReplyMark(example(f"{qid}/{i}", qid=qid, varid=str(i), **meta), draw, value)
        for i, value in enumerate(values, start=1)
    ]


def steps(name: str, *values: float | None, draw: int = 0) -> list[ReplyMark]:
    """A WeMath question's steps and, last, its whole, with a mark each."""
    number = len(values) - 1
    keys = [*(f"{number}steps_{i + 1}" for i in range(number)), f"{number}steps_multi"]
    return [
        ReplyMark(example(f"{number}/{name}/{key}", ID=name, key=key), draw, value)
        for key, value in zip(keys, values, strict=True)
    ]


def named(estimate: Any) -> dict[str, Any]:
    return {"value": estimate.value, "ci95": [estimate.low, estimate.high], "n": estimate.n}


# ---- accuracy


def test_an_accuracy_is_the_mean_of_what_was_measured_and_the_rest_is_counted() -> None:
    rows = [ReplyMark(example(f"e{i}"), 0, value) for i, value in enumerate((1.0, 0.0, None, 1.0))]
    table = aggregate(PLAIN, rows)
    expected = named(clustered_mean([1.0, 0.0, 1.0], ["e0", "e1", "e3"]))
    assert table == {"headline": "accuracy", **expected, "unmeasured": 1, "replies": 4, "groups": {"topic": {}}}


def test_draws_of_a_question_are_one_question_to_the_interval() -> None:
    rows = [ReplyMark(example(f"e{i}"), draw, float(i < 20)) for i in range(30) for draw in range(32)]
    table = aggregate(PLAIN, rows)
    assert (table["value"], table["n"], table["replies"]) == (pytest.approx(2 / 3), 30, 960)
    once = aggregate(PLAIN, [row for row in rows if row.draw == 0])
    assert table["ci95"] == pytest.approx(once["ci95"])  # all draws agree: they tell no more than one


def test_variants_share_a_cluster_where_the_benchmark_names_one() -> None:
    plain = PLAIN.model_copy(update={"cluster": "qid"})
    table = aggregate(plain, [*variants("1", 1, 0, 1), *variants("2", 1, 1, 1)])
    assert (table["value"], table["n"]) == (pytest.approx(5 / 6), 2)
    assert cluster_of(plain, variants("1", 1)[0].example) == "1"
    assert cluster_of(PLAIN, variants("1", 1)[0].example) == "1/1"


@pytest.mark.parametrize("benchmark", [PLAIN, WORST])
def test_groups_are_accuracies_and_those_without_a_label_or_a_mark_are_absent(benchmark: Benchmark) -> None:
    rows = [
        *variants("1", 1, 0, topic="lines"),
        *variants("2", 1, 1, topic="areas"),
        *variants("3", None, None, topic="angles"),
        *variants("4", 1, None, topic=""),
        *variants("5", 0, 0),
    ]
    found = aggregate(benchmark, rows)["groups"]["topic"]
    assert {text: row["value"] for text, row in found.items()} == {"areas": 1.0, "lines": 0.5}
    assert list(found) == ["areas", "lines"]
    assert {row["n"] for row in found.values()} == ({2} if benchmark is PLAIN else {1})


@pytest.mark.parametrize("benchmark", [PLAIN, WORST, WEMATH])
def test_nothing_measured_is_no_value(benchmark: Benchmark) -> None:
    rows = steps("1", None, None, None) if benchmark is WEMATH else variants("1", None, None, None)
    table = aggregate(benchmark, rows)
    assert not {"value", "ci95", "n", "average", "loose"} & set(table)
    assert (table["unmeasured"], table["replies"]) == (3, 3)
    assert [unit.value for unit in units(benchmark, rows)] == [None] * (3 if benchmark is PLAIN else 1)
    empty = aggregate(benchmark, [])
    assert "value" not in empty and empty["replies"] == 0


# ---- worst case


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 1, 1), 1.0),
        ((1, 0, 1), 0.0),
        ((0, 0, 0), 0.0),
        ((1, None, 1), None),
        ((None, None, None), None),
        ((0, None, 1), 0.0),  # one wrong variant decides, whatever was not measured
        ((None, 0, None), 0.0),
        ((1, 0.9, 1), 0.0),
        ((1,), 1.0),
    ],
)
def test_a_question_is_right_if_all_its_variants_are(values: Sequence[float | None], expected: float | None) -> None:
    rows = variants("1", *values)
    (unit,) = units(WORST, rows)
    assert (unit.question, unit.cluster, unit.value) == ("1#0", "1", expected)
    table = aggregate(WORST, rows)
    assert table.get("value") == expected
    known = [value for value in values if value is not None]
    assert table.get("average", {}).get("value") == (pytest.approx(statistics.fmean(known)) if known else None)


def test_a_worst_case_is_the_mean_over_questions_and_its_average_over_variants() -> None:
    rows = [*variants("1", 1, 1), *variants("2", 1, 0), *variants("3", None, 1), *variants("4", None, 0)]
    table = aggregate(WORST, rows)
    assert {key: table[key] for key in ("value", "ci95", "n")} == named(clustered_mean([1, 0, 0], ["1", "2", "4"]))
    assert table["average"] == named(clustered_mean([1, 1, 1, 0, 1, 0], ["1", "1", "2", "2", "3", "4"]))
    assert (table["unmeasured"], table["replies"], table["headline"]) == (2, 8, "worst case")


def test_the_variants_of_another_draw_are_another_case_of_the_same_question() -> None:
    rows = [*variants("1", 1, 0, draw=0), *variants("1", 1, 1, draw=1), *variants("1", 1, 1, draw=1000)]
    assert [(u.question, u.cluster, u.value) for u in units(WORST, rows)] == [
        ("1#0", "1", 0.0),
        ("1#1", "1", 1.0),
        ("1#1000", "1", 1.0),
    ]
    table = aggregate(WORST, rows)
    assert (table["value"], table["n"]) == (pytest.approx(2 / 3), 1)


# ---- WeMath

MASTERY, GENERAL, ROTE, LACKING = (
    "complete mastery",
    "inadequate generalization",
    "rote memorization",
    "insufficient knowledge",
)
BY_HAND: list[tuple[tuple[float | None, ...], str | None, str | None]] = [
    ((1, 1, 1), MASTERY, MASTERY),
    ((1, 0, 1), ROTE, MASTERY),
    ((0, 1, 1), ROTE, MASTERY),
    ((0, 0, 1), ROTE, ROTE),
    ((1, 1, 0), GENERAL, GENERAL),
    ((1, 0, 0), LACKING, LACKING),
    ((0, 1, 0), LACKING, LACKING),
    ((0, 0, 0), LACKING, LACKING),
    ((1, 1, 1, 1), MASTERY, MASTERY),
    ((1, 0, 1, 1), ROTE, MASTERY),
    ((0, 0, 1, 1), ROTE, MASTERY),
    ((0, 0, 0, 1), ROTE, ROTE),
    ((1, 1, 1, 0), GENERAL, GENERAL),
    ((1, 1, 0, 0), LACKING, LACKING),
    ((0, 0, 0, 0), LACKING, LACKING),
    ((None, 1, 1), None, None),
    ((0, None, 0), None, None),
    ((1, 1, None), None, None),
    ((None, None, None, None), None, None),
]
WORTH = {MASTERY: 1.0, GENERAL: 0.5, ROTE: 0.0, LACKING: 0.0, None: None}


@pytest.mark.parametrize(("values", "strict", "loose"), BY_HAND)
def test_wemaths_outcome_follows_from_steps_and_whole(
    values: Sequence[float | None], strict: str | None, loose: str | None
) -> None:
    rows = steps("1", *values)
    parts = {row.example.meta["key"]: row.value for row in rows}
    assert (wemath_outcome(parts, "strict"), wemath_outcome(parts, "loose")) == (strict, loose)
    table = aggregate(WEMATH, rows)
    assert table["outcomes"] == {
        "strict": {} if strict is None else {strict: 1},
        "loose": {} if loose is None else {loose: 1},
    }
    assert (table.get("value"), table.get("loose", {}).get("value")) == (WORTH[strict], WORTH[loose])
    assert [unit.value for unit in units(WEMATH, rows)] == [WORTH[strict]]


def test_wemath_counts_all_questions_and_leaves_out_what_was_not_measured() -> None:
    rows = [row for number, case in enumerate(BY_HAND) for row in steps(str(number), *case[0])]
    table = aggregate(WEMATH, rows)
    assert table["outcomes"] == {
        "strict": {MASTERY: 2, GENERAL: 2, LACKING: 5, ROTE: 6},
        "loose": {MASTERY: 6, GENERAL: 2, LACKING: 5, ROTE: 2},
    }
    assert (table["value"], table["loose"]["value"], table["n"]) == (pytest.approx(3 / 15), pytest.approx(7 / 15), 15)
    assert table["unmeasured"] == sum(value is None for case in BY_HAND for value in case[0])


def test_an_id_of_two_steps_and_one_of_three_are_two_questions() -> None:
    rows = [*steps("7", 1, 1, 1), *steps("7", 1, 1, 1, 0)]
    table = aggregate(WEMATH, rows)
    assert table["outcomes"]["strict"] == {MASTERY: 1, GENERAL: 1}
    assert [unit.cluster for unit in units(WEMATH, rows)] == ["2steps 7", "3steps 7"]


# ---- units


@pytest.mark.parametrize("benchmark", [PLAIN, WORST, WEMATH])
def test_units_are_what_the_value_is_the_mean_of(benchmark: Benchmark) -> None:
    cases = [case[0] for case in BY_HAND]
    make = steps if benchmark is WEMATH else variants
    rows = [row for draw in range(3) for i, case in enumerate(cases) for row in make(str(i), *case, draw=draw)]
    found = units(benchmark, rows)
    known = [(unit.value, unit.cluster) for unit in found if unit.value is not None]
    table = aggregate(benchmark, rows)
    assert {key: table[key] for key in ("value", "ci95", "n")} == named(
        clustered_mean([value for value, _ in known], [cluster for _, cluster in known])
    )
    assert len({unit.question for unit in found}) == len(found)  # two models are paired by it
    assert {unit.cluster for unit in found} == {cluster_of(benchmark, row.example) for row in rows}


# ---- refuse_missing_variants


def examples(rows: Sequence[ReplyMark]) -> list[Example]:
    return [row.example for row in rows]


def test_whole_files_pass() -> None:
    refuse_missing_variants(PLAIN, examples([*variants("1", 1), *variants("2", 1, 1)]))
    refuse_missing_variants(WORST, examples([*variants("1", 1, 1), *variants("2", 1, 1)]))
    refuse_missing_variants(WEMATH, examples([*steps("1", 1, 1, 1), *steps("1", 1, 1, 1, 1), *steps("2", 1, 1, 1)]))


def test_a_question_that_lacks_a_variant_is_refused_by_name() -> None:
    rows = [*variants("1", 1, 1, 1), *variants("2", 1, 1), *variants("3", 1, 1, 1)]
    with pytest.raises(DataError, match=r"worst: question '2' of column qid: expected 3 variants.*got 2 rows \(1, 2\)"):
        refuse_missing_variants(WORST, examples(rows))


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_wemath_question_that_lacks_a_step_or_its_whole_is_refused(lost: int) -> None:
    rows = [*steps("1", 1, 1, 1, 1), *(row for i, row in enumerate(steps("9", 1, 1, 1)) if i != lost)]
    with pytest.raises(DataError, match=r"'2steps 9'.*2steps_1 and 2steps_2 and 2steps_multi.*got 2 rows"):
        refuse_missing_variants(WEMATH, examples(rows))


def test_a_wemath_question_with_a_step_twice_is_refused() -> None:
    rows = steps("1", 1, 1, 1)
    with pytest.raises(DataError, match="got 4 rows"):
        refuse_missing_variants(WEMATH, examples([*rows, rows[0]]))


def test_a_question_with_a_variant_twice_is_refused() -> None:
    rows = [*variants("1", 1, 1), *variants("2", 1, 1)]
    twice = [*rows[:3], rows[2]]  # as many rows as the others have, but one of them two times
    with pytest.raises(DataError, match="question '2'"):
        refuse_missing_variants(WORST, examples(twice))


@pytest.mark.parametrize("meta", [{}, {"key": "steps_1"}, {"key": "two"}, {"key": "4x"}, {"key": "2steps_"}])
def test_a_wemath_row_without_a_key_of_its_own_kind_is_refused(meta: dict[str, str]) -> None:
    with pytest.raises(DataError, match="column key: expected a part such as 2steps_1"):
        refuse_missing_variants(WEMATH, [example("1", ID="1", **meta)])
