"""Everything that a training run carries from step to step, and how it survives a kill.

A checkpoint is a Hugging Face folder, with the optimizer's moments and the random generators' states beside it as
safetensors, and counters as JSON; no pickle is written or read. It appears under its name only when it is complete.
Its state.json names every file with the hash of its bytes, so that a damaged one is told and not trained on.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from firsthand.errors import DataError
from firsthand.files import object_in, replacing, sha256_of
from firsthand.policy import AdapterOff, Limits, Policy
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import content_id
from firsthand.rollout.local import MAX_ROWS
from firsthand.run import Run
from firsthand.trainer.optimizer import Updater
from firsthand.trainer.parts import load_parts, save_parts
from firsthand.trainer.ranks import ALONE, Ranks
from firsthand.trainer.teaching import TeacherReader

_STATE = "state.json"
_LOG = logging.getLogger(__name__)


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
    ranks: Ranks = ALONE
    """The processes that train this policy, each with its own copy of it, or a part."""

    @classmethod
    def load(cls, recipe: Recipe, run: Run, ranks: Ranks = ALONE) -> "State":
        """The run's last checkpoint, or its beginning, on each rank. The recipe is settled.

        Raises DataError when there are checkpoints, and all are damaged.
        """
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
        is_divided = recipe.fully_shard and ranks.size > 1
        if is_divided:
            policy.divide()
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
            if is_divided and isinstance(reference, Policy):
                reference.divide()
        teacher = TeacherReader.load(recipe, device)
        weight = controller.first(recipe.steps)
        state = cls(policy, Encoder.load(start), optimizer, reference, 0, weight, teacher, ranks=ranks)
        if checkpoint:
            state.step, state.kl_weight, limits = restore(optimizer, checkpoint)
            state.limits = limits or state.limits
        return state

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, divided weights of the policy and of the reference are whole on every rank."""
        with self.policy.whole(), self.reference.whole() if isinstance(self.reference, Policy) else nullcontext():
            yield

    @property
    def size(self) -> int:
        """Bytes of a checkpoint, nearly: the model or its adapters, and what the optimizer keeps."""
        saved = self.policy.parameters if self.policy.has_adapter else self.policy.model.parameters()
        return sum(p.nbytes for p in saved) + self.optimizer.size

    def save(self, run: Run, step: int) -> None:
        """Write a checkpoint after `step` training steps, unless it is there; older ones go once it has been read back.

        Rank 0 does it, for any number of ranks to go on from; of a divided policy's optimizer, each writes its part.
        Raises DataError when what is read is not what was written.
        """
        folder = run.folder / "checkpoints" / f"step-{step:06d}"
        if self.ranks.agreed(folder.exists()):
            return
        parts = folder.with_name(f".parts-{folder.name}") if self.policy.is_divided else None
        if parts is not None:
            self.ranks.on_first(lambda: _make_empty(parts))
            save_parts(self.optimizer, parts)
        with self.policy.whole():
            self.ranks.on_first(lambda: self._save(run, folder, step, parts))

    def _save(self, run: Run, folder: Path, step: int, parts: Path | None) -> None:
        run.sync()
        with replacing(folder) as draft:
            draft.mkdir(parents=True)
            self.policy.save_checkpoint(draft / "model")
            if parts is None:
                save_file(self.optimizer.tensors(), draft / "optimizer.safetensors")
            else:
                parts.rename(draft / "optimizer")
            save_file({"torch": torch.get_rng_state()}, draft / "random.safetensors")
            kept: dict[str, Any] = {"step": step, "kl_weight": self.kl_weight}
            kept |= {"limits": dataclasses.asdict(self.limits), "files": _hashes(draft)}
            (draft / _STATE).write_text(json.dumps({**kept, "id": content_id(kept)}), encoding="utf-8")
        if bad := damage(folder):
            raise DataError(f"{folder}: expected what was written a moment ago, got {bad}; look at the disk")
        for older in folder.parent.glob("*step-*"):
            if older != folder:
                shutil.rmtree(older)

    def save_model(self, run: Run) -> None:
        """Write the run's result, which appears whole; one of a pause, which the last checkpoint can make, goes."""
        with replacing(run.model) as draft:
            self.policy.save(draft)
            shutil.rmtree(run.model, ignore_errors=True)


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def latest(run: Run) -> Path | None:
    """The run's newest checkpoint that is whole. Raises DataError when there are some, and none is."""
    found = sorted((run.folder / "checkpoints").glob("step-*"), reverse=True)
    told = []
    for checkpoint in found:
        if (bad := damage(checkpoint)) is None:
            return checkpoint
        told.append(f"{checkpoint}: expected a whole checkpoint, got {bad}")
        _LOG.warning("%s; looking for an earlier one", told[-1])
    if told:
        raise DataError(f"{told[0]}; restore it from a copy, or delete the folder to train again from the beginning")
    return None


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None: nothing. One of an earlier version has no hashes, and passes."""
    kept = object_in(checkpoint / _STATE)
    if "step" not in kept:
        return f"a {_STATE} that is missing or cannot be read"
    if "files" not in kept:
        return None
    if kept.pop("id", None) != content_id(kept):
        return f"a {_STATE} that has changed"
    found = _hashes(checkpoint)
    changed = sorted(name for name in kept["files"].keys() | found.keys() if kept["files"].get(name) != found.get(name))
    return f"other bytes, or none, in {', '.join(changed)}" if changed else None


def _hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder but its state, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _STATE)
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def restore(optimizer: Updater, checkpoint: Path) -> tuple[int, float, Limits | None]:
    """Give an optimizer and torch's generator the state they had; what else the checkpoint keeps.

    That is the number of steps done, the KL weight, and what fits (None in checkpoints of earlier versions).
    """
    if (parts := checkpoint / "optimizer").exists():
        load_parts(optimizer, parts)
    else:
        optimizer.restore(load_file(checkpoint / "optimizer.safetensors"))
    torch.set_rng_state(load_file(checkpoint / "random.safetensors")["torch"])
    kept = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    limits = Limits(**kept["limits"]) if "limits" in kept else None
    return int(kept["step"]), float(kept["kl_weight"]), limits
