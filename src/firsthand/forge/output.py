"""The data set that a forge ends in.

    OUT/sft/, OUT/rl/     Parquet with pictures inside, as `write_examples` writes it; `datasets` opens it
    OUT/dropped/          what was left out, with `step`, `reason` and `detail`
    OUT/funnel.json       counts: per step, reason and source
    OUT/README.md         the data set's card

Everything here is a function of the steps' results alone: no time, no machine, no order of arrival. Two forges that
decided the same have the same bytes.
"""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from firsthand.forge.card import card
from firsthand.forge.config import ForgeConfig
from firsthand.forge.intake import batches
from firsthand.forge.parts import Parts
from firsthand.forge.step import STEP_NAMES, Decision, Dropped, Kept, notes, source_of
from firsthand.records import Example
from firsthand.run import write_atomically
from firsthand.sources import write_examples
from firsthand.sources.stream import Refused

SHARD = 4_000
"""Rows of one file."""
PRODUCTS = ("sft", "rl", "dropped")

_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_TEXTS = ("step", "reason", "detail", "source", "id", "question", "answer", "row")
_DROPPED = pa.schema([*((name, pa.string()) for name in _TEXTS), ("images", _IMAGES)])


def write_data_set(config: ForgeConfig, found: Mapping[str, Parts], out: Path) -> dict[str, Any]:
    """Write everything, in place of what was there; the content of funnel.json.

    A kill leaves the earlier data set, or the new one without its funnel.json, which is then written again.
    """
    fresh = out / ".work" / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    for part in ("sft", "rl"):
        _write_shards((e for e in _kept(found["split"]) if notes(e)["part"] == part), fresh / part)
    _write_dropped(found, fresh / "dropped")
    funnel = count(config.name, found)
    (out / "funnel.json").unlink(missing_ok=True)
    for name in PRODUCTS:
        shutil.rmtree(out / name, ignore_errors=True)
        (fresh / name).replace(out / name)
    write_atomically(out / "README.md", card(config, funnel))
    write_atomically(out / "funnel.json", json.dumps(funnel, indent=2, ensure_ascii=False) + "\n")
    return funnel


def count(name: str, found: Mapping[str, Parts]) -> dict[str, Any]:
    """The funnel: of each step what it read, kept and dropped, in all and per source; and what is in each part."""
    steps = [_counted(step, found[step]) for step in STEP_NAMES]
    parts: dict[str, Counter[str]] = {"sft": Counter(), "rl": Counter()}
    for example in _kept(found["split"]):
        parts[notes(example)["part"]][source_of(example)] += 1
    return {"name": name, "steps": steps, "parts": {part: dict(sorted(n.items())) for part, n in parts.items()}}


def _counted(step: str, parts: Parts) -> dict[str, Any]:
    reasons: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for decision in _flat(parts):
        outcome = decision.reason if isinstance(decision, Dropped) else "kept"
        reasons[outcome] += 1
        sources[source_of(decision.example)][outcome] += 1
    kept = reasons.pop("kept", 0)
    return {
        "step": step,
        "read": kept + sum(reasons.values()),
        "kept": kept,
        "dropped": dict(sorted(reasons.items())),
        "sources": {
            name: {"read": sum(counts.values()), "kept": counts["kept"]} for name, counts in sorted(sources.items())
        },
    }


def _write_shards(examples: Iterable[Example], folder: Path) -> None:
    folder.mkdir(parents=True)
    number = 0
    for number, shard in enumerate(batches(map(_published, examples), SHARD), start=1):
        write_examples(shard, folder / f"part-{number - 1:05d}.parquet")
    if number == 0:  # a part without rows still opens, and says so
        write_examples([], folder / "part-00000.parquet")


def _published(example: Example) -> Example:
    """Without what only the forge needed."""
    forge = {key: value for key, value in notes(example).items() if key not in ("looks", "part")}
    return example.model_copy(update={"meta": {**example.meta, "forge": forge}})


def _write_dropped(found: Mapping[str, Parts], folder: Path) -> None:
    folder.mkdir(parents=True)
    for step in STEP_NAMES:
        with pa.parquet.ParquetWriter(folder / f"{step}.parquet", _DROPPED) as writer:
            rows = (_cells(step, d) for d in _flat(found[step]) if isinstance(d, Dropped))
            for batch in batches(rows, 200):
                writer.write_table(pa.Table.from_pylist(batch, schema=_DROPPED))


def _cells(step: str, dropped: Dropped) -> dict[str, Any]:
    row = dropped.example
    told = {"step": step, "reason": dropped.reason, "detail": dropped.detail, "source": source_of(row)}
    if isinstance(row, Refused):
        question, answer = row.cells.get("question", ""), row.cells.get("answer", "")
        return {
            **told,
            "id": row.place,
            "question": question,
            "answer": answer,
            "row": row.model_dump_json(),
            "images": [],
        }
    images = [{"bytes": picture.encoded(), "path": None} for picture in row.images]
    content = row.model_dump_json(exclude={"images"})
    return {**told, "id": row.id, "question": row.question, "answer": row.answer.text, "row": content, "images": images}


def _kept(parts: Parts) -> Iterator[Example]:
    return (decision.example for decision in _flat(parts) if isinstance(decision, Kept))


def _flat(parts: Parts) -> Iterator[Decision]:
    return (decision for part in parts.decisions() for decision in part)
