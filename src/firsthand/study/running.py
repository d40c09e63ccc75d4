"""Carry out a study: arm after arm, seed after seed; what is done is not done again."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from firsthand.data.blind import blinded
from firsthand.errors import RecipeError
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.replies import OnProgress
from firsthand.ray_cluster import Engine
from firsthand.recipe import Recipe
from firsthand.records import Step
from firsthand.study.cluster import Job, carry_out_on_ray, train_by_processes
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


def _silent_arm(arm: str, recipe: Recipe) -> Callable[[Step], None]:
    return lambda step: None


def _silent_evaluation(title: str) -> OnProgress:
    return lambda done, total: None


def run_study(
    study: Study,
    root: Path,
    seed: int = 0,
    on_arm: OnArm = _silent_arm,
    on_evaluation: Callable[[str], OnProgress] = _silent_evaluation,
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
    processes: int = 1,
) -> dict[str, ArmRuns]:
    """Train and evaluate every arm under one seed, its settings chosen."""
    runs: dict[str, ArmRuns] = {}
    for arm in study.order:
        runs[arm] = _carry_out_arm(arm, seed, runs, study, root, on_arm, on_evaluation, trackers, processes)
    return {arm: runs[arm] for arm in study.arms}


def _carry_out_arm(
    arm: str,
    seed: int,
    runs: Mapping[str, ArmRuns],
    study: Study,
    root: Path,
    on_arm: OnArm = _silent_arm,
    on_evaluation: Callable[[str], OnProgress] = _silent_evaluation,
    trackers: Trackers | None = None,
    processes: int = 1,
) -> ArmRuns:
    """Train and evaluate an arm; `runs` are those of the arms that it needs."""
    recipe = study.recipe(arm, seed, {name: run.training for name, run in runs.items()})
    recipe = with_rates(study, recipe, root, on_evaluation)
    if processes > 1 and recipe.steps:
        train_by_processes(recipe, root, processes, (trackers or Trackers()).text)
    training = train(recipe, root, on_arm(arm, recipe), trackers)
    return _evaluated(study.evaluation, training, arm, root, on_evaluation, trackers)


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
    on_arm: OnArm = _silent_arm,
    on_evaluation: Callable[[str], OnProgress] = _silent_evaluation,
    trackers: Trackers | None = None,
    on_try: OnTry = lambda found: None,
    *,
    engine: Engine = "local",
    processes: int = 1,
    tell: Callable[[str], None] = lambda said: None,
) -> list[ArmRuns]:
    """`run_study` for every seed, with the same settings; all run directories.

    `results.json` is written when all are through; of several seeds it holds each arm's mean.
    By the engine `ray` trainings and their evaluations run beside each other on a Ray cluster, and `tell` is told of
    each that has ended; tuning, health and analyses are done here. Each training is one by so many `processes`.
    Raises RecipeError when a seed is given twice.
    """
    if len(set(seeds)) < len(seeds):
        raise RecipeError(f"seeds: expected each seed once, got {list(seeds)}")
    _check(study, seeds[0])
    refuse_empty(study, seeds[0], root, on_evaluation)
    study = tune(study, root, None, on_arm, on_evaluation, on_try)
    runs: list[ArmRuns] = []
    by_arm: dict[str, dict[int, ArmRuns]] = {arm: {} for arm in study.arms}
    done: dict[Job, ArmRuns] = {}
    if engine == "ray":
        work = partial(_carry_out_arm, study=study, root=root, trackers=trackers, processes=processes)
        done = carry_out_on_ray(study, seeds, work, processes, tell)
    for seed in seeds:

        def training(arm: str, recipe: Recipe) -> Callable[[Step], None]:
            return on_arm(training_title(arm, recipe.seed, seeds), recipe)

        of_seed = {job.arm: both for job, both in done.items() if job.seed == seed}
        if engine == "local":
            of_seed = _carry_out(study, root, seed, training, on_evaluation, trackers, processes)
        for arm in study.arms:
            by_arm[arm][seed] = of_seed[arm]
            runs.append(of_seed[arm])
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
