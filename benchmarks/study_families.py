"""How two arms of a finished study differ on some of its families: what a verdict says of all of them together.

    python benchmarks/study_families.py runs/text grpo base --without letter_counting

Greedy replies, paired by item and seed, with the interval of the study's verdicts (`firsthand.crossed`), without a
correction: what is looked at afterwards is no verdict. Prints JSON, differences in points.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from firsthand.crossed import crossed
from firsthand.evaluation.replies import read_journal
from firsthand.run import recipe_of


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("arm")
    parser.add_argument("against")
    parser.add_argument("--without", nargs="*", default=[], help="families to leave out")
    args = parser.parse_args()
    first, second = (_scores(args.study, arm, args.without) for arm in (args.arm, args.against))
    seeds = sorted(first.keys() & second.keys())
    items = sorted(set.intersection(*(set(table[seed]) for table in (first, second) for seed in seeds)))
    found = crossed(np.array([[first[seed][item] - second[seed][item] for item in items] for seed in seeds]))
    points = [round(100 * value, 1) for value in (found.value, found.low, found.high)]
    print(json.dumps({"arms": [args.arm, args.against], "points": points, "items": len(items), "seeds": seeds}))


def _scores(study: Path, arm: str, without: list[str]) -> dict[int, dict[str, float]]:
    """Seed of a training -> item -> score of its greedy reply."""
    recipes = [recipe_of(path.parent) for path in sorted(study.glob("*/recipe.json"))]
    seeds = {r["id"]: r.get("seed", 0) for r in recipes if r.get("name") == arm and "evaluates" not in r}
    found = {}
    for path in study.glob(f"evaluate-{arm}-s*/scores.jsonl"):
        if (seed := seeds.get(recipe_of(path.parent).get("evaluates"))) is not None:
            found[seed] = {
                score.example_id: score.greedy.verdict.score
                for score in read_journal(path)
                if score.greedy and score.greedy.verdict.score is not None and score.family not in without
            }
    return found


if __name__ == "__main__":
    main()
