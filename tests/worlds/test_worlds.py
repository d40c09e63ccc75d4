"""The worlds: exact answers, splits that never meet, and demonstrations that end in the right answer."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from firsthand.records import Example
from firsthand.worlds import SPLITS, WORLDS, generate, scene, split_of
from firsthand.worlds.chart import four_options, running_sum
from firsthand.worlds.draw import COLOURS
from firsthand.worlds.grid import UNSEEN

CLOSED = [name for name in WORLDS if name != "describe"]


def counted(example: Example) -> int:
    """The answer to a counting question, read off the scene's description by other code than the world's."""
    things = [thing.split()[1:] for thing in example.scene.split(", ")]
    words = set(re.findall(r"[a-z]+", example.question.lower()))
    wanted = words | {word.removesuffix("s") for word in words}
    return sum(bool({colour, shape} & wanted) for colour, shape in things)


def test_every_item_is_a_function_of_its_arguments_alone():
    for family in WORLDS:
        again = [generate(family, "train", 6, seed=5) for _ in range(2)]
        assert again[0] == again[1]
        assert generate(family, "train", 6, seed=6) != again[0]


@pytest.mark.parametrize("family", WORLDS)
def test_train_validation_and_test_never_share_a_scene(family):
    keys = {
        split: {
            scene(family, split, seed, i, level=level)[0].key
            for seed in (0, 1)
            for i in range(60)
            for level in ("easy", "hard")
        }
        for split in SPLITS
    }
    assert all(len(found) > 20 for found in keys.values())
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not keys[a] & keys[b]
    pictures = {split: {e.images[0].sha256 for e in generate(family, split, 80)} for split in SPLITS}
    assert not pictures["train"] & pictures["test"]


def test_a_scene_has_one_split_whatever_the_seed():
    assert {split_of(f"scene {i}") for i in range(200)} == set(SPLITS)
    assert split_of("scene 1") == split_of("scene 1")


def test_no_handwritten_digit_is_in_two_splits():
    from firsthand.worlds.digits import _pool

    pools = {split: {picture.tobytes() for _, picture in _pool(split)} for split in SPLITS}
    assert sum(len(_pool(split)) for split in SPLITS) == 1797
    assert len(pools["train"] & pools["test"]) == 0


@pytest.mark.parametrize("family", CLOSED)
def test_both_demonstrations_score_one_under_the_reward(family, router):
    for example in [*generate(family, "train", 40), *generate(family, "test", 10, shifted=True)]:
        for trace in example.traces:
            verdict = router.judge(trace.text, example.answer)
            assert verdict.score is not None and verdict.score > 0.9, (trace.text, verdict)


def test_counts_agree_with_the_scene_description():
    for example in generate("count", "validation", 200):
        assert int(example.answer.value) == counted(example), example.question


def test_comparisons_agree_with_the_scene_description_and_with_the_steps():
    for example in generate("compare", "validation", 200):
        more, fewer = re.findall("|".join(COLOURS), example.question)
        counts = [sum(thing.split()[1] == colour for thing in example.scene.split(", ")) for colour in (more, fewer)]
        assert int(example.answer.value) == counts[0] - counts[1], example.question
        assert f"{counts[0]} - {counts[1]} = {example.answer.value}" in example.traces[0].text


def test_no_answer_to_a_comparison_is_a_good_guess():
    answers = [example.answer.value for example in generate("compare", "test", 400)]
    assert max(answers.count(value) for value in set(answers)) < 0.35 * len(answers)


def test_digit_sums_agree_with_the_scene_description():
    for example in generate("digits", "test", 60):
        assert int(example.answer.value) == sum(map(int, example.scene.split()))


def test_chart_answers_agree_with_the_scene_description():
    for example in generate("chart", "test", 100):
        values = [int(v) for v in re.findall(r"\d", example.scene)]
        expected = sum(values) if re.search("total|add up", example.question) else max(values) - min(values)
        assert example.answer.options["ABCD".index(example.answer.letter)] == str(expected)


def test_options_are_four_distinct_values_with_the_answer_at_its_letter():
    import random

    for seed in range(100):
        options, letter = four_options(random.Random(seed), seed % 12)
        assert len(set(options)) == 4
        assert options["ABCD".index(letter)] == seed % 12
        assert min(options) >= 0


def test_a_running_sum_is_written_step_by_step():
    assert running_sum([3, 5, 2]) == ("3 + 5 = 8", "8 + 2 = 10")


def test_boxes_are_normalised_and_hold_the_object():
    for example in generate("locate", "test", 60):
        x1, y1, x2, y2 = example.answer.xyxy
        assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
        picture = np.asarray(example.images[0].open(), dtype=int)
        h, w = picture.shape[:2]
        inside = picture[round(y1 * h) : round(y2 * h), round(x1 * w) : round(x2 * w)]
        assert (inside.max(axis=2) - inside.min(axis=2)).max() > 80  # something coloured is there


def test_picture_sides_are_multiples_of_28_and_need_no_resizing():
    for family in WORLDS:
        for example in [*generate(family, "train", 12), *generate(family, "test", 4, shifted=True)]:
            picture = example.images[0]
            assert picture.width % 28 == picture.height % 28 == 0
            assert 56 * 56 <= picture.width * picture.height <= 28 * 28 * 64


def test_unseen_pairs_are_only_in_the_shifted_set():
    def pairs(shifted: bool) -> set[tuple[str, str]]:
        examples = generate("describe", "train", 300, shifted=shifted)
        return {tuple(thing.split()[1:]) for e in examples for thing in e.scene.split(", ")}

    assert not pairs(shifted=False) & UNSEEN
    assert pairs(shifted=True) >= UNSEEN


@pytest.mark.parametrize(
    ("family", "pixels"),
    [
        ("chart", "6ae705bd74fd52f58b8943cbb8ccfee8ad0c02c35f155d08182b158c8c9d18a2"),
        ("geometry", "99afc1b12c14fa40651ca4e14583c6f3f6623a8f6887088f27fd120f5ace2e18"),
    ],
)
def test_shifted_pictures_are_those_that_published_numbers_were_measured_on(family, pixels):
    drawn = [example.images[0].open().tobytes() for example in generate(family, "test", 6, shifted=True)]
    assert hashlib.sha256(b"".join(drawn)).hexdigest() == pixels


def test_expert_demonstrations_are_longer_and_hesitate():
    examples = generate("count", "train", 50)
    plain, expert = (" ".join(e.trace(style).text for e in examples) for style in ("plain", "expert"))
    assert len(expert) > 1.4 * len(plain)
    assert re.search("wait|double-check|mistake", expert, re.IGNORECASE) and "ait" not in plain


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown family 'counting'; known: count"):
        generate("counting", "train", 1)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        generate("count", "dev", 1)
    with pytest.raises(ValueError, match="unknown level 'medium'"):
        generate("count", "train", 1, level="medium")


def test_without_scikit_learn_the_digits_say_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.datasets'] = None\n"
        "from firsthand.cli.main import main\n"
        "sys.exit(main(['evaluate', 'small', '--data', 'worlds:digits:test:2']))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stderr.strip().endswith("pip install 'firsthand[demo]'") and "Traceback" not in found.stderr
