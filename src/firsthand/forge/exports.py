"""The same data set in the formats of others, for those who train elsewhere.

OUT/trl/{sft,rl}/*.parquet    TRL's conversational vision format: prompt, completion, images, solution, and for our
                              rewards kind, choices, aliases, tolerance, size, coordinates, environment, task and entry
OUT/vlaa/{sft,rl}.json        the released files of VLAA-Thinking, with pictures below OUT/vlaa/images

"""

import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from firsthand.answers.asking import content_parts
from firsthand.answers.ground_truth import columns_beside
from firsthand.batched import batched
from firsthand.data.store import IMAGES_TYPE, encoded_picture
from firsthand.data.vlaa import write_vlaa
from firsthand.files import sync_tree
from firsthand.forge.config import EXPORTS, Export
from firsthand.forge.draft import DATA_PARTS, DataPart
from firsthand.forge.shards import StepShards
from firsthand.records import Choice, Example, Letters

_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_PART))]))
_TRL = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", _MESSAGES),
        ("completion", _MESSAGES),
        ("images", IMAGES_TYPE),
        ("solution", pa.string()),
        ("kind", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("aliases", pa.list_(pa.string())),
        ("tolerance", pa.float64()),
        ("size", pa.list_(pa.int64())),
        ("coordinates", pa.string()),
        ("environment", pa.string()),
        ("task", pa.string()),
        ("entry", pa.string()),
    ]
)


def write_exports(shards: StepShards, out: Path, exports: Sequence[Export]) -> None:
    """Write the rows that the last step kept, in place of earlier exports; those that are not asked for go."""
    for export in EXPORTS:
        shutil.rmtree(out / export, ignore_errors=True)
    for export in exports:
        for part in DATA_PARTS:
            examples = (draft.finished() for draft in chain.from_iterable(shards.kept(part=part)))
            if export == "trl":
                _write_trl(examples, out / "trl" / part, part)
            else:
                (out / "vlaa").mkdir(exist_ok=True)
                write_vlaa(examples, out / "vlaa" / f"{part}.json", part)
        sync_tree(out / export)


def _write_trl(examples: Iterable[Example], folder: Path, part: DataPart) -> None:
    folder.mkdir(parents=True)
    with pa.parquet.ParquetWriter(folder / "part-00000.parquet", _TRL) as writer:
        for batch in batched(examples, 200):
            writer.write_table(pa.Table.from_pylist([_trl_row(e, part) for e in batch], schema=_TRL))


def _trl_row(example: Example, part: DataPart) -> dict[str, Any]:
    """Questions to explore have no completion: their demonstration must not be imitated."""
    said = [{"type": "text", "text": example.traces[0].text}] if part == "sft" else []
    return {
        "id": example.id,
        "prompt": [{"role": "user", "content": content_parts(example)}],
        "completion": [{"role": "assistant", "content": said}] if said else None,
        "images": [{"bytes": encoded_picture(picture, example.id), "path": None} for picture in example.images],
        "solution": example.answer.text,
        "kind": example.answer.kind,
        "choices": list(example.answer.options) if isinstance(example.answer, Choice | Letters) else None,
        **columns_beside(example.answer),
    }
