"""Which evaluation of a run the page shows: evaluations of trained models are runs of their own.

They are looked for among the given directories, inside the training's (where earlier versions wrote them), and beside
it. Of several, the one by the settings that most of the runs share is shown; the page says so, and names the others.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from firsthand.records import content_id
from firsthand.run import evaluations_beside, evaluations_inside, recipe_of


def with_evaluations(folders: Sequence[Path]) -> list[tuple[Path, Path, list[str]]]:
    """Each run, where its evaluation is, and what to say of that; an evaluation of a run that is there is no run.

    A run that was not evaluated, or is an evaluation itself, stands in for its evaluation.
    """
    by_id = {recipe_of(folder).get("id"): folder for folder in folders}
    given: dict[Path, list[Path]] = defaultdict(list)
    for folder in folders:
        is_inside, evaluates = folder.parent.name == "evaluations", recipe_of(folder).get("evaluates")
        run = folder.parents[1] if is_inside else by_id.get(evaluates) if evaluates else None
        if run is not None and run in folders:
            given[run].append(folder)
    joined = {folder for some in given.values() for folder in some}
    found = {folder: _evaluations(folder, given.get(folder, [])) for folder in folders if folder not in joined}
    counts = Counter(settings for some in found.values() for settings in dict.fromkeys(map(_settings, some)))
    ranked = [settings for settings, _ in counts.most_common()]  # equal ones in the order in which they were found
    return [_choice(run, some, given.get(run, []), ranked) for run, some in found.items()]


def _choice(
    run: Path, found: Sequence[Path], given: Sequence[Path], ranked: Sequence[str]
) -> tuple[Path, Path, list[str]]:
    notices = [f"an evaluation has not ended: {folder.name}" for folder in given if folder not in found]
    if not found:
        return run, run, notices
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
    return run, chosen, notices


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
