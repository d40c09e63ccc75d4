"""Carry out a study: arm after arm, seed after seed; what is done is not done again."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from firsthand.data.blind import blinded
from firsthand.errors import RecipeError
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.replies import OnProgress
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.study.costs import budget_of
from firsthand.study.distance import measure_distances
from firsthand.study.health import health_of
from firsthand.study.plan import Study, Test
from firsthand.study.rates import refuse_empty, with_rates
from firsthand.study.results import ArmRuns, over_seeds, row_of, write_results
from firsthand.study.standing import training_title
from firsthand.study.tokens import measure_tokens
from firsthand.study.tuning import OnArm, OnTry, tune
from firsthand.study.verdicts import verdicts_of
from firsthand.trainer import train
from firsthand.trainer.trackers import Trackers, track_evaluation


def run_study(
    study: Study,
    root: Path,
    seed: int = 0,
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: Callable[[str], OnProgress] = lambda arm: lambda done, total: None,
    trackers: Trackers | None = None,
    on_try: OnTry = lambda found: None,
) -> dict[str, ArmRuns]:
    """Train and evaluate every arm that is not done; the run directories by arm. Also writes `results.json`.

    Arms that have settings to choose choose them first.
    """
    _check(study, seed)
    refuse_empty(study, seed, root, on_evaluation)
    study = tune(study, root, None, on_arm, on_evaluation, on_try)
    runs = _carry_out(study, root, seed, on_arm, on_evaluation, trackers)
    _conclude(study, root, {arm: {seed: run} for arm, run in runs.items()})
    return runs


def _carry_out(
    study: Study,
    root: Path,
    seed: int,
    on_arm: OnArm,
    on_evaluation: Callable[[str], OnProgress],
    trackers: Trackers | None,
) -> dict[str, ArmRuns]:
    """Train and evaluate every arm under one seed, its settings chosen."""
    runs: dict[str, ArmRuns] = {}
    for arm in study.order:
        recipe = study.recipe(arm, seed, {name: run.training for name, run in runs.items()})
        recipe = with_rates(study, recipe, root, on_evaluation)
        training = train(recipe, root, on_arm(arm, recipe), trackers)
        runs[arm] = _evaluated(study.evaluation, training, arm, root, on_evaluation, trackers)
    return {arm: runs[arm] for arm in study.arms}


def _check(study: Study, seed: int) -> None:
    """The last arm's mistake must not show only when the others are trained, nor that of the questions."""
    for arm in study.arms:
        study.recipe(arm, seed, {name: Path(name) for name in study.arms})
    questions = study.evaluation.data.load()
    for how in study.evaluation.blind:
        blinded(questions, how)


def run_seeds(
    study: Study,
    root: Path,
    seeds: Sequence[int],
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: Callable[[str], OnProgress] = lambda arm: lambda done, total: None,
    trackers: Trackers | None = None,
    on_try: OnTry = lambda found: None,
) -> list[ArmRuns]:
    """`run_study` for every seed, with the same settings; all run directories.

    `results.json` is written when all are through; of several seeds it holds each arm's mean.
    Raises RecipeError when a seed is given twice.
    """
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds: expected each seed once, got {list(seeds)}")
    _check(study, seeds[0])
    refuse_empty(study, seeds[0], root, on_evaluation)
    study = tune(study, root, None, on_arm, on_evaluation, on_try)
    runs: list[ArmRuns] = []
    by_arm: dict[str, dict[int, ArmRuns]] = {arm: {} for arm in study.arms}
    for seed in seeds:

        def training(arm: str, recipe: Recipe) -> Callable[[Step], None]:
            return on_arm(training_title(arm, recipe.seed, seeds), recipe)

        for arm, both in _carry_out(study, root, seed, training, on_evaluation, trackers).items():
            by_arm[arm][seed] = both
            runs.append(both)
    _conclude(study, root, by_arm)
    _analyse(study, root, {arm: found[seeds[0]] for arm, found in by_arm.items()}, seeds[0], on_evaluation)
    return runs


def _analyse(
    study: Study, root: Path, runs: Mapping[str, ArmRuns], seed: int, on_evaluation: Callable[[str], OnProgress]
) -> None:
    """What the report shows of the weights, in runs of their own."""
    if "tokens" in study.analyses:
        measure_tokens(study, root, runs, seed, on_evaluation)
    if "distances" in study.analyses:
        measure_distances(study, root, runs, seed)


def _conclude(study: Study, root: Path, by_arm: Mapping[str, Mapping[int, ArmRuns]]) -> None:
    """Write what the runs of every arm say, by seed: `results.json`."""
    tables = {
        arm: over_seeds(found) if len(found) > 1 else row_of(*next((run, seed) for seed, run in found.items()))
        for arm, found in by_arm.items()
    }
    runs = {arm: list(found.values()) for arm, found in by_arm.items()}
    tuned = [study.tuned[arm] for arm in study.arms if arm in study.tuned]
    health = health_of(study, root, by_arm, tuned)
    verdicts = verdicts_of(study, by_arm, health)
    write_results(
        root, tables, runs, budget_of(study, by_arm), verdicts=verdicts, health=list(health.values()), tuned=tuned
    )


def _evaluated(
    test: Test,
    training: Path,
    arm: str,
    root: Path,
    on_evaluation: Callable[[str], OnProgress],
    trackers: Trackers | None,
) -> ArmRuns:
    """A finished run with its evaluations, beside it."""

    def evaluate(test: Test, title: str) -> Path:
        bar = on_evaluation(title)
        return evaluate_folder(
            training / "model",
            test.data,
            test.protocol,
            root,
            bar,
            name=arm,
            reward=test.reward,
            on_table=partial(track_evaluation, trackers or Trackers()),
        )

    seeing = evaluate(test, arm)
    return ArmRuns(training, seeing, {how: evaluate(test.blindly(how), f"{arm}, blind {how}") for how in test.blind})
