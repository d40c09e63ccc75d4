"""Which tokens does training move? Log-probs before and after on the same replies, in a histogram and as colour.

SRFT (arXiv:2506.19767): SFT moves nearly all tokens, RL few of them.
"""

from collections.abc import Iterator, Sequence
from math import exp

import numpy as np
from markupsafe import Markup

from firsthand.findings import TokenChange
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.measured import token_changes
from firsthand.report.arms import Arm
from firsthand.report.charts import key
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, figure, legend_of, plots, step_chart

EDGES = tuple(0.5 * i - 6.25 for i in range(26))
"""Of the histogram, in nats; what lies beyond is in the outermost bins."""
LEVELS = (0.1, 0.5, 1.0, 3.0)
"""Nats from which on a token is coloured, each stronger than the last."""
WRITERS = {"tuned": "its own replies", "start": "the untrained model's replies"}
_SHOWN = 3
"""Coloured replies of each writer for an arm."""


def moved(changes: Sequence[TokenChange], by: str) -> list[float]:
    """How much likelier training made each token of the replies that one model wrote, in nats."""
    return [after - before for c in changes if c.by == by for before, after in zip(c.start, c.tuned, strict=True)]


def histogram(values: Sequence[float]) -> list[int]:
    """Tokens between the `EDGES`."""
    inside = np.clip(values, EDGES[0], EDGES[-1])
    return [int(count) for count in np.histogram(inside, EDGES)[0]]


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no study measured token probabilities."""
    read = {arm.index: [token_changes(run) for run in arm.runs] for arm in evidence.arms}
    found = {index: [change for one in some for change in one.changes] for index, some in read.items()}
    arms = [arm for arm in evidence.arms if found[arm.index]]
    if not arms:
        return None
    unread = sum(one.unread for some in read.values() for one in some)
    said = [_said(arm.name, found[arm.index]) for arm in arms]
    texts = Markup().join(_coloured(arm, found[arm.index]) for arm in arms)
    return AnalysisPanel(
        name="token-probabilities",
        title="What training did to each token",
        about=(
            "The same greedy replies under the model before all training and after it. SRFT (arXiv:2506.19767) reports "
            "that SFT moves nearly all tokens and RL a few. Tokens with a line above became likelier, those "
            "with one below less likely, the stronger the more; point at one for its probabilities."
        ),
        body=plots(_figures(arms, found), [*said, *_unread(unread)]) + texts,
        columns=("arm", "replies", "nats from", "to", "tokens", "share"),
        rows=tuple(row for arm in arms for by in WRITERS for row in _rows(arm.name, by, moved(found[arm.index], by))),
        wide=True,
    )


def _unread(lines: int) -> list[str]:
    return [f"Lines of tokens.jsonl that cannot be read, left out: {lines}."] if lines else []


def _rows(arm: str, by: str, values: Sequence[float]) -> Iterator[tuple[Cell, ...]]:
    for count, low, high in zip(histogram(values), EDGES, EDGES[1:], strict=False):
        if values:
            yield arm, WRITERS[by], low, high, count, count / len(values)


def _said(arm: str, changes: Sequence[TokenChange]) -> str:
    parts = []
    for by, words in WRITERS.items():
        if values := moved(changes, by):
            parts.append(
                f"{sum(abs(value) > 1 for value in values) / len(values):.0%} of the {len(values):,} tokens of {words}"
            )
    return f"{arm} moved {' and '.join(parts)} by more than one nat.".replace("%", "\u00a0%")


def _figures(arms: Sequence[Arm], found: dict[int, list[TokenChange]]) -> Iterator[Markup]:
    for by, words in WRITERS.items():
        series = [
            Series(arm.index, arm.name, tuple(XY(i, count / len(values)) for i, count in enumerate(histogram(values))))
            for arm in arms
            if (values := moved(found[arm.index], by))
        ]
        if series:
            svg = step_chart(f"Tokens of {words}", "change of the log-prob (nats)", "share of tokens", EDGES, series)
            yield figure(
                f"Tokens of {words}", svg, legend_of(series), "Bins of half a nat; what lies beyond is in the outermost"
            )


def _coloured(arm: Arm, changes: Sequence[TokenChange]) -> Markup:
    """Of the first questions, the replies of both writers."""
    shown = [change for by in WRITERS for change in [c for c in changes if c.by == by][:_SHOWN]]
    return Markup('<details class="coloured"><summary>{} {}: replies, token by token</summary>{}</details>').format(
        key(arm.index), arm.name, Markup().join(map(_reply, shown))
    )


def _reply(change: TokenChange) -> Markup:
    outcome = "not measured" if change.score is None else f"score {change.score:g}"
    tokens = zip(change.pieces, change.start, change.tuned, strict=True)
    return Markup(
        '<p class="about">{} <span class="muted">(gold {}; {}, {})</span></p><pre class="text">{}</pre>'
    ).format(
        change.question,
        change.gold,
        "by the tuned model" if change.by == "tuned" else "by the untrained model",
        outcome,
        Markup().join(_token(*token) for token in tokens),
    )


def _token(piece: str, before: float, after: float) -> Markup:
    level = sum(abs(after - before) >= least for least in LEVELS)
    text = piece or "∎"
    if not level:
        return Markup("{}").format(text)
    words = f"probability {exp(before):.3g} before, {exp(after):.3g} after"
    way = "likelier" if after > before else "rarer"
    return Markup('<span class="{} by{}" title="{}">{}</span>').format(way, level, words, text)
