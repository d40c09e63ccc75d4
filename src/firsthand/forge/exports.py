"""The same data set in the formats of others, for those who train elsewhere.

    OUT/trl/{sft,rl}/*.parquet    TRL's conversational vision format: prompt, completion, images, solution
    OUT/vlaa/{sft,rl}.json        the released files of VLAA-Thinking, with pictures below OUT/vlaa/images

Made from OUT/sft and OUT/rl alone.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from firsthand.batched import batched
from firsthand.data import load_examples
from firsthand.data.vlaa import write_vlaa
from firsthand.forge.config import View
from firsthand.records import IMAGE_MARK, Example

_PART = pa.struct([("type", pa.string()), ("text", pa.string())])
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_PART))]))
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_TRL = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", _MESSAGES),
        ("completion", _MESSAGES),
        ("images", _IMAGES),
        ("solution", pa.string()),
        ("kind", pa.string()),
    ]
)


def write_views(out: Path, views: Sequence[View]) -> None:
    """Write the views of a finished data set, in place of earlier ones; views that are not asked for go."""
    for view in ("trl", "vlaa"):
        shutil.rmtree(out / view, ignore_errors=True)
    for view in views:
        for part in ("sft", "rl"):
            if view == "trl":
                _write_trl(_rows(out / part), out / "trl" / part, part)
            else:
                (out / "vlaa").mkdir(exist_ok=True)
                write_vlaa(_rows(out / part), out / "vlaa" / f"{part}.json", "sft" if part == "sft" else "rl")


def _rows(folder: Path) -> Iterator[Example]:
    """The rows of a part, one file of it in memory at a time."""
    for file in sorted(folder.glob("*.parquet")):
        if pa.parquet.read_metadata(file).num_rows:
            yield from load_examples(str(file))


def _write_trl(examples: Iterable[Example], folder: Path, part: str) -> None:
    folder.mkdir(parents=True)
    with pa.parquet.ParquetWriter(folder / "part-00000.parquet", _TRL) as writer:
        for batch in batched(examples, 200):
            writer.write_table(pa.Table.from_pylist([_trl_row(e, part) for e in batch], schema=_TRL))


def _trl_row(example: Example, part: str) -> dict[str, Any]:
    """Questions to explore have no completion: their demonstration must not be imitated."""
    said = [{"type": "text", "text": example.traces[0].text}] if part == "sft" else []
    return {
        "id": example.id,
        "prompt": [{"role": "user", "content": _parts(example)}],
        "completion": [{"role": "assistant", "content": said}] if said else None,
        "images": [{"bytes": picture.encoded(), "path": None} for picture in example.images],
        "solution": example.answer.text,
        "kind": example.answer.kind,
    }


def _parts(example: Example) -> list[dict[str, str]]:
    """The question as message parts; pictures stand where it marks them, or else in front."""
    if IMAGE_MARK not in example.question:
        return [*({"type": "image"} for _ in example.images), {"type": "text", "text": example.question}]
    parts: list[dict[str, str]] = []
    for i, text in enumerate(example.question.split(IMAGE_MARK)):
        parts += [{"type": "image"}] if i else []
        parts += [{"type": "text", "text": text}] if text else []
    return parts
