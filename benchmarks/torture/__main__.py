"""Kill it, fill its disk, feed it damage, and let it run for hours: what must hold then, and how often it was tried.

    PYTHONPATH=benchmarks python -m torture all --hours 8 --out build/torture
    PYTHONPATH=benchmarks python -m torture fuzz --cases 100000 --seed 1

Each campaign writes a line of JSON with its figures, date, seed and hours to figures.jsonl in --out, and keeps of each
kind of failure the smallest input, or the folder, beside it. It ends with status 1 when something failed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SHARES = {"kills": 0.3, "disk": 0.1, "fuzz": 0.3, "soak": 0.3}
"""Of the hours of `all`; at 20 h the soak has its six."""
GOALS = {"kills": 200, "disk": 400, "fuzz": 1_000_000}
"""How many are the whole campaign; with enough hours it ends there."""


def main() -> int:
    """Carry out what is asked for."""
    args = _parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    args.out = args.out.resolve()  # faults are met below it, however a command names it
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = SHARES if args.campaign == "all" else {args.campaign: 1.0}
    failed = False
    for name, share in chosen.items():
        began = time.monotonic()
        number = args.number if args.number is not None and args.campaign == name else GOALS.get(name, 0)
        figures = CAMPAIGNS[name](args, number, began + 3600 * args.hours * share)
        hours = (time.monotonic() - began) / 3600
        about = {
            "campaign": name,
            "date": datetime.now(UTC).date().isoformat(),
            "seed": args.seed,
            "hours": round(hours, 3),
        }
        line = json.dumps({**about, "goal": GOALS.get(name), **figures})
        with (args.out / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line)
        failed |= bool(figures["failures"])
    return int(failed)


def _fuzz(args: argparse.Namespace, number: int, ends: float) -> dict[str, Any]:
    from torture import fuzz, readers

    chosen = list(readers.names(args.readers))
    with fuzz.in_memory():
        found = fuzz.run(args.seed, chosen, number, args.out / "fuzz", ends=ends, first=args.first, say=_say)
    return fuzz.summary(found)


def _kills(args: argparse.Namespace, number: int, ends: float) -> dict[str, Any]:
    from torture import kills

    return kills.run(args.seed, args.commands, number, args.out / "kills", ends=ends, say=_say)


def _disk(args: argparse.Namespace, number: int, ends: float) -> dict[str, Any]:
    from torture import disk

    return disk.run(args.seed, args.commands, number, args.out / "disk", ends=ends, say=_say)


def _soak(args: argparse.Namespace, number: int, ends: float) -> dict[str, Any]:
    from torture import soak

    return soak.run(args.seed, args.out / "soak", ends=ends, rounds=number, say=_say)


def _say(line: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", file=sys.stderr, flush=True)


CAMPAIGNS: dict[str, Callable[[argparse.Namespace, int, float], dict[str, Any]]] = {
    "kills": _kills,
    "disk": _disk,
    "fuzz": _fuzz,
    "soak": _soak,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m torture", description="Campaigns against firsthand.")
    parser.add_argument("campaign", choices=(*CAMPAIGNS, "all"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=1.0, help="the longest that it may take (default: %(default)s)")
    counted = "kills, faults, cases or rounds, where one campaign is asked for (default: the whole of it)"
    parser.add_argument("--number", type=int, help=counted)
    parser.add_argument("--first", type=int, default=0, help="of fuzz: the number of each reader's first case")
    parser.add_argument("--readers", help="of fuzz: some of them, with commas")
    parser.add_argument("--commands", help="of kills and disk: some of train, evaluate, benchmark, study, forge")
    parser.add_argument("--out", type=Path, default=Path("build/torture"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
