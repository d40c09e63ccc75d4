"""Read run directories as they are: complete, still running, or killed in the middle of a line.

Whatever is missing or broken in a run becomes a notice, in words, that the page shows; only a directory that is not a
run at all is an error.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from firsthand.data.loaded import Refused, count_reasons
from firsthand.errors import DataError, shown
from firsthand.evaluation.benchmarks.judged import leaderboard_tables
from firsthand.evaluation.joined import (
    FILES,
    Comparable,
    Trained,
    data_title,
    draw_of,
    run_directories,
    settings_of,
    tables_of,
    trained,
    with_evaluations,
)
from firsthand.evaluation.pairing import drawn_as, units_of
from firsthand.files import strange_key
from firsthand.records import Record, Rollout, Score, Step, Unit
from firsthand.run import RECIPE_KINDS, REFUSED, recipe_of

FOLDER_NAME = re.compile(r"(?P<name>.+)-s(?P<seed>\d+)-(?P<id>[^-]+)")

Line = TypeVar("Line", bound=Record)


class FamilyResult(BaseModel):
    """One family's part of an evaluation."""

    model_config = ConfigDict(frozen=True)

    accuracy: float | None = None
    ci95: tuple[float, float] | None = None
    n: int = 0
    """Replies."""
    questions: int | None = None
    """Where they are fewer than the replies."""


class Evaluation(FamilyResult):
    """evaluation.json. Fractions in [0, 1]; `unmeasured` counts replies; None is unmeasured."""

    data: Any = None
    protocol: Any = None
    families: dict[str, FamilyResult] = {}
    pass_at: dict[int, float | None] = {}
    sampled_accuracy: float | None = None
    truncated: float | None = None
    tagged: float | None = None
    unparsed: float | None = None
    unstated: float | None = None
    steps: dict[str, float] = {}
    """Of replies to worlds: shares whose steps agree with their answer, disagree with it, or cannot be read."""
    unmeasured: int | None = None
    reply_tokens: float | None = None
    benchmark: dict[str, Any] = {}
    """Of a benchmark alone, as are the next two: its name, file and rows."""
    strict: dict[str, Any] | None = None
    leaderboard: dict[str, dict[str, Any]] = {}
    """By judge."""


@dataclass(frozen=True)
class RunRecords:
    """One run directory in memory, and what its evaluation holds."""

    folder: Path
    name: str
    seed: int | None
    id: str
    recipe: dict[str, Any] | None
    steps: tuple[Step, ...]
    scores: tuple[Score, ...]
    evaluation: Evaluation | None
    done: bool
    last_written: datetime
    """UTC; of DONE, or of the newest file of a run that is not done."""
    notices: tuple[str, ...]
    evaluated_in: Path
    """Where `scores`, `evaluation` and their pictures are: another run's directory, where a trained model was
    evaluated; else `folder`."""
    units: tuple[Unit, ...]
    """What the number is the mean of, named by the seed of the samples."""
    who: Trained
    table: str = ""
    """The title of the table that its numbers belong to; those of other tables do not compare. Empty: not evaluated."""
    left_out: tuple[str, ...] = ()
    """How many rows of its data were left out, and why: of the training, and of the evaluation."""

    @property
    def data(self) -> dict[str, Any]:
        """What the recipe says of the data it trains on; empty where it does not, or an earlier version said it in a
        word."""
        said = (self.recipe or {}).get("data")
        return said if isinstance(said, dict) else {}

    @property
    def planned_steps(self) -> int | None:
        """Training steps that the recipe asks for; None when it does not say."""
        return _planned(self.recipe)

    @property
    def taken(self) -> tuple[Step, ...]:
        """The training steps alone; the last of `steps` may be what a probe found after them."""
        return tuple(step for step in self.steps if step.trained)


def read_runs(paths: Sequence[Path]) -> list[RunRecords]:
    """Read the runs that the paths are or hold, in that order; a training once with each of its evaluations.

    Raises DataError when there is none, when a path is none, or when two hold the same run: counted twice, one
    training would pass for two seeds.
    """
    if not paths:
        raise DataError("a report needs at least one run directory, got none; pass runs/<arm>-s<seed>-<id>")
    read: dict[Path, RunRecords] = {}
    runs: list[RunRecords] = []
    for one in with_evaluations(run_directories(paths)):
        if one.run in read:
            runs.append(_with_evaluation(read[one.run], one.evaluation or one.run, []))
        else:
            runs.append(read.setdefault(one.run, read_run(one.run, one.evaluation, one.notices)))
    by_id: dict[str, RunRecords] = {}
    for run in runs:
        twin = by_id.setdefault(run.id, run)
        if twin.folder != run.folder:
            raise DataError(f"every run may be reported once, got {run.id} in {twin.folder} and {run.folder}; pass one")
    return _in_tables(runs)


def _in_tables(runs: Sequence[RunRecords]) -> list[RunRecords]:
    """The runs with the table that each belongs to; without evaluations that repeat another, which a notice names."""
    evaluated = [run for run in runs if run.scores or run.evaluation]
    titles = iter(tables_of([comparable(run) for run in evaluated]))
    found: list[RunRecords] = []
    for run in runs:
        title = next(titles) if run in evaluated else ""
        if title or run not in evaluated:
            found.append(replace(run, table=title))
            continue
        first = next(i for i, other in enumerate(found) if other.who.run == run.who.run)
        said = f"evaluated again with the same questions and settings: {run.evaluated_in.name} is left out"
        found[first] = replace(found[first], notices=(*found[first].notices, said))
    return found


def comparable(run: RunRecords) -> Comparable:
    """What decides with which other evaluations a run's numbers compare."""
    at, questions = run.evaluated_in, frozenset(unit.cluster for unit in run.units)
    return Comparable(run.who, draw_of(at), data_title(at), settings_of(at), questions)


def read_run(folder: Path, evaluated_in: Path | None = None, said: Iterable[str] = ()) -> RunRecords:
    """Read one run directory, and its evaluation in another one; what was `said` of the latter becomes notices.

    Raises DataError when its recipe is none; every lesser trouble becomes a notice.
    """
    notices = list(said)
    recipe = _recipe(folder, notices)
    named = FOLDER_NAME.fullmatch(folder.name)
    from_folder = named.groupdict() if named else {"name": folder.name, "seed": None, "id": folder.name}
    identity = {**from_folder, **{k: v for k, v in (recipe or {}).items() if k in from_folder and v is not None}}
    steps = _steps(folder, recipe, notices)
    deque(_lines(folder / "rollouts.jsonl", Rollout, notices), maxlen=0)  # a long run's do not fit in memory
    done = (folder / "DONE").is_file()
    if not done:
        notices.insert(0, "there is no DONE file: the run has not ended, and its numbers are provisional")
    training = RunRecords(
        folder=folder,
        name=str(identity["name"]),
        seed=None if identity["seed"] is None else int(identity["seed"]),
        id=str(identity["id"]),
        recipe=recipe,
        steps=steps,
        scores=(),
        evaluation=None,
        done=done,
        last_written=_last_written(folder, done),
        notices=(),
        evaluated_in=folder,
        units=(),
        who=trained(folder),
    )
    return _with_evaluation(training, evaluated_in or folder, notices)


def _with_evaluation(run: RunRecords, folder: Path, notices: list[str]) -> RunRecords:
    """The run with what that directory says of its evaluation; of a second one the training is not read again."""
    scores = tuple(_lines(folder / "scores.jsonl", Score, notices))
    evaluation = _evaluation(folder, notices)
    units = list(_lines(folder / "units-strict.jsonl", Unit, notices)) or units_of(scores)
    left_out = [line for place in dict.fromkeys((run.folder, folder)) for line in _left_out(place, notices)]
    notices += [f"rows of its data were left out: {line}" for line in left_out]
    return replace(
        run,
        scores=scores,
        evaluation=evaluation,
        notices=tuple(notices),
        evaluated_in=folder,
        units=tuple(drawn_as(units, draw_of(folder))),
        left_out=tuple(left_out),
    )


def _recipe(folder: Path, notices: list[str]) -> dict[str, Any] | None:
    path = folder / "recipe.json"
    try:
        recipe = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        is_missing = isinstance(error, FileNotFoundError | IsADirectoryError)
        trouble = "is missing" if is_missing else f"cannot be read ({error})"
        notices.append(f"recipe.json {trouble}: arm and seed are taken from the directory's name")
        return None
    if not isinstance(recipe, dict):
        raise DataError(f"expected a JSON object in {path}, got {type(recipe).__name__}; this is not a run's recipe")
    if not (known := recipe_of(folder)) and recipe:
        key = strange_key(recipe, RECIPE_KINDS)
        what = f"`{key}` is {shown(recipe[key])}" if key else "it holds text that is no Unicode"
        notices.append(f"recipe.json cannot be read ({what}): arm and seed are taken from the directory's name")
        return None
    return known


def _steps(folder: Path, recipe: dict[str, Any] | None, notices: list[str]) -> tuple[Step, ...]:
    lines = [_renamed(step) for step in _lines(folder / "metrics.jsonl", Step, notices)]
    steps = {step.step: step for step in lines}
    if len(steps) < len(lines):
        notices.append(f"steps that metrics.jsonl has twice: {len(lines) - len(steps):,}; the later line counts")
    planned, found = _planned(recipe), sum(step.trained for step in steps.values())
    if planned is not None and found < planned:
        notices.append(f"metrics.jsonl has {found:,} of the {planned:,} steps that the recipe asks for")
    return tuple(steps[number] for number in sorted(steps))


def _planned(recipe: dict[str, Any] | None) -> int | None:
    """Training steps until the end, early or not; None where nobody says, or a budget decides."""
    if (recipe or {}).get("budget"):
        return None
    said = [(recipe or {}).get(key) for key in ("stop", "steps")]
    return next((steps for steps in said if isinstance(steps, int)), None)


def _renamed(step: Step) -> Step:
    """A step of an earlier version in today's names: it called the score `reward`, and did not log the reward."""
    names = {"groups/silent": "groups/zero_variance"}
    if "score/mean" not in step.metrics:
        names |= {name: name.replace("reward/", "score/", 1) for name in step.metrics if name.startswith("reward/")}
    return step.model_copy(update={"metrics": {names.get(name, name): v for name, v in step.metrics.items()}})


def _evaluation(folder: Path, notices: list[str]) -> Evaluation | None:
    path, has_scores = folder / "evaluation.json", (folder / "scores.jsonl").is_file()
    if not path.is_file():
        notices.append(
            "evaluation.json is missing: the table is worked out from scores.jsonl, without pass@k"
            if has_scores
            else "evaluation.json and scores.jsonl are missing: the run has not been evaluated"
        )
        return None
    if not has_scores:
        notices.append("scores.jsonl is missing: no replies to show, and no paired comparison")
    try:
        found = Evaluation.model_validate_json(path.read_bytes())
        return found.model_copy(update={"leaderboard": leaderboard_tables(folder)})
    except ValidationError as error:
        notices.append(f"evaluation.json cannot be read ({_first(error)}): the table is worked out from scores.jsonl")
        return None


def _left_out(folder: Path, notices: list[str]) -> list[str]:
    rows = list(_lines(folder / REFUSED, Refused, notices))
    return [f"{len(rows):,} ({count_reasons(rows)}), listed in {folder.name}/{REFUSED}"] if rows else []


def _lines(path: Path, kind: type[Line], notices: list[str]) -> Iterator[Line]:
    """The records of a JSONL file (none when it is missing), one at a time. Lines that are no record: one notice."""
    if not path.is_file():
        return
    bad: list[str] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                if line.endswith(b"\n"):
                    bad.append(f"line {number}, {_first(error)}")
                else:
                    notices.append(f"{path.name} ends in a torn line: the run was killed while writing; it is left out")
    if bad:
        notices.append(
            f"lines of {path.name} that are no {kind.__name__}, left out: {len(bad):,}; the first is {bad[0]}"
        )


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc']) or 'JSON'}: {problem['msg']}"


def _last_written(folder: Path, done: bool) -> datetime:
    files = [folder / "DONE"] if done else [path for name in FILES if (path := folder / name).is_file()]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in files), tz=UTC)
