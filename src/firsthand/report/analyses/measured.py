"""What a study measured of its arms' weights, from the run directories beside the trainings."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from firsthand.findings import DISTANCES_FILE, TOKENS_FILE, Distances, TokenChange
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.runs import RunRecords
from firsthand.run import recipe_of


class Changed(NamedTuple):
    """An arm's token probabilities."""

    changes: list[TokenChange]
    unread: int
    """Lines that are none."""


def token_changes(run: RunRecords) -> Changed:
    """Those of a training; none where nobody measured them."""
    found, unread = [], 0
    for folder in _beside(run.folder, "tokens-*"):
        if recipe_of(folder).get("tokens_of") == run.id and (folder / TOKENS_FILE).is_file():
            for line in (folder / TOKENS_FILE).read_bytes().splitlines():
                try:
                    found.append(TokenChange.model_validate_json(line))
                except ValidationError:
                    unread += 1
            break
    return Changed(found, unread)


def weight_distances(evidence: Evidence) -> Distances | None:
    """Of the report's arms; where there are several, those of most arms."""
    parents = {run.folder.parent: run.folder for arm in evidence.arms for run in arm.runs}
    all_found: list[Distances] = []
    for folder in (folder for run in parents.values() for folder in _beside(run, "distances-*")):
        of = recipe_of(folder).get("distances_of")
        if isinstance(of, dict) and set(map(str, of.values())) <= evidence.by_id.keys():
            all_found += _read_distances(folder / DISTANCES_FILE)
    return max(all_found, key=lambda one: len(one.names), default=None)


def _read_distances(path: Path) -> list[Distances]:
    try:
        return [Distances.model_validate_json(path.read_bytes())]
    except (FileNotFoundError, ValidationError):  # a study that was killed, or a file that somebody changed
        return []


def _beside(run: Path, pattern: str) -> Iterator[Path]:
    return iter(sorted(path for path in run.parent.glob(pattern) if path.is_dir()))
