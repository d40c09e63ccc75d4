"""A forge over many rows with the teacher inside: rows per second, peak memory, and the same bytes after kills.

    python benchmarks/forge_scale.py --rows 200000 --kills 20 --json forge_scale.json

Rows are synthetic: a Parquet file with a picture of noise each; two in a hundred are copies and one in a hundred is
damaged. One forge runs undisturbed. A second one is killed (kill -9) at random moments, then runs to its end; both data
sets must have the same bytes.
"""

import argparse
import hashlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

from firsthand.batched import batched

SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("answer", pa.string()),
        ("kind", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ]
)


def main() -> None:
    """Measure and write the JSON file."""
    parser = argparse.ArgumentParser(description="A forge over many rows, undisturbed and killed.")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        report = measure(folder, args.rows, args.kills)
    args.json.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def measure(folder: Path, rows: int, kills: int) -> dict[str, Any]:
    """Both forges. Raises AssertionError when their data sets differ."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.parquet", rows)
    (folder / "forge.yaml").write_text(
        json.dumps(
            {
                "name": "scale",
                "sources": [{"path": str(folder / "rows.parquet")}],
                "teachers": {"default": {"scenes": True}},
            }
        )
    )
    began = time.perf_counter()
    subprocess.run(command(folder, "whole"), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    report = {
        "rows": rows,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "peak_bytes": peak,
        "funnel": json.loads((folder / "whole/funnel.json").read_text())["parts"],
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    if kills:
        report |= killed(folder, kills, seconds)
        assert digest(folder / "killed") == digest(folder / "whole"), "the data sets differ"
        report["same_bytes"] = True
    return report


def killed(folder: Path, kills: int, seconds: float) -> dict[str, Any]:
    """Kill a forge at random moments spread over its work, then let it end."""
    rng = random.Random(0)
    began = time.perf_counter()
    for _ in range(kills):
        process = subprocess.Popen(command(folder, "killed"), stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(rng.uniform(0.2, 1.8) * seconds / kills)
            raise AssertionError("the forge ended before it could be killed")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(command(folder, "killed"), check=True, stdout=subprocess.DEVNULL)
    return {"kills": kills, "killed_seconds": time.perf_counter() - began}


def command(folder: Path, out: str) -> list[str]:
    """The command line of a forge."""
    return [sys.executable, "-m", "firsthand", "forge", str(folder / "forge.yaml"), "--out", str(folder / out)]


def digest(out: Path) -> str:
    """The content of a data set."""
    whole = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.is_file() and ".work" not in path.parts and path.name != "report.html":
            whole.update(str(path.relative_to(out)).encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()


def write_rows(path: Path, number: int) -> None:
    """The synthetic rows."""
    if path.exists():
        return
    with pa.parquet.ParquetWriter(path, SCHEMA) as writer:
        for batch in batched(noisy_rows(number), 1000):
            writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))


def noisy_rows(number: int) -> Iterator[dict[str, Any]]:
    """Rows with small pictures of noise."""
    rng = np.random.default_rng(0)
    last: dict[str, Any] = {}
    for i in range(number):
        if i % 50 == 49:
            yield last
            continue
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (28, 28), np.uint8)).save(buffer, "PNG")
        data = buffer.getvalue() if i % 100 else buffer.getvalue()[:50]
        image = {"bytes": data, "path": None}
        last = {"question": f"How many spots are there in picture {i}?", "answer": str(i % 13), "kind": "digit"}
        last["image"] = image
        yield last


if __name__ == "__main__":
    main()
