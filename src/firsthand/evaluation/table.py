"""Judged replies -> a table: accuracy with an interval, pass@k, and what stands beside every accuracy."""

import statistics
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from firsthand.answers.stated import read_answer
from firsthand.records import Judged, Score, Status, StopReason
from firsthand.stats import SUCCESS, clustered_mean, pass_at
from firsthand.worlds.agreement import agreements

_KS = (1, 2, 4, 8, 16, 32, 64)


def tabulate(
    scores: Sequence[Score], samples: int, *, cluster: Callable[[Score], Hashable] = lambda score: score.example_id
) -> dict[str, Any]:
    """The table of an evaluation: overall and per family. Keys that were not measured are absent.

    Accuracy is that of the greedy replies, or of the samples where there is none (avg@k). Rows that share a `cluster`
    are one question to the interval.
    """
    families = sorted({s.family for s in scores if s.family})
    table = _row(scores, samples, cluster)
    if families:
        table["families"] = {name: _row([s for s in scores if s.family == name], samples, cluster) for name in families}
    return table


def _row(scores: Sequence[Score], samples: int, cluster: Callable[[Score], Hashable]) -> dict[str, Any]:
    """One line of a table."""
    counted = [(cluster(s), j) for s in scores for j in counting(s)]
    known = [(j.verdict.score, name) for name, j in counted if j.verdict.score is not None]
    table: dict[str, Any] = {"n": len(known), "unmeasured": len(counted) - len(known)}
    if known:
        accuracy = clustered_mean(*zip(*known, strict=True))
        table |= {"accuracy": accuracy.value, "ci95": [accuracy.low, accuracy.high]}
        if accuracy.n < len(known):
            table["questions"] = accuracy.n
        table |= _rates([j for _, j in counted])
    if steps := agreements(j.verdict for _, j in counted):
        table["steps"] = steps
    hits = [[j.verdict.score >= SUCCESS for j in s.samples if j.verdict.score is not None] for s in scores]
    hits = [h for h in hits if len(h) == samples]  # pass@k of fewer draws would be another quantity
    if samples and hits:
        ks = [k for k in _KS if k <= samples]
        table["pass_at"] = {str(k): statistics.fmean(pass_at(k, samples, sum(h)) for h in hits) for k in ks}
    sampled = [j.verdict.score for s in scores for j in s.samples if j.verdict.score is not None]
    if sampled:
        table["sampled_accuracy"] = statistics.fmean(sampled)
    return table


def counting(score: Score) -> tuple[Judged, ...]:
    """The replies that the accuracy is about."""
    return (score.greedy,) if score.greedy is not None else score.samples


def _rates(replies: Sequence[Judged]) -> dict[str, float]:
    """What stands beside every accuracy: shares of replies, and their mean length in tokens.

    `truncated` were cut, `tagged` state their answer in tags, `unparsed` could not be read; of these, `unstated` state
    no answer.
    """
    asked = [j for j in replies if j.verdict.status is not Status.FAILED or j.reply.text]
    lengths = [n for j in asked if (n := j.reply.length) is not None]
    rates = {}
    if asked:
        unread = (Status.UNPARSED, Status.WRONG_FORMAT)
        rates["truncated"] = statistics.fmean(j.reply.stop is StopReason.LENGTH for j in asked)
        rates["tagged"] = statistics.fmean(read_answer(j.reply.text)[0] is not None for j in asked)
        rates["unparsed"] = statistics.fmean(j.verdict.status in unread for j in asked)
        rates["unstated"] = statistics.fmean(j.verdict.status is Status.WRONG_FORMAT for j in asked)
    if lengths:
        rates["reply_tokens"] = statistics.fmean(lengths)
    return rates
