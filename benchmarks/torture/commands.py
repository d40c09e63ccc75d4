"""The commands that campaigns disturb, small enough to be carried out some hundred times, and what they must leave.

What may differ between two runs is wall time alone: it is struck out of what is compared. All else is compared byte for
byte, the weights included.
"""

import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from torture import seeds

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["firsthand.cli.main", "firsthand.cli.console", "firsthand.study", "firsthand.report"])
"""What is disturbed has imported the package, so that the disturbance meets work."""

_TIMES = {"minutes", "seconds", "timing", "from", "cost"}
_PASSING = {".lock", "environment.json", "report.html", "answers.sqlite", "answers.sqlite-wal", "answers.sqlite-shm"}
"""Files whose bytes are no result: of locks, of the machine, pages that show times, and what SQLite lays out anew."""

_DATA = {"worlds": ["count"], "number": 12}
_RECIPE = {
    "name": "it",
    "data": _DATA,
    "objective": {"kind": "grpo", "group_size": 2, "kl": 0.1},
    "prompts": 2,
    "steps": 6,
    "sampling": {"max_new_tokens": 6},
    "checkpoint_every": 2,
}
_SHARED = {key: value for key, value in _RECIPE.items() if key not in ("name", "objective")}
_STUDY = {
    "shared": {**_SHARED, "steps": 4},
    "arms": {
        "base": {"steps": 0},
        "sft": {"objective": {"kind": "sft", "style": "plain"}},
        "grpo": {"objective": "grpo"},
    },
    "analyses": [],
    "evaluation": {"data": {**_DATA, "split": "test", "number": 6}, "protocol": {"max_new_tokens": 6, "samples": 1}},
}
_FORGE = {
    "name": "it",
    "sources": [{"worlds": ["count", "chart", "geometry", "locate", "describe"], "number": 600}],
    "teachers": {"default": {"scenes": True}},
}


class Command(NamedTuple):
    """A command line of the package, in which OUT and IN stand for folders."""

    words: Sequence[str]
    inputs: dict[str, Any]
    """Files of JSON, which YAML can read, in the folder IN."""


COMMANDS: dict[str, Command] = {
    "train": Command(("train", "IN/it.yaml", "--track", "none", "--out", "OUT"), {"it.yaml": _RECIPE}),
    "evaluate": Command(
        (
            "evaluate",
            "small",
            "--data",
            "worlds:count,chart:test:160",
            "--samples",
            "1",
            "--max-new-tokens",
            "4",
            "--out",
            "OUT",
        ),
        {},
    ),
    "benchmark": Command(
        (
            "evaluate",
            "small",
            "--benchmark",
            "IN/it.yaml",
            "--data-root",
            "IN",
            "--max-new-tokens",
            "4",
            "--out",
            "OUT",
        ),
        {"it.yaml": {"title": "Some rows", "protocol": "worlds", "worlds": {**_DATA, "split": "test", "number": 160}}},
    ),
    "study": Command(("study", "IN/it.yaml", "--track", "none", "--out", "OUT"), {"it.yaml": _STUDY}),
    "forge": Command(("forge", "IN/it.yaml", "--out", "OUT"), {"it.yaml": _FORGE}),
}


def started(name: str, out: Path, said: Path, before: Any = None) -> BaseProcess:
    """A command, begun in a process of its own; its output goes to `said`. `before` is called there first."""
    command = COMMANDS[name]
    inputs = out.parent / "in"
    inputs.mkdir(parents=True, exist_ok=True)
    for file, content in command.inputs.items():
        (inputs / file).write_bytes(seeds.as_json(content))
    words = [word.replace("IN", str(inputs)).replace("OUT", str(out)) for word in command.words]
    process = CONTEXT.Process(target=_carry_out, args=(words, said, before))
    process.start()
    return process


def _carry_out(words: list[str], said: Path, before: Any) -> None:
    os.setsid()  # so that a kill takes what it has started, too
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    import torch

    from firsthand.cli.main import main

    torch.set_num_threads(1)
    if before is not None:
        before()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    raise SystemExit(main(words))


def result(out: Path) -> dict[str, str]:
    """The hash of every file of a result by its relative path, without what may differ."""
    found = {}
    for path in sorted(out.rglob("*")):
        if (
            path.is_file()
            and path.name not in _PASSING
            and ".work" not in path.parts
            and "tensorboard" not in path.parts
        ):
            found[str(path.relative_to(out))] = hashlib.sha256(_timeless(path)).hexdigest()
    return found


def _timeless(path: Path) -> bytes:
    """A file's bytes; of JSON, without what is wall time."""
    content = path.read_bytes()
    if path.suffix == ".json":
        return seeds.as_json(_without_times(json.loads(content)))
    if path.name == "metrics.jsonl":
        return b"\n".join(seeds.as_json(_without_times(json.loads(line))) for line in content.splitlines())
    return content


def _without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_times(value) for key, value in content.items() if key not in _TIMES}
    return [_without_times(value) for value in content] if isinstance(content, list) else content


def differing(expected: dict[str, str], got: dict[str, str]) -> list[str]:
    """The files that are not the same, or only in one of both."""
    return sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))


def names(chosen: str | None) -> list[str]:
    """The commands that are asked for: all, or some with commas."""
    wanted = chosen.split(",") if chosen else list(COMMANDS)
    for name in wanted:
        if name not in COMMANDS:
            raise SystemExit(f"--commands: expected some of {', '.join(COMMANDS)}, got {name}")
    return wanted
