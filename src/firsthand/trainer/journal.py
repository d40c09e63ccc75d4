"""Last stage of a step: metrics.jsonl, rollouts.jsonl and its pictures; then whoever tracks the run is told."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Self, final

from firsthand.cost import USED
from firsthand.records import Rollout, Step, records_in
from firsthand.run import Run, journalled_steps
from firsthand.trainer.batch import Batch
from firsthand.trainer.tracked import is_shown, rollout_table
from firsthand.trainer.trackers import TrackedRun, Trackers, Tracking


@final
class Journal:
    """The journal of a run, from `step` on: what it held from there is superseded. A context manager.

    Trackers that do not have the earlier steps are told of them.
    """

    def __init__(self, run: Run, step: int, trackers: Trackers | None = None) -> None:
        """Without `trackers`, TensorBoard's files are written."""
        has_begun = bool(journalled_steps(run.folder))
        run.rewind(step)
        self._run = run
        tracked = TrackedRun(run.folder, "train", step, has_begun)
        self._steps: int = tracked.recipe.get("stop") or tracked.recipe["steps"]
        self._done = 0.0
        is_silent = not (self._steps or tracked.recipe.get("probe"))
        self._tracking = Tracking(tracked, {}) if is_silent else (trackers or Trackers()).open(tracked)
        first = self._tracking.next_step
        if first is not None and first < step:
            self._tell_again(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._tracking.close(is_complete=error is None)

    def steps(self) -> list[Step]:
        """The steps that are journalled."""
        return list(records_in(self._run.folder / "metrics.jsonl", Step))

    def write(self, record: Step, batch: Batch) -> None:
        """One training step. Its line of metrics.jsonl comes when all else is there."""
        told = [*((group, "") for group in batch.groups), *batch.left_out]
        self._run.keep_pictures(picture for group, _ in told for picture in group.example.images)
        rollouts = [
            Rollout(
                step=record.step,
                example_id=group.example.id,
                family=group.example.family,
                question=group.example.question,
                gold=group.example.answer.text,
                images=tuple(picture.sha256 for picture in group.example.images),
                group=group.replies,
                left_out=why,
            )
            for group, why in told
        ]
        self._run.append_step(record, rollouts)
        self._track(record, rollouts if self._is_shown(record) else [])

    def _is_shown(self, record: Step) -> bool:
        """Asked once for each step, in their order."""
        before, after = self._done, record.metrics.get(USED, (record.step + 1) / max(1, self._steps))
        self._done = after
        return record.trained and is_shown(before, after)

    def _track(self, record: Step, rollouts: Sequence[Rollout]) -> None:
        tables, trained_on = {}, [rollout for rollout in rollouts if not rollout.left_out]
        if trained_on:
            tables["rollouts"] = rollout_table(trained_on, self._run.folder / "images")
        seconds = {"seconds": record.seconds} if record.trained else {}
        self._tracking.log(record.step, record.metrics | seconds, tables)

    def _tell_again(self, first: int) -> None:
        records = self.steps()
        shown = {record.step for record in records if self._is_shown(record)}
        by_step = groupby(records_in(self._run.folder / "rollouts.jsonl", Rollout), attrgetter("step"))
        rollouts = {step: list(some) for step, some in by_step if step in shown}
        for record in records[first:]:
            self._track(record, rollouts.get(record.step, []))


@final
class SilentJournal:
    """That of a rank which writes none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def steps(self) -> list[Step]:
        """Rank 0 knows them."""
        return []

    def write(self, record: Step, batch: Batch) -> None:
        """Rank 0 does."""
