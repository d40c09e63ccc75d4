"""What a terminal shows while work goes on: progress with an ETA, and tables at the end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import transformers
from rich.console import Console as Terminal
from rich.progress import TaskID

from firsthand.cli.terminal.bell import Bell
from firsthand.cli.terminal.budget import show_budget
from firsthand.cli.terminal.comparison import surviving_line
from firsthand.cli.terminal.screen import NOTE, Screen, percents, progress_bars
from firsthand.cli.terminal.standing import Overall
from firsthand.cost import HEADERS, USED, RunCost
from firsthand.evaluation import Protocol, guessing
from firsthand.recipe import Recipe
from firsthand.records import Step, content_in
from firsthand.reward.alarms import unread_remedy
from firsthand.stats import Covers

_ALIKE = (
    "all samples of each question are the same text, so pass@k says nothing: the server seems to ignore the "
    "temperature. `transformers serve` does, unless the endpoint's file has "
    """extra: {generation_config: '{"do_sample": true}'}"""
)

_MANY = 8
"""Trainings from which a study is long, and finished bars that are shown (ours)."""


class Console:
    """Progress bars on a terminal, a line now and then where none can be shown. Use as a context manager."""

    def __init__(self, overall: Overall | None = None) -> None:
        """`overall` is told, in a line, where the work is a whole study."""
        # transformers' own bars (loading weights, writing shards) would tear ours apart.
        transformers.utils.logging.disable_progress_bar()
        self._terminal = Terminal(highlight=False)
        # Speed over the last minutes, not since the start: a reply's length, and so a step's time, changes in training.
        self._progress = progress_bars(
            self._terminal, "{task.description:<20}", NOTE, period_s=120, below=self._overall_line
        )

        self._overall = overall
        self._promised = self._begun = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._overall is not None and error is None:
            self._overall.end()
        self._progress.stop()
        if self._overall is not None and error is not None and not self._terminal.is_interactive:
            self._terminal.print(self._overall.line(), markup=False, soft_wrap=True)

    def _overall_line(self) -> str:
        return "" if self._overall is None else self._overall.line()

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do: all that was asked for was done before."""
        return self._promised > 0 and not self._begun

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._terminal.print(line, markup=False, soft_wrap=True)

    def training(self, arm: str, recipe: Recipe) -> Callable[[Step], None]:
        """A bar for one training run, from its first step on; call what is returned after every step."""
        if self._overall is not None:
            self._overall.begin(arm)
        show = self._bar(f"train {arm}", is_empty=recipe.taken == 0)
        bell = Bell(recipe.taken, recipe.reward.answer)

        def on_step(step: Step) -> None:
            show(*_progress(step, recipe), ", ".join(_note(step)))
            for line in bell.hear(step.step + 1, step.metrics) if recipe.objective.samples else ():
                self._terminal.print(line, markup=False, soft_wrap=not self._terminal.is_terminal)

        return on_step

    def evaluation(self, arm: str, work: str = "evaluate") -> Callable[[int, int], None]:
        """A bar for work on examples, from its first batch on; call what is returned with (done, total)."""
        show = self._bar(f"{work} {arm}")
        return lambda done, total: show(done, total, "")

    def table(self, results: Path) -> None:
        """The arms of a results.json."""
        content = content_in(results)
        arms: dict[str, Any] = content["arms"]
        _show_rows("arm", arms)
        for name, row in arms.items():
            for line in guessing.guess_lines([*row.get("seeds", {}).values()]):
                Screen().say(f"NOTE: {name}: {line}")
        for name, row in arms.items():
            for how, found in row.get("blind", {}).items():
                if "gain" in found:
                    Screen().say(surviving_line(f"{name} - {found['over']}, blind {how}", found))
        costs = [[name, *RunCost.model_validate(row["cost"]).cells()] for name, row in arms.items() if "cost" in row]
        if costs:
            screen = Screen()
            screen.say("what training cost, as a mean over seeds")
            screen.table(["arm", *HEADERS], costs)
        show_budget(content.get("budget", {}))

    def verdicts(self, results: Path) -> None:
        """The answers of a results.json to its study's questions, a sentence each."""
        found: list[dict[str, Any]] = content_in(results).get("verdicts", [])
        for verdict in found:
            Screen().say(verdict["sentence"])

    def families(self, evaluation: Path) -> None:
        """The families of an evaluation.json."""
        content = content_in(evaluation)
        _show_rows("family", {**content.get("families", {}), "all": content})
        screen = Screen()
        screen.say(f"protocol: {Protocol.of_data(content['protocol']).line()}")
        if "tagged" in content:
            screen.say(f"replies with their answer in tags: {content['tagged']:.1%}")
        if steps := content.get("steps"):
            screen.say(
                f"steps that lead to another answer than the one given: {steps['disagrees']:.1%} of the replies; to "
                f"that one: {steps['agrees']:.1%}; not to be read: {steps['unread']:.1%}"
            )
        if (what := unread_remedy(content)) is not None:
            screen.say(f"NOTE: {what}")
        if content.get("samples_alike"):
            screen.say(f"NOTE: {_ALIKE}")
        for line in guessing.guess_lines([content]):
            screen.say(f"NOTE: {line}")

    def _bar(self, what: str, *, is_empty: bool = False) -> Callable[[int, int, str], None]:
        """Logs and pipes get ten lines per task instead of a bar, and two in a long study."""
        self._promised += not is_empty
        task: list[TaskID] = []  # a run that is done already takes no step, and shows no idle bar

        def show(done: int, total: int, note: str) -> None:
            if self._overall is not None and self._overall.work() and not self._terminal.is_interactive:
                self._terminal.print(self._overall.line(), markup=False, soft_wrap=True)
            if not task:
                self._begun += 1
                self._make_room()
                task.append(self._progress.add_task(what, total=total, note=""))
            self._progress.update(task[0], completed=done, total=total, note=note)
            if not self._terminal.is_interactive and (done == total or done % max(1, total // self._lines) == 0):
                self._terminal.print(f"{what}: {done}/{total} {note}".rstrip(), markup=False, soft_wrap=True)

        return show

    @property
    def _lines(self) -> int:
        """That logs and pipes get of a task."""
        return 2 if self._overall is not None and self._overall.trainings > _MANY else 10

    def _make_room(self) -> None:
        """The oldest finished bars become lines: a terminal cuts off what is below its last line."""
        finished = [task for task in self._progress.tasks if task.finished]
        for task in finished[: max(0, len(finished) - _MANY)]:
            self._progress.remove_task(task.id)
            if self._terminal.is_interactive:
                told = f"{task.description}: {task.completed:.0f}/{task.total:.0f} {task.fields['note']}"
                self._terminal.print(told.rstrip(), markup=False)


def _progress(step: Step, recipe: Recipe) -> tuple[int, int]:
    """Steps that are done, and all; of a budget, percent that is used."""
    if recipe.budget is None:
        return step.step + 1, recipe.taken
    return min(100, int(100 * step.metrics[USED])), 100


def _note(step: Step) -> list[str]:
    metrics = step.metrics
    parts = []
    if "score/mean" in metrics and "groups/zero_variance" in metrics:
        parts.append(f"score {metrics['score/mean']:.2f}")
        if metrics.get("reward/mean", metrics["score/mean"]) != metrics["score/mean"]:
            parts.append(f"reward {metrics['reward/mean']:.2f}")
    if "loss/nll" in metrics:
        parts.append(f"nll {metrics['loss/nll']:.3f}")
    return parts


def _show_rows(what: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Accuracies with their intervals, and pass@k for the largest k that was measured. In percent."""
    ks = {int(k) for row in rows.values() for k in row.get("pass_at", {})}
    passes = [str(k) for k in sorted({1, max(ks)})] if ks else []
    blind = list(dict.fromkeys(how for row in rows.values() for how in row.get("blind", {})))
    headers = {"truncated": "cut", "unparsed": "unread", "disagrees": "steps disagree", "unread": "steps unread"}
    rows = {name: {**row, **row.get("steps", {})} for name, row in rows.items()}
    shares = [name for name in headers if any(name in row for row in rows.values())]
    cells = [
        [
            name,
            _percents_of(row),
            *(_percents_of(row.get("blind", {}).get(how, {})) for how in blind),
            *(percents(row.get("pass_at", {}).get(k)) for k in passes),
            *(percents(row.get(key)) for key in shares),
            "-" if row.get("reply_tokens") is None else f"{row['reply_tokens']:.0f}",
            f"{row['n']:,}",
        ]
        for name, row in rows.items()
    ]
    screen = Screen()
    pass_at = [f"pass@{k}" for k in passes]
    screen.table(
        [
            what,
            "accuracy (95 %)",
            *(f"blind {how}" for how in blind),
            *pass_at,
            *(headers[key] for key in shares),
            "tokens",
            "n",
        ],
        cells,
    )
    covers = dict.fromkeys(row.get("covers", Covers.QUESTIONS) for row in rows.values())
    screen.say(f"in percent; intervals over {', or '.join(covers)}")


def _percents_of(row: Mapping[str, Any]) -> str:
    return percents(row.get("accuracy"), row.get("ci95", (None, None)))
