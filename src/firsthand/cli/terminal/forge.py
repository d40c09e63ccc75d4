"""What the terminal shows of a forge: a bar for each step with rate and cost, and the funnel at the end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from firsthand.cli.terminal.screen import NOTE, Screen, progress_bars
from firsthand.forge import StepProgress


class _Rate(ProgressColumn):
    """Rows per second, over the last half minute."""

    def get_table_column(self) -> Column:
        """Never cut."""
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        """Nothing where no row has passed."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "")


@contextmanager
def step_bars() -> Iterator[Callable[[StepProgress], None]]:
    """Bars for as long as the block lasts; call what is given as steps get on. A pipe gets ten lines per step."""
    terminal = Console(highlight=False)
    tasks: dict[str, TaskID] = {}
    told: dict[str, int] = {}
    with progress_bars(terminal, "{task.description:<8}", NOTE, middle=(_Rate(),)) as bars:

        def on_progress(now: StepProgress) -> None:
            if now.step not in tasks:
                tasks[now.step] = bars.add_task(now.step, total=now.total, note="")
            bars.update(tasks[now.step], completed=now.done, total=now.total, note=_note(now))
            tenth, before = max(1, (now.total or 10_000) // 10), told.get(now.step, 0)
            is_worth = now.done > before and (now.done == now.total or now.done // tenth > before // tenth)
            if is_worth and not terminal.is_interactive:
                told[now.step] = now.done
                terminal.print(f"{now.step}: {now.done:,} rows {_note(now)}".rstrip(), soft_wrap=True, markup=False)

        yield on_progress


def show_funnel(funnel: dict[str, Any], costs: Sequence[dict[str, Any]]) -> None:
    """The funnel table, and what each step has cost, earlier runs included."""
    rows = []
    for row in funnel["steps"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items())
        rows.append([row["step"], f"{row['read']:,}", f"{row['kept']:,}", reasons or "-"])
    sft, rl = (sum(funnel["parts"][part].values()) for part in ("sft", "rl"))
    screen = Screen()
    screen.table(["step", "read", "kept", "dropped"], rows, prose=True)
    screen.say(f"sft {sft:,}, rl {rl:,}")
    for row in costs:
        tokens = f"{row['prompt_tokens']:,} + {row['completion_tokens']:,} tokens"
        screen.say(f"{row['step']}: {row['requests']:,} requests, {tokens}, {_price(row['dollars'])}")


def _price(dollars: float | None) -> str:
    return "price unknown" if dollars is None else f"${dollars:.2f}"


def _note(now: StepProgress) -> str:
    """Requests, and what they have cost so far, where any were made."""
    seen = now.requests
    if seen is None or not seen.asked:
        return ""
    cost = f", ${seen.dollars:.2f}" if seen.dollars else ""
    retried = f", {seen.retried:,} retried" if seen.retried else ""
    return f"{seen.asked:,} asked{retried}, {seen.tokens:,} tokens{cost}"
