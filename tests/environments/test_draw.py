"""An environment's tasks as examples: the same each time, in splits that never meet, and refused where they mislead."""

import json
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from environments import drawn, gym, gym_pool, needs_reasoning_gym, of
from pages import page, section

from firsthand.data import load_examples, read_examples, write_examples
from firsthand.environments.draw import _BLOCK, _first_seed, draw_examples
from firsthand.errors import DataError, RecipeError
from firsthand.recipe import Data
from firsthand.records import SPLITS, split_of
from firsthand.workers import environments
from firsthand.workers.environments import Package, environment_pool

pytestmark = needs_reasoning_gym
EASY = {"leg_counting": {"max_animals": 4}, "chain_sum": {"max_terms": 3, "max_digits": 2}}


def test_tasks_share_the_examples_in_turn_and_each_has_its_level() -> None:
    examples = gym("leg_counting", "chain_sum", number=41, level=EASY)
    assert [e.family for e in examples[:3]] == ["leg_counting", "chain_sum", "leg_counting"] and len(examples) == 41
    assert len({e.id for e in examples}) == 41
    for example in examples:
        entry = json.loads(of(example).entry)
        assert entry["settings"] == EASY[example.family]
        if example.family == "leg_counting":
            assert len(entry["metadata"]["animals"]) <= 4
        else:
            assert entry["metadata"]["num_terms"] <= 3 and entry["metadata"]["num_digits"] <= 2
        assert example.meta["split"] == "train" and example.images == ()


def test_a_level_without_a_task_s_name_is_for_all_tasks() -> None:
    examples = gym("chain_sum", "products", level={"max_digits": 1, "products": {"max_terms": 3}})
    settings = {e.family: json.loads(of(e).entry)["settings"] for e in examples}
    assert settings == {"chain_sum": {"max_digits": 1}, "products": {"max_digits": 1, "max_terms": 3}}


@pytest.mark.slow
def test_the_same_arguments_give_the_same_examples_in_another_process_too() -> None:
    # word_ladder walks through sets of text, whose order hangs on the process; list_functions draws from random itself.
    code = (
        "from firsthand.environments import draw_examples\n"
        "for e in draw_examples('reasoning-gym', ['word_ladder', 'list_functions'], 6, seed=2): print(e.id)\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    again = [[e.id for e in gym("word_ladder", "list_functions", number=6, seed=2)] for _ in range(2)]
    assert again == [there, there]


def test_more_examples_begin_with_the_fewer() -> None:
    assert gym("gcd", number=40)[:7] == gym("gcd", number=7)


def test_splits_never_share_a_question_however_few_there_are() -> None:
    few = {"min_terms": 2, "max_terms": 2, "max_digits": 1}  # 200 questions
    found = {
        split: {e.question for seed in (0, 1) for e in gym("chain_sum", number=n, split=split, seed=seed, level=few)}
        for split, n in (("train", 100), ("validation", 10), ("test", 10))
    }
    assert all({split_of(question) for question in questions} == {split} for split, questions in found.items())
    assert len(set.union(*found.values())) == sum(map(len, found.values()))


def test_two_seeds_of_one_split_share_no_question_of_a_large_task() -> None:
    zero, one = ({e.question for e in gym("leg_counting", number=200, seed=seed)} for seed in (0, 1))
    assert len(zero) == len(one) == 200 and not zero & one


def test_the_package_s_own_seeds_are_apart_for_all_splits_and_seeds() -> None:
    firsts = [_first_seed(split, seed) for seed in range(-50, 50) for split in SPLITS]
    assert len({first // _BLOCK for first in firsts}) == len(firsts)
    assert min(firsts) >= 0  # Python's generator takes -1 for 1
    assert all(first % _BLOCK == 0 for first in firsts)


def test_a_task_with_too_few_questions_says_so() -> None:
    one = {"min_terms": 1, "max_terms": 1, "max_digits": 1}
    with pytest.raises(
        DataError, match=r"chain_sum: expected 50 questions of the split train, got \d, and the next 1,000"
    ):
        gym("chain_sum", number=50, level=one)


@pytest.mark.parametrize(
    ("tasks", "level", "message"),
    [
        (["leg_countin"], {}, r"tasks: reasoning-gym has no task 'leg_countin'; did you mean 'leg_counting'\?"),
        (["gcd"], {"max_valeu": 9}, r"level of gcd: .* no setting 'max_valeu'; did you mean 'max_value'\?"),
        (["gcd"], {"lcm": {"max_value": 9}}, "level of gcd: reasoning-gym has no setting 'lcm'; known: max_numbers"),
        (["gcd"], {"seed": 3}, "no setting 'seed'"),
        (
            ["gcd"],
            {"max_value": 0},
            "level of gcd: reasoning-gym refuses {'max_value': 0}: max_value must be > min_value",
        ),
    ],
)
def test_what_nobody_knows_is_refused_with_the_nearest_name(
    tasks: list[str], level: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        gym(*tasks, level=level)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("coin_flip", "full marks to '0' in place of"),
        ("complex_arithmetic", "full marks to 'nan' in place of"),
        ("game_of_life_halting", "full marks to 'no answer' in place of"),
        ("graph_color", "expected an answer of its own that its scorer accepts, as JSON holds it, got none"),
        ("rearc", "as JSON holds it, got '.*', which it does not accept"),
    ],
)
def test_a_task_whose_scorer_misleads_is_refused(task: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        gym(task)


def test_a_task_s_settings_must_be_some() -> None:
    with pytest.raises(RecipeError, match=r"level\.gcd: expected settings of the task, such as .*, got 3"):
        gym("gcd", level={"gcd": 3})


def test_items_that_the_package_cannot_draw_are_passed_over() -> None:
    assert len(gym("maze", number=30)) == 30  # one in a hundred mazes does not come about


@pytest.mark.slow
def test_an_item_that_never_comes_is_passed_over() -> None:
    with closing(environment_pool("reasoning-gym", 1, 3.0)) as pool:
        # The package's item of seed 163 grows without end; ours of seed 0 are its seeds from 0 on.
        examples = draw_examples("reasoning-gym", ["number_sequence"], 150, seed=0, pool=pool)
    assert len(examples) == 150


def test_an_answer_that_no_reply_can_state_is_passed_over() -> None:
    assert all(example.answer.text.strip() for example in gym("ab", number=300))  # one in 300 is empty


@pytest.mark.slow
def test_the_tasks_that_are_refused_are_those_that_the_docs_name() -> None:
    known = gym_pool().ask({"draw": {"task": "", "settings": {}, "seed": 0, "most": 1}})["known"]
    refused = set()
    for task in known:
        try:
            gym(task, number=1)
        except (DataError, RecipeError):
            refused.add(task)
    named = re.findall(r"^\| `(\w+)` \|", section(page("docs/environments.md"), "Scores"), re.MULTILINE)
    assert refused == set(named) and f"The other {len(known) - len(named)} can be used" in page("docs/environments.md")


def test_a_package_that_is_not_installed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Package("reasoning_gym_of_another_name", environments.ENVIRONMENTS["reasoning-gym"].task)
    monkeypatch.setitem(environments.ENVIRONMENTS, "reasoning-gym", absent)
    with pytest.raises(RecipeError, match=r"reasoning-gym is not installed: pip install 'firsthand\[real\]'"):
        Data.parse("environment:reasoning-gym:gcd").load()
    with pytest.raises(RecipeError, match="expected one of reasoning-gym, got 'gymnasium'"):
        environment_pool("gymnasium", 1, 1.0)


def test_the_package_is_imported_by_workers_alone() -> None:
    drawn("gcd")
    assert "reasoning_gym" not in sys.modules


def test_an_answer_that_is_evaluated_writes_no_file_and_starts_no_process(tmp_path: Path) -> None:
    pool = gym_pool()
    request = {"task": "binary_matrix", "settings": {}}
    (entry,) = pool.ask({"draw": {**request, "seed": 0, "most": 1}})["entries"]
    about = {**request, "metadata": entry["metadata"], "gold": entry["answer"]}
    for number, code in enumerate(
        ("open({!r}, 'w')", "__import__('os').mkdir({!r})", "__import__('os').system('touch {}')")
    ):
        there = tmp_path / str(number)
        assert pool.ask({"score": {**about, "answer": code.format(str(there))}})["score"] < 1
        assert not there.exists()
    assert pool.ask({"score": {**about, "answer": entry["answer"]}})["score"] == 1


def test_a_recipe_and_a_command_line_draw_them() -> None:
    content = {"environment": "reasoning-gym", "tasks": ["leg_counting", "chain_sum"], "number": 6, "level": EASY}
    data = Data.model_validate({**content, "split": "validation", "seed": 3})
    assert data.load() == gym("leg_counting", "chain_sum", number=6, level=EASY, split="validation", seed=3)


def test_they_are_the_same_after_parquet_and_after_a_row_of_columns(tmp_path: Path) -> None:
    examples = drawn("leg_counting", "futoshiki", number=4)
    write_examples(examples, tmp_path / "examples.parquet")
    assert read_examples(tmp_path / "examples.parquet") == examples
    assert load_examples(str(tmp_path / "examples.parquet")) == examples
    rows = [
        {"question": e.question, "answer": e.answer.text, "kind": "environment"}
        | {column: getattr(e.answer, column) for column in ("environment", "task", "entry")}
        for e in examples
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [e.answer for e in load_examples(str(tmp_path / "rows.jsonl"))] == [e.answer for e in examples]
    del rows[1]["task"]
    rows[2]["entry"], rows[3]["entry"] = '{"settings": {}}', "no JSON"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError) as caught:
        load_examples(str(tmp_path / "rows.jsonl"))
    assert re.findall(r"line (\d), column `(\w+)`", str(caught.value)) == [
        ("2", "task"),
        ("3", "entry"),
        ("4", "entry"),
    ]
