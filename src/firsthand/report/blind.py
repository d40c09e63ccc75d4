"""Beside every accuracy, what is left of it without the pictures, and how much of a gain survives so."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from firsthand.evaluation.joined import blind_of, seeing_of
from firsthand.evaluation.pairing import Both, surviving
from firsthand.report.arms import Arm
from firsthand.report.runs import comparable
from firsthand.stats import Estimate, ShareOfGain


class BlindCell(NamedTuple):
    """One arm, shown something else in place of each picture."""

    accuracy: Estimate | None
    share: ShareOfGain | None
    """Of its gain over the reference; None for the reference itself, and where the two share no question."""


BlindColumns = Mapping[str, Mapping[int, BlindCell]]
"""What was shown -> arm's index -> its cell."""


def seeing_titles(tables: Mapping[str, Sequence[Arm]]) -> dict[str, str]:
    """The title of a blind table -> that of the one that saw the same questions, where there is one."""
    first = {title: comparable(arms[0].runs[0]) for title, arms in tables.items() if title}
    found = {title: seeing_of(one, first) for title, one in first.items() if blind_of(one.settings)}
    return {title: seeing for title, seeing in found.items() if seeing is not None}


def blind_columns(tables: Mapping[str, Sequence[Arm]], title: str, base: Arm) -> BlindColumns:
    """What stands beside the accuracies of a table, by what the blind evaluations showed."""
    columns: dict[str, dict[int, BlindCell]] = {}
    for blind, seeing in seeing_titles(tables).items():
        if seeing == title:
            how = str(blind_of(comparable(tables[blind][0].runs[0]).settings))
            by_index = {arm.index: arm for arm in tables[blind]}
            columns[how] = {arm.index: _cell(arm, base, by_index) for arm in tables[title]}
    return columns


def _cell(arm: Arm, base: Arm, blind: Mapping[int, Arm]) -> BlindCell:
    other, first = blind.get(arm.index), blind.get(base.index)
    if other is None:
        return BlindCell(None, None)
    share = None if arm is base or first is None else surviving(_both(base, first), _both(arm, other))
    return BlindCell(other.accuracy, share)


def _both(seeing: Arm, blind: Arm) -> list[Both]:
    """The units of the runs of an arm that were evaluated both ways."""
    tables = [
        {run.who.run: [u for r in arm.runs if r.who.run == run.who.run for u in r.units] for run in arm.runs}
        for arm in (seeing, blind)
    ]
    return [(units, tables[1][run]) for run, units in tables[0].items() if run in tables[1]]
