"""The formats of published data, and reading them in a stream: every row becomes an example or a refusal, in order."""

import base64
import csv
import io
import json
import logging
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from userdata import encoded, noise, row, turned, write_lines, write_parquet

from firsthand.config import build
from firsthand.data import (
    REASONS,
    Refused,
    Source,
    json_items,
    load_examples,
    read_examples,
    stream_rows,
    tables,
    write_examples,
    write_vlaa,
)
from firsthand.data.fields import lookup
from firsthand.data.normalise import normalised_answer
from firsthand.data.presets import SOURCE_PRESETS
from firsthand.errors import DataError, RecipeError
from firsthand.records import Box, Choice, Digit, Example, Expression, OpenEnded, Picture, Trace

BLOCK = "<think>\nHm.\n</think>\n\n<answer>\n{}\n</answer>"


def streamed(path: Path | str, **options: Any) -> list[Example | Refused]:
    return list(stream_rows(build(Source, {"path": str(path), **options}, "source")))


def examples(path: Path | str, **options: Any) -> list[Example]:
    found = streamed(path, **options)
    assert all(isinstance(f, Example) for f in found), found
    return [f for f in found if isinstance(f, Example)]


def refusal(path: Path | str, **options: Any) -> Refused:
    [found] = streamed(path, **options)
    assert isinstance(found, Refused), found
    return found


# Reading in a stream


def test_bad_rows_are_values_in_their_place(folder: Path) -> None:
    spec = write_lines(folder, row(), row(image="no.png"), "{", row(question="And?"), row(answer="x"))
    found = streamed(spec, license="mit", origin="here")
    assert [f.reason if isinstance(f, Refused) else "" for f in found] == [
        "",
        "image_missing",
        "bad_row",
        "",
        "bad_answer",
    ]
    bad = found[1]
    assert isinstance(bad, Refused)
    assert bad.place == "data.jsonl line 2"
    assert bad.detail.startswith("column `image`: expected the path of an image file, got 'no.png', which does not")
    assert bad.cells["image"] == "'no.png'"
    assert bad.source == {"name": "data", "file": "data.jsonl", "row": 2, "license": "mit", "origin": "here"}
    assert str(folder) not in bad.detail


def test_provenance_is_kept_and_the_id_is_the_content_s(folder: Path) -> None:
    [mine] = examples(write_lines(folder, row(id="q-7", source="web")), name="photos", license="cc0", origin="x.org")
    [plain] = load_examples(write_lines(folder, row()))
    assert mine.id == plain.id
    assert mine.meta == {
        "original_source": "web",
        "source": {
            "name": "photos",
            "file": "data.jsonl",
            "row": 1,
            "license": "cc0",
            "origin": "x.org",
            "id": "q-7",
        },
    }


def test_a_limit_counts_rows_before_they_are_refused(folder: Path) -> None:
    spec = write_lines(folder, row(image="no.png"), row(), row(question="And?"))
    assert [type(f) for f in streamed(spec, limit=2)] == [Refused, Example]


def test_a_source_without_rows_is_a_data_error(folder: Path) -> None:
    with pytest.raises(DataError, match="expected at least one row, got none; check the path, and `only`"):
        streamed(write_lines(folder, row()), only={"image": "coco/"})
    with pytest.raises(DataError, match="got a path that does not exist"):
        streamed(folder / "nowhere.jsonl")


def test_what_was_written_streams_back_as_it_was(folder: Path) -> None:
    made = load_examples(write_lines(folder, row(), row(image="photo.jpg", trace="Look.")))
    write_examples(made, folder / "made.parquet")
    for old, new in zip(made, examples(folder / "made.parquet"), strict=True):
        assert new.meta["source"]["name"] == "made"
        kept = {"id", "question", "answer", "traces"}
        assert new.model_dump(include=kept) == old.model_dump(include=kept)


def test_pictures_that_passed_are_not_held(folder: Path) -> None:
    bitmap = noise((100, 100), "BMP")
    pictures = [bitmap[:-4] + i.to_bytes(4, "big") for i in range(200)]
    uris = ["data:image/bmp;base64," + base64.b64encode(data).decode() for data in pictures]
    spec = write_lines(folder, *(row(question=f"Number {i}?", image=uri) for i, uri in enumerate(uris)))
    del pictures, uris
    tracemalloc.start()
    try:
        assert sum(isinstance(f, Example) for f in stream_rows(Source(path=spec))) == 200
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20  # 6 MB of pictures went by
    finally:
        tracemalloc.stop()


# The field map


@pytest.mark.parametrize(
    "meta", [{"gold": [{"v": "3"}]}, '{"gold": [{"v": "3"}]}', "{'gold': [{'v': '3'}], 'x': None}"]
)
def test_a_dotted_path_reaches_into_objects_lists_and_text(folder: Path, meta: Any) -> None:
    spec = write_lines(folder, {"q": "How many?", "meta": meta, "image": "red.png"})
    [example] = examples(spec, fields={"question": "q", "answer": "meta.gold.0.v"})
    assert (example.question, example.answer) == ("How many?", Digit(value="3"))


def test_a_column_with_dots_in_its_name_comes_first() -> None:
    assert lookup({"a.b": 1, "a": {"b": 2}}, "a.b") == 1


def test_a_column_that_means_something_else_is_kept_under_another_name(folder: Path) -> None:
    spec = write_lines(folder, row(answer="I think 4", gt="3"))
    [example] = examples(spec, fields={"answer": "gt"})
    assert example.answer == Digit(value="3")
    assert example.meta["original_answer"] == "I think 4"


def test_an_error_names_the_user_s_column(folder: Path) -> None:
    bad = refusal(
        write_lines(folder, {"q": "How many?", "n": "several"}), fields={"question": "q", "answer": "n"}, kind="digit"
    )
    assert bad.reason == "bad_answer"
    assert bad.detail.startswith("column `n`: expected a number")


def test_side_information_is_a_column_or_a_template(folder: Path) -> None:
    spec = write_lines(folder, row(meta="{'rationale': 'two balls'}"), row(question="And?", meta="{}"))
    assert [e.meta.get("side") for e in examples(spec, side="meta.rationale")] == ["two balls", None]
    assert examples(spec, side="Objects: {meta.rationale}.", limit=1)[0].meta["side"] == "Objects: two balls."
    assert examples(spec, side="{meta.__class__}", limit=1)[0].meta.get("side") is None


def test_a_caption_that_the_source_promises_is_there_or_the_row_is_refused(folder: Path) -> None:
    spec = write_lines(folder, row(said="A red square."), row(question="And?"))
    good, bad = streamed(spec, caption="said")
    assert isinstance(good, Example) and isinstance(bad, Refused)
    assert good.meta["caption"] == "A red square." and "said" not in good.meta
    assert bad.detail.startswith("column `said`: expected a caption, got None; fill it in")


def test_the_old_name_of_normalise_is_read_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="firsthand"):
        source = build(Source, {"path": "x.jsonl", "preset": "arxivqa", "tidy": False}, "s")
    assert source.normalise is False
    assert [r.getMessage() for r in caplog.records] == [
        "x.jsonl: tidy is now normalise; the old name is read for one more version"
    ]
    with pytest.raises(RecipeError, match="tidy is now normalise, and both are given; leave tidy out"):
        build(Source, {"path": "x.jsonl", "tidy": True, "normalise": True}, "s")


# Presets


def test_presets_are_those_of_the_paper() -> None:
    """But for DocVQA, whose answers are short: VLAA-Thinking scored them as free text."""
    of = {name: build(Source, {"path": "x", "preset": name}, "s") for name in SOURCE_PRESETS}
    assert {name: of[name].kind for name in list(of)[:8]} == {
        "clevr_math": "digit",
        "geoqa170k": "choice",
        "math_puma_synthesis": "math",
        "arxivqa": "choice",
        "vizwiz": "open",
        "allava_laion": "open",
        "llava_cot_coco": "box",
        "llava_cot_vg": "box",
    }
    assert [name for name in of if of[name].part == "rl"] == ["geoqa170k"]
    assert {name: of[name].caption for name in of if of[name].caption is not True} == {
        "math_puma_synthesis": False,
        "allava_laion": "caption",
        "llava_cot_coco": False,
        "llava_cot_vg": False,
    }
    assert all(source.origin and source.name == name for name, source in of.items())


def test_what_is_given_wins_over_the_preset(folder: Path) -> None:
    content = {"path": "x.json", "preset": "arxivqa", "kind": "open", "fields": {"image": "figure"}, "name": "mine"}
    source = build(Source, content, "s")
    assert (source.kind, source.name, source.fields) == ("open", "mine", {"answer": "label", "image": "figure"})


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="unknown preset 'arxiv'; did you mean 'arxivqa'"):
        build(Source, {"path": "x", "preset": "arxiv"}, "sources.0")
    with pytest.raises(RecipeError, match="unknown column 'anwser'; did you mean 'answer'"):
        build(Source, {"path": "x", "fields": {"anwser": "gt"}}, "sources.0")
    with pytest.raises(RecipeError, match="licence: unknown key; did you mean 'license'"):
        build(Source, {"path": "x", "licence": "mit"}, "sources.0")


def test_llava_cot_s_stages_become_a_trace_and_other_sets_in_its_file_are_passed_over(folder: Path) -> None:
    (folder / "coco").mkdir()
    (folder / "coco" / "1.png").write_bytes(encoded((20, 10)))
    stages = "<SUMMARY>S</SUMMARY>\n<CAPTION>C</CAPTION>\n<REASONING>R</REASONING>\n"
    said = f"{stages}<CONCLUSION>It is at [0.1, 0.2, 0.7, 0.5]</CONCLUSION>"
    turns = [{"from": "human", "value": "Where is it?"}, {"from": "gpt", "value": said}]
    spec = write_lines(
        folder, {"image": "coco/1.png", "conversations": turns}, {"image": "ai2d/1.png", "conversations": turns}
    )
    [example] = examples(spec, preset="llava_cot_coco")
    assert example.answer == Box(xyxy=(0.1, 0.2, 0.7, 0.5), size=(20, 10))
    assert example.traces[0].text.startswith("<think>\nS\nC\nR\n</think>\n<answer>It is at [0.1")


def test_several_turns_are_refused(folder: Path) -> None:
    turns = [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "1"}] * 2
    assert refusal(write_lines(folder, {"conversations": turns})).reason == "bad_question"


# VLMEvalKit


def table(
    folder: Path, *rows: dict[str, Any], columns: str = "index image question hint A B C answer category"
) -> Path:
    """A table as pandas writes it."""
    path = folder / "bench.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns.split(), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def b64(name: str, folder: Path) -> str:
    return base64.b64encode((folder / name).read_bytes()).decode()


def test_a_table_of_vlmevalkit_is_read(folder: Path) -> None:
    asked = 'Which "one"?\nLook\tclosely.'
    path = table(
        folder,
        {
            "index": 0,
            "image": b64("photo.jpg", folder),
            "question": asked,
            "A": "cat",
            "B": "dog",
            "answer": "B",
            "category": "pets",
        },
        {"index": 1, "image": b64("red.png", folder), "question": "Sum?", "hint": "Add them.", "answer": "7"},
    )
    first, second = examples(path)
    assert first.question == f"{asked}\nA) cat\nB) dog"
    assert (first.answer, first.family) == (Choice(letter="B", options=("cat", "dog")), "pets")
    assert first.meta["source"] == {
        "name": "bench",
        "file": "bench.tsv",
        "row": 1,
        "license": "unknown",
        "origin": "",
        "id": "0",
    }
    assert (second.question, second.answer, second.images[0].width) == ("Add them.\nSum?", Digit(value="7"), 6)
    assert load_examples(str(path))[1].id == "1"


def test_an_image_may_be_another_row_s_earlier_or_later(folder: Path) -> None:
    path = table(
        folder,
        {"index": 0, "image": "2", "question": "A?", "answer": 1},
        {"index": 1, "image": b64("blue.png", folder), "question": "B?\nB?", "answer": 1},
        {"index": 2, "image": b64("photo.jpg", folder), "question": "C?", "answer": 1},
        {"index": 3, "image": "1", "question": "D?", "answer": 1},
        {"index": 4, "image": "3", "question": "E?", "answer": 1},
        {"index": 5, "image": "9", "question": "F?", "answer": 1},
    )
    *found, chain, nowhere = streamed(path)
    assert [f.images[0].width for f in found if isinstance(f, Example)] == [64, 5, 64, 5]
    assert isinstance(chain, Refused) and "expected the index of a row with a picture, got row '3'" in chain.detail
    assert isinstance(nowhere, Refused) and "expected base64, a path, or the index of a row, got '9'" in nowhere.detail


def test_several_images_and_images_by_path(folder: Path) -> None:
    both = str([b64("photo.jpg", folder), b64("red.png", folder)])
    [example] = examples(table(folder, {"index": 0, "image": both, "question": "Same?", "answer": 1}))
    assert [p.width for p in example.images] == [64, 6]
    by_path = table(
        folder,
        {"image_path": "['red.png', 'blue.png']", "question": "Same?", "answer": 1},
        columns="image_path question answer",
    )
    assert [p.width for p in examples(by_path)[0].images] == [6, 5]


def test_options_with_a_gap_are_refused(folder: Path) -> None:
    bad = refusal(table(folder, {"index": 0, "question": "Q?", "A": "x", "C": "y", "answer": "C"}))
    assert (bad.reason, bad.detail) == (
        "bad_answer",
        "column `options`: expected options A, B, C ... without a gap, got A, C; fill them in",
    )


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('9\t"never closed\n', "bad_row"),
        ("9\ttoo\tmany\n", "bad_row"),
        ("9\n", "bad_row"),
        ("9\t\x00\xff\n", "bad_encoding"),
    ],
)
def test_a_row_that_cannot_be_read_costs_one_row(folder: Path, broken: str, reason: str) -> None:
    path = folder / "bench.tsv"
    good = 'Is 5" long?\t1\n"Two\nlines?"\t2\n'
    path.write_bytes(f"question\tanswer\n{good}{broken}{good}".encode("latin-1"))
    found = streamed(path)
    assert [f.answer.text if isinstance(f, Example) else f.reason for f in found] == ["1", "2", reason, "1", "2"]


def test_a_huge_cell_is_read_and_a_larger_row_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = base64.b64encode(noise((400, 400), "BMP")).decode()
    rows = [{"index": i, "image": image, "question": "Q?", "answer": i} for i in range(2)]
    assert len(image) > 131_072  # csv's own limit
    assert len(examples(table(folder, *rows))) == 2
    monkeypatch.setattr(tables, "LONGEST_ROW", 10_000)
    assert [f.reason for f in streamed(table(folder, *rows)) if isinstance(f, Refused)] == ["bad_row", "bad_row"]


def test_a_table_without_a_header_is_refused(folder: Path) -> None:
    (folder / "bench.tsv").write_text("a\ta\n1\t2\n")
    with pytest.raises(DataError, match="expected a header of different column names, got"):
        streamed(folder / "bench.tsv")


# VLAA-Thinking

GRPO = [
    ("digit", 3, Digit(value="3")),
    ("mcq", "(c)", Choice(letter="C")),
    ("mcq", r"\boxed{C}", Choice(letter="C")),
    ("math", r"Output 4: \[\boxed{y=|x+9|}\]", Expression(latex="y=|x+9|")),
    ("math", "a = -5, y = -5x", Expression(latex="y = -5x")),
    ("iou", "[0.1, 0.2, 0.7, 0.5]", Box(xyxy=(0.1, 0.2, 0.7, 0.5), size=(6, 4))),
    ("open", "A can of soup.", OpenEnded(reference="A can of soup.")),
]


@pytest.fixture
def release(folder: Path) -> Path:
    """A folder as the release unpacks: pictures below images/, one set per folder."""
    for name in ("clevr_math", "arxivqa", "synthesis", "coco", "vizwiz"):
        (folder / "images" / name).mkdir(parents=True)
        (folder / "images" / name / "1.png").write_bytes(encoded())
    return folder


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("verifier", "gold", "answer"), GRPO)
def test_the_verifier_type_decides_the_kind(release: Path, verifier: str, gold: Any, answer: Any) -> None:
    cells = {"id": "x-1", "image": "/vizwiz/1.png", "question": "Q?", "gt": gold, "verifier_type": verifier}
    path = lines(release / "GRPO.json", {**cells, "meta": "{'text_question': 'Q in words?', 'n': None}"})
    [example] = examples(path, side="meta.text_question")
    assert (example.answer, example.family) == (answer, "vizwiz")
    assert example.meta["side"] == "Q in words?"
    assert example.meta["meta"] == {"text_question": "Q in words?", "n": None}
    assert load_examples(str(path))[0].answer == answer


def test_an_unknown_verifier_type_is_refused(release: Path) -> None:
    bad = refusal(
        lines(release / "g.json", {"image": "vizwiz/1.png", "question": "Q?", "gt": "x", "verifier_type": "zz"})
    )
    assert (bad.reason, bad.detail[:49]) == ("bad_answer", "column `verifier_type`: expected one of digit, mc")


@pytest.mark.parametrize(
    ("image", "body", "answer"),
    [
        ("clevr_math/1.png", r" \[ \boxed{4} \] ", Digit(value="4")),
        ("clevr_math/1.png", "There are four.", OpenEnded(reference="There are four.")),
        ("arxivqa/1.png", "C) up", Choice(letter="C")),
        ("synthesis/1.png", r"\[\boxed{y = 2x}\]", Expression(latex="y = 2x")),
        ("coco/1.png", "[0.1, 0.2, 0.7, 0.5]", Box(xyxy=(0.1, 0.2, 0.7, 0.5), size=(6, 4))),
        ("coco/1.png", "A dog.", OpenEnded(reference="A dog.")),
    ],
)
def test_a_finished_reply_is_split_into_trace_and_gold(release: Path, image: str, body: str, answer: Any) -> None:
    path = lines(release / "SFT.json", {"image": image, "question": "Q?", "answer": BLOCK.format(body)})
    [example] = examples(path)
    assert example.answer == answer
    assert example.traces[0].text.startswith("<think>\nHm.\n</think>") and example.traces[0].text.endswith("</answer>")
    assert r"\[" not in example.traces[0].text


def test_the_readme_s_rows_have_both(release: Path) -> None:
    cells = {
        "id": "clevr_math-CLEVR_train_027977.png",
        "image": "clevr_math/1.png",
        "question": "Subtract all balls. How many objects are left?",
        "gt": 3,
        "ds_answer": "<think>\nOkay.\n</think>\n\n**Answer:** There are 3 objects remaining.",
        "caption": "",
        "meta": {"caption_model_id": "m", "rationale": "There are balls."},
    }
    [example] = examples(lines(release / "train.json", cells), side="meta.rationale")
    assert example.answer == Digit(value="3")
    assert example.traces[0].text.endswith("remaining.\n<answer>3</answer>")
    assert example.meta["side"] == "There are balls."


def test_an_ordinary_row_with_a_finished_reply_still_needs_a_kind(folder: Path) -> None:
    assert (
        refusal(write_lines(folder, {"question": "Q?", "answer": BLOCK.format("cat"), "image": "red.png"})).reason
        == "bad_answer"
    )
    [example] = load_examples(write_lines(folder, {"question": "Q?", "answer": BLOCK.format("3"), "image": "red.png"}))
    assert example.answer == Digit(value="3")


def made(folder: Path) -> list[Example]:
    rows = [
        row(family="count"),
        row(question="Which?", answer="B", kind="choice", choices=["cat", "dog"], image="photo.jpg"),
    ]
    rows += [
        row(question="x?", answer=r"\frac12", kind="math"),
        row(question="Where?", answer=[0.1, 0.2, 0.5, 1], kind="box"),
    ]
    rows += [
        row(question="What colour?", answer=["teal", "turquoise"], kind="text"),
        row(question="Which two?", answer="AC", kind="letters", choices=["a cat", "a dog", "a fox"]),
        row(question="How much?", answer=7, kind="digit", tolerance=0.05),
        row(question="Where is it?", answer=[0.1, 0.2, 0.5, 1], kind="box", coordinates="thousand"),
    ]
    rows += [row(question="What?", answer="A dog.", kind="open", images=["red.png", "blue.png"], image=None)]
    return load_examples(write_lines(folder, *({**r, "trace": "Look."} for r in rows)))


def test_what_is_written_as_vlaa_reads_back(folder: Path) -> None:
    (folder / "out").mkdir()
    examples_in = made(folder)
    write_vlaa(examples_in, folder / "out" / "GRPO.json", part="rl")
    write_vlaa(examples_in, folder / "out" / "SFT.json", part="sft")
    back = examples(folder / "out" / "GRPO.json")
    assert [e.id for e in back] == [e.id for e in examples_in]
    assert [e.answer for e in back] == [e.answer for e in examples_in]
    texts = [e.traces[0].text for e in examples_in]
    assert [json.loads(line)["answer"] for line in (folder / "out" / "SFT.json").read_text().splitlines()] == texts
    assert [e.traces[0].text for e in examples(folder / "out" / "SFT.json", kind="open")] == texts
    first = json.loads((folder / "out" / "GRPO.json").read_text().splitlines()[0])
    assert list(first) == ["image", "id", "question", "gt", "verifier_type", "meta"]
    assert first["image"].startswith("count/") and (folder / "out" / "images" / first["image"]).is_file()


def test_a_family_does_not_lead_out_of_the_folder_that_is_written(folder: Path) -> None:
    (folder / "out").mkdir()
    [example] = load_examples(write_lines(folder, row(family="../../up")))
    write_vlaa([example], folder / "out" / "g.json", part="rl")
    assert [p.parent.name for p in (folder / "out").rglob("*.png")] == ["______up"]
    with pytest.raises(DataError, match="expected a trace for the SFT file, got none"):
        write_vlaa([example], folder / "out" / "s.json", part="sft")
    assert not (folder / "out" / "s.json").exists() and not list((folder / "out").glob(".*"))


# JSON arrays


def test_an_array_is_read_item_by_item(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(question=f"Number {i}? é", level=[1, {"a": "]}"}]) for i in range(20)]
    whole = [e.question for e in load_examples(write_lines(folder, *rows))]
    for indent, chunk in ((None, 2**20), (2, 7), (None, 1)):
        (folder / "all.json").write_text(
            "\ufeff" + json.dumps([*rows[:10], 55_555, *rows[10:]], indent=indent), encoding="utf-8"
        )
        monkeypatch.setattr(json_items, "_CHUNK", chunk)
        found = streamed(folder / "all.json")
        assert isinstance(found[10], Refused) and found[10].place == "all.json item 11"
        assert [f.question for f in found if isinstance(f, Example)] == whole
    (folder / "all.json").write_text("[12345, 678]")
    assert len(streamed(folder / "all.json")) == 2


@pytest.mark.parametrize(
    "text", ['[{"a": 1}', '[{"a": 1} {"a": 2}]', '[{"a": }]', "[1, ]", "[{}] x", "[" * 100_000, "[\x00"]
)
def test_an_array_that_breaks_off_is_a_data_error(folder: Path, text: str) -> None:
    (folder / "all.json").write_text(text)
    with pytest.raises(DataError, match="expected an array of JSON objects, got: "):
        streamed(folder / "all.json")


def test_a_key_that_is_there_twice_costs_one_item(folder: Path) -> None:
    good = json.dumps(row())
    (folder / "all.json").write_text(
        f'[{{"question": "Q?", "answer": 1, "answer": 2}}, {{"id": {"1" * 5000}}}, {good}]'
    )
    assert [type(f) for f in streamed(folder / "all.json")] == [Refused, Refused, Example]


# Gold answers of published data


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        ("A", "choice", "A"),
        ("A)", "choice", "A"),
        ("(a)", "choice", "A"),
        ("C. the third", "choice", "C"),
        ("Answer: B", "choice", "B"),
        ("Apple", "choice", "Apple"),
        ("The answer is 4.", "digit", "4"),
        (r"So there are \boxed{12} of them.", "digit", "12"),
        (5, "digit", 5),
        ("Output 4: y=2x", "math", "y=2x"),
        ("Output: 7", "math", "7"),
        (r"\[\boxed{\frac{1}{2}}\]", "math", r"\frac{1}{2}"),
        (r"$x^2$", "math", "x^2"),
        (r"\[ \( **7** \) \]", "digit", "7"),
        (r"\boxed{\{1, 2\}}", "math", r"\{1, 2\}"),
        (r"\boxed{1}{", "math", "1"),
        ("a = 2 and y = 2x", "math", "y = 2x"),
        ("x = 1, y = 2", "math", "y = 2"),
        ("y = 2x, for all x", "math", "y = 2x, for all x"),
        (r"\boxed{3} of \boxed{12}", "digit", "12"),
        ("x = 1, z = 2", "math", "x = 1, z = 2"),
        ("y = 1, y = 2", "math", "y = 1, y = 2"),
        (r"$1$ and $2$", "math", "$1$ and $2$"),
        ("The answer is: red.", "open", "The answer is: red."),
        ("at [0.1, 0.2, 0.7, 0.5].", "box", "[0.1, 0.2, 0.7, 0.5]"),
    ],
)
def test_gold_answers_are_freed_of_what_stands_around_them(answer: Any, kind: str, expected: Any) -> None:
    assert normalised_answer(answer, kind) == expected


# Pictures that are taken as they are meant


def test_a_photo_that_exif_turns_stands_upright(folder: Path) -> None:
    [example] = load_examples(write_lines(folder, row(image="turned.jpg")))
    assert (example.images[0].width, example.images[0].height) == (4, 6) == example.images[0].open().size
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        (folder / "t.png").write_bytes(encoded((8, 5), exif=exif))
        [picture] = load_examples(write_lines(folder, row(image="t.png")))[0].images
        assert (picture.width, picture.height) == picture.open().size == ((5, 8) if orientation > 4 else (8, 5))


def test_turning_moves_the_pixels() -> None:
    plain = Image.new("RGB", (6, 4), "white")
    plain.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the sensor lay on its left: the first row is the right edge
    buffer = io.BytesIO()
    plain.save(buffer, "PNG", exif=exif)
    picture = Picture(sha256="x", width=4, height=6, data=buffer.getvalue())
    assert picture.open().getpixel((3, 0)) == (255, 0, 0)
    assert turned() != encoded(fmt="JPEG")


def test_a_picture_for_print_is_opened_in_rgb(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(buffer, "JPEG")
    (folder / "print.jpg").write_bytes(buffer.getvalue())
    opened = load_examples(write_lines(folder, row(image="print.jpg")))[0].images[0].open()
    assert opened.mode == "RGB"
    assert opened.getpixel((4, 4)) == pytest.approx((254, 0, 0), abs=3)


def test_who_wants_to_see_pictures_sees_each_once_as_it_is_opened(folder: Path) -> None:
    grey, turn = Image.effect_noise((40, 30), 90), Image.Exif()
    turn[0x0112] = 6
    Image.merge("LA", (grey, grey)).save(folder / "clear.png")
    grey.save(folder / "noise.jpg")
    grey.save(folder / "sideways.jpg", exif=turn)
    names = ("clear.png", "noise.jpg", "sideways.jpg", "noise.jpg")
    seen: list[tuple[str, bytes]] = []
    source = Source(path=write_lines(folder, *(row(image=name) for name in names)))
    examples = list(stream_rows(source, on_decoded=lambda sha256, image: seen.append((sha256, image.tobytes()))))
    pictures = [e.images[0] for e in examples if isinstance(e, Example)]
    assert seen == [(picture.sha256, picture.open().tobytes()) for picture in pictures[:3]]


# Ids


def test_a_box_learns_the_size_of_its_picture_and_keeps_its_id(folder: Path) -> None:
    [one] = load_examples(write_lines(folder, row(answer=[0.1, 0.2, 0.5, 1], kind="box")))
    assert one.answer == Box(xyxy=(0.1, 0.2, 0.5, 1.0), size=(6, 4))
    bare = Example(question=one.question, images=one.images, answer=Box(xyxy=(0.1, 0.2, 0.5, 1.0)))
    assert one.id == bare.id
    for images in ([], ["red.png", "blue.png"]):
        cells = {**row(answer=[0.1, 0.2, 0.5, 1], kind="box", image=None), "images": images}
        assert load_examples(write_lines(folder, cells))[0].answer == bare.answer


def test_ids_of_older_data_stay_the_same() -> None:
    box = Example(question="Where?", images=(), answer=Box(xyxy=(0.1, 0.2, 0.5, 1.0)))
    digit = Example(question="How many?", images=(), answer=Digit(value="3"), traces=(Trace(style="plain", text="x"),))
    assert (box.id, digit.id) == ("f63b11e1d658b5ce", "0dcc0e06eb697a90")


# The page that explains it


def test_every_field_reason_and_preset_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for name in (*Source.model_fields, *REASONS):
        assert f"| `{name}` |" in page, name
    for name in SOURCE_PRESETS:
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", page, re.MULTILINE), name


def blocks(language: str, heading: str, number: int = 1) -> str:
    """A code block of a section of docs/data.md."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    return page.split(f"\n## {heading}\n")[1].split(f"```{language}\n")[number].split("```")[0]


def test_the_page_s_rows_of_every_format_load(folder: Path) -> None:
    for name in ("coco/7.jpg", "images/clevr_math/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded())
    chat = json.loads(blocks("json", "Messages", 2))
    released = json.loads(blocks("json", "VLAA-Thinking's files"))
    (folder / "vlaa.json").write_text(json.dumps(released))
    picture = base64.b64encode(encoded((20, 20))).decode()
    (folder / "bench.tsv").write_text(blocks("tsv", "Tables").replace("iVBORw0KGgo...", picture))
    found = [*examples(write_lines(folder, chat)), *examples(folder / "vlaa.json"), *examples(folder / "bench.tsv")]
    assert [(e.answer.text, len(e.images)) for e in found] == [("3", 1), ("3", 1), ("B", 1), ("3", 1)]


def test_read_examples_reads_what_the_stream_kept(folder: Path) -> None:
    write_examples(examples(write_lines(folder, row())), folder / "kept.parquet")
    assert read_examples(folder / "kept.parquet")[0].meta["source"]["file"] == "data.jsonl"
    assert write_parquet(folder / "p.parquet", [row()])
