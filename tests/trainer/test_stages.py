"""What a step is trained on: groups with variance, demonstrations beside sampled replies; what is refused at load."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from scripted import ScriptedSampler

from firsthand.data.loaded import of_examples
from firsthand.errors import DataError, RecipeError
from firsthand.objective import group_advantage
from firsthand.processor import Encoder, Prompt
from firsthand.recipe import Recipe
from firsthand.records import Agreement, Box, Digit, Example, Judged, Picture, Reply, Status, StopReason, Trace, Verdict
from firsthand.reward import Reward, Router
from firsthand.rollout import IndexedReply
from firsthand.trainer.batch import Batch, Group
from firsthand.trainer.check import check_rows, guessable
from firsthand.trainer.metrics import of_batch
from firsthand.trainer.sample import RESAMPLES, draws, sample
from firsthand.trainer.score import score
from firsthand.trainer.select import check_variance, in_batch_units, select
from firsthand.worlds import SMALL, generate

RIGHT, WRONG = "<think>so</think><answer>7</answer>", "<answer>8</answer>"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(SMALL)


def example(name: str, trace: str | None = RIGHT) -> Example:
    traces = () if trace is None else (Trace(style="plain", text=trace),)
    return Example(
        id=name, question=f"How many are there in {name}?", images=(), answer=Digit(value="7"), traces=traces
    )


def recipe(kind: str = "grpo", prompts: int = 2, **fields: Any) -> Recipe:
    objective = {"kind": kind, **fields.pop("objective", {})}
    return Recipe.model_validate(
        {"name": "a", "data": {"worlds": ["count"]}, "objective": objective, "prompts": prompts, **fields}
    )


def batch_of(
    wanted: Recipe,
    names: str,
    encoder: Encoder,
    router: Router,
    script: Callable[[Prompt, int], str],
    step: int = 0,
) -> Batch:
    """A step's batch of the examples named by letters."""
    examples = [example(name) for name in names]
    batch = Batch()
    for drawn in draws(examples, wanted, step):
        samples = sample(drawn, wanted, encoder, ScriptedSampler(encoder, script), step)
        batch = select(batch, score(samples, wanted, router), wanted)
        if len(batch.groups) == wanted.prompts:
            break
    check_variance(batch, wanted, len(examples), step)
    return batch


def ids(batch: Batch) -> list[str]:
    return [group.example.id for group in batch.groups]


def only(batch: Batch) -> Group:
    (group,) = batch.groups
    return group


def by_case(prompt: Prompt, i: int) -> str:
    """Every other reply is right where the example's letter is a capital; elsewhere all are wrong."""
    return RIGHT if prompt.example_id.isupper() and i % 2 else WRONG


# ---- groups of zero variance


def test_zero_variance_groups_are_kept_unless_the_recipe_says_otherwise(encoder: Encoder, router: Router) -> None:
    batch = batch_of(recipe(prompts=4), "Abcd", encoder, router, by_case)
    assert sorted(ids(batch)) == ["A", "b", "c", "d"]
    metrics = of_batch(batch, 4)
    assert (metrics["groups/zero_variance"], metrics["groups/kept"]) == (0.75, 1.0)


def test_filter_leaves_zero_variance_groups_out_of_the_batch(encoder: Encoder, router: Router) -> None:
    wanted = recipe(prompts=4, objective={"zero_variance": "filter"})
    batch = batch_of(wanted, "Abcd", encoder, router, by_case)
    assert ids(batch) == ["A"]
    assert of_batch(batch, 4)["groups/kept"] == 0.25
    assert batch_of(wanted, "abcd", encoder, router, by_case).groups == ()
    assert of_batch(Batch(), 4) == {"groups/kept": 0.0}


def test_a_group_of_wrong_replies_is_left_out_whatever_their_lengths(encoder: Encoder, router: Router) -> None:
    """DAPO keeps a group where 0 < right replies < G (eq. 11): its penalty for length is no reason to."""

    def long_once(prompt: Prompt, i: int) -> str:
        return "<think>" + "and so on " * 40 if i == 3 else WRONG

    settings = {"reward": {"overlong": 0.2}, "sampling": {"max_new_tokens": 24}}
    wanted = recipe(prompts=1, objective={"group_size": 4, "zero_variance": "filter"}, **settings)
    assert batch_of(wanted, "a", encoder, router, long_once).groups == ()
    kept = recipe(prompts=1, objective={"group_size": 4}, **settings)
    group = only(batch_of(kept, "a", encoder, router, long_once))
    assert not group.has_zero_variance and group.scores_agree


def test_resample_draws_other_prompts_until_the_batch_is_full(encoder: Encoder, router: Router) -> None:
    wanted = recipe(prompts=3, objective={"zero_variance": "resample"})
    for step in range(3):
        batch = batch_of(wanted, "ABCdefghijkl", encoder, router, by_case, step)
        assert sorted(ids(batch)) == ["A", "B", "C"]
    again = batch_of(wanted, "ABCdefghijkl", encoder, router, by_case, 2)  # a function of the step
    assert [g.replies for g in again.groups] == [g.replies for g in batch.groups] and ids(again) == ids(batch)


def test_resample_keeps_no_more_than_the_recipe_wants(encoder: Encoder, router: Router) -> None:
    wanted = recipe(prompts=3, objective={"zero_variance": "resample"})
    for step in range(3):  # together the steps draw every example, also the one without
        batch = batch_of(wanted, "aBCDEFGHI", encoder, router, by_case, step)
        assert len(batch.groups) == 3 and not any(g.has_zero_variance for g in batch.groups)


def test_groups_that_are_left_out_are_kept_with_the_reason(encoder: Encoder, router: Router) -> None:
    batch = batch_of(recipe(prompts=2, objective={"zero_variance": "filter"}), "Ab", encoder, router, by_case)
    assert [(left.group.example.id, left.why) for left in batch.left_out] == [
        ("b", "zero variance: all replies that count score 0")
    ]
    wanted = recipe(prompts=2, objective={"zero_variance": "resample"})
    batches = [batch_of(wanted, "aBCDE", encoder, router, by_case, step) for step in range(3)]  # one of them draws `a`
    assert all(len(batch.sampled) == len(batch.groups) + len(batch.left_out) for batch in batches)
    told = {left.group.example.id: left.why for batch in batches for left in batch.left_out}
    assert told.pop("a").startswith("zero variance")
    assert set(told.values()) == {"surplus: the step has its groups already"}


def test_resample_goes_on_with_what_there_is(encoder: Encoder, router: Router) -> None:
    batch = batch_of(recipe(prompts=3, objective={"zero_variance": "resample"}), "Abcdef", encoder, router, by_case)
    assert ids(batch) == ["A"]


def test_resample_asks_no_prompt_twice_and_stops_at_its_cap(encoder: Encoder, router: Router) -> None:
    asked: list[str] = []

    def all_wrong(prompt: Prompt, i: int) -> str:
        asked.append(prompt.example_id)
        return WRONG

    wanted = recipe(prompts=1, objective={"zero_variance": "resample", "group_size": 2})
    with pytest.raises(RecipeError, match=r"step 0: expected at least one group .* got none from 9 prompts of 26"):
        batch_of(wanted, "abcdefghijklmnopqrstuvwxyz", encoder, router, all_wrong)
    assert len(asked) == 2 * (1 + RESAMPLES) and len(set(asked)) == 1 + RESAMPLES


def test_a_data_set_without_signal_stops_when_all_of_it_was_asked(encoder: Encoder, router: Router) -> None:
    with pytest.raises(RecipeError, match=r"got none from 3 prompts of 3; the data is too hard or too easy"):
        batch_of(recipe(prompts=2, objective={"zero_variance": "resample"}), "abc", encoder, router, by_case)


# ---- demonstrations in the group


def test_a_demonstration_is_the_last_of_its_group_and_judged_like_the_others(encoder: Encoder, router: Router) -> None:
    group = only(batch_of(recipe("luffy", 1, objective={"group_size": 3}), "a", encoder, router, by_case))
    assert [j.reply.is_demo for j in group.replies] == [False, False, False, True]
    demo = group.replies[-1]
    assert (demo.reply.text, demo.verdict.score, demo.reply.stop) == (RIGHT, 1.0, StopReason.GIVEN)
    # Mean over the mixed group, without its deviation.
    assert [j.advantage for j in group.replies] == pytest.approx([-0.25, -0.25, -0.25, 0.75])


def test_a_demonstration_may_stand_outside_the_baseline(encoder: Encoder, router: Router) -> None:
    chord = recipe("chord", 1, objective={"group_size": 2, "scale": "none"})
    group = only(batch_of(chord, "A", encoder, router, by_case))
    assert [j.advantage for j in group.replies] == [-0.5, 0.5, 0.5]


@pytest.mark.parametrize(("right", "advantage"), [(1, 2 / 3), (0, 1.0), (3, 0.0)])
def test_outside_the_baseline_a_demonstration_earns_what_it_has_over_it(
    right: int, advantage: float, encoder: Encoder, router: Router
) -> None:
    wanted = recipe("luffy", 1, objective={"group_size": 3, "baseline": "sampled"})
    group = only(batch_of(wanted, "a", encoder, router, lambda prompt, i: RIGHT if i < right else WRONG))
    assert group.replies[-1].advantage == pytest.approx(advantage)
    assert sum(j.advantage or 0.0 for j in group.replies[:-1]) == pytest.approx(0.0)


def test_metrics_speak_of_sampled_replies_alone(encoder: Encoder, router: Router) -> None:
    batch = batch_of(recipe("srft", 1, objective={"group_size": 2}), "a", encoder, router, by_case)
    metrics = of_batch(batch, 1)
    assert metrics["score/mean"] == 0.0
    assert metrics["reply/tokens"] == len(encoder.reply(WRONG))


def test_a_step_on_worlds_says_how_often_steps_and_answer_part(encoder: Encoder, router: Router) -> None:
    script = [
        "<think>3 + 5 = 8</think><answer>8</answer>",
        "<think>3 + 5 = 8</think><answer>9</answer>",
        "<think>3 + 5 = 8, 8 + 1 = 9</think><answer>8</answer>",
        "<answer>8</answer>",
    ]
    wanted = recipe("luffy", 1, objective={"group_size": 4, "style": "plain"})
    samples = sample(
        generate("digits", "train", 1), wanted, encoder, ScriptedSampler(encoder, lambda _, i: script[i]), 0
    )
    batch = score(samples, wanted, router)
    metrics = of_batch(batch, 1)
    assert [metrics[f"steps/{state}"] for state in ("agrees", "disagrees", "unread")] == [0.25, 0.5, 0.25]
    assert batch.groups[0].replies[-1].verdict.agreement is Agreement.AGREES  # the demonstration, which is not counted
    user = of_batch(batch_of(recipe(prompts=1), "A", encoder, router, by_case), 1)
    assert not [name for name in user if name.startswith("steps/")]


def test_score_and_trained_reward_are_logged_apart(encoder: Encoder, router: Router) -> None:
    with_format = recipe("grpo", 1, objective={"group_size": 2}, reward={"format": 1.0})
    batch = batch_of(with_format, "A", encoder, router, by_case)
    metrics = of_batch(batch, 1)
    assert (metrics["score/mean"], metrics["score/std"]) == (0.5, pytest.approx(0.5**0.5))
    rewards = [j.reward for j in only(batch).replies]
    assert metrics["reward/mean"] == pytest.approx(sum(rewards) / 2) == 1.0
    assert metrics["reward/mean"] != metrics["score/mean"]


def test_the_share_of_replies_whose_boxes_leave_their_picture_is_measured(encoder: Encoder, router: Router) -> None:
    truth = Box(xyxy=(64, 48, 320, 240), size=(640, 480))
    boxes = ("[64, 48, 320, 240]", "[0, 0, 900, 833]", "?")
    verdicts = [router.judge(f"<answer>{box}</answer>", truth) for box in boxes]
    judged = tuple(Judged(reply=Reply(text="", token_ids=(1,)), verdict=verdict) for verdict in verdicts)
    group = only(batch_of(recipe("grpo", 1), "A", encoder, router, by_case))
    metrics = of_batch(Batch((replace(group, replies=judged),)), 1)
    assert metrics["boxes/outside"] == 0.5  # of two boxes that were read
    assert "boxes/outside" not in of_batch(batch_of(recipe("grpo", 1), "A", encoder, router, by_case), 1)


def test_a_demonstration_that_its_verifier_rejects_is_refused_at_load(router: Router) -> None:
    loaded = of_examples("mine", [example("a"), example("b", WRONG), example("c", "no answer")])
    found = check_rows(recipe("srft"), loaded, router, None)
    assert [e.id for e in found.settled("drop")] == ["a"]
    with pytest.raises(DataError, match="2 of 3 rows cannot be used") as told:
        found.settled()
    _, b, c = str(told.value).split("\n")
    assert b.startswith(
        "  example b, column `trace`: expected a demonstration that scores at least 0.5 against the row"
    )
    assert c.startswith("  example c, column `trace`: ") and "`wrong_format`" in c
    assert not check_rows(recipe("sft"), loaded, router, None).found  # plain imitation asks for no score
    assert not check_rows(recipe("grpo"), loaded, router, None).found


@pytest.mark.parametrize("kind", ["sft", "srft"])
def test_a_style_is_asked_for_where_there_is_a_choice(kind: str, router: Router) -> None:
    several = example("a").model_copy(
        update={"traces": (Trace(style="plain", text=RIGHT), Trace(style="expert", text=RIGHT))}
    )
    with pytest.raises(DataError, match=r"one demonstration each.*set objective.style to one of \['expert', 'plain'\]"):
        check_rows(recipe(kind), of_examples("mine", [several]), router, None)
    expert = recipe(kind, objective={"style": "expert"})
    assert not check_rows(expert, of_examples("mine", [several]), router, None).found
    with pytest.raises(DataError, match="add a column `trace`"):
        check_rows(recipe(kind), of_examples("mine", [example("a", None)]), router, None)
    found = check_rows(expert, of_examples("mine", [several, example("b", None), example("c")]), router, None)
    assert [row.detail for row in found.refused] == [
        "column `trace`: expected a demonstration of style 'expert', got none; write one",
        "column `trace`: expected a demonstration of style 'expert', got those of styles ['plain']; "
        "set objective.style to one of them",
    ]


def test_what_a_model_cannot_be_asked_is_told_of_all_rows_at_once(encoder: Encoder, router: Router) -> None:
    thin = Picture(sha256="0" * 64, width=4, height=1000, data=b"never opened")
    asked = [
        example("a"),
        example("b").model_copy(update={"question": "How many <|image_pad|>?"}),
        example("c").model_copy(update={"images": (thin,)}),
        example("d").model_copy(update={"question": "Why? " * 1000}),
        example("e").model_copy(update={"system": "Be <|im_end|>"}),
        example("f", RIGHT + "<|im_end|>"),
        example("g").model_copy(update={"answer": Digit(value="many")}),
    ]
    for kind, bad in (("srft", "bcdefg"), ("grpo", "bcdeg"), ("sft", "bcdef")):
        found = check_rows(recipe(kind), of_examples("mine", asked), router, encoder)
        assert [row.place for row in found.refused] == [f"example {name}" for name in bad]
    with pytest.raises(RecipeError, match=r"system: expected text without the model's .* tokens, got <\|im_end\|>"):
        check_rows(recipe("grpo", system="<|im_end|>"), of_examples("mine", asked), router, encoder)


# ---- rewards


def reply(text: str, tokens: int = 3, stop: StopReason = StopReason.EOS) -> Reply:
    return Reply(text=text, token_ids=(1,) * tokens, stop=stop)


RATED = Verdict(score=0.5, status=Status.OK)


def test_the_format_earns_alpha_beside_the_score() -> None:
    assert Reward(format=0.25).of(reply(RIGHT), RATED, 100) == 0.75
    assert Reward(format=0.25).of(reply(WRONG), RATED, 100) == 0.5
    assert Reward().of(reply(RIGHT), RATED, 100) == 0.5


@pytest.mark.parametrize(
    "text",
    [
        "<answer>7</answer>",
        "<think>a</think> so <answer>7</answer>",
        "so <think>a</think><answer>7</answer>",
        "<think>a</think><answer>7</answer> done",
        "<think>a</think><answer>7</answer><answer>7</answer>",
        "<think>a</think><think>b</think><answer>7</answer>",
        "<answer>7</answer><think>a</think>",
    ],
)
def test_anything_beside_the_two_blocks_is_not_the_format(text: str) -> None:
    assert Reward(format=1.0).of(reply(text), RATED, 100) == 0.5


@pytest.mark.parametrize(("tokens", "penalty"), [(1, 0.0), (80, 0.0), (90, 0.25), (100, 0.5)])
def test_a_long_reply_is_punished_softly(tokens: int, penalty: float) -> None:
    assert Reward(overlong=0.2).of(reply(WRONG, tokens), RATED, 100) == pytest.approx(0.5 - penalty)
    assert Reward().of(reply(WRONG, tokens), RATED, 100) == 0.5


def test_a_long_reply_is_punished_by_as_much_of_the_rewards_range_as_in_dapo() -> None:
    """Right, right, right at the limit, wrong: DAPO has 1, 1, 1 - 1 and -1."""
    paper = group_advantage([1.0, 1.0, 0.0, -1.0], scale="std")
    replies = [(1.0, 3), (1.0, 3), (1.0, 100), (0.0, 3)]
    rewards = [Reward(overlong=0.2).of(reply(RIGHT, n), Verdict(score=s, status=Status.OK), 100) for s, n in replies]
    found = group_advantage(rewards, scale="std")
    assert found == pytest.approx(paper, rel=2e-4)  # 1e-4 is added to the deviation, in either scale
    assert found == pytest.approx([0.783, 0.783, -0.261, -1.305], abs=1e-3)


def test_a_demonstration_is_never_too_long() -> None:
    assert Reward(overlong=0.2).of(reply(RIGHT, 100, StopReason.GIVEN), RATED, 100) == 0.5


def test_a_cut_reply_may_be_masked_and_an_unmeasured_one_always_is() -> None:
    cut = reply(WRONG, stop=StopReason.LENGTH)
    assert Reward().of(cut, RATED, 100) == 0.5
    assert Reward(truncated="mask").of(cut, RATED, 100) is None
    assert Reward(truncated="mask").of(reply(WRONG), RATED, 100) == 0.5
    assert Reward(format=1.0).of(reply(RIGHT), Verdict(score=None, status=Status.FAILED), 100) is None


def test_a_masked_reply_is_neither_in_the_group_nor_in_the_loss(encoder: Encoder, router: Router) -> None:
    def long(prompt: Prompt, i: int) -> str:
        return RIGHT if i else "<think>" + "and so on " * 40

    wanted = recipe(
        prompts=1, objective={"group_size": 3}, reward={"truncated": "mask"}, sampling={"max_new_tokens": 24}
    )
    group = only(batch_of(wanted, "a", encoder, router, long))
    assert [j.reward for j in group.replies] == [None, 1.0, 1.0]
    assert group.has_zero_variance and len(group.trainable) == 2


# ---- judging while sampling


def test_a_reply_is_judged_while_the_others_are_still_being_written(encoder: Encoder) -> None:
    judged = threading.Event()

    class Watched(Router):
        def submit(self, reply: str, gold: Any) -> Future[Verdict]:
            future = super().submit(reply, gold)
            future.add_done_callback(lambda _: judged.set())
            return future

    class Patient(ScriptedSampler):
        """Writes its second reply only when there is a verdict on the first."""

        def sample(self, *how: Any, **settings: Any) -> Iterator[IndexedReply]:
            for indexed in super().sample(*how, **settings):
                yield indexed
                assert judged.wait(timeout=60), "the first reply waits for the last"

    wanted = recipe(prompts=1)
    with Watched() as router:
        sampler = Patient(encoder, lambda prompt, i: RIGHT if i else WRONG)
        batch = score(sample([example("a")], wanted, encoder, sampler, 0), wanted, router)
    group, timing = only(batch), batch.timing
    assert [j.verdict.score for j in group.replies] == [0.0, *[1.0] * 7]
    assert 0 <= timing["judged_from"] < timing["rollout"] <= timing["judged_until"] + timing["rollout"]


def test_a_batch_scales_its_advantages_by_their_deviation(encoder: Encoder, router: Router) -> None:
    """Rewards 0, 1 and 0, 0: centred -1/2, 1/2, 0, 0, whose deviation (n - 1) is the root of 1/6."""
    wanted = recipe(objective={"group_size": 2, "scale": "batch"})
    batch = batch_of(wanted, "Ab", encoder, router, by_case)
    unit = math.sqrt(1 / 6) + 1e-4
    for groups, scale in ((batch.groups, 1.0), (in_batch_units(batch, wanted).groups, unit)):
        found = {group.example.id: [j.advantage for j in group.replies] for group in groups}
        assert found["b"] == [0.0, 0.0]
        assert found["A"] == pytest.approx([-0.5 / scale, 0.5 / scale])
    assert in_batch_units(batch, recipe()) is batch


def test_questions_that_one_guess_answers_are_warned_of() -> None:
    def asked(family: str, answers: list[str]) -> list[Example]:
        return [
            Example(
                id=f"{family} {i}",
                family=family,
                question="?",
                images=(),
                answer=Digit(value=answers[i % len(answers)]),
            )
            for i in range(100)
        ]

    letters, sums = asked("letters", ["1", "1", "1", "2"]), asked("sums", ["1", "2", "3", "1"])
    [line] = guessable([*letters, *sums])
    assert line.startswith("letters: 75% of the 100 questions have the answer '1'")
    assert not guessable(letters[:49]) and not guessable(sums) and not guessable([])
