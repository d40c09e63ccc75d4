"""A forge from its sources to its data set: all six steps, and what they leave."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firsthand.files import write_atomically
from firsthand.forge.config import ASKING_STEPS, ForgeConfig
from firsthand.forge.engine import Engine
from firsthand.forge.exports import write_exports
from firsthand.forge.output import is_whole, write_data_set
from firsthand.forge.runner import ForgeRunner, StepProgress, work_of
from firsthand.records import content_id
from firsthand.teacher import AnswerLog, Endpoint
from firsthand.teacher.batch_files import read_batch


def run_forge(
    config: ForgeConfig,
    out: Path,
    *,
    dry_run: bool = False,
    batch_out: Path | None = None,
    engine: Engine = "local",
    give_up: bool = False,
    on_progress: Callable[[StepProgress], None] = lambda progress: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Carry out a forge, or what is left of it, and write its data set to `out`; the funnel, and each step's costs.

    `dry_run` asks nobody: the teacher inside answers. `batch_out` asks nobody either: a step's requests are written
    to batch files there, and `Waiting` is raised. Raises RecipeError, DataError, BudgetSpent, Outage or
    Unanswered; nothing is lost then, and the same call goes on.
    """
    run = ForgeRunner(config, out, dry_run, batch_out, engine, give_up, on_progress)
    found = run.run()
    stamp = run.work / "data_set"
    identity = content_id(found["split"].folder.name, config.model_dump(mode="json"))
    if not (stamp.exists() and stamp.read_text() == identity and is_whole(out)):
        stamp.unlink(missing_ok=True)
        write_data_set(config, found, out)
        write_exports(found["split"], out, config.exports)
        write_atomically(stamp, identity)
    return json.loads((out / "funnel.json").read_text("utf-8")), run.costs()


def read_answers(config: ForgeConfig, out: Path, files: Sequence[Path]) -> int:
    """Keep what batch files answer; how many answers were new. Raises DataError."""
    asked = {step: config.teacher(step) for step in ASKING_STEPS if step != "verify" or config.verify.judge}
    endpoints = {step: teacher for step, teacher in asked.items() if isinstance(teacher, Endpoint)}
    with AnswerLog(work_of(out) / "answers.sqlite") as log:
        return sum(read_batch(file, log, endpoints) for file in files)
