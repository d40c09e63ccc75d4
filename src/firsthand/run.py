"""A run directory: immutable once it is done, resumable until then, readable by anyone.

    <name>-s<seed>-<id>/
        recipe.json       what was asked for; `id` is the hash of it, and of all that it reads (identity.py)
        environment.json  where it was carried out, and with which packages
        metrics.jsonl     of a training: one `records.Step` per line
        rollouts.jsonl    of a training: one `records.Rollout` per line
        checkpoints/      of a training: what resuming needs; gone when the run is done
        model/            of a training: the result, a plain Hugging Face folder
        scores.jsonl      of an evaluation: one `records.Score` per line
        evaluation.json   of an evaluation: the table made of them
        refused.jsonl     rows of the data that were left out, one `data.Refused` per line; absent where there is none
        images/           every picture that rollouts and scores refer to, by content hash
        DONE              the run is complete: no file is written again

A different recipe is a different directory, the same one is resumed, a finished one skipped. An evaluation of a trained
model is a run of its own, beside the training's; its recipe says which run it `evaluates`.
"""

import json
import logging
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Self

from firsthand.errors import DataError, excerpt
from firsthand.files import Kinds, lock_of, object_in, sync, write_atomically
from firsthand.records import Picture, Record, Rollout, Step, content_id, json_lines, png

REFUSED = "refused.jsonl"
"""The rows that a run leaves out, because its data says `on_bad: drop`."""
CHOSEN = "pass_rate.json"
"""Which examples a training has left, because its data says `pass_rate`."""
RECIPE_KINDS: Kinds = {
    **dict.fromkeys(("name", "id", "evaluates", "start", "model_id", "data_id"), str),
    **dict.fromkeys(("seed", "steps", "stop"), int),
    **dict.fromkeys(("protocol", "endpoint", "reward", "optimizer", "sampling"), dict),
    "benchmark": (dict, str),
    "data": (dict, str),
    "objective": (dict, str),
}
"""What readers take for granted of a recipe.json; one that says something else was damaged, or is none."""
_NO_WORK = {"recipe.json", "environment.json", REFUSED, CHOSEN, "tensorboard", "wandb", ".lock"}
"""What a run directory holds before its first step or reply."""
_KEPT_SIDE = 2048
"""Pixels of the longer side that a kept picture has at most (ours). As PNG, a photo of 50 million would take 90 MiB,
and half a minute."""
_LOG = logging.getLogger(__name__)
_PACKAGES = ("firsthand", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "math-verify", "sympy")


class Run:
    """An open run directory; one process at a time. Use as a context manager."""

    def __init__(self, folder: Path, lock: IO[str] | None) -> None:
        """`lock` is of the process that writes; None: this one reads along."""
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(
        cls, root: Path, name: str, seed: int, recipe: Mapping[str, Any], hashed: Mapping[str, Any] | None = None
    ) -> "Run":
        """Open the directory of a recipe (as JSON), new or not; its id is the hash of `hashed`, else of the recipe.

        Waits, and says so, while another process has it open.
        """
        hashed = recipe if hashed is None else hashed
        folder = folder_of(root, name, seed, hashed)
        run = cls(folder, lock_of(folder / ".lock"))
        if not object_in(folder / "recipe.json"):  # or one that was damaged: what it said is known
            run.write_json("recipe.json", {**recipe, "id": content_id(hashed)})
        run._note_environment()
        return run

    @classmethod
    def beside(cls, folder: Path) -> "Run":
        """A directory that another process has opened, which works on this run with this one and does the writing."""
        return cls(folder, None)

    @classmethod
    def open_evaluation(cls, root: Path, name: str, seed: int, recipe: Mapping[str, Any], model: Path | None) -> "Run":
        """`open` for an evaluation: its recipe says which run it `evaluates`, where the model is a run's result.

        That is no part of its id, unless another run has the same weights, as an arm that takes no step has under
        every seed.
        """
        source = None if model is None else run_of_model(model)
        provenance = {} if source is None else {"evaluates": source}
        hashed = dict(recipe)
        if recipe_of(folder_of(root, name, seed, hashed)).get("evaluates", source) != source:
            hashed |= provenance
        run = cls.open(root, name, seed, {**hashed, **provenance}, hashed=hashed)
        if source is None or recipe_of(run.folder).get("evaluates", source) == source:
            return run
        run._close()  # while we waited, the same weights of another run were evaluated here
        return cls.open(root, name, seed, {**hashed, **provenance})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """After an error a directory that holds no work yet goes: it would only be in the way of other commands."""
        if self._lock is None:
            return
        if error is not None and {path.name for path in self.folder.iterdir()} <= _NO_WORK:
            shutil.rmtree(self.folder)
        self._close()

    def _close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def model(self) -> Path:
        """Where the trained model is, once the run is done."""
        return self.folder / "model"

    @property
    def is_done(self) -> bool:
        """Whether the run is complete."""
        return (self.folder / "DONE").exists()

    def finish(self) -> None:
        """Declare the run complete. All that it holds is on the disk by then."""
        self.sync()
        write_atomically(self.folder / "DONE", "")

    def append_step(self, step: Step, rollouts: Iterable[Rollout]) -> None:
        """Journal one training step. The rollouts come first: a step that is journalled has them."""
        for name, records in (("rollouts.jsonl", rollouts), ("metrics.jsonl", [step])):
            with (self.folder / name).open("a", encoding="utf-8") as journal:
                journal.write(json_lines(records))

    def sync(self) -> None:
        """Bring the journals to the disk. What goes on from here must not find them without a step.

        Not after every step: those since the last checkpoint are done again after a loss of power.
        """
        for name in ("rollouts.jsonl", "metrics.jsonl"):
            if (path := self.folder / name).exists():
                sync(path)
        sync(self.folder)

    def rewind(self, step: int) -> None:
        """Forget everything journalled from training step `step` on; a torn last line goes too.

        Raises DataError, and changes nothing, when a line is damaged, or a step before `step` is not there: going on
        would end in a run that has lost it.
        """
        names = ("metrics.jsonl", "rollouts.jsonl")
        kept = {name: _before(self.folder / name, step) for name in names if step or (self.folder / name).exists()}
        for name, content in kept.items():
            write_atomically(self.folder / name, content)

    def write_records(self, name: str, records: Iterable[Record]) -> None:
        """Replace a JSONL file by these records."""
        write_atomically(self.folder / name, json_lines(records))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file."""
        write_atomically(self.folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _note_environment(self) -> None:
        """Where the run is carried out; a run that goes on elsewhere gets a second entry. No part of its id."""
        path = self.folder / "environment.json"
        told = object_in(path, {"environments": list}).get("environments") or []
        known = [entry for entry in told if isinstance(entry, dict)]
        here = environment()
        changed = [key for key, value in here.items() if key != "from" and known and known[-1].get(key) != value]
        if self.is_done or (known and not changed):
            return
        self.write_json("environment.json", {"environments": [*known, here]})
        if changed:
            told = [f"{key} {here[key]} after {known[-1].get(key)}" for key in changed if key != "packages"]
            what = ", ".join(told) or "other versions of packages"
            _LOG.warning("%s goes on with %s: the last digits of its numbers may depend on it", self.folder, what)

    def keep_pictures(self, pictures: Iterable[Picture]) -> None:
        """Copy pictures into images/ as PNG, unless they are there; large ones smaller, for people look at them."""
        for picture in pictures:
            path = self.folder / "images" / f"{picture.sha256}.png"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, _kept(picture))


def _kept(picture: Picture) -> bytes:
    encoded = picture.encoded()
    is_large = max(picture.width, picture.height) > _KEPT_SIDE
    if encoded.startswith(b"\x89PNG") and not is_large:
        return encoded
    image = picture.open()
    if is_large:
        image.thumbnail((_KEPT_SIDE, _KEPT_SIDE))
    return png(image)


def _before(path: Path, step: int) -> bytes:
    """What a journal holds of the steps before `step`. Raises DataError unless that is every one of them."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # what has no end was torn by a kill
    remedy = "restore the file from a copy, or delete the run's folder to train anew"
    kept, found = [], set()
    for number, line in enumerate(lines, start=1):
        try:
            at = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{path} line {number}: expected a record of a training step, got {excerpt(line, 60)!r}; {remedy}"
            ) from error
        if at < step:
            kept.append(line)
            found.add(at)
    if missing := sorted(set(range(step)) - found):
        raise DataError(
            f"{path}: expected every step before {step}, where the run goes on, got none of step {missing[0]} "
            f"({len(missing)} are missing); {remedy}"
        )
    return b"".join(line + b"\n" for line in kept)


def folder_of(root: Path, name: str, seed: int, recipe: Mapping[str, Any]) -> Path:
    """The directory that belongs to a recipe."""
    return root / f"{name}-s{seed}-{content_id(recipe)[:8]}"


def run_of_model(model: Path) -> str | None:
    """The id of the finished run that a model folder is the result of; None for any other folder."""
    is_result = model.name == "model" and (model.parent / "DONE").exists()
    return recipe_of(model.parent).get("id") if is_result else None


def recipe_of(run: Path) -> dict[str, Any]:
    """A run's recipe.json; nothing where there is none, or none that can be read."""
    return object_in(run / "recipe.json", RECIPE_KINDS)


def journalled_steps(run: Path) -> int:
    """Training steps that a run has journalled."""
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def evaluations_inside(run: Path) -> list[Path]:
    """The run itself where it is an evaluation, and what earlier versions evaluated inside a training's directory."""
    return [folder for folder in (run, *sorted(run.glob("evaluations/*"))) if (folder / "evaluation.json").exists()]


def evaluations_beside(run: Path) -> list[Path]:
    """The finished evaluations of a training run, runs of their own: in the same folder, or above a study's."""
    identity = recipe_of(run).get("id")
    named = f"*-{escape(run.name.rpartition('-s')[0])}-s*/DONE"
    finished = [done.parent for root in (run.parent, run.parent.parent) for done in sorted(root.glob(named))]
    return [folder for folder in finished if identity and recipe_of(folder).get("evaluates") == identity]


def environment() -> dict[str, Any]:
    """This machine and what is installed on it, as far as runs may depend on them; `from` is the present time, UTC."""
    versions = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "from": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "packages": versions,
    }
