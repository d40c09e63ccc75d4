"""Run directories -> a matrix: each arm on each set of questions, and its difference from the first arm.

Runs that differ in their seed alone are one arm, wherever they were evaluated; joined.py says what compares with what.
What both measured is compared, and the rest is counted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.judged import RULES, judged_file, judges_of
from firsthand.evaluation.joined import (
    Comparable,
    Joined,
    blind_of,
    data_title,
    draw_of,
    named_apart,
    run_directories,
    seeing_of,
    settings_of,
    tables_of,
    trained,
    with_evaluations,
)
from firsthand.evaluation.pairing import (
    Both,
    Pairing,
    drawn_as,
    estimate_fields,
    mean_of_runs,
    pair_units,
    share_fields,
    surviving,
    units_of,
)
from firsthand.evaluation.replies import read_journal
from firsthand.records import Unit, records_in


class _Run(NamedTuple):
    asked: Comparable
    units: Sequence[Unit]
    folder: Path


def compare_runs(
    paths: Sequence[Path], scorer: Literal["strict", "leaderboard"] = "strict", judge: str | None = None
) -> dict[str, Any]:
    """The comparison as JSON, of runs or of folders that hold some; `judge` names one where several have marked a run.

    Raises DataError when a run was not evaluated, when there is one arm only and it was not evaluated blind, and when
    no other arm was evaluated on the first one's questions by the same settings.
    """
    folders = run_directories(paths)
    named = {path.resolve() for path in paths}
    joined = with_evaluations(folders)
    absent = [one for one in joined if one.run not in named and not _is_evaluated(one)]  # a folder may hold such
    runs = [_read(one, scorer, judge) for one in joined if one not in absent]
    notes = [f"{one.run.name}: left out, for it was not evaluated to the end" for one in absent]
    notes += dict.fromkeys(f"{one.run.name}: {notice}" for one in joined for notice in one.notices)
    titles, names = tables_of([run.asked for run in runs]), named_apart([run.asked.who for run in runs])
    found: dict[str, dict[str, dict[str, list[Unit]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run, title in zip(runs, titles, strict=True):
        who = run.asked.who
        if title:
            found[names[who.arm]][title][who.run] += run.units
        else:
            notes.append(f"{run.folder.name}: left out, for an earlier run has the same model, questions and settings")
    if not found:
        raise DataError(f"expected runs that were evaluated, got none in {', '.join(map(str, paths))}; evaluate them")
    arms = {name: {title: list(some.values()) for title, some in parts.items()} for name, parts in found.items()}
    is_folder = not (paths and paths[0].resolve() in folders)
    baseline = "base" if is_folder and "base" in arms else next(iter(arms))
    others = [name for name in arms if name != baseline]
    blind = _seeing_and_blind([(title, run.asked) for title, run in zip(titles, runs, strict=True)])
    if not others and not blind:
        raise DataError(
            f"expected runs of two arms or more, got {len(runs)} of {baseline}; give another model's runs. "
            "Seeds of one recipe are one arm"
        )
    compared = {name: [title for title in arms[baseline] if title in arms[name]] for name in others}
    if others and not any(compared.values()):
        asked = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in arms.items())
        raise DataError(
            f"expected arms that were asked the same questions by the same settings, got none beside {baseline}, so "
            f"there is nothing to compare ({asked}); evaluate both on one data set, with one protocol and reward"
        )
    return {
        "scorer": ", ".join(dict.fromkeys(_marked_by(run.asked.settings, scorer) for run in runs)),
        "baseline": baseline,
        "models": {
            name: {
                title: {**estimate_fields("value", mean_of_runs(part)), "runs": len(part)}
                for title, part in parts.items()
            }
            for name, parts in arms.items()
        },
        "differences": {
            name: {title: _difference(pair_units(arms[baseline][title], arms[name][title], title)) for title in some}
            for name, some in compared.items()
        },
        **({"surviving": _surviving(found, baseline, others, blind)} if blind else {}),
        "notes": [
            *(
                f"{name}: no difference from {baseline}, for they share no questions and settings"
                for name, some in compared.items()
                if not some
            ),
            *notes,
        ],
    }


def _marked_by(settings: Mapping[str, Any], scorer: str) -> str:
    """`strict` are the rules of benchmarks alone; a user's own data are judged as in training, or by a function."""
    if "benchmark" in settings:
        return scorer
    return str((settings.get("reward") or {}).get("function") or "verifiers")


def _is_evaluated(one: Joined) -> bool:
    folder = one.evaluation or one.run
    has_ended = (folder / "DONE").exists() or folder.parent.name == "evaluations"
    return has_ended and (folder / "scores.jsonl").exists()


def _read(one: Joined, scorer: str, judge: str | None) -> _Run:
    if not _is_evaluated(one):
        is_done = (one.run / "DONE").exists()
        state = "has no finished evaluation beside it" if is_done else "has not ended"
        remedy = f"firsthand evaluate {one.run} --data ..., or name it" if is_done else "give its command again"
        raise DataError(f"{one.run}: expected a run that was evaluated, got one that {state}: {remedy}")
    folder = one.evaluation or one.run
    marked_by, draw = _scorer_of(folder, scorer, judge), draw_of(folder)
    units = drawn_as(_units(folder, scorer, marked_by), draw)
    settings = {**settings_of(folder), **({} if scorer == "strict" else {"judge": marked_by})}
    asked = Comparable(trained(one.run), draw, data_title(folder), settings, frozenset(unit.cluster for unit in units))
    return _Run(asked, units, folder)


def _units(folder: Path, scorer: str, judge: str) -> list[Unit]:
    path = folder / "units-strict.jsonl" if scorer == "strict" else judged_file(folder, judge, "units")
    if path.exists():
        found = list(records_in(path, Unit))
        if judge == RULES and any(unit.value is None for unit in found):
            raise DataError(
                f"{folder}: expected a leaderboard's mark of every reply, got those that rules decide alone, the "
                "easy ones; evaluate it with --judge"
            )
        return found
    if scorer != "strict":
        raise DataError(f"{folder}: expected a leaderboard's marks, got none; evaluate it with --judge")
    return units_of(read_journal(folder / "scores.jsonl"))


def _scorer_of(folder: Path, scorer: str, judge: str | None) -> str:
    """`strict`, or the judge that has marked a run: the one that is named, the one there is, or rules alone."""
    if scorer == "strict":
        return scorer
    if judge is not None:
        return judge
    asked = [name for name in judges_of(folder) if name != RULES]
    if len(asked) > 1:
        raise DataError(
            f"{folder}: expected the marks of one judge, got {len(asked)}; name one of them with --judge: "
            f"{', '.join(asked)}"
        )
    return asked[0] if asked else RULES


def _seeing_and_blind(asked: Sequence[tuple[str, Comparable]]) -> dict[str, str]:
    """The title of a blind evaluation's table -> that of the one which saw the same questions."""
    tables = {title: one for title, one in reversed(asked) if title}
    pairs = {title: seeing_of(one, tables) for title, one in tables.items() if blind_of(one.settings)}
    return {title: seeing for title, seeing in reversed(pairs.items()) if seeing is not None}


def _surviving(
    found: Mapping[str, Mapping[str, Mapping[str, Sequence[Unit]]]],
    baseline: str,
    others: Sequence[str],
    blind: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """arm -> blind table -> how much of its gain over the baseline is there when nothing can be seen."""
    content: dict[str, dict[str, Any]] = {name: {} for name in others}
    for name in others:
        for title, seeing in blind.items():
            arms = [_both(found[arm], seeing, title) for arm in (baseline, name)]
            if (share := surviving(*arms)) is not None:
                content[name][title] = {"seeing": seeing, **share_fields(share)}
    return content


def _both(arm: Mapping[str, Mapping[str, Sequence[Unit]]], seeing: str, blind: str) -> list[Both]:
    """The runs of an arm that were evaluated both ways."""
    tables = arm.get(seeing, {}), arm.get(blind, {})
    return [(tables[0][run], tables[1][run]) for run in tables[0] if run in tables[1]]


def _difference(found: Pairing) -> dict[str, Any]:
    counts = {name: count for name, count in found._asdict().items() if name != "paired"}
    if (paired := found.paired) is None:
        return counts
    return {
        **estimate_fields("difference", paired.difference),
        **({} if paired.p is None else {"p": paired.p}),
        "wins": paired.wins,
        "losses": paired.losses,
        "ties": paired.ties,
        "method": str(paired.method),
        "finding": str(paired.finding),
        **counts,
    }
