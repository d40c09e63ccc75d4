"""What share of the machine's matmul rate a GRPO step of a real text model reaches, in rollout and in update.

    firsthand model smollm2 --out models/smollm2
    OMP_NUM_THREADS=1 python benchmarks/matmul_share.py models/smollm2 --rounds 6

Questions of reasoning-gym, 8 replies of 64 tokens each. The rate is that of a product of two matrices of 2,048 x 2,048
numbers in the same precision, measured before and after each part: what slows the machine for a while slows both. The
operations are those of `policy.flops`, so nothing that a part does beside its products counts as work. On the CPU;
prints JSON.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import seconds_of

from firsthand.objective import GRPO
from firsthand.policy import Policy
from firsthand.policy.precision import DTYPE, Precision
from firsthand.processor import Encoder
from firsthand.recipe import Data, Optimizer, Recipe
from firsthand.records import Judged, Status, Verdict
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.trainer.batch import Group
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.trainer.update import update

SIZE = 2048
PRODUCTS = 4
PRECISIONS: tuple[Precision, Precision] = ("float32", "bfloat16")


class Side:
    """A model in one precision, and its training."""

    def __init__(self, folder: Path, precision: Precision, prompts: int, group: int, tokens: int) -> None:
        self.dtype = DTYPE[precision]
        self.recipe = Recipe(
            name="share",
            model=str(folder),
            data=Data(environment="reasoning-gym", tasks=("leg_counting", "chain_sum"), number=prompts),
            objective=GRPO(group_size=group),
            optimizer=Optimizer(lr=1e-6),
            sampling=Sampling(max_new_tokens=tokens),
            precision=precision,
            prompts=prompts,
        ).settled(None)
        self.policy, encoder = Policy.load(folder, dtype=self.dtype), Encoder.load(folder)
        self.state = State(self.policy, encoder, Updater(self.policy.parameters, self.recipe.optimizer), None, 0, 0.0)
        self.examples = self.recipe.data.load()
        self.prompts = [encoder.prompt(example) for example in self.examples]
        self._sampler = LocalSampler(self.policy, encoder)
        self._sampler.stop_ids = ()  # every reply has all its tokens
        self.groups: list[Group] = []
        square = torch.randn(2, SIZE, SIZE, dtype=self.dtype)
        self._factors = square[0], square[1]

    def multiply(self) -> None:
        """Products whose rate is the machine's."""
        for _ in range(PRODUCTS):
            torch.mm(*self._factors)

    def rollout(self) -> None:
        """Replies to all prompts; every second one is right."""
        settings, verdict = self.recipe.sampling, Verdict(score=1.0, status=Status.OK)
        written = self._sampler.sample(self.prompts, self.recipe.objective.group_size, settings, seed=0)
        found = zip(self.examples, self.prompts, grouped(written, len(self.prompts)), strict=True)
        self.groups = [
            Group(
                example,
                prompt,
                tuple(
                    Judged(reply=r, verdict=verdict, reward=i % 2, advantage=i % 2 - 0.5) for i, r in enumerate(replies)
                ),
            )
            for example, prompt, replies in found
        ]

    def update(self) -> None:
        """An optimizer step on those."""
        update(self.state, self.groups, self.recipe, step=1)

    def operations(self, part: str) -> int:
        """Of a rollout, or of an update."""
        count = getattr(self.policy.flops, part)
        replies = [self.recipe.sampling.max_new_tokens] * self.recipe.objective.group_size
        return sum(count(len(prompt.token_ids), replies) for prompt in self.prompts)


def measure(sides: Sequence[Side], rounds: int) -> dict[str, Any]:
    """The sides' parts in turn, and the rate around each."""
    parts: dict[str, Callable[[Side], Callable[[], None]]] = {
        "rollout": lambda side: side.rollout,
        "update": lambda side: side.update,
    }
    for side in sides:  # not timed
        side.rollout()
        side.update()
    rates: dict[str, list[float]] = {side.recipe.precision: [] for side in sides}
    seconds: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side in sides:
            for name, part in parts.items():
                before, taken, after = map(seconds_of, (side.multiply, part(side), side.multiply))
                rate = 2 * PRODUCTS * 2 * SIZE**3 / (before + after)
                key = f"{side.recipe.precision} {name}"
                rates[side.recipe.precision].append(rate)
                seconds.setdefault(key, []).append(taken)
                shares.setdefault(key, []).append(side.operations(name) / taken / rate)
    return {
        "GFLOP/s": {precision: round(statistics.median(found) / 1e9, 1) for precision, found in rates.items()},
        "parts": {
            key: {
                "share": round(statistics.median(shares[key]), 3),
                "shares": [round(share, 3) for share in shares[key]],
                "seconds": round(statistics.median(taken), 3),
            }
            for key, taken in seconds.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a text model")
    parser.add_argument("--prompts", type=int, default=8, help="of a step (default: %(default)s)")
    parser.add_argument("--group", type=int, default=8, help="replies to each (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of each reply (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    said = parser.parse_args(arguments)
    before = os.getloadavg()
    sides = [Side(said.model, precision, said.prompts, said.group, said.tokens) for precision in said.precision]
    found = measure(sides, said.rounds)
    around = {"threads": torch.get_num_threads(), "load": [before, os.getloadavg()], "torch": torch.__version__}
    print(json.dumps({"prompts": said.prompts, "group": said.group, "tokens": said.tokens} | found | around, indent=2))


if __name__ == "__main__":
    main()
