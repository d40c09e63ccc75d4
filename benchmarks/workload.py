"""What both sides are asked to do: the same pictures and prompts, replies of one fixed length, one made-up reward.

Shape letters: B prompts of a step, G replies per prompt, P tokens of the longest prompt, R tokens of every reply.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from firsthand.objective import GRPO
from firsthand.recipe import Data, Optimizer, Recipe
from firsthand.records import Example
from firsthand.rollout import Sampling
from firsthand.trainer.sample import draw_indices
from firsthand.worlds import SMALL

WORLDS = ("count", "chart")
"""One with small pictures and one with large ones, so that prompts differ in length."""
WARM_UP = 3
"""Steps that are not timed: the first ones pay for allocations."""
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """The size of the work, as the command line gives it."""

    steps: int = 20
    prompts: int = 16
    group: int = 8
    reply_tokens: int = 32
    threads: int = 2
    trainable: Literal["language", "all"] = "language"
    """`language` freezes the vision tower on both sides."""
    lr: float = 1e-5
    image_tokens: int | None = None
    """Pictures are scaled to so many tokens, as nearly as their shape allows; None leaves them as they are."""

    def recipe(self, folder: Path) -> Recipe:
        """The same work as a recipe of ours; the learning rate is constant. A scaling model is put into the folder."""
        steps = self.steps + WARM_UP
        return Recipe(
            name="benchmark",
            model="small" if self.image_tokens is None else str(scaling(self.image_tokens, folder / "model")),
            # Every step sees new pictures, so nothing that is kept from an earlier step helps.
            data=Data(worlds=WORLDS, number=steps * self.prompts),
            objective=GRPO(group_size=self.group),
            steps=steps,
            prompts=self.prompts,
            sampling=Sampling(max_new_tokens=self.reply_tokens, temperature=1.0),
            optimizer=Optimizer(lr=self.lr, warmup=0.0, floor=1.0, max_grad_norm=MAX_GRAD_NORM),
            trainable=self.trainable,
        )


def scaling(tokens: int, folder: Path) -> Path:
    """The small model, with an image processor that scales every picture to about so many tokens."""
    shutil.copytree(SMALL, folder, dirs_exist_ok=True)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    pixels = tokens * (settings["patch_size"] * settings["merge_size"]) ** 2
    settings["size"] = {"shortest_edge": pixels, "longest_edge": pixels}
    path.write_text(json.dumps(settings))
    return folder


def group_of(recipe: Recipe) -> int:
    """Replies per prompt."""
    return recipe.objective.group_size


def reward(reply: int, group: int) -> float:
    """The i-th reply of every group earns the same, whatever it says: 0 for the first, 1 for the last."""
    return (reply % group) / (group - 1)


def examples_of(step: int, examples: list[Example], recipe: Recipe) -> list[Example]:
    """The examples of a step, drawn as our trainer draws them."""
    return [examples[i] for i in draw_indices(len(examples), recipe.prompts, step, recipe.seed)]


class Recorder(torch.optim.SGD):
    """Plain SGD that keeps the gradient of its last step, all parameters flat."""

    gradient: torch.Tensor

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Keep a copy of the gradient, then descend."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.gradient = torch.cat([p.grad.detach().flatten() for p in parameters])
        super().step()
