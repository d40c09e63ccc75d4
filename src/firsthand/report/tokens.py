"""What training changed of the tokens of replies, where a study measured it."""

from collections.abc import Iterable
from typing import NamedTuple

from firsthand.report.analyses.measured import token_changes
from firsthand.report.runs import RunRecords


class Moved(NamedTuple):
    """How much likelier each token of a reply became, from where a chain of trainings began to its end."""

    run: int
    """The place of that training in `Changes.names`."""
    pieces: tuple[str, ...]
    hundredths: tuple[int, ...]
    """Of nats of log-prob, one per token."""


class Changes:
    """The changes that are known, by the training (empty: any), the question and the text."""

    def __init__(self, runs: Iterable[RunRecords]) -> None:
        self.names: list[str] = []
        """The arms whose trainings they are of."""
        self._found: dict[tuple[str, str, str], Moved] = {}
        for run in {run.folder: run for run in runs}.values():
            self._read(run)

    def of(self, run: RunRecords, example_id: str, text: str) -> Moved | None:
        """Of that text, by the run's own training, else by another one; None where nobody has measured it."""
        return self._found.get((run.id, example_id, text)) or self._found.get(("", example_id, text))

    def _read(self, run: RunRecords) -> None:
        lines = token_changes(run).changes
        if lines:
            self.names.append(run.name)
        for line in lines:
            change = tuple(round(100 * (tuned - start)) for start, tuned in zip(line.start, line.tuned, strict=True))
            for training in (run.id, ""):
                found = Moved(len(self.names) - 1, line.pieces, change)
                self._found.setdefault((training, line.example_id, line.text), found)
