"""What a terminal shows of a summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firsthand.cli.terminal.screen import Screen, percents
from firsthand.config import read_yaml
from firsthand.evaluation.benchmarks.spec import DEFINITIONS, names
from firsthand.evaluation.leaderboard.scorer import QUIRKS
from firsthand.evaluation.protocol import Protocol
from firsthand.records import content_in


def show_summary(summary: Path) -> None:
    """The table of a summary, the protocol, and everything that a reader must know of its numbers."""
    content = content_in(summary)
    screen = Screen()
    judged = any("leaderboard" in part for part in content["benchmarks"].values())
    scorers = ("strict", "leaderboard") if judged else ("strict",)
    rows = []
    for name, part in content["benchmarks"].items():
        headline = part["strict"]["headline"]
        title = name if headline == "accuracy" else f"{name}, {headline}"
        rates = [percents(part.get(key)) for key in ("truncated", "unparsed")]
        rows.append([title, *(_cell(part.get(s, {})) for s in scorers), *rates, f"{part['benchmark']['rows']:,}"])
        if passes := part.get("pass_at", {}):
            k = max(passes, key=int)
            rows.append([f"  pass@{k}", percents(passes[k]), *[""] * (len(scorers) + 2)])
        for extra in ("average", "loose"):
            if extra in part["strict"]:
                rows.append([f"  {extra}", *(_cell(part.get(s, {}).get(extra, {})) for s in scorers), "", "", ""])
    if "average" in content:
        rows.append(["average", *(_cell(content["average"][s]) for s in scorers), "", "", ""])
    screen.say(f"{content['title']}: {content['model']}")
    screen.table(["benchmark", *(f"{scorer} (95 %)" for scorer in scorers), "cut", "unread", "rows"], rows)
    for line in ("in percent; intervals over questions", *_notes(content)):
        screen.say(line)
    for part in content["benchmarks"].values():
        for run in part["runs"]:
            screen.say(f"replies: {summary.parent / run}")


def _notes(content: Mapping[str, Any]) -> list[str]:
    """How the numbers were made, and what is behind them that a table does not show."""
    lines: list[str] = []
    for name, part in content["benchmarks"].items():
        seeds = f"; seeds {', '.join(map(str, part['seeds']))}" if len(part["seeds"]) > 1 else ""
        line = f"protocol: {Protocol.model_validate(part['protocol']).line()}{seeds}"
        lines += [line] if line not in lines else []
        board, file = part.get("leaderboard"), part["benchmark"]
        if "published_rows" in file:
            lines.append(f"{name}: {file['rows']:,} rows, where the published file has {file['published_rows']:,}")
        if part["strict"]["unmeasured"]:
            lines.append(f"{name}: {part['strict']['unmeasured']:,} replies could not be measured by strict rules")
        if board is None:
            continue
        if "judge" in board:
            line = f"judge: {board['judge']['model']}, version {board['judge']['prompts']} of the prompts"
            lines += [line] if line not in lines else []
        if "absent" in board:
            lines.append(
                f"{name}: no leaderboard number: {board['absent']} ({sum(board['undecided'].values()):,} replies)"
            )
        else:
            lines += [f"{name}: {n:,} replies without a mark: {why}" for why, n in board["undecided"].items()]
            lines += [
                f"{name}: {count['right']:,} right and {count['wrong']:,} wrong because {QUIRKS[key]}"
                for key, count in board["quirks"].items()
            ]
        if board["disagreements"]:
            lines.append(
                f"{name}: strict and leaderboard differ on {board['disagreements']:,} replies, listed in the run"
            )
    for scorer, average in content.get("average", {}).items():
        if "partial" in average:
            lines.append(f"the {scorer} average is partial, because that of {', '.join(average['partial'])} is")
        if "absent" in average:
            lines.append(f"no {scorer} average: {average['absent']}")
    return lines


def show_benchmarks() -> None:
    """What ships here, a line each."""
    for name in names():
        content = read_yaml(DEFINITIONS / f"{name}.yaml")
        parts = content.get("benchmarks")
        what = f"= {', '.join(parts)}" if parts else _places(content)
        print(f"{name:<22} {content['title']:<62} {what}")


def _places(content: Mapping[str, Any]) -> str:
    if "worlds" in content:
        return "rendered"
    rows = f"{content['rows']:,} rows" if "rows" in content else ""
    return ", ".join(part for part in (rows, content["files"][0], "hub" if "hub" in content else "") if part)


def _cell(table: Mapping[str, Any]) -> str:
    """An unmeasured value is a dash. In percent, as leaderboards have it."""
    if "value" not in table:
        return "-"
    measured = table["replies"] - table["unmeasured"] if table.get("unmeasured") else None
    part = "" if measured is None else f", of {measured:,} replies in {table['replies']:,}"
    return f"{percents(table['value'], table['ci95'])}{part}"
