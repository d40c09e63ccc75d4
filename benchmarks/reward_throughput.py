"""Replies per second of the full router, beside plain math-verify in one process, in one run.

    python benchmarks/reward_throughput.py --workers 2 --json reward_throughput.json

Two workloads: *maths* (expressions and numbers, as replies with thinking and an answer block), and *mixed* (digits,
letters, boxes and maths). Plain math-verify parses gold and reply and compares them, with its own time-outs, as TRL's
accuracy reward does; of boxes and letters it reads what it can, but the time is what counts here. The sides take turns
(ABBA) on pairs that neither has seen. A ratio above 1 means that the router is faster. Workers are started before.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from math_verify import parse, verify

from firsthand.records import Answer, Box, Choice, Digit, Expression
from firsthand.reward import Router

THINKING = "<think>\nThe picture shows what is asked for, so I work it out step by step.\n</think>\n"


@dataclass(frozen=True)
class Pair:
    """A reply and its gold answer."""

    reply: str
    gold: Answer


def maths(rng: random.Random) -> Pair:
    """Half plain numbers, half expressions; half of each are right."""
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    right = rng.random() < 0.5
    wrong = 0 if right else 1
    forms = (
        (str(a * b), str(a * b + wrong)),
        (rf"\frac{{{a}}}{{{b}}}", f"{a + wrong}/{b}"),
        (rf"{a}x^2+{b}x+{c}", rf"{c}+{b}x+{a + wrong}x^2"),
        (rf"{a}\sqrt{{{b}}}", rf"{a + wrong}\sqrt{{{b}}}"),
        (f"y={a}x+{b}", f"y={b}+{a + wrong}x"),
        (f"{a}.{b}", f"{a + wrong}.{b}"),
    )
    gold, said = rng.choice(forms)
    return Pair(f"{THINKING}<answer>${said}$</answer>", Expression(latex=gold))


def mixed(rng: random.Random) -> Pair:
    """A quarter each: digits, letters, boxes, maths."""
    number, letter = rng.randint(0, 40), rng.choice("ABCD")
    corners = [round(rng.uniform(0, 0.5), 2) for _ in range(2)]
    box = (*corners, corners[0] + 0.3, corners[1] + 0.4)
    return rng.choice(
        (
            Pair(f"{THINKING}<answer>{number}</answer>", Digit(value=str(number))),
            Pair(f"{THINKING}<answer>({letter})</answer>", Choice(letter=rng.choice("ABCD"))),
            Pair(f"{THINKING}<answer>{[round(v + 0.05, 2) for v in box]}</answer>", Box(xyxy=box)),
            maths(rng),
        )
    )


def router_seconds(router: Router, pairs: Sequence[Pair]) -> float:
    """Wall seconds to judge the pairs."""
    began = time.perf_counter()
    verdicts = router.judge_many([(pair.reply, pair.gold) for pair in pairs])
    assert all(verdict.score is not None for verdict in verdicts)
    return time.perf_counter() - began


def plain_seconds(pairs: Sequence[Pair]) -> float:
    """Wall seconds of math-verify alone."""
    began = time.perf_counter()
    for pair in pairs:
        verify(parse(f"${pair.gold.text}$"), parse(pair.reply))
    return time.perf_counter() - began


def measure(kind: str, router: Router, number: int, rounds: int) -> dict[str, object]:
    """Replies per second of both sides, and the median of the rounds' ratios."""
    make = {"maths": maths, "mixed": mixed}[kind]
    rng = random.Random(f"{kind} 0")
    ours, theirs = [], []
    for turn in range(rounds):
        pairs = [make(rng) for _ in range(number)]
        if turn % 2:
            theirs.append(plain_seconds(pairs))
            ours.append(router_seconds(router, pairs))
        else:
            ours.append(router_seconds(router, pairs))
            theirs.append(plain_seconds(pairs))
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "router_per_s": number / statistics.median(ours),
        "math_verify_per_s": number / statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--number", type=int, default=1000, help="replies per round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with Router(args.workers, deadline_s=60.0) as router:
        warm_up = [Pair(r"<answer>\sqrt{2x}</answer>", Expression(latex=r"\sqrt{2}\sqrt{x}"))] * (8 * args.workers)
        router_seconds(router, warm_up)
        plain_seconds(warm_up)
        results = {kind: measure(kind, router, args.number, args.rounds) for kind in ("maths", "mixed")}
    cores = len(os.sched_getaffinity(0))
    report = {"cores": cores, "load": os.getloadavg(), "python": platform.python_version(), **vars(args), **results}
    text = json.dumps(report, indent=2, default=str)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
