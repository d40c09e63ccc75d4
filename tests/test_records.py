"""The records: written to JSON and read back they are the same, their ids name content, and unmeasured is not zero."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from firsthand.errors import DataError
from firsthand.records import (
    Box,
    Choice,
    Digit,
    Example,
    Expression,
    Judged,
    OpenEnded,
    Picture,
    Record,
    Reply,
    Rollout,
    Score,
    Status,
    Step,
    StopReason,
    Trace,
    Unit,
    Verdict,
    content_id,
    content_in,
    json_lines,
    png,
    records_in,
)

RIGHT = Verdict(score=1.0, status=Status.OK, parsed="7", why="7 = 7")
LATE = Verdict(score=None, status=Status.TIMED_OUT, why="no verdict after 1 s")
SAMPLED = Reply(text="é<answer>7</answer>", token_ids=(1, 2), logprobs=(-0.25, float("-inf")), stop=StopReason.EOS)
SERVED = Reply(text="7", token_ids=(), stop=StopReason.LENGTH, tokens=3)
FILE = Picture(sha256="a" * 64, width=4, height=3, path="a.png")
ANSWERS = (
    Digit(value="7"),
    Choice(letter="B", options=("red", "blue")),
    Expression(latex="\\sqrt{2}"),
    Box(xyxy=(0.0, 0.0, 0.5, 1.0)),
    Box(xyxy=((0.0, 0.0, 5.0, 5.0), (1.0, 1.0, 2.0, 2.0)), size=(8, 8)),
    OpenEnded(reference="a red cube"),
)
EXAMPLE = Example(
    question="How many?",
    images=(FILE,),
    answer=ANSWERS[0],
    family="count",
    traces=(Trace(style="plain", text="<answer>7</answer>"),),
    system="Be brief.",
    scene="seven cubes",
    meta={"source": {"license": "MIT"}},
)
JUDGED = Judged(reply=SAMPLED, verdict=RIGHT, reward=1.2, advantage=-0.5)
RECORDS: tuple[Record, ...] = (
    *ANSWERS,
    FILE,
    EXAMPLE,
    SAMPLED,
    SERVED,
    RIGHT,
    LATE,
    JUDGED,
    Rollout(step=3, example_id="e", question="q", gold="7", images=("a" * 64,), group=(JUDGED, JUDGED)),
    Score(
        example_id="e", question="q", gold="7", images=(), greedy=JUDGED, samples=(Judged(reply=SERVED, verdict=LATE),)
    ),
    Unit(question="q", cluster="c", value=None),
    Step(step=0, metrics={"loss/total": -0.5, "policy/entropy": 0.1}, seconds=1.5, timing={"rollout": 1.0}),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_written_to_json_is_read_back_as_it_was(record: Record) -> None:
    line = record.model_dump_json()
    again = type(record).model_validate_json(line)
    assert again == record and again.model_dump_json() == line and "\n" not in line


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_cannot_be_changed_and_has_no_other_field(record: Record) -> None:
    with pytest.raises(ValidationError):
        setattr(record, next(iter(type(record).model_fields)), "other")
    with pytest.raises(ValidationError, match="unheard_of"):
        type(record).model_validate({**record.model_dump(), "unheard_of": 1})


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.kind)
def test_an_examples_answer_keeps_its_kind(answer: Any) -> None:
    example = Example(question="?", images=(), answer=answer)
    assert Example.model_validate_json(example.model_dump_json()).answer == answer


# ---- ids


def test_content_has_the_same_id_everywhere() -> None:
    expected = hashlib.sha256('[{"a":1,"b":"é"},[2.5,null]]'.encode()).hexdigest()[:16]
    assert content_id({"b": "é", "a": 1}, [2.5, None]) == content_id({"a": 1, "b": "é"}, (2.5, None)) == expected


def test_an_examples_id_names_its_question_pictures_and_answer_and_nothing_else() -> None:
    plain = Example(question="How many?", images=(FILE,), answer=ANSWERS[0])
    moved = FILE.model_copy(update={"path": "elsewhere/a.png"})
    assert plain.id == EXAMPLE.id == Example(question="How many?", images=(moved,), answer=ANSWERS[0]).id
    fields = [{"question": "How few?"}, {"images": ()}, {"answer": Digit(value="8")}, {"answer": ANSWERS[2]}]
    ids = {
        Example(**{"question": "How many?", "images": (FILE,), "answer": ANSWERS[0], **change}).id for change in fields
    }
    assert len(ids | {plain.id}) == 5


def test_ids_of_examples_are_those_that_old_runs_have() -> None:
    assert EXAMPLE.id == "9fd236e46e57c636"
    assert Example(question="Where?", images=(), answer=ANSWERS[4]).id == "3e410bcb52f7ca99"


def test_a_pictures_size_makes_no_other_example() -> None:
    known, unknown = (
        Example(question="Where?", images=(), answer=Box(xyxy=(1, 1, 2, 2), size=s)) for s in ((8, 8), None)
    )
    assert known.id == unknown.id


def test_an_id_that_is_given_is_kept() -> None:
    assert Example(question="?", images=(), answer=ANSWERS[0], id="mine").id == "mine"


# ---- fields that old files lack


def test_lines_of_runs_before_a_field_are_read_and_written_as_they_were() -> None:
    reply = '{"text":"7","token_ids":[1],"logprobs":[-0.5],"stop":"eos"}'
    assert Reply.model_validate_json(reply).model_dump_json() == reply
    box = '{"kind":"box","xyxy":[0.0,0.0,1.0,1.0]}'
    assert Box.model_validate_json(box).model_dump_json() == box
    step = Step.model_validate_json('{"step":0,"metrics":{},"seconds":1.0}')
    assert step.timing == {}
    judged = Judged.model_validate_json(f'{{"reply":{reply},"verdict":{RIGHT.model_dump_json()}}}')
    assert judged.reward is None and judged.advantage is None


def test_a_line_that_is_no_record_is_named_and_one_that_a_kill_tore_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(records_in(path, Step)) == []
    steps = [Step(step=n, metrics={}, seconds=1.0) for n in range(3)]
    path.write_text(json_lines(steps))
    assert list(records_in(path, Step)) == steps
    path.write_text(json_lines(steps)[:-20])
    assert list(records_in(path, Step, may_be_torn=True)) == steps[:2]
    with pytest.raises(DataError, match=r"metrics.jsonl line 3: expected a Step as JSON"):
        list(records_in(path, Step))
    path.write_bytes(json_lines(steps).encode().replace(b"1", b"\x93", 1))
    with pytest.raises(DataError, match=r"metrics.jsonl line 1: expected a Step as JSON"):
        list(records_in(path, Step, may_be_torn=True))


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_file_that_holds_no_object_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"evaluation.json: expected a JSON object, got: .+; restore the file"):
        content_in(path)


# ---- what records say of themselves


@pytest.mark.parametrize("status", Status)
def test_a_verdict_has_a_score_exactly_where_something_was_measured(status: Status) -> None:
    measured = status in (Status.OK, Status.WRONG_FORMAT, Status.UNPARSED)
    assert Verdict(score=0.0 if measured else None, status=status).status is status
    with pytest.raises(ValidationError, match=r"must (not )?carry a score"):
        Verdict(score=None if measured else 0.0, status=status)


def test_a_reply_knows_its_length_where_somebody_has_counted() -> None:
    assert (SAMPLED.length, SERVED.length, Reply(text="7", token_ids=()).length) == (2, 3, None)
    assert Reply(text="7", token_ids=(1,), stop=StopReason.GIVEN).is_demo and not SAMPLED.is_demo


def test_an_examples_trace_is_the_first_of_its_style() -> None:
    traces = (Trace(style="plain", text="a"), Trace(style="expert", text="b"), Trace(style="plain", text="c"))
    example = EXAMPLE.model_copy(update={"traces": traces})
    assert example.trace("plain") == traces[0] and example.trace("given") is None


def test_boxes_are_one_or_several() -> None:
    assert ANSWERS[3].boxes == ((0.0, 0.0, 0.5, 1.0),) and len(ANSWERS[4].boxes) == 2  # type: ignore[union-attr]
    assert (ANSWERS[3].text, ANSWERS[4].text) == ("[0, 0, 0.5, 1]", "[[0, 0, 5, 5], [1, 1, 2, 2]]")


def test_a_picture_has_one_source() -> None:
    for sources in ({}, {"path": "a.png", "data": b"x"}):
        with pytest.raises(ValidationError, match="either a path or data"):
            Picture(sha256="a" * 64, width=1, height=1, **sources)  # type: ignore[arg-type]


def test_a_picture_opens_upright_and_on_white(tmp_path: Path) -> None:
    turn, file = Image.Exif(), tmp_path / "turned.jpg"
    turn[0x0112] = 6
    Image.new("RGB", (40, 20), "green").save(file, exif=turn)
    turned = Picture(sha256="a" * 64, width=20, height=40, path=str(file))
    assert turned.open().size == (20, 40) and turned.encoded() == file.read_bytes()
    clear = io.BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(clear, "PNG")
    page = Picture(sha256="b" * 64, width=2, height=2, data=clear.getvalue()).open()
    assert (page.mode, page.getpixel((0, 0))) == ("RGB", (255, 255, 255))


def test_equal_pictures_give_equal_bytes_of_png() -> None:
    first, second = (png(Image.new("RGB", (3, 2), "blue")) for _ in range(2))
    assert first == second and Image.open(io.BytesIO(first)).size == (3, 2)
