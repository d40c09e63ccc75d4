"""Where did the weights go? A map of the arms by the distances of their weights, and the angles of their ways.

SRFT (arXiv:2506.19767) draws training as ways through the space of models: SFT goes far, RL stays near.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from firsthand.findings import Distances
from firsthand.report.analyses.evidence import Evidence
from firsthand.report.analyses.measured import weight_distances
from firsthand.report.panels import AnalysisPanel, Cell
from firsthand.report.plots import XY, Series, Tile, figure, legend_of, plots, tile_chart, xy_chart

_ASPECT = 292 / 158
"""Of a chart's plotting area: a step to the right is as far as one up."""


def scaled(distances_MM: Sequence[Sequence[float]]) -> tuple[NDArray[np.float64], float]:
    """Places [M, 2] whose distances are as near to these as a plane allows (Torgerson 1952), and the share kept.

    The first one is at the origin. The share is that of the two largest eigenvalues among the positive ones.
    """
    squares_MM = np.square(np.asarray(distances_MM, dtype=np.float64))
    centred_MM = squares_MM - squares_MM.mean(axis=0) - squares_MM.mean(axis=1)[:, None] + squares_MM.mean()
    values_M, vectors_MM = np.linalg.eigh(-centred_MM / 2)
    kept = np.argsort(values_M)[::-1][:2]
    places_M2 = vectors_MM[:, kept] * np.sqrt(np.clip(values_M[kept], 0, None))
    places_M2 = places_M2 - places_M2[0]
    signs = np.where(places_M2.sum(axis=0) < 0, -1.0, 1.0)
    total = np.clip(values_M, 0, None).sum()
    share = float(np.clip(values_M[kept], 0, None).sum() / total) if total else 1.0
    return places_M2 * signs, share


def panel(evidence: Evidence) -> AnalysisPanel | None:
    """None where no study measured distances."""
    found = weight_distances(evidence)
    if found is None:
        return None
    return AnalysisPanel(
        name="weights",
        title="Where the weights went",
        about=(
            "Distances between the weights of the arms, over the norm of the weights that all began with. A line leads "
            "from what an arm started from to where it ended. Of ways that have a cosine of 0 neither undoes nor "
            "repeats the other. SRFT (arXiv:2506.19767) reports that SFT goes far and RL stays near."
        ),
        body=plots(_figures(evidence, found)),
        columns=("model", "other", "distance", "cosine of the ways"),
        rows=tuple(_rows(found)),
        wide=True,
    )


def _rows(found: Distances) -> Iterator[tuple[Cell, ...]]:
    for i, name in enumerate(found.names):
        for j in range(i):
            yield name, found.names[j], found.relative[i][j], found.cosines[i][j]


def _figures(evidence: Evidence, found: Distances) -> Iterator[Markup]:
    places_M2, share = scaled(found.relative)
    indices = {arm.name: arm.index for arm in evidence.arms}
    series = [
        Series(indices.get(name, i), name, _way(i, found, places_M2), f"{found.relative[i][0]:.2%} away" if i else "")
        for i, name in enumerate(found.names)
    ]
    x_range, y_range = _even(100 * places_M2)
    svg = xy_chart("Map of the weights", "% of the norm", "%", series, x_range=x_range, y_range=y_range)
    note = f"The plane holds {share:.0%} of the squared distances; one step is as long in every direction"
    yield figure("A map", svg, legend_of(series), note)
    moved = [i for i, row in enumerate(found.cosines) if row[i] is not None]
    grid = [(found.names[i], [_tile(found, i, j) for j in moved]) for i in moved]
    svg = tile_chart("Cosines of the ways", grid, [found.names[j] for j in moved])
    yield figure("Do they go the same way?", svg, note=f"Cosine between the ways from {found.names[0]}")


def _way(i: int, found: Distances, places_M2: NDArray[np.float64]) -> tuple[XY, ...]:
    start = found.starts[i]
    on_the_way = [found.names.index(start)] if start in found.names else []
    return tuple(
        XY(100 * float(places_M2[at, 0]), 100 * float(places_M2[at, 1]), words=found.names[at])
        for at in (*on_the_way, i)
    )


def _even(places_M2: NDArray[np.float64]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges that hold the places, with one scale in both directions."""
    low, high = places_M2.min(axis=0), places_M2.max(axis=0)
    middle, tall = (low + high) / 2, 1.15 * max((high[0] - low[0]) / _ASPECT, high[1] - low[1], 1e-9)
    wide = tall * _ASPECT
    return (
        (float(middle[0] - wide / 2), float(middle[0] + wide / 2)),
        (float(middle[1] - tall / 2), float(middle[1] + tall / 2)),
    )


def _tile(found: Distances, i: int, j: int) -> Tile:
    cosine = found.cosines[i][j]
    if cosine is None or i == j:
        return Tile(None, "")
    text = f"{cosine + 0:.2f}".replace("-0.00", "0.00").replace("-", "−")
    return Tile(cosine, text, f"{found.names[i]} and {found.names[j]}: {text}")
