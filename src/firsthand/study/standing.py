"""How far a study is, from its run directories alone: nothing is read of the data, and nothing is written.

So data that has changed under the same path shows as done here; the study itself sees it, and trains anew.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.cost import RunCost
from firsthand.evaluation.custom import settings
from firsthand.files import is_locked
from firsthand.run import evaluations_beside, journalled_steps, recipe_of
from firsthand.study.plan import Study, Test
from firsthand.study.tuning import with_kept_choices

_OF_DATA = {"id", "data_id", "probe_id"}
"""Keys of a recipe.json that only reading the data can tell."""


class Stage(StrEnum):
    """How far a training and its evaluations are."""

    MISSING = "missing"
    BEGUN = "begun"
    """It was stopped, and goes on there."""
    RUNNING = "running"
    """A process is working on it."""
    TRAINED = "trained"
    """An evaluation is missing."""
    DONE = "done"


class Standing(NamedTuple):
    """How far an arm is under one seed."""

    arm: str
    seed: int
    stage: Stage
    step: int
    """Steps that are journalled."""
    steps: int | None
    """Steps that it takes; None where a budget decides."""
    minutes: float | None = None
    """That its training took; None until it is done."""


def standing_of(study: Study, root: Path, seeds: Sequence[int]) -> list[Standing]:
    """Every training of the study in the order in which they are carried out: seed after seed, arm after arm."""
    study = with_kept_choices(study, root)
    found = []
    for seed in seeds:
        folders: dict[str, Path] = {}
        for arm in study.order:
            found.append(_standing(study, root, arm, seed, folders))
    return found


def training_title(arm: str, seed: int, seeds: Sequence[int]) -> str:
    """What a training of a study is called while it goes on."""
    return arm if len(seeds) == 1 else f"{arm}, seed {seed}"


def _standing(study: Study, root: Path, arm: str, seed: int, folders: dict[str, Path]) -> Standing:
    """One of them; it is added to the finished `folders` of its seed, by arm."""
    recipe = study.recipe(arm, seed, {name: Path(name) for name in study.arms})
    is_measured = recipe.budget is not None or study.is_matched(arm)
    missing = Standing(arm, seed, Stage.MISSING, 0, None if is_measured else recipe.taken)
    if study.grid(arm) or set(study.needs(arm)) - set(folders):
        return missing  # its settings are to be chosen first, or what it starts from is to be trained
    wanted = study.recipe(arm, seed, folders).identity([])
    folder = _run_of(wanted, root, arm, seed)
    if folder is None:
        return missing
    if not (folder / "DONE").exists():
        stage = Stage.RUNNING if is_locked(folder / ".lock") else Stage.BEGUN
        return missing._replace(stage=stage, step=min(journalled_steps(folder), recipe.taken))
    folders[arm] = folder
    stage = Stage.DONE if _is_evaluated(study.evaluation, folder) else Stage.TRAINED
    return missing._replace(stage=stage, step=journalled_steps(folder), minutes=RunCost.read(folder).minutes)


def _run_of(wanted: Mapping[str, Any], root: Path, arm: str, seed: int) -> Path | None:
    """The run with that recipe; the finished one, or the latest, where data has changed and there are several."""
    folders = [path.parent for path in root.glob(f"{escape(arm)}-s{seed}-*/recipe.json")]
    alike = [folder for folder in folders if _but_data(recipe_of(folder)) == _but_data(wanted)]
    return max(alike, key=lambda folder: ((folder / "DONE").exists(), folder.stat().st_mtime), default=None)


def _but_data(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in _OF_DATA}


def _is_evaluated(test: Test, training: Path) -> bool:
    """Whether all that the study asks of a model is there."""
    tests = [test, *(test.blindly(how) for how in test.blind)]
    wanted = [_asked(settings(one.data, one.protocol, one.reward)) for one in tests]
    there = [_asked(recipe_of(folder)) for folder in evaluations_beside(training)]
    return all(one in there for one in wanted)


def _asked(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked and how it was judged, apart from the precision that `auto` has on a machine."""
    protocol = {key: value for key, value in recipe["protocol"].items() if key != "precision"}
    return {"data": recipe.get("data"), "protocol": protocol, "reward": recipe.get("reward")}
