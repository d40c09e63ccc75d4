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

_FORMS = ("separate", "square", "blocks", "varlen", "flex", "fused blocks", "leaky")
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
    makers = (forms, optimizers, memory, step, update, rollout)
    made = {make.__name__: make(results) for make in makers}
    return {name: table for name, table in made.items() if table}


def forms(results: Results) -> str:
    """Largest gap of a log-prob, and relative error of the gradient, of each form."""
    found = {
        form: [_gaps(result_of(results, section, f"{name}, {form}")) for section, name in _COMPARED.values()]
        for form in _FORMS
    }
    return table(["form", *map(str.strip, _COMPARED)], [[form, *cells] for form, cells in found.items() if any(cells)])


def optimizers(results: Results) -> str:
    """How far each is from AdamW on float32 weights after the same gradients."""
    rows = []
    for name in results.get("optimizers", {}):
        if found := result_of(results, "optimizers", name):
            rows.append([name, short(found["of the weights"]), short(found["of the steps"])])
    return table(["precision and optimizer", "error of the weights", "error of what the steps did to them"], rows)


def memory(results: Results) -> str:
    """What fits a card of each size, and what preflight says that it needs."""
    cards = ("80 GB", "48 GB", "24 GB", "16 GB")
    rows = []
    for name in results.get("memory", {}):
        found = result_of(results, "memory", name)
        if not isinstance(found, dict):  # a model was made
            continue
        largest, expected = found[cards[0]], result_of(results, "preflight", name) or {}
        rows.append(
            [
                name,
                f"{largest['GiB at most']:.1f}" if "GiB at most" in largest else "",
                f"{largest['seconds']:.2f}" if "seconds" in largest else "",
                *(_fits(found.get(card)) for card in cards),
                f"{expected['GiB of an update step']:.1f}" if expected else "",
                f"{expected['to what was measured']:.2f}" if "to what was measured" in expected else "",
            ]
        )
    return table(["training", "GiB at most", "seconds", *cards, "preflight's GiB", "to what was measured"], rows)


def step(results: Results) -> str:
    """Seconds of an update and of a full step, and how many times as long TRL takes."""
    alone, full = (result_of(results, "step", name) or {} for name in ("update", "full step"))
    # Of ours there is one update, whichever way replies are written.
    writing = [name for name in full if name != "TRL"] or ["slots"]
    sides = {f"firsthand, {name}": ("" if i else "firsthand", name) for i, name in enumerate(writing)}
    sides |= {f"firsthand, {name}": (name, "") for name in alone if name.startswith("fused")} | {"TRL": ("TRL", "TRL")}
    rows = []
    for said, (learning, whole) in sides.items():
        learnt = alone.get(learning, {})
        share = percent(learnt.get("useful share of the peak"))
        rows.append([said, *_paired(learnt), share, *_paired(full.get(whole))])
    titles = ["", "update, seconds", "TRL's to it", "share of the peak", "full step, seconds", "TRL's to that"]
    return table(titles, [row for row in rows if any(row[1:])])


def update(results: Results) -> str:
    """Seconds, memory and share of the peak of an update in each form."""
    rows = []
    times = dict(result_of(results, "update", "time") or {})
    for name in ("flex", "fused blocks", "fused blocks and rotary", "fused varlen"):
        found = result_of(results, "update", f"time, {name}") or {}
        times |= {form: each for form, each in found.items() if form == name}
    for form, found in times.items():
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
        found, how = result_of(results, "rollout", name), re.fullmatch(r"\d+ prompts(?:, (.+))?", name)
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
    head, *body = [re.sub(r"\|  (?=\|)", "| ", f"| {' | '.join(line)} |") for line in lines]
    return "\n".join([head, "|---" * len(kept) + "|", *body])


def percent(share: float | None) -> str:
    """A share of one, rounded."""
    return "" if share is None else f"{100 * share:.0f} %"


def short(number: float) -> str:
    """Two digits that count: 16, 2.1, 0.037, 2.9e-6."""
    if number == 0:
        return "0"
    if 0.01 <= abs(number) < 100:
        digits = 0 if abs(number) >= 10 else 1 if abs(number) >= 1 else 2 if abs(number) >= 0.1 else 3
        return f"{number:.{digits}f}"
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", f"{number:.1e}")


def _gaps(found: Any) -> str:
    return f"{short(found['logp']['max'])}, {short(found['gradient']['all'])}" if found else ""


def _fits(found: Any) -> str:
    """Whether an update step does, and whether only after it was cut."""
    if not found:
        return ""
    if not found["fits"]:
        return "no"
    return f"in parts ({found['retries']:.0f})" if found["retries"] else "yes"


def _paired(found: Any) -> list[str]:
    """Seconds, and TRL's by these with their range."""
    if not found:
        return ["", ""]
    if "range" not in found:
        return [f"{found['seconds']:.2f}", ""]
    low, high = found["range"]
    return [f"{found['seconds']:.2f}", f"{found['TRL takes times as long']:.2f} ({low:.2f} to {high:.2f})"]


def main() -> None:
    """Print all tables of a file, each under its name."""
    for name, made in tables(json.loads(Path(sys.argv[1]).read_text())).items():
        print(f"## {name}\n\n{made}\n")


if __name__ == "__main__":
    main()
