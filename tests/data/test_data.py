"""A user's data: what gets in arrives whole, and what does not is told with file, row and remedy."""

import base64
import hashlib
import io
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from userdata import BAD_ROWS, BAD_TRL_ROWS, SYSTEM, USER, encoded, noise, row, write_lines, write_parquet

from firsthand.data import PictureLimits, load_examples, read_examples, write_examples
from firsthand.data.plain_columns import placed, with_options
from firsthand.errors import DataError, FirsthandError, ParityError, RecipeError
from firsthand.records import (
    Box,
    Choice,
    Digit,
    Example,
    Expression,
    Letters,
    OpenEnded,
    Picture,
    Text,
    Trace,
    content_id,
)


def complaint(spec: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_examples(spec, **options)
    return str(caught.value)


# What gets in


def test_a_row_of_each_kind_becomes_its_record(folder: Path) -> None:
    spec = write_lines(
        folder,
        row(question="Sum?", answer=7, kind=None),
        row(question="Which?", answer="(b)", kind=None, choices=["cat", "dog"]),
        row(question="Solve.", answer=r"\frac{1}{2}", kind=None),
        row(question="Where is it?", answer=[0.1, 0.2, 0.5, 1], kind=None),
        row(question="Describe.", answer="A red square.", kind="open"),
        row(question="What is x?", answer="x+1", kind="math"),
        row(question="Where?", answer="[1, 2, 3, 4]", kind="box"),
    )
    assert [e.answer for e in load_examples(spec)] == [
        Digit(value="7"),
        Choice(letter="B", options=("cat", "dog")),
        Expression(latex=r"\frac{1}{2}"),
        Box(xyxy=(0.1, 0.2, 0.5, 1.0), size=(6, 4)),
        OpenEnded(reference="A red square."),
        Expression(latex="x+1"),
        Box(xyxy=(1.0, 2.0, 3.0, 4.0), size=(6, 4)),
    ]


def test_every_column_finds_its_place(folder: Path) -> None:
    cells = row(id="q-1", family="fam", system="Be brief.", solution="1 + 2 = 3", level={"hard": [1, None]}, image=None)
    [example] = load_examples(write_lines(folder, {**cells, "images": ["red.png", "blue.png"]}))
    assert (example.id, example.family, example.system) == ("q-1", "fam", "Be brief.")
    assert example.traces == (Trace(style="plain", text="<think>\n1 + 2 = 3\n</think>\n<answer>3</answer>"),)
    assert example.meta == {"level": {"hard": [1, None]}}
    assert [(p.width, p.height) for p in example.images] == [(6, 4), (5, 5)]


def test_a_path_stays_a_reference_and_bytes_are_carried(folder: Path) -> None:
    data = (folder / "red.png").read_bytes()
    by_path = load_examples(write_lines(folder, row()))[0].images[0]
    by_bytes = load_examples(write_parquet(folder / "b.parquet", [row(image=data)]))[0].images[0]
    by_struct = load_examples(write_parquet(folder / "s.parquet", [row(image={"bytes": data, "path": "gone.png"})]))[0]
    by_struct_path = load_examples(
        write_parquet(folder / "p.parquet", [row(image={"bytes": None, "path": "red.png"})])
    )[0]
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    by_uri = load_examples(write_lines(folder, row(image=uri)))[0].images[0]

    assert by_path == Picture(sha256=hashlib.sha256(data).hexdigest(), width=6, height=4, path=str(folder / "red.png"))
    assert by_bytes == by_uri == by_struct.images[0] == by_path.model_copy(update={"path": None, "data": data})
    assert by_struct_path.images[0] == by_path


def test_the_same_content_has_the_same_id_in_every_format(folder: Path) -> None:
    line = load_examples(write_lines(folder, row()))[0]
    cell = load_examples(write_parquet(folder / "a.parquet", [row(image=(folder / "red.png").read_bytes())]))[0]
    message = {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]}
    trl = load_examples(
        write_parquet(folder / "t.parquet", [{"prompt": [message], "images": ["red.png"], "answer": "3"}])
    )[0]
    assert line.id == cell.id == trl.id == content_id("How many?", [line.images[0].sha256], line.answer.model_dump())


def test_rows_without_an_image_are_valid(folder: Path) -> None:
    spec = write_lines(folder, row(image=None), {**row(image=None, question="And?"), "images": []})
    assert [e.images for e in load_examples(spec)] == [(), ()]


def test_paths_start_from_the_folder_of_the_data_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_lines(folder, row())
    monkeypatch.chdir(folder.parent)
    picture = load_examples(os.path.relpath(spec))[0].images[0]
    monkeypatch.chdir("/")
    assert picture.open().size == (6, 4)


def test_a_picture_opens_in_the_size_that_the_record_states(folder: Path) -> None:
    for example in load_examples(write_lines(folder, row(), row(image="photo.jpg"))):
        assert example.images[0].open().size == (example.images[0].width, example.images[0].height)


def test_photos_by_path_are_neither_kept_decoded_nor_read_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags: reads.append(Path(path).name) or opened(path, flags))
    examples = load_examples(write_lines(folder, *(row(question=f"Number {i}?", image="photo.jpg") for i in range(50))))
    assert reads == ["photo.jpg"]
    assert all(e.images[0].data is None for e in examples)
    assert len({id(e.images[0]) for e in examples}) == 1


def test_a_picture_that_parquet_repeats_is_held_once(folder: Path) -> None:
    data = noise()
    spec = write_parquet(folder / "a.parquet", [row(question=f"Number {i}?", image=data) for i in range(3)])
    assert len({id(e.images[0]) for e in load_examples(spec)}) == 1


def test_a_phone_s_photo_with_a_depth_map_is_one_picture(folder: Path) -> None:
    second = Image.new("RGB", (8, 8), "blue")
    (folder / "phone.jpg").write_bytes(encoded((8, 8), "MPO", save_all=True, append_images=[second]))
    assert load_examples(write_lines(folder, row(image="phone.jpg")))[0].images[0].width == 8


def test_numbers_from_data_frames_are_written_as_people_write_them(folder: Path) -> None:
    table = pa.table(
        {
            "question": ["a", "b", "c", "d"],
            "answer": pa.array([0.1, 7.0, -2.5, 1e-7], pa.float32()),
            "level": pa.array([0.1, None, float("nan"), 2.0], pa.float32()),
        }
    )
    pa.parquet.write_table(table, folder / "frame.parquet")
    examples = load_examples(str(folder / "frame.parquet"))
    assert [e.answer.text for e in examples] == ["0.1", "7", "-2.5", "0.0000001"]
    assert [e.meta for e in examples] == [{"level": 0.1}, {}, {}, {"level": 2.0}]


def test_columns_that_json_cannot_hold_are_listed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = write_parquet(
        folder / "a.parquet", [{**row(), "mask": b"\x00", "odds": float("inf"), "rank": 2}, row(question="And?")]
    )
    with caplog.at_level(logging.WARNING, logger="firsthand"):
        assert load_examples(spec)[0].meta == {"rank": 2}
    assert [r.getMessage() for r in caplog.records] == [
        f"{spec}: columns that JSON cannot hold are not kept in meta: mask (bytes), odds (float)"
    ]


def test_a_kind_can_be_given_for_all_rows_that_name_none(folder: Path) -> None:
    spec = write_lines(folder, row(kind=None, answer="cat"), row(question="Sum?"))
    assert [e.answer.kind for e in load_examples(spec, kind="open")] == ["open", "digit"]


def test_a_byte_order_mark_and_blank_lines_are_passed_over(folder: Path) -> None:
    (folder / "data.jsonl").write_bytes(
        b"\xef\xbb\xbf" + json.dumps(row()).encode() + b"\r\n\r\n" + json.dumps(row(question="")).encode()
    )
    headline, problem = complaint(str(folder / "data.jsonl")).split("\n")
    assert headline.endswith("data.jsonl: 1 of 2 rows cannot be used, so nothing was loaded.")
    assert problem.startswith("  data.jsonl line 3, column `question`")


def test_loading_data_imports_neither_torch_nor_datasets() -> None:
    code = "import sys, firsthand.data; print([m for m in ('torch', 'datasets', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


# The question as the model reads it


@pytest.mark.parametrize(
    ("question", "pictures", "expected"),
    [
        ("How many?", 2, "How many?"),
        ("<image>\n<image>How many?", 2, "How many?"),
        ("Is <image> like <image>?", 2, "Is <image> like <image>?"),
        ("<image> Is it like <image>?", 2, "<image> Is it like <image>?"),
        ("How many? <image>", 1, "How many? <image>"),
    ],
)
def test_pictures_come_first_or_stand_where_their_marks_are(question: str, pictures: int, expected: str) -> None:
    assert placed(question, pictures) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which?", "Which?\nA) 5\nB) a (big) cat"),
        ("Is it 5 or a (big) cat?", "Is it 5 or a (big) cat?\nA) 5\nB) a (big) cat"),
        ("Which? A) 5 B) a (big) cat", "Which? A) 5 B) a (big) cat"),
        ("Which?\n(A) 5\n(B) a (big) cat", "Which?\n(A) 5\n(B) a (big) cat"),
        ("Which?\nA. 5\nB: a (big) cat", "Which?\nA. 5\nB: a (big) cat"),
    ],
)
def test_options_are_shown_once_in_the_question(question: str, expected: str) -> None:
    assert with_options(question, ["5", "a (big) cat"]) == expected


def test_a_finished_demonstration_is_kept_word_for_word(folder: Path) -> None:
    text = "<think>Hmm.</think><answer>3</answer>"
    assert load_examples(write_lines(folder, row(trace=text)))[0].traces[0].text == text


def test_thoughts_without_an_answer_get_the_gold_one(folder: Path) -> None:
    [example] = load_examples(write_lines(folder, row(trace="<think>Hmm.</think>")))
    assert example.traces[0].text == "<think>Hmm.</think>\n<answer>3</answer>"


def test_a_missing_value_is_as_good_as_no_column(folder: Path) -> None:
    nothing = dict.fromkeys(("id", "family", "system", "options", "solution", "level"), float("nan"))
    assert load_examples(write_lines(folder, {**row(), **nothing})) == load_examples(write_lines(folder, row()))


def test_of_two_demonstration_columns_the_second_is_kept_in_meta(folder: Path) -> None:
    [example] = load_examples(write_lines(folder, row(trace="one two three", solution="1 2 3")))
    assert ["one two three" in trace.text for trace in example.traces] == [True]
    assert example.meta == {"solution": "1 2 3"}


# What does not get in: one row each, and the words that the user reads


@pytest.mark.parametrize(("bad", "expected"), BAD_ROWS, ids=[words[:60] for _, words in BAD_ROWS])
def test_a_bad_row_is_named_with_its_remedy(folder: Path, bad: Any, expected: str) -> None:
    spec = write_lines(folder, row(question="A good row."), bad)
    headline, problem = complaint(spec).split("\n")
    assert headline == f"{spec}: 1 of 2 rows cannot be used, so nothing was loaded."
    pattern = re.escape(f"  data.jsonl line 2, {expected}".replace("FOLDER", str(folder))).replace("ANY", ".+")
    assert re.fullmatch(pattern, problem), problem


def test_two_rows_with_one_id_are_refused(folder: Path) -> None:
    spec = write_lines(folder, row(id="a"), row(question="And?", id="b"), row(question="Or?", id="a"))
    assert complaint(spec).endswith(
        "  data.jsonl line 3, column `id`: expected an id that no other row has, got 'a', which data.jsonl line 1 has "
        "as well; give each row its own id, or leave the column out"
    )


def test_equal_rows_with_ids_of_their_own_are_two_examples(folder: Path) -> None:
    assert [e.id for e in load_examples(write_lines(folder, row(id="a"), row(id=2)))] == ["a", "2"]


def test_one_error_spells_out_twenty_bad_rows_and_counts_the_rest(folder: Path) -> None:
    spec = write_lines(folder, *(row(question=f"Number {i}?", answer=f"x{i}" if i else "1") for i in range(21)))
    headline, *problems = complaint(spec).split("\n")
    assert headline == f"{spec}: 20 of 21 rows cannot be used, so nothing was loaded."
    assert [problem.split(",")[0] for problem in problems] == [f"  data.jsonl line {n}" for n in range(2, 22)]
    bad = (
        row(question=f"Number {i}?", **({"answer": f"x{i}"} if i % 3 else {"image": f"no{i}.png"})) for i in range(60)
    )
    spec = write_lines(folder, row(), *bad)
    headline, *problems = complaint(spec).split("\n")
    counted = "They are 40 bad_answer, 20 image_missing. The first 20:"
    assert headline == f"{spec}: 60 of 61 rows cannot be used, so nothing was loaded. {counted}"
    assert [problem.split(",")[0] for problem in problems] == [f"  data.jsonl line {n}" for n in range(2, 22)]


def test_a_file_that_is_refused_as_a_whole_says_why(folder: Path) -> None:
    (folder / "data.xls").write_text("question,answer\n")
    (folder / "wide.jsonl").write_text('{"question": "Q?", "answer": 3}\n', encoding="utf-16")
    (folder / "none.jsonl").write_text("\n\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 but no more")
    twice = pa.table([["Q"], ["1"], ["2"]], names=["question", "answer", "answer"])
    pa.parquet.write_table(twice, folder / "twice.parquet")
    (folder / "void").mkdir()
    expected = {
        "nowhere.jsonl": "expected a data file, a folder or FOLDER:SPLIT, got a path that does not exist; correct it",
        "data.xls": "expected a file that ends in .jsonl, .json, .parquet, .arrow, .csv, .tsv, or a folder, got "
        "`.xls`; convert it to one of these",
        "wide.jsonl": "expected a file in UTF-8, got UTF-16; save it as UTF-8, e.g. iconv -f UTF-16 -t UTF-8 "
        "wide.jsonl",
        "none.jsonl": "expected at least one row, got none; check that it is the right file",
        "twice.parquet": "expected columns with different names, got ['question', 'answer', 'answer']; rename one",
        "void": "expected *.parquet, data/*.parquet, a saved data set, an imagefolder's metadata.jsonl or one "
        "file of questions, got nothing; export it, e.g. dataset.to_parquet(...), or give the path of a .jsonl or .csv "
        "file itself",
    }
    assert {name: complaint(str(folder / name)) for name in expected} == {
        n: f"{folder / n}: {w}" for n, w in expected.items()
    }
    assert complaint(str(folder / "broken.parquet")).startswith(
        f"{folder}/broken.parquet: expected a readable Parquet file, got: "
    )
    assert complaint(str(folder / "none.jsonl"), kind="number") == (
        "kind: expected one of digit, choice, letters, math, box, text, open, got 'number'; did you mean `digit`?"
    )


def test_the_limits_of_pictures_can_be_set(folder: Path) -> None:
    spec = write_lines(folder, row())
    assert "at most 23 pixels, got 'red.png', which has 6 x 4 = 24" in complaint(spec, limits=PictureLimits(pixels=23))
    assert load_examples(spec, limits=PictureLimits(pixels=24))
    too_small = PictureLimits(file_bytes=(folder / "red.png").stat().st_size - 1)
    assert "expected an image file of at most 0 MiB" in complaint(spec, limits=too_small)
    by_value = write_parquet(folder / "a.parquet", [row(image=encoded())])
    assert "expected an image file of at most 0 MiB, got bytes, which has" in complaint(by_value, limits=too_small)


def test_a_picture_too_large_is_refused_before_it_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the picture was decoded"))
    for name in ("bomb.png", "huge.png"):
        assert "at most 120,000,000 pixels" in complaint(write_lines(folder, row(image=name)))


def test_a_file_too_large_is_refused_before_it_is_read(folder: Path) -> None:
    os.truncate(folder / "photo.jpg", 2**40)
    assert "at most 192 MiB, got 'photo.jpg', which has 1,048,576.0 MiB" in complaint(
        write_lines(folder, row(image="photo.jpg"))
    )


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(("PNG", "JPEG", "WEBP", "BMP", "GIF")), st.randoms(use_true_random=False))
def test_a_damaged_picture_gets_in_whole_or_is_a_data_error(fmt: str, chance: random.Random) -> None:
    damaged = bytearray(_NOISE[fmt])
    for _ in range(chance.randint(1, 6)):
        damaged[chance.randrange(min(len(damaged), chance.choice((60, 600, 10**6))))] = chance.randrange(256)
    uri = (
        "data:image/x;base64,"
        + base64.b64encode(damaged[: chance.choice((None, chance.randrange(len(damaged))))]).decode()
    )
    with tempfile.TemporaryDirectory() as name:
        spec = write_lines(Path(name), row(image=uri))
        try:
            [picture] = load_examples(spec)[0].images
        except DataError as error:
            assert "data.jsonl line 1, column `image`: expected " in str(error)
        else:
            assert picture.open().size == (picture.width, picture.height)


# TRL's conversational vision format


def struct_of(name: str, folder: Path) -> dict[str, Any]:
    return {"bytes": (folder / name).read_bytes(), "path": name}


def test_a_folder_in_trl_s_format_is_read_row_by_row(folder: Path) -> None:
    text = {"role": "user", "content": [{"type": "text", "text": "What is 1+1?"}]}
    between = {
        "role": "user",
        "content": [
            {"type": "text", "text": "Is "},
            {"type": "image", "text": None},
            {"type": "text", "text": " like "},
            {"type": "image", "text": None},
            {"type": "text", "text": "?"},
        ],
    }
    red, blue = struct_of("red.png", folder), struct_of("blue.png", folder)
    rows = [
        {"prompt": [SYSTEM, USER], "images": [red], "answer": "3", "source": "a"},
        {"prompt": [between], "images": [red, blue], "answer": "5", "source": None},
        {"prompt": [text], "images": [], "answer": "2", "source": "c"},
    ]
    write_parquet(folder / "ds" / "data" / "train-00000-of-00001.parquet", rows)
    examples = load_examples(str(folder / "ds"))
    assert [e.question for e in examples] == ["How many?", "Is <image> like <image>?", "What is 1+1?"]
    assert [e.system for e in examples] == ["Be brief.", None, None]
    assert [[p.sha256 for p in e.images] for e in examples] == [
        [hashlib.sha256(image["bytes"]).hexdigest() for image in r["images"]] for r in rows
    ]
    assert [e.meta for e in examples] == [{"source": "a"}, {}, {"source": "c"}]


@pytest.mark.parametrize(
    ("cells", "answer", "trace", "meta"),
    [
        ({"answer": "3"}, "3", None, {}),
        ({"ground_truth": 3}, "3", None, {}),
        ({"solution": "<answer> 3 </answer>"}, "3", None, {}),
        ({"solution": "<think>a</think><answer>3</answer>"}, "3", "<think>a</think><answer>3</answer>", {}),
        ({"answer": "3", "solution": "a"}, "3", "<think>\na\n</think>\n<answer>3</answer>", {}),
        ({"answer": 3, "ground_truth": "3"}, "3", None, {"ground_truth": "3"}),
        ({"answer": "3", "completion": "a"}, "3", "<think>\na\n</think>\n<answer>3</answer>", {}),
        (
            {
                "answer": "3",
                "solution": "b",
                "completion": [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
            },
            "3",
            "<think>\na\n</think>\n<answer>3</answer>",
            {"solution": "b"},
        ),
    ],
)
def test_gold_and_demonstration_are_found_in_trl_s_columns(
    folder: Path, cells: dict[str, Any], answer: str, trace: str | None, meta: dict[str, Any]
) -> None:
    [example] = load_examples(write_lines(folder, {"prompt": [USER], "image": "red.png", **cells}))
    assert example.answer == Digit(value=answer)
    assert [t.text for t in example.traces] == ([] if trace is None else [trace])
    assert example.meta == meta


def test_plain_text_prompts_put_the_images_first(folder: Path) -> None:
    spec = write_lines(
        folder,
        {"prompt": "How many?", "images": ["red.png"], "answer": "3"},
        {"prompt": [{"role": "user", "content": "And here?"}], "images": ["red.png", "blue.png"], "answer": "3"},
    )
    assert [(e.question, len(e.images)) for e in load_examples(spec)] == [("How many?", 1), ("And here?", 2)]


@pytest.mark.parametrize(("changes", "expected"), BAD_TRL_ROWS)
def test_a_bad_row_in_trl_s_format_is_named_by_its_own_columns(
    folder: Path, changes: dict[str, Any], expected: str
) -> None:
    spec = write_lines(folder, {"prompt": [USER], "images": ["red.png"], "answer": "3", **changes})
    assert complaint(spec).split("\n")[1] == f"  data.jsonl line 1, {expected}"


def test_what_the_datasets_library_saves_is_read_back(folder: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets to check against the library itself")
    features = datasets.Features(
        {
            "prompt": [
                {
                    "role": datasets.Value("string"),
                    "content": [{"type": datasets.Value("string"), "text": datasets.Value("string")}],
                }
            ],
            "images": datasets.List(datasets.Image()),
            "solution": datasets.Value("string"),
        }
    )
    rows = {
        "prompt": [[USER]] * 2,
        "images": [[Image.new("RGB", (6, 4), "red")], [str(folder / "blue.png")]],
        "solution": ["<answer>3</answer>", "<answer>4</answer>"],
    }
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.to_parquet(folder / "hub" / "data" / "train-00000-of-00001.parquet")
    datasets.DatasetDict({"train": dataset, "test": dataset.select([1])}).save_to_disk(folder / "saved")
    for spec, sizes in (("hub", [(6, 4), (5, 5)]), ("saved:train", [(6, 4), (5, 5)]), ("saved/test", [(5, 5)])):
        examples = load_examples(str(folder / spec))
        assert [(p.width, p.height) for e in examples for p in e.images] == sizes
        assert [e.answer.text for e in examples] == ["3", "4"][-len(sizes) :]


# Which files of a folder


def test_a_folder_with_several_splits_asks_for_one(folder: Path) -> None:
    for split in ("train", "test"):
        write_parquet(folder / "ds" / f"{split}-00000-of-00001.parquet", [row(question=split, image=encoded())])
    assert (
        complaint(f"{folder}/ds")
        == f"{folder}/ds: expected one split, got test, train; choose one, e.g. {folder}/ds:test"
    )
    assert (
        complaint(f"{folder}/ds:dev")
        == f"{folder}/ds:dev: expected a split that is there, got 'dev'; there is test, train"
    )
    assert [e.question for e in load_examples(f"{folder}/ds:train")] == ["train"]


@pytest.mark.parametrize(
    "name",
    ["train.parquet", "data/train-00000-of-00001.parquet", "train/part.parquet", "train/0-00000-of-00001.parquet"],
)
def test_the_layouts_of_the_hub_are_known(folder: Path, name: str) -> None:
    write_parquet(folder / "ds" / name, [row(image=None)])
    assert len(load_examples(f"{folder}/ds:train")) == 1


def test_shards_are_read_in_order_and_rows_named_by_file(folder: Path) -> None:
    for i in range(3):
        write_parquet(folder / "ds" / f"train-0000{i}-of-00003.parquet", [row(question=f"Shard {i}?", image=encoded())])
    assert [e.question for e in load_examples(f"{folder}/ds")] == ["Shard 0?", "Shard 1?", "Shard 2?"]
    write_parquet(folder / "ds" / "train-00001-of-00003.parquet", [row(image=None), row(question="", image=None)])
    assert "1 of 4 rows" in complaint(f"{folder}/ds")
    assert "  train-00001-of-00003.parquet row 2, column `question`" in complaint(f"{folder}/ds")


def test_a_missing_shard_is_noticed(folder: Path) -> None:
    for i in (0, 2):
        write_parquet(folder / "ds" / f"train-0000{i}-of-00003.parquet", [row(image=None)])
    assert complaint(f"{folder}/ds").endswith(
        "expected 3 shards, got 2 (number 1 is missing); fetch the data set again"
    )


# Our own Parquet

_NOISE = {fmt: noise((40, 30), fmt) for fmt in ("PNG", "JPEG", "WEBP", "BMP", "GIF")}


def picture(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as image:
        return Picture(sha256=hashlib.sha256(data).hexdigest(), width=image.width, height=image.height, data=data)


_PICTURES = [picture(data) for data in (*_NOISE.values(), encoded(), encoded((4, 4)))]
_text = st.text(max_size=20)
_number = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _number | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
_answers = st.one_of(
    st.builds(Digit, value=_text, tolerance=st.none() | st.floats(0, 0.9)),
    st.builds(Letters, letters=st.sampled_from(["A", "AC"]), options=st.lists(_text, max_size=4).map(tuple)),
    st.builds(Text, value=_text, aliases=st.lists(_text, max_size=3).map(tuple)),
    st.builds(Choice, letter=_text, options=st.lists(_text, max_size=4).map(tuple)),
    st.builds(Expression, latex=_text),
    st.builds(
        Box,
        xyxy=st.tuples(_number, _number, _number, _number),
        size=st.none() | st.just((640, 480)),
        coordinates=st.none() | st.sampled_from(["auto", "pixels", "shares", "thousand"]),
    ),
    st.builds(OpenEnded, reference=_text),
)
_examples = st.builds(
    Example,
    question=_text,
    images=st.lists(st.sampled_from(_PICTURES), max_size=3).map(tuple),
    answer=_answers,
    id=st.uuids().map(str),
    family=_text,
    traces=st.lists(st.builds(Trace, style=_text, text=_text), max_size=2).map(tuple),
    system=st.none() | _text,
    scene=st.none() | _text,
    meta=st.dictionaries(_text, _json, max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_examples, max_size=4, unique_by=lambda e: e.id))
def test_examples_come_back_from_parquet_as_they_went(examples: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "examples.parquet"
        write_examples(examples, path)
        assert read_examples(path) == examples
        assert os.listdir(name) == ["examples.parquet"]
        if examples:
            assert load_examples(str(path)) == examples


def test_pictures_by_path_are_embedded(folder: Path) -> None:
    examples = load_examples(write_lines(folder, row(image=["photo.jpg", "red.png"])))
    write_examples(examples, folder / "out.parquet")
    (folder / "photo.jpg").unlink()
    [copy] = read_examples(folder / "out.parquet")
    assert [p.sha256 for p in copy.images] == [p.sha256 for p in examples[0].images]
    assert copy.model_copy(update={"images": examples[0].images}) == examples[0]


def test_examples_are_written_in_bounded_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firsthand.data.store._GROUP_BYTES", 3 * len(encoded()))
    made = (Example(question=f"{i}?", images=(picture(encoded()),), answer=Digit(value="1")) for i in range(10))
    write_examples(made, folder / "out.parquet")
    file = pa.parquet.ParquetFile(folder / "out.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [3, 3, 3, 1]
    assert [e.question for e in read_examples(folder / "out.parquet")] == [f"{i}?" for i in range(10)]


def test_the_datasets_library_shows_our_pictures(folder: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets to check against the library itself")
    write_examples(load_examples(write_lines(folder, row(image=["photo.jpg", "red.png"]))), folder / "out.parquet")
    opened = datasets.Dataset.from_parquet(str(folder / "out.parquet"), cache_dir=str(folder / "cache"))
    assert [image.size for image in opened[0]["images"]] == [(64, 64), (6, 4)]
    assert json.loads(opened[0]["answer"]) == {"kind": "digit", "value": "3"}
    opened.to_parquet(folder / "again.parquet")
    assert load_examples(str(folder / "again.parquet")) == read_examples(folder / "out.parquet")


def test_a_picture_that_changed_since_it_was_loaded_is_not_written(folder: Path) -> None:
    [example] = load_examples(write_lines(folder, row()))
    write_examples([example], folder / "out.parquet")
    before = (folder / "out.parquet").read_bytes()
    (folder / "red.png").write_bytes(encoded(colour="blue"))
    with pytest.raises(
        DataError,
        match=rf"example {example.id}: expected the picture that was loaded, got other bytes in .*red.png; load",
    ):
        write_examples([example], folder / "out.parquet")
    assert (folder / "out.parquet").read_bytes() == before
    assert not list(folder.glob(".*"))


def test_meta_that_json_cannot_hold_is_not_written(folder: Path) -> None:
    for value in (b"x", float("nan")):
        with pytest.raises(DataError, match=r"example e: expected meta that JSON can hold, got: .*; remove it"):
            write_examples(
                [Example(id="e", question="Q", images=(), answer=Digit(value="1"), meta={"m": value})],
                folder / "o.parquet",
            )


def test_a_file_of_ours_that_was_changed_is_refused(folder: Path) -> None:
    write_examples([Example(id="e", question="Q", images=(), answer=Digit(value="1"))], folder / "out.parquet")
    cells = pa.parquet.read_table(folder / "out.parquet").to_pylist()[0]
    for column, value in (
        ("answer", '{"kind": "digit"}'),
        ("traces", "{"),
        ("images", [{"bytes": b"x", "path": None}]),
    ):
        spec = write_parquet(folder / f"{column}.parquet", [{**cells, column: value}])
        with pytest.raises(DataError, match=r"1 of 1 rows cannot be used.*\n  .* row 1, .*expected"):
            read_examples(spec)
    foreign = write_parquet(folder / "foreign.parquet", [row()])
    with pytest.raises(
        DataError,
        match=r"expected a file of write_examples, got columns \['question', .*read other files with load_examples",
    ):
        read_examples(foreign)


# The tree of errors


def test_users_errors_are_value_errors_and_all_are_ours() -> None:
    assert issubclass(DataError, ValueError) and issubclass(RecipeError, ValueError)
    assert all(issubclass(error, FirsthandError) for error in (DataError, RecipeError, ParityError))
    assert not issubclass(ParityError, ValueError)


# The page that explains it


def test_the_worked_examples_of_the_page_load(folder: Path) -> None:
    lines = block("jsonl")
    for name in re.findall(r"[a-z]+\.(?:jpg|png)", lines):
        (folder / name).write_bytes(encoded(fmt="PNG" if name.endswith("png") else "JPEG"))
    examples = load_examples(write_lines(folder, *lines.splitlines()))
    assert [(e.answer.kind, len(e.images)) for e in examples] == [
        ("digit", 1),
        ("choice", 1),
        ("math", 1),
        ("box", 1),
        ("text", 2),
        ("digit", 0),
    ]
    cells = json.loads(block("json").replace('"bytes": "..."', '"bytes": null'))
    [example] = load_examples(write_lines(folder, cells))
    assert (example.question, example.system, example.answer.text) == ("How many apples?", "Be brief.", "3")


def test_the_page_shows_errors_as_users_see_them(folder: Path) -> None:
    spec = write_lines(
        folder,
        row(),
        row(image="dgo.png"),
        row(answer="cat", kind=None),
        row(question="Is <image> larger than <image>?"),
        row(kind="number"),
    )
    assert complaint(spec).replace(spec, "data.jsonl").replace(str(folder), "FOLDER") + "\n" == block("text")


def block(language: str) -> str:
    """The first code block of docs/data.md in a language."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    return page.split(f"```{language}\n")[1].split("```")[0]
