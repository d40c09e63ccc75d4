"""What one GPU makes of firsthand: are its fast forms still the same numbers there, what fits, and how long it takes.

    PYTHONPATH=src python3 benchmarks/gpu.py --out gpu.json

Nothing is downloaded. Numbers come from the small model that ships here, which is trained, and from models of random
weights in the shapes of Qwen2.5-VL-3B and 7B, which are not. The file is written after every measurement; one that
fails is kept as its error, never as a number, one that needs what is not here as what it needs, and those that no time
is left for are missing. Sections come in the order of their worth, each with its share of the time. `--tiny --device
cpu` runs a miniature of it all in a minute or two, to see that it works.

Shape letters: G replies of a prompt, P tokens of a prompt, R tokens of a reply.
"""

import argparse
import copy
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu_bench import PRECISIONS, Bench, Measurement, Section, carry_out, median, precision
from gpu_forms import CANDIDATES, FORMS, FUSED, LEAKY, SINGLE, learn, parity, words_only
from gpu_memory import brought, memory, preflight, whole_step
from gpu_optimizers import optimizers
from gpu_speed import rollout, update
from gpu_step import step
from gpu_workload import FULL, TINY, policy_of, random_group, random_prompt

from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.worlds import SMALL, generate


def machine(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """What the card can do at best: the rates that all others are shares of."""

    def product(name: str) -> float:
        side = bench.size.matrix
        a, b = (torch.randn(side, side, device=bench.device, dtype=PRECISIONS[name][0]) for _ in range(2))
        with precision(name):
            rate = 2 * side**3 / median(bench, lambda: a @ b)
        bench.peaks[name] = rate
        return rate / 1e12

    def copying() -> float:
        a = torch.randn(bench.size.matrix**2 * 8, device=bench.device)
        b = torch.empty_like(a)
        bench.peaks["bytes"] = 2 * a.nbytes / median(bench, lambda: b.copy_(a))
        return bench.peaks["bytes"] / 1e12

    for name in PRECISIONS:
        yield f"product, {name}, TFLOP/s", partial(product, name)
    yield "copy, read and written, TB/s", copying


def small_model(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """The model that ships here: trained weights, all of them trained, against one reply per forward on a CPU."""
    number, n, tokens = bench.size.small
    encoder, reference = Encoder.load(SMALL), Policy.load(SMALL)
    prompts = [encoder.prompt(e) for world in ("count", "chart") for e in generate(world, "test", number // 2)]
    written = LocalSampler(reference, encoder).sample(prompts, n, Sampling(max_new_tokens=tokens))
    sampled = grouped(written, len(prompts))
    groups = [PrefixGroup(p, tuple(r.token_ids for r in group)) for p, group in zip(prompts, sampled, strict=True)]
    expected = learn(reference, groups, SINGLE)

    def measured(policy: Policy, name: str, form: str | None) -> dict[str, Any]:
        with precision(name):
            found = learn(policy, groups, form).beside(expected) if form else None
            return found or parity(policy, encoder, prompts, n, tokens)

    for name, (dtype, _) in PRECISIONS.items():
        policy = Policy.load(SMALL, dtype=dtype, device=bench.device)
        for form in (*FORMS, LEAKY):
            yield f"{name}, {form}", partial(measured, policy, name, form)
        yield f"{name}, parity", partial(measured, policy, name, None)


def training(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Real runs of the trainer on the small model, each as its steps' metrics; in float32 but for two."""
    from firsthand.objective import GRPO
    from firsthand.policy import Lora
    from firsthand.recipe import Data, Recipe
    from firsthand.trainer import train

    class Stopped(Exception):
        """Raised in the middle of a run."""

    def run(stop: int | None = None, **changes: Any) -> list[dict[str, Any]]:
        prompts, group, tokens = bench.size.small
        common = {"name": "gpu", "data": Data(worlds=("count", "chart"), number=2 * prompts), "steps": 2}
        common |= {"prompts": prompts, "sampling": Sampling(max_new_tokens=tokens), "precision": "float32"}
        recipe = Recipe(**{**common, "objective": GRPO(group_size=group), **changes})
        steps: list[Any] = []

        def on_step(step: Any) -> None:
            steps.append({"metrics": step.metrics, "seconds": step.seconds, "timing": step.timing})
            if len(steps) == stop:
                raise Stopped

        with tempfile.TemporaryDirectory() as root:
            try:
                train(recipe, Path(root), on_step)
            except Stopped:  # one step later than its checkpoint: the run goes on from there
                train(recipe, Path(root), on_step)
        return steps

    yield "plain", run
    yield "resumed in step 3", lambda: run(steps=3, checkpoint_every=1, stop=2)
    yield "adapter", lambda: run(adapter=Lora(rank=4))
    yield "gradient checkpointing", lambda: run(gradient_checkpointing=True)
    kl = GRPO(group_size=bench.size.small[1], kl=0.01)
    for name in ("bfloat16", "bfloat16-pure"):
        yield name, partial(brought, partial(run, precision=name))
    yield "whole model, KL, two updates", lambda: run(trainable="all", minibatches=2, objective=kl)


def equivalence(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Random weights of real size in bfloat16, against one reply per forward in float32 of the same weights."""
    groups = [random_group(bench.size, 0, *bench.size.compared)]
    exact = policy_of(copy.deepcopy(bench.policy.model).float())
    with precision("float32"):
        expected = learn(exact, groups, SINGLE)
    (number, tokens), prompts = bench.size.compared, [random_prompt(bench.size, seed) for seed in range(2)]
    policies = {"float32": exact, "tf32": exact, "bfloat16": bench.policy}

    def sampling(name: str) -> dict[str, Any]:
        with precision(name):
            return parity(policies[name], words_only(), prompts, number, tokens)

    for name in PRECISIONS:
        yield f"{name}, parity", partial(sampling, name)

    def compared(name: str, form: str) -> dict[str, Any]:
        with precision(name):
            return learn(policies[name], groups, form).beside(expected)

    # Not separate rows in float32: what they keep for the backward does not fit beside two sets of gradients.
    yield from ((f"float32, {form}", partial(compared, "float32", form)) for form in ("square", "blocks", LEAKY))
    del exact, policies["float32"], policies["tf32"]
    for form in (SINGLE, *FORMS, LEAKY, *CANDIDATES, FUSED):
        yield f"bfloat16, {form}", partial(compared, "bfloat16", form)


SECTIONS = {
    "machine": Section(machine, 10),
    "step": Section(step, 130),
    "memory": Section(memory, 100),
    "equivalence": Section(equivalence, 60),
    "optimizers": Section(optimizers, 10),
    "update": Section(update, 35),
    "rollout": Section(rollout, 40),
    "small model": Section(small_model, 25),
    "training": Section(training, 15),
    "preflight": Section(preflight, 45),
}


def environment(bench: Bench) -> dict[str, Any]:
    """Where the numbers come from."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "float32 products by default": [
            torch.backends.cuda.matmul.fp32_precision,
            torch.backends.cudnn.conv.fp32_precision,
        ],
        "device": bench.device,
        "tiny": bench.size is TINY,
    }
    if bench.device == "cpu":
        return found
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return {**found, "card": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "nvidia-smi": said}


def continued(
    found: dict[str, Any], here: dict[str, Any], sections: Iterable[str], parser: argparse.ArgumentParser
) -> dict[str, Any]:
    """Results of an earlier run on the same machine, without the sections that are measured anew."""
    other = [name for name in here if name != "date" and found["environment"].get(name) != here[name]]
    if other:
        parser.error(f"--out: expected a new file, or one of the same machine, got another {', '.join(other)}")
    return {title: result for title, result in found.items() if title not in sections} | {"environment": here}


def known_peaks(results: Mapping[str, Any]) -> dict[str, float]:
    """What `machine` has found in an earlier run."""
    found = {name: result.get("result") for name, result in results.get("machine", {}).items()}
    named = {name: found.get(f"product, {name}, TFLOP/s") for name in PRECISIONS} | {
        "bytes": found.get("copy, read and written, TB/s")
    }
    return {name: rate * 1e12 for name, rate in named.items() if rate}


def known_memory(results: Mapping[str, Any]) -> dict[str, float]:
    """What update steps took in an earlier run, for `preflight`."""
    found = {name: result.get("result") for name, result in results.get("memory", {}).items()}
    return {name: at_most for name, cards in found.items() if isinstance(cards, dict) if (at_most := whole_step(cards))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything, and write it down."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, help="after which no further measurement begins (default: 8 for all)")
    parser.add_argument("--tiny", action="store_true", help="a miniature, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections alone")
    chosen = parser.parse_args(arguments)
    sections = {title: section for title, section in SECTIONS.items() if title in chosen.only}
    usual = sum(section.seconds for section in sections.values())
    seconds = 60 * chosen.minutes if chosen.minutes else usual
    bench = Bench(TINY if chosen.tiny else FULL, chosen.device, time.monotonic() + seconds)
    results: dict[str, Any] = {"environment": environment(bench)}
    if chosen.out.exists():
        results = continued(json.loads(chosen.out.read_text()), results["environment"], sections, parser)
    bench.peaks |= known_peaks(results)
    bench.measured |= known_memory(results)
    transformers.utils.logging.disable_progress_bar()

    def keep(title: str, name: str, result: Any) -> None:
        results.setdefault(title, {})[name] = result
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{title}: {name}: {json.dumps(result)[:600]}", flush=True)

    carry_out(bench, sections, keep, share=seconds / usual)


if __name__ == "__main__":
    main()
