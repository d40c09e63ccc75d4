"""The seam to helper models: a script that refuses to improvise, and a cache that asks each question once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from firsthand.errors import DataError
from firsthand.records import Picture
from firsthand.teacher import CachedTeacher, Message, ScriptedTeacher


def ask(text: str, image: str | None = None) -> list[Message]:
    pictures = () if image is None else (Picture(sha256=image, width=28, height=28, data=image.encode()),)
    return [Message(role="system", text="Be brief."), Message(role="user", text=text, images=pictures)]


@pytest.fixture
def script() -> ScriptedTeacher:
    return ScriptedTeacher({"How many?": "Seven.", "Say nothing.": ""})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


def test_a_scripted_teacher_answers_from_its_script(script: ScriptedTeacher) -> None:
    assert script.reply(ask("How many?")) == "Seven."


def test_a_scripted_teacher_does_not_improvise(script: ScriptedTeacher) -> None:
    with pytest.raises(DataError, match=r"'Why\?'.*add a line"):
        script.reply(ask("Why?"))


@pytest.mark.parametrize(("question", "reply"), [("How many?", "Seven."), ("Say nothing.", "")])
def test_a_question_asked_again_costs_nothing(script: ScriptedTeacher, file: Path, question: str, reply: str) -> None:
    assert CachedTeacher(script, file, identity="a").reply(ask(question)) == reply
    assert CachedTeacher(script, file, identity="a").reply(ask(question)) == reply
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("identity", "messages"),
    [
        pytest.param("b", ask("How many?"), id="another model"),
        pytest.param("a", ask("How many?", image="p"), id="another picture"),
        pytest.param("a", ask("How many?")[1:], id="another system prompt"),
    ],
)
def test_another_question_is_asked(
    script: ScriptedTeacher, file: Path, identity: str, messages: Sequence[Message]
) -> None:
    CachedTeacher(script, file, identity="a").reply(ask("How many?"))
    CachedTeacher(script, file, identity=identity).reply(messages)
    assert len(script.asked) == 2


def test_a_failed_call_is_not_remembered(file: Path) -> None:
    with pytest.raises(DataError):
        CachedTeacher(ScriptedTeacher({}), file, identity="a").reply(ask("How many?"))
    later = CachedTeacher(ScriptedTeacher({"How many?": "Seven."}), file, identity="a")
    assert later.reply(ask("How many?")) == "Seven."


class Overtaken:
    """A teacher that is so slow that another process writes its reply first."""

    def __init__(self, meanwhile: Callable[[], str]) -> None:
        self._meanwhile = meanwhile

    def reply(self, messages: Sequence[Message]) -> str:
        self._meanwhile()
        return "Eight."


def test_of_two_simultaneous_replies_everybody_gets_the_first(script: ScriptedTeacher, file: Path) -> None:
    other = CachedTeacher(script, file, identity="a")
    slow = CachedTeacher(Overtaken(lambda: other.reply(ask("How many?"))), file, identity="a")
    assert slow.reply(ask("How many?")) == "Seven."
