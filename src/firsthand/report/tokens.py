"""What training changed of the tokens of replies: tokens.jsonl of the runs `tokens-ARM-...` beside the others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from firsthand.findings import TOKENS_FILE, TokenChange
from firsthand.report.runs import RunRecords
from firsthand.run import recipe_of


class Moved(NamedTuple):
    """How much likelier each token of a reply became, from where a training began to its end."""

    run: int
    """The place of that training in `Changes.names`."""
    pieces: tuple[str, ...]
    hundredths: tuple[int, ...]
    """Of nats of log-prob, one per token."""


class Changes:
    """The changes that are known, by the training (empty: any), the question and the text."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """The arms whose trainings they are of."""
        self._found: dict[tuple[str, str, str], Moved] = {}

    @classmethod
    def beside(cls, runs: Sequence[Path]) -> "Changes":
        """Those that were measured in the folders that hold these runs."""
        changes = cls()
        for root in dict.fromkeys(run.parent for run in runs):
            for path in sorted(root.glob(f"tokens-*/{TOKENS_FILE}")):
                changes._read(path)
        return changes

    def of(self, run: RunRecords, example_id: str, text: str) -> Moved | None:
        """Of that text, by the run's own training, else by another one; None where nobody has measured it."""
        return self._found.get((run.id, example_id, text)) or self._found.get(("", example_id, text))

    def _read(self, path: Path) -> None:
        recipe = recipe_of(path.parent)
        self.names.append(str(recipe.get("name", path.parent.name)))
        for line in _token_changes(path):
            change = tuple(round(100 * (tuned - start)) for start, tuned in zip(line.start, line.tuned, strict=True))
            found = Moved(len(self.names) - 1, line.pieces, change)
            for training in (str(recipe.get("tokens_of")), ""):
                self._found.setdefault((training, line.example_id, line.text), found)


def _token_changes(path: Path) -> Iterator[TokenChange]:
    """The lines that are whole; a run that was killed leaves half a one."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield TokenChange.model_validate_json(line)
            except ValidationError:
                continue
