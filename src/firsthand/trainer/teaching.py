"""The teacher of a run: a frozen policy, with prompts of its own, that scores what the one in training has sampled."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.precision import STATED, stated
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Example
from firsthand.trainer.batch import Group


@dataclass(frozen=True)
class TeacherReader:
    """A teacher in memory."""

    policy: Policy
    encoder: Encoder
    recipe: Recipe

    @classmethod
    def load(cls, recipe: Recipe, device: str) -> "TeacherReader | None":
        """That of a recipe, if it has one."""
        settings = recipe.teacher
        if settings is None:
            return None
        folder = settings.folder()
        policy = Policy.load(folder, dtype=STATED[stated(folder, settings.precision)], device=device)
        for parameter in policy.parameters:
            parameter.requires_grad_(False)
        return cls(policy, Encoder.load(folder), recipe)

    @torch.no_grad()
    def logprobs(self, groups: Sequence[Group], temperature: float) -> Tensor:
        """Log-probs [B, T] of the replies of all groups, each after the prompt as the teacher sees it."""
        return self.policy.logprobs([self.packed(group) for group in groups], temperature=temperature).logp_BT

    def packed(self, group: Group) -> PrefixGroup:
        """A group's replies after the prompt that the teacher sees."""
        prompt = seen_by_teacher(group.example, self.recipe, self.encoder)
        return dataclasses.replace(group.packed, prompt=prompt, sampled_logprobs=())


def seen_by_teacher(example: Example, recipe: Recipe, encoder: Encoder) -> Prompt:
    """The prompt of a teacher, in place of the policy's: with its own system prompt and suffix, if it has some."""
    assert recipe.teacher is not None, "there is a teacher"
    asked = example.model_copy(update={"question": example.question + recipe.teacher.suffix})
    return encoder.prompt(asked, recipe.teacher.system or recipe.system)


def check_teacher(recipe: Recipe, encoder: Encoder) -> None:
    """Raises RecipeError when a recipe's teacher writes with other tokens than the policy that is trained."""
    if recipe.teacher is None:
        return
    own, others = encoder.vocabulary, Encoder.load(recipe.teacher.folder()).vocabulary
    apart = sorted(own.items() ^ others.items(), key=lambda pair: (pair[1], pair[0]))
    if apart:
        text, number = apart[0]
        raise RecipeError(
            f"teacher: expected a model with the tokenizer of the policy, got {recipe.teacher.model}, where "
            f"{len(apart)} tokens differ (the first is {text!r}: {own.get(text)} and {others.get(text)}): the log-prob "
            f"of a sampled token {number} would be that of another text; take a teacher of the same family"
        )
