"""What it saves that a vLLM server writes the next step's replies while one is trained (`staleness` in a recipe).

    OMP_NUM_THREADS=1 python benchmarks/overlap.py --url http://localhost:8000 --rounds 3

Needs a running server of the small model (docs/scale.md), with devices of its own: on a machine of two cores, one for
it and one for this. Each round trains once for each staleness, in turns, with seeds of its own; the first step, which
waits for all of its replies whatever the staleness, does not count. Prints JSON: medians over rounds of seconds per
step and of those that were waited for replies, the share of the first staleness's time, and what was learned.
"""

import argparse
import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from firsthand.recipe import Recipe
from firsthand.records import Step, records_in
from firsthand.trainer import train


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--staleness", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {staleness: [] for staleness in args.staleness}
    with TemporaryDirectory() as place:
        for seed in range(args.rounds):
            for staleness in args.staleness:
                run = train(_recipe(args, staleness, seed), Path(place))
                found[staleness].append(_measured(list(records_in(run / "metrics.jsonl", Step))[1:]))
    table = {str(staleness): _medians(rounds) for staleness, rounds in found.items()}
    first = table[str(args.staleness[0])]["seconds"]
    print(json.dumps({**vars(args), "found": {k: {**v, "share": v["seconds"] / first} for k, v in table.items()}}))


def _recipe(args: argparse.Namespace, staleness: int, seed: int) -> Recipe:
    content: dict[str, Any] = {
        "name": f"stale-{staleness}",
        "model": args.model,
        "data": {"worlds": ["count"], "number": 128, "level": "easy"},
        "objective": {"kind": "grpo", "group_size": 8},
        "steps": args.steps,
        "prompts": args.prompts,
        "sampling": {"max_new_tokens": args.tokens},
        "optimizer": {"lr": 5e-5},
        "rollout": {"url": args.url},
        "staleness": staleness,
        "precision": "float32",
        "seed": seed,
    }
    return Recipe.model_validate(content)


def _measured(steps: list[Step]) -> dict[str, float]:
    return {
        "seconds": statistics.median(step.seconds for step in steps),
        "waited": statistics.median(step.timing["rollout"] for step in steps),
        "push": statistics.median(step.timing["push"] for step in steps),
        "update": statistics.median(step.timing["update"] for step in steps),
        "reward": statistics.fmean(step.metrics["reward/mean"] for step in steps),
        "stale": statistics.fmean(step.metrics.get("reply/stale", 0.0) for step in steps),
        "ess": statistics.fmean(step.metrics["parity/ess"] for step in steps),
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main()
