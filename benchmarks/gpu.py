"""What one GPU makes of firsthand: are its fast forms still the same numbers there, and how long do they take?

    PYTHONPATH=src python3 benchmarks/gpu.py --out gpu.json --minutes 6

Nothing is downloaded. Numbers come from two models: the small one that ships here, which is trained, and one of random
weights in the shape of Qwen2.5-VL-3B, which is not. The file is written after every measurement; one that fails is kept
as its error, never as a number, and those that no time is left for are missing. `--tiny --device cpu` runs a miniature
of it all in a minute, to see that it works.

Shape letters: G replies of a prompt, P tokens of a prompt, R tokens of a reply, K tokens of all replies.
"""

import argparse
import copy
import gc
import itertools
import json
import math
import platform
import statistics
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import transformers
from gpu_workload import FULL, TINY, Size, policy_of, random_group, random_policy, random_prompt
from torch import Tensor

from firsthand.policy import Limits, Policy, PrefixGroup, attention, packing
from firsthand.policy.decoding import PlainDecoder
from firsthand.policy.packing import alone
from firsthand.policy.vision import Tower
from firsthand.processor import Encoder, Prompt
from firsthand.records import Reply
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.rollout.slots import SlotSampler
from firsthand.worlds import SMALL, generate

FORMS = ("separate", "square", "blocks")
"""A row for each reply; packed rows under one dense mask; packed rows by their blocks that are not empty."""
LEAKY = "leaky"
"""A wrong form, in which replies see the replies before them: what a check must not let pass."""
GROWING, SLOTS = "growing", "slots"
"""How replies are written: in tensors that grow and lose rows that have ended, or in fixed ones, by CUDA graphs."""
SINGLE = "single"
"""The reference: one reply per forward."""
PRECISIONS = {"float32": (torch.float32, "ieee"), "tf32": (torch.float32, "tf32"), "bfloat16": (torch.bfloat16, "ieee")}
"""Type of the weights, and what float32 matrix products are made of."""
GIB = 2**30


@dataclass
class Bench:
    """What all measurements share."""

    size: Size
    device: str
    ends: float
    """The moment, on `time.monotonic`, after which nothing new begins."""
    peaks: dict[str, float] = field(default_factory=dict)
    """Operations per second of a matrix product by precision, and bytes per second of a copy (`bytes`)."""

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.ends

    @cached_property
    def policy(self) -> Policy:
        """Random weights of the full size, in bfloat16."""
        return random_policy(self.size, self.device)

    def seconds(self, action: Callable[[], object]) -> float:
        """Time of an action on the device, by its own events; on a CPU by the clock."""
        if self.device == "cpu":
            began = time.perf_counter()
            action()
            return time.perf_counter() - began
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        action()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3


Measurement = Callable[[], Any]
Section = Callable[[Bench], Iterator[tuple[str, Measurement]]]


@contextmanager
def precision(name: str) -> Iterator[None]:
    """float32 products in full (`ieee`) or by TF32, in matrix products and in the vision tower's convolution alike."""
    places: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = PRECISIONS[name][1]
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value


@contextmanager
def attention_form(form: str) -> Iterator[None]:
    """Let packed rows be computed in this form."""
    worthwhile, mask = attention.WORTHWHILE, packing.block_mask
    attention.WORTHWHILE = 0.0 if form == "blocks" else math.inf
    packing.block_mask = _causal if form == LEAKY else mask
    try:
        yield
    finally:
        attention.WORTHWHILE, packing.block_mask = worthwhile, mask


def _causal(segments_MN: Tensor) -> Tensor:
    M, N = segments_MN.shape
    return torch.ones(N, N, dtype=torch.bool, device=segments_MN.device).tril().expand(M, 1, N, N)


class Learnt(NamedTuple):
    """What a form makes of replies: the log-probs of their tokens, and the gradients of a loss."""

    logp_K: Tensor
    gradients: dict[str, Tensor]

    def beside(self, other: "Learnt") -> dict[str, Any]:
        """How far the log-probs are from another's, and the gradients, relative to it, by group of parameters."""
        squares: dict[str, list[float]] = {}
        for name, gradient in other.gradients.items():
            expected = gradient.float()
            gap = self.gradients[name].to(expected.device).float() - expected
            for group in ("all", _group_of(name)):
                both = squares.setdefault(group, [0.0, 0.0])
                both[0] += float(gap.square().sum())
                both[1] += float(expected.square().sum())
        relative = {group: math.sqrt(gap / whole) for group, (gap, whole) in sorted(squares.items())}
        return {"logp": gap_of(self.logp_K, other.logp_K), "gradient": relative}


def learn(policy: Policy, groups: Sequence[PrefixGroup], form: str) -> Learnt:
    """Forward and backward of a loss that weighs every token differently, so that no two errors can cancel."""
    policy.model.zero_grad(set_to_none=True)
    parts = {SINGLE: [[g] for g in alone(groups)], "separate": [alone(groups)]}.get(form, [list(groups)])
    weights = torch.randn(sum(len(r) for g in groups for r in g.replies), generator=torch.Generator().manual_seed(1))
    found: list[Tensor] = []
    with attention_form(form):
        for part in parts:
            logprobs = policy.logprobs(part)
            logp_K = logprobs.logp_BT[logprobs.mask_BT]
            weights_K, weights = weights[: len(logp_K)], weights[len(logp_K) :]
            (logp_K * weights_K.to(logp_K.device)).sum().backward()
            found.append(logp_K.detach())
    gradients = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    return Learnt(torch.cat(found), gradients)


def _group_of(name: str) -> str:
    """A parameter's group: the kind of its layer, or `vision`."""
    return "vision" if "visual" in name else name.split(".")[-2]


def gap_of(found_K: Tensor, expected_K: Tensor) -> dict[str, float]:
    """Differences of log-probs in nats: the largest, the 99th percentile, and the mean size."""
    gap_K = (found_K.float().cpu() - expected_K.float().cpu()).abs()
    return {"max": float(gap_K.max()), "p99": float(gap_K.quantile(0.99)), "mean": float(gap_K.mean())}


def parity(policy: Policy, encoder: Any, prompts: Sequence[Prompt], n: int, tokens: int) -> dict[str, Any]:
    """Log-probs of sampled tokens where they were sampled, beside those of training and of the model's own cache."""
    written = LocalSampler(policy, encoder).sample(prompts, n, Sampling(max_new_tokens=tokens))
    sampled = grouped(written, len(prompts))
    logp_K = torch.tensor([p for group in sampled for reply in group for p in reply.logprobs])
    groups = [PrefixGroup(p, tuple(r.token_ids for r in group)) for p, group in zip(prompts, sampled, strict=True)]
    found: dict[str, Any] = {"tokens": len(logp_K), "entropy": -float(logp_K.mean())}
    for form in FORMS:
        with torch.no_grad(), attention_form(form):
            logprobs = policy.logprobs(alone(groups) if form == "separate" else groups)
        found[f"rollout to {form}"] = gap_of(logprobs.logp_BT[logprobs.mask_BT], logp_K)
        if form == "separate":
            plain_K = torch.cat([forced(policy, group) for group in groups])
            found["plain cache to separate"] = gap_of(plain_K, logprobs.logp_BT[logprobs.mask_BT])
    return found | {"rollout to plain cache": gap_of(plain_K, logp_K)}


@torch.inference_mode()
def forced(policy: Policy, group: PrefixGroup) -> Tensor:
    """Log-probs [K] of a group's replies, written token by token into transformers' own cache."""
    policy.model.eval()
    longest = max(map(len, group.replies))
    token_GR = torch.tensor([[*reply, *[0] * (longest - len(reply))] for reply in group.replies])
    is_token_GR = torch.tensor([[i < len(reply) for i in range(longest)] for reply in group.replies])
    decoder = PlainDecoder(policy, [group.prompt], len(group.replies))
    columns = []
    for token_G in token_GR.to(policy.model.device).T:
        logp_GV = policy.head.logits(decoder.hidden_BD, 1.0).log_softmax(-1)
        columns.append(logp_GV.gather(1, token_G[:, None])[:, 0])
        decoder.step(token_G)
    policy.model.train()
    return torch.stack(columns, dim=1).cpu()[is_token_GR]


def machine(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """What the card can do at best: the rates that all others are shares of."""

    def product(name: str) -> float:
        side = bench.size.matrix
        a, b = (torch.randn(side, side, device=bench.device, dtype=PRECISIONS[name][0]) for _ in range(2))
        with precision(name):
            rate = 2 * side**3 / _median(bench, lambda: a @ b)
        bench.peaks[name] = rate
        return rate / 1e12

    def copying() -> float:
        a = torch.randn(bench.size.matrix**2 * 8, device=bench.device)
        b = torch.empty_like(a)
        bench.peaks["bytes"] = 2 * a.nbytes / _median(bench, lambda: b.copy_(a))
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
    """Real runs of the trainer on the small model, in float32, each as its steps' metrics."""
    from firsthand.objective import GRPO
    from firsthand.policy import Lora
    from firsthand.recipe import Data, Recipe
    from firsthand.trainer import train

    class Stopped(Exception):
        """Raised in the middle of a run."""

    def run(stop: int | None = None, **changes: Any) -> list[dict[str, Any]]:
        prompts, group, tokens = bench.size.small
        common = {"name": "gpu", "data": Data(worlds=("count", "chart"), number=2 * prompts), "steps": 2}
        common |= {"prompts": prompts, "sampling": Sampling(max_new_tokens=tokens)}
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
            return parity(policies[name], _words_only(), prompts, number, tokens)

    for name in PRECISIONS:
        yield f"{name}, parity", partial(sampling, name)

    def compared(name: str, form: str) -> dict[str, Any]:
        with precision(name):
            return learn(policies[name], groups, form).beside(expected)

    # Not separate rows in float32: what they keep for the backward does not fit beside two sets of gradients.
    yield from ((f"float32, {form}", partial(compared, "float32", form)) for form in ("square", "blocks", LEAKY))
    del exact, policies["float32"], policies["tf32"]
    for form in (SINGLE, *FORMS, LEAKY):
        yield f"bfloat16, {form}", partial(compared, "bfloat16", form)


def update(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Forward and backward of one group in bfloat16, pictures known from the rollout; and what stands beside it."""
    policy, group = bench.policy, random_group(bench.size, 0, bench.size.group, bench.size.tokens)
    works: list[str] = []

    def once(form: str) -> Any:
        return learn(policy, [group], form)

    def memory(form: str) -> dict[str, float]:
        once(form)
        found = _peak(bench, lambda: once(form))
        works.append(form)
        return found

    def timed() -> dict[str, Any]:
        seconds: dict[str, list[float]] = {form: [] for form in works}
        for number in range(bench.size.rounds):
            if bench.is_over and number:
                break
            for form in works if number % 2 == 0 else reversed(works):
                seconds[form].append(bench.seconds(lambda form=form: once(form)))
        return {form: speed(form, each) for form, each in seconds.items()}

    def speed(form: str, seconds: Sequence[float]) -> dict[str, Any]:
        median = statistics.median(seconds)
        work, needed = (operations(policy, group, which) for which in (form, "blocks"))
        found = {"seconds": median, "range": [min(seconds), max(seconds)], "rounds": len(seconds), "TFLOP": work / 1e12}
        if peak := bench.peaks.get("bfloat16"):
            found |= {"share of the peak": work / median / peak, "useful share of the peak": needed / median / peak}
        return found

    def tower() -> dict[str, float]:
        def encode() -> None:
            with torch.no_grad():
                Tower(policy.model.base_model, frozen=True).encode([group.prompt])

        return {"seconds": _median(bench, encode)}

    def optimizer() -> dict[str, Any]:
        for parameter in policy.parameters:
            parameter.grad = torch.ones_like(parameter)
        adam = torch.optim.AdamW(policy.parameters, lr=0.0, fused=True)
        return {"seconds": _median(bench, adam.step), **_peak(bench, adam.step)}

    yield from ((f"memory, {form}", partial(memory, form)) for form in FORMS)
    yield "time", timed
    yield "vision tower, one picture", tower
    yield from ((f"kernels, {form}", partial(kernels, bench, partial(once, form))) for form in FORMS)
    yield "AdamW step, moments in bfloat16", optimizer


def operations(policy: Policy, group: PrefixGroup, form: str) -> float:
    """Operations of the matrix products that an update needs: twice the forward's again in backward; no recomputing."""
    text = policy.model.config.get_text_config()
    G, P, R = len(group.replies), len(group.prompt.token_ids), len(group.replies[0])
    matrices = sum(p.numel() for name, p in policy.language.named_parameters() if p.ndim == 2 and "embed" not in name)
    packed = form != "separate"
    tokens = P + G * R if packed else G * (P + R)
    pairs = P * P / 2 + G * (R * P + R * R / 2) if packed else G * (P + R) ** 2 / 2
    head = text.vocab_size * text.hidden_size * G * R
    return 3 * (2 * matrices * tokens + 4 * text.hidden_size * text.num_hidden_layers * pairs + 2 * head)


def rollout(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Replies of full length in bfloat16: prompts run, then tokens written, pictures known."""
    policy, R = bench.policy, bench.size.tokens
    samplers = {GROWING: LocalSampler(policy, _words_only()), SLOTS: SlotSampler(policy, _words_only())}
    weights = sum(p.numel() * p.element_size() for p in policy.language.parameters())

    def write(form: str, prompts: Sequence[Prompt], tokens: int, temperature: float = 1.0) -> Any:
        settings = Sampling(max_new_tokens=tokens, temperature=temperature)
        return grouped(samplers[form].sample(prompts, bench.size.group, settings), len(prompts))

    def timed(form: str, number: int) -> dict[str, Any]:
        prompts = [random_prompt(bench.size, seed) for seed in range(number)]
        write(form, prompts, 4)
        prefill = statistics.median(bench.seconds(lambda: write(form, prompts, 1)) for _ in range(3))
        peak = _peak(bench, lambda: write(form, prompts, 4))
        times = 1 if bench.is_over else 2
        whole = statistics.median(bench.seconds(lambda: write(form, prompts, R)) for _ in range(times))
        rows, step = number * bench.size.group, (whole - prefill) / (R - 1)
        found = {
            "rows": rows,
            "seconds": whole,
            "seconds of the prompts": prefill,
            "tokens per second": rows * R / whole,
        }
        found |= {"milliseconds per step": step * 1e3, **peak}
        if rate := bench.peaks.get("bytes"):
            found["milliseconds to read the weights"] = weights / rate * 1e3
        return found

    def same() -> dict[str, Any]:
        """The likeliest replies to prompts of which the slots hold half at a time, in both forms."""
        prompts = [random_prompt(bench.size, seed) for seed in range(4)]
        samplers["refilled"] = SlotSampler(policy, _words_only(), limits=Limits(2 * bench.size.group))
        expected, *others = [write(form, prompts, 32, temperature=0) for form in (GROWING, SLOTS, "refilled")]
        return {form: agreement(found, expected) for form, found in zip((SLOTS, "refilled"), others, strict=True)}

    yield "slots, the same replies", same
    for form in (GROWING, SLOTS):
        yield from ((f"{number} prompts, {form}", partial(timed, form, number)) for number in bench.size.prompts)
        one = [random_prompt(bench.size, 0)]
        yield f"kernels, 9 tokens, {form}", partial(kernels, bench, partial(write, form, one, 9))


def agreement(found: Sequence[Sequence[Reply]], expected: Sequence[Sequence[Reply]]) -> dict[str, float]:
    """The share of equal tokens before the first that differs, and the log-probs' largest gap over those (nats)."""
    equal, gap, tokens = 0, 0.0, 0
    for one, other in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        tokens += len(other.token_ids)
        for a, b, p, q in zip(one.token_ids, other.token_ids, one.logprobs, other.logprobs, strict=False):
            if a != b:
                break
            equal, gap = equal + 1, max(gap, abs(p - q))
    return {"equal tokens": equal / tokens, "log-prob gap": gap}


def kernels(bench: Bench, action: Callable[[], object], most: int = 12) -> dict[str, Any]:
    """Where the device's time goes: how many kernels, their milliseconds in all, and the costliest names."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    on_gpu = bench.device != "cpu"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as found:
        seconds = bench.seconds(action)
    wanted, cost = (DeviceType.CUDA, "self_device_time_total") if on_gpu else (DeviceType.CPU, "self_cpu_time_total")
    events = [event for event in found.key_averages() if event.device_type == wanted]
    events.sort(key=lambda event: -getattr(event, cost))
    return {
        "wall, ms (profiled)": seconds * 1e3,
        "kernels, ms": sum(getattr(event, cost) for event in events) / 1e3,
        "launched": sum(event.count for event in events),
        "costliest": [[event.key[:90], getattr(event, cost) / 1e3, event.count] for event in events[:most]],
    }


def _words_only() -> Any:
    """What a sampler needs of an encoder when replies have no text, and no end before their time."""
    return SimpleNamespace(stop_ids=(), text=lambda token_ids: "")


def _median(bench: Bench, action: Callable[[], object], times: int = 9) -> float:
    for _ in range(3):
        action()
    return statistics.median(bench.seconds(action) for _ in range(times))


def _peak(bench: Bench, action: Callable[[], object]) -> dict[str, float]:
    """GiB of memory before an action, and at its worst moment; nothing on a CPU."""
    if bench.device == "cpu":
        action()
        return {}
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    return {"GiB before": before / GIB, "GiB at most": torch.cuda.max_memory_allocated() / GIB}


SECTIONS: dict[str, Section] = {
    "machine": machine,
    "small model": small_model,
    "training": training,
    "equivalence": equivalence,
    "update": update,
    "rollout": rollout,
}


def carry_out(bench: Bench, sections: dict[str, Section], keep: Callable[[str, str, Any], None]) -> None:
    """Measure, one after the other; `keep(section, name, result)` gets each result, or its error."""
    for title, section in sections.items():
        try:
            for name, measurement in section(bench):
                if bench.is_over:
                    return
                began = time.perf_counter()
                try:
                    result = {"result": measurement()}
                except Exception:
                    result = {"error": traceback.format_exc()[-2000:]}
                keep(title, name, {**result, "took_s": round(time.perf_counter() - began, 2)})
                _free(bench)
        except Exception:
            keep(title, "preparation", {"error": traceback.format_exc()[-2000:]})
        _free(bench)


def _free(bench: Bench) -> None:
    gc.collect()
    if bench.device != "cpu":
        torch.cuda.empty_cache()


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything, and write it down."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--minutes", type=float, default=6.0, help="after which no further measurement begins")
    parser.add_argument("--tiny", action="store_true", help="a miniature, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections alone")
    chosen = parser.parse_args(arguments)
    bench = Bench(TINY if chosen.tiny else FULL, chosen.device, time.monotonic() + 60 * chosen.minutes)
    results: dict[str, Any] = {"environment": environment(bench)}
    transformers.utils.logging.disable_progress_bar()

    def keep(title: str, name: str, result: Any) -> None:
        results.setdefault(title, {})[name] = result
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{title}: {name}: {json.dumps(result)[:600]}", flush=True)

    carry_out(bench, {title: SECTIONS[title] for title in chosen.only}, keep)


if __name__ == "__main__":
    main()
