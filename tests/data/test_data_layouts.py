"""Rows as other trainers and hubs lay them out: each is read as it is, or refused by the name of what is wrong."""

import base64
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from userdata import encoded, noise, write_lines, write_parquet

from firsthand.config import build
from firsthand.data import Refused, Source, load_examples, stream_rows
from firsthand.data.columns import split_reply
from firsthand.data.fields import map_columns
from firsthand.data.formats import plain_row
from firsthand.data.presets import SOURCE_PRESETS
from firsthand.errors import BadRow, DataError, RecipeError
from firsthand.recipe import Data
from firsthand.records import Box, Choice, Digit, Example, Expression, OpenEnded, Text

ASKED = "How many discs are there?"


def one(folder: Path, cells: dict[str, Any], **said: Any) -> Example:
    [example] = load_examples(write_lines(folder, cells), **said)
    return example


def complaint(folder: Path, cells: dict[str, Any], **said: Any) -> str:
    """What is said of the row, behind its place."""
    with pytest.raises(DataError) as caught:
        load_examples(write_lines(folder, cells), **said)
    return str(caught.value).split("line 1, ", 1)[1]


def struct(name: str, folder: Path) -> dict[str, Any]:
    return {"bytes": (folder / name).read_bytes(), "path": None}


def told(asked: Any, replied: Any = None, system: str | None = None) -> list[dict[str, Any]]:
    """Messages with roles."""
    turns = [("system", system), ("user", asked), ("assistant", replied)]
    return [{"role": role, "content": said} for role, said in turns if said is not None]


def chat(asked: Any, replied: Any) -> list[dict[str, Any]]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": replied}]


# Other trainers


def test_verl_s_rows_hold_the_gold_in_an_object(folder: Path) -> None:
    rows = [
        {
            "data_source": "discs",
            "prompt": told(f"<image>{ASKED}", system="Think first."),
            "images": [struct("red.png", folder)],
            "ability": "count",
            "reward_model": {"ground_truth": "3", "style": "rule"},
            "extra_info": {"answer": "three", "split": "train"},
        }
    ]
    [example] = load_examples(write_parquet(folder / "verl.parquet", rows), preset="verl")
    assert (example.question, example.system, len(example.images)) == (ASKED, "Think first.", 1)
    assert (example.answer, example.traces) == (Digit(value="3"), ())
    assert example.meta == {
        "data_source": "discs",
        "ability": "count",
        "extra_info": {"answer": "three", "split": "train"},
    }


def test_easyr1_s_rows_have_problems_with_marks(folder: Path) -> None:
    rows = [{"images": [struct("red.png", folder)], "problem": f"<image>{ASKED}", "answer": "3"}]
    examples = load_examples(write_parquet(folder / "p.parquet", rows), preset="easyr1")
    examples += load_examples(write_lines(folder, {"images": ["red.png"], "problem": f"<image>{ASKED}", "answer": "3"}))
    assert [(e.question, e.answer, len(e.images), e.meta) for e in examples] == [(ASKED, Digit(value="3"), 1, {})] * 2


@pytest.mark.parametrize(
    ("solution", "trace"),
    [
        ("<answer> 3 </answer>", None),
        ("<think>One, two, three.</think><answer> 3 </answer>", "<think>One, two, three.</think><answer> 3 </answer>"),
        ("3", None),
    ],
)
@pytest.mark.parametrize("column", ["problem", "question", "prompt", "query"])
def test_r1v_s_solution_is_the_gold_answer_and_its_thinking_a_demonstration(
    folder: Path, column: str, solution: str, trace: str | None
) -> None:
    example = one(folder, {column: ASKED, "solution": solution, "image": "red.png"})
    assert (example.question, example.answer) == (ASKED, Digit(value="3"))
    assert [t.text for t in example.traces] == ([trace] if trace else [])


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("3", Digit(value="3")),
        (3, Digit(value="3")),
        ([1, 1, 4, 3], Box(xyxy=(1, 1, 4, 3), size=(6, 4))),
        (r"\frac{1}{2}", Expression(latex=r"\frac{1}{2}")),
    ],
)
def test_vlm_r1_s_replies_are_text_numbers_or_boxes(folder: Path, reply: Any, answer: Any) -> None:
    cells = {"id": 7, "image": "red.png", "conversations": chat(f"<image>{ASKED}", reply)}
    assert one(folder, cells).answer == answer


def test_several_pictures_of_one_conversation(folder: Path) -> None:
    cells = {"image": ["red.png", "blue.png"], "conversations": chat("<image>Or <image>?", "2")}
    example = one(folder, cells)
    assert (example.question, [p.width for p in example.images]) == ("<image>Or <image>?", [6, 5])


@pytest.mark.parametrize(
    "cells",
    [
        {"messages": told(f"<image>{ASKED}", "3", "Be brief.")},
        {"messages": told(f"<image>{ASKED}", system="Be brief."), "solution": "3"},
        {"messages": told(f"<image>{ASKED}", "3"), "system": "Be brief."},
        {"conversations": [{"from": "system", "value": "Be brief."}, *chat(ASKED, "3")]},
        {"conversations": told(ASKED, "3", "Be brief.")},
        {"conversations": chat(ASKED, "3"), "system": "Be brief."},
        {"conversation": [{"human": ASKED, "assistant": "3"}], "system": "Be brief."},
        {"messages": json.dumps(told(ASKED, "3", "Be brief."))},
        {"query": ASKED, "response": "3", "system": "Be brief.", "history": []},
        {"instruction": ASKED, "input": "", "output": "3", "system": "Be brief."},
    ],
    ids=lambda cells: " ".join(cells),
)
def test_swift_llama_factory_and_sharegpt_say_the_same_in_their_ways(folder: Path, cells: dict[str, Any]) -> None:
    example = one(folder, {**cells, "images": ["red.png"]})
    assert (example.question, example.system, example.answer) == (ASKED, "Be brief.", Digit(value="3"))
    assert (len(example.images), example.traces) == (1, ())


def test_alpaca_s_input_comes_behind_the_instruction(folder: Path) -> None:
    cells = {
        "instruction": "<image>Count the discs.",
        "input": "Only the red ones.",
        "output": "3",
        "images": ["red.png"],
    }
    assert one(folder, cells).question == "Count the discs.\nOnly the red ones."


def test_objects_with_placeholders_are_refused_by_name(folder: Path) -> None:
    cells = {
        "messages": told("<image>Find <ref-object>", "<bbox>"),
        "images": ["red.png"],
        "objects": {"ref": ["the disc"], "bbox": [[1, 1, 2, 2]]},
    }
    assert complaint(folder, cells) == (
        "column `objects`: expected names and boxes in their places, got the placeholder <ref-object>; write the name "
        "in place of <ref-object>, and make the box the answer: [x1, y1, x2, y2] in pixels, with kind `box`"
    )


@pytest.mark.parametrize("column", ["videos", "audios", "video"])
def test_videos_and_sounds_are_refused_by_name(folder: Path, column: str) -> None:
    said = complaint(folder, {"messages": told(f"<video>{ASKED}", "3"), column: ["a.mp4"]})
    assert said.startswith(f"column `{column}`: expected text and pictures, got ['a.mp4']; leave such rows out")


@pytest.mark.parametrize("cells", [{"instruction": ASKED, "output": "3"}, {"query": ASKED, "response": "3"}])
def test_earlier_turns_are_refused(folder: Path, cells: dict[str, Any]) -> None:
    said = complaint(folder, {**cells, "history": [["What is it?", "A plate."]]})
    assert said == "column `history`: expected one exchange, got earlier turns; put one exchange in each row"


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_several_exchanges_are_refused(folder: Path, column: str) -> None:
    said = complaint(folder, {column: told(ASKED, "3") * 2})
    assert said.startswith(
        f"column `{column}`: expected one user's message and one reply, and before it at most a system"
    )


# Messages with parts


def uri(folder: Path) -> str:
    return "data:image/png;base64," + base64.b64encode((folder / "red.png").read_bytes()).decode()


def parts_of(folder: Path) -> list[dict[str, Any]]:
    """A picture as every project writes it into a message."""
    data = uri(folder)
    return [
        {"type": "image", "image": "red.png"},
        {"type": "image", "image": struct("red.png", folder)},
        {"type": "image", "path": "red.png", "text": None},
        {"type": "image", "base64": data.partition(",")[2]},
        {"type": "image_url", "image_url": {"url": data, "detail": "high"}},
        {"type": "image_url", "image_url": data},
        {"type": "input_image", "image_url": data},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data.partition(",")[2]}},
        {"image": "red.png"},
    ]


@pytest.mark.parametrize("number", range(9))
def test_pictures_stand_in_the_messages(folder: Path, number: int) -> None:
    content = [parts_of(folder)[number], {"type": "text", "text": ASKED}]
    found = plain_row({"messages": told(content, "3")}, folder)
    assert (found.cells["question"], len(found.cells["images"])) == (f"<image>{ASKED}", 1)
    messages = told(content, [{"type": "text", "text": "3"}])
    [example] = load_examples(write_parquet(folder / "m.parquet", [{"messages": messages}]))
    assert (example.question, example.answer, example.images[0].width) == (ASKED, Digit(value="3"), 6)


def test_a_picture_in_a_message_may_be_larger_than_text_may_be(folder: Path) -> None:
    (folder / "large.bmp").write_bytes(noise((400, 400), "BMP"))
    data = "data:image/bmp;base64," + base64.b64encode((folder / "large.bmp").read_bytes()).decode()
    content = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": data}}]
    assert len(data) > 200_000
    assert one(folder, {"messages": told(content, "3")}).question == f"{ASKED}<image>"


def test_keys_that_arrow_adds_and_indices_in_order_say_nothing(folder: Path) -> None:
    content = [{"index": 0, "text": None, "type": "image"}, {"index": None, "text": ASKED, "type": "text"}]
    reply = [{"index": None, "text": "3", "type": "text"}]
    row = {"messages": told(content, reply), "images": [struct("red.png", folder)]}
    [example] = load_examples(write_parquet(folder / "m.parquet", [row]))
    assert (example.question, example.answer) == (ASKED, Digit(value="3"))
    content[0]["index"] = 1
    assert "expected parts {type: image} and {type: text, text: ...}" in complaint(
        folder, {"messages": told(content, reply), "images": ["red.png"]}
    )


def test_a_broken_picture_in_a_message_is_told_as_the_user_has_it(folder: Path) -> None:
    content = [{"type": "image", "image": "nowhere.png"}, {"type": "text", "text": ASKED}]
    assert complaint(folder, {"messages": told(content, "3")}).startswith(
        "column `messages`: expected the path of an image file, got 'nowhere.png', which does not exist"
    )


@pytest.mark.parametrize("asked", [f"<img>red.png</img>{ASKED}", f"![](red.png) {ASKED}", f"<video>{ASKED}"])
def test_a_question_does_not_lose_the_pictures_that_are_in_its_text(folder: Path, asked: str) -> None:
    said = complaint(folder, {"question": asked, "answer": 3})
    assert said.startswith("column `question`: expected text with its pictures in a column, got '")


@pytest.mark.parametrize("path", ["file://{}/red.png", "{}\\red.png", "a folder\\..\\red.png"])
def test_paths_as_addresses_and_as_windows_has_them(folder: Path, path: str) -> None:
    assert one(folder, {"question": ASKED, "answer": 3, "image": path.format(folder)}).images[0].width == 6


def test_prefixes_that_lack_their_first_word(folder: Path) -> None:
    assert (
        one(folder, {"question": ASKED, "answer": 3, "image": uri(folder).removeprefix("data:")}).images[0].width == 6
    )


# Gold answers and demonstrations


@pytest.mark.parametrize(
    ("cells", "answer", "trace"),
    [
        ({"gt": 3, "prompt": ASKED}, "3", None),
        ({"ground_truth": "3"}, "3", None),
        ({"reward_model": '{"ground_truth": 3}'}, "3", None),
        ({"answer": "One, two, three.\n#### 3"}, "3", "<think>\nOne, two, three.\n</think>\n<answer>3</answer>"),
        ({"solution": r"One and two, so $\boxed{3}$."}, "3", None),
        ({"answer": 3, "solution": "<answer>3</answer>"}, "3", None),
        ({"answer": 3, "messages": told(ASKED, "Three of them.")}, "3", "<think>\nThree of them.\n</think>"),
        ({"answer": 3, "messages": told(ASKED, "3")}, "3", None),
        ({"solution": "3", "messages": told(ASKED, "Three of them.")}, "3", "<think>\nThree of them.\n</think>"),
        ({"solution": "One. Two. Three.", "messages": told(ASKED, "3")}, "3", "<think>\nOne. Two. Three.\n</think>"),
        ({"reward_model": {"ground_truth": ["3"]}, "prompt": json.dumps(told(ASKED))}, "3", None),
        (
            {"answer": 3, "messages": told(ASKED, "<think>a</think><answer>3</answer>")},
            "3",
            "<think>a</think><answer>3",
        ),
        ({"conversations": chat(ASKED, "<think>a</think>\n\n3")}, "3", "<think>a</think>\n<answer>3</answer>"),
        (
            {"messages": [*told(ASKED), {"role": "assistant", "content": "3", "reasoning_content": "a"}]},
            "3",
            "<think>\na",
        ),
        ({"conversations": chat(ASKED, "<think>a</think>\n<answer>3</answer>")}, "3", "<think>a</think>\n<answer>3</"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_gold_answer_is_found_under_every_name_that_is_known(
    folder: Path, cells: dict[str, Any], answer: str, trace: str | None
) -> None:
    asked = {} if cells.keys() & {"messages", "conversations", "prompt"} else {"question": ASKED}
    example = one(folder, {**asked, **cells})
    assert (example.question, example.answer.text) == (ASKED, answer)
    if trace is not None:
        assert example.traces[0].text.startswith(trace)
    elif r"\boxed" not in str(cells):
        assert example.traces == ()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("3", {"answer": "3"}),
        ("<answer>3</answer>", {"answer": "3"}),
        ("a <answer>3</answer>", {"answer": "3", "trace": "a <answer>3</answer>"}),
        ("<think>a</think>\n\n3", {"answer": "3", "trace": "<think>a</think>"}),
        ("<think>a</think>", {"answer": "<think>a</think>"}),
    ],
)
def test_a_reply_is_split_where_it_says_so(text: str, parts: dict[str, str]) -> None:
    assert split_reply(text) == parts


def test_free_text_is_not_split_at_a_heading(folder: Path) -> None:
    said = "It reads:\n#### Stop"
    assert one(folder, {"question": ASKED, "answer": said}, kind="open").answer.text == said
    assert one(folder, {"question": ASKED, "answer": "One and two.\n#### 3"}).answer.text == "3"


def test_free_text_is_not_split_at_a_box(folder: Path) -> None:
    said = r"It reads, in the middle, \boxed{3}"
    assert one(folder, {"conversations": chat(ASKED, said)}, kind="open").answer.text == said
    assert one(folder, {"conversations": chat(ASKED, said)}).answer.text == "3"


@pytest.mark.parametrize(
    ("cells", "complains"),
    [
        (
            {"question": ASKED, "problem": "What colour?", "answer": 3},
            "column `question`: expected one question, got `question` and `problem`, which differ; leave one out, or "
            "say which you mean: fields: {question: problem}",
        ),
        (
            {"question": ASKED, "answer": 3, "ground_truth": "4"},
            "column `answer`: expected one gold answer, got 3 in `answer` and '4' in `ground_truth`; leave one out, or "
            "say which you mean: fields: {answer: ground_truth}",
        ),
        (
            {"messages": told(ASKED, "<answer>4</answer>"), "answer": 3},
            "column `answer`: expected one gold answer, got '3' in `answer` and '<answer>4</answer>' in `messages`; "
            "leave one out, or say which you mean: fields: {answer: messages}",
        ),
        (
            {"question": ASKED, "answer": 3, "image": "red.png", "image_1": "blue.png"},
            "column `image`: expected pictures in one column, or in numbered ones, got `image` and `image_1`; leave "
            "one out, or say which you mean: fields: {image: image}",
        ),
    ],
    ids=["question", "answer", "reply", "pictures"],
)
def test_two_columns_that_disagree_are_refused_by_name(folder: Path, cells: dict[str, Any], complains: str) -> None:
    assert complaint(folder, cells) == complains.replace("got '3' in", "got 3 in")


@pytest.mark.parametrize("ours", ["question", "answer"])
def test_a_column_of_fields_that_is_not_there_is_told_in_the_words_of_the_file(folder: Path, ours: str) -> None:
    said = complaint(folder, {"question": ASKED, "answer": 3}, fields={ours: "mine"})
    assert said == (
        "column `mine`: expected a value, got nothing (the row has question, answer); fill it in, or correct `fields`: "
        f"`{ours}` is read from there"
    )


def test_a_picture_in_a_folder_beside_the_file_is_told_with_its_path(folder: Path) -> None:
    (folder / "my photos").mkdir()
    (folder / "red.png").rename(folder / "my photos" / "red.png")
    said = complaint(folder, {"question": ASKED, "answer": 3, "image": "red.png"})
    assert said.endswith(
        "; write 'my photos/red.png', or put the data file into that folder: paths start from where it is"
    )


def test_two_columns_that_agree_are_one_and_fields_settle_the_rest(folder: Path) -> None:
    assert (
        one(folder, {"question": ASKED, "problem": f" {ASKED}", "answer": 3, "gt": "<answer>3</answer>"}).question
        == ASKED
    )
    for gold in (r"\boxed{3}", "<answer> 3 </answer>", "One, two, three.\n#### 3", "$3$"):
        assert one(folder, {"question": ASKED, "answer": 3, "ground_truth": gold}).answer.text == "3"
    cells = {"question": ASKED, "answer": 3, "image": "red.png", "image_1": "blue.png"}
    assert one(folder, cells, fields={"image": "image"}).images[0].width == 6
    cells = {"question": "Old?", "problem": ASKED, "answer": "B", "ground_truth": "3"}
    example = one(folder, cells, fields={"question": "problem", "answer": "ground_truth"})
    assert (example.question, example.answer) == (ASKED, Digit(value="3"))
    assert example.meta == {"original_question": "Old?", "original_answer": "B"}


# Pictures


def test_mmmu_s_numbered_pictures_stand_where_their_marks_are(folder: Path) -> None:
    rows = [
        {
            "id": "validation_Art_1",
            "question": "Is <image 1> older than <image 2>?",
            "options": "['yes', 'no', \"can't tell\"]",
            "answer": "B",
            "image_1": struct("red.png", folder),
            "image_2": struct("blue.png", folder),
            "image_3": None,
            "question_type": "multiple-choice",
            "subfield": "Painting",
        },
        {
            "id": "validation_Art_2",
            "question": "<image 2> shows how many more than <image 2> and <image 1>?",
            "options": "[]",
            "answer": "7",
            "image_1": struct("red.png", folder),
            "image_2": struct("blue.png", folder),
            "image_3": None,
            "question_type": "open",
            "subfield": "Painting",
        },
    ]
    path = write_parquet(folder / "mmmu.parquet", rows)
    choice, number = load_examples(path)
    assert choice.question == "Is <image> older than <image>?\nA) yes\nB) no\nC) can't tell"
    assert (choice.answer.text, [p.width for p in choice.images]) == ("B", [6, 5])
    assert number.question == rows[1]["question"]  # their numbers are those of the pictures, which come first
    assert [p.width for p in number.images] == [6, 5]
    assert [e.family for e in load_examples(path, preset="mmmu")] == ["Painting"] * 2


def test_numbered_marks_in_options_stay_names(folder: Path) -> None:
    cells = {"question": "Which is <image 1>?", "options": ["<image 1>", "<image 2>"], "answer": "A"}
    example = one(folder, {**cells, "image_1": "red.png", "image_2": "blue.png"})
    assert example.question == "Which is <image 1>?\nA) <image 1>\nB) <image 2>"
    assert len(example.images) == 2


def test_marks_of_pictures_that_are_not_there_are_refused(folder: Path) -> None:
    said = complaint(folder, {"question": "See <image 2>.", "answer": 3, "image_1": "red.png"})
    assert said.startswith("column `question`: expected marks of images that are there, got <image 2> and 1 images")


def test_a_numbered_picture_is_told_by_its_own_column(folder: Path) -> None:
    said = complaint(folder, {"question": ASKED, "answer": 3, "image_1": "red.png", "image_2": "no.png"})
    assert said.startswith("column `image_2`: expected the path of an image file, got 'no.png'")


def test_options_may_be_pictures(folder: Path) -> None:
    cells = {"question": "<image> Which fits?", "options": ["<image> left", "<image> right"], "answer": "A"}
    example = one(folder, {**cells, "images": ["red.png", "blue.png", "photo.jpg"]})
    assert example.question.count("<image>") == len(example.images) == 3


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_an_imagefolder_is_read_by_its_folder(folder: Path, name: str) -> None:
    inside = folder / "photos" / "train" / "a"
    inside.mkdir(parents=True)
    (inside / "red.png").write_bytes(encoded())
    rows = {
        "metadata.jsonl": json.dumps({"file_name": "a/red.png", "question": ASKED, "answer": 3}) + "\n",
        "metadata.csv": f"file_name,question,answer\na/red.png,{ASKED},3\n",
    }
    (folder / "photos" / "train" / name).write_text(rows[name])
    for spec in (folder / "photos", f"{folder / 'photos'}:train"):
        [example] = load_examples(str(spec))
        assert (example.question, example.answer, example.images[0].width) == (ASKED, Digit(value="3"), 6)
    (folder / "photos" / "test").mkdir()
    (folder / "photos" / "test" / name).write_text(rows[name])
    with pytest.raises(DataError, match="expected one split, got test, train"):
        load_examples(str(folder / "photos"))


def test_a_folder_of_text_files_has_one_or_one_for_each_split(folder: Path) -> None:
    inside = folder / "questions"
    inside.mkdir()
    (inside / "mine.jsonl").write_text(json.dumps({"question": ASKED, "answer": 3}) + "\n")
    assert [e.answer.text for e in load_examples(str(inside))] == ["3"]
    (inside / "mine.jsonl").rename(inside / "train.jsonl")
    (inside / "test.csv").write_text(f"question,answer\n{ASKED},4\n")
    assert [e.answer.text for e in load_examples(f"{inside}:test")] == ["4"]
    (inside / "notes.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"got notes\.csv, test\.csv, train\.jsonl; .* give the path of a \.jsonl"):
        load_examples(str(inside))


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("lines", [False, True])
def test_base64_without_a_prefix_is_a_picture(folder: Path, fmt: str, lines: bool) -> None:
    data = encoded((40, 30), fmt)
    text = (base64.encodebytes if lines else base64.b64encode)(data).decode()
    example = one(folder, {"question": ASKED, "answer": 3, "image": text})
    assert (example.images[0].width, example.images[0].data) == (40, data)


def test_broken_base64_is_told_what_it_is(folder: Path) -> None:
    text = base64.b64encode(encoded((40, 30))).decode()
    assert "expected a picture as base64, got 'iVBOR" in complaint(
        folder, {"question": ASKED, "answer": 3, "image": f"{text[:-9]}@@@"}
    )
    assert "which does not decode" in complaint(folder, {"question": ASKED, "answer": 3, "image": text[:100]})


@pytest.mark.parametrize("picture", ["bytes", "struct"])
def test_bytes_in_another_column_are_not_passed_over(folder: Path, picture: str) -> None:
    value = struct("red.png", folder)
    row = {"question": ASKED, "answer": 3, "decoded": value if picture == "struct" else value["bytes"]}
    path = write_parquet(folder / "b.parquet", [row])
    with pytest.raises(
        DataError, match=r"got a column `decoded`; rename the column, or say fields: \{image: decoded\}"
    ):
        load_examples(path)
    assert len(load_examples(path, fields={"image": "decoded"})[0].images) == 1


@pytest.mark.parametrize("column", ["image_id", "image_url", "img_path", "imgname"])
def test_a_column_that_names_a_picture_is_not_passed_over(folder: Path, column: str) -> None:
    said = complaint(folder, {"question": ASKED, "answer": 3, column: "red.png"})
    assert said.endswith(f"rename the column, or say fields: {{image: {column}}}")
    assert len(one(folder, {"question": ASKED, "answer": 3, column: "red.png"}, fields={"image": column}).images) == 1


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"options": ["2", "3"]},
        {"option_a": "2", "option_b": "3"},
        {"Option 1": 2, "Option 2": 3},
        {"options": [2, 3]},
        {"options": "['2', '3']"},
        {"A": "2", "B": "3"},
        {"A": 2, "B": 3, "C": None},
    ],
)
def test_options_are_a_list_a_text_or_columns_of_their_own(folder: Path, options: dict[str, Any]) -> None:
    example = one(folder, {"question": ASKED, "answer": "B", **options})
    assert example.question == f"{ASKED}\nA) 2\nB) 3"
    assert (example.answer, example.meta) == (Choice(letter="B", options=("2", "3")), {})


def test_options_in_columns_have_no_gap(folder: Path) -> None:
    said = complaint(folder, {"question": ASKED, "answer": "C", "A": "2", "C": "3"})
    assert said == "column `options`: expected options A, B, C ... without a gap, got A, C; fill them in"
    assert one(folder, {"question": ASKED, "answer": "3", "B": "note"}).meta == {"B": "note"}


# Tables


TABLES = {
    "commas.csv": 'question,answer,image\n"How many, in all?",3,red.png\n',
    "semicolons.csv": "question;answer;image\nHow many, in all?;3;red.png\n",
    "spaces.csv": 'question, answer, image\n"How many, in all?", 3, red.png\n',
    "tabs.tsv": "question\tanswer\timage\nHow many, in all?\t3\tred.png\n",
    "commas.tsv": 'question,answer,image\n"How many, in all?",3,red.png\n',
    "mark.CSV": '\ufeffquestion,answer,image\r\n"How many, in all?",3,red.png\r\n',
    "index.tsv": "index\tquestion\tanswer\timage\n0\tHow many, in all?\t3\tred.png\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_whatever_stands_between_their_cells(folder: Path, name: str) -> None:
    (folder / name).write_text(TABLES[name], encoding="utf-8")
    [example] = load_examples(str(folder / name))
    assert (example.question, example.answer, example.images[0].width) == ("How many, in all?", Digit(value="3"), 6)


def test_options_lists_and_lines_in_a_table(folder: Path) -> None:
    text = "question,A,B,answer,images\n\"Which?\nLook.\",cat,dog,B,\"['red.png', 'blue.png']\"\n"
    (folder / "t.csv").write_text(text)
    [example] = load_examples(str(folder / "t.csv"))
    assert example.question == "Which?\nLook.\nA) cat\nB) dog"
    assert (example.answer.text, len(example.images)) == ("B", 2)


def test_a_row_with_a_comma_too_many_is_told_with_its_remedy(folder: Path) -> None:
    (folder / "t.csv").write_text("question,answer\nHow many, in all?,3\n")
    with pytest.raises(
        DataError, match=r"t\.csv row 1, expected 2 cells, as the header has, got 3 in .*; quote commas and"
    ):
        load_examples(str(folder / "t.csv"))


# Encodings

WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("name", ["w.jsonl", "w.json", "w.csv", "w.tsv"])
def test_a_file_of_wide_characters_is_one_error(folder: Path, name: str, encoding: str) -> None:
    rows = '{"question": "Q?", "answer": 3}\n' * 3 if "json" in name else "question,answer\nQ?,3\n"
    (folder / name).write_text(rows, encoding=encoding)
    with pytest.raises(DataError) as caught:
        load_examples(str(folder / name))
    said = str(caught.value)
    assert "\n" not in said
    assert f"expected a file in UTF-8, got {encoding[:6].upper()}; save it as UTF-8, e.g. iconv -f" in said


def test_chinese_in_its_own_encoding_is_told_as_such(folder: Path) -> None:
    (folder / "g.csv").write_bytes("question,answer\n有几个？,3\n".encode("gbk"))
    with pytest.raises(DataError, match=r"got the byte 0xD3, as GB18030 or another .* iconv -f GB18030 -t UTF-8"):
        load_examples(str(folder / "g.csv"))


def test_one_object_over_several_lines_is_one_error(folder: Path) -> None:
    (folder / "o.json").write_text(json.dumps({"data": [{"question": ASKED, "answer": 3}]}, indent=1))
    with pytest.raises(DataError) as caught:
        load_examples(str(folder / "o.json"))
    assert str(caught.value).endswith(
        "got one object over several lines; make its list of rows the file's only content"
    )


@pytest.mark.parametrize(
    ("cells", "remedy"),
    [
        ({"question": ASKED, "label": "3"}, "rename the column `label`, or say fields: {answer: label}"),
        ({"Question": ASKED, "answer": 3}, "rename the column `Question`, or say fields: {question: Question}"),
        ({"data": [{"question": ASKED}]}, "make the list in `data` the file's only content, if it holds the rows"),
    ],
)
def test_a_missing_column_is_looked_for_under_other_names(folder: Path, cells: dict[str, Any], remedy: str) -> None:
    assert complaint(folder, cells).endswith(f"; {remedy}")


@pytest.mark.parametrize(
    ("name", "line"), [("l.jsonl", '{{"question": "{}", "answer": 3}}\n'), ("l.csv", "{},3\n"), ("l.tsv", "{}\t3\n")]
)
def test_a_file_in_latin_1_is_one_line_of_an_error_whichever_rows_show_it(folder: Path, name: str, line: str) -> None:
    header = {"l.csv": "question,answer\n", "l.tsv": "question\tanswer\n"}.get(name, "")
    asked = ("How many?", "How many cafés?", "How many thés?", "How many pâtés?")
    (folder / name).write_bytes((header + "".join(map(line.format, asked))).encode("latin-1"))
    with pytest.raises(DataError) as caught:
        load_examples(str(folder / name))
    headline, *lines = str(caught.value).split("\n")
    assert headline.endswith("3 of 4 rows cannot be used, so nothing was loaded.")
    [said] = lines
    assert said.endswith(
        " 2, expected text in UTF-8, got the byte 0xE9, as LATIN1 or another encoding has it; save the file as UTF-8, "
        "e.g. iconv -f LATIN1 -t UTF-8"
    )
    assert [r.reason for r in stream_rows(Source(path=str(folder / name))) if isinstance(r, Refused)] == [
        "bad_encoding"
    ] * 3


# Fields and presets


def test_messages_inside_an_object_are_found_by_fields(folder: Path) -> None:
    cells = {"custom_id": "1", "body": {"model": "m", "messages": told(ASKED)}, "gold": 3}
    example = one(folder, cells, fields={"messages": "body.messages", "answer": "gold"})
    assert (example.question, example.answer) == (ASKED, Digit(value="3"))


@pytest.mark.parametrize(("column", "number"), [("choices[answer]", 1), ("choices[answer-1]", 2)])
@pytest.mark.parametrize("write", [int, str, float])
def test_a_number_counts_the_options_as_fields_say(folder: Path, column: str, number: int, write: Any) -> None:
    cells = {"question": "Which?", "choices": ["B", "cat", "dog"], "answer": write(number)}
    if write is float:
        cells["answer"] = float(number)
    assert one(folder, cells, fields={"answer": column}).answer.letter == "B"  # type: ignore[union-attr]


@pytest.mark.parametrize("answer", [3, -1, "x", True, 1.5, "9" * 5000])
def test_a_number_that_counts_none_is_refused(folder: Path, answer: Any) -> None:
    said = complaint(
        folder, {"q": "Which?", "choices": ["cat", "dog"], "answer": answer}, fields={"answer": "choices[answer]"}
    )
    assert said.startswith("column `answer`: expected a number from 0 that counts the 2 options of `choices`, got ")


def test_of_several_columns_the_first_that_is_there_is_taken(folder: Path) -> None:
    fields = {"question": "query|ask", "answer": "label.*|gold"}
    first = one(folder, {"query": ASKED, "label": ["3"], "gold": "4"}, fields=fields)
    assert (first.question, first.answer.text, first.meta) == (ASKED, "3", {"label": ["3"]})
    assert one(folder, {"ask": ASKED, "gold": "4"}, fields=fields).answer.text == "4"
    assert one(folder, {"question": ASKED, "answer": "0.5"}, preset="chartqa").answer.text == "0.5"


def test_a_template_fills_what_the_row_has(folder: Path) -> None:
    fields = {"image": "{name}.png", "question": "{hint}\n{question}"}
    cells = {"question": ASKED, "answer": 3, "name": "red", "hint": "Look closely."}
    assert one(folder, cells, fields=fields).question == f"Look closely.\n{ASKED}"
    example = one(folder, {**cells, "hint": ""}, fields=fields)
    assert (example.question, len(example.images)) == (ASKED, 1)
    assert map_columns({"hint": ""}, {"image": "{name}.png"})[0] == {"hint": ""}


PRESET_ROWS: dict[str, tuple[dict[str, Any], Any]] = {
    "clevr_math": (
        {
            "conversations": [
                {"from": "human", "value": "<image>\nSubtract all balls. How many objects are left?"},
                {"from": "gpt", "value": "The answer is 3"},
            ],
        },
        Digit(value="3"),
    ),
    "geoqa170k": (
        {
            "conversations": [
                {"from": "human", "value": "What is x?\nChoices:\nA: 5\nB: 7"},
                {"from": "gpt", "value": "The sides are equal, so x is 7.\nAnswer:B"},
            ],
        },
        Choice(letter="B"),
    ),
    "math_puma_synthesis": (
        {
            "question": "What is the function's equation?",
            "answer": "Step 1: 5 = a * sin(-pi/2).\nStep 2: a = -5.\n\n†Answer: y = -5 * sin(-5 * x).",
        },
        Expression(latex="y = -5 * sin(-5 * x)"),
    ),
    "arxivqa": (
        {"question": "Which?", "options": ["A) up", "B) down"], "label": "(b)"},
        Choice(letter="B", options=("up", "down")),
    ),
    "vizwiz": (
        {
            "question": "What is it?",
            "answers": [{"answer": a, "answer_confidence": "yes"} for a in ("can", "soup", "soup", "can of soup")],
        },
        OpenEnded(reference="soup"),
    ),
    "allava_laion": (
        {
            "caption": "A square.",
            "conversations": [{"from": "human", "value": "Describe."}, {"from": "gpt", "value": "The answer is: red."}],
        },
        OpenEnded(reference="The answer is: red."),
    ),
    "aokvqa": (
        {"question_id": "x1", "question": "Which?", "choices": ["cat", "dog"], "correct_choice_idx": 1},
        Choice(letter="B", options=("cat", "dog")),
    ),
    "ai2d": (
        {"question": "Which?", "options": ["cat", "dog"], "answer": "1"},
        Choice(letter="B", options=("cat", "dog")),
    ),
    "chartqa": ({"query": "Which year?", "label": ["2014"], "human_or_machine": 0}, Digit(value="2014")),
    "docvqa": (
        {"questionId": "7", "question": "Who?", "answers": ["J. Doe", "Doe"]},
        Text(value="J. Doe", aliases=("Doe",)),
    ),
    "infographicvqa": ({"questionId": "7", "question": "Who?", "answers": ["J. Doe"]}, Text(value="J. Doe")),
    "gqa": ({"id": "1", "imageId": "red", "question": "Which colour?", "answer": "red"}, Text(value="red")),
    "mmmu": (
        {"question": "<image 1> Which?", "options": "[]", "answer": "jazz", "image_1": "red.png"},
        Text(value="jazz"),
    ),
    "scienceqa": (
        {"question": "Which?", "choices": ["cat", "dog"], "answer": 1, "hint": "Pets.", "solution": "Dogs bark."},
        Choice(letter="B", options=("cat", "dog")),
    ),
    "textvqa": (
        {"question_id": 3, "question": "Which?", "answers": ["stop"] * 6 + ["top"] * 4},
        Text(value="stop", aliases=("top",)),
    ),
    "vqav2": (
        {
            "question_id": 3,
            "question": "Which?",
            "answers": [{"answer": "no", "answer_id": 1}] * 3,
            "answer_type": "yes/no",
        },
        Text(value="no"),
    ),
}


@pytest.mark.parametrize("preset", PRESET_ROWS)
def test_a_preset_reads_a_row_of_its_data_set(folder: Path, preset: str) -> None:
    cells, answer = PRESET_ROWS[preset]
    picture = {} if cells.keys() & {"imageId", "image_1"} else {"image": "red.png"}
    (folder / "red.jpg").write_bytes(encoded(fmt="JPEG"))
    path = write_lines(folder, {**cells, **picture})
    [example] = load_examples(path, preset=preset)
    assert (example.answer, len(example.images)) == (answer, 1)
    [streamed] = stream_rows(build(Source, {"path": path, "preset": preset}, "s"))
    assert isinstance(streamed, Example) and streamed.answer == answer
    assert streamed.meta["source"]["name"] == preset


def test_scienceqa_s_hint_is_asked_and_its_solution_shown(folder: Path) -> None:
    example = one(folder, PRESET_ROWS["scienceqa"][0], preset="scienceqa")
    assert example.question == "Pets.\nWhich?\nA) cat\nB) dog"
    assert example.traces[0].text == "<think>\nDogs bark.\n</think>\n<answer>B</answer>"


def test_chartqa_s_words_are_short_text_and_its_numbers_digits(folder: Path) -> None:
    rows = [{"query": f"Q{i}?", "label": label} for i, label in enumerate((["Yes"], "0.57", ["10"], "Jan"))]
    found = load_examples(write_lines(folder, *rows), preset="chartqa")
    assert [e.answer.kind for e in found] == ["text", "digit", "digit", "text"]


def test_a_recipe_s_data_has_fields_and_presets_and_old_recipes_keep_their_ids(folder: Path) -> None:
    path = write_lines(folder, {"q": ASKED, "meta": {"gold": "3"}})
    data = Data(path=path, fields={"question": "q", "answer": "meta.gold"})
    assert [e.answer.text for e in data.load()] == ["3"]
    assert data.model_dump()["fields"] == {"question": "q", "answer": "meta.gold"}
    assert not {"fields", "preset"} & Data(path=path).model_dump().keys()
    assert Data.parse(path, fields=data.fields).load() == data.load()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"path": "x", "preset": "verll"}, "preset: unknown preset 'verll'; did you mean 'verl'"),
        ({"path": "x", "fields": {"anwser": "a"}}, "unknown column 'anwser'; did you mean 'answer'"),
        ({"worlds": ["count"], "preset": "verl"}, "preset: only a `path` has it, and `worlds` are given; leave it out"),
        ({"worlds": ["count"], "fields": {"answer": "a"}}, "fields: only a `path` has it"),
    ],
)
def test_a_recipe_with_a_name_that_nobody_knows_is_refused(said: dict[str, Any], expected: str) -> None:
    with pytest.raises(RecipeError, match=expected.replace("'", ".")):
        build(Data, said, "data")


# Whatever a row holds

_leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "image", "<image 1>"])
)
_keys = st.sampled_from(
    ["role", "content", "from", "value", "type", "text", "image", "image_url", "url", "source", "human"]
)
_tree = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3), max_leaves=8
)
_asked = ("question", "problem", "query", "instruction", "prompt", "messages", "conversations", "conversation", "input")
_gold = ("answer", "ground_truth", "gt", "reward_model", "solution", "trace", "output", "response", "completion")
_shown = ("image", "images", "image_1", "image_2", "file_name", "options", "choices", "A", "B", "C", "videos")
_columns = st.sampled_from((*_asked, *_gold, *_shown, "history", "system", "meta"))
_presets = st.sampled_from([None, *(name for name, preset in SOURCE_PRESETS.items() if "only" not in preset)])
_starts = st.sampled_from(
    [
        {},
        {"messages": told(ASKED, "3")},
        {"prompt": told([{"type": "image"}, {"type": "text", "text": ASKED}]), "reward_model": {"ground_truth": "3"}},
        {"question": "<image 1>?", "image_1": "red.png", "options": "['a', 'b']", "answer": "A"},
        {"conversations": chat(ASKED, "3")},
    ]
)


@settings(max_examples=200, deadline=None)
@given(_starts, st.dictionaries(_columns, _tree, max_size=4), _presets)
def test_any_row_is_read_or_a_bad_row(
    tmp_path_factory: pytest.TempPathFactory, start: dict[str, Any], changes: dict[str, Any], preset: str | None
) -> None:
    logging.disable(logging.WARNING)
    folder = tmp_path_factory.getbasetemp()
    with suppress(BadRow):
        plain_row({**start, **changes}, folder)
    path = folder / "any.jsonl"
    path.write_text(json.dumps({**start, **changes}) + "\n")
    source = build(Source, {"path": str(path), **({"preset": preset} if preset else {})}, "s")
    [found] = stream_rows(source)
    assert isinstance(found, Example | Refused)
    logging.disable(logging.NOTSET)
