"""Last stage of a step: metrics.jsonl, rollouts.jsonl, its pictures, and TensorBoard's files."""

from firsthand.records import Rollout, Step
from firsthand.run import Run
from firsthand.trainer.batch import Batch


class Journal:
    """The journal of a run, from `step` on: what it held from there is superseded. Close it at the end."""

    def __init__(self, run: Run, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        run.rewind(step)
        self._run = run
        self._board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step)
        self.close = self._board.close

    def steps(self) -> list[Step]:
        """The steps that are journalled."""
        metrics = self._run.folder / "metrics.jsonl"
        return [Step.model_validate_json(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []

    def write(self, record: Step, batch: Batch) -> None:
        """One training step. Its line of metrics.jsonl comes when all else is there."""
        self._run.keep_pictures(picture for group in batch.groups for picture in group.example.images)
        rollouts = [
            Rollout(
                step=record.step,
                example_id=group.example.id,
                family=group.example.family,
                question=group.example.question,
                gold=group.example.answer.text,
                images=tuple(picture.sha256 for picture in group.example.images),
                group=group.replies,
            )
            for group in batch.groups
        ]
        self._run.append_step(record, rollouts)
        for name, value in record.metrics.items():
            self._board.add_scalar(name, value, record.step)
