"""What a batch says of itself: lines of rollouts.jsonl, and the metrics of a step."""

import math
import statistics
from collections.abc import Sequence

from firsthand.records import Judged, Rollout, Status, StopReason
from firsthand.trainer.gather import Member


def rollouts(batch: Sequence[Member], step: int) -> list[Rollout]:
    """The batch as lines of rollouts.jsonl."""
    return [
        Rollout(
            step=step,
            example_id=member.example.id,
            family=member.example.family,
            question=member.example.question,
            gold=member.example.answer.text,
            images=tuple(picture.sha256 for picture in member.example.images),
            group=member.group,
        )
        for member in batch
    ]


def summary(batch: Sequence[Member], drawn: int) -> dict[str, float]:
    """What a batch measures: rewards, statuses, lengths. What it does not measure is absent.

    `drawn` is how many prompts the recipe wanted. Of demonstrations beside sampled replies only the loss is reported.
    """
    everything = [j for member in batch for j in member.group]
    sampled = [j for j in everything if not j.reply.is_demo]
    judged = sampled or everything
    if not judged:
        return {"groups/kept": 0.0}
    metrics = {"reply/tokens": statistics.fmean(len(j.reply.token_ids) for j in judged)}
    metrics |= {f"status/{s}": sum(j.verdict.status is s for j in judged) / len(judged) for s in Status}
    if sampled:
        metrics["reply/truncated"] = sum(j.reply.stop is StopReason.LENGTH for j in sampled) / len(sampled)
        metrics["groups/zero_variance"] = sum(member.is_silent for member in batch) / len(batch)
        metrics["groups/kept"] = len(batch) / drawn
    if (entropy := sampled_entropy(batch)) is not None:
        metrics["policy/entropy"] = entropy
    return metrics | _scores(batch, bool(sampled)) | _rewards(judged)


def sampled_entropy(batch: Sequence[Member]) -> float | None:
    """The policy's mean entropy per sampled token (nats), estimated by -log-prob of what it sampled; None without."""
    logps = [p for member in batch for j in member.group if not j.reply.is_demo for p in j.reply.logprobs]
    return -math.fsum(logps) / len(logps) if logps else None


def _rewards(judged: Sequence[Judged]) -> dict[str, float]:
    """`reward/mean` and `reward/std` of what is trained on: scores, with what the recipe adds for format or length."""
    rewards = [j.reward for j in judged if j.reward is not None]
    metrics = {"reward/mean": statistics.fmean(rewards)} if rewards else {}
    return metrics | ({"reward/std": statistics.stdev(rewards)} if len(rewards) > 1 else {})


def _scores(batch: Sequence[Member], of_sampled: bool) -> dict[str, float]:
    """`score/mean`, `score/std` and `score/<family>`: verdicts of measured replies; for demonstrations, their own."""
    families = sorted({member.example.family for member in batch if member.example.family})
    scores = {
        name: [
            j.verdict.score
            for member in batch
            for j in member.group
            if j.verdict.score is not None and name in ("", member.example.family)
            if not (of_sampled and j.reply.is_demo)
        ]
        for name in ("", *families)
    }
    metrics = {f"score/{name or 'mean'}": statistics.fmean(known) for name, known in scores.items() if known}
    if len(scores[""]) > 1:
        metrics["score/std"] = statistics.stdev(scores[""])
    return metrics
