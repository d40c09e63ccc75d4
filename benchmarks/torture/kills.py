"""`kill -9` at random moments: each command, begun again until it ends, must leave what an undisturbed one leaves."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture.commands import differing, names, result, started


def run(
    seed: int, chosen: str | None, number: int, place: Path, *, ends: float, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """So many kills, in turns over the commands. What differs stays in its folder below `place`."""
    dice = random.Random(f"{seed} kills")
    wanted = names(chosen)
    expected: dict[str, dict[str, str]] = {}
    usual: dict[str, float] = {}
    kills: Counter[str] = Counter()
    rounds: Counter[str] = Counter()
    failures: list[str] = []
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in wanted:
        undisturbed = place / f"{name}-undisturbed" / "out"
        for out in (
            place / "first" / "out",
            undisturbed,
        ):  # the first has to import, and would make the usual time long
            began = time.monotonic()
            status = _to_its_end(name, out)
            usual[name] = time.monotonic() - began
            shutil.rmtree(place / "first", ignore_errors=True)
            assert status == 0, f"{name} does not end undisturbed: see {out.parent / 'said.txt'}"
        expected[name] = result(undisturbed)
        say(f"{name}: {usual[name]:.1f} s undisturbed, {len(expected[name])} files")
    while sum(kills.values()) < number and time.monotonic() < ends:
        for name in wanted:
            folder = place / f"{name}-{rounds[name]}"
            met = _killed(name, folder / "out", usual[name], dice)
            kills[name] += met
            status = _to_its_end(name, folder / "out")
            rounds[name] += 1
            differ = differing(expected[name], result(folder / "out")) if status == 0 else [f"status {status}"]
            if differ:
                failures.append(f"{folder}: {', '.join(differ[:5])}")
                say(failures[-1])
            else:
                shutil.rmtree(folder)
            if time.monotonic() >= ends or sum(kills.values()) >= number:
                break
        say(f"{sum(kills.values())} kills")
    return {
        "kills": sum(kills.values()),
        "by_command": dict(kills),
        "rounds": dict(rounds),
        "seconds_undisturbed": {name: round(s, 1) for name, s in usual.items()},
        "failures": len(failures),
        "kept": failures,
    }


def _killed(name: str, out: Path, usual: float, dice: random.Random) -> int:
    """One to three kills of a command before it ends; how many met it at work."""
    met = 0
    for _ in range(dice.choice((1, 2, 3))):
        process = started(name, out, out.parent / "said.txt")
        process.join(dice.uniform(0, usual))
        if process.is_alive():
            met += 1
            _kill(process.pid)
            process.join()
    return met


def _kill(pid: int | None) -> None:
    """End a process, and what it has started."""
    assert pid is not None
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(pid, signal.SIGKILL)


def _to_its_end(name: str, out: Path) -> int | None:
    out.parent.mkdir(parents=True, exist_ok=True)
    process = started(name, out, out.parent / "said.txt")
    process.join()
    return process.exitcode
