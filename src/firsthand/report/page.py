"""Run directories -> one HTML file that opens offline: no network reference, no script but the gallery's filter."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from firsthand.report import charts, curves, gallery
from firsthand.report.arms import PASS_AT, Arm, Comparison, compare_arms, make_arms, reference
from firsthand.report.headline import Headline, doubts, headline, points
from firsthand.report.runs import RunRecords, read_runs
from firsthand.report.scorers import by_scorer
from firsthand.stats import Estimate


def write_report(runs: Sequence[Path], out: Path, title: str) -> Path:
    """Write the evidence of these run directories to `out`, and return it.

    The page is a function of the directories and the title alone. A run that is incomplete or damaged is reported as
    such; a directory that is no run, no directory at all, and one run given twice raise DataError (a ValueError).
    Replies are untrusted: everything is escaped, and the page's policy runs no script but ours.
    """
    environment = Environment(
        loader=PackageLoader("firsthand", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(title=title, **_context(make_arms(read_runs(runs))))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page.lstrip(), encoding="utf-8")
    return out


def _context(arms: Sequence[Arm]) -> dict[str, Any]:
    runs = [run for arm in arms for run in arm.runs]
    opened, folded = curves.panels(arms)
    (held_out, available), training = gallery.held_out(arms), gallery.training(arms)
    said, script = headline(arms), _beside("filter.js")
    base = reference(arms)
    return {
        "arm_class": charts.arm_class,
        "arms": arms,
        "available": available,
        "base": base,
        "difference_domain": _difference_domain(said),
        "doubts": [(run, notices) for run in runs if (notices := doubts(run))],
        "duration": _duration,
        "families": _families(arms, base),
        "folded": folded,
        "gallery_families": sorted({item.family for item in (*held_out, *training)}),
        "headline": said,
        "held_out": held_out,
        "measure": next((arm.measure.capitalize() for arm in arms if arm.measure), "Greedy accuracy"),
        "opened": opened,
        "outcomes": list(gallery.ReplyOutcome),
        "pass_at": PASS_AT,
        "points": points,
        "pretty": partial(json.dumps, indent=2, ensure_ascii=False),
        "runs": runs,
        "scale": charts.scale,
        "scorers": by_scorer(arms),
        "script": script,
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "several_seeds": any(len(arm.runs) > 1 for arm in arms),
        "style": _beside("page.css"),
        "training": training,
        "versions": _versions,
        "whisker": charts.whisker,
        "written": max(run.last_written for run in runs).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
    }


def _families(arms: Sequence[Arm], base: Arm) -> list[tuple[str, list[tuple[Arm, Estimate | None, Comparison | None]]]]:
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
