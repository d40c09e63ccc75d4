"""Where it is shown: tables that are never cut off, and bars for work that goes on."""

from collections.abc import Callable, Iterable, Sequence

from rich.box import SIMPLE
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

_PIPE = 100_000
"""Columns of what is no terminal."""
_GAP = 2
"""Columns between two of a table."""
_ROOMY = 110
"""Columns from which a bar has the time that has passed, too."""
_WHOLE = Column(no_wrap=True)
"""Numbers are never cut: the bar is shorter where there is little room, and then the note."""


class _Note(ProgressColumn):
    """What a task says of itself, behind its bar; on one line, as far as there is room."""

    def render(self, task: Task) -> Text:
        """The field `note`."""
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


NOTE = _Note()


class Screen:
    """The terminal, and tables that it never cuts off: what does not fit side by side stands below each other."""

    def __init__(self) -> None:
        terminal = Console(highlight=False)
        self._console = terminal if terminal.is_terminal else Console(highlight=False, width=_PIPE)

    def say(self, line: str) -> None:
        """A line, in one piece."""
        self._console.print(line, soft_wrap=True, markup=False)

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[str]], *, prose: bool = False, numbers: bool = False
    ) -> None:
        """A heading for each row where the terminal is too narrow for all columns.

        The last column may be `prose`, which is broken between words; all but the first may be `numbers`, which end
        below each other. A pipe has all the room that it takes.
        """
        columns = list(zip(headers, *rows, strict=True))
        widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
        if prose:
            widths[-1] = max(cell_len(word) for cell in columns[-1] for word in cell.split() or [""])
        if sum(widths) + _GAP * (len(widths) - 1) > self._console.width:
            for name, *cells in rows:
                self._console.print(Text(name))
                for header, cell in zip(headers[1:], cells, strict=True):
                    if cell:
                        self._console.print(Text(f"  {' '.join(header.split())}  {cell}"))
            return
        table = Table(box=SIMPLE, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
        for place, header in enumerate(headers):
            is_number, is_prose = numbers and place > 0, prose and place == len(headers) - 1
            table.add_column(Text(header), no_wrap=not is_prose, justify="right" if is_number else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)


def percents(value: float | None, ends: Sequence[float | None] = (None, None), sign: str = "") -> str:
    """A share in percent, with its interval where there is one; an unmeasured one is a dash, never a 0."""
    if value is None:
        return "-"
    low, high = ends
    interval = "" if low is None or high is None else f" ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
    return f"{100 * value:{sign}.1f}{interval}"


class _Bars(Progress):
    """Bars with a line below."""

    below: Callable[[], str] = staticmethod(lambda: "")

    def get_renderables(self) -> Iterable[RenderableType]:
        """As rich asks for them."""
        yield from super().get_renderables()
        if line := self.below():
            yield Text(line, no_wrap=True, overflow="ellipsis")


def progress_bars(
    screen: Console,
    title: str,
    *more: ProgressColumn,
    middle: tuple[ProgressColumn, ...] = (),
    period_s: float = 30,
    below: Callable[[], str] = lambda: "",
) -> Progress:
    """Bars with counts, time and time left. `period_s`: the last seconds, from which speed is estimated.

    `below` is asked for a line below the bars, an empty one for none.

    Files, pipes and terminals that cannot move their cursor get none: write them a line now and then.
    """
    bar = BarColumn(max(4, min(40, screen.width - 70)))
    passed = (TimeElapsedColumn(_WHOLE),) if screen.width >= _ROOMY else ()
    left = (TextColumn("left"), TimeRemainingColumn(table_column=_WHOLE))
    columns = (
        TextColumn(title, markup=False),
        bar,
        MofNCompleteColumn(table_column=_WHOLE),
        *middle,
        *passed,
        *left,
        *more,
    )
    bars = _Bars(*columns, console=screen, speed_estimate_period=period_s, disable=not screen.is_interactive)
    bars.below = below
    return bars
