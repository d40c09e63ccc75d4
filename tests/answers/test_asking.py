"""How a question is put: its parts, and a default prompt for each kind of answer, which asks for what is read."""

from typing import get_args

import pytest

from firsthand.answers import asking
from firsthand.answers.asking import BY_KIND, FORMS, content_parts, default_prompt, prompts_id, system_of
from firsthand.processor import Encoder
from firsthand.records import Answer, Box, Choice, Digit, Example, Expression, Kind, Letters, Picture, Text
from firsthand.reward import Router
from firsthand.worlds import SMALL

ASKED: list[tuple[str, Answer]] = [
    ("7", Digit(value="7")),
    ("B", Choice(letter="B")),
    ("A, C", Letters(letters="AC")),
    (r"\frac{1}{2}", Expression(latex=r"\frac{1}{2}")),
    ("[1, 2, 30, 40]", Box(xyxy=(1, 2, 30, 40))),
    ("teal", Text(value="teal")),
]


def test_every_kind_has_a_prompt() -> None:
    assert FORMS.keys() == {*get_args(Kind)}


@pytest.mark.parametrize(("said", "answer"), ASKED, ids=lambda one: getattr(one, "kind", ""))
def test_a_reply_of_the_form_that_is_asked_for_scores(said: str, answer: Answer) -> None:
    prompt = system_of(Example(question="?", images=(), answer=answer), BY_KIND)
    assert prompt is not None and FORMS[answer.kind] in prompt
    _, shape = prompt.split(": ", 1)
    with Router() as router:
        assert router.judge(shape.replace("your answer", said), answer).score == 1


def test_a_row_s_own_prompt_comes_first_and_others_stay_as_they_are() -> None:
    row = Example(question="?", images=(), answer=Digit(value="7"))
    assert system_of(row, "Look.") == "Look."
    assert system_of(row, None) is None
    assert system_of(row.model_copy(update={"system": ""}), BY_KIND) == ""


def test_boxes_are_asked_for_in_the_units_that_the_row_names() -> None:
    prompts = {default_prompt("box", units) for units in ("auto", "pixels", "shares", "thousand")}
    assert len(prompts) == 4 and default_prompt("box") in prompts


def test_other_texts_are_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prompts_id("Look.") == prompts_id(None) == {}
    before = prompts_id(BY_KIND)
    monkeypatch.setitem(asking.FORMS, "digit", "a number")
    assert before != prompts_id(BY_KIND) != {}


def test_a_model_in_this_process_is_asked_with_it() -> None:
    encoder = Encoder.load(SMALL)
    encoder.check_system(BY_KIND)
    row = Example(question="How many?", images=(), answer=Digit(value="7"))
    assert encoder.complaint(row, BY_KIND) is None
    assert "one number" in encoder.text(encoder.prompt(row, BY_KIND).token_ids)


def test_pictures_stand_where_their_marks_are_and_first_without_marks() -> None:
    pictures = tuple(Picture(sha256=str(i), width=28, height=28, path=f"{i}.png") for i in range(2))
    answer = Digit(value="1")
    image, says = {"type": "image"}, lambda text: {"type": "text", "text": text}
    marked = Example(question="Left <image> or right <image>?", images=pictures, answer=answer)
    assert content_parts(marked) == [says("Left "), image, says(" or right "), image, says("?")]
    plain = Example(question="Which one?", images=pictures, answer=answer)
    assert content_parts(plain) == [image, image, says("Which one?")]
    no_picture = Example(question="What is an <image> tag?", images=(), answer=answer)
    assert content_parts(no_picture) == [says("What is an <image> tag?")]
