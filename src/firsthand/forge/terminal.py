"""What the terminal shows of a forge: a bar for each step with rate and cost, and the funnel at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from firsthand.forge.run import Report


@contextmanager
def progress() -> Iterator[Callable[[Report], None]]:
    """Bars for as long as the block lasts; call what is given with every report. A pipe gets ten lines per step."""
    terminal = Terminal(highlight=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    note = TextColumn("{task.fields[note]}")
    tasks: dict[str, TaskID] = {}
    with Progress(TextColumn("{task.description:<8}"), *columns, note, console=terminal) as bars:

        def on_report(report: Report) -> None:
            if report.step not in tasks:
                tasks[report.step] = bars.add_task(report.step, total=report.total, note="")
            before = bars.tasks[list(tasks).index(report.step)].completed
            bars.update(tasks[report.step], completed=report.done, total=report.total, note=_note(report))
            tenth = max(1, (report.total or 10_000) // 10)
            if not terminal.is_terminal and (report.done == report.total or report.done // tenth > before // tenth):
                terminal.print(f"{report.step}: {report.done:,} rows {_note(report)}")

        yield on_report


def show(funnel: dict[str, Any]) -> None:
    """The funnel table."""
    table = Table("step", "read", "kept", "dropped")
    for row in funnel["steps"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items())
        table.add_row(row["step"], f"{row['read']:,}", f"{row['kept']:,}", reasons or "-")
    sft, rl = (sum(funnel["parts"][part].values()) for part in ("sft", "rl"))
    terminal = Terminal(highlight=False)
    terminal.print(table)
    terminal.print(f"sft {sft:,}, rl {rl:,}")


def _note(report: Report) -> str:
    """Requests, and what they have cost so far, where any were made."""
    seen = report.progress
    if seen is None or not seen.asked:
        return ""
    cost = f", ${seen.dollars:.2f}" if seen.dollars else ""
    retried = f", {seen.retried:,} retried" if seen.retried else ""
    return f"{seen.asked:,} asked{retried}, {seen.tokens:,} tokens{cost}"
