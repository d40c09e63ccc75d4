"""A server writes for later steps while one is trained: for as many as replies may be stale, and no more."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Digit, Example, Judged, Reply, Status, StopReason, Verdict
from firsthand.rollout import IndexedReply, Sampling
from firsthand.trainer.ahead import Ahead, of_staleness
from firsthand.trainer.batch import Group
from firsthand.trainer.ranks import ALONE
from firsthand.trainer.sample import draws
from firsthand.trainer.state import State
from firsthand.worlds import SMALL, generate

CONTENT: dict[str, Any] = {
    "name": "a",
    "data": {"worlds": ["count"]},
    "objective": {"kind": "grpo", "group_size": 2},
    "steps": 5,
    "prompts": 2,
}
SERVER = {"url": "http://nobody:1"}


class Server:
    """Notes what it is asked for as soon as it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        self.asked.append((seed, tuple(prompt.example_id for prompt in prompts)))
        return iter(())


def ahead(server: Server, examples: list[Example], **fields: Any) -> tuple[Ahead, Recipe]:
    recipe = Recipe.model_validate({**CONTENT, **fields})
    state = cast(State, SimpleNamespace(encoder=Encoder.load(SMALL), ranks=ALONE))
    return Ahead(examples, recipe, state, server), recipe


@pytest.mark.parametrize("staleness", [0, 1, 2, 9])
def test_as_many_steps_are_begun_as_replies_may_be_stale(staleness: int) -> None:
    server, examples = Server(), generate("count", "train", 6)
    begins, recipe = ahead(server, examples, staleness=staleness, rollout=SERVER)
    for step in range(5):
        samples = begins.first(step, step)
        assert [example.id for example in samples.examples] == [e.id for e in next(draws(examples, recipe, step))]
        assert len(server.asked) == min(step + staleness, 4) + 1
    drawn = [next(draws(examples, recipe, step)) for step in range(5)]
    assert server.asked == [(step, tuple(e.id for e in some)) for step, some in enumerate(drawn)]  # seed 0: the step


def test_a_run_that_goes_on_begins_with_its_own_step() -> None:
    server = Server()
    begins, _ = ahead(server, generate("count", "train", 6), staleness=1, rollout=SERVER)
    begins.first(3, 3)
    assert [seed for seed, _ in server.asked] == [3, 4]


def test_pictures_that_a_method_distorts_are_asked_for_at_once_too() -> None:
    server = Server()
    objective = {"kind": "noisy-rollout", "group_size": 4}
    begins, _ = ahead(server, generate("count", "train", 6), staleness=1, rollout=SERVER, objective=objective)
    begins.first(0, 0)
    assert [len(prompts) for _, prompts in server.asked] == [4, 4]  # each as it is, and distorted


def test_staleness_without_a_server_is_refused() -> None:
    with pytest.raises(ValidationError, match="staleness: 1 is for a server that writes while the policy learns"):
        Recipe.model_validate({**CONTENT, "staleness": 1})


def test_how_stale_replies_are_is_measured_of_those_that_were_sampled() -> None:
    def judged(stale: int, stop: StopReason = StopReason.EOS) -> Judged:
        return Judged(
            reply=Reply(text="", token_ids=(1,), stop=stop, stale=stale), verdict=Verdict(score=1.0, status=Status.OK)
        )

    example = Example(question="?", images=(), answer=Digit(value="1"))
    group = Group(example, Prompt("a", (1,), None, None), (judged(0), judged(2), judged(0, StopReason.GIVEN)))
    assert of_staleness([group]) == {"reply/stale": 1.0, "reply/stale_max": 2.0}
    assert of_staleness([]) == {}


def test_a_reply_that_is_not_stale_is_written_as_before() -> None:
    assert "stale" not in Reply(text="", token_ids=()).model_dump()
    assert Reply(text="", token_ids=(), stale=1).model_dump()["stale"] == 1
