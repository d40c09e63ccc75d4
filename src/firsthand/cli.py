"""The command line: a thin shell over the rooms. Nothing heavy is imported before a command needs it."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firsthand.errors import FirsthandError

if TYPE_CHECKING:
    from firsthand.evaluation.leaderboard import Judge
    from firsthand.evaluation.protocol import Protocol
    from firsthand.recipe import Recipe
    from firsthand.teacher import Endpoint

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
    train.add_argument(
        "recipe", type=recipe_file, help="a YAML file (docs/recipes.md), or the name of a recipe that ships here"
    )
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
    train.add_argument(
        "--preflight", action="store_true", help="train nothing: say what a step needs, and whether it fits here"
    )
    train.set_defaults(command=_train)

    study = commands.add_parser("study", help="carry out a study: arms and seeds, evaluated, and a report")
    study.add_argument(
        "study", type=recipe_file, help="a YAML file (docs/recipes.md), or the name of a study that ships here"
    )
    study.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="every arm runs once per seed (default: 0)"
    )
    study.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a value of the study, such as shared.steps=20",
    )
    study.add_argument(
        "--out", type=Path, help="where the runs and report.html go (default: runs/ and the study's name)"
    )
    study.set_defaults(command=_study)

    evaluate = commands.add_parser("evaluate", help="accuracy with intervals, and every reply")
    evaluate.add_argument(
        "model",
        help="a Hugging Face folder, a finished run directory, `small`, or the YAML file of an endpoint",
    )
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", help="a .jsonl or .parquet file, a folder, or worlds:NAMES[:SPLIT[:NUMBER]]")
    what.add_argument("--benchmark", help="a benchmark or suite (`firsthand benchmarks` lists them), or a YAML file")
    evaluate.add_argument("--data-root", type=Path, help="where benchmarks' files are (default: $LMUData or ~/LMUData)")
    evaluate.add_argument("--download", action="store_true", help="get files that are missing from the hub")
    evaluate.add_argument("--protocol", help="how replies are drawn: vlaa, srft, plain ..., or a YAML file")
    evaluate.add_argument("--judge", type=Path, help="YAML of the endpoint that a leaderboard's scorer asks")
    evaluate.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="of samples (default: 0)")
    evaluate.add_argument(
        "--samples", type=int, help="sampled replies per example, for pass@k (default: the protocol's; without one 8)"
    )
    evaluate.add_argument("--temperature", type=float, help="of the samples (default: the protocol's; without one 1.0)")
    evaluate.add_argument("--max-new-tokens", type=int, help="(default: the protocol's; without one 256)")
    evaluate.add_argument("--system", help="system prompt of rows that have none (default: the protocol's)")
    evaluate.add_argument(
        "--out", type=Path, default=Path("runs"), help="where run directories are made (default: %(default)s)"
    )
    evaluate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="protocol.KEY; with --data also how answers are judged, in the keys of a recipe's `reward`; with "
        "--benchmark also judge.KEY",
    )
    evaluate.set_defaults(command=_evaluate)

    benchmarks = commands.add_parser("benchmarks", help="the benchmarks that ship here, one line each")
    benchmarks.set_defaults(command=_benchmarks)

    compare = commands.add_parser(
        "compare", help="evaluated models on the same items: differences, and whether they are"
    )
    compare.add_argument(
        "runs", type=Path, nargs="+", help="run directories of `evaluate`; the first model is the baseline"
    )
    compare.add_argument(
        "--scorer",
        choices=("strict", "leaderboard"),
        default="strict",
        help="whose marks are compared (default: %(default)s)",
    )
    compare.add_argument("--out", type=Path, help="the comparison as JSON")
    compare.set_defaults(command=_compare)

    export = commands.add_parser("export", help="an evaluated run's replies as VLMEvalKit's table, or as JSON")
    export.add_argument("run", type=Path, help="a run directory of `evaluate --benchmark`")
    export.add_argument("--out", type=Path, required=True, help="a .xlsx, .tsv or .json file")
    export.set_defaults(command=_export)

    lmms = commands.add_parser("lmms-task", help="write data as a task that lmms-eval scores with our verifiers")
    lmms.add_argument("--data", required=True, help="as for evaluate")
    lmms.add_argument("--name", default="firsthand", help="the task's name (default: %(default)s)")
    lmms.add_argument("--max-new-tokens", type=int, default=256)
    lmms.add_argument("--system", help="system prompt of rows that have none")
    lmms.add_argument("--out", type=Path, required=True, help="the folder for lmms-eval's --include_path")
    lmms.set_defaults(command=_lmms_task)

    forge = commands.add_parser("forge", help="visual questions -> verified demonstrations and harder questions")
    forge.add_argument("forge", type=Path, help="a YAML file (docs/forge.md)")
    forge.add_argument("--out", type=Path, help="where the data set goes (default: forge/ and the forge's name)")
    forge.add_argument("--dry-run", action="store_true", help="ask nobody: the teacher inside answers every request")
    forge.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a value of the forge, such as rewrite.words=20",
    )
    forge.add_argument("--batch-out", type=Path, metavar="DIR", help="write requests as batch files, and stop")
    forge.add_argument(
        "--batch-in", type=Path, nargs="+", metavar="FILE", default=[], help="read answers of batch files"
    )
    forge.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where rows are decoded and hashed (default: local)"
    )
    forge.add_argument("--give-up", action="store_true", help="drop the rows that nobody answers, and go on")
    forge.set_defaults(command=_forge)

    perplexity = commands.add_parser("perplexity", help="how much a model is surprised by demonstrations, per row")
    perplexity.add_argument("model", help="a Hugging Face folder, a finished run directory, or `small`")
    perplexity.add_argument("--data", required=True, help="as for evaluate; every row has a demonstration")
    perplexity.add_argument("--out", type=Path, required=True, help="JSONL: id, perplexity, tokens")
    perplexity.set_defaults(command=_perplexity)

    report = commands.add_parser("report", help="run directories -> one self-contained HTML file")
    report.add_argument("runs", type=Path, nargs="+", help="run directories, or folders that hold some")
    report.add_argument("--out", type=Path, default=Path("report.html"))
    report.add_argument("--title", default="firsthand")
    report.set_defaults(command=_report)

    reward = commands.add_parser("reward", help="judge replies from a file: verdicts, and a table of them")
    reward.add_argument("--problems", type=Path, required=True, help="JSONL: id, question, answer, kind, choices")
    reward.add_argument("--replies", type=Path, help="JSONL: id, reply; an id may repeat")
    reward.add_argument("--out", type=Path, required=True, help="JSONL of verdicts, in the order of the replies")
    reward.add_argument("--workers", type=int, default=2, help="replies judged at once (default: %(default)s)")
    reward.add_argument("--deadline", type=float, default=5.0, help="seconds of one comparison (default: %(default)s)")
    reward.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a value of a recipe's `reward`, such as box=stepped or open.scorer=overlap",
    )
    reward.add_argument(
        "--calibrate",
        action="store_true",
        default=None,
        help="judge nothing: find beta for the scorer of `open`, and write it",
    )
    reward.set_defaults(command=_reward)

    recipes = commands.add_parser("recipes", help="the recipes and studies that ship here, one line each")
    recipes.set_defaults(command=_recipes)

    doctor = commands.add_parser("doctor", help="what this machine has, and what firsthand can do with it")
    doctor.set_defaults(command=_doctor)
    return parser


def recipe_file(name: str) -> Path:
    """A YAML file; where there is none of that name, the recipe that ships under it, such as `vlaa-mini`."""
    shipped = RECIPES / f"{name}.yaml"
    return shipped if shipped.exists() and not Path(name).exists() else Path(name)


def _demo(args: argparse.Namespace) -> int:
    return _arms(RECIPES / "demo.yaml", args.set, [args.seed], args.out, "Does SFT help or hurt here?")


def _study(args: argparse.Namespace) -> int:
    return _arms(args.study, args.set, args.seeds, args.out or Path("runs") / args.study.stem, args.study.stem)


def _arms(file: Path, assignments: Sequence[str], seeds: Sequence[int], out: Path, title: str) -> int:
    from firsthand.config import read_yaml
    from firsthand.console import Console
    from firsthand.report import write_report
    from firsthand.study import Study, run_seeds

    if "arms" not in read_yaml(file):
        raise FirsthandError(f"{file} has no arms, so it is one recipe: firsthand train {file.stem}")
    study = Study.read(file, assignments)
    with Console() as console:
        folders = run_seeds(study, out, seeds, console.training, console.evaluation)
    page = write_report(folders, out / "report.html", title)
    console.table(out / "results.json")
    print(f"report: {page}\nnumbers: {out / 'results.json'}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from firsthand.config import build, override, read_yaml
    from firsthand.console import Console
    from firsthand.recipe import Recipe
    from firsthand.trainer import train

    content = read_yaml(args.recipe)
    if "arms" in content:
        raise FirsthandError(f"{args.recipe} is a study, for it has arms: firsthand study {args.recipe.stem}")
    recipe = build(Recipe, override(content, args.set), str(args.recipe))
    if args.preflight:
        return _preflight(recipe)
    with Console() as console:
        folder = train(recipe, args.out, console.training(recipe.name, recipe))
    print(f"run: {folder}\nmodel: {folder / 'model'}")
    return 0


def _preflight(recipe: "Recipe") -> int:
    from firsthand.preflight import preflight
    from firsthand.preflight.show import refusal, show

    plan = preflight(recipe)
    show(recipe, plan)
    if not plan.fits:
        print(f"firsthand: {refusal(recipe, plan)}", file=sys.stderr)
    return int(not plan.fits)


def _evaluate(args: argparse.Namespace) -> int:
    return _evaluate_benchmark(args) if args.benchmark else _evaluate_data(args)


def _evaluate_data(args: argparse.Namespace) -> int:
    from firsthand.config import build, override
    from firsthand.console import Console
    from firsthand.evaluation import Protocol, evaluate_folder
    from firsthand.recipe import Data
    from firsthand.reward import Reward

    _refuse_beside(args, "--data", "data_root", "download", "judge")
    model, name = _respondent(args.model, args.out)
    said = [part.removeprefix("protocol.") for part in args.set if part.startswith("protocol.")]
    free = override(_drawn(args), said)
    drawing = _protocol(args, args.protocol) if args.protocol else build(Protocol, free, "evaluate")
    judging = [part for part in args.set if not part.startswith("protocol.")]
    reward = build(Reward, override({}, judging), "evaluate --set")
    data = Data.parse(args.data)
    folders = []
    with Console() as console:
        for seed in args.seeds:
            seeded = drawing.model_copy(update={"seed": seed})
            bar = console.evaluation(name)
            folders.append(evaluate_folder(model, data, seeded, args.out, bar, name=name, reward=reward))
    for folder in folders:
        console.families(folder / "evaluation.json")
        print(f"scores: {folder / 'scores.jsonl'}")
    return 0


def _evaluate_benchmark(args: argparse.Namespace) -> int:
    from firsthand.console import Console
    from firsthand.evaluation.benchmark import find
    from firsthand.evaluation.files import default_root, download
    from firsthand.evaluation.session import Plan, evaluate_all
    from firsthand.evaluation.terminal import show

    model, name = _respondent(args.model, args.out)
    suite, benchmarks = find(args.benchmark)
    root = args.data_root or default_root()
    if args.download:
        for benchmark in benchmarks:
            download(benchmark, root)
    default = suite.protocol if suite else None
    drawings = [_protocol(args, args.protocol or default or b.protocol, b.draws) for b in benchmarks]
    plan = Plan(suite, benchmarks, drawings, args.seeds, _judge(args))
    if plan.judge and not any(b.leaderboard for b in benchmarks):
        raise FirsthandError(f"--judge: {args.benchmark} has no leaderboard's scorer, which would ask it; leave it out")
    with Console() as console:
        summary = evaluate_all(model, plan, root, args.out, name=name, on_benchmark=console.evaluation)
    show(summary)
    print(f"numbers: {summary}")
    return 0


def _drawn(args: argparse.Namespace) -> dict[str, object]:
    """What the command line says of how replies are drawn."""
    keys = ("max_new_tokens", "samples", "temperature", "system")
    return {key: getattr(args, key) for key in keys if getattr(args, key) is not None}


def _protocol(args: argparse.Namespace, name: str, draws: int | None = None) -> "Protocol":
    from firsthand.evaluation.protocol import protocol

    said = [part.removeprefix("protocol.") for part in args.set if part.startswith("protocol.")]
    found = protocol(name, said, _drawn(args), draws)
    if args.temperature is not None and not found.samples:
        raise FirsthandError("--temperature is that of samples, and none are drawn; add --samples N, or leave it out")
    return found


def _judge(args: argparse.Namespace) -> "Judge | None":
    from firsthand.config import build, override, read_yaml
    from firsthand.evaluation.leaderboard import Judge
    from firsthand.teacher import Endpoint

    strange = [part for part in args.set if not part.startswith(("protocol.", "judge."))]
    if strange:
        raise FirsthandError(f"--set {strange[0]}: with --benchmark expected protocol.KEY=VALUE or judge.KEY=VALUE")
    said = [part.removeprefix("judge.") for part in args.set if part.startswith("judge.")]
    content = override(read_yaml(args.judge) if args.judge else {}, said)
    return Judge(endpoint=build(Endpoint, content, str(args.judge or "--set judge"))) if content else None


def _refuse_beside(args: argparse.Namespace, option: str, *others: str) -> None:
    for other in others:
        if getattr(args, other):
            raise FirsthandError(f"--{other.replace('_', '-')} goes with --benchmark, not with {option}; leave it out")


def _benchmarks(args: argparse.Namespace) -> int:
    from firsthand.evaluation.terminal import show_benchmarks

    show_benchmarks()
    return 0


def _compare(args: argparse.Namespace) -> int:
    from firsthand.evaluation.comparison import compare_runs, show_comparison

    content = compare_runs(args.runs, args.scorer)
    show_comparison(content)
    if args.out:
        from firsthand.run import write_atomically

        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out, json.dumps(content, indent=2) + "\n")
        print(f"comparison: {args.out}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from firsthand.evaluation.export import export

    print(f"replies: {export(args.run, args.out)}")
    return 0


def _lmms_task(args: argparse.Namespace) -> int:
    from firsthand.evaluation.lmms import write_lmms_task
    from firsthand.recipe import Data

    examples = Data.parse(args.data).load()
    task = write_lmms_task(examples, args.out, name=args.name, system=args.system, max_new_tokens=args.max_new_tokens)
    print(f"task: {task}\nscore a model with: lmms-eval --include_path {args.out} --tasks {args.name} --model ...")
    return 0


def _perplexity(args: argparse.Namespace) -> int:
    from firsthand.console import Console
    from firsthand.perplexity import write_perplexities
    from firsthand.recipe import Data

    model, name = _model(args.model)
    with Console() as console:
        write_perplexities(model, Data.parse(args.data), args.out, console.evaluation(name, "perplexity"))
    print(f"perplexities: {args.out}")
    return 0


def _respondent(given: str, out: Path) -> "tuple[Path | Endpoint, str]":
    """A model, or the endpoint that a YAML file describes, and its name."""
    if not given.endswith((".yaml", ".yml")):
        model, name = _model(given)
        return _plain_folder(model, out), name
    from firsthand.config import build, read_yaml
    from firsthand.teacher import Endpoint

    endpoint = build(Endpoint, read_yaml(Path(given)), given)
    return endpoint, endpoint.model.rstrip("/").rpartition("/")[2]


def _plain_folder(model: Path, out: Path) -> Path:
    """The folder itself; of an adapter, a folder below `out` in which it is merged into its base."""
    if not (model / "adapter_config.json").exists() or (model / "config.json").exists():
        return model
    from firsthand.policy import merged_folder

    return merged_folder(model, out)


def _model(given: str) -> tuple[Path, str]:
    """A model's folder and its name, from a folder, a run directory or `small`."""
    from firsthand.worlds import SMALL

    model = SMALL if given == "small" else Path(given)
    name = model.resolve().name
    return (model / "model", name.rpartition("-s")[0]) if (model / "DONE").exists() else (model, name)


def _forge(args: argparse.Namespace) -> int:
    from firsthand.config import build, override, read_yaml
    from firsthand.forge import ForgeConfig, Waiting, forge, read_answers
    from firsthand.forge.terminal import progress, show
    from firsthand.report.forged import write_forge_report

    config = build(ForgeConfig, override(read_yaml(args.forge), args.set), str(args.forge))
    out = args.out or Path("forge") / (f"{config.name}-dry-run" if args.dry_run else config.name)
    if args.batch_in:
        print(f"answers that were new: {read_answers(config, out, args.batch_in):,}")
    try:
        with progress() as on_report:
            funnel, costs = forge(
                config,
                out,
                rehearsal=args.dry_run,
                batch_out=args.batch_out,
                engine=args.engine,
                give_up=args.give_up,
                on_report=on_report,
            )
    except Waiting as waiting:
        print(waiting)
        return 0
    show(funnel, costs)
    print(f"data set: {out}\nreport: {write_forge_report(out, costs)}")
    return 0


def _report(args: argparse.Namespace) -> int:
    from firsthand.report import write_report

    runs: list[Path] = []
    for path in args.runs:
        found = [path] if (path / "recipe.json").exists() else sorted(p.parent for p in path.glob("*/recipe.json"))
        if not found:
            raise FirsthandError(f"no run directory (one that holds recipe.json) in: {path}")
        runs += found
    by_questions: dict[str, list[Path]] = {}
    for run in runs:
        benchmark = json.loads((run / "recipe.json").read_text()).get("benchmark", {}).get("name", "")
        by_questions.setdefault(benchmark, []).append(run)
    for benchmark, some in by_questions.items():  # arms on different benchmarks do not compare: a page for each
        is_only = len(by_questions) == 1 or not benchmark
        page = args.out if is_only else args.out.with_stem(f"{args.out.stem}-{benchmark}")
        title = f"{args.title}: {benchmark}" if benchmark else args.title
        print(f"report: {write_report(some, page, title)}")
    return 0


def _reward(args: argparse.Namespace) -> int:
    from firsthand.audit import audit, calibration
    from firsthand.audit.terminal import progress, show, tell
    from firsthand.config import build, override
    from firsthand.reward import Reward

    if args.workers < 1 or args.deadline <= 0:
        raise FirsthandError(f"expected --workers >= 1 and --deadline > 0, got {args.workers} and {args.deadline}")
    reward = build(Reward, override({"open": {"scorer": "overlap"}}, args.set), "reward --set")
    if args.calibrate:
        tell(calibration(args.problems, args.out, reward))
        return 0
    if args.replies is None:
        raise FirsthandError("expected --replies R.jsonl, got none; or --calibrate, which needs none")
    with progress() as bar:
        tallies = audit(
            args.problems,
            args.replies,
            args.out,
            reward,
            workers=args.workers,
            deadline_s=args.deadline,
            on_progress=bar,
        )
    show(tallies)
    print(f"verdicts: {args.out}")
    return 0


def _recipes(args: argparse.Namespace) -> int:
    for path in sorted(RECIPES.glob("*.yaml")):
        print(f"{path.stem:<30} {path.read_text(encoding='utf-8').partition(chr(10))[0].removeprefix('# ')}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from firsthand.doctor import examine

    return examine()


if __name__ == "__main__":
    sys.exit(main())
