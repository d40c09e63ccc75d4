"""What a GRPO step would take on several GPUs: on paper, from what one GPU was measured to take and the speed of links.

    python benchmarks/scale_on_paper.py benchmarks/results/gpu-h100-2026-11-26.json

Nothing here was run on more than one GPU. Each GPU has as many prompts as the measured one (weak scaling), so a step of
N GPUs has N times the prompts. Added to the measured step:

    waiting     replies have lognormal lengths of one mean, cut at four times it; a rank that is done writing waits for
                the longest reply of all ranks, where one GPU waits for the longest of its own
    imbalance   of the update, by the trainer's own dealing (`firsthand.trainer.ranks.balanced`)
    copies      one sum of float32 gradients over a ring: 2 (N - 1) / N of their bytes through each link
    divided     weights gathered for writing once, and for each forward and backward; gradients in float32 handed out
                after each: (N - 1) / N of their bytes each time. Nothing overlaps, which is the worst case: FSDP2
                gathers a layer while the one before it computes

Links carry 80 % of what their makers state (an assumption): NVLink 4 450 GB/s, InfiniBand NDR 50 GB/s for each GPU.
"""

import json
import math
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_tables import result_of, table

from firsthand.trainer.ranks import Ranks, balanced

PARAMETERS = 3.09e9
"""Language weights of Qwen2.5-VL-3B."""
SHARE = 0.8
LINKS = {"NVLink": 450e9, "InfiniBand": 50e9}
CASES = ((1, "NVLink"), (2, "NVLink"), (8, "NVLink"), (16, "InfiniBand"), (64, "InfiniBand"))
FORWARDS = 4
"""Of an update: one for each prompt, the most that memory could ask for."""
SPREAD = 0.5
"""Standard deviation of the logarithm of a reply's length."""
DRAWS = 200


class _Numbered:
    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size


def lengths(prompts: int, replies: int, mean: int, dice: random.Random) -> list[list[int]]:
    """Of the replies to each prompt, in tokens."""
    middle = math.log(mean) - SPREAD**2 / 2
    return [[min(4 * mean, round(dice.lognormvariate(middle, SPREAD))) for _ in range(replies)] for _ in range(prompts)]


def waits(ranks: int, prompts: int, replies: int, mean: int, prompt: int) -> tuple[float, float]:
    """Mean of the longest reply of all ranks to that of one; and of the largest update to the mean one's."""
    dice, longest, alone, load = random.Random(0), 0.0, 0.0, 0.0
    for _ in range(DRAWS):
        drawn = lengths(ranks * prompts, replies, mean, dice)
        longest += max(map(max, drawn))
        alone += max(map(max, drawn[:prompts]))
        sizes = [prompt + sum(group) for group in drawn]
        parts = [sum(balanced(sizes, int, _rank(number, ranks))) for number in range(ranks)]
        load += max(parts) * ranks / sum(parts)
    return longest / alone, load / DRAWS


def _rank(number: int, size: int) -> Ranks:
    rank: Any = _Numbered(number, size)
    return rank


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A step of each case, in seconds and their parts."""
    learning, whole = (result_of(results, "step", name) or {} for name in ("update", "full step"))
    update, step = learning["firsthand"]["seconds"], whole["slots"]["seconds"]
    prompts, replies = learning["prompts"], learning["replies"]
    prompt, mean = learning["tokens of a prompt"], learning["tokens of a reply"]
    found = []
    for ranks, link in CASES:
        rate, part = SHARE * LINKS[link], (ranks - 1) / ranks
        longest, load = waits(ranks, prompts, replies, mean, prompt)
        waiting, imbalance = (longest - 1) * (step - update), (load - 1) * update
        weights, gradients = 2 * PARAMETERS, 4 * PARAMETERS
        parts = {
            "waiting": waiting,
            "imbalance": imbalance,
            "copies": 2 * part * gradients / rate,
            "divided": part * (weights + FORWARDS * (2 * weights + gradients)) / rate,
        }
        found.append({"ranks": ranks, "link": link, "writing": step - update, "update": update, **parts})
    return found


def scale(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of docs/performance.md."""
    made = []
    for row in rows(results):
        one = row["writing"] + row["update"]
        before = one + row["waiting"] + row["imbalance"]
        cells = [f"{row[name]:.2f}" for name in ("writing", "waiting", "update", "imbalance", "copies", "divided")]
        shares = [f"{one / (before + row[how]):.0%}" for how in ("copies", "divided")]
        made.append([str(row["ranks"]), row["link"] if row["ranks"] > 1 else "", *cells, *shares])
    titles = ["GPUs", "links", "writing", "waiting", "update", "imbalance", "sum of gradients", "or divided weights"]
    return table([*titles, "copies scale to", "divided weights to"], made)


if __name__ == "__main__":
    print(scale(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
