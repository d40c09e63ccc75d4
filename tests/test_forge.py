"""The forge: nothing is lost, duplicates go with a reason, and demonstrations that hesitate choose reinforcement."""

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.forge import STEP_NAMES, STEPS, Dropped, ForgeStep, Kept, Outcome, run_step
from firsthand.forge.split import REFLECTIVE_CUES
from firsthand.records import Answer, Choice, Digit, Example, Picture, Trace


def example(
    question: str = "How many?",
    answer: Answer = Digit(value="7"),  # noqa: B008 (frozen)
    picture: str = "p",
    traces: tuple[str, ...] = ("3 + 4 = 7",),
    identity: str = "",
) -> Example:
    return Example(
        id=identity,
        question=question,
        images=(Picture(sha256=picture, width=28, height=28, path=f"{picture}.png"),),
        answer=answer,
        traces=tuple(Trace(style="expert", text=text) for text in traces),
    )


EXAMPLES = st.lists(
    st.builds(
        example,
        question=st.sampled_from(["How many?", "How  many?", "What?"]),
        picture=st.sampled_from(["p", "q"]),
        traces=st.sampled_from([(), ("3 + 4 = 7",), ("Wait, 3 + 4 = 7",)]),
    )
)


@pytest.mark.parametrize("name", STEPS)
@given(examples=EXAMPLES)
def test_what_goes_into_a_step_is_kept_or_dropped(name: str, examples: list[Example]) -> None:
    kept, dropped, funnel = run_step(STEPS[name], examples)
    assert funnel.read == len(examples) == funnel.kept + sum(funnel.dropped.values())
    assert (funnel.kept, sum(funnel.dropped.values())) == (len(kept), len(dropped))
    assert sorted(e.id for e in examples) == sorted(e.id for e in [*kept, *(d.example for d in dropped)])


def test_the_built_steps_are_among_the_six_and_bear_their_names() -> None:
    assert STEP_NAMES == ("collect", "caption", "distill", "rewrite", "verify", "split")
    assert set(STEPS) <= set(STEP_NAMES)
    assert all(STEPS[name].name == name for name in STEPS)


def test_a_step_that_loses_an_example_is_stopped() -> None:
    def all_but_the_first(examples: Iterable[Example]) -> Iterator[Outcome]:
        return map(Kept, list(examples)[1:])

    with pytest.raises(ValueError, match="'lossy' must keep or drop each example once"):
        run_step(ForgeStep("lossy", all_but_the_first), [example(), example()])


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(example(), id="the same"),
        pytest.param(example(question=" How\nmany? "), id="other white space"),
        pytest.param(example(identity="row-2"), id="an id of its own"),
        pytest.param(example(traces=()), id="without its demonstration"),
    ],
)
def test_collect_drops_a_duplicate(again: Example) -> None:
    first = example()
    assert run_step(STEPS["collect"], [first, again])[:2] == ([first], [Dropped(again, "duplicate")])


def test_collect_sees_through_unicode_composition() -> None:
    composed, decomposed = example(question="Caf\u00e9?"), example(question="Cafe\u0301?")
    assert run_step(STEPS["collect"], [composed, decomposed])[2].dropped == {"duplicate": 1}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(example(picture="q"), id="another picture"),
        pytest.param(example(answer=Digit(value="8")), id="another number"),
        pytest.param(example(answer=Choice(letter="7")), id="another kind of answer"),
        pytest.param(example(question="how many?"), id="other case: angle A is not angle a"),
    ],
)
def test_collect_keeps_what_differs(other: Example) -> None:
    assert run_step(STEPS["collect"], [example(), other])[0] == [example(), other]


def test_collect_does_not_fold_an_exponent() -> None:
    assert run_step(STEPS["collect"], [example(question="x²?"), example(question="x2?")])[2].kept == 2


@pytest.mark.parametrize(
    ("trace", "part"),
    [
        ("3 + 4 = 7", "sft"),
        ("I count 3 and 4: 7.", "sft"),
        *((f"3 + 5 ... {cue.capitalize()}, 3 + 4 = 7", "rl") for cue in REFLECTIVE_CUES),
        ("It leans against the wall.", "rl"),  # the published rule matches inside words
    ],
)
def test_split_sends_hesitation_to_reinforcement(trace: str, part: str) -> None:
    [kept], [], _ = run_step(STEPS["split"], [example(traces=(trace,))])
    assert kept.meta["split"] == part


def test_split_changes_nothing_else() -> None:
    given = example()
    [kept], [], _ = run_step(STEPS["split"], [given])
    assert kept.model_copy(update={"meta": {}}) == given
    assert given.meta == {}


def test_split_needs_a_demonstration() -> None:
    silent = example(traces=())
    assert run_step(STEPS["split"], [silent])[:2] == ([], [Dropped(silent, "no_trace")])
