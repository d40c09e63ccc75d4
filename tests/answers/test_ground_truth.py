"""Ground truth of data files: every spelling that a verifier reads, read alike by all that take a user's data."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from firsthand.answers.ground_truth import columns_beside, typed_answer
from firsthand.answers.options import option_texts, shows_options
from firsthand.data import Refused, Source, load_examples, stream_rows
from firsthand.errors import BadRow, DataError
from firsthand.evaluation.benchmarks import items
from firsthand.evaluation.benchmarks.spec import Benchmark, Gold
from firsthand.evaluation.grading import read_problems
from firsthand.records import Answer, Box, Choice, Corners, Digit, Expression, Letters, OpenEnded, Text, Verdict
from firsthand.reward import Router
from firsthand.reward.adapters import trl_reward

ANIMALS = ("cat", "dog", "a red fox")
BOX = Box(xyxy=(0.1, 0.2, 0.5, 1.0))
TWO_BOXES = Box(xyxy=((1, 2, 3, 4), (5, 6, 7, 8)))


def animal(letter: str) -> Choice:
    return Choice(letter=letter, options=ANIMALS)


READINGS: list[tuple[object, Answer]] = [
    (7, Digit(value="7")),
    (7.0, Digit(value="7")),
    (-2.5, Digit(value="-2.5")),
    (" 7 ", Digit(value="7")),
    ("1,000", Digit(value="1,000")),
    ("50%", Digit(value="50%")),
    ("12 cm", Digit(value="12 cm")),
    ("1/2", Digit(value="1/2")),
    ("2 1/2", Digit(value="2 1/2")),
    (r"\frac{5}{2}", Digit(value=r"\frac{5}{2}")),
    (r"$\boxed{7}$", Digit(value=r"$\boxed{7}$")),
    ("seven", Digit(value="seven")),
    ("七", Digit(value="七")),
    ("['7']", Digit(value="7")),
    ("[7]", Digit(value="7")),
    ([7], Digit(value="7")),
    ("<answer> 7 </answer>", Digit(value="7")),
    ("b", animal("B")),
    ("(B)", animal("B")),
    ("[B]", animal("B")),
    ("B.", animal("B")),
    ("（B）", animal("B")),
    ("Option B", animal("B")),
    ("The answer is B", animal("B")),
    ("B. dog", animal("B")),
    ("dog", animal("B")),
    ("Dog.", animal("B")),
    ("A red fox", animal("C")),
    ("['B']", animal("B")),
    (["B"], animal("B")),
    ("<answer>B</answer>", animal("B")),
    ("x+1", Expression(latex="x+1")),
    ("[-3, 8]", Expression(latex="[-3, 8]")),
    ("[5]", Expression(latex="[5]")),
    ("[0, 1)", Expression(latex="[0, 1)")),
    (r"\{1, 2\}", Expression(latex=r"\{1, 2\}")),
    ("['x+1']", Expression(latex="x+1")),
    (0.5, Expression(latex="0.5")),
    ([0.1, 0.2, 0.5, 1], BOX),
    ("[0.1, 0.2, 0.5, 1]", BOX),
    ("(0.1, 0.2, 0.5, 1)", BOX),
    ("0.1 0.2 0.5 1", BOX),
    ([[0.1, 0.2], [0.5, 1]], BOX),
    ({"x1": 0.1, "y1": 0.2, "x2": 0.5, "y2": 1}, BOX),
    ([1e-05, 0.2, 0.5, 1], Box(xyxy=(1e-05, 0.2, 0.5, 1.0))),
    ([[1, 2, 3, 4], [5, 6, 7, 8]], TWO_BOXES),
    ("[[1, 2, 3, 4], [5, 6, 7, 8]]", TWO_BOXES),
    ("[1, 2, 3, 4] and [5, 6, 7, 8]", TWO_BOXES),
    ("teal", Text(value="teal")),
    (" Dark  Teal ", Text(value="Dark  Teal")),
    (7, Text(value="7")),
    (True, Text(value="yes")),
    (False, Text(value="no")),
    ("['teal']", Text(value="teal")),
    (["teal", "turquoise"], Text(value="teal", aliases=("turquoise",))),
    ("['teal', 'turquoise']", Text(value="teal", aliases=("turquoise",))),
    ("[1, 2]", Text(value="[1, 2]")),
    (["red"] * 6 + ["dark red"] * 3 + ["maroon"], Text(value="red", aliases=("dark red",))),
    ([{"answer": "net", "answer_id": 1}, {"answer": "a net", "answer_id": 2}], Text(value="net", aliases=("a net",))),
    ("<answer> yes </answer>", Text(value="yes")),
    ("A, C", Letters(letters="AC")),
    ("CA", Letters(letters="AC")),
    ("a/c", Letters(letters="AC")),
    ("A and C", Letters(letters="AC")),
    ("(A), (C)", Letters(letters="AC")),
    (["C", "A"], Letters(letters="AC")),
    ("['A', 'C']", Letters(letters="AC")),
    ("AC", Letters(letters="AC", options=ANIMALS)),
    (["cat", "a red fox"], Letters(letters="AC", options=ANIMALS)),
    ("B", Letters(letters="B", options=ANIMALS)),
    ("$1,234.50", Digit(value="$1,234.50")),
    ("\u22127", Digit(value="\u22127")),
    ("3e8", Digit(value="300000000")),
    (r"1.5 \times 10^{-3}", Digit(value="0.0015")),
    ("Add them: 2 + 3 = <<2+3=5>>5\n#### 5", Digit(value="5")),
    ("Two and three.\nThe answer is 5.", Digit(value="5")),
    ("<think>three</think><answer> 3 </answer>", Digit(value="3")),
    ("So it is the dog.\nThe answer is B.", animal("B")),
    (r"2+3 = \boxed{5}.", Expression(latex="5")),
    (r"\boxed{5}", Expression(latex=r"\boxed{5}")),
    (r"\boxed{1}, \boxed{2}", Expression(latex=r"\boxed{1}, \boxed{2}")),
    ({"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 1}, BOX),
    ("bbox: 0.1, 0.2, 0.5, 1", BOX),
    (" a cat ", OpenEnded(reference="a cat")),
    ("['a cat']", OpenEnded(reference="a cat")),
    ("[5]", OpenEnded(reference="[5]")),
    ("The answer is 4.", OpenEnded(reference="The answer is 4.")),
]
REFUSED: list[tuple[str, object, Sequence[object]]] = [
    ("digit", "several", ()),
    ("digit", "6 or 7", ()),
    ("digit", [6, 7], ()),
    ("digit", True, ()),
    ("digit", "1" * 5000, ()),
    ("choice", "A or B", ANIMALS),
    ("choice", "D", ANIMALS),
    ("choice", "A. dog", ANIMALS),
    ("choice", "dog", ("dog", "dog ")),
    ("choice", "A", ("B", "A")),
    ("choice", 1, ANIMALS),
    ("choice", "AC", ANIMALS),
    ("choice", ["A", "C"], ANIMALS),
    ("choice", "A", ("cat", "dog", "cat")),
    ("letters", "D, E", ANIMALS),
    ("letters", ["A", None], ()),
    ("letters", "cat and dog", ()),
    ("letters", "", ANIMALS),
    ("letters", [0, 2], ANIMALS),
    ("text", "", ()),
    ("text", [], ()),
    ("text", ["teal", ""], ()),
    ("text", [1, 2], ()),
    ("text", "word " * 80, ()),
    ("box", [1, 2, 3], ()),
    ("box", [5, 1, 2, 4], ()),
    ("box", "the left one", ()),
    ("math", "<answer> </answer>", ()),
    ("math", True, ()),
    ("open", " ", ()),
    ("digits", "7", ()),
]


class _Recorder:
    """Takes the place of a Router: keeps the ground truths that it is given."""

    def __init__(self) -> None:
        self.truths: list[Answer] = []

    def judge_many(self, pairs: Sequence[tuple[str, Answer]]) -> list[Verdict]:
        self.truths += [truth for _, truth in pairs]
        return []


def _row(value: object, kind: str, options: Sequence[object]) -> dict[str, Any]:
    return {
        "id": "1",
        "question": "?",
        "answer": value,
        "kind": kind,
        **({"choices": list(options)} if options else {}),
    }


def _written(folder: Path, row: dict[str, Any]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return file


def _loaded(folder: Path, value: object, kind: str, options: Sequence[object]) -> Answer:
    [example] = load_examples(str(_written(folder, _row(value, kind, options))))
    return example.answer


def _forged(folder: Path, value: object, kind: str, options: Sequence[object]) -> Answer:
    [row] = stream_rows(Source(path=str(_written(folder, _row(value, kind, options)))))
    if isinstance(row, Refused):
        raise DataError(row.detail)
    return row.answer


def _graded(folder: Path, value: object, kind: str, options: Sequence[object]) -> Answer:
    return read_problems(_written(folder, _row(value, kind, options))).usable["1"].answer


def _rewarded(folder: Path, value: object, kind: str, options: Sequence[object]) -> Answer:
    recorder = _Recorder()
    trl_reward(cast(Router, recorder), kind)(completions=["?"], solution=[value], choices=[options or None])
    return recorder.truths[0]


def _benchmarked(folder: Path, value: object, kind: str, options: Sequence[object]) -> Answer:
    rule = Gold(kind=cast(Any, kind), options="choices" if options else None)
    benchmark = Benchmark(name="b", title="Made up", files=("rows",), gold=(rule,))
    [example] = items.load(benchmark, [_written(folder, _row(value, kind, options))])
    return example.answer


def _is_cell(value: object) -> bool:
    """A table's cell is text: a truth value and ten people's answers are not told apart from words in it."""
    return not isinstance(value, bool) and not (isinstance(value, list) and len(str(value)) > 50)


Door = Callable[[Path, object, str, Sequence[object]], Answer]
DOORS: list[Door] = [_loaded, _forged, _graded, _rewarded]


@pytest.mark.parametrize(("value", "expected"), READINGS, ids=[f"{e.kind} {v!r}" for v, e in READINGS])
def test_a_spelling_is_read_alike_wherever_it_comes_in(tmp_path: Path, value: object, expected: Answer) -> None:
    options = expected.options if isinstance(expected, Choice | Letters) else ()
    assert typed_answer(value, expected.kind, options) == expected
    for door in [*DOORS, *([_benchmarked] if expected.kind != "open" and _is_cell(value) else [])]:
        assert door(tmp_path, value, expected.kind, options) == expected, door.__name__


@pytest.mark.parametrize(("kind", "value", "options"), REFUSED, ids=[f"{k} {str(v)[:20]}" for k, v, _ in REFUSED])
def test_what_is_not_of_its_kind_or_has_two_readings_is_refused_wherever_it_comes_in(
    tmp_path: Path, kind: str, value: object, options: Sequence[object]
) -> None:
    with pytest.raises(BadRow):
        typed_answer(value, kind, options)
    for door in DOORS:
        with pytest.raises(DataError, match=r"column `(answer|solution|kind|choices)`: expected .*, got "):
            door(tmp_path, value, kind, options)


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ("7", (), "digit"),
        (7, (), "digit"),
        ("<answer>7</answer>", (), "digit"),
        (r"\frac12", (), "math"),
        ([1, 2, 3, 4], (), "box"),
        ("b", ANIMALS, "choice"),
    ],
)
def test_a_kind_that_is_not_given_is_inferred_where_one_reading_is_possible(
    value: object, options: Sequence[str], expected: str
) -> None:
    assert typed_answer(value, None, options).kind == expected


@pytest.mark.parametrize(
    "value", ["1,000", "50%", "seven", "1/2", "cat", "B", "[1, 2, 3, 4]", "['7']", [7], None, True]
)
def test_a_kind_that_is_not_given_is_never_guessed(value: object) -> None:
    with pytest.raises(BadRow, match="a `kind`"):
        typed_answer(value)


def test_a_number_is_a_choice_only_where_it_is_the_text_of_an_option() -> None:
    assert typed_answer(2, "choice", ["1", "2", "3"]) == typed_answer("2", "choice", [1, 2, 3])
    with pytest.raises(BadRow, match="say how the number counts"):
        typed_answer(2, "choice", ANIMALS)


def test_a_truth_value_is_a_choice_where_the_options_are_yes_and_no() -> None:
    assert typed_answer(True, None, ["yes", "no"]) == Choice(letter="A", options=("yes", "no"))
    assert typed_answer(False, "choice", ["True", "False"]) == Choice(letter="B", options=("True", "False"))
    for options in (ANIMALS, ("yes", "true", "no")):
        with pytest.raises(BadRow):
            typed_answer(True, "choice", options)


def test_options_may_be_a_list_that_was_written_as_text() -> None:
    assert typed_answer("dog", "choice", str(list(ANIMALS))) == animal("B")
    assert typed_answer("A", "choice", None).options == ()


def test_a_box_knows_the_size_of_its_picture_where_it_is_given() -> None:
    assert typed_answer([1, 2, 3, 4], "box", (), [640, 480]) == Box(xyxy=(1, 2, 3, 4), size=(640, 480))
    with pytest.raises(BadRow, match="column `size`"):
        typed_answer([1, 2, 3, 4], "box", (), 640)


@pytest.mark.parametrize(
    ("answer", "beside", "xyxy"),
    [
        ([64, 48, 320, 240], {}, (64, 48, 320, 240)),
        ([64, 48, 320, 240], {"answer_coordinates": "pixels"}, (64, 48, 320, 240)),
        ([0.1, 0.1, 0.5, 0.5], {"answer_coordinates": "shares"}, (0.1, 0.1, 0.5, 0.5)),
        ([100, 100, 500, 500], {"answer_coordinates": "thousand"}, (64, 48, 320, 240)),
        ("[[100, 100], [500, 500]]", {"answer_coordinates": "thousand"}, (64, 48, 320, 240)),
    ],
)
def test_a_row_may_say_what_its_gold_box_is_measured_in(answer: object, beside: dict[str, Any], xyxy: Corners) -> None:
    assert typed_answer(answer, "box", (), [640, 480], beside) == Box(xyxy=xyxy, size=(640, 480))


def test_a_row_may_say_what_boxes_of_replies_are_measured_in() -> None:
    truth = typed_answer(
        [100, 100, 500, 500], "box", (), None, {"answer_coordinates": "thousand", "coordinates": "thousand"}
    )
    assert truth == Box(xyxy=(0.1, 0.1, 0.5, 0.5), coordinates="thousand")


@pytest.mark.parametrize(
    ("answer", "size", "beside", "complaint"),
    [
        (
            [156, 417, 469, 833],
            [640, 480],
            {},
            "boxes within their picture, got .156, 417, 469, 833. in a picture of 640 x",
        ),
        ([-20, 0, 100, 100], [640, 480], {}, "boxes within their picture"),
        ([600, 400, 700, 450], [640, 480], {}, "answer_coordinates` with `thousand`, and .x, y, width, height. must"),
        ([0.1, 0.1, 2, 2], None, {"answer_coordinates": "shares"}, "shares of the picture from 0 to 1"),
        ([1, 1, 2000, 500], [640, 480], {"answer_coordinates": "thousand"}, "from 0 to 1000"),
        (
            [1, 1, 500, 500],
            None,
            {"answer_coordinates": "thousand"},
            "column `answer_coordinates`: expected the picture's",
        ),
        ([1, 1, 500, 500], None, {"coordinates": "thousand"}, "column `coordinates`: expected the picture's size"),
        (
            [1, 1, 5, 5],
            None,
            {"coordinates": "percent"},
            "column `coordinates`: expected one of auto, pixels, shares, ",
        ),
        ([1, 1, 5, 5], None, {"answer_coordinates": 1000}, "column `answer_coordinates`: expected one of"),
    ],
)
def test_a_gold_box_that_cannot_be_compared_is_refused_with_its_remedy(
    answer: object, size: object, beside: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadRow, match=complaint):
        typed_answer(answer, "box", (), size, beside)


def test_a_gold_box_may_leave_its_picture_by_the_pixel_that_rounding_takes() -> None:
    assert typed_answer([0, 0, 640.6, 480], "box", (), [640, 480]).kind == "box"


@pytest.mark.parametrize(("value", "tolerance"), [(0.05, 0.05), ("0.05", 0.05), (0, 0.0), (None, None)])
def test_a_row_may_say_how_far_a_number_may_be_off(value: object, tolerance: float | None) -> None:
    assert typed_answer(7, "digit", (), None, {"tolerance": value}) == Digit(value="7", tolerance=tolerance)


@pytest.mark.parametrize("value", [-0.1, 1, 5, "5%", "", True, [0.05]])
def test_a_tolerance_that_is_no_share_is_refused(value: object) -> None:
    with pytest.raises(BadRow, match="column `tolerance`: expected a share from 0 to below 1"):
        typed_answer(7, "digit", (), None, {"tolerance": value})


def test_aliases_come_from_a_column_of_their_own_as_well() -> None:
    gold = Text(value="teal", aliases=("turquoise", "cyan"))
    assert typed_answer("teal", "text", (), None, {"aliases": ["turquoise", "teal", "cyan"]}) == gold
    assert typed_answer(["teal", "turquoise"], "text", (), None, {"aliases": "['cyan']"}) == gold
    with pytest.raises(BadRow, match="column `aliases`"):
        typed_answer("teal", "text", (), None, {"aliases": [""]})


@pytest.mark.parametrize(
    "answer",
    [Text(value="teal", aliases=("cyan",)), Text(value="teal"), Digit(value="7", tolerance=0.05), Digit(value="7"),
     Box(xyxy=(64, 48, 320, 240), size=(640, 480), coordinates="thousand"), Letters(letters="AC"), BOX],
)  # fmt: skip
def test_the_columns_beside_an_answer_make_it_again(answer: Answer) -> None:
    value = list(answer.boxes[0]) if isinstance(answer, Box) else answer.text
    assert typed_answer(value, answer.kind, (), None, columns_beside(answer)) == answer


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"A": "cat", "B": "dog"}, ("cat", "dog")),
        ({"B": "dog", "A": "cat"}, ("cat", "dog")),
        ({"a": "cat", "(b)": "dog", "C": None}, ("cat", "dog")),
        ({"text": ["cat", "dog"], "label": ["A", "B"]}, ("cat", "dog")),
        ([{"label": "B", "text": "dog"}, {"label": "A", "text": "cat"}], ("cat", "dog")),
        ([{"A": "cat"}, {"B": "dog"}], ("cat", "dog")),
        ('{"A": "cat", "B": "dog"}', ("cat", "dog")),
        (["A) cat", "B) dog"], ("cat", "dog")),
        (["(A) cat", "(B) dog"], ("cat", "dog")),
        (["A. cat", "B. dog"], ("cat", "dog")),
        (["A: cat", "B: dog"], ("cat", "dog")),
        (["A\u3001cat", "B\u3001dog"], ("cat", "dog")),
        (["A. cat", "dog"], ("A. cat", "dog")),
        (["B. cat", "A. dog"], ("B. cat", "A. dog")),
        (["A.", "B."], ("A.", "B.")),
        ([2, 3.5], ("2", "3.5")),
    ],
)
def test_options_have_many_forms_and_their_letters_are_taken_off(options: object, texts: tuple[str, ...]) -> None:
    assert option_texts(options) == texts


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["3", "2", "3"], "'3' as A and C"),
        (["A) up", "B) up"], "'up' as A and B"),
        ({"A": "cat", "C": "dog"}, "without a gap"),
        ("cat, dog", "a list of texts"),
        (["cat", ["dog"]], "a list of texts"),
    ],
)
def test_options_that_cannot_be_told_apart_or_read_are_refused_by_name(options: object, complaint: str) -> None:
    with pytest.raises(BadRow, match=complaint):
        option_texts(options)


@pytest.mark.parametrize(
    ("question", "shown"),
    [
        ("Which?\nA) cat\nB) dog", True),
        ("Which? (A) cat (B) dog", True),
        ("Which?\nA. cat\nB. dog", True),
        ("\u54ea\u4e2a\uff1f\nA\u3001cat\nB\u3001dog", True),
        ("Which, a cat or a dog?", False),
        ("Which?\nA) cat", False),
    ],
)
def test_a_question_shows_its_options_or_not(question: str, shown: bool) -> None:
    assert shows_options(question, ["cat", "dog"]) is shown


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        *(("yes", "`text`"), (False, "`text`"), ("teal", "`text`"), ("7 or 8", "`text`"), ("CAT", "`text`")),
        *(("1/2", "`digit`"), ("3e8", "`digit`"), ("50%", "`digit`"), ("1,000", "`digit`"), ("12 cm", "`digit`")),
        *(
            ("\u22127", "`digit`"),
            ("$5", "`digit`"),
            ("AC", "`letters`"),
            ("A, C", "`letters`"),
            (["A", "C"], "`letters`"),
        ),
        *(("[-3, 8]", "`math`"), ("(0, 1]", "`math`"), ("x+1", "`math`"), ("x^2", "`math`"), ("{1,2}", "`math`")),
        *(("[8,20,24,36]", "`box`"), ({"x1": 1, "y1": 2, "x2": 3, "y2": 4}, "`box`"), ("B", "`choice`, or `text`,")),
        ("It stands on the table beside the lamp", "`open`"),
        ("Add: 2 + 3 = 5\n#### 5", "`digit` would fit what this solution concludes, '5'"),
        ("Look.\nThe answer is teal.", "`text` would fit what this solution concludes, 'teal'"),
    ],
)
def test_the_refusal_to_guess_a_kind_names_the_one_that_would_fit(value: object, fits: str) -> None:
    with pytest.raises(BadRow, match=re.escape(f"add a column `kind`: {fits}")):
        typed_answer(value)
