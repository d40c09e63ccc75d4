"""A full GRPO step on the GPU, and its update alone, beside TRL's transformers engine: one model, one optimizer.

Weights are random, in bfloat16, of the real shape; the tokenizer is that of the small model, and so are the ids of the
tokens around pictures. Both sides read the same pictures of noise and words without sense, write replies of one length,
and pay a reply for its place in the group. Both step by the same optimizer, one object, on the same weights: two sets
of either do not fit beside TRL's activations. Steps of ours in other precisions are in `gpu_memory`.

Shape letters: B prompts of a step, G replies of a prompt, P tokens of a prompt, R tokens of a reply.
"""

import dataclasses
import hashlib
import importlib
import io
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_bench import Bench, Measurement
from gpu_forms import FUSED, FUSED_ROTARY, fused
from gpu_memory import brought
from gpu_speed import COMPILED, SLOTS
from gpu_workload import Size, policy_of, random_model
from our_side import PlaceRouter
from PIL import Image
from workload import examples_of, scaling

from firsthand.objective import GRPO
from firsthand.policy.head import Head
from firsthand.policy.vision import Tower
from firsthand.processor import Encoder, model_config
from firsthand.recipe import Data, Recipe
from firsthand.records import Example, Picture
from firsthand.rollout import LocalSampler, Sampling
from firsthand.rollout.slots import SlotSampler
from firsthand.trainer.batch import Group
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.sample import sample
from firsthand.trainer.score import score
from firsthand.trainer.state import State
from firsthand.trainer.update import update
from firsthand.worlds import generate

FIRSTHAND, TRL = "firsthand", "TRL"
ROUNDS = 2
"""At most: a full step of TRL's takes a quarter of a minute."""
PATCH = 14
"""Pixels on the side of one."""


class Side(NamedTuple):
    """One of those that are compared."""

    full_step: Callable[[int], object]
    """On the pictures of a step."""
    update: Callable[[], float]
    """On given replies; the gradient's norm."""


def step(bench: Bench) -> Iterator[tuple[str, Measurement]]:
    """Both, in turns."""
    bench.forget()
    with tempfile.TemporaryDirectory() as root:
        folder = scaling(bench.size.grid[1] * bench.size.grid[2] // 4, Path(root) / "model")
        recipe, examples = asked(bench.size, folder)
        ours = Ours(bench, recipe, examples)
        sides: dict[str, Side] = {}
        makers = {name: partial(ours.side, sampler) for name, sampler in ours.samplers.items()}
        for name, make in (makers | {TRL: partial(theirs, ours, root)}).items():
            yield f"{name}, first step", partial(_first_step, bench, sides, name, make)
        if sides:
            updates = {FIRSTHAND if name != TRL else TRL: side.update for name, side in sides.items()}
            yield "gradients", partial(_gradients, ours, updates)
            updates |= {form: partial(ours.update_fused, form) for form in (FUSED, FUSED_ROTARY)}
            yield "update", partial(_updates, bench, ours, updates)
            full_steps = {name: side.full_step for name, side in sides.items()}
            yield "full step", partial(in_turns, bench, full_steps, ROUNDS)


class Ours:
    """The trainer's own stages, without its journal."""

    def __init__(self, bench: Bench, recipe: Recipe, examples: Sequence[Example]) -> None:
        config = model_config(recipe.model_folder())
        special = [getattr(config, f"{name}_id") for name in ("vision_start_token", "vision_end_token", "image_token")]
        text = bench.size.text
        # Words of the small model must be words of this one, too.
        size = dataclasses.replace(bench.size, text={**text, "vocab_size": max(text["vocab_size"], 1024)})
        self.recipe, self.examples = recipe, examples
        self.policy = policy_of(random_model(size, bench.device, (*special, config.video_token_id)))
        self.encoder = Encoder.load(recipe.model_folder())
        self.optimizer: Updater = brought(lambda: Updater(self.policy.parameters, recipe.optimizer))
        # Replies may contain vision tokens, as TRL lets them in training: then both compute one and the same function.
        self.policy.banned_ids = ()
        self.policy.head = Head(self.policy.model.lm_head, (), size.text["vocab_size"])
        self._state = State(self.policy, self.encoder, self.optimizer, None, 0, 0.0)
        self._router = PlaceRouter(recipe.objective.samples)
        self.samplers = {
            COMPILED: SlotSampler(self.policy, self.encoder, is_compiled=True),
            SLOTS: SlotSampler(self.policy, self.encoder),
        }
        for sampler in self.samplers.values():
            sampler.stop_ids = ()  # every reply is as long as it may be
        self.groups: Sequence[Group] = ()
        """What `update` learns from."""

    def side(self, sampler: LocalSampler) -> Side:
        """Ours, with one of its samplers."""

        def full_step(number: int) -> None:
            groups = self._sampled(sampler, number)
            self._learn(groups)
            self.groups = self.groups or groups

        return Side(full_step, self.update)

    def update(self) -> float:
        """On the first replies; the gradient's norm. What the tower made of their pictures is forgotten."""
        self.policy.tower = Tower(self.policy.model.base_model, frozen=True)
        return self._learn(self.groups)

    def update_fused(self, form: str) -> float:
        """The same with parts of the language model compiled."""
        with fused(self.policy, form):
            return self.update()

    def operations(self) -> int:
        """Of an update, each token and each picture counted once."""
        flops = self.policy.flops
        return sum(
            flops.update(len(group.prompt.token_ids), [len(judged.reply.token_ids) for judged in group.replies])
            + flops.of_prompt(group.prompt)
            for group in self.groups
        )

    def _learn(self, groups: Sequence[Group]) -> float:
        self.optimizer.zero_grad()  # of a side that failed on the same weights
        return update(self._state, groups, self.recipe, step=1)["optim/grad_norm"]

    def _sampled(self, sampler: LocalSampler, number: int) -> Sequence[Group]:
        chosen = examples_of(number, list(self.examples), self.recipe)
        return score(sample(chosen, self.recipe, self.encoder, sampler, number), self.recipe, self._router).groups


def theirs(ours: Ours, root: str) -> Side:
    """TRL's trainer on our model; from here on both learn from replies that it has written.

    Raises Skipped where it was not brought, ParityError when the two read examples differently.
    """
    trl: Any = brought(lambda: importlib.import_module("trl_side"))
    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL sets arguments that transformers renames
    logging.getLogger("trl").setLevel(logging.ERROR)
    recipe, group = ours.recipe, ours.recipe.objective.samples
    forwards = recipe.prompts * group // max(1, group // 2)  # half a group in each: what fits 80 GB, nearly
    [optimizer] = ours.optimizer.optimizers
    side = trl.Trl(recipe, list(ours.examples), root, forwards, model=ours.policy.model, optimizer=optimizer)
    equality: Any = importlib.import_module("equality")
    frozen = equality.freeze(ours, side, examples_of(0, list(ours.examples), recipe))
    ours.groups = frozen.ours
    return Side(lambda number: side.full_step(side.rows(number)), lambda: side.update(frozen.trl))


def asked(size: Size, folder: Path) -> tuple[Recipe, list[Example]]:
    """The recipe, and questions of about the wanted length, each about a picture of its own."""
    steps = ROUNDS + 2
    recipe = Recipe(
        name="gpu",
        model=str(folder),
        data=Data(worlds=("count",), number=1),
        objective=GRPO(group_size=size.group),
        steps=steps,
        prompts=size.stepped,
        sampling=Sampling(max_new_tokens=size.tokens),
        precision="bfloat16-pure",
        tokens_per_forward=2 * (size.grid[1] * size.grid[2] // 4 + 2 * size.words + size.group * size.tokens),
    ).settled(None)
    [first] = generate("count", "train", 1)
    encoder = Encoder.load(folder)
    question = first.question
    while len(encoder.reply(question)) < size.words:
        question = f"{question} {first.question}"
    pictures = [picture(size, number) for number in range(steps * size.stepped)]
    return recipe, [Example(question=question, images=(one,), answer=first.answer) for one in pictures]


def picture(size: Size, seed: int) -> Picture:
    """Blurred noise of the size that the processor leaves as it is."""
    _, height, width = size.grid
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((width * PATCH, height * PATCH))
    image.save(file := io.BytesIO(), format="PNG")
    data = file.getvalue()
    return Picture(sha256=hashlib.sha256(data).hexdigest(), width=image.width, height=image.height, data=data)


def _first_step(bench: Bench, sides: dict[str, Side], name: str, make: Callable[[], Side]) -> dict[str, float]:
    """A side is compared with the others after a step, which pays for allocations; where that fails, they are alone."""
    side = make()
    seconds = bench.seconds(partial(side.full_step, 0))
    sides[name] = side
    return {"seconds": seconds}


def _gradients(ours: Ours, actions: Mapping[str, Callable[[], float]]) -> dict[str, Any]:
    """Of each side's update at the same weights, which none changes: its norm, and the cosine of ours and TRL's.

    The cosine is over every sixth layer.
    """
    [optimizer] = ours.optimizer.optimizers
    chosen = [
        p for i, layer in enumerate(ours.policy.model.get_decoder().layers) if i % 6 == 0 for p in layer.parameters()
    ]
    found: dict[str, list[Any]] = {}
    norms = {}
    for name, action in actions.items():

        def keep(optimizer: Any, *_: Any, name: str = name) -> None:
            found[name] = [p.grad.flatten().clone() for p in chosen]
            for group in optimizer.param_groups:
                group["lr"] = 0.0

        hook = optimizer.register_step_pre_hook(keep)
        try:
            norms[name] = {"norm": action()}
        finally:
            hook.remove()
        for group in optimizer.param_groups:
            group["lr"] = ours.recipe.optimizer.lr
    if not {FIRSTHAND, TRL} <= found.keys():
        return norms
    a, b = (
        sum(float(x.float() @ y.float()) for x, y in zip(found[i], found[j], strict=True))
        for i, j in ((FIRSTHAND, FIRSTHAND), (TRL, TRL))
    )
    dot = sum(float(x.float() @ y.float()) for x, y in zip(found[FIRSTHAND], found[TRL], strict=True))
    return norms | {"cosine": dot / (a * b) ** 0.5}


def _updates(bench: Bench, ours: Ours, actions: Mapping[str, Callable[[], float]]) -> dict[str, Any]:
    """Seconds of each, and its first gradient's norm; of ours also the share of a matrix product's rate."""
    norms = {name: action() for name, action in actions.items()}
    found = in_turns(bench, {name: (lambda _, a=action: a()) for name, action in actions.items()}, ROUNDS)
    for name, norm in norms.items():
        found[name]["norm of the gradient"] = norm
    if mine := found.get(FIRSTHAND):
        mine["TFLOP"] = ours.operations() / 1e12
        if rate := bench.peaks.get("bfloat16"):
            mine["useful share of the peak"] = ours.operations() / mine["seconds"] / rate
    replies = ours.groups[0].replies
    return found | {
        "prompts": len(ours.groups),
        "tokens of a prompt": len(ours.groups[0].prompt.token_ids),
        "replies": len(replies),
        "tokens of a reply": len(replies[0].reply.token_ids),
    }


def in_turns(bench: Bench, actions: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, Any]:
    """Seconds of each action, forwards, backwards, and so on; each is told the number of the round, from 1.

    "TRL takes times as long" is the median over the rounds of TRL's seconds to those of another.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(1, rounds + 1):
        if bench.is_over and number > 1:
            break
        for name in actions if number % 2 else reversed(actions):
            seconds[name].append(bench.seconds(partial(actions[name], number)))
    found: dict[str, Any] = {name: {"seconds": statistics.median(each), "all": each} for name, each in seconds.items()}
    if TRL in seconds:
        for name in seconds.keys() - {TRL}:
            ratios = [b / a for a, b in zip(seconds[name], seconds[TRL], strict=True)]
            found[name] |= {"TRL takes times as long": statistics.median(ratios), "range": [min(ratios), max(ratios)]}
    return found
