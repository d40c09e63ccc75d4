"""What the terminal shows of graded replies: a bar, a table by kind, and warnings."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console as Terminal

from firsthand.cli.terminal.screen import Screen, progress_bars
from firsthand.evaluation.grading import UNKNOWN, Refusals, Tally
from firsthand.records import Status
from firsthand.reward.alarms import outside_alarms
from firsthand.reward.open_ended import Calibration

_ENOUGH = 20
"""Measured replies of a kind from which an equal score for all is worth a warning (ours)."""
_SHARE = 0.05
"""Share of a kind's replies from which a status other than `ok` is worth a warning."""


@contextmanager
def judging_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar for as long as the block lasts; call what is given with (done, total)."""
    with progress_bars(Terminal(stderr=True), "judging") as bar:
        task = bar.add_task("judging", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_tallies(tallies: dict[str, Tally]) -> None:
    """The table of graded replies, and what is suspicious in it. An unmeasured mean is a dash, never a 0."""
    rows = [[kind, *_cells(tally)] for kind, tally in sorted(tallies.items())]
    everything = Tally()
    for tally in tallies.values():
        everything.statuses.update(tally.statuses)
        everything.scores.update(tally.scores)
    screen = Screen()
    statuses = [str(status).replace("_", "\n") for status in Status]
    screen.table(["kind", "replies", "score", *statuses], [*rows, ["all", *_cells(everything)]])
    for kind, tally in sorted(tallies.items()):
        for line in _warnings(kind, tally) if kind != UNKNOWN else ():  # their rows are listed
            screen.say(f"ALARM: {line}")


def show_refusals(refusals: Refusals) -> None:
    """The rows that could not be used, on stderr: the first ones, and where all are."""
    if not refusals.count:
        return
    rows = "1 row" if refusals.count == 1 else f"{refusals.count:,} rows"
    shown = f" The first {len(refusals.first)}:" if refusals.count > len(refusals.first) else ""
    print(f"firsthand: {rows} cannot be used; replies to them are `failed`, not scored.{shown}", file=sys.stderr)
    for row in refusals.first:
        print(f"  {row.place}, {row.detail}", file=sys.stderr)
    print(f"all of them: {refusals.path}", file=sys.stderr)


def show_calibration(found: Calibration) -> None:
    """What a calibration found, as a recipe says it."""
    print(
        f"{found.references} references, spread {found.spread:.4g}\n"
        f"reward: {{open: {{beta: {found.beta:.4g}, ...}}}}   # a reply one spread better than its reference earns 0.5"
    )


def _cells(tally: Tally) -> list[str]:
    mean = "-" if tally.mean is None else f"{tally.mean:.3f}"
    return [f"{tally.statuses.total():,}", mean, *(f"{tally.statuses[status]:,}" for status in Status)]


def _warnings(kind: str, tally: Tally) -> list[str]:
    """What is suspicious about the verdicts on one kind."""
    replies = tally.statuses.total()
    shares = {status: n / replies for status, n in tally.statuses.items() if status is not Status.OK}
    found = [f"{kind}: {share:.0%} of the replies are `{status}`" for status, share in shares.items() if share > _SHARE]
    if boxes := tally.outside.total():
        found += [f"{kind}: {alarm.text}" for alarm in outside_alarms([tally.outside[True] / boxes])]
    if tally.scores.total() >= _ENOUGH and len(tally.scores) == 1:
        found.append(f"{kind}: every reply scores {next(iter(tally.scores)):g}, so there is nothing to learn from")
    return found
