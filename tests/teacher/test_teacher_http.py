"""A client against a real server that misbehaves: every row one outcome, in order; what is paid for is kept."""

import itertools
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import Server

from firsthand.errors import DataError, RecipeError
from firsthand.records import Picture
from firsthand.teacher import (
    AnswerLog,
    BatchClient,
    Budget,
    BudgetSpent,
    Completion,
    Endpoint,
    Failure,
    Message,
    Outage,
    Outcome,
    Request,
    check_endpoints,
)
from firsthand.teacher.batch_client import LOOK_AHEAD

pytestmark = pytest.mark.usefixtures("short_naps")
KEY = "sk-0123456789-secret"


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server(latency_s=0.0)
    yield started
    started.stop()


def ask(endpoint: Endpoint, text: str) -> Request:
    return endpoint.request(Message(role="user", text=text))


def outcomes(client: BatchClient, endpoint: Endpoint, texts: list[str]) -> list[Outcome]:
    """What a client makes of these prompts, after a look at the order."""
    pairs = list(client.answers((i, ask(endpoint, text)) for i, text in enumerate(texts)))
    assert [i for i, _ in pairs] == list(range(len(texts)))
    return [outcome for _, outcome in pairs if outcome is not None]


@pytest.mark.parametrize("trouble", ["408 409 425", "429 429/0", "500 502 503 529", "reset", "cut", "half", "error200"])
def test_trouble_that_passes_is_sat_out(server: Server, log: AnswerLog, trouble: str) -> None:
    endpoint = server.endpoint()
    client = BatchClient(endpoint, log, step="caption")
    text = f"x: {trouble} ok"
    answer = Completion(text=f"answer to {text}", prompt_tokens=10, completion_tokens=5, model="m-01")
    assert outcomes(client, endpoint, [text]) == [answer]
    assert client.progress.retried == len(trouble.split())
    assert server.seen["answered"] == {text: 1}


@pytest.mark.parametrize("trouble", ["hang", "drip"])
def test_an_attempt_ends_at_its_deadline_whatever_the_server_does(server: Server, log: AnswerLog, trouble: str) -> None:
    endpoint = server.endpoint(timeout_s=0.3)
    began = time.monotonic()
    (outcome,) = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, [f"x: {trouble} ok"])
    assert isinstance(outcome, Completion)
    assert 0.3 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("empty", "empty"),
        ("refusal", "refused"),
        ("filter", "filtered"),
        ("length", "truncated"),
        ("400", "rejected"),
        ("400/filter", "filtered"),
        ("413", "rejected"),
    ],
)
def test_a_failure_that_would_stay_is_asked_once_and_kept(
    server: Server, log: AnswerLog, what: str, reason: str
) -> None:
    endpoint = server.endpoint(most=1)
    texts = ["fine", f"x: {what}"]
    for _ in range(2):
        _, failure = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts)
        assert isinstance(failure, Failure)
        assert failure.reason == reason
    assert server.seen["attempts"] == {"fine": 1, f"x: {what}": 1}


@pytest.mark.parametrize("header", ["429/1", "503/1", "429@2"])
def test_a_retry_after_holds_back_everybody(server: Server, log: AnswerLog, header: str) -> None:
    endpoint = server.endpoint(most=1)
    outcomes(BatchClient(endpoint, log, step="caption"), endpoint, [f"x: {header} ok", "y", "z"])
    at = server.seen["at"]
    first, second = at[f"x: {header} ok"]
    assert min(second, *at["y"], *at["z"]) - first >= 0.95  # a date has whole seconds: 2 may be 1 and a bit


def test_a_server_that_wants_to_be_left_alone_for_a_day_ends_the_run(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint(most=1)
    with pytest.raises(Outage, match="left alone for 86,400 s: 429"):
        outcomes(BatchClient(endpoint, log, step="caption"), endpoint, ["fine", "x: 429/86400", "later"])
    assert server.seen["attempts"] == {"fine": 1, "x: 429/86400": 1}
    assert log.get(ask(endpoint, "fine").key) is not None


def test_under_any_mix_of_troubles_every_row_has_one_outcome_and_is_answered_once(
    server: Server, log: AnswerLog, seed: int
) -> None:
    rng = random.Random(seed)
    troubles = ["429", "429/0", "500", "503", "reset", "cut", "half", "error200", "hang"]
    texts = [f"{i}: {' '.join(rng.choices(troubles, k=rng.choice([0, 0, 1, 2])))} ok" for i in range(300)]
    endpoint = server.endpoint(most=64, timeout_s=0.3)
    first = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts)
    assert [outcome.text for outcome in first if isinstance(outcome, Completion)] == [f"answer to {t}" for t in texts]
    seen = server.seen
    assert seen["answered"] == dict.fromkeys(texts, 1)
    assert seen["most"] <= 64

    again = BatchClient(endpoint, log, step="caption")
    assert outcomes(again, endpoint, texts) == first
    assert server.seen["attempts"] == seen["attempts"]
    assert (again.progress.asked, again.progress.from_log, again.progress.tokens) == (0, 300, 0)


def test_what_nobody_answers_is_given_up_and_asked_again_by_the_next_run(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint(attempts=3)
    texts = ["x: 500 500 reset ok", "y"]
    lost, fine = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts)
    assert isinstance(fine, Completion)
    assert isinstance(lost, Failure)
    assert lost.reason == "unanswered"
    assert "3 attempts" in lost.detail
    assert all(isinstance(o, Completion) for o in outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts))
    assert server.seen["attempts"] == {texts[0]: 4, "y": 1}


@pytest.mark.parametrize("status", [401, 402, 403, 404, 302])
def test_a_wrong_setting_stops_the_run_and_what_was_answered_is_kept(
    server: Server, log: AnswerLog, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    endpoint = server.endpoint(most=2, key_env="TEACHER_KEY")
    texts = ["a", "b", f"x: {status}", *(f"later {i}" for i in range(100))]
    told: list[str] = []
    with pytest.raises(RecipeError, match=f"answered {status}.*TEACHER_KEY") as caught:
        for text, _ in BatchClient(endpoint, log, step="caption").answers((t, ask(endpoint, t)) for t in texts):
            told.append(text)
    assert told == ["a", "b"]
    assert KEY not in str(caught.value)
    answered = server.seen["answered"]
    assert len(answered) < 10
    assert set(log.get_many(ask(endpoint, t).key for t in texts)) == {ask(endpoint, t).key for t in answered}


@pytest.mark.parametrize(("path", "is_told"), [("", True), ("/v1", False)])
def test_an_address_without_a_version_is_told_what_it_may_lack(
    server: Server, log: AnswerLog, path: str, is_told: bool
) -> None:
    host = f"http://127.0.0.1:{server.port}"
    endpoint = server.endpoint().model_copy(update={"base_url": host + path})
    with pytest.raises(RecipeError, match="answered 404") as caught:
        list(BatchClient(endpoint, log, step="caption").answers([("x", ask(endpoint, "x: 404"))]))
    assert (f"base_url: {host}/v1" in str(caught.value)) is is_told
    assert "key_env (not set)" in str(caught.value)


def test_a_key_that_is_not_in_the_environment_is_missed_before_anything_is_asked(
    server: Server, log: AnswerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(RecipeError, match="environment variable TEACHER_KEY"):
        BatchClient(server.endpoint(key_env="TEACHER_KEY"), log, step="caption")


def test_the_key_is_sent_and_is_nowhere_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEACHER_KEY", KEY)
    endpoint = server.endpoint(key_env="TEACHER_KEY", attempts=2)
    shown = [repr(endpoint), endpoint.model_dump_json()]
    with AnswerLog(tmp_path / "answers.db") as log:
        client = BatchClient(endpoint, log, step="caption")
        # The server quotes the key in every refusal; the rejected one is written to the log.
        shown += map(repr, outcomes(client, endpoint, ["fine", "x: 400", "y: 500", "z: reset"]))
        assert server.get("/last")["headers"]["authorization"] == f"bearer {KEY}"
        shown += [repr(client), repr(vars(client)), caplog.text]
        assert sum("[key]" in text for text in shown) == 2  # or nothing would have been tested
        shown += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*")]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*")]
    assert not any(KEY in text for text in shown)


def test_a_budget_ends_a_run_cleanly_and_a_larger_one_goes_on(server: Server, tmp_path: Path) -> None:
    endpoint = server.endpoint(most=4, prompt_price=1.0, completion_price=1.0)
    texts = [f"row {i}" for i in range(100)]
    with AnswerLog(tmp_path / "answers.db") as log:
        outcomes(BatchClient(endpoint, log, Budget(tokens=600), step="caption"), endpoint, texts[:20])
        client = BatchClient(endpoint, log, Budget(tokens=600), step="distill")
        with pytest.raises(BudgetSpent, match="of 600 tokens"):
            outcomes(client, endpoint, texts)
        answered = server.seen["answered"]
        assert 40 <= len(answered) <= 40 + 4  # 15 tokens each, and four may be in flight when the last one is paid
        assert set(log.get_many(ask(endpoint, t).key for t in texts)) == {ask(endpoint, t).key for t in answered}
        assert client.progress.dollars == pytest.approx((len(answered) - 20) * 15e-6)
    with AnswerLog(tmp_path / "answers.db") as log:
        with pytest.raises(BudgetSpent):
            outcomes(BatchClient(endpoint, log, Budget(tokens=600), step="distill"), endpoint, texts)
        assert server.seen["answered"] == answered
        outcomes(BatchClient(endpoint, log, Budget(tokens=1600), step="distill"), endpoint, texts)
    assert server.seen["answered"] == dict.fromkeys(texts, 1)


def test_a_budget_that_nobody_counts_is_refused(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint()
    with pytest.raises(RecipeError, match="no token counts"):
        outcomes(BatchClient(endpoint, log, Budget(tokens=600), step="caption"), endpoint, ["x: unpriced"])
    assert len(outcomes(BatchClient(endpoint, log, step="caption"), endpoint, ["x: unpriced"])) == 1
    assert server.seen["answered"] == {"x: unpriced": 1}


def test_an_outage_stops_the_run_before_it_turns_the_rows_into_failures(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint(attempts=2, most=4)
    texts = [*(f"fine {i}" for i in range(10)), *(f"row {i}: 500" for i in range(500))]
    told: list[Outcome | None] = []
    with pytest.raises(Outage, match="the last: 2 attempts; the last: 500"):
        for _, outcome in BatchClient(endpoint, log, step="caption").answers((t, ask(endpoint, t)) for t in texts):
            told.append(outcome)
    assert sum(isinstance(outcome, Completion) for outcome in told) == 10
    assert len(told) <= 10 + 20
    assert len(server.seen["attempts"]) < 10 + 40


def test_a_server_that_is_not_there_is_told_at_the_first_request_with_its_address(log: AnswerLog) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{free.getsockname()[1]}/v1", model="m")
        with pytest.raises(Outage, match=rf"{endpoint.url} cannot be reached: .*Start the server, or correct base_url"):
            outcomes(BatchClient(endpoint, log, step="caption"), endpoint, [f"row {i}" for i in range(100)])


@pytest.mark.parametrize("trouble", ["500", "half", "error200", "reset"])
def test_a_server_that_never_answers_is_told_after_three_requests(server: Server, log: AnswerLog, trouble: str) -> None:
    endpoint = server.endpoint()
    texts = [f"{i}: {trouble}" for i in range(100)]
    with pytest.raises(
        Outage, match=rf"{endpoint.url} has answered none of the first 3 requests; the last: 4 attempts"
    ):
        outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts)
    assert server.seen["attempts"] == dict.fromkeys(texts[:3], 4)


def test_requests_go_one_at_a_time_until_one_is_answered_and_then_together(log: AnswerLog) -> None:
    server = Server(latency_s=0.2)
    try:
        endpoint = server.endpoint(most=8)
        texts = ["first", *(f"row {i}" for i in range(8))]
        outcomes(BatchClient(endpoint, log, step="caption"), endpoint, texts)
        seen = server.seen
        assert min(seen["at"][text][0] for text in texts[1:]) >= seen["at"]["first"][0] + 0.2
        assert seen["most"] == 8
    finally:
        server.stop()


def test_endpoints_are_checked_by_one_request_each(server: Server) -> None:
    endpoint = server.endpoint()
    check_endpoints([endpoint, endpoint.model_copy(update={"temperature": 1.0})])
    assert server.seen["attempts"] == {"Say OK.": 1}


def test_what_is_rejected_before_anything_was_answered_is_not_kept(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint(most=1)
    (first,) = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, ["x: 400 ok"])
    assert isinstance(first, Failure)
    (second,) = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, ["x: 400 ok"])
    assert isinstance(second, Completion)
    with pytest.raises(Outage):
        outcomes(BatchClient(endpoint, log, step="caption"), endpoint, [f"{i}: 400" for i in range(100)])


def test_equal_requests_that_are_under_way_are_asked_once(log: AnswerLog) -> None:
    server = Server(latency_s=0.1)
    try:
        endpoint = server.endpoint(most=2)
        told = outcomes(BatchClient(endpoint, log, step="caption"), endpoint, ["a", "b", "a"] * 10)
        assert len(told) == 30
        assert server.seen["attempts"] == {"a": 1, "b": 1}
    finally:
        server.stop()


def test_a_slow_row_lets_others_pass_but_only_so_many(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint(most=4, timeout_s=1.0, attempts=2)
    pulled = itertools.count()
    latest = 0

    def rows() -> Iterator[tuple[int, Request]]:
        nonlocal latest
        for latest in pulled:
            yield latest, ask(endpoint, "0: hang ok" if latest == 0 else str(latest))

    answers = BatchClient(endpoint, log, step="caption").answers(rows())
    next(answers)
    assert 4 < latest <= 2 * LOOK_AHEAD * 4
    ahead = latest
    taken = list(itertools.islice(answers, 500))
    assert [i for i, _ in taken] == list(range(1, 501))
    assert latest <= 501 + 2 * ahead
    answers.close()


def test_closing_early_leaves_no_thread_and_no_socket(server: Server, log: AnswerLog) -> None:
    endpoint = server.endpoint()
    before = set(threading.enumerate())
    answers = BatchClient(endpoint, log, step="caption").answers(
        (i, ask(endpoint, f"{i}: hang" if i > 3 else "fine")) for i in range(100)
    )
    for _ in range(3):
        next(answers)
    assert set(threading.enumerate()) > before
    assert server.seen["open"] > 1
    answers.close()
    assert set(threading.enumerate()) == before
    end = time.monotonic() + 5
    while server.seen["open"] > 1 and time.monotonic() < end:  # one is this question's own
        time.sleep(0.02)
    assert server.seen["open"] == 1


def test_rows_that_end_in_an_error_leave_what_was_asked_in_the_log(log: AnswerLog) -> None:
    server = Server(latency_s=0.3)

    def rows() -> Iterator[tuple[int, Request]]:
        yield from ((i, ask(endpoint, f"row {i}")) for i in range(8))
        time.sleep(0.1)
        raise DataError("row 8 is torn")

    try:
        endpoint = server.endpoint(most=2)
        with pytest.raises(DataError, match="row 8 is torn"):
            list(BatchClient(endpoint, log, step="caption").answers(rows()))
        assert log.spent().requests == len(server.seen["attempts"]) == 1  # the first request goes alone
    finally:
        server.stop()


def test_a_picture_that_has_gone_is_named(server: Server, log: AnswerLog, tmp_path: Path) -> None:
    endpoint = server.endpoint()
    gone = Picture(sha256="ab" * 32, width=1, height=1, path=str(tmp_path / "gone.png"))
    request = endpoint.request(Message(role="user", text="?", images=(gone,)))
    with pytest.raises(DataError, match=r"gone\.png"):
        list(BatchClient(endpoint, log, step="caption").answers([(0, request)]))


CLIENT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this
from firsthand.teacher import AnswerLog, BatchClient, Endpoint, InFlight, Message
endpoint = Endpoint(base_url=sys.argv[1], model="m", in_flight=InFlight(start=8, max=8))
with AnswerLog(Path(sys.argv[2])) as log:
    rows = ((i, endpoint.request(Message(role="user", text=f"row {i}"))) for i in range(int(sys.argv[3])))
    print("asking", flush=True)
    for i, outcome in BatchClient(endpoint, log, step="caption").answers(rows):
        print(i, outcome.text, flush=True)
"""


def client(server: Server, log: Path, rows: int) -> "subprocess.Popen[str]":
    url = f"http://127.0.0.1:{server.port}/v1"
    command = [sys.executable, "-c", CLIENT, url, str(log), str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_kill_at_any_moment_loses_or_repeats_an_answer(tmp_path: Path, seed: int) -> None:
    server, path, rng, kills = Server(latency_s=0.02), tmp_path / "answers.db", random.Random(seed), 6
    keys = {text: ask(server.endpoint(), text).key for text in (f"row {i}" for i in range(800))}
    kept: dict[str, int] = {}
    try:
        for _ in range(kills):
            process = client(server, path, 800)
            assert process.stdout is not None
            assert process.stdout.readline() == "asking\n"
            lines = [process.stdout.readline() for _ in range(len(kept) + rng.randint(0, 80))]
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
            lines += process.stdout.read().splitlines()[:-1]  # communicate() would skip what readline() has buffered
            process.communicate()
            printed = {int(line.split()[0]) for line in lines}
            with AnswerLog(path) as log:
                known = {text for text, key in keys.items() if log.get(key) is not None}
            assert {f"row {i}" for i in printed} <= known
            attempts = server.seen["attempts"]
            assert {text: attempts[text] for text in kept} == kept
            kept = {text: attempts[text] for text in known}
        assert 0 < len(kept) < 800
        output, errors = client(server, path, 800).communicate(timeout=60)
        assert errors == ""
        assert output.splitlines()[1:] == [f"{i} answer to row {i}" for i in range(800)]
        attempts = server.seen["attempts"]
        assert {text: attempts[text] for text in kept} == kept
        assert sum(attempts.values()) <= 800 + kills * 8
    finally:
        server.stop()


def test_an_interrupt_ends_a_run_at_once_and_keeps_what_was_answered(tmp_path: Path) -> None:
    server, path = Server(latency_s=0.02), tmp_path / "answers.db"
    try:
        process = client(server, path, 100_000)
        assert process.stdout is not None
        for _ in range(50):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 1)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert errors.count("Traceback") == 1
        with AnswerLog(path) as log:
            assert log.spent().requests >= 49 + len(output.splitlines())
    finally:
        server.stop()
    assert os.listdir(tmp_path) == ["answers.db"]
