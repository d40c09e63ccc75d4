"""What a blind model is shown: never the picture that belongs to its question, and always the same."""

import hashlib

import pytest
from PIL import Image

from firsthand.answers.asking import content_parts
from firsthand.data.blind import blinded
from firsthand.errors import DataError
from firsthand.evaluation import Protocol
from firsthand.evaluation.generator import asked
from firsthand.records import Digit, Example, Picture, png
from firsthand.worlds import generate


def example(*colours: int, question: str = "How many?") -> Example:
    data = [png(Image.new("RGB", (8, 6), (colour, 0, 0))) for colour in colours]
    pictures = tuple(Picture(sha256=hashlib.sha256(d).hexdigest(), width=8, height=6, data=d) for d in data)
    return Example(question=question, images=pictures, answer=Digit(value="7"))


def names(example: Example) -> list[str]:
    return [picture.sha256 for picture in example.images]


WORLDS = [*generate("count", "test", 20), *generate("chart", "test", 20)]


def test_a_gray_picture_has_the_size_of_the_true_one_and_nothing_else_of_it() -> None:
    for true, shown in zip(WORLDS, blinded(WORLDS, "gray"), strict=True):
        [was], [now] = true.images, shown.images
        assert (now.width, now.height) == (was.width, was.height) == now.open().size
        assert now.open().getextrema() == ((128, 128),) * 3
        assert shown.model_copy(update={"images": true.images}) == true


@pytest.mark.parametrize("seed", range(5))
def test_no_question_keeps_its_own_picture_when_they_are_shuffled(seed: int) -> None:
    twice = [e.model_copy(update={"id": f"{e.id}-again"}) for e in WORLDS]  # two questions about each picture
    shown = blinded([*WORLDS, *twice], "shuffled", seed)
    for true, other in zip([*WORLDS, *twice], shown, strict=True):
        assert set(names(other)).isdisjoint(names(true)) and other.model_copy(update={"images": true.images}) == true
    assert {name for e in shown for name in names(e)} <= {name for e in WORLDS for name in names(e)}
    assert len({name for e in shown for name in names(e)}) > len(WORLDS) / 2  # not one for all


def test_the_exchange_follows_from_the_seed_and_not_from_the_order() -> None:
    first = {e.id: names(e) for e in blinded(WORLDS, "shuffled", 3)}
    assert {e.id: names(e) for e in blinded(WORLDS[::-1], "shuffled", 3)} == first
    assert {e.id: names(e) for e in blinded(WORLDS, "shuffled", 4)} != first


def test_pictures_are_exchanged_with_as_many_others() -> None:
    rows = [example(1, 2), example(3, 4), example(5), example(6)]
    assert [len(e.images) for e in blinded(rows, "shuffled")] == [2, 2, 1, 1]
    assert names(blinded(rows, "shuffled")[0]) == names(rows[1])
    with pytest.raises(DataError, match=r"expected another row with 2 other pictures .*got none among 3; take gray"):
        blinded([example(1, 2), example(2, 1), example(5)], "shuffled")  # the same two, turned


def test_without_pictures_no_mark_of_one_is_left_in_the_question() -> None:
    marked = example(1, 2, question="<image> is before <image>\nHow many?")
    [shown] = blinded([marked], "none")
    assert (shown.images, shown.question, shown.id) == ((), "is before \nHow many?", marked.id)
    assert content_parts(shown) == [{"type": "text", "text": "is before \nHow many?"}]
    assert asked(marked, Protocol(blind="none", suffix="!")).question == "is before \nHow many?!"


def test_a_row_of_text_stays_and_data_without_pictures_is_refused() -> None:
    text = example(question="What is 3 + 4?")
    assert blinded([text, example(1)], "gray")[0] == text
    with pytest.raises(DataError, match="blind none: expected rows with pictures, got none among 1; leave it out"):
        blinded([text], "none")
