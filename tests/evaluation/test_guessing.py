"""A family that is answered by one guess is told, with how often it is right."""

import pytest

from firsthand.evaluation.guessing import Guess, guess_lines, guesses
from firsthand.records import Judged, Reply, Score, Status, Verdict


def scored(family: str, gold: str, said: str | None) -> Score:
    verdict = Verdict(score=float(said == gold), status=Status.OK if said else Status.UNPARSED, parsed=said)
    judged = Judged(reply=Reply(text=said or "", token_ids=(1,)), verdict=verdict)
    return Score(example_id="a", family=family, question="?", gold=gold, images=(), greedy=judged)


def test_one_answer_to_a_family_is_a_guess() -> None:
    """76 of 100 questions have the answer 1, which is what all but one of the replies say."""
    letters = [scored("letters", "1" if i < 76 else "2", "1" if i else "3") for i in range(100)]
    sums = [scored("sums", str(i % 7), str(i % 5)) for i in range(100)]
    [(family, guess)] = guesses([*letters, *sums]).items()
    assert (family, guess.answer, guess.replies) == ("letters", "1", 0.99)
    assert guess.right == pytest.approx(75 / 99)
    assert guess.line(family).startswith("letters: 99% of the replies answer '1', and 76% of these are right")


@pytest.mark.parametrize("golds", [("1",), ("1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "2")])
def test_what_may_be_knowledge_is_no_guess(golds: tuple[str, ...]) -> None:
    """Where nearly all questions have one answer, a model that knows them says it, too."""
    assert not guesses([scored("letters", golds[i % len(golds)], "1") for i in range(110)])


def test_few_questions_and_replies_that_say_nothing_are_no_guess() -> None:
    assert not guesses([scored("letters", "2", "1") for _ in range(19)])
    assert not guesses([scored("letters", "2", None) for _ in range(100)])


def test_questions_without_a_family_are_told_of_as_well() -> None:
    assert guesses([scored("", "2", "1") for _ in range(20)]) == {
        "all questions": Guess(answer="1", replies=1.0, right=0.0)
    }


def test_seeds_are_told_of_together() -> None:
    tables = [{"guesses": {"letters": {"answer": "1", "replies": share, "right": 0.76}}} for share in (0.9, 1.0)]
    told = guess_lines([*tables, {}])
    assert len(told) == 1 and told[0].startswith("letters: 95%") and told[0].endswith("(2 of 3 seeds)")
    assert guess_lines([{}]) == []
