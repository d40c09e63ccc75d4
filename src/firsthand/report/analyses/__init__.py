"""The analyses of the papers, each a plot with its data.

evidence.py    what all start from: arms, the untrained one, the chain of starts
tally.py       replies, counted
reflection.py  expressions of doubt
length.py      length, reward and accuracy
passes.py      pass@k: does training only sharpen?
race.py        time, tokens and operations to the same score

Each has pure functions from records to rows, and a `panel`, which is None where its data are not there.
"""

from collections.abc import Callable, Iterable, Sequence

from firsthand.report.analyses import length, passes, race, reflection
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tally import EXPRESSIONS, Expressions
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel
from firsthand.report.results import StudyResults

_ALL: tuple[Callable[[Evidence], AnalysisPanel | None], ...] = (
    passes.panel,
    length.panel,
    reflection.panel,
    race.panel,
)


def panels(
    arms: Sequence[Arm], results: StudyResults | None, expressions: Iterable[str] = EXPRESSIONS
) -> list[AnalysisPanel]:
    """Every analysis that these arms allow, in the page's order; `arms` are each there once, with all their runs."""
    evidence = Evidence(arms, Expressions(expressions))
    return [panel for make in _ALL if (panel := make(evidence)) is not None]
