"""The tables of docs/performance.md, from a file that gpu.py wrote.

    python benchmarks/gpu_tables.py benchmarks/results/gpu-h200-2026-11-26.json

What was not measured has no row, column or table. The prose between the tables is written by hand; a test compares the
tables that the page has with these.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, Any]]

_FORMS = ("separate", "square", "blocks", "varlen", "flex", "leaky")
_COMPARED = {
    "small model, float32": ("small model", "float32"),
    "TF32": ("small model", "tf32"),
    "bfloat16": ("small model", "bfloat16"),
    "shape of Qwen2.5-VL-3B, float32": ("equivalence", "float32"),
    "bfloat16 ": ("equivalence", "bfloat16"),
}
"""Column -> section, and what its measurements' names begin with."""


def tables(results: Results) -> dict[str, str]:
    """All tables that these results make, as Markdown, by their names here."""
    made = {"forms": forms(results), "update": update(results), "rollout": rollout(results)}
    return {name: table for name, table in made.items() if table}


def forms(results: Results) -> str:
    """Largest gap of a log-prob, and relative error of the gradient, of each form."""
    found = {
        form: [_gaps(result_of(results, section, f"{name}, {form}")) for section, name in _COMPARED.values()]
        for form in _FORMS
    }
    return table(["form", *map(str.strip, _COMPARED)], [[form, *cells] for form, cells in found.items() if any(cells)])


def update(results: Results) -> str:
    """Seconds, memory and share of the peak of an update in each form."""
    rows = []
    for form, found in (result_of(results, "update", "time") or {}).items():
        low, high = found["range"]
        memory = result_of(results, "update", f"memory, {form}") or {}
        rows.append(
            [
                form,
                f"{found['seconds']:.3f} ({low:.3f} to {high:.3f})",
                f"{memory['GiB at most']:.1f} GiB" if memory else "",
                percent(found.get("useful share of the peak")),
            ]
        )
    return table(["form", "seconds", "peak memory", "share of the peak, counting each token once"], rows)


def rollout(results: Results) -> str:
    """Tokens per second by how many replies are written at once, and how."""
    rows = []
    for name in results.get("rollout", {}):
        found, how = result_of(results, "rollout", name), re.fullmatch(r"\d+ prompts(?:, (\w+))?", name)
        if found is None or how is None:
            continue
        floor = found.get("milliseconds to read weights, keys and values")
        cells = [str(found["rows"]), f"{found['tokens per second']:,.0f}", f"{found['milliseconds per step']:.1f}"]
        rows.append([*cells, how[1] or "", f"{floor:.1f}" if floor else ""])
    titles = ["replies at once", "tokens per second", "ms per step", "how", "ms to read what a step needs"]
    return table(titles, rows)


def result_of(results: Results, section: str, name: str) -> Any:
    """A measurement's result; None where there is none, for whatever reason."""
    return results.get(section, {}).get(name, {}).get("result")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown, without the columns that are empty; empty without rows."""
    if not rows:
        return ""
    kept = [i for i, title in enumerate(titles) if any(row[i] for row in rows)]
    lines = [[titles[i] for i in kept], *([row[i] for i in kept] for row in rows)]
    head, *body = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines]
    return "\n".join([head, "|---" * len(kept) + "|", *body])


def percent(share: float | None) -> str:
    """A share of one, rounded."""
    return "" if share is None else f"{100 * share:.0f} %"


def short(number: float) -> str:
    """Two digits that count: 16, 2.1, 0.037, 2.9e-6."""
    if 0.01 <= abs(number) < 100:
        digits = 0 if abs(number) >= 10 else 1 if abs(number) >= 1 else 2 if abs(number) >= 0.1 else 3
        return f"{number:.{digits}f}"
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", f"{number:.1e}")


def _gaps(found: Any) -> str:
    return f"{short(found['logp']['max'])}, {short(found['gradient']['all'])}" if found else ""


def main() -> None:
    """Print all tables of a file, each under its name."""
    for name, made in tables(json.loads(Path(sys.argv[1]).read_text())).items():
        print(f"## {name}\n\n{made}\n")


if __name__ == "__main__":
    main()
