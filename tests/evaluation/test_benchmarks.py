"""Benchmarks: what ships is whole, files of every layout give the same questions, and what is wrong is told."""

import base64
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_files import (
    STEMS,
    generated,
    logicvista_row,
    png,
    some,
    write_csv,
    write_jsonl,
    write_parquet,
    write_set,
    write_tsv,
)
from userdata import encoded

from firsthand.cli.main import main
from firsthand.config import build
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation.benchmarks.evaluate import evaluate_benchmark, read_task
from firsthand.evaluation.benchmarks.files import default_root, download, locate
from firsthand.evaluation.benchmarks.items import load
from firsthand.evaluation.benchmarks.spec import Benchmark, find, names
from firsthand.evaluation.benchmarks.strict import judge_strictly
from firsthand.evaluation.protocol import protocol
from firsthand.records import Box, Choice, Digit, Example, Expression, Letters, Text
from firsthand.reward import Router
from firsthand.worlds import SMALL

RECIPES = Path(__file__).parents[2] / "src/firsthand/recipes"


def one(name: str) -> Benchmark:
    suite, (found,) = find(name)
    assert suite is None
    return found


def mine(**fields: Any) -> Benchmark:
    """A user's benchmark of multiple-choice questions."""
    content = {"name": "mine", "title": "Mine", "files": ["mine"], "gold": [{"kind": "choice", "options": "options"}]}
    return build(Benchmark, {**content, **fields}, "mine.yaml")


def loaded(name: str, root: Path) -> list[Example]:
    return list(read_task(one(name), root).examples)


def by_index(examples: Iterable[Example]) -> dict[str, Example]:
    return {example.id.partition("/")[2]: example for example in examples}


# ---- what ships


@pytest.mark.parametrize("name", names())
def test_every_benchmark_that_ships_is_read_and_its_protocol_is_there(name: str) -> None:
    suite, parts = find(name)
    assert [part.name for part in parts] == (list(suite.benchmarks) if suite else [name])
    chosen = {suite.protocol} if suite and suite.protocol else {part.protocol for part in parts}
    for drawing in chosen:
        assert protocol(drawing).max_new_tokens > 0


def test_the_suites_are_those_of_the_papers() -> None:
    suites = {name: found[0].benchmarks for name in names() if (found := find(name))[0] is not None}
    assert suites == {
        "open-lmm-reasoning": ("mathvista", "mathvision", "mathverse", "dynamath", "wemath", "logicvista"),
        "othink-mr1": ("superclevr", "geoqa"),
        "srft-math": ("aime24", "aime25", "amc", "math-500", "minerva", "olympiadbench"),
        "srft-ood": ("arc-c", "gpqa-diamond", "mmlu-pro"),
    }
    draws = {part.name: part.draws for part in find("srft-math")[1]}
    assert draws == {"aime24": 32, "aime25": 32, "amc": 32, "math-500": None, "minerva": None, "olympiadbench": None}


@pytest.mark.parametrize(
    ("name", "recipes"),
    [
        ("vlaa", "vlaa-thinker-*"),
        ("vlaa-800", "vlaa-thinker-*"),
        ("srft", "srft-qwen2.5-math-7b"),
        ("othink-counting", "othink-mr1-counting"),
        ("othink-geometry", "othink-mr1-geometry"),
    ],
)
def test_a_model_is_asked_under_the_system_prompt_that_it_is_trained_with(name: str, recipes: str) -> None:
    trained = [yaml.safe_load(path.read_text()) for path in RECIPES.glob(f"{recipes}.yaml")]
    prompts = {(recipe.get("shared") or recipe)["system"] for recipe in trained}
    assert prompts == {protocol(name).system}


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as error:
        find("mathvists")
    assert str(error.value) == (
        "--benchmark mathvists: expected one that ships here or a YAML file; did you mean 'mathvista'?"
    )
    with pytest.raises(RecipeError) as error:
        protocol("vlaaa")
    assert str(error.value) == "--protocol vlaaa: expected one that ships here or a YAML file; did you mean 'vlaa'?"


def test_how_many_replies_a_benchmark_wants_holds_unless_the_user_says_otherwise() -> None:
    assert protocol("srft").samples == 1
    assert protocol("srft", draws=32).samples == 32
    assert protocol("srft", said={"samples": 4}, draws=32).samples == 4
    assert protocol("srft", ["samples=1"], draws=32).samples == 1
    assert protocol("plain", draws=32).samples == 0  # greedy: one reply
    with pytest.raises(RecipeError, match="samples: expected 1 or more where greedy is false"):
        protocol("plain", ["greedy=false", "samples=0"])
    assert protocol("plain", ["greedy=false"]).samples == 1


# ---- the six sets, from VLMEvalKit's tables

MATHVISTA = """\
Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.
Question: What does the picture show?
Choices:
(A) 3/11
(B) 8/11
(C) 6/11
(D) 3/5"""
MATHVISION = """\
Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.
Question: How long is the side? <image1>
Choices:
(A) 3/11
(B) 8/11
(C) 6/11
(D) 3/5"""
MATHVERSE = "<image>\nAccording to the question shown in the image, please answer it."
DYNAMATH = """\
## Question
 Question 1, drawn for the 1. time: how long is the side?
## How to answer
Answer the question above with one JSON object that has two keys: 'solution' holds the steps that lead to the answer, \
as detailed as they need to be, and 'short answer' holds the answer alone. Under 'short answer' give the answer as a \
number with three decimals.

Such a JSON object looks like this:

{
    "solution": "[the steps, in detail]",
    "short answer": "[the answer alone]"
}"""
WEMATH = """\
Question: How long is side 1?
Regarding the format, please answer following the template below, and be sure to include two <> symbols:
<Thought process>: <<your thought process>> <Answer>: <<your option>>
Options:
A. 3/11
B. 8/11
C. 6/11
D. 3/5
"""
LOGICVISTA = """\
Which of these come next in the sequence? Select from A, B, C, D and E.
(A) 3/11
(B) 8/11
(C) 6/11
(D) 3/5"""
FOUR = ("3/11", "8/11", "6/11", "3/5")

PROMPTS = {
    "mathvista": ("1", MATHVISTA),
    "mathvision": ("1", MATHVISION),
    "mathverse": ("1", MATHVERSE),
    "dynamath": ("1", DYNAMATH),
    "wemath": ("0", WEMATH),
    "logicvista": ("1", LOGICVISTA),
}


@pytest.mark.parametrize("name", STEMS)
def test_a_question_is_put_as_the_table_has_it(name: str, tmp_path: Path) -> None:
    write_set(name, tmp_path)
    index, text = PROMPTS[name]
    example = by_index(loaded(name, tmp_path))[index]
    assert example.question == text
    assert [(picture.width, picture.height) for picture in example.images] == [(56, 56)]


@pytest.mark.parametrize("name", STEMS)
def test_every_row_of_a_table_is_taken_in_its_order(name: str, tmp_path: Path) -> None:
    rows = generated(name)
    write_set(name, tmp_path, rows)
    examples = loaded(name, tmp_path)
    assert [example.id for example in examples] == [f"{name}/{row['index']}" for row in rows]
    for example, row in zip(examples, rows, strict=True):
        assert {c: v for c, v in row.items() if v and c != "answer_option"}.items() <= example.meta.items()


def test_mathvista_has_letters_numbers_lists_and_text(tmp_path: Path) -> None:
    write_set("mathvista", tmp_path)
    found = {e.meta["answer_type"] + e.meta["question_type"][0]: e.answer for e in loaded("mathvista", tmp_path)}
    assert found == {
        "textm": Choice(letter="B", options=FOUR),
        "integerf": Digit(value="14"),
        "floatf": Digit(value="0.6"),
        "listf": Expression(latex="[2007, 2008]"),
        "textf": Text(value="Paris"),
    }


def test_mathvision_has_options_or_none(tmp_path: Path) -> None:
    write_set("mathvision", tmp_path)
    answers = [example.answer for example in loaded("mathvision", tmp_path)]
    assert answers == [Choice(letter="B", options=FOUR), Expression(latex="14")]


def test_mathverse_has_letters_without_options_and_expressions(tmp_path: Path) -> None:
    write_set("mathverse", tmp_path)
    answers = [example.answer for example in loaded("mathverse", tmp_path)]
    assert answers == [Choice(letter="B"), Expression(latex="22.3")]
    assert {e.meta["subject"] for e in loaded("mathverse", tmp_path)} == {"Plane Geometry", "Functions"}


def test_dynamath_asks_for_json_as_each_type_of_answer_wants_it(tmp_path: Path) -> None:
    write_set("dynamath", tmp_path)
    examples = loaded("dynamath", tmp_path)
    firsts = [example for example in examples if example.meta["varid"] == "1"]
    assert [e.answer for e in firsts] == [Choice(letter="C"), Digit(value="2.250"), Text(value="even")]
    asked = ["give the option's letter", "as a number with three decimals", "Numbers with a fraction"]
    for example, words in zip(firsts, asked, strict=True):
        assert [w for w in asked if w in example.question] == [words]


def test_wemath_shows_as_many_options_as_a_row_has_and_its_hint(tmp_path: Path) -> None:
    rows = some("wemath")
    rows[1] = {**rows[1], "hint": "Look twice."}
    write_set("wemath", tmp_path, rows)
    examples = loaded("wemath", tmp_path)
    assert examples[0].answer == Choice(letter="B", options=FOUR)
    assert examples[1].answer == Choice(letter="G", options=tuple(f"{i} m" for i in range(1, 9)))
    assert examples[1].question.startswith("Hint: Look twice.\nQuestion: How long is side 2?")
    assert examples[1].question.endswith("\nH. 8 m\n")


def test_logicvista_has_one_letter_or_several(tmp_path: Path) -> None:
    write_set("logicvista", tmp_path, [logicvista_row(1, "A, C"), logicvista_row(2, "b")])
    assert [e.answer for e in loaded("logicvista", tmp_path)] == [
        Letters(letters="AC"),
        Letters(letters="B"),
    ]


@pytest.mark.parametrize("name", STEMS)
def test_json_lines_give_what_the_table_gives(name: str, tmp_path: Path) -> None:
    write_set(name, tmp_path / "tsv")
    (tmp_path / "jsonl" / "pictures").mkdir(parents=True)
    (tmp_path / "jsonl" / "pictures" / "0.png").write_bytes(png())
    rows = [{**row, "image": "pictures/0.png"} for row in some(name)]  # empty cells included
    write_jsonl(tmp_path / "jsonl" / f"{STEMS[name]}.jsonl", rows)
    table, lines = loaded(name, tmp_path / "tsv"), loaded(name, tmp_path / "jsonl")
    for one_row, other in zip(table, lines, strict=True):
        assert (one_row.id, one_row.question, one_row.answer) == (other.id, other.question, other.answer)
        assert one_row.meta == other.meta
        assert [p.sha256 for p in one_row.images] == [p.sha256 for p in other.images]


def test_a_benchmark_takes_its_own_part_of_a_file(tmp_path: Path) -> None:
    row = some("mathverse")[0]
    other = {**row, "index": "77", "problem_version": "Text Dominant", "answer": "not a letter"}
    write_set("mathverse", tmp_path, [other, row])
    assert [example.id for example in loaded("mathverse", tmp_path)] == ["mathverse/1"]


# ---- pictures


def test_pictures_lie_beside_the_table_or_where_vlmevalkit_unpacks_them(tmp_path: Path) -> None:
    for place, color in (("images/LogicVista/1.png", "red"), ("2.png", "blue")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(png(color))
    rows = [{**logicvista_row(i), "image": "", "image_path": f"{i}.png"} for i in (1, 2)]
    write_set("logicvista", tmp_path, rows)
    first, second = loaded("logicvista", tmp_path)
    assert first.images[0].open().getpixel((0, 0)) == (255, 0, 0)
    assert second.images[0].open().getpixel((0, 0)) == (0, 0, 255)


def test_a_row_refers_to_the_picture_of_another_or_has_several(tmp_path: Path) -> None:
    both = [base64.b64encode(png(color)).decode() for color in ("red", "blue")]
    rows = [{**logicvista_row(i), "image": image} for i, image in enumerate([both[0], "0", json.dumps(both)])]
    write_set("logicvista", tmp_path, rows)
    found = [[p.open().getpixel((0, 0)) for p in example.images] for example in loaded("logicvista", tmp_path)]
    assert found == [[(255, 0, 0)], [(255, 0, 0)], [(255, 0, 0), (0, 0, 255)]]


# ---- the hub's layouts


def picture(color: str = "white") -> dict[str, Any]:
    return {"bytes": png(color), "path": None}


def test_mathvista_from_the_hub_is_mathvista_from_the_table(tmp_path: Path) -> None:
    table = some("mathvista")
    rows = []
    for row in table:
        bare = row["question"].partition("Question: ")[2].partition("\n")[0]
        choices = ["3/11", "8/11", "6/11", "3/5"] if row["question_type"] == "multi_choice" else None
        metadata = {"category": row["category"], "task": row["task"], "skills": ["geometry reasoning"]}
        rows.append(
            {
                "pid": row["index"],
                "question": bare,
                "image": f"images/{row['index']}.jpg",
                "decoded_image": picture(),
                "choices": choices,
                "unit": None,
                "precision": 1.0,
                "answer": row["answer"],
                "question_type": row["question_type"],
                "answer_type": row["answer_type"],
                "metadata": metadata,
                "query": row["question"],
            }
        )
    write_parquet(tmp_path / "hub/MathVista/data/testmini-00000-of-00001-ab.parquet", rows)
    write_parquet(tmp_path / "hub/MathVista/data/test-00000-of-00001-cd.parquet", rows[:1])
    write_set("mathvista", tmp_path / "tsv")
    hub, tsv = loaded("mathvista", tmp_path / "hub"), loaded("mathvista", tmp_path / "tsv")
    for ours, theirs in zip(hub, tsv, strict=True):
        assert (ours.id, ours.question, ours.answer) == (theirs.id, theirs.question, theirs.answer)
        assert [p.sha256 for p in ours.images] == [p.sha256 for p in theirs.images]
        assert ours.meta["task"] == theirs.meta["task"] and ours.family == theirs.family != ""
        assert not {"decoded_image", "image"} & ours.meta.keys()
    assert hub[0].meta["answer_option"] == "B"


def test_mathvision_from_the_hub_shows_the_options_that_its_question_has_not(tmp_path: Path) -> None:
    shared = {"image": "images/1.jpg", "decoded_image": picture("red"), "level": 3, "subject": "arithmetic"}
    rows = [
        {"id": "1", "question": "How long? <image1>", "options": ["5", "6"], "answer": "B", **shared},
        {"id": "2", "question": "How many? <image1>", "options": [], "answer": "14", **shared},
    ]
    write_parquet(tmp_path / "MathVision/data/test-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "MathVision/data/testmini-00000-of-00001.parquet", rows[:1])
    first, second = loaded("mathvision", tmp_path)
    assert (first.id, first.question) == ("mathvision/1", "How long? <image1>\nChoices:\nA. 5\nB. 6")
    assert (second.id, second.question) == ("mathvision/2", "How many? <image1>")
    assert (first.answer, second.answer) == (Choice(letter="B", options=("5", "6")), Expression(latex="14"))
    assert first.images[0].open().getpixel((0, 0)) == (255, 0, 0)
    assert (first.family, first.meta["choices"]) == ("arithmetic", '["5", "6"]')


def test_mathverse_from_the_hub_asks_what_the_picture_shows(tmp_path: Path) -> None:
    row = {k: v for k, v in some("mathverse")[0].items() if k not in ("index", "metadata")}
    metadata = {"subject": "Plane Geometry", "subfield": "Length"}
    rows = [
        {**row, "sample_index": "8", "problem_version": "Text Lite", "image": picture(), "metadata": metadata},
        {**row, "sample_index": "9", "question": "", "image": picture(), "metadata": metadata},
    ]
    write_parquet(tmp_path / "MathVerse/testmini.parquet", rows)
    (example,) = loaded("mathverse", tmp_path)
    assert (example.id, example.question, example.family) == ("mathverse/9", MATHVERSE, "Plane Geometry")


def test_dynamath_from_the_hub_joins_its_variants(tmp_path: Path) -> None:
    for variant in (1, 2, 10):
        rows = [
            {
                "id": str(question),
                "question": f"{question}, drawn {variant}?",
                "image": f"variant{variant}_{question}.png",
                "decoded_image": picture(),
                "ground_truth": "A" if question == 1 else "2.5",
                "answer_type": "multiple choice" if question == 1 else "float",
                "subject": "algebra",
                "knowledge_level": "high school",
            }
            for question in (1, 2)
        ]
        write_parquet(tmp_path / f"DynaMath_Sample/data/sample{variant}-00000-of-00001.parquet", rows)
    examples = loaded("dynamath", tmp_path)
    assert [(e.meta["qid"], e.meta["varid"]) for e in examples] == [(q, v) for v in "123" for q in "12"]
    assert "2, drawn 10?" in examples[-1].question and len({e.id for e in examples}) == 6
    assert [e.answer.text for e in examples[:2]] == ["A", "2.5"]


def arc(number: int, labels: str = "ABCD", answer: str = "C") -> dict[str, Any]:
    texts = [f"{word} {number}" for word in ("ice", "fire", "wind", "rain")]
    choices = {"text": texts, "label": list(labels)}
    return {"id": f"Mercury_{number}", "question": f"What is {number}?", "choices": choices, "answerKey": answer}


def test_arc_from_the_hub_takes_letters_and_the_numbers_that_some_rows_have(tmp_path: Path) -> None:
    rows = [arc(0), arc(1, "1234", "2")]
    write_parquet(tmp_path / "ai2_arc/ARC-Challenge/test-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "ai2_arc/ARC-Challenge/train-00000-of-00001.parquet", rows)
    found = loaded("arc-c", tmp_path)
    assert [example.id for example in found] == ["arc-c/Mercury_0", "arc-c/Mercury_1"]
    for example, gold in zip(found, ("wind 0", "fire 1"), strict=True):
        assert isinstance(example.answer, Choice)
        assert example.answer.options["ABCD".index(example.answer.letter)] == gold
        shown = "\n".join(f"({a}) {b}" for a, b in zip("ABCD", example.answer.options, strict=True))
        assert example.question.partition("\n")[2] == shown


def test_options_are_shuffled_by_the_row_alone_and_the_gold_letter_with_them(tmp_path: Path) -> None:
    rows = [arc(number) for number in range(40)]
    write_parquet(tmp_path / "one/ai2_arc/ARC-Challenge/test-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "two/ai2_arc/ARC-Challenge/test-00000-of-00001.parquet", rows[::-1])
    one_order, other = loaded("arc-c", tmp_path / "one"), loaded("arc-c", tmp_path / "two")
    assert [e.answer for e in one_order] == [e.answer for e in other[::-1]]  # whatever stands around it
    letters, orders = set(), set()
    for example in one_order:
        answer = example.answer
        assert isinstance(answer, Choice)
        assert answer.options["ABCD".index(answer.letter)].startswith("wind")
        assert example.meta["answer_option"] == answer.letter
        letters.add(answer.letter)
        orders.add(tuple(option.split()[0] for option in answer.options))
    assert letters == set("ABCD") and len(orders) > 10


def test_mmlu_pro_and_math_500_from_the_hub(tmp_path: Path) -> None:
    options = [f"o{i}" for i in range(10)]
    rows = [{"question_id": 70, "question": "Q?", "options": options, "answer": "I", "category": "law"}]
    write_parquet(tmp_path / "MMLU-Pro/data/test-00000-of-00001.parquet", rows)
    write_parquet(tmp_path / "MMLU-Pro/data/validation-00000-of-00001.parquet", rows)
    (example,) = loaded("mmlu-pro", tmp_path)
    assert isinstance(example.answer, Choice)
    assert (example.id, example.family) == ("mmlu-pro/70", "law")
    assert example.answer.options["ABCDEFGHIJ".index(example.answer.letter)] == "o8"
    problem = {"problem": "1+1?", "solution": "...", "answer": "2", "subject": "Algebra", "level": 2}
    write_jsonl(tmp_path / "MATH-500/test.jsonl", [{**problem, "unique_id": "test/algebra/1.json"}])
    (example,) = loaded("math-500", tmp_path)
    assert (example.id, example.question) == ("math-500/test/algebra/1.json", "1+1?")
    assert (example.answer, example.meta["level"]) == (Expression(latex="2"), "2")


def gpqa(number: int, **cells: str) -> dict[str, str]:
    wrong = {f"Incorrect Answer {i}": f"wrong {i}\n" for i in (1, 2, 3)}
    row = {"Record ID": f"rec{number}", "Question": "Which, and why?", "Correct Answer": "right, with a comma"}
    return {**row, **wrong, "High-level domain": "Physics", **cells}


def test_gpqa_from_a_csv_file_has_the_right_answer_among_the_wrong_ones(tmp_path: Path) -> None:
    csv_file = write_csv(tmp_path / "gpqa/gpqa_diamond.csv", [gpqa(1), gpqa(2, **{"Correct Answer": "B"})])
    first, second = loaded("gpqa-diamond", tmp_path)
    for example, gold in ((first, "right, with a comma"), (second, "B")):  # the text `B` is no letter here
        assert isinstance(example.answer, Choice)
        assert example.answer.options["ABCD".index(example.answer.letter)] == gold
        assert example.question.count("\n") == 4 and example.family == "Physics"
    csv_file.write_text(csv_file.read_text() + "rec3,Torn\n")
    with pytest.raises(DataError, match=r"row 3, expected 7 cells, as the header has, got 2 in .*; quote commas"):
        loaded("gpqa-diamond", tmp_path)
    write_csv(csv_file, [gpqa(1, **{"Incorrect Answer 2": ""})])
    with pytest.raises(DataError, match="row 1, column `Incorrect Answer 2`: expected an option"):
        loaded("gpqa-diamond", tmp_path)


def test_rows_of_several_shards_have_different_numbers(tmp_path: Path) -> None:
    for shard in range(2):
        rows = [{"problem": f"{shard} {i}?", "answer": str(i)} for i in range(3)]
        write_parquet(tmp_path / f"aime24/test-{shard:05}-of-00002.parquet", rows)
    assert [example.id for example in loaded("aime24", tmp_path)] == [f"aime24/{i}" for i in range(1, 7)]


def test_an_example_of_the_rendered_worlds_needs_no_file(tmp_path: Path) -> None:
    task = read_task(one("worlds"), tmp_path)
    ids = [example.id for example in task.examples]
    assert task.spec == "rendered" and len(set(ids)) == len(ids) > 380  # of 400, those drawn twice once


# ---- what is wrong, and that nothing is loaded then


def refused(name: str, root: Path) -> str:
    with pytest.raises(DataError) as error:
        read_task(one(name), root)
    return str(error.value)


def test_a_file_that_is_missing_is_told_with_every_way_to_get_it(tmp_path: Path) -> None:
    assert refused("mathvision", tmp_path) == (
        f"mathvision: expected MathVision.tsv (or .jsonl, .json, .parquet, or a folder of that name) in {tmp_path}, "
        "got none; put VLMEvalKit's table there, or name its folder with --data-root; --download gets it from the hub "
        f"(MathLLMs/MathVision, into {tmp_path / 'MathVision'})"
    )
    assert "--download" not in refused("logicvista", tmp_path)


def broken(root: Path, *rows: dict[str, str]) -> str:
    """What is said of a LogicVista of one good row and these."""
    write_set("logicvista", root, [logicvista_row(1), *rows])
    return refused("logicvista", root)


def head(root: Path) -> str:
    return f"{root / 'LogicVista.tsv'}: 1 of 2 rows cannot be used, so nothing was loaded.\n  LogicVista.tsv row 2, "


def test_a_cell_that_is_missing(tmp_path: Path) -> None:
    row = logicvista_row(2, "")
    assert broken(tmp_path, row) == head(tmp_path) + (
        "column `answer`: expected a value, got nothing (the row has index, question, skill); fill it in, or name the "
        "column that holds it in the benchmark's `columns`"
    )
    assert "column `question`: expected a value" in broken(tmp_path, {**logicvista_row(2), "question": ""})


def test_an_index_that_is_there_twice(tmp_path: Path) -> None:
    assert broken(tmp_path, logicvista_row(1)) == head(tmp_path) + (
        "column `index`: expected an index that no other row has, got '1', which LogicVista.tsv row 1 has; number anew"
    )


def test_a_gold_that_is_no_letter(tmp_path: Path) -> None:
    assert broken(tmp_path, logicvista_row(2, "the third")) == head(tmp_path) + (
        "column `answer`: expected one or several letters from A to Z, such as `A` or `A, C`, got 'the third'; correct "
        "the answer"
    )


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"no picture at all" * 10).decode()
    said = broken(tmp_path, {**logicvista_row(2), "image": encoded})
    assert said.startswith(head(tmp_path) + "column `image`: expected")
    assert "expected base64" in broken(tmp_path, {**logicvista_row(2), "image": "5"})
    said = broken(tmp_path, {**logicvista_row(2), "image": "!" * 100})
    assert "column `image`: expected a picture as base64" in said


def test_a_picture_file_that_is_not_there(tmp_path: Path) -> None:
    said = broken(tmp_path, {**logicvista_row(2), "image": "", "image_path": "nowhere/2.png"})
    assert said.startswith(head(tmp_path) + "column `image`: expected") and "nowhere/2.png" in said


def test_a_torn_row(tmp_path: Path) -> None:
    path = write_set("logicvista", tmp_path, [logicvista_row(1)])
    path.write_text(path.read_text() + "2\thalf a row\n")
    assert refused("logicvista", tmp_path) == head(tmp_path) + (
        "expected 5 cells, as the header has, got 2 in '2\\thalf a row'; quote tabs and line ends"
    )


def test_a_file_without_rows(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "LogicVista.tsv", [logicvista_row(1)])
    path.write_text(path.read_text().partition("\n")[0] + "\n")
    assert refused("logicvista", tmp_path) == f"{path}: expected rows of LogicVista, got none; check the file"
    path.write_text("")
    assert "expected a header" in refused("logicvista", tmp_path)
    write_set("mathverse", tmp_path, [{**some("mathverse")[0], "problem_version": "Text Lite"}])
    assert "got none with problem_version 'Vision Only'; check the file" in refused("mathverse", tmp_path)


def test_a_number_that_is_none_and_a_column_that_a_scorer_needs(tmp_path: Path) -> None:
    number = some("mathvista")[1]
    write_set("mathvista", tmp_path, [{**number, "answer": "fourteen and a bit"}])
    assert (
        "column `answer`: expected a number for kind `digit`, got 'fourteen and a bit'; write one number, with at most "
        "its unit, or use kind `math` or `text`"
    ) in refused("mathvista", tmp_path)
    write_set("mathvista", tmp_path, [{**number, "answer_type": ""}])
    assert "column `answer_type`: expected a value, got nothing (the row has index," in refused("mathvista", tmp_path)
    write_set("mathverse", tmp_path, [{**some("mathverse")[0], "question_for_eval": ""}])
    assert "column `question_for_eval`: expected a value" in refused("mathverse", tmp_path)


def test_options_with_a_gap_and_a_letter_behind_the_last(tmp_path: Path) -> None:
    rows = some("wemath")
    write_set("wemath", tmp_path, [{**rows[0], "B": ""}, *rows[1:]])
    assert "column `options`: expected options A, B, C ... without a gap, got A, C, D; fill them in" in refused(
        "wemath", tmp_path
    )
    write_set("wemath", tmp_path, [{**rows[0], "answer": "E"}, *rows[1:]])
    assert (
        "column `answer`: expected a letter from A to D, or the text of one option, got 'E', which is none of 4 "
        "options; correct the answer or the options"
    ) in refused("wemath", tmp_path)


def test_a_row_that_no_rule_is_for(tmp_path: Path) -> None:
    rows = some("dynamath")
    write_set("dynamath", tmp_path, [{**rows[0], "answer_type": "essay"}, *rows[1:]])
    assert (
        "column `answer_type`: expected a row that one of dynamath's gold rules fits, got answer_type 'essay'; correct "
        "the cell, or add a rule"
    ) in refused("dynamath", tmp_path)


def test_an_option_that_is_no_text_is_not_left_out(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "mine.jsonl", [{"question": "?", "options": ["a", None, "c"], "answer": "B"}])
    with pytest.raises(DataError, match=r"column `options`: expected a list of texts, got .*null"):
        read_task(mine(), tmp_path)


def test_a_question_that_lacks_a_variant_or_a_step(tmp_path: Path) -> None:
    write_set("dynamath", tmp_path, some("dynamath")[:-1])
    assert refused("dynamath", tmp_path) == (
        "dynamath: question '2' of column qid: expected 10 variants, as most questions have, got 9 rows "
        "(1, 2, 3, 4, 5, 6, 7, 8, 9); get the whole file again"
    )
    write_set("wemath", tmp_path, some("wemath")[1:])
    assert refused("wemath", tmp_path) == (
        "wemath: question '2steps 1' of column ID: expected 2steps_1 and 2steps_2 and 2steps_multi, got 2 rows "
        "(2steps_2, 2steps_multi); get the whole file again"
    )
    write_set("wemath", tmp_path, [{**row, "key": ""} for row in some("wemath")])
    assert "column `key`: expected a value" in refused("wemath", tmp_path)


def test_nothing_is_written_where_a_file_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set("logicvista", tmp_path / "data", [logicvista_row(1), logicvista_row(1)])
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "small", "--benchmark", "logicvista", "--data-root", "data"]) == 2
    assert "an index that no other row has" in capsys.readouterr().err
    rows = [{**logicvista_row(i), "question": f"{i} <|im_end|>?"} for i in (1, 2)]
    write_set("logicvista", tmp_path / "data", rows)
    assert main(["evaluate", "small", "--benchmark", "logicvista", "--data-root", "data"]) == 2
    headline, *lines = capsys.readouterr().err.strip().split("\n")
    assert "2 of 2 rows cannot be used" in headline
    said = ", column `question`: expected text without the model's special tokens, got <|im_end|>"
    assert [line.partition(said)[0] for line in lines] == ["  example logicvista/1", "  example logicvista/2"]
    assert not (tmp_path / "runs").exists()


def test_a_file_of_another_number_of_rows_is_told_and_not_refused(tmp_path: Path) -> None:
    write_set("logicvista", tmp_path)
    drawing = protocol("plain", ["max_new_tokens=1"])
    run = evaluate_benchmark(SMALL, read_task(one("logicvista"), tmp_path), drawing, tmp_path / "runs")
    table = json.loads((run / "evaluation.json").read_text())
    assert table["benchmark"]["published_rows"] == 448 and table["benchmark"]["rows"] == len(some("logicvista"))


def test_the_hub_that_cannot_be_reached_is_one_clear_error(tmp_path: Path) -> None:
    for _ in range(2):  # what the first call left behind is not taken for the file
        with pytest.raises(DataError) as error:
            download(one("math-500"), tmp_path)
        assert str(error.value).startswith("math-500: expected HuggingFaceH4/MATH-500 from the hub, got: ")
        assert str(error.value).endswith(f"; put the file into {tmp_path} yourself")
    with pytest.raises(DataError, match=r"expected LogicVista\.tsv"):
        download(one("logicvista"), tmp_path)
    download(one("worlds"), tmp_path)  # nothing to get


def test_a_file_that_is_there_is_not_downloaded(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "MATH-500.jsonl", [{"problem": "?", "answer": "1"}])
    download(one("math-500"), tmp_path)
    assert locate(one("math-500"), tmp_path) == [path]


# ---- a user's own


def test_a_user_writes_a_benchmark_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nfiles: [questions.tsv]\ncolumns: {answer: [label]}\nprompt: ['{question}', {text: ' ({unit})'}]\n"
        "gold: [{kind: text}]\n"
    )
    rows = [{"question": "What?", "label": "Cat", "unit": "m"}, {"question": "Who?", "label": "Dog", "unit": ""}]
    write_tsv(tmp_path / "questions.tsv", rows)
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path, tmp_path / "elsewhere"):  # a name with an ending is a path as well
        benchmark = one("mine.yaml")
        found = load(benchmark, locate(benchmark, root))
        assert [(e.id, e.question) for e in found] == [("mine/1", "What? (m)"), ("mine/2", "Who?")]


def test_a_rule_says_how_texts_numbers_and_boxes_are_judged(tmp_path: Path) -> None:
    rules = [
        {"kind": "text", "when": {"of": "docvqa"}, "answer": "answers", "text": "anls"},
        {"kind": "digit", "when": {"of": "chartqa"}, "relative_tolerance": 0.05},
        {"kind": "box", "when": {"of": "refcoco"}, "coordinates": "thousand"},
        {"kind": "text", "when": {"of": "gqa"}, "aliases": "also"},
        {"kind": "letters", "options": "options"},
    ]
    rows: list[dict[str, Any]] = [
        {"of": "docvqa", "answers": ["Acme Ltd", "Acme"], "question": "Who?"},
        {"of": "chartqa", "answer": 200, "question": "How many?"},
        {
            "of": "refcoco",
            "answer": [64, 48, 320, 240],
            "question": "Where?",
            "image": base64.b64encode(encoded((640, 480))).decode(),
        },
        {"of": "gqa", "answer": "teal", "also": "['cyan']", "question": "What colour?"},
        {"of": "", "answer": "A/C", "options": ["a cat", "a dog", "a fox"], "question": "Which?"},
    ]
    benchmark = mine(gold=rules, prompt=["{question}"])
    examples = load(benchmark, [write_jsonl(tmp_path / "mine.jsonl", rows)])
    assert [e.answer for e in examples] == [
        Text(value="Acme Ltd", aliases=("Acme",)),
        Digit(value="200", tolerance=0.05),
        Box(xyxy=(64, 48, 320, 240), size=(640, 480), coordinates="thousand"),
        Text(value="teal", aliases=("cyan",)),
        Letters(letters="AC", options=("a cat", "a dog", "a fox")),
    ]
    replies = ["The answer is Acne Ltd", "The answer is 209.", "[100, 100, 500, 500]", "cyan", "a cat and a fox"]
    no = ["Zenith", "211", "[1, 1, 9, 9]", "red", "A"]
    with Router() as router:
        verdicts = judge_strictly(benchmark, router, list(zip(replies, examples, strict=True)))
        wrong = judge_strictly(benchmark, router, list(zip(no, examples, strict=True)))
    assert [v.score for v in verdicts] == [1 - 1 / 8, 1, pytest.approx(1), 1, 1]
    assert [round(v.score or 0, 2) for v in wrong] == [0] * 5


def test_fields_say_whose_columns_are_ours_as_in_a_recipe(tmp_path: Path) -> None:
    rows = [{"q": "Which?", "question": "Old?", "options": ["cat", "dog"], "answer": n} for n in (1, 5)]
    file = write_jsonl(tmp_path / "mine.jsonl", rows[:1])
    benchmark = mine(fields={"question": "q", "answer": "options[answer]"})
    [example] = load(benchmark, [file])
    assert (example.question, example.answer.text) == ("Which?", "B")
    with pytest.raises(DataError, match="line 2, column `answer`: expected a number from 0 that counts the 2 options"):
        load(benchmark, [write_jsonl(tmp_path / "mine.jsonl", rows)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "title: Mine\nfiles: [x]\ngold: [{kind: text, relative_tolerance: 0.1}]\n",
            "only a gold of kind digit has it",
        ),
        ("title: Mine\nfiles: [x]\ngold: [{kind: digit, text: anls}]\n", "only a gold of kind text has it"),
        ("title: Mine\nfiles: [x]\ngold: [{kind: digit, coordinates: pixels}]\n", "only a gold of kind box has it"),
        (
            "title: Mine\nfiles: [x]\ngold: [{kind: digit, tolerance: 1, relative_tolerance: 0.1}]\n",
            "give either `tolerance` or `relative_tolerance`",
        ),
        ("title: Mine\n", "give either `files` or `worlds`"),
        ("title: Mine\nfiles: [x]\n", "gold: required with `files`"),
        ("title: Mine\nfiles: [x]\ngold: [{kind: letter}]\n", "gold.0.kind"),
        ("title: Mine\nfiles: [x]\ngold: [{kind: text}]\naggregate: worst\n", "needs `cluster`"),
        ("title: Mine\nfiles: [x]\ngold: [{kind: text}]\ngroup: [a]\n", "did you mean 'groups'?"),
    ],
)
def test_a_mistake_in_a_benchmark_of_ones_own_is_told(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        find(str(tmp_path / "mine.yaml"))
    assert message in str(error.value)


def test_files_are_looked_for_where_vlmevalkit_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMUData", "/somewhere")
    assert default_root() == Path("/somewhere")
    monkeypatch.delenv("LMUData")
    assert default_root() == Path.home() / "LMUData"


@pytest.mark.parametrize("column", ["missing", "empty in one row"])
def test_a_set_of_pictures_without_one_is_refused(tmp_path: Path, column: str) -> None:
    path = write_set("logicvista", tmp_path)
    with path.open(newline="") as file:
        header, *lines = list(csv.reader(file, delimiter="\t"))
    place = header.index("image")
    for number, line in enumerate(lines):
        if column == "missing" or number == 3:
            line[place] = ""
    if column == "missing":
        header[place] = "picture"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *lines])
    found = refused("logicvista", tmp_path)
    assert "column `image`: expected a picture, got none; fill it in" in found
    assert (f"{len(lines)} of {len(lines)} rows" if column == "missing" else "1 of ") in found
