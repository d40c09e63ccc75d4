"""Where a benchmark's rows are: VLMEvalKit's tables, other files of that name, or what the hub has."""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from firsthand.data.folder import data_files, refuse_gaps
from firsthand.data.formats import data_rows
from firsthand.data.rows import Row
from firsthand.data.tables import rows_as_they_are
from firsthand.errors import DataError
from firsthand.evaluation.benchmarks.spec import Benchmark, Hub


def default_root() -> Path:
    """VLMEvalKit's data folder: $LMUData, or ~/LMUData."""
    return Path(os.environ.get("LMUData") or Path.home() / "LMUData")  # noqa: SIM112 - its own spelling


def locate(benchmark: Benchmark, root: Path) -> list[Path]:
    """The files of a benchmark, in order. Raises DataError saying what was looked for, or which shard is missing."""
    for stem in benchmark.files:
        given = [Path(stem)] if Path(stem).suffix else []
        for file in (*given, *(root / f"{stem}{ending}" for ending in (".tsv", ".csv", ".jsonl", ".json", ".parquet"))):
            if file.is_file():
                return [file]
    hub = benchmark.hub
    if hub is not None and (found := _of_hub(hub, hub_folder(hub, root))):
        return found
    for folder in (root / stem for stem in benchmark.files):
        if folder.is_dir():
            return (_of_hub(hub, folder) if hub else []) or data_files(folder, hub.split if hub else None)
    names = ", ".join(f"{stem}.tsv" for stem in benchmark.files)
    into = f"; --download gets it from the hub ({hub.repo}, into {hub_folder(hub, root)})" if hub else ""
    raise DataError(
        f"{benchmark.name}: expected {names} (or .jsonl, .json, .parquet, or a folder of that name) in {root}, "
        f"got none; put VLMEvalKit's table there, or name its folder with --data-root{into}"
    )


def benchmark_rows(files: Sequence[Path]) -> Iterator[Row]:
    """The rows of these files, one after the other, in their own columns. Raises DataError."""
    return chain.from_iterable(
        rows_as_they_are(file) if file.suffix in (".tsv", ".csv") else data_rows(str(file)) for file in files
    )


def named(files: Sequence[Path]) -> str:
    """The files as an error or a table names them."""
    return str(files[0]) if len(files) == 1 else f"{files[0].parent} ({len(files)} files)"


def hub_folder(hub: Hub, root: Path) -> Path:
    """Where a download from the hub lies."""
    return root / hub.repo.rpartition("/")[2]


def download(benchmark: Benchmark, root: Path) -> None:
    """Get a benchmark's files from the hub, unless they are there. Raises DataError when the hub cannot be reached."""
    if benchmark.worlds is not None:
        return
    hub = benchmark.hub
    try:
        locate(benchmark, root)
    except DataError:
        if hub is None:
            raise
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        folder = hub_folder(hub, root)
        try:
            snapshot_download(hub.repo, repo_type="dataset", allow_patterns=list(hub.files) or None, local_dir=folder)
        except (OSError, HfHubHTTPError) as error:
            raise DataError(
                f"{benchmark.name}: expected {hub.repo} from the hub, got: {str(error)[:200]}; put the file into "
                f"{root} yourself"
            ) from error


def _of_hub(hub: Hub, folder: Path) -> list[Path]:
    """What the hub's patterns mean in a folder; by its split where there are none."""
    if not folder.is_dir():
        return []
    if not hub.files:
        return data_files(folder, hub.split)
    found = [file for pattern in hub.files for file in sorted(folder.glob(pattern), key=_in_order)]
    refuse_gaps(found, folder)
    return found


def _in_order(file: Path) -> list[tuple[int, str]]:
    """sample2 before sample10."""
    return [(int(number or 0), word) for word, number in re.findall(r"(\D*)(\d*)", file.name)]
