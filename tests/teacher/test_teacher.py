"""What is said to teachers, and what is made of their answers: keys, the log, the limiter, the budget, batch files."""

import base64
import hashlib
import io
import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from firsthand.errors import DataError, RecipeError
from firsthand.records import Picture, Record, png
from firsthand.teacher import (
    AnswerLog,
    BatchClient,
    Budget,
    BudgetSpent,
    Completion,
    Endpoint,
    Failure,
    InFlight,
    Message,
    Outage,
    Outcome,
    Request,
    Spent,
    open_log,
    read_batch,
    write_batch,
)
from firsthand.teacher.budget import IN_A_ROW, Breaker
from firsthand.teacher.client import retry_after
from firsthand.teacher.completion import Garbled, read_completion
from firsthand.teacher.endpoint import body, data_url
from firsthand.teacher.limiter import LATENCY_SAMPLE, Limiter

PNG = png(Image.new("RGB", (1, 1)))
SEEN = Picture(sha256="ab" * 32, width=1, height=1, data=PNG)
ENDPOINT = Endpoint(base_url="http://localhost:8000/v1", model="small")
GOOD = Completion(text="three", thinking="one, two", prompt_tokens=10, completion_tokens=5, model="small-01")
CUT = Failure(reason="truncated", detail="cut", prompt_tokens=10, completion_tokens=4096)
LOST = Failure(reason="unanswered", detail="8 attempts; the last: 500")
REJECTED = Failure(reason="rejected", detail="400: too long")


def ask(text: str = "How many?", **changes: Any) -> Request:
    return Request(**{"model": "small", "messages": (Message(role="user", text=text),), **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"model": "large"},
        {"messages": (Message(role="user", text="How many!"),)},
        {"messages": (Message(role="system", text="How many?"),)},
        {"messages": (Message(role="user", text="How many?", images=(SEEN,)),)},
        {"temperature": 0.5},
        {"max_tokens": 1},
        {"seed": 0},
        {"as_json": True},
        {"extra": {"top_p": 0.5}},
    ],
)
def test_whatever_the_answer_depends_on_changes_the_key(change: dict[str, Any]) -> None:
    assert ask(**change).key != ask().key == ask().key


def test_a_picture_counts_by_its_content_and_not_by_its_place() -> None:
    elsewhere = Picture(sha256=SEEN.sha256, width=1, height=1, path="/gone.png")
    keys = {ask(messages=(Message(role="user", text="?", images=(p,)),)).key for p in (SEEN, elsewhere)}
    assert len(keys) == 1


def test_a_body_holds_the_settings_and_the_pictures_before_the_text() -> None:
    question = Message(role="user", text="How many?", images=(SEEN,))
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    request = ENDPOINT.request(Message(role="system", text="Be brief."), question)
    sent = body(request.model_copy(update={"seed": 7, "as_json": True}))
    assert sent == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": url},
                    },
                    {"type": "text", "text": "How many?"},
                ],
            },
        ],
        "temperature": 0.0,
        "max_tokens": 4096,
        "seed": 7,
        "response_format": {"type": "json_object"},
    }


def test_extra_fields_are_added_and_null_takes_one_away() -> None:
    reasoner = Endpoint(
        base_url="http://localhost/v1",
        model="r1",
        extra={"max_tokens": None, "temperature": None, "max_completion_tokens": 9},
    )
    sent = body(reasoner.request(Message(role="user", text="Hi")))
    assert sent == {"model": "r1", "messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 9}


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http://user:secret@host/v1", "http://host/v1?key=secret"]
)
def test_a_url_that_is_incomplete_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="expected a URL"):
        Endpoint(base_url=url, model="small")


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="start <= max"):
        InFlight(start=9, max=8)
    with pytest.raises(ValidationError, match="or neither"):
        Endpoint(base_url="http://localhost/v1", model="small", prompt_price=1.0)


@pytest.mark.parametrize(("heading", "settings"), [("Endpoint", Endpoint), ("Budget", Budget)])
def test_every_setting_is_documented_with_its_default(heading: str, settings: type[Record]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    told = {
        name: yaml.safe_load(default) for name, default in re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", section, re.M)
    }
    fields = settings.model_fields.items()
    made = {name: "required" if f.is_required() else f.get_default(call_default_factory=True) for name, f in fields}
    assert told == {name: d.model_dump() if isinstance(d, Record) else d for name, d in made.items()}


def completion(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], **fields}).encode()


@pytest.mark.parametrize(
    ("message", "thinking", "text"),
    [
        ({"content": " three\n"}, "", "three"),
        ({"content": "three", "reasoning_content": "one, two "}, "one, two", "three"),
        ({"content": "three", "reasoning": "one, two"}, "one, two", "three"),
        ({"content": "<think>\none, two\n</think>\n\nthree"}, "one, two", "three"),
        ({"content": "one, two</think>three"}, "one, two", "three"),
        ({"content": "Models write <think>x</think> first"}, "", "Models write <think>x</think> first"),
        ({"content": "half a pair: \ud800"}, "", "half a pair: ?"),
    ],
)
def test_thinking_is_kept_apart_from_the_answer(message: dict[str, Any], thinking: str, text: str) -> None:
    outcome = read_completion(completion(message))
    assert outcome == Completion(text=text, thinking=thinking)


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        ({"content": "three and"}, "length", "truncated"),
        ({"content": ""}, "content_filter", "filtered"),
        ({"content": None, "refusal": "I will not"}, "stop", "refused"),
        ({"content": "  "}, "stop", "empty"),
        ({"content": None}, "stop", "empty"),
        ({"content": "<think>one, two"}, "stop", "empty"),
        ({"content": "", "reasoning_content": "one, two"}, None, "empty"),
    ],
)
def test_what_is_no_usable_answer_has_its_reason_and_its_price(
    message: dict[str, Any], finish: str | None, reason: str
) -> None:
    outcome = read_completion(completion(message, finish, usage={"prompt_tokens": 3, "completion_tokens": 4}))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.prompt_tokens, outcome.completion_tokens) == (reason, 3, 4)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"<html>busy</html>",
        b"[" * 100_000,
        b"null",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": -1}}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"completion_tokens": 9223372036854775808}}',
    ],
)
def test_what_is_no_completion_is_garbled_and_never_an_answer(raw: bytes) -> None:
    with pytest.raises(Garbled):
        read_completion(raw)


def test_a_retry_after_is_read_as_seconds_and_as_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("2.5", now) == 2.5
    assert retry_after(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert retry_after(None, now) == retry_after("soon", now) == retry_after("-1", now) == retry_after("nan", now) == 0


def test_an_outcome_that_was_put_is_found_by_this_process_and_by_the_next(log: AnswerLog) -> None:
    for key, outcome in {"a": GOOD, "b": CUT, "c": REJECTED}.items():
        log.put(key, outcome, step="caption").result()
    with AnswerLog(log.path) as again:
        for opened in (log, again):
            assert opened.get_many(["a", "b", "c", "d"]) == {"a": GOOD, "b": CUT, "c": REJECTED}
            assert opened.get("d") is None


@pytest.mark.parametrize("earlier", ["judge.sqlite", "server.sqlite"])
def test_a_folders_log_goes_on_under_the_name_that_an_earlier_version_gave_it(tmp_path: Path, earlier: str) -> None:
    with AnswerLog(tmp_path / earlier) as log:
        log.put("a", GOOD, step="judge").result()
    with open_log(tmp_path) as log:
        assert log.get("a") == GOOD
    assert not (tmp_path / "answers.sqlite").exists()


def test_a_log_is_made_in_a_folder_and_without_one_ends_with_its_block(tmp_path: Path) -> None:
    with open_log(tmp_path / "runs") as log:
        assert log.path == tmp_path / "runs" / "answers.sqlite"
    with open_log(None) as log:
        log.put("a", GOOD, step="judge").result()
    assert not log.path.exists()


def test_what_nobody_answered_is_not_kept(log: AnswerLog) -> None:
    log.put("a", LOST, step="caption").result()
    assert log.get("a") is None
    assert log.spent() == Spent()


def test_of_two_answers_to_one_question_the_first_stays(log: AnswerLog) -> None:
    log.put("a", GOOD, step="caption").result()
    log.put("a", Completion(text="four"), step="caption").result()
    assert log.get("a") == GOOD


def test_more_keys_than_one_query_takes_are_found(log: AnswerLog) -> None:
    written = [log.put(str(i), Completion(text=str(i)), step="caption") for i in range(2000)]
    assert all(durable.result(timeout=30) is None for durable in written)
    assert {key: outcome.text for key, outcome in log.get_many(map(str, range(3000))).items()} == {
        str(i): str(i) for i in range(2000)
    }


def test_what_was_spent_is_told_by_step_and_over_all_runs(log: AnswerLog) -> None:
    log.put("a", GOOD, step="caption", dollars=0.25).result()
    log.put("b", CUT, step="distill", dollars=0.5).result()
    with AnswerLog(log.path) as again:
        again.put("c", GOOD, step="caption", dollars=0.25).result()
        assert again.spent("caption") == Spent(2, 20, 10, 0.5)
        assert again.spent() == Spent(3, 30, 4106, 1.0)
        assert again.spent().tokens == 4136
    with AnswerLog(log.path) as third:
        assert third.spent() == Spent(3, 30, 4106, 1.0)


def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one " * 50)
    before = path.read_bytes()
    with pytest.raises(DataError, match="expected a log of answers"):
        AnswerLog(path)
    assert path.read_bytes() == before


def test_an_answer_that_cannot_be_kept_is_not_handed_on(log: AnswerLog) -> None:
    with sqlite3.connect(log.path) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers WHEN NEW.key = 'b' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    other.close()
    log.put("a", GOOD, step="caption").result()
    with pytest.raises(DataError, match="disk full"):
        log.put("b", GOOD, step="caption").result()
    log.put("c", GOOD, step="caption").result()
    assert set(log.get_many("abc")) == {"a", "c"}


def feed(limiter: Limiter, rounds: int, latency_s: float, now: float = 0.0) -> float:
    """So many rounds in which all that the limiter admits is answered after the same time; returns the time."""
    for _ in range(rounds):
        for _ in range(int(limiter.limit)):
            limiter.answered(now, now + latency_s, int(limiter.limit))
        now += latency_s
    return now


def test_the_limit_doubles_until_the_first_cut_and_then_grows_by_one_per_latency() -> None:
    limiter = Limiter(start=4, most=1000)
    now = feed(limiter, rounds=3, latency_s=1.0)
    assert limiter.limit == 32
    limiter.overloaded(now, now + 1)
    assert limiter.limit == 16
    feed(limiter, rounds=4, latency_s=1.0, now=now + 1)
    assert limiter.limit == pytest.approx(20, abs=0.5)


def test_the_limit_stays_between_one_and_the_most() -> None:
    limiter = Limiter(start=4, most=10)
    now = feed(limiter, rounds=9, latency_s=1.0)
    assert limiter.limit == 10
    for i in range(9):
        limiter.overloaded(now + i, now + i + 0.5)
    assert limiter.limit == 1
    assert limiter.admits(0, now + 10)
    assert not limiter.admits(1, now + 10)


def test_a_storm_cuts_once_per_latency() -> None:
    limiter = Limiter(start=64, most=64)
    for i in range(64):
        limiter.overloaded(started=0.0, now=1.0 + i / 100)
    assert limiter.limit == 32
    limiter.overloaded(started=2.0, now=3.0)
    assert limiter.limit == 16


def test_a_pause_that_the_server_asks_for_holds_everybody_back() -> None:
    limiter = Limiter(start=64, most=64)
    limiter.overloaded(started=0.0, now=1.0, pause=30.0)
    limiter.overloaded(started=0.0, now=2.0, pause=1.0)
    assert not limiter.admits(0, 30.9)
    assert limiter.pause_left(21.0) == 10.0
    assert limiter.admits(0, 31.0)


def test_answers_that_take_many_times_longer_cut_the_limit_once() -> None:
    limiter = Limiter(start=64, most=64)
    now = feed(limiter, rounds=4, latency_s=1.0)
    now = feed(limiter, rounds=3, latency_s=10.0, now=now)
    assert 32 <= limiter.limit < 40
    feed(limiter, rounds=20, latency_s=10.0, now=now)
    assert limiter.limit > 45


def test_answers_of_very_different_length_cut_nothing() -> None:
    limiter, now = Limiter(start=64, most=64), 0.0
    for i in range(100 * LATENCY_SAMPLE):
        limiter.answered(now, now + (0.1, 0.3, 1.0, 4.0)[i * 7919 % 4], 64)
        now += 0.01
    assert limiter.limit == 64


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limiter = Limiter(start=8, most=64)
    for i in range(50):
        limiter.answered(float(i), i + 1.0, in_flight=3)
    assert limiter.limit == 8


def test_a_budget_ends_with_what_was_spent_and_how_to_go_on() -> None:
    Budget().check(Spent(10**6, 10**9, 10**9, 10**6))
    Budget(tokens=100).check(Spent(1, 60, 39, 0))
    with pytest.raises(BudgetSpent, match=r"1,200 of 1,000 tokens, over 7 requests.*raise the budget"):
        Budget(tokens=1000).check(Spent(7, 900, 300, 0))
    with pytest.raises(BudgetSpent, match=r"\$2\.50 of \$2\.00"):
        Budget(dollars=2).check(Spent(7, 900, 300, 2.5))


def test_a_budget_in_dollars_needs_prices(log: AnswerLog) -> None:
    with pytest.raises(RecipeError, match="prompt_price"):
        BatchClient(ENDPOINT, log, Budget(dollars=1), step="caption")
    priced = ENDPOINT.model_copy(update={"prompt_price": 2.0, "completion_price": 8.0})
    BatchClient(priced, log, Budget(dollars=1), step="caption")
    assert priced.dollars(GOOD) == pytest.approx(60e-6)


def test_a_row_of_lost_requests_is_an_outage_but_single_ones_are_not() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(IN_A_ROW - 1):
            breaker.note(LOST)
        breaker.note(CUT)
    for _ in range(IN_A_ROW - 1):
        breaker.note(LOST)
    with pytest.raises(Outage, match="the last: 8 attempts; the last: 500"):
        breaker.note(LOST)


def test_rejections_are_an_outage_only_where_nothing_was_ever_answered() -> None:
    proven, unproven = Breaker(), Breaker()
    proven.note(GOOD)
    for _ in range(3 * IN_A_ROW):
        proven.note(REJECTED)
    for _ in range(IN_A_ROW - 1):
        unproven.note(REJECTED)
    with pytest.raises(Outage):
        unproven.note(REJECTED)


class Script:
    """A teacher in this process that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, request: Request) -> Outcome:
        self.asked.append(request.messages[-1].text)
        return CUT if self.asked[-1].endswith("7") else Completion(text=f"answer to {self.asked[-1]}")


def test_a_scripted_teacher_is_asked_each_thing_once_in_order_and_never_again(log: AnswerLog) -> None:
    script = Script()
    rows = [(i, None if i % 10 == 5 else ask(str(i % 400))) for i in range(1000)]
    first = list(BatchClient(script, log, step="caption").answers(rows))
    assert [tag for tag, _ in first] == list(range(1000))
    assert first[405] == (405, None)
    assert first[407] == (407, CUT)
    assert first[408] == (408, Completion(text="answer to 8"))
    assert script.asked == [str(i) for i in range(400) if i % 10 != 5]
    client = BatchClient(script, log, step="caption")
    assert list(client.answers(rows)) == first
    assert len(script.asked) == 360
    assert (client.progress.asked, client.progress.from_log) == (0, 900)


def answer_line(key: str, **response: Any) -> str:
    content = {"status_code": 200, "body": json.loads(completion({"content": "three"})), **response}
    return json.dumps({"id": "x", "custom_id": key, "response": content, "error": None})


def test_a_batch_file_asks_what_is_not_known_and_its_answers_are_found(log: AnswerLog, tmp_path: Path) -> None:
    requests = [ask(str(i)) for i in range(5)]
    log.put(requests[0].key, GOOD, step="caption").result()
    (path,) = write_batch([*requests, requests[1]], tmp_path / "out", log, step="caption")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "custom_id": requests[1].key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body(requests[1]),
    }
    assert [line["custom_id"] for line in lines] == [request.key for request in requests[1:]]

    back = tmp_path / "output.jsonl"
    expired = json.dumps({"custom_id": requests[2].key, "response": None, "error": {"code": "batch_expired"}})
    busy = answer_line(requests[4].key, status_code=503, body=None)
    too_long = answer_line(requests[1].key, status_code=400, body={"error": {"message": "too long"}})
    back.write_text("\n".join([busy, answer_line(requests[3].key), expired, too_long]) + "\n")
    assert read_batch(back, log) == 2
    known = log.get_many(request.key for request in requests)
    assert known[requests[3].key] == Completion(text="three")
    rejected = known[requests[1].key]
    assert isinstance(rejected, Failure)
    assert rejected.reason == "rejected"
    assert set(known) == {requests[i].key for i in (0, 1, 3)}


def test_a_batch_that_is_read_twice_is_paid_once(log: AnswerLog, tmp_path: Path) -> None:
    write_batch([ask()], tmp_path / "out", log, step="caption")
    back = tmp_path / "output.jsonl"
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    back.write_text(answer_line(ask().key, body=json.loads(completion({"content": "three"}, usage=usage))))
    priced = ENDPOINT.model_copy(update={"prompt_price": 2.0, "completion_price": 8.0})
    assert [read_batch(back, log, {"caption": priced}) for _ in range(2)] == [1, 0]
    assert log.spent("caption") == Spent(1, 1_000_000, 0, 2.0)


def test_a_torn_batch_line_and_a_strange_one_are_named_and_the_others_kept(log: AnswerLog, tmp_path: Path) -> None:
    requests = [ask(str(i)) for i in range(3)]
    write_batch(requests, tmp_path / "out", log, step="caption")
    back = tmp_path / "output.jsonl"
    strange = [answer_line("f" * 16), answer_line("\ud800")]
    lines = [answer_line(requests[0].key), *strange, answer_line(requests[1].key)]
    back.write_text("\n".join([*lines, answer_line(requests[2].key)[:50]]))
    with pytest.raises(DataError, match="3 lines cannot be used") as caught:
        read_batch(back, log)
    assert "line 3: expected a custom_id" in str(caught.value)
    assert "line 5: expected JSON" in str(caught.value)
    assert "'ffffffffffffffff' was never asked" in str(caught.value)
    keys = [*(request.key for request in requests), "f" * 16]
    assert set(log.get_many(keys)) == {requests[0].key, requests[1].key}


def test_a_batch_does_not_overwrite_another(log: AnswerLog, tmp_path: Path) -> None:
    write_batch([ask()], tmp_path, log, step="caption")
    with pytest.raises(DataError, match=r"batch-000\.jsonl"):
        write_batch([ask("other")], tmp_path, log, step="caption")


def test_a_batch_is_split_where_a_file_would_be_too_long(
    log: AnswerLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firsthand.teacher.batch_files.MOST_LINES", 4)
    monkeypatch.setattr("firsthand.teacher.batch_files.MOST_BYTES", 600)
    requests = [ask(str(i)) for i in range(6)] + [ask("x" * 500)]
    files = write_batch(requests, tmp_path, log, step="caption")
    counts = [len(path.read_text().splitlines()) for path in files]
    assert sum(counts) == 7
    assert max(counts) <= 4
    assert counts[-1] == 1


def test_a_server_sees_a_picture_as_we_do(tmp_path: Path) -> None:
    def held(image: Image.Image, form: str, **settings: Any) -> Picture:
        buffer = io.BytesIO()
        image.save(buffer, form, **settings)
        data = buffer.getvalue()
        return Picture(sha256=hashlib.sha256(data).hexdigest(), width=1, height=1, data=data)

    def seen(url: str) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))

    drawn = Image.new("RGB", (30, 20), "red")
    turned = drawn.getexif()
    turned[0x0112] = 6
    plain = held(drawn, "JPEG")
    assert base64.b64decode(data_url(plain).partition(",")[2]) == plain.data
    sideways = seen(data_url(held(drawn, "JPEG", exif=turned)))
    assert sideways.size == (20, 30) and sideways.getexif().get(0x0112, 1) == 1
    assert seen(data_url(held(drawn.convert("CMYK"), "JPEG"))).mode == "RGB"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "", "reasoning_content": "one, two"}, "<think>one, two"),
        ({"content": "so B", "reasoning_content": "one, two"}, "<think>one, two</think>so B"),
        ({"content": "<think>one, two"}, "<think>one, two"),
        ({"content": "so B"}, "so B"),
    ],
)
def test_what_was_cut_keeps_the_thinking_that_took_so_long(message: dict[str, str], text: str) -> None:
    raw = json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}).encode()
    found = read_completion(raw)
    assert isinstance(found, Failure) and (found.reason, found.text) == ("truncated", text)


def test_a_damaged_log_is_one_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerLog(path) as log:
        for i in range(500):
            log.put(f"{i:016x}", Completion(text="x" * 200), step="caption").result()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] + bytes(len(content) - len(content) // 3))
    with (
        pytest.raises(DataError, match=r"answers\.sqlite: expected .*(restore it|name another)"),
        AnswerLog(path) as log,
    ):
        log.get_many([f"{i:016x}" for i in range(500)])
    path.unlink()
    with AnswerLog(path) as log:
        log.put("a", Completion(text="x"), step="caption").result()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE answers SET outcome = 'half'")
    db.close()
    with AnswerLog(path) as log, pytest.raises(DataError, match="all is asked and paid again then"):
        log.get("a")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE ledger SET dollars = 'half'")
    db.close()
    with pytest.raises(DataError, match="all is asked and paid again then"), AnswerLog(path):
        pass
