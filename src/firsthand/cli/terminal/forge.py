"""What the terminal shows of a forge: a bar for each step with rate and cost, and the funnel at the end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from firsthand.forge.run import Report


class Rate(ProgressColumn):
    """Rows per second, over the last half minute."""

    def render(self, task: Task) -> Text:
        """Nothing where no row has passed."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "")


@contextmanager
def progress() -> Iterator[Callable[[Report], None]]:
    """Bars for as long as the block lasts; call what is given with each report. A pipe gets ten lines per step."""
    terminal = Terminal(highlight=False)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
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


def show(funnel: dict[str, Any], costs: Sequence[dict[str, Any]]) -> None:
    """The funnel table, and what each step has cost, earlier runs included."""
    table = Table("step", "read", "kept", "dropped")
    for row in funnel["steps"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items())
        table.add_row(row["step"], f"{row['read']:,}", f"{row['kept']:,}", reasons or "-")
    sft, rl = (sum(funnel["parts"][part].values()) for part in ("sft", "rl"))
    terminal = Terminal(highlight=False)
    terminal.print(table)
    terminal.print(f"sft {sft:,}, rl {rl:,}")
    for row in costs:
        tokens = f"{row['prompt_tokens']:,} + {row['completion_tokens']:,} tokens"
        dollars = f", ${row['dollars']:.2f}" if row["dollars"] else ""
        terminal.print(f"{row['step']}: {row['requests']:,} requests, {tokens}{dollars}")


def _note(report: Report) -> str:
    """Requests, and what they have cost so far, where any were made."""
    seen = report.progress
    if seen is None or not seen.asked:
        return ""
    cost = f", ${seen.dollars:.2f}" if seen.dollars else ""
    retried = f", {seen.retried:,} retried" if seen.retried else ""
    return f"{seen.asked:,} asked{retried}, {seen.tokens:,} tokens{cost}"
