"""Run directories -> what compares with what: trainings with their evaluations, seeds as arms, and settings apart.

An evaluation of a trained model is a run of its own; it is found among the given directories, inside the training's
(where earlier versions wrote it), and beside it. Numbers compare if they are of the same questions, drawn by one
protocol and scored by one rule. Whatever else differs is no difference between models.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.errors import DataError
from firsthand.files import Kinds, object_in
from firsthand.records import content_id
from firsthand.run import evaluations_beside, evaluations_inside, recipe_of

FILES = ("recipe.json", "metrics.jsonl", "rollouts.jsonl", "scores.jsonl", "evaluation.json")
"""A directory with one of them is a run's."""
TRIES = "tune.jsonl"
"""Beside it are runs that a study tried settings with: found where their folder is named, and not from above."""
PASS_RATES = "pass-rates"
"""A study's folder of the evaluations that it filters data by: found where it is named, and not from above."""
MEASURED_OF = {"tokens_of", "distances_of", "health_of"}
"""Keys of a recipe that only measures other runs: a study keeps it beside them, and it is no run to report."""
_DEPTH = 3
"""A study's runs are in a folder of its own, below that of all runs."""
_NAMED = 3
"""Families of worlds, or tasks of an environment, that a title names; of more it says whose they are."""
_IDENTITY = {"name", "model", "model_id", "files_id", "endpoint", "evaluates", "id", "data", "data_id"}
"""What an evaluation's recipe says of the model and of the data. Everything else is how it was evaluated."""
_TABLE_KINDS: Kinds = {"protocol": dict, "reward": dict, "benchmark": (dict, str), "data": (dict, str)}
"""What an evaluation.json says, where it says it."""
_PER_SEED = {"seed", "id", "start"}
"""What may differ between two runs of one arm: a run that starts from another names that other's seed in `start`."""


def run_directories(paths: Iterable[Path]) -> list[Path]:
    """The run directories among these paths, and those in folders that hold some; each once.

    Raises DataError for a path that is neither.
    """
    found: list[Path] = []
    for path in paths:
        if path.suffix == ".json" and path.is_file():
            continue  # a pattern takes summaries along
        inside = [path] if _is_run(path) else list(_below(path, _DEPTH))
        if not inside:
            what = "holds none" if path.is_dir() else "is not there"
            raise DataError(
                f"expected a run directory, or a folder that holds some, got {path}, which {what}; check the path"
            )
        found += inside
    return list(dict.fromkeys(folder.resolve() for folder in found))


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES) and not recipe_of(folder).keys() & MEASURED_OF


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for child in sorted(folder.iterdir()) if depth and folder.is_dir() else ():
        if _is_run(child):
            yield child
        elif child.is_dir() and child.name != PASS_RATES and not (child / TRIES).is_file():
            yield from _below(child, depth - 1)


class Joined(NamedTuple):
    """A run and one of its evaluations; a run that was evaluated by several settings is there once for each."""

    run: Path
    """The training; of a model that was not trained here, the evaluation."""
    evaluation: Path | None
    """Where scores are; None where nothing was evaluated."""
    notices: tuple[str, ...]


def with_evaluations(folders: Sequence[Path]) -> list[Joined]:
    """Each run with each of its evaluations; an evaluation of a training that is there is no run."""
    recipes = {folder: recipe_of(folder) for folder in folders}
    by_id = {recipe.get("id"): folder for folder, recipe in recipes.items() if "evaluates" not in recipe}
    given: dict[Path, list[Path]] = defaultdict(list)
    for folder in folders:
        given[_training_of(folder, by_id) or folder].append(folder)
    joined = []
    for run, some in given.items():
        evaluations = [folder for folder in some if folder != run]
        finished = [f for f in evaluations if (f / "DONE").exists() or f.parent.name == "evaluations"]
        notices = tuple(f"an evaluation has not ended: {f.name}" for f in evaluations if f not in finished)
        found = [*finished, *evaluations_inside(run), *([] if evaluations else evaluations_beside(run))]
        joined += [Joined(run, folder, notices) for folder in dict.fromkeys(found) or [None]]
    return joined


def _training_of(folder: Path, by_id: Mapping[str | None, Path]) -> Path | None:
    """The training whose model a run evaluated: it was given, or stands beside or in a study's folder there.

    In earlier versions it stands above.
    """
    if folder.parent.name == "evaluations":
        return folder.parents[1]
    if (identity := recipe_of(folder).get("evaluates")) is None:
        return None
    places = (path for pattern in ("*-", "*/*-") for path in folder.parent.glob(f"{pattern}{identity[:8]}"))
    beside = (path for path in places if path != folder)
    return by_id.get(identity) or next((path for path in beside if recipe_of(path).get("id") == identity), None)


def draw_of(evaluation: Path) -> int:
    """The seed of the samples, or of exchanged pictures, that a number is of; 0 where it is of greedy replies alone."""
    protocol = _table_in(evaluation).get("protocol") or {}
    is_drawn = not protocol.get("greedy", True) or protocol.get("blind") == "shuffled"
    seed = protocol.get("seed", 0)
    return seed if is_drawn and isinstance(seed, int) else 0


def _table_in(evaluation: Path) -> dict[str, Any]:
    return object_in(evaluation / "evaluation.json", _TABLE_KINDS)


def settings_of(evaluation: Path) -> dict[str, Any]:
    """What an evaluation's numbers depend on, beside the model, the questions and the seed of samples."""
    recipe, table = recipe_of(evaluation), _table_in(evaluation)
    own = recipe if "protocol" in recipe else {}  # of an evaluation inside a training, the recipe is the training's
    found = {key: value for key, value in {**table, **own}.items() if key in ("protocol", "reward", "benchmark")}
    found |= {key: value for key, value in own.items() if key not in _IDENTITY}
    if isinstance(drawn := found.get("protocol"), dict):
        # Greedy replies are the same, however many samples are drawn beside them.
        aside = {"seed", "samples"} if drawn.get("greedy", True) else {"seed"}
        found["protocol"] = {key: value for key, value in drawn.items() if key not in aside}
    if isinstance(benchmark := found.get("benchmark"), dict):
        found["benchmark"] = benchmark.get("name")
        found["file"] = own.get("data_id")  # its rows are named by their number
    return found


def data_title(evaluation: Path) -> str:
    """What a reader knows the questions by."""
    table = _table_in(evaluation)
    benchmark, data = (table.get(key) or recipe_of(evaluation).get(key) or {} for key in ("benchmark", "data"))
    if isinstance(benchmark, dict) and benchmark.get("name"):
        return str(benchmark["name"])
    if not isinstance(data, dict):
        return "data"
    if data.get("path"):
        return Path(str(data["path"])).name
    drawn = data.get("worlds") or data.get("tasks") or []
    drawn = [str(name) for name in drawn] if isinstance(drawn, list) else []
    names = f" {', '.join(drawn)}" if len(drawn) <= _NAMED else ""
    return f"{data.get('environment') or 'worlds'}{names} {data.get('split', '')}".strip() if drawn else "data"


class Trained(NamedTuple):
    """Who was evaluated. Runs of one arm differ in their seed alone."""

    name: str
    arm: str
    run: str
    """The id of the training, or of a model that was not trained here."""


def trained(run: Path) -> Trained:
    """Arm and run of a run directory, by its recipe."""
    recipe = recipe_of(run)
    identity = str(recipe.get("id") or run.name)
    name = str(recipe.get("name") or run.name.rpartition("-s")[0] or run.name)
    if "protocol" in recipe:  # an evaluation of a model from elsewhere
        identity = str(recipe.get("model_id") or content_id(recipe.get("endpoint") or identity))
        return Trained(name, content_id(name, identity, recipe.get("files_id")), identity)
    own = {key: value for key, value in recipe.items() if key not in _PER_SEED}
    return Trained(name, content_id(name, own or identity), identity)


def named_apart(found: Sequence[Trained]) -> dict[str, str]:
    """arm -> its name, and the start of an id where two arms have one name."""
    first = {one.arm: one for one in reversed(found)}
    arms = dict.fromkeys(one.arm for one in found)
    names = [first[arm].name for arm in arms]
    return {
        arm: name if names.count(name) == 1 else f"{name} ({first[arm].run[:6]})"
        for arm, name in zip(arms, names, strict=True)
    }


def blind_of(settings: Mapping[str, Any]) -> str | None:
    """What a blind evaluation showed in place of its pictures; None of one that saw them."""
    found = (settings.get("protocol") or {}).get("blind")
    return None if found is None else str(found)


def seeing_of(blind: "Comparable", others: Mapping[str, "Comparable"]) -> str | None:
    """The title of the table that is that of a blind evaluation in all but what was shown; None where there is none."""
    protocol = {key: value for key, value in blind.settings["protocol"].items() if key != "blind"}
    seeing = content_id({**blind.settings, "protocol": protocol})
    for title, other in others.items():
        most = max(len(blind.questions), len(other.questions))
        if content_id(other.settings) == seeing and len(blind.questions & other.questions) >= most / 2:
            return title
    return None


class Comparable(NamedTuple):
    """One evaluation, as far as it decides with which others it compares."""

    who: Trained
    draw: int
    title: str
    settings: Mapping[str, Any]
    questions: frozenset[str]


def tables_of(found: Sequence[Comparable]) -> list[str]:
    """The title of the table that each evaluation belongs to; within one, numbers compare.

    One table has one protocol, reward and benchmark, and its evaluations share at least half of the questions of
    either with the first: a few rows may have been left out, or have changed. Titles of one data set name what differs.
    An evaluation that says again what an earlier one has said has no table: its title is empty.
    """
    tables: list[list[Comparable]] = []
    places: list[int | None] = []
    for one in found:
        if any(_repeats(one, other) for table in tables for other in table):
            places.append(None)
            continue
        shares = [_shared(one, table) for table in tables]
        place = shares.index(max(shares)) if shares and max(shares) >= 0.5 else len(tables)
        tables += [[]] if place == len(tables) else []
        tables[place].append(one)
        places.append(place)
    firsts = [table[0] for table in tables]
    titles = [_told_apart(table, firsts) for table in firsts]
    counts = [f"{title}, {len(table.questions):,} questions" for title, table in zip(titles, firsts, strict=True)]
    titles = [
        long if counts.count(long) < titles.count(short) else short for short, long in zip(titles, counts, strict=True)
    ]
    titles = [f"{title} ({i + 1})" if title in titles[:i] else title for i, title in enumerate(titles)]
    return ["" if place is None else titles[place] for place in places]


def _repeats(one: Comparable, other: Comparable) -> bool:
    same = (one.who.run, one.draw, one.questions) == (other.who.run, other.draw, other.questions)
    return same and content_id(one.settings) == content_id(other.settings)


def _shared(one: Comparable, table: Sequence[Comparable]) -> float:
    """Share of the questions of either that both have; none under other settings, or where that run has its place."""
    first = table[0]
    if content_id(one.settings) != content_id(first.settings):
        return 0.0
    if (one.who.run, one.draw) in {(other.who.run, other.draw) for other in table}:
        return 0.0
    return len(one.questions & first.questions) / max(1, len(one.questions), len(first.questions))


def _told_apart(table: Comparable, tables: Sequence[Comparable]) -> str:
    others = [_flat(other.settings) for other in tables if other.title == table.title and other is not table]
    own = _flat(table.settings)
    keys = dict.fromkeys(key for other in others for key in {**own, **other} if own.get(key) != other.get(key))
    return ", ".join([table.title, *(f"{key} {_said(own.get(key))}" for key in keys if key != "file")])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, without that of the protocol."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= (
            _flat(value, "" if key == "protocol" else f"{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def _said(value: Any) -> str:
    return "unset" if value in (None, "") else value if isinstance(value, str) else json.dumps(value)
