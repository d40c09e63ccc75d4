"""What an environment's scorer says: full marks are right, all else is wrong, and what breaks is unmeasured."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from environments import drawn, needs_reasoning_gym, of

from firsthand.answers.asking import BY_KIND, prompts_id
from firsthand.answers.ground_truth import columns_beside
from firsthand.data.load import as_source
from firsthand.errors import RecipeError
from firsthand.evaluation.grading import grade
from firsthand.identity import environments_id
from firsthand.records import Digit, Example, Status, Verdict
from firsthand.reward import Reward, Router
from firsthand.reward.adapters import trl_reward
from firsthand.reward.build import router_of

pytestmark = needs_reasoning_gym


def said(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


def first(task: str) -> Example:
    return drawn(task)[0]


def marked(verdict: Verdict) -> tuple[float | None, Status]:
    return verdict.score, verdict.status


@pytest.fixture(scope="module")
def partial() -> Iterator[Router]:
    with router_of(Reward(environment="partial"), deadline_s=60.0) as router:
        yield router


def test_the_gold_answer_is_right_and_others_are_wrong(router: Router) -> None:
    examples = drawn("leg_counting", "futoshiki", "countdown", "spell_backward")
    router.check(examples)
    for example, other in zip(examples[:4], examples[4:], strict=True):
        assert marked(router.judge(said(example.answer.text), example)) == (1.0, Status.OK)
        assert marked(router.judge(said(other.answer.text), example)) == (0.0, Status.OK)
    verdict = router.judge(said("3"), examples[0])
    assert verdict.why == f"reasoning-gym, task leg_counting, gave 0.0; right is {examples[0].answer.text}"


def test_an_answer_that_the_environment_does_not_have_itself_may_be_as_right(router: Router) -> None:
    gold = of(first("countdown")).value
    other = f"({gold})"
    assert other != gold and router.judge(said(other), first("countdown")).score == 1


def test_a_part_of_a_mark_is_not_paid_unless_that_is_asked_for(router: Router, partial: Router) -> None:
    legs, sums, words = first("leg_counting"), first("countdown"), first("spell_backward")
    listed = ", ".join(map(str, range(700)))  # every answer at once holds the right one
    for reply, example in ((said(listed), legs), (said("1"), sums), (said(words.answer.text[:-1] + "?"), words)):
        part = partial.judge(reply, example)
        assert part.score is not None and 0 < part.score < 1 and part.status is Status.OK
        assert router.judge(reply, example).score == 0
    assert partial.judge(said(legs.answer.text), legs).score == 1


def test_a_sum_of_parts_that_rounds_to_more_than_full_marks_is_no_full_mark(router: Router, partial: Router) -> None:
    words = {len(e.answer.text): e for e in drawn("spell_backward", number=60)}
    longer = {n: partial.judge(said(e.answer.text + "x"), e).score for n, e in words.items()}
    assert max(longer.values()) == 1  # capped: nine ninths are more than 1
    assert all(router.judge(said(e.answer.text + "x"), e).score == 0 for e in words.values())


def test_mark_up_around_an_answer_does_not_count(router: Router) -> None:
    example = first("leg_counting")
    for text in ("**{}**", "{}.", "The answer is {}.", r"\boxed{{{}}}", " {} "):
        assert router.judge(said(text.format(example.answer.text)), example).score == 1, text
    assert router.judge(said(f"{example.answer.text} legs"), example).score == 0  # the scorer wants the number alone


def test_a_reply_without_tags_is_read_by_what_it_states(router: Router) -> None:
    example = first("leg_counting")
    reply = f"Let me count. The answer is {example.answer.text}."
    assert router.judge(reply, example).status is Status.WRONG_FORMAT
    with Router(answer="stated", deadline_s=60.0) as stated:
        assert stated.judge(reply, example).score == 1


def test_a_scorer_that_raises_is_unmeasured(router: Router) -> None:
    verdict = router.judge(said("two and three"), first("prime_factorization"))
    assert marked(verdict) == (None, Status.FAILED) and "ValueError" in verdict.why


@pytest.mark.slow
def test_a_scorer_that_never_ends_is_killed_and_the_next_answer_is_scored() -> None:
    example = first("countdown")
    with Router(deadline_s=2.0) as router:
        router.judge(said("1"), example)  # the import does not count
        assert marked(router.judge(said("9**9**9**9"), example)) == (None, Status.TIMED_OUT)
        assert router.judge(said(example.answer.text), example).score == 1


@pytest.mark.slow
def test_a_scorer_whose_process_dies_leaves_the_reply_unmeasured_and_no_process_behind() -> None:
    example = first("gcd")
    with Router(deadline_s=60.0) as router:
        router.judge(said("1"), example)
        zygote, child = router.worker_pids
        os.kill(child, signal.SIGKILL)
        assert router.judge(said("1"), example).status in (Status.FAILED, Status.OK)
        assert router.judge(said(example.answer.text), example).score == 1
    with pytest.raises(ProcessLookupError):
        os.kill(zygote, 0)


def test_an_empty_answer_is_not_asked_about(router: Router) -> None:
    assert marked(router.judge(said(" "), first("sentence_reordering"))) == (0.0, Status.UNPARSED)


def test_an_entry_that_was_spoilt_is_unmeasured(router: Router) -> None:
    for entry in ("no JSON", '{"settings": {}}', '{"settings": {}, "metadata": {}, "more": 1}'):
        spoilt = of(first("gcd")).model_copy(update={"entry": entry})
        assert marked(router.judge(said(spoilt.value), spoilt)) == (None, Status.FAILED), entry


def test_an_environment_that_nobody_knows_is_an_error(router: Router) -> None:
    stranger = of(first("gcd")).model_copy(update={"environment": "another"})
    with pytest.raises(RecipeError, match="expected one of reasoning-gym, got 'another'"):
        router.judge(said("1"), stranger)


def test_rows_of_a_file_and_trl_s_columns_are_scored_alike(tmp_path: Path, router: Router) -> None:
    examples = drawn("leg_counting", "gcd", number=4)
    replies = [said(e.answer.text if i % 2 else "nothing") for i, e in enumerate(examples)]
    columns = {
        "solution": [e.answer.text for e in examples],
        "kind": ["environment"] * 4,
        **{name: [columns_beside(e.answer)[name] for e in examples] for name in ("environment", "task", "entry")},
    }
    assert trl_reward(router)(replies, **columns) == [0, 1, 0, 1]
    problems = [
        {"id": e.id, "question": e.question, "answer": e.answer.text, "kind": "environment", **columns_beside(e.answer)}
        for e in examples
    ]
    (tmp_path / "P.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    rows = ({"id": e.id, "reply": reply} for e, reply in zip(examples, replies, strict=True))
    (tmp_path / "R.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source, out = as_source(str(tmp_path / "P.jsonl")), tmp_path / "V.jsonl"
    grade(source, tmp_path / "R.jsonl", out, Reward(), workers=1, deadline_s=60.0)
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [verdict["score"] for verdict in verdicts] == [0, 1, 0, 1]


def test_a_run_s_id_holds_the_package_s_version_and_the_prompt_of_its_kind() -> None:
    plain = Example(question="?", images=(), answer=Digit(value="7"))
    assert environments_id([plain]) == {}
    assert environments_id([plain, first("gcd")]).keys() == {"environments"}
    assert prompts_id(BY_KIND, [plain]) == prompts_id(BY_KIND)  # as before there were environments
    assert prompts_id(BY_KIND, [first("gcd")]) != prompts_id(BY_KIND)
