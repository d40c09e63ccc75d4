"""The command line: a thin shell over the rooms. Nothing heavy is imported before a command needs it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from firsthand.errors import FirsthandError

RECIPES = Path(__file__).parent / "recipes"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Errors that a user can mend are one message, without a traceback."""
    args = _parser().parse_args(argv)
    try:
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except FirsthandError as error:
        print(f"firsthand: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nfirsthand: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="firsthand", description="Vision-language models that reason first-hand, instead of imitating."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the whole loop on the small model: four arms, evaluated, and a report")
    demo.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="where the runs and report.html go (default: %(default)s)"
    )
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a value of the study, such as shared.steps=20",
    )
    demo.set_defaults(command=_demo)

    train = commands.add_parser("train", help="carry out a recipe")
    train.add_argument("recipe", type=Path, help="a YAML file; see docs/recipes.md")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a value of the recipe, such as optimizer.lr=1e-5",
    )
    train.add_argument(
        "--out", type=Path, default=Path("runs"), help="where the run directory is made (default: %(default)s)"
    )
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="accuracy with intervals, and every reply")
    evaluate.add_argument("model", help="a Hugging Face folder, a finished run directory, or `small`")
    evaluate.add_argument(
        "--data", required=True, help="a .jsonl or .parquet file, a folder, or worlds:NAMES[:SPLIT[:NUMBER]]"
    )
    evaluate.add_argument(
        "--samples", type=int, default=8, help="sampled replies per example, for pass@k (default: %(default)s)"
    )
    evaluate.add_argument("--temperature", type=float, default=1.0, help="of the samples (default: %(default)s)")
    evaluate.add_argument("--max-new-tokens", type=int, default=256)
    evaluate.add_argument("--system", help="system prompt of rows that have none")
    evaluate.add_argument("--out", type=Path, default=Path("runs"))
    evaluate.set_defaults(command=_evaluate)

    report = commands.add_parser("report", help="run directories -> one self-contained HTML file")
    report.add_argument("runs", type=Path, nargs="+", help="run directories, or folders that hold some")
    report.add_argument("--out", type=Path, default=Path("report.html"))
    report.add_argument("--title", default="firsthand")
    report.set_defaults(command=_report)

    doctor = commands.add_parser("doctor", help="what this machine has, and what firsthand can do with it")
    doctor.set_defaults(command=_doctor)
    return parser


def _demo(args: argparse.Namespace) -> int:
    from firsthand.console import Console
    from firsthand.report import write_report
    from firsthand.study import Study, run_study

    study = Study.read(RECIPES / "demo.yaml", args.set)
    with Console() as console:
        folders = run_study(study, args.out, args.seed, console.training, console.evaluation)
    page = write_report(list(folders.values()), args.out / "report.html", "Does SFT help or hurt here?")
    console.table(args.out / "results.json")
    print(f"report: {page}\nnumbers: {args.out / 'results.json'}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from firsthand.config import build, override, read_yaml
    from firsthand.console import Console
    from firsthand.recipe import Recipe
    from firsthand.trainer import train

    recipe = build(Recipe, override(read_yaml(args.recipe), args.set), str(args.recipe))
    with Console() as console:
        folder = train(recipe, args.out, console.training(recipe.name, recipe))
    print(f"run: {folder}\nmodel: {folder / 'model'}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from firsthand.config import build
    from firsthand.console import Console
    from firsthand.evaluation import Protocol, evaluate_folder
    from firsthand.recipe import Data
    from firsthand.worlds import SMALL

    model = SMALL if args.model == "small" else Path(args.model)
    name = model.resolve().name
    if (model / "DONE").exists():
        model, name = model / "model", name.rpartition("-s")[0]
    chosen = {key: getattr(args, key) for key in ("max_new_tokens", "samples", "temperature", "system")}
    protocol = build(Protocol, chosen, "evaluate")
    with Console() as console:
        folder = evaluate_folder(model, Data.parse(args.data), protocol, args.out, console.evaluation(name), name=name)
    console.families(folder / "evaluation.json")
    print(f"scores: {folder / 'scores.jsonl'}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from firsthand.report import write_report

    runs: list[Path] = []
    for path in args.runs:
        found = [path] if (path / "recipe.json").exists() else sorted(p.parent for p in path.glob("*/recipe.json"))
        if not found:
            raise FirsthandError(f"no run directory (one that holds recipe.json) in: {path}")
        runs += found
    print(f"report: {write_report(runs, args.out, args.title)}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from firsthand.doctor import examine

    return examine()


if __name__ == "__main__":
    sys.exit(main())
