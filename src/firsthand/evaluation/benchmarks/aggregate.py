"""Marks -> a benchmark's number, with its interval: accuracy, the worst case over variants, or WeMath's four outcomes.

Replies of one draw (a seed, or one of several samples) belong together; draws of one question are one question to the
interval. What has no mark is left out, and counted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.spec import Benchmark
from firsthand.records import Example, Unit
from firsthand.stats import clustered_mean

_KEY = re.compile(r"[1-9]steps_(?:[1-9]|multi)")
_WORTH: dict[str | None, float | None] = {
    "complete mastery": 1.0,
    "inadequate generalization": 0.5,
    "rote memorization": 0.0,
    "insufficient knowledge": 0.0,
    None: None,
}


class ReplyMark(NamedTuple):
    """One reply's mark."""

    example: Example
    draw: int
    """Which of the example's replies."""
    value: float | None
    """In [0, 1]; None was not measured."""


def units(benchmark: Benchmark, rows: Sequence[ReplyMark], rule: str = "strict") -> list[Unit]:
    """What the headline number is the mean of: two models can be compared on it without the benchmark's file.

    `rule` is WeMath's, see `wemath_outcome`.
    """
    if benchmark.aggregate == "accuracy":
        return _of_replies(benchmark, rows)
    is_worst = benchmark.aggregate == "worst"
    return [
        Unit(question=f"{c}#{draw}", cluster=c, value=_all_right(p) if is_worst else _WORTH[wemath_outcome(p, rule)])
        for (c, draw), p in _by_question(benchmark, rows).items()
    ]


def aggregate(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> dict[str, Any]:
    """The number that a benchmark is known by, `value`, and what belongs to it; in [0, 1], absent if not measured."""
    draws = max(Counter(row.example.id for row in rows).values(), default=1)
    accuracy = "accuracy" if draws == 1 else f"avg@{draws}"
    headlines = {"accuracy": accuracy, "worst": "worst case", "wemath": "score (strict)"}
    table: dict[str, Any] = {"headline": headlines[benchmark.aggregate]}
    is_wemath, replies = benchmark.aggregate == "wemath", _of_replies(benchmark, rows)
    if is_wemath:
        questions = _by_question(benchmark, rows).values()
        found = {rule: [wemath_outcome(parts, rule) for parts in questions] for rule in ("strict", "loose")}
        table["outcomes"] = {rule: dict(sorted(Counter(filter(None, names)).items())) for rule, names in found.items()}
    table |= mean_of_units(units(benchmark, rows))
    if is_wemath and (loose := mean_of_units(units(benchmark, rows, "loose"))):
        table["loose"] = loose
    if benchmark.aggregate != "accuracy" and (average := mean_of_units(replies)):
        table["average"] = average
    table |= {"unmeasured": sum(row.value is None for row in rows), "replies": len(rows)}
    for column in benchmark.groups:
        by_text: dict[str, list[Unit]] = defaultdict(list)
        for row, unit in zip(rows, replies, strict=True):
            by_text[str(row.example.meta.get(column, ""))].append(unit)
        means = {text: mean_of_units(some) for text, some in sorted(by_text.items()) if text}
        table.setdefault("groups", {})[column] = {text: mean for text, mean in means.items() if mean}
    return table


def mean_of_units(units: Sequence[Unit]) -> dict[str, Any]:
    """The mean of what was measured, with its interval; empty where nothing was."""
    known = [(unit.value, unit.cluster) for unit in units if unit.value is not None]
    if not known:
        return {}
    found = clustered_mean([value for value, _ in known], [cluster for _, cluster in known])
    return {"value": found.value, "ci95": [found.low, found.high], "n": found.n}


def refuse_missing_variants(benchmark: Benchmark, examples: Sequence[Example]) -> None:
    """Refuse a file in which questions lack a variant, or have one twice: the number would be another one.

    Raises DataError.
    """
    if benchmark.aggregate == "accuracy":
        return
    is_wemath = benchmark.aggregate == "wemath"
    parts: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        if is_wemath and not _KEY.fullmatch(key := str(example.meta.get("key", ""))):
            raise DataError(
                f"{benchmark.name}: {example.id}: column key: expected a part such as 2steps_1 or 2steps_multi, got "
                f"{key!r}; get the whole file again"
            )
        parts[cluster_of(benchmark, example)].append(_part(benchmark, example))
    wanted = Counter(len(found) for found in parts.values()).most_common(1)[0][0]
    for cluster, found in parts.items():
        expected = f"{wanted} variants, as most questions have"
        is_whole = len(found) == len(set(found)) == wanted
        if is_wemath:
            steps = cluster.partition("steps")[0]
            names = sorted([*(f"{steps}steps_{i + 1}" for i in range(int(steps))), f"{steps}steps_multi"])
            expected, is_whole = " and ".join(names), sorted(found) == names
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
    is_wemath = benchmark.aggregate == "wemath"
    return f"{_part(benchmark, example).partition('steps')[0]}steps {shared}" if is_wemath else shared


def wemath_outcome(variants: Mapping[str, float | None], rule: str) -> str | None:
    """WeMath's verdict on a question, from its steps and its whole; None when one of them was not measured.

    `strict` counts a right whole as learnt by rote if any step is wrong, `loose` if all are (arXiv:2407.01284).
    """
    if None in variants.values():
        return None
    whole = next(value for part, value in variants.items() if part.endswith("multi"))
    steps = [value == 1 for part, value in variants.items() if not part.endswith("multi")]
    if whole != 1:
        return "inadequate generalization" if all(steps) else "insufficient knowledge"
    return "complete mastery" if (all(steps) if rule == "strict" else any(steps)) else "rote memorization"


def _all_right(variants: Mapping[str, float | None]) -> float | None:
    """A question is right if all its variants are; one wrong variant decides, whatever was not measured."""
    if any(value is not None and value < 1 for value in variants.values()):
        return 0.0
    return None if None in variants.values() else 1.0


def _of_replies(benchmark: Benchmark, rows: Sequence[ReplyMark]) -> list[Unit]:
    return [
        Unit(question=f"{r.example.id}#{r.draw}", cluster=cluster_of(benchmark, r.example), value=r.value) for r in rows
    ]


def _by_question(
    benchmark: Benchmark, rows: Sequence[ReplyMark]
) -> Mapping[tuple[str, int], Mapping[str, float | None]]:
    """(cluster, draw) -> part -> value."""
    questions: dict[tuple[str, int], dict[str, float | None]] = defaultdict(dict)
    for row in rows:
        questions[cluster_of(benchmark, row.example), row.draw][_part(benchmark, row.example)] = row.value
    return questions


def _part(benchmark: Benchmark, example: Example) -> str:
    meta = example.meta
    return str(meta["key"]) if benchmark.aggregate == "wemath" else str(meta.get("varid", example.id))
