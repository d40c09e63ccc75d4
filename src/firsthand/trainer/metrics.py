"""What a step measures: of its batch, and of each forward of its update."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from firsthand.records import Judged, Status, StopReason
from firsthand.reward.alarms import EARNING, OUTSIDE
from firsthand.trainer.batch import Batch, Group, sampled_entropy
from firsthand.worlds.agreement import agreements

Reduction = Literal["mean", "max", "sum"]


@dataclass(frozen=True)
class Metric:
    """A scalar, and how it is put together with others of its name."""

    value: Tensor
    """Without gradient, on the CPU."""
    reduction: Reduction
    """`mean`: over the optimizer steps of a batch; denominators are those of the whole optimizer step, so what its
    forwards measure adds up. `max`: the largest of all. `sum`: over all."""


def over_forwards(parts: Iterable[Mapping[str, Metric]]) -> dict[str, Metric]:
    """The metrics of an optimizer step, from those of its forwards."""
    return {
        name: Metric(torch.stack(values).max() if reduction == "max" else sum(values, torch.zeros(())), reduction)
        for name, (values, reduction) in _by_name(parts).items()
    }


def over_minibatches(parts: Iterable[Mapping[str, Metric]]) -> dict[str, float]:
    """The metrics of a training step, from those of its optimizer steps."""
    reduced: dict[Reduction, Callable[[Sequence[float]], float]] = {
        "max": lambda values: float(torch.tensor(values).max()),  # a nan is the largest of all
        "mean": statistics.fmean,
        "sum": math.fsum,
    }
    return {name: reduced[how]([float(value) for value in values]) for name, (values, how) in _by_name(parts).items()}


def of_batch(batch: Batch, wanted: int) -> dict[str, float]:
    """What a batch measures: rewards, statuses, lengths. What it does not measure is absent.

    `wanted` is how many prompts the recipe asks for. Of demonstrations beside sampled replies only the loss is told.
    """
    everything = [j for group in batch.groups for j in group.replies]
    sampled = [j for j in everything if not j.reply.is_demo]
    measured = sampled or everything
    drawn = [j for group in batch.sampled for j in group.replies if not j.reply.is_demo]
    earning = {EARNING: statistics.fmean((j.reward or 0.0) > 0 for j in drawn)} if drawn else {}
    if not measured:
        return {"groups/kept": 0.0} | earning
    metrics = {"reply/tokens": statistics.fmean(len(j.reply.token_ids) for j in measured)}
    metrics |= {f"status/{s}": sum(j.verdict.status is s for j in measured) / len(measured) for s in Status}
    metrics |= {f"steps/{state}": share for state, share in agreements(j.verdict for j in measured).items()}
    boxes = [j.verdict.outside for j in measured if j.verdict.outside is not None]
    if boxes:
        metrics[OUTSIDE] = statistics.fmean(boxes)
    if sampled:
        metrics["reply/truncated"] = sum(j.reply.stop is StopReason.LENGTH for j in sampled) / len(sampled)
        metrics["groups/zero_variance"] = sum(g.has_zero_variance for g in batch.groups) / len(batch.groups)
        metrics["groups/kept"] = len(batch.groups) / wanted
    if (entropy := sampled_entropy(batch.groups)) is not None:
        metrics["policy/entropy"] = entropy
    return metrics | scores(batch.groups) | _rewards(measured) | earning


def scores(groups: Sequence[Group]) -> dict[str, float]:
    """`score/mean`, `score/std` and `score/<family>`: verdicts of sampled replies; without any, of demonstrations."""
    judged = [(group.example.family, j) for group in groups for j in group.replies]
    measured = [(family, j) for family, j in judged if not j.reply.is_demo] or judged
    known = [(family, j.verdict.score) for family, j in measured if j.verdict.score is not None]
    if not known:
        return {}
    metrics = {"score/mean": statistics.fmean(score for _, score in known)}
    for name in sorted({family for family, _ in known if family}):
        metrics[f"score/{name}"] = statistics.fmean(score for family, score in known if family == name)
    return metrics | ({"score/std": statistics.stdev(score for _, score in known)} if len(known) > 1 else {})


def _rewards(measured: Sequence[Judged]) -> dict[str, float]:
    """`reward/mean` and `reward/std` of what is trained on: scores, with what the recipe adds for format or length."""
    rewards = [j.reward for j in measured if j.reward is not None]
    metrics = {"reward/mean": statistics.fmean(rewards)} if rewards else {}
    return metrics | ({"reward/std": statistics.stdev(rewards)} if len(rewards) > 1 else {})


def _by_name(parts: Iterable[Mapping[str, Metric]]) -> dict[str, tuple[list[Tensor], Reduction]]:
    found: dict[str, tuple[list[Tensor], Reduction]] = {}
    for part in parts:
        for name, metric in part.items():
            found.setdefault(name, ([], metric.reduction))[0].append(metric.value)
    return found
