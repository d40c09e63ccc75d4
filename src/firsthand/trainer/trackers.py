"""Where a run can be watched besides its own files: TensorBoard, trackio, Weights & Biases.

A tracker is no part of a run. It changes no result and no id, its package is imported only when it is asked for, and
where it fails, training goes on: the run directory is the truth.

    Trackers   those that a command was asked for, checked before anything begins
    Tracking   those of one run that are open
    Tracker    one of them
"""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, final

import numpy as np
from PIL import Image

from firsthand.errors import RecipeError
from firsthand.files import object_in
from firsthand.records import Score, records_in
from firsthand.run import Run, recipe_of
from firsthand.trainer.tracked import PictureTable, TrackedCell, evaluation_numbers, evaluation_tables

ALWAYS = ("tensorboard",)
"""The trackers of who asks for none."""
PATIENCE_S = 120.0
"""How long the end of a run waits for Weights & Biases (ours); what is left then stays on the disk, to be synced."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it."""

    folder: Path
    job: Literal["train", "evaluate"]
    step: int = 0
    """Its next one: what was tracked from there on is superseded."""
    has_begun: bool = False
    """Whether it goes on, so that trackers may know it. One that begins anew replaces an older one of the same id."""

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What was asked for, with the run's `id`, its `name`, which in a study is its arm's, and its `seed`."""
        return recipe_of(self.folder)

    @property
    def project(self) -> str:
        """The folder that holds the runs, in the letters that every tracker takes."""
        return re.sub(r"[^\w.-]+", "-", self.folder.resolve().parent.name) or "firsthand"


class Tracker(Protocol):
    """One run in one tracker."""

    next_step: int
    """The first step that it does not have."""

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        """Show what was measured in a step."""

    def close(self, *, is_complete: bool) -> None:
        """Write what was not written yet."""


@final
class TensorBoard:
    """Event files in the run's own directory. Replies are escaped: TensorBoard renders texts as Markdown."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard"
        self.next_step = run.step if folder.exists() else 0
        self._board = SummaryWriter(str(folder), purge_step=self.next_step)
        if not self.next_step:
            recipe = json.dumps(run.recipe, indent=2, ensure_ascii=False)
            self._board.add_text("recipe", "\n".join(f"    {line}" for line in recipe.splitlines()), 0)

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        """Scalars; a table as a text, and its pictures as images."""
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        for name, table in tables.items():
            self._board.add_text(name, _markdown(table), step)
            for number, picture in enumerate(table.pictures, 1):
                self._board.add_image(f"{name}/picture {number}", np.asarray(picture), step, dataformats="HWC")

    def close(self, *, is_complete: bool) -> None:
        """Write the event file's end."""
        self._board.close()


@final
class Trackio:
    """A run of that name in trackio's project, which is a file on this machine unless its variables say otherwise."""

    def __init__(self, run: TrackedRun) -> None:
        import trackio

        self._package = trackio
        self._run = trackio.init(
            project=run.project,
            name=run.folder.name,
            group=run.recipe.get("name"),
            config=run.recipe,
            resume="allow" if run.has_begun else "never",
            embed=False,
        )
        self.next_step: int = self._run._next_step  # no public name tells it

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        """All of a step in one entry."""
        shown = {name: _for(self._package, table) for name, table in tables.items()}
        self._run.log({**numbers, **shown}, step=step)

    def close(self, *, is_complete: bool) -> None:
        """Write what is still queued."""
        self._package.finish()


@final
class WandB:
    """A run with our id in Weights & Biases; its files are in the run directory. WANDB_... variables are heeded."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        self._package = wandb
        self._run = wandb.init(
            project=None if "WANDB_PROJECT" in os.environ else run.project,
            dir=None if "WANDB_DIR" in os.environ else run.folder,
            id=run.recipe["id"],
            name=run.folder.name,
            group=run.recipe.get("name"),
            job_type=run.job,
            config=run.recipe,
            resume="allow" if run.has_begun else None,
            # Its capture of the console, and the summary at the end, would tear progress bars apart.
            settings=wandb.Settings(console="off", quiet=True, finish_timeout=PATIENCE_S),
        )
        self.next_step: int = self._run.starting_step

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        """All of a step at once: a step that was committed takes nothing more."""
        shown = {name: _for(self._package, table) for name, table in tables.items()}
        self._run.log({**numbers, **shown}, step=step)

    def close(self, *, is_complete: bool) -> None:
        """Upload the rest; an incomplete run is marked as failed until it goes on."""
        self._run.finish(exit_code=int(not is_complete))


_OPENED: dict[str, Callable[[TrackedRun], Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


@final
class Trackers:
    """Those that a command was asked for. One that cannot be opened is told of once, and left out from then on."""

    def __init__(self, names: Sequence[str] = ALWAYS) -> None:
        """Raises RecipeError for one that is unknown, not installed, or not logged in."""
        for name in names:
            _check(name)
        self._names = list(dict.fromkeys(names))

    @classmethod
    def read(cls, text: str) -> "Trackers":
        """From a list such as `tensorboard,wandb`; `none` is none."""
        names = [name.strip() for name in text.split(",")]
        return cls([] if names == ["none"] else names)

    @property
    def text(self) -> str:
        """What `read` makes the same of."""
        return ",".join(self._names) or "none"

    def open(self, run: TrackedRun) -> "Tracking":
        """Open the run in each."""
        opened = {}
        for name in list(self._names):
            try:
                opened[name] = _OPENED[name](run)
            except Exception as error:  # whatever another's package raises, training goes on
                self._names.remove(name)
                _LOG.warning("%s cannot be opened, and is left out; training goes on: %s", name, error)
        return Tracking(run, opened)


@final
class Tracking:
    """The trackers of one run that are open. One that fails is told of once, and left out of this run from then on."""

    def __init__(self, run: TrackedRun, opened: dict[str, Tracker]) -> None:
        self._run = run
        self._opened = opened

    @property
    def next_step(self) -> int | None:
        """The first step that one of them does not have; None without trackers."""
        return min((tracker.next_step for tracker in self._opened.values()), default=None)

    def log(self, step: int, numbers: Mapping[str, float], tables: Mapping[str, PictureTable]) -> None:
        """Show a step to those that do not have it."""
        for name, tracker in list(self._opened.items()):
            if step >= tracker.next_step:
                self._attempt(name, partial(tracker.log, step, numbers, tables))

    def close(self, *, is_complete: bool) -> None:
        """Close all."""
        for name, tracker in list(self._opened.items()):
            self._attempt(name, partial(tracker.close, is_complete=is_complete))

    def _attempt(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever another's package raises, training goes on
            del self._opened[name]
            _LOG.warning("%s: %s failed, and is left out of this run; it goes on: %s", self._run.folder, name, error)


def track_evaluation(trackers: Trackers, run: Run) -> None:
    """Show an evaluation, a run of its own: its numbers, its families, and some of its replies."""
    evaluation = object_in(run.folder / "evaluation.json")
    scores = list(records_in(run.folder / "scores.jsonl", Score))
    tables = evaluation_tables(evaluation, scores, run.folder / "images")
    numbers = {f"evaluation/{key}": value for key, value in evaluation_numbers(evaluation).items()}
    tracking = trackers.open(TrackedRun(run.folder, "evaluate"))
    tracking.log(0, numbers, {f"evaluation/{name}": table for name, table in tables.items()})
    tracking.close(is_complete=True)


def _check(name: str) -> None:
    if name not in _OPENED:
        raise RecipeError(f"track: expected some of {', '.join(_OPENED)}, or none, got {name!r}")
    if find_spec(name) is None:
        raise RecipeError(f"track: needs {name}, which is not installed: pip install 'firsthand[{name}]'")
    if name == "wandb":
        _check_login()


def _check_login() -> None:
    """Ask now whether Weights & Biases knows who logs: it would ask when the first run is opened, or give up there."""
    import wandb

    is_online = wandb.setup().settings.mode in {"online", "run", "shared"}
    if is_online and not wandb.login(prompt=False, verify=False):
        raise RecipeError(
            "track: wandb is not logged in here: `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline keeps all on "
            "this machine"
        )


def _for(package: Any, table: PictureTable) -> Any:
    """A table as trackio or wandb has it; they name it, and a picture, alike."""
    pictures = {id(picture): package.Image(picture) for picture in table.pictures}
    rows = [[pictures.get(id(cell), cell) for cell in row] for row in table.rows]
    return package.Table(columns=list(table.columns), data=rows)


def _markdown(table: PictureTable) -> str:
    """A table in Markdown; its pictures are numbers there."""
    numbers = {id(picture): number for number, picture in enumerate(table.pictures, 1)}
    lines = [table.columns, ("---",) * len(table.columns)]
    lines += [tuple(_in_markdown(cell, numbers) for cell in row) for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_markdown(cell: TrackedCell, numbers: Mapping[int, int]) -> str:
    if isinstance(cell, Image.Image):
        return f"picture {numbers[id(cell)]}"
    if cell is None:
        return "-"
    return _escaped(cell) if isinstance(cell, str) else f"{cell:.4g}"


def _escaped(text: str) -> str:
    """Text that no Markdown or HTML reader takes for anything else: every sign as a numeric reference."""
    return "".join(
        sign if sign.isalnum() or sign == " " else "<br>" if sign == "\n" else f"&#{ord(sign)};" for sign in text
    )
