"""Which training fits a card: real update steps under a cap on memory, beside what preflight says of them.

An update step is the trainer's own: forward, backward and optimizer, on one group, and again in smaller parts where
memory runs out.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_bench import GIB, Bench, Measurement, Skipped, free, peak
from gpu_workload import Size, config_of, policy_of, random_group, random_model
from torch import nn

from firsthand.errors import RecipeError
from firsthand.objective import GRPO
from firsthand.policy import Limits, Lora
from firsthand.policy.memory import is_out_of_memory
from firsthand.policy.quantising import language_linears
from firsthand.preflight.estimate import Estimator
from firsthand.preflight.machine import Machine, machine_of
from firsthand.preflight.workload import Lengths, Workload
from firsthand.recipe import Data, Recipe
from firsthand.records import Judged, Reply, Status, StopReason, Verdict
from firsthand.rollout import Sampling
from firsthand.rollout.local import MAX_ROWS
from firsthand.trainer.batch import Group
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.state import State
from firsthand.trainer.update import update
from firsthand.worlds import generate

CARDS = (80, 48, 24, 16)
"""GB of memory."""
NF4 = Lora(quantize="nf4")
CASES: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": "bfloat16"},
    "adapter": {"precision": "bfloat16", "adapter": Lora()},
    "bfloat16-pure": {"precision": "bfloat16-pure"},
    "all weights, bfloat16": {"precision": "bfloat16", "trainable": "all"},
}
"""Name -> settings of a recipe; of the weights, those of the language where it does not say otherwise."""


def cases(size: Size) -> dict[str, tuple[Size, dict[str, Any]]]:
    """Name -> the model, and settings of a recipe; those first that have a size to reach."""
    larger = size.larger or size
    first, second, *others = ((f"{size.name}, {name}", (size, settings)) for name, settings in CASES.items())
    four_bits = (f"{larger.name}, adapter, nf4", (larger, {"precision": "bfloat16", "adapter": NF4}))
    return dict([first, second, four_bits, *others])


def memory(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Update steps of every case, with short and long replies, on cards of every size."""
    bench.forget()
    made: list[tuple[State, Recipe]] = []
    for name, (size, settings) in cases(bench.size).items():
        yield f"{name}: the model", partial(_make, made, size, bench.device, settings)
        for tokens in (size.tokens, size.long) if made else ():
            yield f"{name}, R = {tokens}", partial(_on_all_cards, bench, *made[0], f"{name}, R = {tokens}", tokens)
        made.clear()
        free(bench)


def _make(made: list[tuple[State, Recipe]], size: Size, device: str, settings: dict[str, Any]) -> str:
    """Where that fails, the other cases are measured all the same."""
    made.append(in_training(size, device, settings))
    return "ready"


def in_training(size: Size, device: str, settings: dict[str, Any]) -> tuple[State, Recipe]:
    """A model of random weights, ready for its first update. Raises Skipped where it needs what is not here."""
    recipe = recipe_of(size, settings)
    model = random_model(size, device)
    if recipe.adapter == NF4:
        in_four_bits(model)
    policy = policy_of(model, recipe.trainable, recipe.adapter, gradient_checkpointing=recipe.gradient_checkpointing)
    nobody: Any = None  # what an encoder is asked is asked before an update
    return State(policy, nobody, brought(lambda: Updater(policy.parameters, recipe.optimizer)), None, 0, 0.0), recipe


def recipe_of(size: Size, settings: dict[str, Any], tokens: int | None = None) -> Recipe:
    """One prompt a step, with replies of so many tokens."""
    return Recipe(
        name="gpu",
        data=Data(worlds=("count",), number=1),
        objective=GRPO(group_size=size.group),
        steps=4,
        prompts=1,
        sampling=Sampling(max_new_tokens=tokens or size.tokens),
        gradient_checkpointing=True,
        **settings,
    ).settled(None)


def brought(make: Callable[[], Any]) -> Any:
    """What `make` makes. Raises Skipped where a package is not here that it needs."""
    try:
        return make()
    except ImportError as error:
        raise Skipped(f"not brought: {error}") from error
    except RecipeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise Skipped(f"not brought: {error.__cause__}") from error


def in_four_bits(model: Any) -> None:
    """Quantise the language layers where they are, as reading a folder for such an adapter does."""
    bnb = brought(lambda: __import__("bitsandbytes"))
    for name in language_linears(model):
        parent, _, last = name.rpartition(".")
        old: nn.Linear = model.get_submodule(name)
        new = bnb.nn.Linear4bit(
            *(old.in_features, old.out_features, old.bias is not None),
            compute_dtype=old.weight.dtype,
            quant_type="nf4",
            device="meta",
        )
        weight = bnb.nn.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
        new.weight, new.bias = weight.to(old.weight.device), old.bias
        new.support_avx512bf16_for_cpu = False
        setattr(model.get_submodule(parent), last, new)


def _on_all_cards(bench: Bench, state: State, recipe: Recipe, name: str, tokens: int) -> dict[str, Any]:
    """The largest card comes first, after a step that makes the optimizer's moments. Without a GPU there is one."""
    group = judged_group(bench.size, 0, tokens)
    recipe = recipe.model_copy(update={"sampling": Sampling(max_new_tokens=tokens)})
    with capped(bench, CARDS[0]):
        found = {"first step": learned(bench, state, recipe, group)}
        found |= {f"{CARDS[0]} GB": learned(bench, state, recipe, group)}
    bench.measured[name] = whole_step(found)
    for card in CARDS[1:] if bench.device != "cpu" else ():
        with capped(bench, card):
            found[f"{card} GB"] = learned(bench, state, recipe, group)
    return found


def whole_step(cards: dict[str, Any]) -> float:
    """GiB of an update step in one piece, on the largest card; 0 where it did not go that way."""
    found = cards[f"{CARDS[0]} GB"]
    return 0.0 if found.get("retries") else float(found.get("GiB at most", 0.0))


def learned(bench: Bench, state: State, recipe: Recipe, group: Group) -> dict[str, Any]:
    """An update step: its memory and time, or that there was too little memory for it."""
    metrics: dict[str, float] = {}
    state.limits = Limits(rows=MAX_ROWS)
    began = time.perf_counter()
    try:
        used = peak(bench, lambda: metrics.update(update(state, [group], recipe, step=1)))
    except (RuntimeError, MemoryError, RecipeError) as error:
        if not is_out_of_memory(error) and not is_out_of_memory(error.__cause__ or error):
            raise
        why = str(error)
    else:
        return {
            "fits": True,
            **used,
            "seconds": time.perf_counter() - began,
            "retries": metrics["memory/retries"],
        }
    state.optimizer.zero_grad()
    free(bench)
    return {"fits": False, "why": why[:300]}


@contextmanager
def capped(bench: Bench, gigabytes: int) -> Iterator[None]:
    """Let this process have as much memory as preflight says that a card of this size leaves it."""
    if bench.device == "cpu":
        yield
        return
    free(bench)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, machine_of(str(gigabytes)).free / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def judged_group(size: Size, seed: int, tokens: int) -> Group:
    """Random replies to a random prompt, with made-up rewards: 0 for the first, 1 for the last."""
    packed = random_group(size, seed, size.group, tokens)
    replies = []
    for i, token_ids in enumerate(packed.replies):
        reward = i / (len(packed.replies) - 1)
        reply = Reply(text="", token_ids=token_ids, stop=StopReason.LENGTH)
        verdict = Verdict(score=reward, status=Status.OK)
        replies.append(Judged(reply=reply, verdict=verdict, reward=reward, advantage=2 * reward - 1))
    return Group(next(iter(generate("count", "train", 1))), packed.prompt, tuple(replies))


def preflight(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """What preflight says of the same steps. It counts in tensors without numbers: the GPU is not asked."""
    for name, (size, settings) in cases(bench.size).items():
        with tempfile.TemporaryDirectory() as folder:
            config_of(size).save_pretrained(folder)
            machine = Machine("this", bench.device, CARDS[0] * GIB, 0, None)
            estimator = Estimator(Path(folder), workload_of(size), machine)
            for tokens in (size.tokens, size.long):
                title = f"{name}, R = {tokens}"
                yield title, partial(_expected, bench, estimator, recipe_of(size, settings, tokens), title)


def _expected(bench: Bench, estimator: Estimator, recipe: Recipe, title: str) -> dict[str, float]:
    memory = estimator.memory(recipe)
    phases = {name: (sum(memory.held.values()) + sum(parts.values())) / GIB for name, parts in memory.phases.items()}
    found = {"GiB of an update step": max(phases["update"], phases["optimizer"]), "GiB at most": memory.total / GIB}
    if measured := bench.measured.get(title):
        found["to what was measured"] = found["GiB of an update step"] / measured
    return found


def workload_of(size: Size) -> Workload:
    """One example: that of `random_prompt`."""
    t, h, w = size.grid
    patches = t * h * w
    lengths = Lengths(size.words + patches // 4 + 2, patches // 4, (size.grid,), patches * 3 * 2 * 14 * 14 * 4, None)
    return Workload((lengths,), 1, None)
