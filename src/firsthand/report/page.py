"""Run directories -> one HTML file that opens offline: no network reference, no script but those beside this file."""

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from firsthand.cost import HEADERS, RunCost
from firsthand.files import write_atomically
from firsthand.report import charts, curves
from firsthand.report.analyses import panels
from firsthand.report.arms import Arm, Comparison, compare_arms, make_arms, reference
from firsthand.report.blind import BlindColumns, blind_columns, seeing_titles
from firsthand.report.browser import browser_data
from firsthand.report.headline import Headline, doubts, headline, points
from firsthand.report.results import RESULTS, StudyResults, read_results
from firsthand.report.runs import RunRecords, read_runs
from firsthand.report.scorers import Benchmarked, by_scorer
from firsthand.report.verdicts import lay_out
from firsthand.stats import FEWEST_PAIRS, Estimate

_MOST_PASSES = 4
"""Columns of pass@k: the first, and the largest ones that were measured."""

_Difference = tuple[Arm, Estimate | None, Comparison | None]


_SCRIPTS = ("charts.js", "tables.js", "browser.js")
_MOST_ROWS = 400
"""Of an analysis' numbers that the page shows; the file to save has all."""


_SECTIONS = {
    "verdicts": "Verdicts",
    "health": "Health",
    "settings": "Budget",
    "result": "Accuracy",
    "arms": "Arms",
    "curves": "Curves",
    "analyses": "Analyses",
    "rollouts": "Rollouts",
    "provenance": "Provenance",
}
"""Those of the page, in its order: the template of each in parts/, and its link. The first three are a study's."""


class _Script(NamedTuple):
    """One of our scripts, and the source expression by which the page's policy lets it run."""

    text: Markup
    source: str


class _Table(NamedTuple):
    """Arms whose numbers compare: the same questions, one protocol, one way of scoring."""

    title: str
    """Empty where nothing was evaluated."""
    arms: Sequence[Arm]
    headline: Headline
    base: Arm
    measure: str
    pass_at: Sequence[int]
    families: Sequence[tuple[str, Sequence[_Difference]]]
    scorers: Sequence[Benchmarked]
    domain: tuple[float, float]
    blind: BlindColumns
    is_blind: bool
    """Whether another table has the same questions with their pictures, and these numbers beside its own."""


def write_report(runs: Sequence[Path], out: Path, title: str) -> Path:
    """Write the evidence of these run directories, or of folders that hold some, to `out`, and return it.

    The page is a function of the directories and the title alone. A run that is incomplete or damaged is reported as
    such; a path that holds no run, no path at all, and one run in two places raise DataError (a ValueError).
    Replies are untrusted: everything is escaped, and the page's policy runs no script but ours.
    """
    environment = Environment(
        loader=PackageLoader("firsthand", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    read = read_runs(runs)
    results, notices = read_results([*runs, *(run.folder.parent for run in read)])
    context = _context(make_arms(_in_order(read, results)), results, notices)
    page = environment.get_template("page.html.j2").render(title=title, **context)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page.lstrip())
    return out


def _in_order(runs: Sequence[RunRecords], results: StudyResults | None) -> list[RunRecords]:
    """Runs in the order of the study's arms, whatever a folder's is, so that every page of it has the same colours."""
    order = {name: place for place, name in enumerate(results.arms if results else ())}
    return sorted(runs, key=lambda run: order.get(run.name, len(order)))


def _context(arms: Sequence[Arm], results: StudyResults | None, notices: Sequence[str]) -> dict[str, Any]:
    tables, trained = _tables(arms), _trained(arms)
    found, analyses = lay_out(results, trained), panels(trained, results, everywhere=arms)
    runs = [run for arm in trained for run in arm.runs]
    opened, folded = curves.curve_panels(trained)
    there = {
        "verdicts": found.cards,
        "health": found.health,
        "settings": [*found.tuned, *found.budget],
        "analyses": analyses,
    }
    absent = {id for id, content in there.items() if not content}
    return {
        "analyses": analyses,
        "arm_key": charts.key,
        "arms": trained,
        "browser": browser_data(arms, trained),
        "cost_headers": HEADERS,
        "costs": [(arm, _cost(arm).cells()) for arm in trained if any(run.taken for run in arm.runs)],
        "doubts": [*([(RESULTS, notices)] if notices else []), *_doubts(arms)],
        "duration": _duration,
        "evaluations": {run.folder: [r for a in arms for r in a.runs if r.folder == run.folder] for run in runs},
        "fewest": FEWEST_PAIRS,
        "folded": folded,
        "found": found,
        "lead": _lead(tables),
        "most_rows": _MOST_ROWS,
        "opened": opened,
        "points": points,
        "pretty": partial(json.dumps, indent=2, ensure_ascii=False),
        "runs": runs,
        "scale": charts.scale,
        "scripts": [_script(name) for name in _SCRIPTS],
        "sections": [(id, name) for id, name in _SECTIONS.items() if id not in absent],
        "several_seeds": any(len(arm.runs) > 1 for arm in trained),
        "style": _beside("page.css") + _beside("browser.css"),
        "tables": tables,
        "versions": _versions,
        "whisker": charts.whisker,
        "written": max(run.last_written for run in runs).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
    }


def _cost(arm: Arm) -> RunCost:
    """Of one of the arm's trainings, however often it was evaluated."""
    return RunCost.mean([RunCost.of(run.steps) for run in {run.folder: run for run in arm.runs}.values()])


def _tables(arms: Sequence[Arm]) -> list[_Table]:
    """In the order of their first arm; arms that were not evaluated stand in the only table, or in one of their own."""
    by_title: dict[str, list[Arm]] = defaultdict(list)
    titles = sorted({arm.table for arm in arms} - {""})
    unevaluated = titles[0] if len(titles) == 1 else ""
    for arm in arms:
        by_title[arm.table or unevaluated].append(arm)
    tables = {title: sorted(some, key=lambda arm: arm.index) for title, some in by_title.items()}
    blind = seeing_titles(tables)
    order = [title for title in tables if title not in blind] + list(blind)
    return [_table(title, tables, is_blind=title in blind) for title in order]


def _table(title: str, tables: Mapping[str, Sequence[Arm]], *, is_blind: bool) -> _Table:
    arms = tables[title]
    said, base = headline(arms), reference(arms)
    ks = sorted({k for arm in arms for k in arm.pass_at})
    return _Table(
        title=title,
        arms=arms,
        headline=said,
        base=base,
        measure=next((arm.measure.capitalize() for arm in arms if arm.measure), "Accuracy"),
        pass_at=ks if len(ks) <= _MOST_PASSES else [ks[0], *ks[1 - _MOST_PASSES :]],
        families=_families(arms, base),
        scorers=by_scorer(arms),
        domain=_difference_domain(said),
        blind=blind_columns(tables, title, base),
        is_blind=is_blind,
    )


def _lead(tables: Sequence[_Table]) -> Markup:
    """What the page says first: of several tables, that they do not compare."""
    seeing = [table for table in tables if not table.is_blind]
    if len(seeing) == 1:
        return seeing[0].headline.lead
    several = Markup("<b>{} tables</b>, each of other questions, another protocol or another scoring: ")
    return several.format(len(seeing)) + "numbers of different tables do not compare."


def _trained(arms: Sequence[Arm]) -> list[Arm]:
    """Each arm once, with all its runs, each of which is there once: what training says, whatever was evaluated."""
    by_index: dict[int, list[Arm]] = defaultdict(list)
    for arm in arms:
        by_index[arm.index].append(arm)
    return [
        replace(
            some[0],
            runs=tuple({run.folder: run for arm in reversed(some) for run in reversed(arm.runs)}.values())[::-1],
        )
        for _, some in sorted(by_index.items())
    ]


def _doubts(arms: Sequence[Arm]) -> list[tuple[str, list[str]]]:
    """What speaks against each run, once."""
    found: dict[Path, tuple[RunRecords, dict[str, None]]] = {}
    for run in (run for arm in arms for run in arm.runs):
        found.setdefault(run.folder, (run, {}))[1].update(dict.fromkeys(doubts(run)))
    return [(run.folder.name, list(notices)) for run, notices in found.values() if notices]


def _families(arms: Sequence[Arm], base: Arm) -> list[tuple[str, list[_Difference]]]:
    """family -> per arm its accuracy, and its difference from the reference."""
    return [
        (name, [(arm, arm.families.get(name), None if arm is base else compare_arms(arm, base, name)) for arm in arms])
        for name in sorted({family for arm in arms for family in arm.families})
    ]


def _difference_domain(said: Headline) -> tuple[float, float]:
    """Symmetric around 0, in tenths, so that the zero line stands in the middle."""
    ends = [v for c in said.comparisons for v in (c.estimate.value, c.estimate.low, c.estimate.high) if v is not None]
    reach = max((abs(v) for v in ends), default=0.0)
    tenths = min(10, int(reach * 10) + 1)
    return -tenths / 10, tenths / 10


def _beside(name: str) -> Markup:
    """Our own text, which needs no escaping."""
    return Markup(files("firsthand.report").joinpath(name).read_text(encoding="utf-8"))


def _script(name: str) -> _Script:
    text = _beside(name)
    return _Script(text, "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _versions(run: RunRecords) -> list[tuple[str, str]]:
    """Package versions, where the recipe has a `versions` table."""
    table = (run.recipe or {}).get("versions")
    return sorted((str(k), str(v)) for k, v in table.items()) if isinstance(table, dict) else []
