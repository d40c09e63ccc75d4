"""Commands about models and runs: evaluate, benchmarks, compare, export, lmms-task, perplexity, report."""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from firsthand.errors import FirsthandError

if TYPE_CHECKING:
    from firsthand.evaluation.leaderboard.judging import LeaderboardJudge
    from firsthand.evaluation.protocol import Protocol
    from firsthand.recipe import Data
    from firsthand.teacher import Endpoint

_OF_BENCHMARKS = ("data_root", "download", "judge")
OF_DATA = ("kind", "fields", "preset", "on_bad", "max_picture_pixels")
"""Options that say how --data, or a recipe's, is read."""


def evaluate_command(args: argparse.Namespace) -> int:
    """A model, on data or on benchmarks."""
    return _evaluate_benchmark(args) if args.benchmark else _evaluate_data(args)


def _evaluate_data(args: argparse.Namespace) -> int:
    from firsthand.cli.console import Console
    from firsthand.config import build, override
    from firsthand.evaluation import Protocol
    from firsthand.evaluation.custom import evaluate_folder
    from firsthand.reward import Reward

    _refuse(args, _OF_BENCHMARKS, "--benchmark, not with --data")
    free = override(_drawn(args), _set_of(args, "protocol"))
    drawing = _protocol(args, args.protocol) if args.protocol else build(Protocol, free, "evaluate")
    judging = [part for part in args.set if not part.startswith("protocol.")]
    reward = build(Reward, override({}, judging), "evaluate --set")
    data = _data(args)
    folders = []
    with _models_or_servers(args.models, args.out) as models, Console() as console:
        for (model, name), seed in itertools.product(models, args.seeds):
            seeded = drawing.model_copy(update={"seed": seed})
            bar = console.evaluation(name)
            folders.append(evaluate_folder(model, data, seeded, args.out, bar, name=name, reward=reward))
    if console.is_idle:
        print(f"already done: {', '.join(map(str, folders))}; to evaluate again, delete the folder")
    for folder in folders:
        if len(folders) > 1:
            print(folder)
        console.families(folder / "evaluation.json")
        print(f"scores: {folder / 'scores.jsonl'}")
    return 0


def _evaluate_benchmark(args: argparse.Namespace) -> int:
    from firsthand.cli.console import Console
    from firsthand.cli.terminal.benchmarks import show_summary
    from firsthand.evaluation.benchmarks.files import default_root, download
    from firsthand.evaluation.benchmarks.spec import find
    from firsthand.evaluation.benchmarks.suite import EvaluationPlan, evaluate_all

    _refuse(args, OF_DATA, "--data, not with --benchmark")
    suite, benchmarks = find(args.benchmark)
    root = args.data_root or default_root()
    if args.download:
        for benchmark in benchmarks:
            download(benchmark, root)
    default = suite.protocol if suite else None
    drawings = [_protocol(args, args.protocol or default or b.protocol, b.draws) for b in benchmarks]
    plan = EvaluationPlan(suite, benchmarks, drawings, args.seeds, _judge(args))
    if plan.judge and not any(b.leaderboard for b in benchmarks):
        raise FirsthandError(f"--judge: {args.benchmark} has no leaderboard's scorer, which would ask it; leave it out")
    before = set(args.out.glob("*.json"))
    with _models_or_servers(args.models, args.out) as models, Console() as console:
        summaries = [
            evaluate_all(model, plan, root, args.out, name=name, on_benchmark=console.evaluation)
            for model, name in models
        ]
    if console.is_idle and before.issuperset(summaries):  # replies may be there, and another judge's marks be new
        print(f"already done: {', '.join(map(str, summaries))}; to evaluate again, delete the folders named below")
    for summary in summaries:
        show_summary(summary)
        print(f"numbers: {summary}")
    return 0


def _refuse(args: argparse.Namespace, options: Sequence[str], place: str) -> None:
    for option in options:
        if getattr(args, option):
            raise FirsthandError(f"--{option.replace('_', '-')} goes with {place}; leave it out")


def _set_of(args: argparse.Namespace, part: str) -> list[str]:
    """What --set says of a part, without the part's name."""
    return [said.removeprefix(f"{part}.") for said in args.set if said.startswith(f"{part}.")]


def _data(args: argparse.Namespace) -> "Data":
    """What --data names, read as the command line says."""
    from firsthand.recipe import Data

    return Data.parse(args.data, **{key: getattr(args, key) for key in OF_DATA})


def _drawn(args: argparse.Namespace) -> dict[str, object]:
    """What the command line says of how replies are drawn."""
    keys = ("max_new_tokens", "samples", "temperature", "system", "blind")
    return {key: getattr(args, key) for key in keys if getattr(args, key) is not None}


def _protocol(args: argparse.Namespace, name: str, draws: int | None = None) -> "Protocol":
    from firsthand.evaluation.protocol import protocol

    found = protocol(name, _set_of(args, "protocol"), _drawn(args), draws)
    if args.temperature is not None and not found.samples:
        raise FirsthandError("--temperature is that of samples, and none are drawn; add --samples N, or leave it out")
    return found


def _judge(args: argparse.Namespace) -> "LeaderboardJudge | None":
    from firsthand.config import build, override, read_yaml
    from firsthand.evaluation.leaderboard.judging import LeaderboardJudge
    from firsthand.teacher import Endpoint

    strange = [part for part in args.set if not part.startswith(("protocol.", "judge."))]
    if strange:
        raise FirsthandError(f"--set {strange[0]}: with --benchmark expected protocol.KEY=VALUE or judge.KEY=VALUE")
    content = override(read_yaml(args.judge) if args.judge else {}, _set_of(args, "judge"))
    return LeaderboardJudge(endpoint=build(Endpoint, content, str(args.judge or "--set judge"))) if content else None


def benchmarks_command(args: argparse.Namespace) -> int:
    """What ships here."""
    from firsthand.cli.terminal.benchmarks import show_benchmarks

    show_benchmarks()
    return 0


def compare_command(args: argparse.Namespace) -> int:
    """Models on the same items."""
    from firsthand.cli.terminal.comparison import show_comparison
    from firsthand.evaluation.compare import compare_runs

    content = compare_runs(args.runs, args.scorer, args.judge)
    show_comparison(content)
    if args.out:
        from firsthand.files import write_atomically

        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out, json.dumps(content, indent=2) + "\n")
        print(f"comparison: {args.out}")
    return 0


def export_command(args: argparse.Namespace) -> int:
    """A run's replies as other tools want them."""
    from firsthand.evaluation.benchmarks.export import export_replies

    print(f"replies: {export_replies(args.run, args.out)}")
    return 0


def lmms_task_command(args: argparse.Namespace) -> int:
    """Data as a task for lmms-eval."""
    from firsthand.evaluation.lmms.task import write_lmms_task
    from firsthand.reward import Router

    data = _data(args)
    loaded = data.read()
    with Router() as router:
        loaded = loaded.without(router.bad_ground_truths(loaded.examples))
    examples = loaded.settled(data.on_bad, args.out)
    task = write_lmms_task(examples, args.out, name=args.name, system=args.system, max_new_tokens=args.max_new_tokens)
    print(f"task: {task}\nscore a model with: lmms-eval --include_path {args.out} --tasks {args.name} --model ...")
    return 0


def perplexity_command(args: argparse.Namespace) -> int:
    """How much a model is surprised."""
    from firsthand.cli.console import Console
    from firsthand.evaluation.perplexity import write_perplexities

    model, name = _model(args.model)
    with Console() as console:
        write_perplexities(model, _data(args), args.out, console.evaluation(name, "perplexity"))
    print(f"perplexities: {args.out}")
    return 0


def report_command(args: argparse.Namespace) -> int:
    """Run directories as one page."""
    from firsthand.report import write_report

    print(f"report: {write_report(args.runs, args.out, args.title)}")
    return 0


@contextmanager
def _models_or_servers(given: Sequence[str], out: Path) -> "Iterator[list[tuple[Path | Endpoint, str]]]":
    """What is evaluated, and its names; adapters are added to their bases in a folder that ends with the block."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(_adapted(name, out)) if _is_adapter(name) else _model_or_server(name) for name in given
        ]


def _is_adapter(given: str) -> bool:
    return (Path(given) / "adapter_config.json").exists() and not (Path(given) / "config.json").exists()


@contextmanager
def _adapted(given: str, out: Path) -> Iterator[tuple[Path, str]]:
    """A model folder that computes what an adapter's folder does. A run has written one beside its adapter."""
    adapter = Path(given).resolve()
    run = adapter.parent.parent
    if adapter.parent == run / "model" and (run / "DONE").exists():
        yield _model(str(run))
        return
    from firsthand.policy import write_merged

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=out) as folder:
        name = adapter.parent.name if adapter.name == "adapter" else adapter.name
        write_merged(adapter, Path(folder) / name)
        yield Path(folder) / name, name


def _model_or_server(given: str) -> "tuple[Path | Endpoint, str]":
    """A model, or the endpoint that a YAML file describes, and its name."""
    if not given.endswith((".yaml", ".yml")):
        return _model(given)
    from firsthand.config import build, read_yaml
    from firsthand.teacher import Endpoint

    endpoint = build(Endpoint, read_yaml(Path(given)), given)
    served = Path(endpoint.model)
    is_run = served.name == "model" and "-s" in served.parent.name  # a run's folder, as `vllm serve` names it
    return endpoint, served.parent.name.rpartition("-s")[0] if is_run else served.name


def _model(given: str) -> tuple[Path, str]:
    """A model's folder and its name, from a folder, a run directory or `small`."""
    from firsthand.worlds import SMALL

    model = SMALL if given == "small" else Path(given)
    name = model.resolve().name
    if (model / "recipe.json").exists() and not (model / "DONE").exists():
        raise FirsthandError(
            f"{given}: expected a finished run, got one without DONE; give its own command again, which goes on, or "
            "delete the folder"
        )
    if (model / "recipe.json").exists() and not (model / "model").is_dir():
        raise FirsthandError(f"{given}: expected a training run, got one without a model; name the run it evaluates")
    return (model / "model", name.rpartition("-s")[0]) if (model / "DONE").exists() else (model, name)
