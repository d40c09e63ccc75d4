"""Which evaluation of a run the page shows: evaluations of trained models are runs of their own.

They are looked for among the given directories, inside the training's (where earlier versions wrote them), and beside
it. Of several, the one by the settings that most of the runs share is shown; the page says so, and names the others.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from firsthand.records import content_id
from firsthand.run import evaluations_beside, evaluations_inside, recipe_of


class Evaluated(NamedTuple):
    """A run, and where its evaluation is."""

    run: Path
    evaluation: Path
    """The run's own directory where it was not evaluated, or is an evaluation itself."""
    notices: tuple[str, ...]


def with_evaluations(folders: Sequence[Path]) -> list[Evaluated]:
    """Each directory with its evaluation; none of its own for an evaluation of a run that is there as well."""
    by_id = {recipe_of(folder).get("id"): folder for folder in folders}
    given: dict[Path, list[Path]] = defaultdict(list)
    for folder in folders:
        is_inside, evaluates = folder.parent.name == "evaluations", recipe_of(folder).get("evaluates")
        run = folder.parents[1] if is_inside else by_id.get(evaluates) if evaluates else None
        if run is not None and run in folders:
            given[run].append(folder)
    joined = {folder for some in given.values() for folder in some}
    found = {folder: _evaluations(folder, given.get(folder, [])) for folder in folders if folder not in joined}
    counts = Counter[str]()
    for some in found.values():
        counts.update(dict.fromkeys(map(_settings, some), 1))
    ranked = sorted(counts, key=lambda settings: -counts[settings])  # equal ones in the order in which they were found
    return [_choice(run, some, given.get(run, []), ranked) for run, some in found.items()]


def _choice(run: Path, found: Sequence[Path], given: Sequence[Path], ranked: Sequence[str]) -> Evaluated:
    unfinished = [folder.name for folder in given if folder not in found]
    notices = [f"an evaluation has not ended: {name}" for name in unfinished]
    if not found:
        return Evaluated(run, run, tuple(notices))
    chosen = min(found, key=lambda folder: ranked.index(_settings(folder)))
    if others := [folder.name for folder in found if folder != chosen]:
        notices.append(
            f"it was evaluated {len(found)} times: {chosen.name} is shown, by the settings that most runs share; "
            f"left out: {', '.join(others)}"
        )
    if _settings(chosen) not in ("", ranked[0]):
        notices.append(
            "it was evaluated on other data or by another protocol than most of the runs: what the page says of "
            "differences is in part that of the settings"
        )
    return Evaluated(run, chosen, tuple(notices))


def _evaluations(run: Path, given: Sequence[Path]) -> list[Path]:
    """The finished ones, in the order in which they are preferred."""
    finished = [folder for folder in given if (folder / "DONE").exists() or folder.parent.name == "evaluations"]
    return list(dict.fromkeys([*finished, *evaluations_inside(run), *([] if given else evaluations_beside(run))]))


def _settings(folder: Path) -> str:
    """What an evaluation's numbers depend on beside the model and the seed; nothing where that cannot be read."""
    try:
        table = json.loads((folder / "evaluation.json").read_bytes())
        protocol = {key: value for key, value in table["protocol"].items() if key != "seed"}
        return content_id(
            protocol, *(table.get(key) for key in ("data", "reward")), table.get("benchmark", {}).get("name")
        )
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return ""
