"""Hostile replies: no crash, no hang, no worker left behind, and none that pays. The long run is marked slow."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hostile import CLASSES, PIECES, SCENE, block, hostile, several_blocks, sympy_bombs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthand.records import Choice, Digit, Example, Expression, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.open_ended import OpenVerifier, WordOverlap

DEADLINE_S = 1.0
BRIEF = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MEGABYTE = 1 << 20


def open_router(workers: int = 1) -> Router:
    return Router(workers, DEADLINE_S, open_ended=OpenVerifier(WordOverlap(), 0.2))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def children() -> set[int]:
    """The processes that this one has started and that have not been waited for."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def run(router: Router, cases: Iterable[tuple[str, str, Example]]) -> tuple[list[tuple[str, Verdict]], list[float]]:
    """The verdicts by class, and the seconds of each."""
    verdicts, seconds = [], []
    for name, reply, example in cases:
        began = time.monotonic()
        verdict = router.judge(reply, example)
        seconds.append(time.monotonic() - began)
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
        verdicts.append((name, verdict))
    return verdicts, seconds


def test_hostile_replies_of_every_class_get_a_verdict_in_time_and_leave_no_worker() -> None:
    before = children()
    with open_router() as router:
        router.judge(block(r"\sqrt{2x}"), Expression(latex=r"\sqrt{2}\sqrt{x}"))
        verdicts, seconds = run(router, hostile(10 * len(CLASSES), seed=1))
    assert len(verdicts) == 10 * len(CLASSES)
    assert max(seconds) < DEADLINE_S + 1
    assert children() == before


def many(number: int) -> dict[str, float]:
    """Judge so many hostile replies; the slowest in seconds, what this process grew by and a worker held, in bytes."""
    ours, statuses, slowest, workers = [], Counter[str](), 0.0, 0
    with open_router() as router:
        router.judge(block(r"\sqrt{2x}"), Expression(latex=r"\sqrt{2}\sqrt{x}"))
        cases = list(hostile(number, seed=20_261_121))
        for first in range(0, number, 250):
            verdicts, seconds = run(router, cases[first : first + 250])
            statuses.update(verdict.status for _, verdict in verdicts)
            slowest = max(slowest, *seconds)
            ours.append(resident(os.getpid()))
            workers = max(workers, *map(resident, router.worker_pids), 0)
    return {"slowest_s": slowest, "grown": ours[-1] - ours[1], "worker": workers, "left": len(children()), **statuses}


@pytest.mark.slow
def test_thousands_of_hostile_replies_cost_neither_a_crash_nor_memory() -> None:
    # 125 of each class: memory that every reply cost shows between blocks of 250. docs/rewards.md has HOSTILE=5004.
    number = int(os.environ.get("HOSTILE", "1500"))
    # A process of its own: what other tests have left in this one's heap would be measured too.
    script = f"import json, test_reward_hostile; print(json.dumps(test_reward_hostile.many({number})))"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["slowest_s"] < DEADLINE_S + 1
    assert found["grown"] < 10 * MEGABYTE
    assert found["left"] == 0


@given(text=st.lists(st.sampled_from(PIECES), max_size=30).map("".join), other=st.text(max_size=20))
@BRIEF
def test_any_soup_of_signs_is_judged_without_an_error(text: str, other: str) -> None:
    with open_router() as router:
        for _, _, example in hostile(len(CLASSES), seed=2):
            if example.answer.kind != "math":  # its workers would have to start for every example
                for reply in (text, block(text), block(other + text)):
                    verdict = router.judge(reply, example)
                    assert (verdict.score is None) == (verdict.status in (Status.FAILED, Status.TIMED_OUT))


def test_naming_everything_never_pays() -> None:
    with open_router() as router:
        colours = Choice(letter="B", options=("red", "dark blue", "green"))
        for name, reply, _ in hostile(40 * len(CLASSES), seed=3):
            if name in ("repeats_every_option", "several_blocks"):
                assert router.judge(reply, colours).score == router.judge(reply, Choice(letter="B")).score == 0, reply
                assert router.judge(reply, Digit(value="7")).score == 0, reply


def test_a_reply_cannot_beat_the_scene_itself_by_talking_to_the_judge() -> None:
    with open_router() as router:
        cases = [case for case in hostile(20 * len(CLASSES), seed=4) if case[0] == "addresses_the_judge"]
        best = router.judge(block(SCENE), next(e for _, _, e in hostile(200, seed=4) if e.answer.kind == "open")).score
        assert best is not None
        for _, reply, example in cases:
            verdict = router.judge(reply, example)
            assert example.answer.kind == "box" or (verdict.score or 0.0) < max(best, 0.5), reply


def test_the_classes_are_made_by_their_seed() -> None:
    assert list(hostile(50, seed=5)) == list(hostile(50, seed=5))
    assert {several_blocks.__name__, sympy_bombs.__name__} <= {name for name, _, _ in hostile(len(CLASSES), seed=5)}
