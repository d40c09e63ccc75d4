"""Where weights went: how far from where training began, and how far the arms of a study from each other.

SRFT (arXiv:2506.19767) draws models by their distances from reference models, in log-probs; these are of
weights.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from firsthand.findings import DISTANCES_FILE, Distances
from firsthand.policy.stored import Stored, stored_tensors
from firsthand.run import Run, recipe_of
from firsthand.study.plan import Study
from firsthand.study.results import ArmRuns

_BLOCK = 2**22
"""Numbers of each model that are compared at once; so many doubles of all of them are held."""
_ROWS = 2**24
"""Numbers that are compared at once: three doubles of each are held, 384 MiB."""


@cache
def relative_distance(start: Path, end: Path) -> float:
    """||end - start|| / ||start|| over all weights that both folders have, in double precision.

    Read tensor by tensor. Raises DataError where a file cannot be read.
    """
    before, after = stored_tensors(start), stored_tensors(end)
    moved = size = 0.0
    for name in sorted(before.keys() & after.keys()):
        squares = _squares(before[name], after[name])
        moved, size = moved + squares[0], size + squares[1]
    return math.sqrt(moved / size)


def _squares(before: Stored, after: Stored) -> tuple[float, float]:
    """The sums of squares of a tensor's difference, and of what it was."""
    moved = size = 0.0
    for old, new in zip(before[...].flatten().split(_ROWS), after[...].flatten().split(_ROWS), strict=True):
        old, new = old.double(), new.double()
        moved += float((new - old).square().sum())
        size += float(old.square().sum())
    return moved, size


def measure_distances(study: Study, root: Path, runs: Mapping[str, ArmRuns], seed: int) -> Path | None:
    """A run of its own, `distances-s<seed>-<id>/distances.json`, of the trained arms that began with one model.

    That is the model that the first trained arm began with. None where fewer than two arms did. Raises DataError when
    weights cannot be read.
    """
    first = {arm: study.recipe_from_scratch(arm, seed).model_folder() for arm in runs if study.is_trained(arm)}
    folder = next(iter(first.values()), None)
    arms = [arm for arm, start in first.items() if start == folder]
    if folder is None or len(arms) < 2:
        return None
    recipe = {"name": "distances", "distances_of": {arm: recipe_of(runs[arm].training).get("id") for arm in arms}}
    with Run.open(root, "distances", seed, recipe) as run:
        if not run.is_done:
            origin = next((arm for arm in runs if not study.is_trained(arm)), "start")
            starts = [None, *(_start(study, arm, origin) for arm in arms)]
            folders = [folder, *(runs[arm].training / "model" for arm in arms)]
            run.write_json(DISTANCES_FILE, distances([origin, *arms], starts, folders).model_dump(mode="json"))
            run.finish()
        return run.folder


def _start(study: Study, arm: str, origin: str) -> str:
    return next((name for name in study.starts(arm) if study.is_trained(name)), origin)


def distances(names: Sequence[str], starts: Sequence[str | None], folders: Sequence[Path]) -> Distances:
    """Of weights that all folders have in one shape, in double precision; the first folder is where all began.

    From the products of all differences from it: ||a - b||^2 = aa + bb - 2 ab.
    """
    tensors = [stored_tensors(folder) for folder in folders]
    shared = [name for name in tensors[0] if all(_alike(tensors[0][name], some.get(name)) for some in tensors)]
    size, products_MM = 0.0, torch.zeros(len(folders), len(folders), dtype=torch.float64)
    for name in shared:
        first, *others = (some[name][...].flatten() for some in tensors)
        for start in range(0, len(first), _BLOCK):
            origin = first[start : start + _BLOCK].double()
            moved_MN = torch.stack(
                [torch.zeros_like(origin), *(o[start : start + _BLOCK].double() - origin for o in others)]
            )
            products_MM += moved_MN @ moved_MN.T
            size += float(origin.square().sum())
    return Distances(
        names=tuple(names),
        starts=tuple(starts),
        relative=tuple(tuple(row) for row in _distances(products_MM, math.sqrt(size)).tolist()),
        cosines=_cosines(products_MM),
    )


def _alike(one: Stored, other: Stored | None) -> bool:
    return other is not None and one.dtype is not None and one.shape == other.shape


def _distances(products_MM: Tensor, size: float) -> Tensor:
    own_M = products_MM.diagonal()
    return (own_M[:, None] + own_M[None, :] - 2 * products_MM).clamp(min=0).sqrt() / size


def _cosines(products_MM: Tensor) -> tuple[tuple[float | None, ...], ...]:
    norms = products_MM.diagonal().sqrt().tolist()
    return tuple(
        tuple(float(p) / (a * b) if a and b else None for p, b in zip(row, norms, strict=True))
        for row, a in zip(products_MM, norms, strict=True)
    )
