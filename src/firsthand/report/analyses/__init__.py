"""The analyses of the papers, each a plot with its data."""

from collections.abc import Sequence

from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel
from firsthand.report.results import StudyResults


def panels(arms: Sequence[Arm], results: StudyResults | None) -> list[AnalysisPanel]:
    """Every analysis that these arms allow, in the page's order; `arms` are each there once, with all their runs."""
    return []
