"""Is each arm of a study healthy? An arm that is not carries no verdict: a gain over a broken baseline is none.

That is no rare thing: gains of single-stage methods have rested on SFT baselines whose micro-batches were dropped
(arXiv:2604.23747).

    checks.py      what a healthy arm shows, from its runs
    evidence.py    what is read of them
    loops.py       replies that go round in circles
    distance.py    how far the weights went
    splitting.py   whether the gradient depends on the micro-batches
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from firsthand.findings import Check, CheckState, Health, Tuned
from firsthand.objective import Imitating
from firsthand.policy.precision import Accelerator
from firsthand.recipe import Recipe
from firsthand.rollout.parity import PARITY
from firsthand.study import checks
from firsthand.study.distance import relative_distance
from firsthand.study.evidence import ItemReply, Training, counted
from firsthand.study.plan import START, TEACHER, Study
from firsthand.study.results import ArmRuns
from firsthand.study.splitting import measure_split

ByArm = Mapping[str, Mapping[int, ArmRuns]]
"""The finished runs of a study: arm -> seed -> runs."""


def health_of(study: Study, root: Path, by_arm: ByArm, tuned: Sequence[Tuned] = ()) -> dict[str, Health]:
    """The checks of every arm, its seeds taken together. An arm inherits what failed in the one that it starts from.

    One that takes no step has none of its own. What is measured anew, of the first seed, is kept below `root`.
    """
    chosen = {one.arm: one for one in tuned}
    recipes = {arm: [_recipe(study, by_arm, arm, seed) for seed in runs] for arm, runs in by_arm.items()}
    found: dict[str, Health] = {}
    for arm, runs in by_arm.items():
        own: list[Check] = []
        if recipes[arm][0].steps:
            pairs = zip(runs.values(), recipes[arm], strict=True)
            own = checks_of([Training.read(run.training, recipe) for run, recipe in pairs], chosen.get(arm))
            base = next((name for name in by_arm if _is_base_of(recipes[name][0], recipes[arm][0])), None)
            own.insert(0, measure_split(recipes[arm][0], next(iter(runs.values())).training, root))
            own.append(checks.replies(_counted(runs), _counted(by_arm[base]) if base else ()))
        found[arm] = Health(arm=arm, checks=(*_inherited(study, arm, found), *own))
    return found


def _recipe(study: Study, by_arm: ByArm, arm: str, seed: int) -> Recipe:
    folders = {name: runs[seed].training for name, runs in by_arm.items() if seed in runs}
    return study.recipe(arm, seed, folders).settled(Accelerator.here(), tell=False)


def _is_base_of(base: Recipe, recipe: Recipe) -> bool:
    return base.steps == 0 and base.start is None and base.model == recipe.model


def _inherited(study: Study, arm: str, found: Mapping[str, Health]) -> tuple[Check, ...]:
    """What failed in the arm that this one starts from, or learns from, or in one before those."""
    parents = {START: next(iter(study.starts(arm)), None), TEACHER: study.teacher(arm)}
    inherited = []
    for name, parent in parents.items():
        if parent is not None and found[parent].failed:
            failed = ", ".join(check.name for check in found[parent].failed)
            what = f"it {'starts' if name == START else 'learns'} from {parent}, which is not healthy: {failed}"
            inherited.append(Check(name=name, state=CheckState.FAILED, what=what, remedy=f"mend {parent} first"))
    return tuple(inherited)


def checks_of(trainings: Sequence[Training], tuned: Tuned | None) -> list[Check]:
    """What the trainings of an arm say, as far as its method can."""
    recipe = trainings[0].recipe
    method = recipe.objective
    found = [checks.coverage(trainings)]
    if isinstance(method, Imitating):
        found.append(checks.demonstrations(trainings))
    if not method.samples:  # else imitation may give way to rewards, and its loss may rise
        found += [checks.training_loss(trainings), checks.held_out_loss(trainings), checks.overshoot(trainings, tuned)]
    else:
        found += [checks.reward(trainings), checks.groups(trainings)]
        found.append(checks.parity(trainings, PARITY[recipe.dtype].max))
    found += [checks.held_out_accuracy(trainings), checks.tuned_rate(trainings, tuned)]
    found.append(
        checks.distance(min(relative_distance(t.recipe.model_folder(), t.folder / "model") for t in trainings))
    )
    return found


def _counted(runs: Mapping[int, ArmRuns]) -> list[Sequence[ItemReply]]:
    return [counted(run.evaluation) for run in runs.values()]
