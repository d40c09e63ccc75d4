"""Judged by rules alone: what a reply states as its answer, compared by the kind of its ground truth. No guessing.

The answer is read by the rule `stated` of answers/stated.py. What states none is unparsed, and counts as wrong: whoever
evaluates sees how often that was so.
"""

from collections.abc import Sequence

from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import read_number
from firsthand.answers.stated import LONGEST_ANSWER, read_answer
from firsthand.evaluation.benchmarks.spec import GOLD_RULE, Benchmark, Gold
from firsthand.records import Answer, Example, Status, Text, Verdict
from firsthand.reward import Router
from firsthand.reward.text import judge_text
from firsthand.reward.verdicts import compared, unparsed

VERSION = 3
"""Of these rules: it stands in a run's id, so that no number of other rules passes for one of these."""


def judge_strictly(benchmark: Benchmark, router: Router, pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
    """The verdict on each (reply, example) of a benchmark, in order."""
    found: list[Verdict | None] = []
    routed: list[tuple[str, Example]] = []
    for reply, example in pairs:
        answer, why = read_answer(reply, "stated", benchmark.short_answer)
        rule = example.meta.get(GOLD_RULE)  # a rendered example has none
        verdict = None
        if answer is None:
            verdict = Verdict(score=0.0, status=Status.WRONG_FORMAT, why=why)
        elif rule is not None:
            verdict = verdict_by_rule(answer, example.answer, benchmark.gold[int(rule)])
        if answer is not None and verdict is None:
            routed.append((answer, example))
        found.append(verdict)
    verdicts = iter(router.judge_answers(routed))
    return [next(verdicts) if verdict is None else verdict for verdict in found]


def verdict_by_rule(answer: str, expected: Answer, gold: Gold) -> Verdict | None:
    """Compare as no verifier of training does, by an absolute tolerance or as the rule says. None: one of them does."""
    if len(answer) > LONGEST_ANSWER:
        return unparsed(answer, f"{len(answer)} characters where an answer has at most {LONGEST_ANSWER}")
    if isinstance(expected, Text):
        return judge_text(answer, expected, gold.text)
    if gold.kind == "digit" and gold.tolerance is not None:
        number, right = read_number(without_markup(answer)), read_number(expected.text)
        assert right is not None  # or the row had been refused
        if number is None:
            return unparsed(answer, "expected one number, with at most its unit")
        return compared(abs(float(number.value) - float(right.value)) <= gold.tolerance, answer, expected.text)
    return None
