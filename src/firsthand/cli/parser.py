"""What the commands are, and their options."""

import argparse
from pathlib import Path

from firsthand.cli import data, evaluating, training


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    root = argparse.ArgumentParser(
        prog="firsthand", description="Vision-language models that reason first-hand, instead of imitating."
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the whole loop on the small model: four arms, evaluated, and a report")
    demo.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="where the runs and report.html go (default: %(default)s)"
    )
    demo.add_argument("--seed", type=int, default=0)
    _add_set(demo, "change a value of the study, such as shared.steps=20")
    demo.set_defaults(command=training.demo_command)

    train = commands.add_parser("train", help="carry out a recipe")
    train.add_argument(
        "recipe",
        type=training.recipe_file,
        help="a YAML file (docs/recipes.md), or the name of a recipe that ships here",
    )
    _add_set(train, "change a value of the recipe, such as optimizer.lr=1e-5")
    train.add_argument(
        "--out", type=Path, default=Path("runs"), help="where the run directory is made (default: %(default)s)"
    )
    train.add_argument(
        "--preflight", action="store_true", help="train nothing: say what a step needs, and whether it fits here"
    )
    train.set_defaults(command=training.train_command)

    study = commands.add_parser("study", help="carry out a study: arms and seeds, evaluated, and a report")
    study.add_argument(
        "study", type=training.recipe_file, help="a YAML file (docs/recipes.md), or the name of a study that ships here"
    )
    study.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="every arm runs once per seed (default: 0)"
    )
    _add_set(study, "change a value of the study, such as shared.steps=20")
    study.add_argument(
        "--out", type=Path, help="where the runs and report.html go (default: runs/ and the study's name)"
    )
    study.set_defaults(command=training.study_command)

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
    _add_set(
        evaluate,
        "protocol.KEY; with --data also how answers are judged, in the keys of a recipe's `reward`; with "
        "--benchmark also judge.KEY",
    )
    evaluate.set_defaults(command=evaluating.evaluate_command)

    benchmarks = commands.add_parser("benchmarks", help="the benchmarks that ship here, one line each")
    benchmarks.set_defaults(command=evaluating.benchmarks_command)

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
    compare.add_argument("--judge", help="whose marks, where several judges have marked a run: a name in its judged/")
    compare.add_argument("--out", type=Path, help="the comparison as JSON")
    compare.set_defaults(command=evaluating.compare_command)

    export = commands.add_parser("export", help="an evaluated run's replies as VLMEvalKit's table, or as JSON")
    export.add_argument("run", type=Path, help="a run directory of `evaluate --benchmark`")
    export.add_argument("--out", type=Path, required=True, help="a .xlsx, .tsv or .json file")
    export.set_defaults(command=evaluating.export_command)

    lmms = commands.add_parser("lmms-task", help="write data as a task that lmms-eval scores with our verifiers")
    lmms.add_argument("--data", required=True, help="as for evaluate")
    lmms.add_argument("--name", default="firsthand", help="the task's name (default: %(default)s)")
    lmms.add_argument("--max-new-tokens", type=int, default=256)
    lmms.add_argument("--system", help="system prompt of rows that have none")
    lmms.add_argument("--out", type=Path, required=True, help="the folder for lmms-eval's --include_path")
    lmms.set_defaults(command=evaluating.lmms_task_command)

    forge = commands.add_parser("forge", help="visual questions -> verified demonstrations and harder questions")
    forge.add_argument("forge", type=Path, help="a YAML file (docs/forge.md)")
    forge.add_argument("--out", type=Path, help="where the data set goes (default: forge/ and the forge's name)")
    forge.add_argument("--dry-run", action="store_true", help="ask nobody: the teacher inside answers every request")
    _add_set(forge, "change a value of the forge, such as rewrite.words=20")
    forge.add_argument("--batch-out", type=Path, metavar="DIR", help="write requests as batch files, and stop")
    forge.add_argument(
        "--batch-in", type=Path, nargs="+", metavar="FILE", default=[], help="read answers of batch files"
    )
    forge.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where rows are decoded and hashed (default: local)"
    )
    forge.add_argument("--give-up", action="store_true", help="drop the rows that nobody answers, and go on")
    forge.set_defaults(command=data.forge_command)

    perplexity = commands.add_parser("perplexity", help="how much a model is surprised by demonstrations, per row")
    perplexity.add_argument("model", help="a Hugging Face folder, a finished run directory, or `small`")
    perplexity.add_argument("--data", required=True, help="as for evaluate; every row has a demonstration")
    perplexity.add_argument("--out", type=Path, required=True, help="JSONL: id, perplexity, tokens")
    perplexity.set_defaults(command=evaluating.perplexity_command)

    report = commands.add_parser("report", help="run directories -> one self-contained HTML file")
    report.add_argument("runs", type=Path, nargs="+", help="run directories, or folders that hold some")
    report.add_argument("--out", type=Path, default=Path("report.html"))
    report.add_argument("--title", default="firsthand")
    report.set_defaults(command=evaluating.report_command)

    reward = commands.add_parser("reward", help="judge replies from a file: verdicts, and a table of them")
    reward.add_argument("--problems", type=Path, required=True, help="JSONL: id, question, answer, kind, choices")
    reward.add_argument("--replies", type=Path, help="JSONL: id, reply; an id may repeat")
    reward.add_argument("--out", type=Path, required=True, help="JSONL of verdicts, in the order of the replies")
    reward.add_argument("--workers", type=int, default=2, help="replies judged at once (default: %(default)s)")
    reward.add_argument("--deadline", type=float, default=5.0, help="seconds of one comparison (default: %(default)s)")
    _add_set(reward, "change a value of a recipe's `reward`, such as box=stepped or open.scorer=overlap")
    reward.add_argument(
        "--calibrate",
        action="store_true",
        default=None,
        help="judge nothing: find beta for the scorer of `open`, and write it",
    )
    reward.set_defaults(command=data.reward_command)

    recipes = commands.add_parser("recipes", help="the recipes and studies that ship here, one line each")
    recipes.set_defaults(command=training.recipes_command)

    doctor = commands.add_parser("doctor", help="what this machine has, and what firsthand can do with it")
    doctor.set_defaults(command=training.doctor_command)
    return root


def _add_set(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--set", action="append", default=[], metavar="A.B=C", help=what)
