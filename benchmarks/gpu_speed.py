"""How long an update and a rollout take on the GPU, and which kernels that goes to.

Shape letters: G replies of a prompt, P tokens of a prompt, R tokens of a reply.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from gpu_bench import Bench, Measurement, kernels, median, peak
from gpu_forms import FLEX, FORMS, FUSED, FUSED_ROTARY, FUSED_VARLEN, VARLEN, learn, words_only
from gpu_workload import random_group, random_prompt

from firsthand.policy import Limits, Policy, PrefixGroup
from firsthand.policy.packing import alone
from firsthand.policy.vision import Tower
from firsthand.processor import Prompt
from firsthand.records import Reply
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.rollout.slots import SlotSampler

GROWING, SLOTS, COMPILED = "growing", "slots", "slots, compiled"
"""How replies are written: in tensors that grow and lose rows that have ended, or in fixed ones, by CUDA graphs, whose
layers may be compiled."""


def update(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Forward and backward of one group in bfloat16, pictures known from the rollout; and what stands beside it."""
    policy, group = bench.policy, random_group(bench.size, 0, bench.size.group, bench.size.tokens)
    works: list[str] = []

    def once(form: str) -> Any:
        return learn(policy, [group], form)

    def memory(form: str) -> dict[str, float]:
        once(form)
        found = peak(bench, lambda: once(form))
        works.append(form)
        return found

    def timed(forms: Sequence[str]) -> dict[str, Any]:
        seconds: dict[str, list[float]] = {form: [] for form in forms}
        for number in range(bench.size.rounds):
            if bench.is_over and number:
                break
            for form in forms if number % 2 == 0 else reversed(forms):
                seconds[form].append(bench.seconds(lambda form=form: once(form)))
        return {form: speed(form, each) for form, each in seconds.items()}

    def speed(form: str, seconds: Sequence[float]) -> dict[str, Any]:
        middle = statistics.median(seconds)
        work, needed = (operations(policy, group, which) for which in (form, "blocks"))
        found = {"seconds": middle, "range": [min(seconds), max(seconds)], "rounds": len(seconds), "TFLOP": work / 1e12}
        if rate := bench.peaks.get("bfloat16"):
            found |= {"share of the peak": work / middle / rate, "useful share of the peak": needed / middle / rate}
        return found

    def tower() -> dict[str, float]:
        def encode() -> None:
            with torch.no_grad():
                Tower(policy.model.base_model, frozen=True).encode([group.prompt])

        return {"seconds": median(bench, encode)}

    def optimizer() -> dict[str, Any]:
        for parameter in policy.parameters:
            parameter.grad = torch.ones_like(parameter)
        adam = torch.optim.AdamW(policy.parameters, lr=0.0, fused=True)
        return {"seconds": median(bench, adam.step), **peak(bench, adam.step)}

    yield from ((f"memory, {form}", partial(memory, form)) for form in (*FORMS, VARLEN))
    yield "time", partial(timed, tuple(works))
    yield "vision tower, one picture", tower
    yield from ((f"kernels, {form}", partial(kernels, bench, partial(once, form))) for form in FORMS)
    yield "AdamW step, moments in bfloat16", optimizer
    for form in (FUSED, FUSED_ROTARY, FUSED_VARLEN):
        yield f"memory, {form}", partial(memory, form)
        if form in works:
            yield f"time, {form}", partial(timed, ("blocks", form))
    yield f"kernels, {FUSED}", partial(kernels, bench, partial(once, FUSED))
    yield f"memory, {FLEX}", partial(memory, FLEX)  # last, for it is compiled
    if FLEX in works:
        yield f"time, {FLEX}", partial(timed, (FLEX,))


def operations(policy: Policy, group: PrefixGroup, form: str) -> int:
    """Operations of an update, each token counted once, or, in separate rows, as often as it is computed."""
    parts = alone([group]) if form == "separate" else [group]
    return sum(policy.flops.update(len(p.prompt.token_ids), [len(reply) for reply in p.replies]) for p in parts)


def rollout(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Replies of full length in bfloat16: prompts run, then tokens written, pictures known."""
    policy, R = bench.policy, bench.size.tokens
    samplers = {
        GROWING: LocalSampler(policy, words_only()),
        SLOTS: SlotSampler(policy, words_only()),
        COMPILED: SlotSampler(policy, words_only(), is_compiled=True),
    }
    weights = sum(p.numel() * p.element_size() for p in policy.language.parameters())

    def write(form: str, prompts: Sequence[Prompt], tokens: int, temperature: float = 1.0) -> Any:
        settings = Sampling(max_new_tokens=tokens, temperature=temperature)
        return grouped(samplers[form].sample(prompts, bench.size.group, settings), len(prompts))

    def timed(form: str, number: int) -> dict[str, Any]:
        prompts = [random_prompt(bench.size, seed) for seed in range(number)]
        write(form, prompts, 4)
        prefill = statistics.median(bench.seconds(lambda: write(form, prompts, 1)) for _ in range(3))
        times = 1 if bench.is_over or form == GROWING else 3
        whole = statistics.median(bench.seconds(lambda: write(form, prompts, R)) for _ in range(times))
        rows, step = number * bench.size.group, (whole - prefill) / (R - 1)
        found = {
            "rows": rows,
            "seconds": whole,
            "seconds of the prompts": prefill,
            "tokens per second": rows * R / whole,
        }
        found |= {"milliseconds per step": step * 1e3, **peak(bench, lambda: write(form, prompts, 4))}
        if rate := bench.peaks.get("bytes"):
            read = weights + bytes_per_token(policy) * (number * len(prompts[0].token_ids) + rows * R / 2)
            found |= {"milliseconds to read the weights": weights / rate * 1e3}
            found |= {"milliseconds to read weights, keys and values": read / rate * 1e3}
        return found

    def same() -> dict[str, Any]:
        """The likeliest replies to prompts of which the slots hold half at a time, in both forms."""
        prompts = [random_prompt(bench.size, seed) for seed in range(4)]
        samplers["refilled"] = SlotSampler(policy, words_only(), limits=Limits(2 * bench.size.group))
        forms = (SLOTS, COMPILED, "refilled")
        expected, *others = [write(form, prompts, 32, temperature=0) for form in (GROWING, *forms)]
        return {form: agreement(found, expected) for form, found in zip(forms, others, strict=True)}

    yield "slots, the same replies", same

    def profiled(form: str) -> dict[str, Any]:
        prompts = [random_prompt(bench.size, seed) for seed in range(few)]
        write(form, prompts, 9)
        return kernels(bench, partial(write, form, prompts, 9), most=30)

    few, *others = (bench.size.prompts[1], bench.size.prompts[0], *bench.size.prompts[2:])
    for form in (COMPILED, SLOTS, GROWING):
        yield f"{few} prompts, {form}", partial(timed, form, few)
        yield f"kernels, {few} prompts, 9 tokens, {form}", partial(profiled, form)
    yield from ((f"{number} prompts, {COMPILED}", partial(timed, COMPILED, number)) for number in reversed(others))


def bytes_per_token(policy: Policy) -> int:
    """Of keys and values, in bfloat16."""
    text = policy.model.config.get_text_config()
    size = text.hidden_size // text.num_attention_heads
    return 2 * 2 * text.num_hidden_layers * text.num_key_value_heads * size


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
