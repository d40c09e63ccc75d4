"""What a teacher needs: its model without weights, run forward alone."""

from collections.abc import Sequence
from typing import final

import torch

from firsthand.policy.packing import alone
from firsthand.policy.precision import stated
from firsthand.preflight.blueprint import Blueprint
from firsthand.preflight.kernels import KernelCounter
from firsthand.preflight.workload import RowLengths
from firsthand.recipe import Recipe


@final
class TeacherBlueprint(Blueprint):
    """The model of a settled recipe's teacher."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises DataError when the teacher's folder has no config.json of a known family."""
        teacher = recipe.teacher
        assert teacher is not None, "the recipe has one"
        # float16 takes what bfloat16 does.
        precision = "float32" if stated(teacher.folder(), teacher.precision) == "float32" else "bfloat16"
        plain = {"precision": precision, "adapter": None, "gradient_checkpointing": False}
        super().__init__(recipe.model_copy(update=plain), teacher.folder())

    def scoring(self, rows: Sequence[RowLengths]) -> int:
        """Bytes at the worst moment of a forward over packed rows, on top of weights."""
        groups = [self._group(prompt, replies) for prompt, *replies in rows]
        if not self._policy.sharing.allows(max(group.tokens for group in groups)):
            groups = alone(groups)
        packed = self._policy.rows(groups)
        with torch.no_grad(), KernelCounter() as counter:
            self._logprobs(packed, groups, "none")
        return int(counter.peak)
