"""Rewards: what is read, refused and left unmeasured; and that no reply hangs, crashes or outlives the router."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthand.answers.numbers import read_number
from firsthand.records import Answer, Box, Choice, Digit, Example, Expression, OpenEnded, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.box import iou
from firsthand.reward.math import as_latex, equal_numbers, judge_math
from firsthand.workers import pool

OK, UNPARSED, WRONG_FORMAT = Status.OK, Status.UNPARSED, Status.WRONG_FORMAT
SEVEN = Digit(value="7")
LETTER_B = Choice(letter="B")
COLOURS = Choice(letter="B", options=("red", "dark blue", "green"))
CUPS = Choice(letter="A", options=("a cup", "Vitamin C. and D.", "a cup"))
SQUARE = Box(xyxy=(0.0, 0.0, 1.0, 1.0))
BOMB = "10^{10^{10}}"
THOROUGH = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


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


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    with Router(workers=1, deadline_s=60.0) as router:
        yield router


# ---- what the verifiers read

REPLIES: list[tuple[str, float, Status, str]] = [
    ("<answer>7</answer>", 1, OK, ""),
    ("<think>6?</think>so <answer>7</answer> it is", 1, OK, ""),
    ("6?</think><answer>7</answer>", 1, OK, ""),  # a chat template may have written the opening tag
    ("<think><answer>8</answer></think><answer>7</answer>", 1, OK, ""),
    ("7", 0, WRONG_FORMAT, "no <answer> block"),
    ("", 0, WRONG_FORMAT, "no <answer> block"),
    ("<think>7</think>", 0, WRONG_FORMAT, "no <answer> block"),
    ("<think><answer>7</answer></think>", 0, WRONG_FORMAT, "after the thinking"),
    ("<think><answer>7</answer>", 0, WRONG_FORMAT, "not closed"),
    ("<answer>7</answer><think>", 0, WRONG_FORMAT, "not closed"),
    ("<answer>7", 0, WRONG_FORMAT, "incomplete"),
    ("7</answer>", 0, WRONG_FORMAT, "incomplete"),
    ("</answer>7<answer>", 0, WRONG_FORMAT, "incomplete"),
    ("<answer>7</answer><answer>7</answer>", 0, WRONG_FORMAT, "2 <answer> blocks"),
    ("<answer><answer>7</answer></answer>", 0, WRONG_FORMAT, "2 <answer> blocks"),
    ("<answer>7</think></answer>", 0, WRONG_FORMAT, "incomplete"),
]


@pytest.mark.parametrize(("text", "score", "status", "why"), REPLIES)
def test_only_one_closed_answer_block_after_the_thinking_counts(
    router: Router, text: str, score: float, status: Status, why: str
) -> None:
    verdict = router.judge(text, SEVEN)
    assert (verdict.status, verdict.score) == (status, score)
    assert why in verdict.why


@pytest.mark.parametrize(
    "gold",
    [
        Digit(value="several"),
        Choice(letter="none"),
        Choice(letter="D", options=("red", "blue")),
        Box(xyxy=(1, 1, 0, 0)),
        Box(xyxy=(0, 0, float("nan"), 1)),
        maths(r"\frac{1}{"),
        maths("1/0"),
    ],
    ids=lambda gold: f"{gold.kind} {gold.text}",
)
def test_a_gold_that_cannot_be_read_leaves_the_reply_unmeasured(router: Router, gold: Answer) -> None:
    contents = {"digit": "7", "choice": "A", "box": "[0, 0, 1, 1]", "math": "7"}
    verdict = router.judge(reply(contents[gold.kind]), gold)
    assert (verdict.status, verdict.score) == (Status.FAILED, None)


@pytest.mark.parametrize("gold", [SEVEN, COLOURS, LETTER_B, SQUARE, maths("7")], ids=lambda gold: gold.kind)
@pytest.mark.parametrize("unit", ["7", "<answer>", "<think>", "$", "[0,", "\\boxed{", "A. ", " ", "(", "-", "1 "])
def test_a_hundred_kilobytes_of_anything_are_judged_at_once(router: Router, gold: Answer, unit: str) -> None:
    start = time.process_time()
    verdict = router.judge(reply(unit * (100_000 // len(unit))), gold)
    assert verdict.score == 0
    assert time.process_time() - start < 0.5
    assert len(verdict.parsed or "") < 300


@given(text=st.text(st.characters(exclude_categories=()) | st.sampled_from("$\\{}[]().,0123456789ABC^_-"), max_size=40))
@THOROUGH
def test_every_text_gets_a_verdict_that_can_be_written_down(router: Router, text: str) -> None:
    for gold in (SEVEN, COLOURS, LETTER_B, SQUARE):
        for whole in (text, f"<answer>{text}</answer>"):
            verdict = router.judge(whole, gold)
            assert verdict.score is not None
            assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_box_with_its_corners_in_the_wrong_order_is_told_so(router: Router) -> None:
    assert "expected x1 < x2" in router.judge(reply("[1, 0, 0, 1]"), SQUARE).why


corners = st.tuples(*[st.integers(0, 8)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@given(a=corners, b=corners)
@THOROUGH
def test_iou_is_the_share_of_cells_that_two_boxes_have_in_common(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    cells_a, cells_b = ({(x, y) for x in range(c[0], c[2]) for y in range(c[1], c[3])} for c in (a, b))
    expected = len(cells_a & cells_b) / len(cells_a | cells_b)
    assert iou((a[0], a[1], a[2], a[3]), (b[0], b[1], b[2], b[3])) == pytest.approx(expected)


# ---- numbers without a worker

small = st.integers(0, 30).map(str)
decimals = st.tuples(small, st.from_regex(r"\A[0-9]{1,4}\Z")).map(".".join)
ratios = st.tuples(small, st.integers(1, 12).map(str))
numbers = st.one_of(
    small,
    st.integers(0, 10**12 - 1).map(str),
    decimals,
    ratios.map("/".join),
    ratios.map(lambda r: rf"\frac{{{r[0]}}}{{{r[1]}}}"),
    st.sampled_from(["0.5", "1/2", "0.25", "3/12", "0.3333", "1/3", "0.0000", "2.0", "0", "30.0", "0.1", "1/10"]),
).flatmap(lambda n: st.sampled_from([n, n, "-" + n]))


@given(got=numbers, gold=numbers)
@THOROUGH
def test_plain_numbers_get_the_verdict_that_math_verify_gives_them(router: Router, got: str, gold: str) -> None:
    a, b = read_number(got), read_number(gold)
    assert a is not None and b is not None
    for left, right, known in ((got, gold, equal_numbers(a, b)), (got, got, equal_numbers(a, a))):
        answer = router._pool.ask({"prediction": as_latex(left), "gold": as_latex(right)})
        assert known is None or answer["equal"] is known


def test_plain_numbers_need_no_worker() -> None:
    def no_worker(_: object) -> dict[str, object]:
        raise AssertionError("asked a worker")

    for content, gold, score in [("12", "12", 1), ("$-1/2$", r"-\frac{1}{2}", 1), ("0.5", "1/2", 1), ("3", "4", 0)]:
        assert judge_math(content, maths(gold), no_worker).score == score


# ---- hangs, crashes, left-overs


@pytest.mark.parametrize("bomb", [BOMB, r"(x+y+z+w)^{400}", r"\prod_{n=1}^{100000000} n", "1000000000!"])
def test_a_comparison_that_never_ends_is_killed_at_the_deadline(bomb: str) -> None:
    with Router(deadline_s=1.0) as router:
        router._pool.ask({"prediction": "$x$", "gold": "$x$"})  # started: the start does not count as comparing
        zygote, first = router.worker_pids
        start = time.monotonic()
        verdict = router.judge(reply(bomb), maths("7"))
        assert time.monotonic() - start < 2.0
        assert (verdict.status, verdict.score, verdict.parsed) == (Status.TIMED_OUT, None, bomb)
        assert router.judge(reply("x+x"), maths("2x")).score == 1
        assert not is_alive(first)
        assert router.worker_pids[0] == zygote  # a fork, not another import


def test_the_next_comparison_after_a_kill_gets_a_fresh_worker() -> None:
    with Router(deadline_s=3.0) as router:
        batch = [(reply("x+x"), maths("2x")), (reply(BOMB), maths("7")), (reply("x+x"), maths("2x"))]
        assert [v.status for v in router.judge_many(batch)] == [OK, Status.TIMED_OUT, OK]


def test_a_worker_that_dies_while_comparing_leaves_the_reply_unmeasured() -> None:
    with Router(deadline_s=30.0) as router:
        assert router.judge(reply("x+x"), maths("2x")).score == 1
        pid = router.worker_pids[1]
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        verdict = router.judge(reply(BOMB), maths("7"))
        killer.join()
        assert (verdict.status, verdict.score) == (Status.FAILED, None)
        assert "-9" in verdict.why
        assert router.judge(reply("x+x"), maths("2x")).score == 1


def test_a_worker_that_was_killed_while_idle_costs_one_reply_and_no_exception() -> None:
    with Router(deadline_s=30.0) as router:
        router.judge(reply("x+x"), maths("2x"))
        pid = router.worker_pids[1]
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.01)
        verdicts = router.judge_many([(reply("x+x"), maths("2x"))] * 2)
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
        router.judge(reply("x+x"), maths("2x"))
        zygote, child = router.worker_pids
        os.kill(zygote, signal.SIGKILL)
        assert router.judge(reply(BOMB), maths("7")).status is Status.TIMED_OUT
        assert router.judge(reply("x+x"), maths("2x")).score == 1
        assert zygote not in router.worker_pids
    state = Path(f"/proc/{child}/stat")  # killed; whoever adopted it may take its time to reap it
    while state.exists() and state.read_text().split()[2] != "Z":
        time.sleep(0.01)


def test_no_worker_starts_before_it_is_needed_and_none_is_left_behind() -> None:
    with Router(workers=2) as router:
        router.judge_many([(reply("7"), SEVEN), (reply("A"), LETTER_B), (reply("12"), maths("12"))])
        assert router.worker_pids == ()
        router.judge_many([(reply("x+x"), maths("2x"))] * 8)
        pids = router.worker_pids
        assert 2 <= len(pids) <= 4
        assert all(is_alive(pid) for pid in pids)
    assert router.worker_pids == ()
    assert not any(is_alive(pid) for pid in pids)


def test_a_router_that_was_left_by_an_exception_leaves_no_worker_behind() -> None:
    pids: tuple[int, ...] = ()
    with pytest.raises(KeyboardInterrupt), Router() as router:
        router.judge(reply("x+x"), maths("2x"))
        pids = router.worker_pids
        raise KeyboardInterrupt
    assert pids and not any(is_alive(pid) for pid in pids)


def test_a_closed_router_starts_no_worker() -> None:
    router = Router()
    router.close()
    with pytest.raises(RuntimeError, match="closed"):
        router.judge(reply("x+x"), maths("2x"))
    assert router.worker_pids == ()


def test_a_worker_that_does_not_start_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "compare.py"
    script.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(pool, "MATHS", script)
    with Router() as router, pytest.raises(RuntimeError, match=r"exit status 3.*math-verify"):
        router.judge(reply("x+x"), maths("2x"))


def test_a_worker_neither_runs_the_parents_main_again_nor_loads_torch(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from firsthand.records import Expression\n"
        "from firsthand.reward import Router\n"
        "print('main', 'torch' in sys.modules)\n"
        "with Router() as router:\n"
        "    verdict = router.judge('<answer>x+x</answer>', Expression(latex='2x'))\n"
        "    for pid in router.worker_pids:\n"
        "        print('worker', verdict.score, 'torch' in open(f'/proc/{pid}/maps').read())\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=os.environ | path, check=True)
    assert done.stdout.splitlines() == ["main False", *["worker 1.0 False"] * 2]
    assert done.stderr == ""


# ---- the router


def test_verdicts_do_not_depend_on_order_batch_or_number_of_workers(router: Router) -> None:
    pairs = [(text, SEVEN) for text, *_ in REPLIES] + [(reply(text), maths("2x")) for text in ("x+x", "x", "x x", "")]
    order = random.Random(0).sample(range(len(pairs)), len(pairs))
    one_by_one = [router.judge(*pair) for pair in pairs]
    with Router(workers=2, deadline_s=60.0) as two:
        shuffled = two.judge_many([pairs[i] for i in order])
    back: dict[int, Verdict] = dict(zip(order, shuffled, strict=True))
    assert [back[i] for i in range(len(pairs))] == one_by_one
    assert router.judge_many(pairs) == one_by_one
    assert router.judge_many([]) == []


def example(answer: Answer, question: str = "how many?") -> Example:
    return Example(question=question, images=(), answer=answer)


def test_data_whose_golds_score_themselves_passes_the_check(router: Router) -> None:
    box = Box(xyxy=(0.123456789, 0.2, 0.987654321, 0.9))  # written with 6 digits, so its IoU with itself is not 1
    router.check([example(a) for a in (SEVEN, LETTER_B, COLOURS, box, maths("y=|x+9|"), maths(r"30^\circ"))])


def test_open_answers_are_refused_before_training(router: Router) -> None:
    open_ended = example(OpenEnded(reference="a cat on a mat"))
    with pytest.raises(ValueError, match=rf"{open_ended.id} \(open\).*expected the kinds digit, choice, math, box"):
        router.check([example(SEVEN), open_ended])
    with pytest.raises(ValueError, match="kind 'open'"):
        router.judge_many([(reply("7"), SEVEN), (reply("a cat"), open_ended.answer)])


@pytest.mark.parametrize(
    "gold",
    [
        Digit(value="several"),
        Digit(value="7</answer>"),
        Choice(letter="D", options=("red", "blue")),
        Box(xyxy=(0.5, 0.5, 0.1, 0.1)),
        maths("1/0"),
        maths("1 000"),
    ],
    ids=lambda gold: gold.text,
)
def test_a_gold_that_its_own_verifier_rejects_is_refused_by_name(router: Router, gold: Answer) -> None:
    bad = example(gold, "which?")
    with pytest.raises(ValueError, match=f"score 1 against itself.*{bad.id} \\({gold.kind}") as refusal:
        router.check([example(SEVEN), bad])
    assert example(SEVEN).id not in str(refusal.value)


def test_a_long_list_of_bad_golds_is_counted_not_printed(router: Router) -> None:
    with pytest.raises(ValueError, match="and 7 more"):
        router.check([example(Digit(value="many"), f"question {i}") for i in range(12)])


@pytest.mark.parametrize(("workers", "deadline_s"), [(0, 5.0), (1, 0.0), (-1, 5.0)])
def test_a_router_without_workers_or_time_is_refused(workers: int, deadline_s: float) -> None:
    with pytest.raises(ValueError, match="expected workers >= 1 and deadline_s > 0, got"):
        Router(workers=workers, deadline_s=deadline_s)


def test_a_parent_that_holds_much_memory_does_not_starve_its_workers() -> None:
    # On Linux a child inherits its parent's peak in getrusage, across exec; training processes hold gigabytes.
    ballast = np.ones(100_000_000)
    with Router() as router:
        verdicts = [router.judge(r"<answer>\sqrt{8}</answer>", Expression(latex=r"2\sqrt{2}")) for _ in range(3)]
        assert [v.score for v in verdicts] == [1.0] * 3, verdicts
        assert len(router.worker_pids) == 2  # one zygote and its one child
    assert ballast.nbytes == 800_000_000
