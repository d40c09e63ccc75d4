"""The ratios to TRL over lengths of prompts and replies: where sharing a prompt pays, and where it does not.

    python benchmarks/vs_trl_surface.py --json surface.json --image-tokens 11 100 400 --reply-tokens 32 128 512

Each point is a run of `vs_trl.py` in a process of its own, with its equalities checked. The file is written after every
point, and a point that it already has is not measured again. A point that fails is kept as its error.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(argv: list[str] | None = None) -> None:
    """Measure the points that are missing, write the file, and print the table."""
    parser = argparse.ArgumentParser(description="Ratios to TRL over lengths of prompts and replies.")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the results go")
    parser.add_argument("--image-tokens", type=int, nargs="+", default=[36, 100, 400], help="default: %(default)s")
    parser.add_argument("--reply-tokens", type=int, nargs="+", default=[32, 128, 512], help="default: %(default)s")
    arguments, rest = parser.parse_known_args(argv)
    points: dict[str, Any] = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    for image, reply in itertools.product(arguments.image_tokens, arguments.reply_tokens):
        name = f"{image} image tokens, {reply} reply tokens"
        if "full_step_ratio" not in points.get(name, {}):
            points[name] = point(["--image-tokens", str(image), "--reply-tokens", str(reply), *rest])
            arguments.json.write_text(json.dumps(points, indent=2) + "\n")
            print(row(name, points[name]), flush=True)
    print("\n" + table(points))


def point(arguments: list[str]) -> dict[str, Any]:
    """One run of the benchmark: its report, or the end of what it said when it failed."""
    script = Path(__file__).with_name("vs_trl.py")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "point.json"
        done = subprocess.run(
            [sys.executable, str(script), "--json", str(path), *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return {"error": done.stderr[-2000:]}
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def table(points: dict[str, Any]) -> str:
    """All points as Markdown."""
    columns = ("pictures and replies", "prompt", "full step", "operations", "update", "operations", "seconds")
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join([*head, *(row(name, found) for name, found in points.items())])


def row(name: str, found: dict[str, Any]) -> str:
    """One point: each ratio with its interval beside that of the operations, and seconds of a full step."""
    if "error" in found:
        return f"| {name} | failed: {found['error'].strip().splitlines()[-1]} |"
    work = found["operations"]
    cells = [name, f"{work['prompt_tokens']:.0f}"]
    for part in ("full_step", "update"):
        low, high = found[f"{part}_ci95"]
        cells += [f"{found[f'{part}_ratio']:.2f} ({low:.2f} to {high:.2f})", f"{work[f'{part}_ratio']:.2f}"]
    cells.append(f"{found['ours']['full_step_seconds']:.2f} against {found['trl']['full_step_seconds']:.2f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
