"""How often a study calls a healthy SFT arm not healthy, and a broken one healthy: real trainings of the small model.

    OMP_NUM_THREADS=1 python benchmarks/study_health.py --seeds 100-119 --json benchmarks/results/study-health.json

Per seed, on plain demonstrations: the tuned rate; rates that are ten times too high; and three ways to lose a tenth of
what is trained on, each put into the trainer's own code, and journalled as if nothing was lost. A try is carried out
whole, and appended to the file at once: the same command goes on.
"""

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch

from firsthand.config import build
from firsthand.findings import Check, CheckState
from firsthand.recipe import Recipe
from firsthand.study import Study, run_study
from firsthand.study.evidence import Training
from firsthand.study.health import checks_of
from firsthand.study.splitting import measure_split
from firsthand.trainer import loop, train, update
from firsthand.trainer.metrics import Metric

WORLDS = ["count", "digits", "chart", "geometry"]
TUNED = 3e-4
"""The least held-out loss of 3e-5, 1e-4, 3e-4, 1e-3 and 3e-3, in each of seeds 0 to 3."""
LOST = 0.1
Content = dict[str, Any]


def settings(seed: int, lr: float, steps: int, prompts: int) -> Content:
    """An SFT arm on the demo's data."""
    return {
        "name": "sft",
        "data": {"worlds": WORLDS, "number": 1024, "seed": 11},
        "objective": {"kind": "sft", "style": "plain"},
        "sampling": {"max_new_tokens": 160},
        "optimizer": {"lr": lr, "warmup": 0.05, "floor": 0.1},
        "steps": steps,
        "prompts": prompts,
        "seed": seed,
    }


def probe(every: int) -> Content:
    """Held-out questions with demonstrations; these are measured four times as often."""
    return {"probe": {"data": {"worlds": WORLDS, "split": "validation", "number": 24, "seed": 13}, "every": every}}


def healthy(seed: int, root: Path) -> Sequence[Check]:
    """All checks of a study of one arm, its evaluation included."""
    shared = {key: value for key, value in settings(seed, TUNED, 30, 8).items() if key not in ("name", "seed")}
    test = {"data": {"worlds": WORLDS, "split": "test", "number": 24, "seed": 12}, "protocol": {"samples": 0}}
    content = {"shared": shared | probe(15), "arms": {"sft": {}}, "evaluation": test}
    run_study(build(Study, content, "study"), root, seed)
    [health] = json.loads((root / "results.json").read_text())["health"]
    return [Check.model_validate(check) for check in health["checks"]]


def too_fast(seed: int, root: Path, lr: float) -> Sequence[Check]:
    """The checks of a training at another rate; without an evaluation, which might find more."""
    return of_run(build(Recipe, settings(seed, lr, 30, 8) | probe(15), "arm"), root)


def of_run(recipe: Recipe, root: Path) -> Sequence[Check]:
    """The checks of a training, without the one of micro-batches."""
    folder = train(recipe, root)
    return checks_of([Training.read(folder, recipe.settled(None))], None)


def lost_gradient(seed: int, root: Path) -> Sequence[Check]:
    """One forward in ten leaves no gradient, and is journalled as if it did; the check runs in the same code."""
    recipe = build(Recipe, settings(seed, TUNED, 3, 16), "arm").settled(None)
    rng, whole = random.Random(seed), update._accumulate
    lost = 0

    def broken(*arguments: Any) -> dict[str, Metric]:
        nonlocal lost
        if rng.random() >= LOST:
            return whole(*arguments)
        lost += 1
        state, forward, totals, recipe, _, is_on_policy = arguments
        with torch.no_grad():
            terms, measured, _ = update._forward(state, forward, totals, recipe, is_on_policy)
        return {f"loss/{name}": Metric(term.cpu(), "mean") for name, term in terms.items()} | measured

    with patch.object(update, "_accumulate", broken):
        folder = train(recipe, root)
        found = [measure_split(recipe, folder, root), *checks_of([Training.read(folder, recipe)], None)]
    # Chance may lose none: then nothing was broken.
    return [*found, Check(name="lost forwards", state=CheckState.UNMEASURED, what="of the try", value=float(lost))]


def lost_forward(seed: int, root: Path) -> Sequence[Check]:
    """One group in ten is left out where a step is split into forwards."""
    rng, whole = random.Random(seed), update.split

    def broken(groups: Sequence[Any], *arguments: Any) -> Iterator[list[Any]]:
        return whole([group for group in groups if rng.random() >= LOST], *arguments)

    with patch.object(update, "split", broken):
        return of_run(build(Recipe, settings(seed, TUNED, 10, 8), "arm"), root)


def lost_batch(seed: int, root: Path) -> Sequence[Check]:
    """Every tenth batch is drawn and journalled, and not trained on."""
    whole, missed = loop.update, seed % 10

    def broken(state: Any, groups: Any, recipe: Recipe, step: int, place: int | None = None) -> dict[str, float]:
        return whole(state, () if step % 10 == missed else groups, recipe, step, place)

    with patch.object(loop, "update", broken):
        return of_run(build(Recipe, settings(seed, TUNED, 10, 8), "arm"), root)


KINDS: dict[str, Callable[[int, Path], Sequence[Check]]] = {
    "healthy": healthy,
    "rate x 10 (3e-3)": lambda seed, root: too_fast(seed, root, 10 * TUNED),
    "rate 1e-3": lambda seed, root: too_fast(seed, root, 1e-3),
    "forward's gradient lost": lost_gradient,
    "forward lost": lost_forward,
    "batch lost": lost_batch,
}


def attempt(kind: str, seed: int) -> Content:
    """One try: what failed, what was not measured, and every value."""
    began = time.process_time()
    with TemporaryDirectory() as folder:
        checks = KINDS[kind](seed, Path(folder))
    return {
        "kind": kind,
        "seed": seed,
        "failed": [check.name for check in checks if check.state is CheckState.FAILED],
        "unmeasured": [check.name for check in checks if check.state is CheckState.UNMEASURED],
        "values": {check.name: [check.value, check.limit] for check in checks if check.value is not None},
        "cpu_s": round(time.process_time() - began, 1),
    }


def main() -> None:
    """Carry out the tries that the file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100-119")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--json", type=Path, required=True)
    said = parser.parse_args()
    first, last = map(int, said.seeds.split("-"))
    tries: list[Content] = json.loads(said.json.read_text())["tries"] if said.json.exists() else []
    for seed in range(first, last + 1):
        for kind in said.kinds:
            if any(one["kind"] == kind and one["seed"] == seed for one in tries):
                continue
            tries.append(attempt(kind, seed))
            said.json.write_text(json.dumps({"tries": tries}, indent=1) + "\n")
            print(json.dumps(tries[-1]), flush=True)
    found = Counter(one["kind"] for one in tries if one["failed"])
    for kind, number in Counter(one["kind"] for one in tries).items():
        print(f"{kind}: {found[kind]} of {number} called not healthy")


if __name__ == "__main__":
    main()
