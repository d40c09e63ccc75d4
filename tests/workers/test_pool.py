"""Workers: no comparison hangs or crashes the caller, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from firsthand.records import Choice, Digit, Expression, Status
from firsthand.reward import Router
from firsthand.workers import pool

OK = Status.OK
BOMB = "10^{10^{10}}"
ROOTS, ROOT = r"\sqrt{2x}", r"\sqrt{2}\sqrt{x}"
"""Equal, and not to be told in this process: a worker has to."""


def maths(latex: str) -> Expression:
    return Expression(latex=latex)


def reply(content: str) -> str:
    return f"<think>\nlet me see\n</think>\n<answer>{content}</answer>"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("bomb", [BOMB, r"\prod_{n=1}^{100000000} n", "1000000000!"])
def test_a_comparison_that_never_ends_is_killed_at_the_deadline(bomb: str) -> None:
    with Router(deadline_s=1.0) as router:
        router._pool.ask({"prediction": "$x$", "gold": "$x$"})  # started: the start does not count as comparing
        zygote, first = router.worker_pids
        start = time.monotonic()
        verdict = router.judge(reply(bomb), maths("7"))
        assert time.monotonic() - start < 2.0
        assert (verdict.status, verdict.score, verdict.parsed) == (Status.TIMED_OUT, None, bomb)
        assert router.judge(reply(ROOTS), maths(ROOT)).score == 1
        assert not is_alive(first)
        assert router.worker_pids[0] == zygote  # a fork, not another import


def test_the_next_comparison_after_a_kill_gets_a_fresh_worker() -> None:
    with Router(deadline_s=3.0) as router:
        batch = [(reply(ROOTS), maths(ROOT)), (reply(BOMB), maths("7")), (reply(ROOTS), maths(ROOT))]
        assert [v.status for v in router.judge_many(batch)] == [OK, Status.TIMED_OUT, OK]


def test_a_worker_that_dies_while_comparing_leaves_the_reply_unmeasured() -> None:
    with Router(deadline_s=30.0) as router:
        assert router.judge(reply(ROOTS), maths(ROOT)).score == 1
        pid = router.worker_pids[1]
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        verdict = router.judge(reply(BOMB), maths("7"))
        killer.join()
        assert (verdict.status, verdict.score) == (Status.FAILED, None)
        assert "-9" in verdict.why
        assert router.judge(reply(ROOTS), maths(ROOT)).score == 1


def test_a_worker_that_was_killed_while_idle_costs_one_reply_and_no_exception() -> None:
    with Router(deadline_s=30.0) as router:
        router.judge(reply(ROOTS), maths(ROOT))
        pid = router.worker_pids[1]
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.01)
        verdicts = router.judge_many([(reply(ROOTS), maths(ROOT))] * 2)
        assert [v.status for v in verdicts] == [Status.FAILED, OK]


def test_a_comparison_that_eats_memory_is_unmeasured_not_wrong() -> None:
    with Router(deadline_s=60.0) as router:
        verdict = router.judge(reply("(1+x)^{1000000}"), maths("x+7"))
        assert (verdict.status, verdict.score) == (Status.FAILED, None), verdict


def test_a_worker_whose_parent_is_gone_ends_itself() -> None:
    request = b'{"n": 1, "prediction": "$10^{10^{10}}$", "gold": "$7$", "deadline_s": 0.2}\n'
    command = [sys.executable, "-P", str(pool.ZYGOTE), str(pool.MATHS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdin is not None and orphan.stdout is not None
        said = [orphan.stdout.readline() for _ in range(2)]
        child = json.loads(said[1])["ready"]
        orphan.stdin.write(request)
        orphan.stdin.close()  # as when the parent is killed
        guard = threading.Timer(10, orphan.kill)
        guard.start()
        assert orphan.wait() == 0
        guard.cancel()
        assert f'{{"died": {-signal.SIGALRM}}}' in orphan.stdout.read().decode()
        assert not is_alive(child)


def test_a_worker_whose_zygote_was_killed_is_ended_and_replaced() -> None:
    with Router(deadline_s=2.0) as router:
        router.judge(reply(ROOTS), maths(ROOT))
        zygote, child = router.worker_pids
        os.kill(zygote, signal.SIGKILL)
        assert router.judge(reply(BOMB), maths("7")).status is Status.TIMED_OUT
        assert router.judge(reply(ROOTS), maths(ROOT)).score == 1
        assert zygote not in router.worker_pids
    state = Path(f"/proc/{child}/stat")  # killed; whoever adopted it may take its time to reap it
    while state.exists() and state.read_text().split()[2] != "Z":
        time.sleep(0.01)


def test_no_worker_starts_before_it_is_needed_and_none_is_left_behind() -> None:
    with Router(workers=2) as router:
        router.judge_many(
            [(reply("7"), Digit(value="7")), (reply("A"), Choice(letter="B")), (reply("12"), maths("12"))]
        )
        assert router.worker_pids == ()
        router.judge_many([(reply(ROOTS), maths(ROOT))] * 8)
        pids = router.worker_pids
        assert 2 <= len(pids) <= 4
        assert all(is_alive(pid) for pid in pids)
    assert router.worker_pids == ()
    assert not any(is_alive(pid) for pid in pids)


def test_a_router_that_was_left_by_an_exception_leaves_no_worker_behind() -> None:
    pids: tuple[int, ...] = ()
    with pytest.raises(KeyboardInterrupt), Router() as router:
        router.judge(reply(ROOTS), maths(ROOT))
        pids = router.worker_pids
        raise KeyboardInterrupt
    assert pids and not any(is_alive(pid) for pid in pids)


def test_a_closed_router_starts_no_worker() -> None:
    router = Router()
    router.close()
    with pytest.raises(RuntimeError, match="closed"):
        router.judge(reply(ROOTS), maths(ROOT))
    assert router.worker_pids == ()


def test_a_worker_that_does_not_start_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "compare.py"
    script.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(pool, "MATHS", script)
    with Router() as router, pytest.raises(RuntimeError, match=r"exit status 3.*math-verify"):
        router.judge(reply(ROOTS), maths(ROOT))


def test_a_worker_neither_runs_the_parents_main_again_nor_loads_torch(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from firsthand.records import Expression\n"
        "from firsthand.reward import Router\n"
        "print('main', 'torch' in sys.modules)\n"
        "with Router() as router:\n"
        "    verdict = router.judge('<answer>e^2</answer>', Expression(latex='e*e'))\n"
        "    for pid in router.worker_pids:\n"
        "        print('worker', verdict.score, 'torch' in open(f'/proc/{pid}/maps').read())\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=os.environ | path, check=True)
    assert done.stdout.splitlines() == ["main False", *["worker 1.0 False"] * 2]
    assert done.stderr == ""


def test_a_parent_that_holds_much_memory_does_not_starve_its_workers() -> None:
    # On Linux a child inherits its parent's peak in getrusage, across exec; training processes hold gigabytes.
    ballast = np.ones(100_000_000)
    with Router() as router:
        verdicts = [router.judge(r"<answer>\sqrt{8}</answer>", Expression(latex=r"2\sqrt{2}")) for _ in range(3)]
        assert [v.score for v in verdicts] == [1.0] * 3, verdicts
        assert len(router.worker_pids) == 2  # one zygote and its one child
    assert ballast.nbytes == 800_000_000
