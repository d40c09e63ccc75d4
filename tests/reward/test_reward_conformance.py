"""The conformance table: what every kind of answer reads, refuses and leaves unmeasured, one reason per row."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthand.answers.ground_truth import typed_answer
from firsthand.records import Example
from firsthand.reward import Router
from firsthand.reward.open_ended import OpenVerifier, WordOverlap

ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "fixtures" / "conformance.jsonl").read_text(encoding="ascii").splitlines()
]
BETA = 0.2


@pytest.fixture(scope="module")
def routers() -> Iterator[dict[str, Router]]:
    judge = OpenVerifier(WordOverlap(), BETA)
    with (
        Router(deadline_s=2.0, open_ended=judge) as plain,
        Router(3, open_ended=judge) as three,
        Router(box="stepped") as stepped,
    ):
        yield {"iou": plain, "three": three, "stepped": stepped}


def example(row: dict[str, Any]) -> Example:
    """The row's gold with its question, which the router may not need."""
    gold = typed_answer(row["gold"], row["kind"], row.get("choices", ()), row.get("size"), row, distinct=False)
    return Example(question="?", images=(), answer=gold, scene=row.get("scene"))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['kind']}: {row['reason']}" for row in ROWS])
def test_a_prediction_gets_the_score_and_status_of_the_table(routers: dict[str, Router], row: dict[str, Any]) -> None:
    reply = row["prediction"] if row.get("whole") else f"<think>hm</think><answer>{row['prediction']}</answer>"
    verdict = routers[row.get("box", "iou")].judge(reply, example(row))
    assert verdict.status == row["status"], verdict
    assert verdict.score == (None if row["score"] is None else pytest.approx(row["score"], abs=1e-6)), verdict
    assert verdict.why


MEASURED = [row for row in ROWS if row["score"] is not None and row.get("box", "iou") == "iou"]


@given(
    order=st.permutations(range(0, len(MEASURED), 19)),
    batch=st.integers(1, 40),
    workers=st.sampled_from(["iou", "three"]),
)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_verdicts_do_not_depend_on_order_batch_or_number_of_workers(
    routers: dict[str, Router], order: list[int], batch: int, workers: str
) -> None:
    pairs = [(f"<answer>{MEASURED[i]['prediction']}</answer>", example(MEASURED[i])) for i in sorted(order)]
    one_by_one = [routers["iou"].judge(*pair) for pair in pairs]
    places = [sorted(order).index(i) for i in order]
    shuffled = [pairs[i] for i in places]
    cut = [shuffled[first : first + batch] for first in range(0, len(shuffled), batch)]
    verdicts = [verdict for part in cut for verdict in routers[workers].judge_many(part)]
    assert verdicts == [one_by_one[i] for i in places]
    waiting = [routers[workers].submit(*pair) for pair in shuffled]
    assert [future.result() for future in waiting] == verdicts


def test_the_table_covers_every_kind_and_status_and_gives_every_row_its_reason() -> None:
    assert len(ROWS) >= 400
    assert min(Counter(row["kind"] for row in ROWS).values()) >= 20
    assert {row["status"] for row in ROWS} == {"ok", "wrong_format", "unparsed", "timed_out", "failed"}
    assert all(row["reason"] for row in ROWS)
