"""A study's `results.json` as the page reads it: part by part, so that damage to one does not hide the others."""

import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from firsthand.findings import Health, StudyVerdict, Tuned

RESULTS = "results.json"


class MatchedBudget(BaseModel):
    """What was matched between the arms, and what each has used: means over the seeds."""

    model_config = ConfigDict(frozen=True)

    match: str = ""
    """`steps`, `generated`, `trained`, `flops` or `seconds`; empty where nothing was."""
    of: str | None = None
    """The arm that the others were given as much as."""
    amount: float | None = None
    """What all were given, where no arm's cost was it."""
    arms: dict[str, dict[str, float | None]] = {}
    """Arm -> measure -> how much, with all that it started from."""
    own: dict[str, dict[str, float | None]] = {}
    """The same, of its own training alone."""


class StudyResults(BaseModel):
    """What a study found; a part that it did not ask for is empty."""

    model_config = ConfigDict(frozen=True)

    arms: dict[str, dict[str, Any]] = {}
    verdicts: tuple[StudyVerdict, ...] = ()
    health: tuple[Health, ...] = ()
    tuned: tuple[Tuned, ...] = ()
    budget: MatchedBudget | None = None


def read_results(folders: Iterable[Path]) -> tuple[StudyResults | None, list[str]]:
    """The results beside the runs in these folders, and what is wrong with them, in words. None where there are none.

    The file is untrusted: a part that is damaged is left out and named; a number that is not finite is unmeasured.
    """
    files = [path for folder in dict.fromkeys(folders) if (path := folder / RESULTS).is_file()]
    if not files:
        return None, []
    if len(files) > 1:
        return None, [f"{len(files)} studies have a {RESULTS}: none is shown; give the runs of one"]
    try:
        content = json.loads(files[0].read_bytes(), parse_float=_finite, parse_constant=lambda name: None)
    except (ValueError, RecursionError) as error:
        return None, [f"{RESULTS} cannot be read ({error}): its verdicts are not shown"]
    if not isinstance(content, dict):
        return None, [f"{RESULTS} holds no JSON object: its verdicts are not shown"]
    return _read_parts(content)


def _read_parts(content: dict[str, Any]) -> tuple[StudyResults, list[str]]:
    parts, notices = {}, []
    for name, field in StudyResults.model_fields.items():
        if name not in content:
            continue
        try:
            kind: Any = field.annotation
            parts[name] = TypeAdapter(kind).validate_python(content[name])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = ".".join([name, *map(str, first["loc"])])
            notices.append(f"{RESULTS}: {name} is left out, because {at} is wrong: {first['msg']}")
    return StudyResults.model_construct(**parts), notices


def _finite(number: str) -> float | None:
    value = float(number)
    return value if isfinite(value) else None
