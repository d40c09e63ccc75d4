"""Are the verdicts of studies right as often as they say? Simulated studies, whose truth is known.

    python benchmarks/study_statistics.py --json benchmarks/results/study-statistics.json

An item is right by chance, with log odds that are a sum of normal parts: of its arm, of the item for all arms (2), of
the item for one arm (`own`), of the seed (`luck`; half of its variance common to all arms) and of seed and item (0.5).
The true accuracy of an arm is its mean over all items and seeds, found by integration.

Measured: how often a 95 % interval holds the true difference, beside two bootstraps and the sum of variances; how often
a study of equal arms has a verdict on any of its questions; how often a true difference is resolved; and whether a
study of the size that a verdict asks for resolves it. Prints the tables of docs/studies.md.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from firsthand.crossed import Crossed, corrected, crossed, needed_items, needed_seeds, power
from firsthand.stats import FEWEST_PAIRS, LEVEL, paired_test

Array = NDArray[np.float64]

DIFFICULTY, JITTER, COMMON = 2.0, 0.5, 0.5
SEEDS, ITEMS, LUCKS, OWNS = (3, 5, 10), (50, 200, 1000), (0.0, 0.1, 0.3, 1.0), (0.0, 1.0)
PAIRS = ((0.15, 0.1), (0.5, 0.5), (0.6, 0.5), (0.95, 0.95), (0.97, 0.93))
BLOCK = 4_000_000
"""Scores that are drawn at once."""


class World(NamedTuple):
    """How studies come out: their size, and what chance does."""

    seeds: int
    items: int
    accuracies: tuple[float, ...]
    """Of each arm."""
    luck: float
    own: float = 0.0
    untrained: int = 0
    """So many arms, the first ones, have no luck: one result under every seed."""

    def scores(self, rng: Generator, studies: int) -> Iterator[Array]:
        """Scores [arms, S, N] of study after study."""
        block = max(1, BLOCK // (len(self.accuracies) * self.seeds * self.items))
        for start in range(0, studies, block):
            yield from self._block(rng, min(block, studies - start))

    def _block(self, rng: Generator, R: int) -> Array:
        A, S, N = len(self.accuracies), self.seeds, self.items
        odds = rng.normal(0, DIFFICULTY, (R, 1, 1, N)) + rng.normal(0, self.own, (R, A, 1, N))
        luck = sqrt(COMMON) * rng.normal(0, 1, (R, 1, S, 1)) + sqrt(1 - COMMON) * rng.normal(0, 1, (R, A, S, 1))
        noise = rng.normal(0, JITTER, (R, A, S, N))
        coins = rng.random((R, A, S, N))
        trained = np.arange(A)[:, None, None] >= self.untrained
        noise, coins = np.where(trained, noise, noise[:, :, :1]), np.where(trained, coins, coins[:, :, :1])
        lucks = np.where(trained, self.luck, 0.0)
        centres = [log_odds(p, lucky) for p, lucky in zip(self.accuracies, self._spreads(), strict=True)]
        odds = odds + np.array(centres)[:, None, None] + lucks * luck + noise
        return (coins < 1 / (1 + np.exp(-odds))).astype(np.float64)

    def _spreads(self) -> list[float]:
        """The standard deviation of each arm's log odds over all items and seeds."""
        lucks = [0.0 if arm < self.untrained else self.luck for arm in range(len(self.accuracies))]
        return [sqrt(DIFFICULTY**2 + self.own**2 + JITTER**2 + luck**2) for luck in lucks]

    @property
    def difference(self) -> float:
        """The true one, of the first arm and the second."""
        return self.accuracies[0] - self.accuracies[1]


_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@cache
def log_odds(accuracy: float, spread: float) -> float:
    """The mean of normal log odds with which so many are right; by Gauss and Hermite's integration."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float((_WEIGHTS / (1 + np.exp(-middle - spread * _NODES))).sum() / _WEIGHTS.sum())
        low, high = (middle, high) if mean < accuracy else (low, middle)
    return (low + high) / 2


# ---- intervals

Ends = tuple[float, float]


def ours(first: Array, second: Array) -> Ends:
    """The interval of verdicts."""
    found = crossed(first - second)
    return found.low, found.high


def seed_bootstrap(first: Array, second: Array) -> Ends:
    """Percentiles over resampled seeds; items as they are."""
    means_S, rng = (first - second).mean(axis=1), np.random.default_rng(0)
    return _percentiles(means_S[rng.integers(len(means_S), size=(1000, len(means_S)))].mean(axis=1))


def crossed_bootstrap(first: Array, second: Array) -> Ends:
    """Percentiles over resampled seeds and items, each by itself (the pigeonhole bootstrap, Owen 2007)."""
    D, rng = first - second, np.random.default_rng(0)
    S, N = D.shape
    seeds, items = (rng.multinomial(n, [1 / n] * n, size=500) / n for n in (S, N))
    return _percentiles(((seeds @ D) * items).sum(axis=1))


def summed(first: Array, second: Array) -> Ends:
    """Of `firsthand compare`: the variance over seeds of either side is added to that of the items."""
    found = paired_test(first, second).difference
    assert found.low is not None and found.high is not None
    return found.low, found.high


def _percentiles(means: Array) -> Ends:
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def coverage(world: World, interval: Callable[[Array, Array], Ends], studies: int, seed: int = 0) -> float:
    """The share of studies whose interval holds the true difference."""
    found = (interval(*scores) for scores in world.scores(np.random.default_rng(seed), studies))
    return sum(low - 1e-9 <= world.difference <= high + 1e-9 for low, high in found) / studies


# ---- verdicts


def verdicts(scores: Array, questions: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each question, an arm and another, is resolved; as in study/verdicts.py.

    A p-value above LEVEL is not computed, for no correction makes it smaller.
    """
    found = [crossed(scores[arm] - scores[against]) for arm, against in questions]
    ps = corrected([one.p if abs(one.value) > one.reach(LEVEL) else 1.0 for one in found])
    return [p <= LEVEL and scores.shape[-1] >= FEWEST_PAIRS for p in ps]


def any_verdict(world: World, questions: Sequence[tuple[int, int]], studies: int, seed: int = 0) -> float:
    """The share of studies with a verdict on one question or more; all are false where the arms are equal."""
    found = (any(verdicts(scores, questions)) for scores in world.scores(np.random.default_rng(seed), studies))
    return sum(found) / studies


def resolved(world: World, studies: int, level: float = LEVEL, seed: int = 0) -> float:
    """The share of studies in which the difference of the first two arms is resolved at a level, in its direction."""
    found = (crossed(scores[0] - scores[1]) for scores in world.scores(np.random.default_rng(seed), studies))
    return sum(one.value * world.difference > 0 and abs(one.value) > one.reach(level) for one in found) / studies


def truth(world: World, studies: int = 400, seed: int = 1) -> Crossed:
    """The parts of a difference, as means over many studies."""
    found = [crossed(scores[0] - scores[1]) for scores in world.scores(np.random.default_rng(seed), studies)]
    parts = np.mean([(one.by_seed or 0.0, one.by_item, one.rest) for one in found], axis=0)
    return Crossed(world.difference, world.seeds, world.items, *map(float, parts))


def star(arms: int) -> list[tuple[int, int]]:
    """Every arm against the first."""
    return [(arm, 0) for arm in range(1, arms)]


# ---- the tables


def measure_coverage(studies: int) -> list[dict[str, Any]]:
    """Ours, over all worlds."""
    rows = []
    for S in SEEDS:
        for N in ITEMS:
            for own in OWNS:
                for luck in LUCKS:
                    for pair in PAIRS:
                        share = coverage(World(S, N, pair, luck, own), ours, studies)
                        rows.append({"seeds": S, "items": N, "own": own, "luck": luck, "pair": pair, "coverage": share})
    return rows


def measure_others(studies: int) -> list[dict[str, Any]]:
    """What else might have been taken, on the same studies."""
    methods = {"ours": ours, "seeds alone": seed_bootstrap, "seeds and items": crossed_bootstrap, "summed": summed}
    return [
        {
            "seeds": S,
            "luck": luck,
            **{
                name: coverage(World(S, 200, (0.5, 0.5), luck, 0.5), method, studies)
                for name, method in methods.items()
            },
        }
        for S in SEEDS
        for luck in LUCKS
    ]


def measure_false_verdicts(studies: int) -> list[dict[str, Any]]:
    """Ten trained arms that are as good as the untrained one, each held against it; and against one of themselves."""
    rows = []
    for S in SEEDS:
        for N in (200, 1000):
            for p in (0.5, 0.9):
                for luck in (0.0, 0.1, 0.3):
                    for untrained in (0, 1):
                        world = World(S, N, (p,) * 11, luck, 0.0, untrained)
                        share = any_verdict(world, star(11), studies)
                        baseline = "untrained" if untrained else "trained"
                        rows.append(
                            {"seeds": S, "items": N, "accuracy": p, "luck": luck, "baseline": baseline, "false": share}
                        )
    return rows


def measure_power(studies: int) -> list[dict[str, Any]]:
    """Differences about 0.5, alone and as one of six questions, and what `power` says of them."""
    rows = []
    for S in SEEDS:
        for N in (200, 1000):
            for gain in (0.02, 0.05, 0.1):
                for luck in (0.1, 0.3):
                    world = World(S, N, (0.5 + gain, 0.5), luck, 0.5)
                    parts, levels = truth(world), {"one": LEVEL, "six": LEVEL / 6}
                    found = {name: resolved(world, studies, level) for name, level in levels.items()}
                    said = {f"{name}_said": power(parts, level) for name, level in levels.items()}
                    rows.append({"seeds": S, "items": N, "gain": gain, "luck": luck, **found, **said})
    return rows


def measure_needed(studies: int) -> list[dict[str, Any]]:
    """Studies of the size that the true parts of a smaller one ask for: the share of them that resolve."""
    rows = []
    for S, N, gain, luck in ((3, 200, 0.1, 0.0), (3, 200, 0.1, 0.1), (5, 200, 0.05, 0.1), (5, 500, 0.08, 0.2)):
        world = World(S, N, (0.5 + gain, 0.5), luck, 0.5)
        parts = truth(world)
        items, seeds = needed_items(parts, LEVEL), needed_seeds(parts, LEVEL)
        row: dict[str, Any] = {
            "seeds": S,
            "items": N,
            "gain": gain,
            "luck": luck,
            "needed_items": items,
            "needed_seeds": seeds,
        }
        if items is not None:
            row["with_items"] = resolved(world._replace(items=items), studies)
        if seeds is not None:
            row["with_seeds"] = resolved(world._replace(seeds=seeds), studies)
        rows.append(row)
    return rows


def tables(found: dict[str, Any]) -> Iterator[str]:
    """What docs/studies.md shows."""
    yield from ("| seeds | items | least | mean | most |", "|---|---|---|---|---|")
    for S in SEEDS:
        for N in ITEMS:
            shares = [100 * row["coverage"] for row in found["coverage"] if (row["seeds"], row["items"]) == (S, N)]
            yield f"| {S} | {N:,} | {min(shares):.1f} | {np.mean(shares):.1f} | {max(shares):.1f} |"
    yield from (
        "",
        "| seeds | luck | ours | bootstrap of seeds | of seeds and items | variances added up |",
        "|---|---|---|---|---|---|",
    )
    for row in found["others"]:
        shares = [row[name] for name in ("ours", "seeds alone", "seeds and items", "summed")]
        yield f"| {row['seeds']} | {row['luck']} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"
    yield from ("", "| seeds | mean | most |", "|---|---|---|")
    for S in SEEDS:
        shares = [100 * row["false"] for row in found["false_verdicts"] if row["seeds"] == S]
        yield f"| {S} | {np.mean(shares):.1f} | {max(shares):.1f} |"
    yield from ("", "| seeds | items | luck | 2 points | 5 points | 10 points |", "|---|---|---|---|---|---|")
    for S in SEEDS:
        for N in (200, 1000):
            for luck in (0.1, 0.3):
                some = [row for row in found["power"] if (row["seeds"], row["items"], row["luck"]) == (S, N, luck)]
                cells = [f"{100 * row['one']:.0f} / {100 * row['six']:.0f}" for row in some]
                yield f"| {S} | {N:,} | {luck} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="per row (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where the results go")
    args = parser.parse_args()
    began = time.perf_counter()
    parts: dict[str, Callable[[int], list[dict[str, Any]]]] = {
        "coverage": measure_coverage,
        "others": measure_others,
        "false_verdicts": measure_false_verdicts,
        "power": measure_power,
        "needed": measure_needed,
    }
    found: dict[str, Any] = {
        "studies": args.studies,
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
    }
    for name, measure in parts.items():
        found[name] = measure(args.studies)
        print(f"{name}: {time.perf_counter() - began:.0f} s")
    found["seconds"] = time.perf_counter() - began
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print("\n".join(tables(found)))


if __name__ == "__main__":
    main()
