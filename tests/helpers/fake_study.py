"""What a study of the fake runs might have found, and its results.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firsthand.findings import Check, CheckState, Effect, Health, StudyVerdict, Tuned


def _verdict(
    name: str, arm: str, against: str, effect: Effect, said: str, numbers: Sequence[float], **more: Any
) -> StudyVerdict:
    difference, low, high, p, p_corrected = numbers
    return StudyVerdict(
        name=name, ask=f"Does {name} help?", arms=(arm,), against=(against,), measure="greedy", effect=effect,
        sentence=said, difference=difference, low=low, high=high, p=p, p_corrected=p_corrected, items=1000, seeds=5,
        **more,
    )  # fmt: skip


VERDICTS = (
    _verdict("RL", "grpo", "base", Effect.HELPS, "RL helps: 24.3 points.", (0.243, 0.2, 0.284, 1e-4, 4e-4)),
    _verdict("SFT before RL", "sft+grpo", "grpo", Effect.HURTS, "It hurts.", (-0.031, -0.052, -0.01, 0.004, 0.012)),
    _verdict(
        "a dynamic KL", "grpo", "sft+grpo", Effect.OPEN, "Not resolved: 0.6 points.", (0.006, -0.012, 0.024, 0.5, 0.5),
        needed_items=9000, needed_seeds=40,
    ),
    _verdict(
        "SFT", "sft", "base", Effect.UNHEALTHY, "sft is ill.", (0.02, -0.011, 0.051, 0.2, 0.4),
        unhealthy=("sft",),
    ),
)  # fmt: skip


def _health(arm: str, rate: CheckState) -> Health:
    remedy = "a rate of 1e-4" if rate is CheckState.FAILED else ""
    return Health(
        arm=arm,
        checks=(
            Check(name="micro-batches", state=CheckState.PASSED, what="The gradient moves by 1.2e-7."),
            Check(name="rate", state=rate, what="The rate is 1e-3.", value=1e-3, limit=5e-4, remedy=remedy),
            Check(name="demonstrations", state=CheckState.UNMEASURED, what="There is no verifier for them."),
        ),
    )  # fmt: skip


HEALTH = (
    Health(arm="base", checks=()),
    _health("sft", CheckState.FAILED),
    _health("grpo", CheckState.PASSED),
    _health("sft+grpo", CheckState.PASSED),
)
TUNED = (
    Tuned(
        arm="sft",
        settings={"optimizer.lr": 1e-3, "stop": 40},
        accuracy=0.61,
        grid={"optimizer.lr": (1e-4, 1e-3)},
        tries=12,
        edges=("optimizer.lr",),
    ),
)
BUDGET: dict[str, Any] = {
    "match": "flops",
    "of": "grpo",
    "arms": {
        "grpo": {"steps": 60, "generated": 123456, "trained": 99000, "flops": 3.2e15, "seconds": 312.0},
        "sft": {"steps": 90, "generated": 0, "trained": 120000, "flops": 4.8e15, "seconds": 200.0},
    },
    "own": {"sft": {"steps": 30, "generated": 0, "trained": 40000, "flops": 1.6e15, "seconds": 67.0}},
}


def write_results(folder: Path, **parts: Any) -> None:
    """The file of these parts: records, or what JSON has."""
    plain = {
        name: [one.model_dump(mode="json") for one in part] if isinstance(part, Sequence) else part
        for name, part in parts.items()
    }
    (folder / "results.json").write_text(json.dumps({"arms": {}, **plain}))
