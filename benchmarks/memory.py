"""Peak memory of real training runs, beside what preflight said of each: precisions, optimizers, adapters.

Every run is a process of its own, of two steps in which every reply is as long as it may be, on one thread. Its memory
is the kernel's account of the largest resident set (VmHWM), also of each phase: it is set back when one begins.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import torch

from firsthand.config import build
from firsthand.preflight import preflight
from firsthand.recipe import Recipe
from firsthand.worlds import SMALL

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""Of every run: one thread, and one arena of glibc's, so that what is free is not spread over several."""
GIB = 2**30
SMOL = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "layer_types": ["full_attention"] * 30,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]},
    "tie_word_embeddings": True,
}
"""The language model of SmolLM2-135M: 135 million parameters (arXiv:2502.02737, table 6)."""
STEPS = {"steps": 2, "data": {"worlds": ["count", "chart"], "number": 16}, "optimizer": {"lr": 1e-5}}
WORK = {
    "small": {"prompts": 8, "objective": {"kind": "grpo", "group_size": 8}, "sampling": {"max_new_tokens": 64}},
    "135m": {"prompts": 2, "objective": {"kind": "grpo", "group_size": 4}, "sampling": {"max_new_tokens": 64}},
}
"""Model -> how much it does."""
SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "float32, 8-bit": {"precision": "float32", "optimizer": {"kind": "adamw-8bit"}},
    "float32, tower too": {"precision": "float32", "trainable": "all"},
    "float32, checkpointing": {"precision": "float32", "gradient_checkpointing": True},
    "float32, KL": {"precision": "float32", "kl": 0.01},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, 8-bit": {"precision": "bfloat16", "optimizer": {"kind": "adamw-8bit"}},
    "bfloat16, offload": {"precision": "bfloat16", "optimizer": {"offload": True}},
    "bfloat16-pure, Kahan": {"precision": "bfloat16-pure"},
    "float32, adapter": {"precision": "float32", "adapter": {"rank": 16}},
    "bfloat16, adapter": {"precision": "bfloat16", "adapter": {"rank": 16}},
    "bfloat16, nf4 adapter": {"precision": "bfloat16", "adapter": {"rank": 16, "quantize": "nf4"}},
}


def recipe_of(model: str, setting: str, folder: str) -> dict[str, Any]:
    """The content of one run's recipe."""
    chosen = {**SETTINGS[setting]}
    content = {"name": "memory", "model": folder, **STEPS, **WORK[model]}
    if "kl" in chosen:
        content["objective"] = {**WORK[model]["objective"], "kl": chosen.pop("kl")}
    chosen["optimizer"] = {**STEPS["optimizer"], **chosen.get("optimizer", {})}
    return content | chosen


def make_135m(folder: Path) -> None:
    """A folder with the small model's tower, tokenizer and processor, and SmolLM2-135M's layers with random weights."""
    import shutil

    from transformers import AutoConfig, AutoModelForImageTextToText

    shutil.copytree(SMALL, folder, ignore=shutil.ignore_patterns("model.safetensors", "README.md"))
    content = json.loads((SMALL / "config.json").read_text())
    content["text_config"] |= SMOL
    content["tie_word_embeddings"] = True
    content["vision_config"]["out_hidden_size"] = SMOL["hidden_size"]
    (folder / "config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16).save_pretrained(
        folder
    )


class Watch:
    """The largest resident set of each phase, in bytes."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What runs inside; what ran since the last one is the rollout, but for what lies before the optimizer."""
        self._note("update" if name == "optimizer" else "rollout")
        yield
        self._note(name)

    def inside(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as a phase."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return watched

    def _note(self, name: str) -> None:
        peak = _status("VmHWM")
        self.peaks[name] = max(peak, self.peaks.get(name, 0))
        Path("/proc/self/clear_refs").write_text("5")  # the largest resident set is the present one from here on


def run(content: dict[str, Any]) -> dict[str, Any]:
    """Train, with replies as long as they may be and a reward that always differs; what it held."""
    from firsthand.policy import Policy
    from firsthand.rollout import LocalSampler
    from firsthand.trainer import loop, update
    from firsthand.trainer.state import State

    watch = Watch()

    class Endless(LocalSampler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.stop_ids = ()

    loop.sampler_for = Endless
    update._learn = watch.inside("update", update._learn)
    update._descend = watch.inside("optimizer", update._descend)
    State.save = watch.inside("saving", State.save)
    Policy.save = watch.inside("saving", Policy.save)
    recipe = build(Recipe, content, "memory")
    with tempfile.TemporaryDirectory() as out:
        Path(out, "any.py").write_text(
            "from itertools import count\n\nseen = count()\n\n\n"
            "def score(reply, answer):\n    return next(seen) % 7 / 6\n"
        )
        os.chdir(out)
        loop.train(recipe, Path(out))
    return {"peak": max(watch.peaks.values()), "phases": watch.peaks}


def expect(content: dict[str, Any]) -> dict[str, Any]:
    """What preflight says of it."""
    found = preflight(build(Recipe, content, "memory"))
    phases = {name: found.memory.of(name) for name in found.memory.phases}
    return {"peak": found.memory.total, "process": found.memory.held["process"], "phases": phases}


def child(what: str, content: dict[str, Any]) -> dict[str, Any]:
    """`run` or `expect`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, json.dumps(content)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{what} failed: {content}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Markdown: what was measured, what preflight said, and their ratio."""
    lines = [
        "| model | precision, optimizer, adapter | measured, GiB | preflight, GiB | ratio |",
        "|---|---|---|---|---|",
    ]
    for one in cells:
        measured, expected = one["run"]["peak"] / GIB, one["expect"]["peak"] / GIB
        lines.append(
            f"| {one['model']} | {one['setting']} | {measured:.2f} | {expected:.2f} | {expected / measured:.2f} |"
        )
    return "\n".join(lines)


def _status(name: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Every model with every setting; measured runs of an earlier file are not made again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(WORK), choices=WORK)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--child", nargs=2)
    if "--child" in sys.argv:
        what, content = sys.argv[-2:]
        print(json.dumps({"run": run, "expect": expect}[what](json.loads(content))))
        return
    args = parser.parse_args()
    known = json.loads(args.json.read_text())["cells"] if args.json.exists() else []
    runs = {(one["model"], one["setting"]): one["run"] for one in known}
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"small": "small", "135m": str(Path(scratch, "135m"))}
        if "135m" in args.models:
            make_135m(Path(folders["135m"]))
        for model, setting in itertools.product(args.models, args.settings):
            content = recipe_of(model, setting, folders[model])
            measured = runs.get((model, setting)) or child("run", content | {"reward": {"function": "any:score"}})
            cells.append({"model": model, "setting": setting, "run": measured, "expect": child("expect", content)})
            print(table(cells[-1:]).splitlines()[-1], flush=True)
            for name, peak in measured["phases"].items():
                print(
                    f"    {name}: {peak / GIB:.3f}, {cells[-1]['expect']['phases'].get(name, 0) / GIB:.3f}", flush=True
                )
            written = [
                one
                for one in known
                if (one["model"], one["setting"]) not in {(c["model"], c["setting"]) for c in cells}
            ]
            args.json.write_text(
                json.dumps(
                    {
                        "date": str(date.today()),
                        "load": os.getloadavg(),
                        "machine": platform.processor(),
                        "cells": written + cells,
                    },
                    indent=1,
                )
            )
    print(table(cells))


if __name__ == "__main__":
    main()
