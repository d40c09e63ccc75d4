"""The analyses of the papers, each a plot with its data.

evidence.py    what all start from: arms, the untrained one, the chain of starts
tally.py       replies, counted
reflection.py  expressions of doubt
length.py      length, reward and accuracy
passes.py      pass@k: does training only sharpen?
race.py        time, tokens and operations to the same score
families.py    the score of each family over training
exploration.py entropy, KL and clipping; warm starts
transfer.py    same task, other task
difficulty.py  filtered by difficulty, beside RL
scale.py       how many demonstrations
prediction.py  what foretells the result of RL
reasoning.py   reasoning and answer
probabilities.py  which tokens training moved
weights.py     where the weights went; both from what measured.py finds
tenths.py      a measurement over training

Each has pure functions from records to rows, and a `panel`, which is None where its data are not there.
"""

from collections.abc import Callable, Iterable, Sequence

from firsthand.report.analyses import (
    difficulty,
    exploration,
    families,
    length,
    passes,
    prediction,
    probabilities,
    race,
    reasoning,
    reflection,
    scale,
    transfer,
    weights,
)
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.tally import EXPRESSIONS, Expressions
from firsthand.report.arms import Arm
from firsthand.report.panels import AnalysisPanel
from firsthand.report.results import StudyResults

_ALL: tuple[Callable[[Evidence], AnalysisPanel | None], ...] = (
    passes.panel,
    transfer.panel,
    scale.panel,
    difficulty.panel,
    prediction.panel,
    length.panel,
    reflection.panel,
    race.panel,
    exploration.panel,
    families.panel,
    reasoning.panel,
    probabilities.panel,
    weights.panel,
)


def panels(
    arms: Sequence[Arm],
    results: StudyResults | None,
    expressions: Iterable[str] = EXPRESSIONS,
    everywhere: Sequence[Arm] = (),
) -> list[AnalysisPanel]:
    """Every analysis that these arms allow, in the page's order; `arms` are each there once, with all their runs, and
    `everywhere` once for each evaluation."""
    evidence = Evidence(arms, Expressions(expressions), everywhere)
    return [panel for make in _ALL if (panel := make(evidence)) is not None]
