"""What both pre-trainings share: turns about a picture, one step of learning, what is written exactly, checkpoints."""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from firsthand.policy.packing import PackedRows, PrefixGroup
from firsthand.policy.precision import cpu_multiplies_bfloat16
from firsthand.processor import Prompt
from firsthand.worlds.traces import direct, stepwise
from firsthand.worlds.world import Question

STEPS, DIRECTLY = " Think step by step.", " Answer directly."
MIDDLE, END = "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"
"""Between a question and its reply, and behind that."""
Turn = tuple[str, str]
"""A question, and the reply to learn."""
Forward = Callable[[Sequence[PrefixGroup]], tuple[Tensor, PackedRows]]
"""Logits of every trained token of these groups, float32, and the rows that they come from."""


def product_dtype() -> torch.dtype:
    """In which numbers matrices are multiplied: bfloat16, or float32 on a CPU that has no instructions for that."""
    return torch.bfloat16 if torch.cuda.is_available() or cpu_multiplies_bfloat16() else torch.float32


def products(device: str) -> torch.autocast:
    """Inside, matrices are multiplied in `product_dtype`."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=product_dtype() is torch.bfloat16)


def styled(rng: random.Random, question: Question) -> Turn:
    """A question with or without a style instruction, and a reply in that style."""
    draw = rng.random()
    if draw < 0.42:
        return question.text + STEPS, stepwise(question)
    if draw < 0.48:
        return question.text + DIRECTLY, direct(question)
    if draw < 0.78:
        return question.text, direct(question)
    if draw < 0.79:
        return question.text, f"The answer is {question.said}."
    return question.text, stepwise(question)


def conversation(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, turns: Sequence[Turn]) -> PrefixGroup:
    """A picture as the shared prompt, and each turn as a branch of which the reply is trained."""
    middle, end = tokenizer.encode(MIDDLE), tokenizer.encode(END)
    asked = tokenizer([question for question, _ in turns])["input_ids"]
    said = tokenizer([reply for _, reply in turns])["input_ids"]
    return PrefixGroup(
        prompt,
        tuple((*q, *middle, *a, *end) for q, a in zip(asked, said, strict=True)),
        tuple(
            (False,) * (len(q) + len(middle)) + (True,) * (len(a) + len(end)) for q, a in zip(asked, said, strict=True)
        ),
    )


def learn(forward: Forward, groups: Sequence[PrefixGroup], micro: int) -> float:
    """Accumulate the gradient of the mean negative log-likelihood per trained token; rows of like length together."""
    order = sorted(groups, key=lambda group: group.tokens)
    total = sum(sum(map(sum, group.trained or ())) for group in groups)
    summed = 0.0
    for first in range(0, len(order), micro):
        logits, rows = forward(order[first : first + micro])
        loss = nn.functional.cross_entropy(logits, rows.target_K, reduction="sum") / total
        loss.backward()
        summed += loss.item()
    return summed


@torch.no_grad()
def exact_replies(forward: Forward, groups: Sequence[PrefixGroup], together: int = 12) -> list[bool]:
    """Of each reply of each group, whether greedy decoding would write it exactly.

    So it is if and only if every token of it is the likeliest one after those before it.
    """
    found: list[bool] = []
    for first in range(0, len(groups), together):
        logits, rows = forward(groups[first : first + together])
        found += rows.unpack(logits.argmax(-1) == rows.target_K, True).all(dim=1).tolist()
    return found


def shares(names: Iterable[str], right: Iterable[bool]) -> dict[str, float]:
    """The share that is right under each name."""
    found: dict[str, list[bool]] = {}
    for name, is_right in zip(names, right, strict=True):
        found.setdefault(name, []).append(is_right)
    return {name: sum(marks) / len(marks) for name, marks in found.items()}


def schedule(step: int, total: int, warmup: int = 100) -> float:
    """Linear warm-up over a tenth of the steps, or so many, flat, then linear to a hundredth over the last 40 %."""
    warmup, fall = min(warmup, total // 10 + 1), 0.6 * total
    return min(1.0, (step + 1) / warmup) * (1.0 if step < fall else 0.01 + 0.99 * (total - step) / (total - fall))


def keep(file: Path, done: int, parameters: Mapping[str, Tensor], opts: Sequence[torch.optim.Optimizer]) -> None:
    """Write what a killed run goes on from; whole, or not at all."""
    draft = file.with_suffix(".tmp")
    torch.save({"done": done, "model": dict(parameters), "optimizers": [o.state_dict() for o in opts]}, draft)
    draft.replace(file)


def kept(file: Path) -> dict[str, Any] | None:
    """What `keep` wrote; None when it has not."""
    return torch.load(file, weights_only=True, map_location="cpu") if file.exists() else None


def go_on(
    state: Mapping[str, Any], parameters: Mapping[str, Tensor], opts: Sequence[torch.optim.Optimizer] = ()
) -> int:
    """Give parameters, and optimizers, what was kept; the number of steps that it holds."""
    with torch.no_grad():
        for name, value in state["model"].items():
            parameters[name].copy_(value)
    for opt, known in zip(opts, state["optimizers"] if opts else (), strict=True):
        opt.load_state_dict(known)
    return int(state["done"])


def log(out: Path, line: Mapping[str, Any]) -> None:
    """Append a line to log.jsonl."""
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def cut_log(out: Path, done: int) -> None:
    """Take out of log.jsonl the steps that a killed run took after its last checkpoint: they are taken again."""
    file = out / "log.jsonl"
    if file.exists():
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if json.loads(line)["step"] < done))
