"""A run directory: immutable once it is done, resumable until then, readable by anyone.

    <name>-s<seed>-<id>/
        recipe.json       what was asked for; `id` is the hash of it, of its data and of the run it starts from
        environment.json  where it was carried out, and with which packages
        metrics.jsonl     one `records.Step` per line
        rollouts.jsonl    one `records.Rollout` per line
        scores.jsonl      one `records.Score` per line
        evaluation.json   the table made of them
        evaluations/      earlier ones, on other data or by another protocol
        images/           every picture that rollouts and scores refer to, by content hash
        checkpoints/      what resuming needs; gone when the run is done
        model/            the result, a plain Hugging Face folder
        DONE              the run is complete

Nothing is overwritten: a different recipe is a different directory, the same one is resumed, a finished one skipped.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Self

from firsthand.errors import RecipeError
from firsthand.files import write_atomically
from firsthand.records import Picture, Record, Rollout, Step, content_id, png

ENDS = 2**20
"""Bytes at each end of a weights file that `folder_id` reads: the header, and as much of the weights as fits."""

PACKAGES = ("firsthand", "torch", "transformers", "tokenizers", "peft", "numpy", "pillow", "math-verify", "sympy")


class Run:
    """An open run directory; one process at a time. Use as a context manager."""

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(
        cls, root: Path, name: str, seed: int, recipe: Mapping[str, Any], hashed: Mapping[str, Any] | None = None
    ) -> "Run":
        """Open the directory that belongs to `recipe` (JSON-serialisable), making it if it is new.

        Its id is the hash of `hashed`, or without that of the recipe. Raises RecipeError when another process has it
        open.
        """
        identity = content_id(recipe if hashed is None else hashed)
        folder = root / f"{name}-s{seed}-{identity[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise RecipeError(f"{folder}: another process is working on this run; wait for it or stop it") from error
        run = cls(folder, lock)
        if not (folder / "recipe.json").exists():
            run.write_json("recipe.json", {**recipe, "id": identity})
        run._note_environment()
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    @property
    def model(self) -> Path:
        """Where the trained model is, once the run is done."""
        return self.folder / "model"

    @property
    def is_done(self) -> bool:
        """Whether training is complete."""
        return (self.folder / "DONE").exists()

    def finish(self) -> None:
        """Declare the run complete."""
        (self.folder / "DONE").touch()

    def append_step(self, step: Step, rollouts: Iterable[Rollout]) -> None:
        """Journal one training step. The rollouts come first: a step that is journalled has them."""
        self._append("rollouts.jsonl", rollouts)
        self._append("metrics.jsonl", [step])

    def rewind(self, step: int) -> None:
        """Forget everything journalled from training step `step` on; a torn last line goes too."""
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            path = self.folder / name
            if path.exists():
                lines = path.read_bytes().split(b"\n")[:-1]  # a line without its end was torn by a kill
                kept = [line for line in lines if json.loads(line)["step"] < step]
                write_atomically(path, b"".join(line + b"\n" for line in kept))

    def write_records(self, name: str, records: Iterable[Record]) -> None:
        """Replace a JSONL file by these records."""
        write_atomically(self.folder / name, "".join(f"{r.model_dump_json()}\n" for r in records))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a JSON file."""
        write_atomically(self.folder / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _note_environment(self) -> None:
        """Where the run is carried out; a run that goes on elsewhere gets a second entry. No part of its id."""
        path = self.folder / "environment.json"
        known = json.loads(path.read_text())["environments"] if path.exists() else []
        here = environment()
        if not self.is_done and (not known or {**known[-1], "from": ""} != {**here, "from": ""}):
            self.write_json("environment.json", {"environments": [*known, here]})

    def shelve(self, name: str, files: Iterable[str]) -> None:
        """Move files to evaluations/<name>/, where `unshelve` finds them: another evaluation overwrites none.

        A kill leaves them where they were, or on a shelf that has all of them; the last one goes first from the folder.
        """
        shelf = self.folder / "evaluations" / name
        present = [file for file in files if (self.folder / file).exists()]
        if not shelf.exists():
            draft = shelf.with_name(f".{name}.tmp")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for file in present:
                write_atomically(draft / file, (self.folder / file).read_bytes())
            draft.rename(shelf)
        for file in reversed(present):
            (self.folder / file).unlink()

    def unshelve(self, name: str) -> bool:
        """Copy what was shelved under that name back; whether there was something."""
        shelf = self.folder / "evaluations" / name
        for file in sorted(shelf.glob("*.json*"), reverse=True):  # evaluation.json, which says that all are there, last
            write_atomically(self.folder / file.name, file.read_bytes())
        return shelf.is_dir()

    def keep_pictures(self, pictures: Iterable[Picture]) -> None:
        """Copy pictures into images/ as PNG, unless they are there."""
        for picture in pictures:
            path = self.folder / "images" / f"{picture.sha256}.png"
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                encoded = picture.encoded()
                is_png = encoded.startswith(b"\x89PNG")
                write_atomically(path, encoded if is_png else png(picture.open()))

    def _append(self, name: str, records: Iterable[Record]) -> None:
        with (self.folder / name).open("a") as journal:
            journal.writelines(f"{record.model_dump_json()}\n" for record in records)


def environment() -> dict[str, Any]:
    """This machine and what is installed on it, as far as runs may depend on them; `from` is the present time, UTC."""
    versions = {}
    for package in PACKAGES:
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


def folder_id(folder: Path) -> str:
    """16 hex digits for what a model's or an adapter's folder holds: its config, and each weights file's size and ends.

    Quick for any size: two models that differ only in the middle of a file, with headers and sizes equal, count as one.
    """
    digest = hashlib.sha256()
    config = folder / "config.json"
    for path in [config if config.exists() else folder / "adapter_config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(ENDS))
            file.seek(max(0, path.stat().st_size - ENDS))
            digest.update(file.read(ENDS))
    return digest.hexdigest()[:16]
