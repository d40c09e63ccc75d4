"""Where it is shown: a screen that does not break numbers, and bars for work that goes on."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

NOTE = TextColumn("{task.fields[note]}")
"""What a task says of itself, behind its bar."""


def wide_screen(width: int) -> Console:
    """The terminal; a pipe, which would have 80 columns and cut numbers off, has `width`."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(highlight=False, width=width)


def progress_bars(
    screen: Console, title: str, *more: ProgressColumn, middle: tuple[ProgressColumn, ...] = (), period_s: float = 30
) -> Progress:
    """Bars with counts, time and time left. `period_s`: the last seconds, from which speed is estimated."""
    counted = (TextColumn(title), BarColumn(), MofNCompleteColumn())
    timed = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(*counted, *middle, *timed, *more, console=screen, speed_estimate_period=period_s)
