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
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from firsthand.batched import batched
from firsthand.data import write_examples
from firsthand.data.loaded import Refused
from firsthand.data.store import IMAGES_TYPE
from firsthand.files import sha256_of, sync_tree, write_atomically
from firsthand.forge.card import data_card
from firsthand.forge.config import ForgeConfig
from firsthand.forge.draft import DATA_PARTS, DataPart, source_of
from firsthand.forge.shards import StepShards
from firsthand.forge.step import STEP_NAMES, Dropped

_FILE_ROWS = 4_000
_PRODUCTS = ("sft", "rl", "dropped")

_TEXTS = ("step", "reason", "detail", "source", "id", "question", "answer", "row")
_DROPPED = pa.schema([*((name, pa.string()) for name in _TEXTS), ("images", IMAGES_TYPE)])


def is_whole(out: Path, written: Mapping[str, str]) -> bool:
    """Whether a data set is there with all that belongs to it, and every file has the bytes that were written."""
    return (out / "README.md").exists() and bool(written) and hashes(out) == written


def hashes(out: Path) -> dict[str, str]:
    """The SHA-256 of every file of a data set by its relative path; not of the card, which people edit."""
    files = [out / "funnel.json", *(file for name in _PRODUCTS for file in sorted((out / name).rglob("*")))]
    return {str(file.relative_to(out)): sha256_of(file) for file in files if file.is_file()}


def write_data_set(config: ForgeConfig, found: Mapping[str, StepShards], out: Path) -> None:
    """Write everything, in place of what was there.

    A kill leaves the earlier data set, or the new one without its funnel.json, which is then written again.
    """
    fresh = out / ".work" / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    parts = {part: _write_part(found["split"], part, fresh / part) for part in DATA_PARTS}
    _write_dropped(found, fresh / "dropped")
    counts = {part: dict(sorted(sources.items())) for part, sources in parts.items()}
    funnel = {"name": config.name, "steps": [_counted(s, found[s]) for s in STEP_NAMES], "parts": counts}
    sync_tree(fresh)
    (out / "funnel.json").unlink(missing_ok=True)
    for name in _PRODUCTS:
        shutil.rmtree(out / name, ignore_errors=True)
        (fresh / name).replace(out / name)
    write_atomically(out / "README.md", data_card(config, funnel))
    write_atomically(out / "funnel.json", json.dumps(funnel, indent=2, ensure_ascii=False) + "\n")


def _counted(step: str, shards: StepShards) -> dict[str, Any]:
    """What a step read, kept and dropped, in all and per source."""
    reasons: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for (source, reason), number in shards.counts().items():
        reasons[reason] += number
        sources[source][reason] += number
    kept = reasons.pop("", 0)
    return {
        "step": step,
        "read": kept + sum(reasons.values()),
        "kept": kept,
        "dropped": dict(sorted(reasons.items())),
        "sources": {
            name: {"read": sum(counts.values()), "kept": counts[""]} for name, counts in sorted(sources.items())
        },
    }


def _write_part(shards: StepShards, part: DataPart, folder: Path) -> Counter[str]:
    """Write the rows that belong to a part; how many each source has there."""
    folder.mkdir(parents=True)
    counts: Counter[str] = Counter()
    files = batched(chain.from_iterable(shards.kept(part=part)), _FILE_ROWS)
    first = next(files, [])  # written whatever it holds: a part without rows still opens, and says so
    for number, drafts in enumerate(chain([first], files)):
        write_examples((draft.finished() for draft in drafts), folder / f"part-{number:05d}.parquet")
        counts.update(map(source_of, drafts))
    return counts


def _write_dropped(found: Mapping[str, StepShards], folder: Path) -> None:
    folder.mkdir(parents=True)
    for step in STEP_NAMES:
        with pa.parquet.ParquetWriter(folder / f"{step}.parquet", _DROPPED) as writer:
            for batch in batched((_cells(step, dropped) for dropped in found[step].dropped()), 200):
                writer.write_table(pa.Table.from_pylist(batch, schema=_DROPPED))


def _cells(step: str, dropped: Dropped) -> dict[str, Any]:
    row = dropped.draft
    told = {"step": step, "reason": dropped.reason, "detail": dropped.detail, "source": source_of(row)}
    if isinstance(row, Refused):
        texts = {name: row.cells.get(name, "") for name in ("question", "answer")}
        return {**told, **texts, "id": row.place, "row": row.model_dump_json(), "images": []}
    example = row.left_behind()
    return {
        **told,
        "id": example.id,
        "question": example.question,
        "answer": example.answer.text,
        "row": example.model_dump_json(exclude={"images"}),
        "images": [{"bytes": picture.encoded(), "path": None} for picture in example.images],
    }
