"""What trackers show of a run besides its curves: a few replies with their pictures, and an evaluation's table.

All of it is bounded, however long a run is and however large its pictures are; the run directory has the whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from firsthand.errors import excerpt
from firsthand.records import Judged, Rollout, Score

SHOWN_STEPS = 20
"""Of replies in a run, and that of its last step (ours)."""
GROUPS, REPLIES, LONGEST = 4, 8, 1_000
"""Of a table: groups, replies of each, characters of each text (ours)."""
SIDE = 256
"""Pixels of a shown picture's longer side at most (ours)."""
ASKED = 16
"""Questions that an evaluation shows (ours)."""
_BESIDE = 4
"""Pictures of one question that are shown, side by side."""
_ASKED = ("question", "picture", "gold")
_RATES = ("accuracy", "n", "sampled_accuracy", "truncated", "unparsed", "reply_tokens")

TrackedCell = str | float | None | Image.Image


@dataclass(frozen=True)
class PictureTable:
    """A table whose cells may be pictures; rows about one question share the picture."""

    columns: tuple[str, ...]
    rows: tuple[tuple[TrackedCell, ...], ...]

    @property
    def pictures(self) -> tuple[Image.Image, ...]:
        """Each picture once, in the order of the rows."""
        found = {id(cell): cell for row in self.rows for cell in row if isinstance(cell, Image.Image)}
        return tuple(found.values())


def is_shown(before: float, after: float) -> bool:
    """Whether the replies of a step are shown: shares of the run that were done before and after it; 0 before any."""
    return before == 0 or int(SHOWN_STEPS * before) < int(SHOWN_STEPS * after)


def rollout_table(rollouts: Sequence[Rollout], images: Path) -> PictureTable:
    """The first groups of a step; `images` is the run's folder of pictures."""
    asked = ((rollout, _asked(rollout, images)) for rollout in rollouts[:GROUPS])
    rows = tuple(
        (*question, *_replied(judged), judged.reward, judged.advantage)
        for rollout, question in asked
        for judged in rollout.group[:REPLIES]
    )
    return PictureTable((*_ASKED, "reply", "score", "status", "why", "reward", "advantage"), rows)


def evaluation_tables(evaluation: Mapping[str, Any], scores: Sequence[Score], images: Path) -> dict[str, PictureTable]:
    """An evaluation's families, and some of its questions, evenly spaced, with the reply that counts."""
    rows = {**evaluation.get("families", {}), "all": evaluation}
    numbers = {name: evaluation_numbers(row) for name, row in rows.items()}
    columns = tuple(dict.fromkeys(key for row in numbers.values() for key in row))
    families = tuple((name, *(row.get(key) for key in columns)) for name, row in numbers.items())
    some = [scores[number * len(scores) // ASKED] for number in range(ASKED)] if len(scores) > ASKED else scores
    counted = ((score, score.greedy or next(iter(score.samples), None)) for score in some)
    replies = tuple((*_asked(score, images), *_replied(judged)) for score, judged in counted if judged is not None)
    return {
        "families": PictureTable(("family", *columns), families),
        "replies": PictureTable((*_ASKED, "reply", "score", "status", "why"), replies),
    }


def evaluation_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation, or of a family's row in it, that were measured."""
    low, high = row.get("ci95", (None, None))
    passes = {f"pass@{k}": value for k, value in row.get("pass_at", {}).items()}
    found = {**{key: row.get(key) for key in _RATES}, "low": low, "high": high, **passes}
    return {key: value for key, value in found.items() if value is not None}


def _asked(question: Rollout | Score, images: Path) -> tuple[TrackedCell, ...]:
    picture = _side_by_side([images / f"{sha256}.png" for sha256 in question.images[:_BESIDE]])
    return excerpt(question.question, LONGEST), picture, excerpt(question.gold, LONGEST)


def _replied(judged: Judged) -> tuple[TrackedCell, ...]:
    verdict = judged.verdict
    return excerpt(judged.reply.text, LONGEST), verdict.score, str(verdict.status), verdict.why


def _side_by_side(paths: Iterable[Path]) -> Image.Image | None:
    """The pictures in one, each made smaller; None without any."""
    shown = [_small(path) for path in paths]
    if len(shown) < 2:
        return shown[0] if shown else None
    sheet = Image.new(
        "RGB", (sum(picture.width for picture in shown), max(picture.height for picture in shown)), "white"
    )
    left = 0
    for picture in shown:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def _small(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    return small
