"""Evaluation = examples + sampler + scorer: accuracy with intervals, and every reply kept.

Greedy decoding gives the accuracy, k samples give pass@k. A reply whose score could not be measured is left out and
counted; it is never wrong.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from firsthand.dataset import Encoder, model_config
from firsthand.policy import Policy
from firsthand.recipe import Data
from firsthand.records import Example, Judged, Record, Reply, Score, Status, StopReason, content_id
from firsthand.reward import Reward, Router
from firsthand.rollout import LocalSampler, Sampler, Sampling
from firsthand.run import Run, folder_id
from firsthand.scorers import router_of

HIT = 0.5
"""A reply counts as a success for pass@k from here on: 1 for answers that are right or wrong, IoU 0.5 for boxes."""
RESAMPLES = 2000
BATCH = 64
"""Examples per progress report."""
DEFAULT = Reward()
"""Verifiers for every kind but free text, which needs a scorer."""


class Protocol(Record):
    """How replies are drawn for an evaluation; printed with every number."""

    max_new_tokens: int = Field(default=256, gt=0)
    samples: int = Field(default=8, ge=0)
    """Sampled replies per example, for pass@k; 0 leaves pass@k unmeasured."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the samples; the accuracy is greedy."""
    seed: int = 0
    system: str | None = None


def evaluate_folder(
    model: Path,
    data: Data,
    protocol: Protocol,
    root: Path,
    on_progress: Callable[[int, int], None] = lambda done, all: None,
    *,
    name: str | None = None,
    reward: Reward = DEFAULT,
) -> Path:
    """Evaluate a Hugging Face folder on `data` in a run directory of its own; skipped when it is done already.

    `reward` says how answers are judged; what it adds for format or length plays no part in an accuracy.
    Raises DataError, before a directory is made, when the model or the data cannot be used.
    """
    examples = data.load()
    name = name or model.resolve().name
    model_config(model)
    with router_of(reward) as router:
        router.check(examples)
    recipe = {
        "name": name,
        "model": str(model),
        "model_id": folder_id(model),
        **settings(data, protocol, reward),
        "data_id": content_id(*(e.id for e in examples)),
    }
    with Run.open(root, f"evaluate-{name}", protocol.seed, recipe) as run:
        if not run.is_done:
            evaluate(model, examples, data, protocol, run, on_progress, reward)
            run.finish()
        return run.folder


def settings(data: Data, protocol: Protocol, reward: Reward = DEFAULT) -> dict[str, Any]:
    """What decides an evaluation's numbers, as JSON; how answers are judged only where that is not the default."""
    judged = {
        key: value
        for key, value in reward.model_dump(mode="json", include={"box", "open", "function"}).items()
        if value != getattr(DEFAULT, key)
    }
    return {
        "data": data.model_dump(mode="json"),
        "protocol": protocol.model_dump(mode="json"),
        **({"reward": judged} if judged else {}),
    }


def evaluate(
    model: Path,
    examples: Sequence[Example],
    data: Data,
    protocol: Protocol,
    run: Run,
    on_progress: Callable[[int, int], None] = lambda done, all: None,
    reward: Reward = DEFAULT,
) -> dict[str, Any]:
    """Write scores.jsonl and evaluation.json of a model folder into an open run; the content of evaluation.json."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy, encoder = Policy.load(model, device=device), Encoder.load(model)
    with router_of(reward) as router:
        router.check(examples)
        scores: list[Score] = []
        for first in range(0, len(examples), BATCH):
            scores += score(examples[first : first + BATCH], LocalSampler(policy, encoder), encoder, router, protocol)
            on_progress(len(scores), len(examples))
    run.keep_pictures(picture for example in examples for picture in example.images)
    run.write_records("scores.jsonl", scores)
    table = {**settings(data, protocol, reward), **tabulate(scores, protocol.samples)}
    run.write_json("evaluation.json", table)
    return table


def score(
    examples: Sequence[Example], sampler: Sampler, encoder: Encoder, router: Router, protocol: Protocol
) -> list[Score]:
    """Sample and judge."""
    prompts = [encoder.prompt(example, protocol.system) for example in examples]
    greedy = sampler.sample(
        prompts, 1, Sampling(max_new_tokens=protocol.max_new_tokens, temperature=0, seed=protocol.seed)
    )
    drawn: list[tuple[Reply, ...]] = [()] * len(examples)
    if protocol.samples:
        settings = Sampling(
            max_new_tokens=protocol.max_new_tokens, temperature=protocol.temperature, seed=protocol.seed
        )
        drawn = sampler.sample(prompts, protocol.samples, settings)
    pairs = [(r.text, e) for e, g, d in zip(examples, greedy, drawn, strict=True) for r in (*g, *d)]
    verdicts = iter(router.judge_many(pairs))
    scores = []
    for example, first, others in zip(examples, greedy, drawn, strict=True):
        judged = tuple(Judged(reply=reply, verdict=next(verdicts)) for reply in (*first, *others))
        scores.append(
            Score(
                example_id=example.id,
                family=example.family,
                question=example.question,
                gold=example.answer.text,
                images=tuple(picture.sha256 for picture in example.images),
                greedy=judged[0],
                samples=judged[1:],
            )
        )
    return scores


def tabulate(scores: Sequence[Score], samples: int) -> dict[str, Any]:
    """The table of an evaluation: overall and per family. Keys that were not measured are absent."""
    families = sorted({s.family for s in scores if s.family})
    table = _row(scores, samples)
    if families:
        table["families"] = {name: _row([s for s in scores if s.family == name], samples) for name in families}
    return table


def _row(scores: Sequence[Score], samples: int) -> dict[str, Any]:
    greedy = [s.greedy for s in scores if s.greedy is not None]
    known = [j.verdict.score for j in greedy if j.verdict.score is not None]
    row: dict[str, Any] = {"n": len(known), "unmeasured": len(greedy) - len(known)}
    if known:
        row |= {"accuracy": statistics.fmean(known), "ci95": list(interval(known))}
        row["truncated"] = statistics.fmean(j.reply.stop is StopReason.LENGTH for j in greedy)
        row["unparsed"] = statistics.fmean(j.verdict.status in (Status.UNPARSED, Status.WRONG_FORMAT) for j in greedy)
        row["reply_tokens"] = statistics.fmean(len(j.reply.token_ids) for j in greedy)
    hits = [[j.verdict.score >= HIT for j in s.samples if j.verdict.score is not None] for s in scores]
    hits = [h for h in hits if len(h) == samples]  # pass@k of fewer draws would be another quantity
    if samples and hits:
        ks = [k for k in (1, 2, 4, 8, 16, 32) if k <= samples]
        row["pass_at"] = {str(k): statistics.fmean(pass_at(k, samples, sum(h)) for h in hits) for k in ks}
    sampled = [j.verdict.score for s in scores for j in s.samples if j.verdict.score is not None]
    if sampled:
        row["sampled_accuracy"] = statistics.fmean(sampled)
    return row


def pass_at(k: int, n: int, hits: int) -> float:
    """Unbiased estimate of the chance that at least one of k draws succeeds, from n draws of which `hits` did.

    `1 - C(n - hits, k) / C(n, k)` (Chen et al., arXiv:2107.03374, eq. 1). Raises ValueError unless k <= n.
    """
    if k > n:
        raise ValueError(f"pass@{k} needs at least {k} samples per example, got {n}")
    return 1 - math.comb(n - hits, k) / math.comb(n, k)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile-bootstrap interval of the mean, examples being the unit. Reproducible.

    Where all values agree a bootstrap collapses to a point; for 0s or 1s the Wilson interval is given instead.
    """
    array = np.asarray(values, dtype=np.float64)
    if set(array.tolist()) <= {0.0, 1.0}:
        return wilson(int(array.sum()), len(array))
    draws = np.random.default_rng(0).integers(0, len(array), (RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion (1927): right even when all or none succeed."""
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half) if hits else 0.0, min(1.0, centre + half) if hits < n else 1.0
