"""Commands that train: demo, train, study; and recipes."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firsthand.cli.evaluating import OF_DATA
from firsthand.errors import FirsthandError

if TYPE_CHECKING:
    from firsthand.ray_cluster import Engine
    from firsthand.study import Study

RECIPES = Path(__file__).parents[1] / "recipes"


def recipe_file(name: str) -> Path:
    """A YAML file; where there is none of that name, the recipe that ships under it, such as `vlaa-mini`."""
    shipped = RECIPES / f"{name}.yaml"
    return shipped if shipped.exists() and not Path(name).exists() else Path(name)


def demo_command(args: argparse.Namespace) -> int:
    """The demo's four arms, and a report."""
    study = _read_study(RECIPES / "demo.yaml", args.set)
    return _arms(study, [args.seed], args.out, "Does SFT help or hurt here?", args.track)


def study_command(args: argparse.Namespace) -> int:
    """Arms and seeds, and a report; or what each arm would need."""
    study = _read_study(args.study, args.set)
    if args.arms:
        study = study.only(args.arms)
    if args.on_bad is not None:
        study = study.on_bad(args.on_bad)
    _refuse_device_alone(args)
    if args.preflight:
        return _examine_arms(study, args.seeds, args.device)
    out = args.out or Path("runs") / args.study.stem
    if args.list:
        return _list_arms(study, args.seeds, out)
    if args.processes < 1:
        raise FirsthandError(f"--processes: expected 1 or more, got {args.processes}; give the GPUs of a training")
    return _arms(study, args.seeds, out, args.study.stem, args.track, args.engine, args.processes)


def tune_command(args: argparse.Namespace) -> int:
    """Each arm's settings, chosen on validation data."""
    from firsthand.cli.console import Console
    from firsthand.cli.terminal.tuning import pasted, show_choices, tried
    from firsthand.evaluation.joined import TRIES
    from firsthand.study import tune
    from firsthand.study.tuning import FOLDER

    study = _read_study(args.study, args.set)
    if study.tune is None:
        raise FirsthandError(
            f"{args.study} has nothing to choose from; add tune: {{grid: {{optimizer.lr: [1.0e-5, 1.0e-4, 1.0e-3]}}}}"
        )
    if args.on_bad is not None:
        study = study.on_bad(args.on_bad)
    out = args.out or Path("runs") / args.study.stem
    with Console() as console:
        found = tune(study, out, args.arms, console.training, console.evaluation, lambda one: console.say(tried(one)))
    chosen = [choice for arm, choice in found.tuned.items() if arm not in study.tuned]
    show_choices(chosen)
    print(f"every try: {out / FOLDER / TRIES}")
    if chosen:
        said = [f"--set {shlex.quote(one)}" for one in args.set]
        print("\nto keep these settings, put this into the file; without it `firsthand study` takes them from there\n")
        print(pasted(chosen, " ".join(["firsthand tune", str(args.study), *said])))
    return 0


def _read_study(file: Path, assignments: Sequence[str]) -> "Study":
    from firsthand.config import read_yaml
    from firsthand.study import Study

    if "arms" not in read_yaml(file):
        raise FirsthandError(f"{file} has no arms, so it is one recipe: firsthand train {file.stem}")
    return Study.read(file, assignments)


def _arms(
    study: "Study",
    seeds: Sequence[int],
    out: Path,
    title: str,
    track: str,
    engine: "Engine" = "local",
    processes: int = 1,
) -> int:
    from firsthand.cli.console import Console
    from firsthand.cli.terminal.standing import Overall
    from firsthand.cli.terminal.tuning import tried
    from firsthand.files import locked
    from firsthand.report import write_report
    from firsthand.study import run_seeds
    from firsthand.study.standing import standing_of
    from firsthand.trainer.trackers import Trackers

    trackers = Trackers.read(track)
    with Console(Overall(standing_of(study, out, seeds))) as console:
        tell = lambda one: console.say(tried(one))  # noqa: E731
        runs = run_seeds(
            study,
            out,
            seeds,
            console.training,
            console.evaluation,
            trackers,
            tell,
            engine=engine,
            processes=processes,
            tell=console.say,
        )
    if console.is_idle:
        print(f"already done: all runs are in {out}; to do one again, delete its folder")
    with locked(out / ".lock"):  # other seeds may end at the same time
        page = write_report([folder for arm in runs for folder in arm.folders], out / "report.html", title)
    console.table(out / "results.json")
    console.verdicts(out / "results.json")
    print(f"report: {page}\nnumbers: {out / 'results.json'}")
    if len(study.arms) > 1:
        print(f"whether the arms differ: firsthand compare {out}")
    return 0


def _list_arms(study: "Study", seeds: Sequence[int], out: Path) -> int:
    from firsthand.cli.terminal.standing import show_standing
    from firsthand.study.standing import standing_of

    show_standing(standing_of(study, out, seeds))
    return 0


def _examine_arms(study: "Study", seeds: Sequence[int], device: str | None) -> int:
    """What each arm needs under the first seed; 1 when one of them does not fit."""
    from firsthand.cli.console import Console
    from firsthand.cli.terminal.preflight import refusal, show_arms
    from firsthand.preflight import preflight

    recipes = {arm: study.recipe_from_scratch(arm, seeds[0]) for arm in study.arms}
    trained = {arm: recipe for arm, recipe in recipes.items() if recipe.steps}
    found = {}
    with Console() as console:
        bar = console.evaluation("the arms", "examine")
        for number, (arm, recipe) in enumerate(trained.items(), 1):
            found[arm] = preflight(recipe, device, alone=False)
            bar(number, len(trained))
    show_arms(recipes, found, len(seeds))
    too_large = {arm: plan for arm, plan in found.items() if not plan.fits}
    for arm, plan in too_large.items():
        print(f"firsthand: {refusal(recipes[arm], plan, arm)}", file=sys.stderr)
    return int(bool(too_large))


def _refuse_device_alone(args: argparse.Namespace) -> None:
    if args.device is not None and not args.preflight:
        raise FirsthandError("--device is for --preflight: training takes the GPU that is here; add --preflight")


def train_command(args: argparse.Namespace) -> int:
    """One recipe."""
    from firsthand.cli.console import Console
    from firsthand.config import build, read_recipe
    from firsthand.recipe import Recipe
    from firsthand.trainer import train
    from firsthand.trainer.ranks import ranks_here, silent_rank
    from firsthand.trainer.trackers import Trackers

    read = {key: getattr(args, key) for key in OF_DATA}
    said = [f"data.{key}={json.dumps(value)}" for key, value in read.items() if value is not None]
    content = read_recipe(args.recipe, [*args.set, *said])
    if "arms" in content:
        raise FirsthandError(f"{args.recipe} is a study, for it has arms: firsthand study {args.recipe.stem}")
    recipe = build(Recipe, content, str(args.recipe))
    _refuse_device_alone(args)
    if args.preflight:
        from firsthand.cli.terminal.preflight import refusal, show
        from firsthand.preflight import preflight

        plan = preflight(recipe, args.device)
        show(recipe, plan)
        if not plan.fits:
            print(f"firsthand: {refusal(recipe, plan)}", file=sys.stderr)
        return int(not plan.fits)
    trackers = Trackers.read(args.track)
    if not ranks_here().is_first:  # rank 0 tells it all
        import transformers

        transformers.utils.logging.disable_progress_bar()
        with silent_rank():
            train(recipe, args.out)
        return 0
    with Console() as console:
        folder = train(recipe, args.out, console.training(recipe.name, recipe), trackers)
    if console.is_idle:
        print(f"already done: {folder}; to train again, change the recipe (--set seed=1), or delete the folder")
    print(f"run: {folder}\nmodel: {folder / 'model'}")
    return 0


def recipes_command(args: argparse.Namespace) -> int:
    """What ships here."""
    for path in sorted(RECIPES.glob("*.yaml")):
        print(f"{path.stem:<30} {path.read_text(encoding='utf-8').partition(chr(10))[0].removeprefix('# ')}")
    return 0
