"""What a precision gains and what it costs, on this machine: the numbers of docs/precision.md.

    python benchmarks/precision.py step              a step in bfloat16 beside the same one in float32
    python benchmarks/precision.py curves            losses by precision and optimizer, beside float32 AdamW's
    python benchmarks/precision.py parity            how far rollout and training are apart
    firsthand study benchmarks/precision.yaml --seeds 0 1 2 --out DIR
    python benchmarks/precision.py learning DIR      the demo's GRPO in bfloat16 beside float32, over seeds

On the CPU. Each prints what it found as JSON, with the load average: times mean little on a machine that does more.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_forms import gap_of, words_only
from gpu_workload import TINY, Size, policy_of, random_model, random_prompt
from timing import Pairs, alternate

from firsthand.objective import GRPO
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.precision import DTYPE, Precision
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Data, Optimizer, Recipe
from firsthand.records import Digit, Example, Judged, Reply, Status, Step, Verdict
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.trainer import optimizer as updating
from firsthand.trainer import state as states
from firsthand.trainer import train
from firsthand.trainer.batch import Group
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.trainer.update import update
from firsthand.worlds import SMALL

FIFTY_MILLION = dataclasses.replace(
    TINY,
    text={
        "vocab_size": 8192,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]},
    },
    vision=TINY.vision | {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 512},
    first_special=8000,
    grid=(1, 16, 16),
    words=56,
    group=8,
    tokens=64,
)
"""49 million parameters; prompts of 122 tokens with 64 of a picture, and replies of 64."""
A_135M = dataclasses.replace(
    FIFTY_MILLION,
    text=FIFTY_MILLION.text
    | {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    vision=FIFTY_MILLION.vision | {"out_hidden_size": 576},
    first_special=49000,
)
"""The shape of SmolLM2-135M."""
BOTH: tuple[Precision, Precision] = ("bfloat16", "float32")


class Side:
    """One model in one precision, and its training."""

    def __init__(self, precision: Precision, size: Size, prompts: int) -> None:
        self.policy = policy_of(random_model(size, "cpu").to(DTYPE[precision]))
        self.recipe = Recipe(
            name="a",
            data=Data(worlds=("count",)),
            objective=GRPO(group_size=size.group),
            optimizer=Optimizer(lr=1e-6),
            sampling=Sampling(max_new_tokens=size.tokens),
            precision=precision,
            prompts=prompts,
        ).settled(None)
        optimizer = Updater(self.policy.parameters, self.recipe.optimizer)
        self.state = State(self.policy, words_only(), optimizer, None, 0, 0.0)
        self._sampler = LocalSampler(self.policy, words_only())
        self._size = size

    def prompts(self, step: int) -> list[Prompt]:
        """Those of a step, with pictures that no other step has."""
        return [random_prompt(self._size, step * self.recipe.prompts + i) for i in range(self.recipe.prompts)]

    def sample(self, step: int) -> list[Group]:
        """Write replies, all of one length, to the prompts of a step; every second one is right."""
        prompts = self.prompts(step)
        written = self._sampler.sample(prompts, self._size.group, self.recipe.sampling, seed=step)
        return [_group(p, replies) for p, replies in zip(prompts, grouped(written, len(prompts)), strict=True)]

    def update(self, groups: Sequence[Group]) -> None:
        """An optimizer step on them."""
        update(self.state, groups, self.recipe, step=1)


def _group(prompt: Prompt, replies: Sequence[Reply]) -> Group:
    example = Example(question="?", images=(), answer=Digit(value="1"), id=prompt.example_id)
    verdict = Verdict(score=1.0, status=Status.OK)
    judged = [Judged(reply=r, verdict=verdict, reward=i % 2, advantage=i % 2 - 0.5) for i, r in enumerate(replies)]
    return Group(example, prompt, tuple(judged))


def step(size: Size, prompts: int, rounds: int) -> dict[str, Any]:
    """Seconds of an update on given replies, and of a whole step, in both precisions; above 1, bfloat16 is faster."""
    ours, theirs = (Side(precision, size, prompts) for precision in BOTH)
    given = [theirs.sample(1000 + i) for i in range(2)]
    parts: dict[str, Callable[[Side], Callable[[int], Callable[[], object]]]] = {
        "update": lambda side: lambda i: lambda: side.update(given[i % 2]),
        "rollout": lambda side: lambda i: lambda: side.sample(i),
        "step": lambda side: lambda i: lambda: side.update(side.sample(i)),
    }
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in ours.policy.model.parameters())}
    for name, part in parts.items():
        alternate(part(ours), part(theirs), range(2))  # not timed
        found[name] = _ratio(alternate(part(ours), part(theirs), range(2, 2 + rounds)))
    return found


def _ratio(pairs: Pairs) -> dict[str, Any]:
    ours, theirs = pairs.medians
    return {"ratio": pairs.ratio, "95 %": pairs.ci95, "bfloat16_s": ours, "float32_s": theirs}


def parity(precision: str, number: int) -> dict[str, Any]:
    """Log-probs of sampled tokens where they were sampled and in training: of all tokens, and the most of a group."""
    dtype = getattr(torch, precision)
    encoder = Encoder.load(SMALL)
    examples = Data(worlds=("count", "digits", "chart", "geometry"), number=number).load()
    small = _apart(Policy.load(SMALL, dtype=dtype), encoder, [encoder.prompt(e) for e in examples], 96)
    policy = policy_of(random_model(A_135M, "cpu").to(dtype))
    return {"small": small, "135M": _apart(policy, words_only(), [random_prompt(A_135M, i) for i in range(2)], 64)}


def _apart(policy: Policy, encoder: Any, prompts: Sequence[Prompt], tokens: int) -> dict[str, Any]:
    sampled = grouped(LocalSampler(policy, encoder).sample(prompts, 8, Sampling(max_new_tokens=tokens)), len(prompts))
    found, expected, means = [], [], []
    for prompt, replies in zip(prompts, sampled, strict=True):
        with torch.no_grad():
            logprobs = policy.logprobs([PrefixGroup(prompt, tuple(r.token_ids for r in replies))])
        found.append(logprobs.logp_BT[logprobs.mask_BT])
        expected.append(torch.tensor([p for r in replies for p in r.logprobs]))
        means.append(float((found[-1] - expected[-1]).abs().mean()))
    gap = gap_of(torch.cat(found), torch.cat(expected))
    return {"tokens": sum(map(len, found)), **gap, "largest mean of a group": max(means)}


CURVES: dict[str, dict[str, Any]] = {
    "float32, adamw-8bit": {"optimizer": {"kind": "adamw-8bit"}},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, adamw-8bit": {"precision": "bfloat16", "optimizer": {"kind": "adamw-8bit"}},
    "bfloat16, offload": {"precision": "bfloat16", "optimizer": {"offload": True}},
    "bfloat16-pure": {"precision": "bfloat16-pure"},
}


def curves(steps: int, prompts: int, lr: float) -> dict[str, Any]:
    """SFT of the small model: the share of float32 AdamW's fall in the loss that is missing at the end."""
    recipe = {
        "name": "curve",
        "data": {"worlds": ["count", "digits", "chart", "geometry"], "number": 4 * prompts, "seed": 11},
        "objective": {"kind": "sft", "style": "expert"},
        "steps": steps,
        "prompts": prompts,
    }

    def losses(precision: str = "float32", optimizer: dict[str, Any] | None = None) -> list[float]:
        how = {"lr": lr, "warmup": 0.05, "floor": 0.1, **(optimizer or {})}
        wanted = Recipe.model_validate({**recipe, "precision": precision, "optimizer": how})
        with tempfile.TemporaryDirectory() as root:
            lines = (train(wanted, Path(root)) / "metrics.jsonl").read_text().splitlines()
        return [Step.model_validate_json(line).metrics["loss/nll"] for line in lines]

    plain, last = losses(), max(1, steps // 4)
    end = statistics.fmean(plain[-last:])
    way = statistics.fmean(plain[:2]) - end

    def missing(found: list[float]) -> float:
        return (statistics.fmean(found[-last:]) - end) / way

    result = {"float32": plain} | {name: missing(losses(**how)) for name, how in CURVES.items()}
    with _replaced(updating, "dithered", lambda high: torch.zeros_like(high, dtype=torch.int16)):
        for precision in ("bfloat16", "bfloat16-pure"):
            result[f"{precision}, without dithering"] = missing(losses(precision))
    with _replaced(states, "Updater", _naive):
        result["bfloat16 weights and plain AdamW"] = missing(losses("bfloat16"))
    return result


def _naive(parameters: Sequence[torch.nn.Parameter], settings: Optimizer) -> Updater:
    """What a recipe may not ask for: AdamW on bfloat16 weights, with nothing beside them."""
    updater = Updater(parameters, settings.model_copy(update={"kind": "adamw-kahan"}))
    updater.optimizers = [torch.optim.AdamW(list(parameters), lr=settings.lr, weight_decay=0.0, fused=True)]
    return updater


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def learning(out: Path) -> dict[str, Any]:
    """The study's arms: mean score of the last ten training steps by seed, and the accuracy on held-out tasks."""
    arms = json.loads((out / "results.json").read_text())["arms"]
    last: dict[str, list[float]] = {}
    for arm in BOTH:
        runs = [(run / "metrics.jsonl").read_text().splitlines() for run in sorted(out.glob(f"{arm}-s[0-9]*"))]
        scores = [[Step.model_validate_json(line).metrics["score/mean"] for line in run] for run in runs]
        last[arm] = [statistics.fmean(run[-10:]) for run in scores]
    return {
        "score of the last ten steps, by seed": last,
        "bfloat16 less float32, by seed": [a - b for a, b in zip(*(last[arm] for arm in BOTH), strict=True)],
        "float32's largest less its smallest": max(last["float32"]) - min(last["float32"]),
        "accuracy": {arm: {key: arms[arm][key] for key in ("accuracy", "ci95", "n")} for arm in BOTH},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    timed = parts.add_parser("step")
    timed.add_argument("--prompts", type=int, default=4, help="of a step (default: %(default)s)")
    timed.add_argument("--rounds", type=int, default=10, help="pairs of steps (default: %(default)s)")
    timed.add_argument("--tiny", action="store_true", help="a model of no size, to see that everything works")
    learnt = parts.add_parser("curves")
    learnt.add_argument("--steps", type=int, default=40)
    learnt.add_argument("--prompts", type=int, default=8)
    learnt.add_argument("--lr", type=float, default=1e-5)
    apart = parts.add_parser("parity")
    apart.add_argument("--number", type=int, default=40, help="prompts of the small model (default: %(default)s)")
    apart.add_argument("--precision", nargs="+", default=["float32", "bfloat16", "float16"])
    parts.add_parser("learning").add_argument("out", type=Path)
    said = parser.parse_args(arguments)
    before = os.getloadavg()
    if said.part == "step":
        found = step(TINY if said.tiny else FIFTY_MILLION, said.prompts, said.rounds)
    elif said.part == "curves":
        found = curves(said.steps, said.prompts, said.lr)
    elif said.part == "parity":
        found = {precision: parity(precision, said.number) for precision in said.precision}
    else:
        found = learning(said.out)
    around = {"threads": torch.get_num_threads(), "load": [before, os.getloadavg()], "torch": torch.__version__}
    print(json.dumps(found | {"surroundings": around}, indent=2))


if __name__ == "__main__":
    main()
