"""Examples by how often a model solved them: `pass_rate` of a recipe's data."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from firsthand.data.difficulty import PassRate
from firsthand.errors import DataError, RecipeError
from firsthand.recipe import Data
from firsthand.records import Example, Judged, Reply, Score, Status, Verdict, json_lines
from firsthand.run import CHOSEN
from firsthand.worlds import SMALL

WORLDS = {"worlds": ["count"], "number": 4}
Samples = Sequence[float | None]


def judged(score: float | None) -> Judged:
    status = Status.TIMED_OUT if score is None else Status.OK
    return Judged(reply=Reply(text="a", token_ids=(1,)), verdict=Verdict(score=score, status=status))


def scored(path: Path, examples: Sequence[Example], samples: Sequence[Samples]) -> Path:
    scores = [
        Score(
            example_id=example.id,
            question=example.question,
            gold="1",
            images=(),
            greedy=judged(1.0),
            samples=tuple(map(judged, some)),
        )
        for example, some in zip(examples, samples, strict=False)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_lines(scores))
    return path


def of(path: Path, least: float = 0.25, most: float = 0.75, **more: object) -> Data:
    said = {"scores": str(path), "least": least, "most": most}
    return Data.model_validate({**WORLDS, **more, "pass_rate": said})


@pytest.fixture
def all_four() -> list[Example]:
    return Data.model_validate(WORLDS).load()


def test_what_is_solved_neither_too_seldom_nor_too_often_is_kept_with_both_ends(
    tmp_path: Path, all_four: list[Example]
) -> None:
    path = scored(tmp_path / "scores.jsonl", all_four, [[0] * 4, [1, 0, 0, 0], [1, 1, 1, 0], [1] * 4])
    found = of(path).read()
    assert found.examples == all_four[1:3]
    assert [origin.place for origin in found.origins] == [f"example {example.id}" for example in all_four[1:3]]
    assert found.chosen is not None
    assert (found.chosen.kept, found.chosen.of, found.chosen.unmeasured) == (2, 4, 0)
    assert found.chosen.rates == {"0": 1, "0.2 to 0.3": 1, "0.7 to 0.8": 1, "1": 1}
    assert of(path, 0, 0).load() == all_four[:1] and of(path, 1, 1).load() == all_four[3:]


def test_a_sample_that_was_not_measured_is_neither_right_nor_wrong(tmp_path: Path, all_four: list[Example]) -> None:
    half = [1, 0, None, None]
    path = scored(tmp_path / "scores.jsonl", all_four, [half, [None] * 4, [1, None, None, None], [0.5, 0.49, 0, 0]])
    found = of(path, 0.5, 0.5).read()
    assert found.examples == all_four[:1]  # 1 of 4 is a success from 0.5 on, and nothing is known of the second
    assert found.chosen is not None and found.chosen.unmeasured == 1


def test_one_that_was_evaluated_twice_has_the_samples_of_both(tmp_path: Path, all_four: list[Example]) -> None:
    path = scored(tmp_path / "scores.jsonl", [*all_four, all_four[0]], [[1, 1], [1], [1], [1], [0, 0]])
    assert of(path).load() == all_four[:1]


def test_a_finished_run_directory_stands_for_its_scores(tmp_path: Path, all_four: list[Example]) -> None:
    scored(tmp_path / "run/scores.jsonl", all_four, [[1, 0]] * 4)
    with pytest.raises(DataError, match=r"expected a finished evaluation, got .*run; finish it first"):
        of(tmp_path / "run").load()
    (tmp_path / "run/DONE").touch()
    assert of(tmp_path / "run").load() == all_four


def test_examples_that_were_not_evaluated_are_told_once_with_the_command(
    tmp_path: Path, all_four: list[Example]
) -> None:
    path = scored(tmp_path / "scores.jsonl", all_four[:1], [[1, 0]])
    with pytest.raises(DataError) as caught:
        of(path).load()
    lines = str(caught.value).splitlines()
    assert "3 of 4 rows cannot be used" in lines[0]
    assert f"example {all_four[1].id} and 2 more, expected a pass rate in {path}, got none" in lines[1]
    assert "firsthand evaluate MODEL --data worlds:count:train:4 --samples 8" in lines[1]
    assert len(lines) == 3 and "on_bad: drop" in lines[2]
    assert of(path, on_bad="drop").load() == all_four[:1]
    with pytest.raises(DataError, match="in a study, as the command line has no level, seed"):
        of(path, seed=3, level="easy").load()


def test_another_question_under_the_same_id_is_another_example(tmp_path: Path, all_four: list[Example]) -> None:
    others = [example.model_copy(update={"question": "What else?"}) for example in all_four]
    path = scored(tmp_path / "scores.jsonl", others, [[1, 0]] * 4)
    with pytest.raises(DataError, match="4 of 4 rows cannot be used"):
        of(path).load()


def test_where_nothing_is_left_the_error_has_the_pass_rates(tmp_path: Path, all_four: list[Example]) -> None:
    path = scored(tmp_path / "scores.jsonl", all_four, [[0] * 8, [0] * 8, [0] * 7 + [1], [None]])
    with pytest.raises(DataError) as caught:
        of(path).load()
    assert "0.25 to 0.75" in str(caught.value) and "none among 4" in str(caught.value)
    assert "pass rates are 0: 2, 0.1 to 0.2: 1; unmeasured: 1; set least and most" in str(caught.value)


def test_scores_without_samples_or_of_another_form_are_refused(tmp_path: Path, all_four: list[Example]) -> None:
    path = scored(tmp_path / "scores.jsonl", all_four, [[]] * 4)
    with pytest.raises(DataError, match=r"expected sampled replies in .*got none; evaluate with --samples 8"):
        of(path).load()
    path.write_text(path.read_text() + '{"example_id": 1}\n')
    with pytest.raises(DataError, match=r"scores\.jsonl line 5: expected a line of scores\.jsonl, got '{\"example_id"):
        of(path).load()
    with pytest.raises(DataError, match=r"expected a readable file, got .*nowhere.*No such file"):
        of(tmp_path / "nowhere").load()


def test_bounds_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected least to be at most most, got 0\.8 and 0\.75"):
        PassRate(scores="a", least=0.8)
    with pytest.raises(RecipeError, match=r"pass_rate\.scores: required, but not given"):
        Data.parse("worlds:count", pass_rate={"least": 0.1})


def test_a_training_says_what_it_kept(
    tmp_path: Path, all_four: list[Example], caplog: pytest.LogCaptureFixture
) -> None:
    from firsthand.recipe import Recipe
    from firsthand.trainer import train

    path = scored(tmp_path / "scores.jsonl", all_four, [[0, 0], [0, 1], [1, 1], [1, 0]])
    data = of(path).model_dump(mode="json", exclude_defaults=True)
    said = {"name": "a", "model": str(SMALL), "data": data, "objective": {"kind": "sft", "style": "plain"}}
    run = train(Recipe.model_validate({**said, "steps": 1, "prompts": 2}), tmp_path / "runs")
    kept = json.loads((run / CHOSEN).read_text())
    assert (kept["kept"], kept["of"], kept["rates"]) == (2, 4, {"0": 1, "0.5 to 0.6": 2, "1": 1})
    assert "trained on 2 of 4 examples, with a pass rate of 0.25 to 0.75" in caplog.text
    assert json.loads((run / "recipe.json").read_text())["data"]["pass_rate"] == {"least": 0.25, "most": 0.75}
    seen = {json.loads(line)["example_id"] for line in (run / "rollouts.jsonl").read_text().splitlines()}
    assert seen <= {all_four[1].id, all_four[3].id}
