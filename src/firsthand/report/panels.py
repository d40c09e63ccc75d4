"""What an analysis hands to the page: a plot or a table, and the numbers behind it."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

Cell = str | int | float | None
"""None is not measured; an empty field of the CSV."""


@dataclass(frozen=True)
class AnalysisPanel:
    """One analysis: its picture, and its numbers as a table and as a CSV file."""

    name: str
    """Letters, digits and hyphens: the link to it is `#analysis-NAME`, its file NAME.csv."""
    title: str
    about: str
    """A sentence or two: what is shown, how it was measured, and which paper's claim it speaks to."""
    body: Markup
    """SVG or HTML whose every text was escaped; empty where the table says it all."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wide: bool = False
    """Whether it takes the whole width of the page."""

    @property
    def csv_uri(self) -> str:
        """The numbers as a file to download."""
        return "data:text/csv;charset=utf-8;base64," + base64.b64encode(_csv(self.columns, self.rows)).decode()


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bytes:
    """With a header. A text that a spreadsheet would run as a formula gets a quote in front."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([[_inert(cell) for cell in row] for row in (columns, *rows)])
    return file.getvalue().encode()


def _inert(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
