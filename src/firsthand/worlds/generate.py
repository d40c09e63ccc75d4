"""Items of a family, drawn by (family, split, seed, index) alone."""

import functools
import hashlib
import random
from pathlib import Path

from firsthand.records import SPLITS, Example, Picture, png, split_of
from firsthand.worlds.chart import CHART
from firsthand.worlds.digits import DIGITS
from firsthand.worlds.geometry import GEOMETRY
from firsthand.worlds.grid import COMPARE, COUNT, DESCRIBE, LOCATE
from firsthand.worlds.traces import expert_trace, plain_trace
from firsthand.worlds.world import Scene, World

WORLDS: dict[str, World] = {w.name: w for w in (COUNT, DIGITS, CHART, GEOMETRY, COMPARE, LOCATE, DESCRIBE)}
SMALL = Path(__file__).parent / "small"
"""Folder of the small VLM that ships with the package, in Hugging Face layout."""
_FEW = 500
"""Examples that are kept in memory once drawn, at most: about 5 MB (ours)."""


def scene(
    family: str, split: str, seed: int, index: int, *, level: str, shifted: bool = False
) -> tuple[Scene, random.Random]:
    """Draw scene `index` of a family's split, and the random source that continues it (for the questions).

    Scenes that belong to another split are drawn again, so splits never share one.
    """
    rng = random.Random(f"{family} {split} {seed} {index} {level} {shifted}")
    while True:
        drawn = WORLDS[family].draw(rng, level, shifted, split)
        if split_of(drawn.key) == split:
            return drawn, rng


def generate(
    family: str, split: str, number: int, *, seed: int = 0, level: str = "mixed", shifted: bool = False
) -> list[Example]:
    """Render `number` examples of one family, a key of `WORLDS`.

    `level` is `easy`, `hard`, or `mixed` (one of each in turn); `shifted` draws what training never shows. Raises
    ValueError for an unknown family, split or level.
    """
    choices = {"family": (family, WORLDS), "split": (split, SPLITS), "level": (level, ("easy", "hard", "mixed"))}
    for name, (got, known) in choices.items():
        if got not in known:
            raise ValueError(f"unknown {name} {got!r}; known: {', '.join(known)}")
    draw = _kept if number <= _FEW else _drawn
    return list(draw(family, split, number, seed, level, shifted))


def _drawn(family: str, split: str, number: int, seed: int, level: str, shifted: bool) -> tuple[Example, ...]:
    levels = ("easy", "hard") if level == "mixed" else (level, level)
    return tuple(_example(family, split, seed, index, levels[index % 2], shifted) for index in range(number))


# A study asks for the same ones for every arm and seed: 2 s each time for a thousand.
_kept = functools.lru_cache(maxsize=32)(_drawn)


def _example(family: str, split: str, seed: int, index: int, level: str, shifted: bool) -> Example:
    drawn, rng = scene(family, split, seed, index, level=level, shifted=shifted)
    question = WORLDS[family].ask(rng, drawn)
    return Example(
        question=question.text,
        images=(picture_of(drawn),),
        answer=question.answer,
        family=family,
        traces=(plain_trace(question), expert_trace(rng, question)),
        scene=drawn.caption,
        meta={"level": level, "split": split, "shifted": shifted},
    )


def picture_of(drawn: Scene) -> Picture:
    """The scene's picture as a record."""
    data = png(drawn.picture)
    return Picture(
        sha256=hashlib.sha256(data).hexdigest(), width=drawn.picture.width, height=drawn.picture.height, data=data
    )
