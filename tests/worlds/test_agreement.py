"""Whether steps lead to the answer: as worlds write them, beside what was answered, whatever the truth is."""

import pytest

from firsthand.evaluation.table import tabulate
from firsthand.records import Agreement, Example, Judged, Reply, Score, Status, Verdict
from firsthand.worlds import WORLDS, generate
from firsthand.worlds.agreement import agreement, with_agreement

STEPPED = [name for name in WORLDS if name != "describe"]


def one(family: str, gold: str = "") -> Example:
    """An example of a family, whose gold answer has this text in it."""
    return next(e for e in generate(family, "test", 200) if gold in e.answer.text)


@pytest.mark.parametrize("shifted", [False, True], ids=["", "shifted"])
@pytest.mark.parametrize("family", STEPPED)
def test_the_steps_of_every_demonstration_lead_to_its_answer(family: str, shifted: bool) -> None:
    for example in generate(family, "test", 40, shifted=shifted):
        assert [agreement(t.text, example, "tags") for t in example.traces] == [Agreement.AGREES] * 2


@pytest.mark.parametrize("family", STEPPED)
def test_the_answer_of_another_example_is_not_what_the_steps_lead_to(family: str) -> None:
    """Both ways round: steps that are right beside a wrong answer, and wrong ones beside the right answer."""
    examples = generate(family, "test", 40)
    for example in examples:
        other = next(e for e in examples if e.answer.text != example.answer.text and far(e, example))
        steps, answer = example.traces[0].text.split("<answer>")
        theirs, wrong = other.traces[0].text.split("<answer>")
        assert agreement(f"{steps}<answer>{wrong}", example, "tags") is Agreement.DISAGREES
        assert agreement(f"{theirs}<answer>{answer}", example, "tags") is Agreement.DISAGREES


def far(other: Example, example: Example) -> bool:
    """Of boxes: in another cell of a grid as large; of lengths: no root beside a number, for a root of 36 is 6."""
    if example.answer.kind == "box":
        is_as_large = other.images[0].width == example.images[0].width
        return is_as_large and other.traces[0].text.split("in ")[1][:2] != example.traces[0].text.split("in ")[1][:2]
    return ("sqrt" in other.answer.text) == ("sqrt" in example.answer.text)


@pytest.mark.parametrize(
    ("family", "reply", "expected"),
    [
        ("count", "<think>a1 red star yes 1, b2 blue star no</think><answer>1</answer>", "agrees"),
        ("count", "<think>a1 red star yes 1, b2 blue star yes 2</think><answer>1</answer>", "disagrees"),
        ("count", "<think>a1 red star no, b2 blue star no</think><answer>0</answer>", "agrees"),
        ("count", "<think>I see some stars</think><answer>2</answer>", "unread"),
        ("count", "<answer>2</answer>", "unread"),
        ("count", "<think>a1 red star yes 1</think>", "unread"),  # no answer
        ("count", "<think>a1 red star yes 1</think><answer>many</answer>", "unread"),
        ("digits", "<think>3 + 5 = 9, 9 + 2 = 11</think><answer>11</answer>", "agrees"),  # a slip, carried on
        ("digits", "<think>3 + 5 = 8, 8 + 2 = 10</think><answer>11</answer>", "disagrees"),
        ("digits", "<think>3 + 5 = 9. Wait, that is not right. 3 + 5 = 8.</think><answer>8</answer>", "agrees"),
        ("digits", "<think>3 + 5 = </think><answer>8</answer>", "unread"),
        ("digits", "3 + 5 = 8 <answer>8</answer>", "agrees"),  # no tags around the thinking
        ("chart", "<think>3 + 5 = 8, A 7 no, B 8 yes</think><answer>B</answer>", "agrees"),
        ("chart", "<think>3 + 5 = 8, A 7 no, B 8 yes</think><answer>A</answer>", "disagrees"),
        ("chart", "<think>3 + 5 = 8, A 7 no</think><answer>A</answer>", "unread"),  # no option is marked
    ],
)
def test_steps_are_read_to_their_end(family: str, reply: str, expected: str) -> None:
    assert agreement(reply, one(family), "tags") == expected


def test_a_longest_side_is_the_root_of_what_its_steps_end_in() -> None:
    steps = "<think>3 * 3 = 9, 4 * 4 = 16, 9 + 16 = 25</think>"
    right, area = one("geometry", "sqrt"), next(e for e in generate("geometry", "test", 50) if "area" in e.question)
    for answer, states in {r"\sqrt{25}": "ad", "5": "ad", "25": "da", "sqrt(16)": "dd", "a side": "uu"}.items():
        found = [agreement(f"{steps}<answer>{answer}</answer>", e, "tags") for e in (right, area)]
        assert [str(state)[0] for state in found] == list(states), answer


def test_only_worlds_have_steps_that_can_be_read() -> None:
    example = one("digits")
    reply = "<think>3 + 5 = 8</think><answer>8</answer>"
    assert agreement(reply, example.model_copy(update={"meta": {}}), "tags") is None  # a user's family of that name
    assert agreement(reply, one("describe"), "tags") is None
    verdict = Verdict(score=0.0, status=Status.OK)
    assert with_agreement(verdict, reply, one("describe"), "tags") is verdict
    assert "agreement" not in verdict.model_dump()


def test_an_answer_without_tags_is_read_by_the_rule_that_judges_it() -> None:
    reply = "<think>3 + 5 = 8</think>The answer is 8."
    assert agreement(reply, one("digits"), "tags") is Agreement.UNREAD
    assert agreement(reply, one("digits"), "stated") is Agreement.AGREES


def test_a_table_has_the_three_states_of_the_replies_that_have_one() -> None:
    def scored(state: Agreement | None, number: int) -> Score:
        judged = Judged(
            reply=Reply(text="", token_ids=()), verdict=Verdict(score=1.0, status=Status.OK, agreement=state)
        )
        return Score(example_id=f"e{number}", question="?", gold="7", images=(), greedy=judged)

    states = [Agreement.AGREES, Agreement.DISAGREES, Agreement.UNREAD, Agreement.UNREAD, None]
    table = tabulate([scored(state, i) for i, state in enumerate(states)], 0)
    assert table["steps"] == {"agrees": 0.25, "disagrees": 0.25, "unread": 0.5}
    assert "steps" not in tabulate([scored(None, 0)], 0)
