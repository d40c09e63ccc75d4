"""Marks -> a benchmark's number, with its interval: accuracy, the worst case over variants, or WeMath's four outcomes.

Replies of one draw (a seed, or one of several samples) belong together; draws of one question are one question to the
interval. What has no mark is left out, and counted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.spec import Benchmark
from firsthand.records import Example, Unit
from firsthand.stats import Estimate, clustered_mean


class ReplyMark(NamedTuple):
    """One reply's mark."""

    example: Example
    draw: int
    """Which of the example's replies."""
    value: float | None
    """In [0, 1]; None was not measured."""


def units(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> list[Unit]:
    """What the headline number is the mean of: two models can be compared on it without the benchmark's file."""
    if benchmark.aggregate == "accuracy":
        return [
            Unit(question=f"{r.example.id}#{r.draw}", cluster=cluster_of(benchmark, r.example), value=r.value)
            for r in rows
        ]
    value = _all_right if benchmark.aggregate == "worst" else partial(_worth, rule="strict")
    questions = _by_question(benchmark, rows)
    return [Unit(question=f"{c}#{draw}", cluster=c, value=value(parts)) for (c, draw), parts in questions.items()]


def aggregate(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> dict[str, Any]:
    """The number that a benchmark is known by, `value`, and what belongs to it; in [0, 1], absent if not measured."""
    table = _BY_NAME[benchmark.aggregate](benchmark, rows)
    table["unmeasured"] = sum(row.value is None for row in rows)
    table["replies"] = len(rows)
    for column in benchmark.groups:
        by_text: dict[str, list[ReplyMark]] = defaultdict(list)
        for row in rows:
            by_text[str(row.example.meta.get(column, ""))].append(row)
        known = {text: _mean(benchmark, some) for text, some in sorted(by_text.items()) if text}
        table.setdefault("groups", {})[column] = {text: _said(e) for text, e in known.items() if e is not None}
    return table


_KEY = re.compile(r"[1-9]steps_(?:[1-9]|multi)")


def refuse_missing_variants(benchmark: Benchmark, examples: Sequence[Example]) -> None:
    """Refuse a file in which questions lack a variant, or have one twice: the number would be another one.

    Raises DataError.
    """
    if benchmark.aggregate == "accuracy":
        return
    parts: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        if _is_wemath(benchmark) and not _KEY.fullmatch(key := str(example.meta.get("key", ""))):
            raise DataError(
                f"{benchmark.name}: {example.id}: column key: expected a part such as 2steps_1 or 2steps_multi, got "
                f"{key!r}; get the whole file again"
            )
        parts[cluster_of(benchmark, example)].append(_part(benchmark, example))
    wanted = Counter(len(found) for found in parts.values()).most_common(1)[0][0]
    for cluster, found in parts.items():
        expected = f"{wanted} variants, as most questions have"
        is_whole = len(found) == len(set(found)) == wanted
        if _is_wemath(benchmark):
            steps = cluster.partition("steps")[0]
            names = {*(f"{steps}steps_{i + 1}" for i in range(int(steps))), f"{steps}steps_multi"}
            expected, is_whole = " and ".join(sorted(names)), sorted(found) == sorted(names)
        if not is_whole:
            raise DataError(
                f"{benchmark.name}: question {cluster!r} of column {benchmark.cluster}: expected {expected}, got "
                f"{len(found)} rows ({', '.join(sorted(found))}); get the whole file again"
            )


def cluster_of(benchmark: Benchmark, example: Example) -> str:
    """What the example shares with the other variants of its question; its id where there are none."""
    if benchmark.cluster is None:
        return example.id
    shared = str(example.meta[benchmark.cluster])
    return f"{_part(benchmark, example).partition('steps')[0]}steps {shared}" if _is_wemath(benchmark) else shared


def _accuracy(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> dict[str, Any]:
    draws = max(Counter(row.example.id for row in rows).values(), default=1)
    headline = "accuracy" if draws == 1 else f"avg@{draws}"
    return {"headline": headline, **_named("value", _mean(benchmark, rows))}


def _worst(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> dict[str, Any]:
    return {
        "headline": "worst case",
        **_named("value", _mean_of_questions(_by_question(benchmark, rows), _all_right)),
        **_named("average", _mean(benchmark, rows)),
    }


def _all_right(variants: Mapping[str, float | None]) -> float | None:
    """A question is right if all its variants are; one wrong variant decides, whatever was not measured."""
    values = list(variants.values())
    if any(value is not None and value < 1 for value in values):
        return 0.0
    return None if None in values else 1.0


def _wemath(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> dict[str, Any]:
    """WeMath's score: 1 for mastery, 1/2 where all steps are right and the whole is wrong, 0 otherwise.

    `strict` counts a right whole as learnt by rote if any step is wrong, `loose` if all are (arXiv:2407.01284).
    """
    questions = _by_question(benchmark, rows)
    table: dict[str, Any] = {"headline": "score (strict)", "outcomes": {}}
    for rule, name in (("strict", "value"), ("loose", "loose")):
        found = Counter(wemath_outcome(variants, rule) for variants in questions.values())
        table |= _named(name, _mean_of_questions(questions, partial(_worth, rule=rule)))
        table["outcomes"][rule] = {name: count for name, count in sorted(found.items(), key=str) if name is not None}
    return {**table, **_named("average", _mean(benchmark, rows))}


def _worth(variants: Mapping[str, float | None], rule: str) -> float | None:
    found = wemath_outcome(variants, rule)
    return None if found is None else _WORTH[found]


_WORTH = {
    "complete mastery": 1.0,
    "inadequate generalization": 0.5,
    "rote memorization": 0.0,
    "insufficient knowledge": 0.0,
}


def wemath_outcome(variants: Mapping[str, float | None], rule: str) -> str | None:
    """WeMath's verdict on a question, from its steps and its whole; None when one of them was not measured."""
    if None in variants.values():
        return None
    whole = next(value for part, value in variants.items() if part.endswith("multi"))
    steps = [value == 1 for part, value in variants.items() if not part.endswith("multi")]
    if whole != 1:
        return "inadequate generalization" if all(steps) else "insufficient knowledge"
    return "complete mastery" if (all(steps) if rule == "strict" else any(steps)) else "rote memorization"


_BY_NAME: dict[str, Callable[[Benchmark, Sequence[ReplyMark]], dict[str, Any]]] = {
    "accuracy": _accuracy,
    "worst": _worst,
    "wemath": _wemath,
}

_Questions = Mapping[tuple[str, int], Mapping[str, float | None]]
"""(cluster, draw) -> part -> value."""


def _by_question(benchmark: Benchmark, rows: Iterable[ReplyMark]) -> _Questions:
    questions: dict[tuple[str, int], dict[str, float | None]] = defaultdict(dict)
    for row in rows:
        questions[cluster_of(benchmark, row.example), row.draw][_part(benchmark, row.example)] = row.value
    return questions


def _mean_of_questions(
    questions: _Questions, value: Callable[[Mapping[str, float | None]], float | None]
) -> Estimate | None:
    found = [(cluster, value(variants)) for (cluster, _), variants in questions.items()]
    known = [(cluster, v) for cluster, v in found if v is not None]
    return clustered_mean([v for _, v in known], [cluster for cluster, _ in known]) if known else None


def _mean(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> Estimate | None:
    known = [(cluster_of(benchmark, row.example), row.value) for row in rows if row.value is not None]
    return clustered_mean([v for _, v in known], [cluster for cluster, _ in known]) if known else None


def _named(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {}
    said = _said(estimate)
    return said if name == "value" else {name: said}


def _said(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "ci95": [estimate.low, estimate.high], "n": estimate.n}


def _part(benchmark: Benchmark, example: Example) -> str:
    return str(example.meta["key"]) if _is_wemath(benchmark) else str(example.meta.get("varid", example.id))


def _is_wemath(benchmark: Benchmark) -> bool:
    return benchmark.aggregate == "wemath"
