"""One source of a forge, as a YAML file names it: where its rows are, what they mean, what may be done with them.

A preset is a set of values under the ones that are given: `preset: arxivqa` fills in the columns, the kind and the
origin of that data set as VLAA-Thinking used it (arXiv:2504.11468, table 1 and figure 4). A recipe's data, `evaluate`
and `reward` read a file as a source too.
"""

import logging
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from firsthand.config import merge, nearest
from firsthand.data.formats import Format
from firsthand.data.plain_columns import PLAIN_COLUMNS
from firsthand.data.presets import SOURCE_PRESETS
from firsthand.records import GrownRecord, Kind

_LOG = logging.getLogger(__name__)


class Source(GrownRecord):
    """Rows of a user's, or of a published data set, on their way into the forge."""

    _later = frozenset(("otherwise", "max_picture_pixels"))
    path: str
    """A .jsonl, .json, .parquet or .tsv file, a folder in the Hub's layout, or FOLDER:SPLIT."""
    name: str = Field(default="", pattern=r"^[\w.+-]*$")
    """In tables, quotas and provenance; empty takes the preset's, or else the file's."""
    preset: str | None = None
    """Values for a published data set; what is given beside it wins."""
    format: Format = "auto"
    """`auto` goes by the file's ending and each row's columns; another one is for files with another ending."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our column -> theirs; a dotted path reaches into lists, objects and text that holds one: `meta.rationale`."""
    images: str | None = None
    """The folder that image paths start from and must stay in; None is the data file's."""
    kind: Kind | None = None
    """Of rows that name no kind of their own; None infers it where one reading is possible."""
    otherwise: Kind | None = None
    """Of rows whose kind is neither named nor beyond doubt; None refuses them."""
    license: str = "unknown"
    origin: str = ""
    """Where the data comes from: a Hub name or an address."""
    limit: int | None = Field(default=None, gt=0)
    """Rows to read, counted before any is refused; None reads all."""
    max_picture_pixels: int | None = Field(default=None, gt=0)
    """Larger pictures are refused; None is the default of `data.PictureLimits`."""
    caption: bool | str = True
    """True: a teacher captions the pictures. False: nobody does. A name: that column holds the caption."""
    side: str = ""
    """What the reasoner is told besides: a column, or a template such as `Objects: {meta.rationale}`."""
    distill: bool = True
    """False: the rows' own demonstrations are taken, and no reasoner is asked."""
    part: Literal["both", "rl"] = "both"
    """`rl` keeps the source out of the set that is imitated."""
    only: dict[str, str] = Field(default_factory=dict)
    """Column -> what its text must start with; other rows are not of this source."""
    normalise: bool = False
    """Take off what stands around the gold answer: `Answer:`, \\boxed{}, \\[ \\], `Output 4:`."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, given: Any) -> Any:
        """What a preset says, and a name, under what is given; keys have today's names."""
        if not isinstance(given, dict) or not isinstance(given.get("path"), str):
            return given
        if "tidy" in given:
            if "normalise" in given:
                raise ValueError("tidy is now normalise, and both are given; leave tidy out")
            _LOG.warning("%s: tidy is now normalise; the old name is read for one more version", given["path"])
            given = {"normalise" if key == "tidy" else key: value for key, value in given.items()}
        preset = given.get("preset")
        if preset is None:
            return {"name": Path(given["path"].rpartition(":")[0] or given["path"]).stem, **given}
        if preset not in SOURCE_PRESETS:
            raise ValueError(f"preset: unknown preset {preset!r}; {nearest(str(preset), SOURCE_PRESETS)}")
        return merge({"name": preset, **SOURCE_PRESETS[preset]}, given)

    @field_validator("fields")
    @classmethod
    def _known_targets(cls, fields: dict[str, str]) -> dict[str, str]:
        return known_targets(fields)


def known_targets(fields: dict[str, str]) -> dict[str, str]:
    """A map of columns that starts from ours. Raises ValueError naming the nearest."""
    known = (*PLAIN_COLUMNS, "messages")
    for name in fields:
        if name not in known:
            raise ValueError(f"unknown column {name!r}; {nearest(name, known)}")
    return fields
