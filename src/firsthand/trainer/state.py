"""Everything that a training run carries from step to step, and how it survives a kill.

A checkpoint is a Hugging Face folder, with the optimizer's moments and the random generators' states beside it as
safetensors, and counters as JSON; no pickle is written or read. It appears under its name only when it is complete.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from firsthand.files import replacing
from firsthand.policy import AdapterOff, Limits, Policy
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.rollout.local import MAX_ROWS
from firsthand.run import Run
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.teaching import TeacherReader


@dataclasses.dataclass
class State:
    """A policy in training."""

    policy: Policy
    encoder: Encoder
    optimizer: Updater
    reference: Policy | AdapterOff | None
    """The policy at the start of training; only when the objective needs it."""
    step: int
    """Training steps that are done."""
    kl_weight: float
    """beta of the next step: all that a KL controller remembers."""
    teacher: TeacherReader | None = None
    """Only when the recipe names one."""
    limits: Limits = dataclasses.field(default_factory=lambda: Limits(rows=MAX_ROWS))

    @classmethod
    def load(cls, recipe: Recipe, run: Run) -> "State":
        """The run's last checkpoint, or its beginning. The recipe is settled."""
        torch.manual_seed(recipe.seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        start = recipe.model_folder()
        checkpoint = latest(run)
        kept = checkpoint / "model" if checkpoint else None
        policy = Policy.load(
            start if recipe.adapter else kept or start,
            trainable=recipe.trainable,
            dtype=recipe.dtype,
            device=device,
            gradient_checkpointing=bool(recipe.gradient_checkpointing),
            adapter=recipe.adapter,
            adapter_weights=kept if recipe.adapter else None,
        )
        optimizer = Updater(policy.parameters, recipe.optimizer)
        policy.tower.keeps = True  # from the rollout to the update
        controller = recipe.objective.kl
        reference: Policy | AdapterOff | None = None
        if not controller.is_off:
            whole = recipe.adapter is None
            reference = (
                Policy.load(start, trainable=recipe.trainable, dtype=recipe.dtype, device=device)
                if whole
                else AdapterOff(policy)
            )
        teacher = TeacherReader.load(recipe, device)
        state = cls(policy, Encoder.load(start), optimizer, reference, 0, controller.first(recipe.steps), teacher)
        if checkpoint:
            state.step, state.kl_weight, limits = restore(optimizer, checkpoint)
            state.limits = limits or state.limits
        return state

    @property
    def size(self) -> int:
        """Bytes of a checkpoint, nearly: the model or its adapters, and what the optimizer keeps."""
        saved = self.policy.parameters if self.policy.has_adapter else self.policy.model.parameters()
        return sum(p.nbytes for p in saved) + self.optimizer.size

    def save(self, run: Run, step: int) -> None:
        """Write a checkpoint after `step` training steps, unless it is there; older ones go once it is complete."""
        folder = run.folder / "checkpoints" / f"step-{step:06d}"
        if folder.exists():
            return
        with replacing(folder) as draft:
            draft.mkdir(parents=True)
            self.policy.save_checkpoint(draft / "model")
            save_file(self.optimizer.tensors(), draft / "optimizer.safetensors")
            save_file({"torch": torch.get_rng_state()}, draft / "random.safetensors")
            kept = {"step": step, "kl_weight": self.kl_weight, "limits": dataclasses.asdict(self.limits)}
            (draft / "state.json").write_text(json.dumps(kept))
        for older in folder.parent.glob("*step-*"):
            if older != folder:
                shutil.rmtree(older)


def latest(run: Run) -> Path | None:
    """The run's newest complete checkpoint."""
    return max((run.folder / "checkpoints").glob("step-*"), default=None)


def restore(optimizer: Updater, checkpoint: Path) -> tuple[int, float, Limits | None]:
    """Give an optimizer and torch's generator the state they had; what else the checkpoint keeps.

    That is the number of steps done, the KL weight, and what fits (None in checkpoints of earlier versions).
    """
    optimizer.restore(load_file(checkpoint / "optimizer.safetensors"))
    torch.set_rng_state(load_file(checkpoint / "random.safetensors")["torch"])
    kept = json.loads((checkpoint / "state.json").read_text())
    limits = Limits(**kept["limits"]) if "limits" in kept else None
    return int(kept["step"]), float(kept["kl_weight"]), limits
