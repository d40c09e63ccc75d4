"""Worked steps: every one is true, and the environment's own scorer accepts where they lead."""

import re
from decimal import Decimal

import pytest
from environments import DEMONSTRATED, drawn, needs_reasoning_gym, of

from firsthand.answers.stated import read_answer
from firsthand.environments.demonstrations import demonstrate
from firsthand.records import Example, Trace
from firsthand.reward import Router

pytestmark = needs_reasoning_gym
EQUATION = re.compile(r"(-?\d+) ([-+x]) (-?\d+) = (-?\d+)\b")
NUMBER = r"-?\d+(?:\.\d+)?"
"""As the task writes one."""
LISTED = rf"(?:{NUMBER}, )+{NUMBER}"


def of_task(task: str) -> list[Example]:
    return drawn(task, number=200)


def both(example: Example) -> list[str]:
    return [trace.text for trace in example.traces]


@pytest.mark.parametrize("task", DEMONSTRATED)
def test_every_demonstration_is_accepted_by_the_environment_s_own_scorer(task: str, router: Router) -> None:
    examples = of_task(task)
    assert len(examples) == 200
    for example in examples:
        assert [trace.style for trace in example.traces] == ["plain", "expert"], example.question
        for trace in example.traces:
            assert read_answer(trace.text)[0] == example.answer.text and trace.text.endswith("</answer>")
            verdict = router.judge(trace.text, example)
            assert verdict.score == 1, (trace.text, verdict)
        plain, expert = both(example)
        assert len(plain) < len(expert)


@pytest.mark.parametrize("task", DEMONSTRATED)
def test_every_calculation_is_right(task: str) -> None:
    found = [one for e in of_task(task) for text in both(e) for one in EQUATION.findall(text)]
    assert task not in ("leg_counting", "chain_sum", "letter_counting") or len(found) > 400
    for left, sign, right, said in found:
        a, b = int(left), int(right)
        assert {"+": a + b, "-": a - b, "x": a * b}[sign] == int(said), (left, sign, right, said)


def test_the_last_calculation_is_the_answer() -> None:
    for example in [*of_task("leg_counting"), *of_task("chain_sum")]:
        for text in both(example):
            assert EQUATION.findall(text)[-1][-1] == example.answer.text or " x 0 = 0" in text, text


def test_legs_are_counted_of_the_animals_that_are_asked_about_in_their_order() -> None:
    for example in of_task("leg_counting"):
        for text in both(example):
            said = re.findall(r"[Aa]n? ([a-z ]+) has \d+ legs(?:, and there are|:) (\d+)", text)
            animals = ", ".join(f"{number} {animal}{'s' * (number != '1')}" for animal, number in said)
            assert example.question.endswith(f" if you have {animals}?")


def test_letters_are_counted_as_they_stand_in_each_word() -> None:
    for example in of_task("letter_counting"):
        letter, span = re.findall(r'letter "(.)" appear in the text: "(.*)"\?', example.question, re.DOTALL)[0]
        plain, expert = both(example)
        counted = [(word, str(word.lower().count(letter))) for word in span.split()]
        assert re.findall(r'"(\w+)" has (\d+)\.', plain) == counted
        spelled = re.findall(r'"(\w+)" is spelled ([^:]+): it has (\d+)\.', expert)
        assert [(word, number) for word, _, number in spelled] == counted
        assert all(letters.replace(", ", "") == word.lower() for word, letters, _ in spelled)


def test_words_are_taken_apart_letter_by_letter() -> None:
    for example in of_task("spell_backward"):
        word = example.question.rpartition(": ")[2]
        plain, expert = both(example)
        forth, back = re.findall(r"are ((?:\w, )*\w)\.", plain)
        assert forth.replace(", ", "") == word and back.replace(", ", "") == word[::-1]
        built = ""
        for place, letter, so_far in re.findall(r"Letter (\d+) is (\w), which makes (\w+)\.", expert):
            assert word[int(place) - 1] == letter
            built += letter
            assert so_far == built
        assert built == word[::-1]


def test_numbers_are_picked_and_compared_rightly() -> None:
    for example in of_task("number_sorting"):
        plain, expert = both(example)
        pick = min if "ascending" in example.question else max
        said = re.findall(rf"The (smallest|largest) of ({LISTED}) is ({NUMBER})\.", plain)
        found = re.findall(rf"left: ({LISTED})\. The (\w+) of them is ({NUMBER})\.", expert)
        said += [(end, listed, picked) for listed, end, picked in found]
        assert len(said) == 2 * (len(re.findall(NUMBER, example.answer.text)) - 1)
        for end, listed, picked in said:
            assert (end == "smallest") == (pick is min)
            assert Decimal(picked) == pick(map(Decimal, listed.split(", ")))
        compared = re.findall(rf"({NUMBER}) is (above|below|equal to) ({NUMBER})\.", expert)
        assert len(compared) == len(re.findall(NUMBER, example.answer.text)) - 1
        for one, how, other in compared:
            a, b = Decimal(one), Decimal(other)
            assert {"above": a > b, "below": a < b, "equal to": a == b}[how]


def test_the_style_of_an_expert_varies_and_is_that_of_its_question() -> None:
    examples = of_task("chain_sum")
    assert len({both(example)[1].split(".")[0] for example in examples}) > 2
    assert all(demonstrate(of(e), e.question) == e.traces for e in examples)


def test_where_the_steps_lead_elsewhere_there_is_no_demonstration() -> None:
    example = of_task("leg_counting")[0]
    other = of(example).model_copy(update={"value": "7"})
    assert demonstrate(other, example.question) == ()
    unknown = of(example).model_copy(
        update={"entry": of(example).entry.replace('{"animals": {"', '{"animals": {"space ')}
    )
    assert unknown != example.answer and demonstrate(unknown, example.question) == ()
    assert all(not isinstance(e.traces, Trace) and e.traces == () for e in drawn("gcd"))
