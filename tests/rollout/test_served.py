"""A server that samples, and answers otherwise than vLLM: each answer is one error, and none is trained on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from json_server import serving

from firsthand.errors import FirsthandError, ParityError
from firsthand.policy import PrefixGroup
from firsthand.processor import Encoder
from firsthand.rollout import Sampling, ServedSampler
from firsthand.teacher import Outage, Served
from firsthand.worlds import SMALL, generate

SETTINGS = Sampling(max_new_tokens=8)
ENCODER = Encoder.load(SMALL)
PROMPT = ENCODER.prompt(generate("count", "test", 1)[0])
REPLY = ENCODER.reply("<answer>2</answer>")
Change = Callable[[dict[str, Any]], object]


def choice(index: int) -> dict[str, Any]:
    content = [{"logprob": -0.5, "token": "x"} for _ in REPLY]
    return {"index": index, "token_ids": list(REPLY), "finish_reason": "stop", "logprobs": {"content": content}}


def sampled(body: dict[str, Any]) -> dict[str, Any]:
    """What vLLM answers."""
    asked = body["sampling_params"]
    told = [None, *({str(token): {"logprob": -0.25, "rank": 1}} for token in body["token_ids"][1:])]
    return {
        "prompt_token_ids": list(PROMPT.token_ids) + body["token_ids"][len(PROMPT.short_ids or PROMPT.token_ids) :],
        "choices": [choice(number) for number in range(asked.get("n", 1))],
        "prompt_logprobs": told if "prompt_logprobs" in asked else None,
    }


@contextmanager
def sampler_of(change: Change) -> Iterator[ServedSampler]:
    with (
        serving(lambda body: {} if "init_info" in body else change(sampled(body))) as (url, _),
        ServedSampler(Served(url=url), ENCODER) as sampler,
    ):
        yield sampler


def with_choice(**changed: Any) -> Change:
    def change(good: dict[str, Any]) -> dict[str, Any]:
        return good | {"choices": [*good["choices"][:-1], good["choices"][-1] | changed]}

    return change


def test_replies_are_those_of_the_answer() -> None:
    with sampler_of(lambda good: good | {"choices": good["choices"][::-1], "else": 1}) as sampler:
        replies = list(sampler.sample([PROMPT], 2, SETTINGS))
        assert [(found.number, found.reply.token_ids) for found in replies] == [(0, REPLY), (1, REPLY)]
        assert sampler.score([PrefixGroup(PROMPT, (REPLY,))]).tolist() == [-0.25] * len(REPLY)


STRANGE: dict[str, tuple[Change, type[FirsthandError], str]] = {
    "no JSON": (lambda _: b"<html>", Outage, "expected JSON"),
    "deep JSON": (lambda _: b"[" * 100_000, Outage, "expected JSON"),
    "a list": (lambda _: [1], Outage, "expected replies as token ids"),
    "nothing": (lambda _: {}, Outage, "prompt_token_ids"),
    "no replies": (lambda good: good | {"choices": []}, Outage, "expected 2 replies, got 0"),
    "one reply twice": (lambda good: good | {"choices": [choice(0)] * 2}, Outage, "numbered from 0"),
    "more than asked": (lambda good: good | {"choices": [choice(i) for i in range(3)]}, Outage, "2 replies, got 3"),
    "an empty reply": (with_choice(token_ids=[]), Outage, r"choices\.1\.token_ids"),
    "one that was broken off": (with_choice(finish_reason="abort"), Outage, "finish_reason"),
    "words for tokens": (with_choice(token_ids=["a", "b"]), Outage, "token_ids"),
    "truths for tokens": (with_choice(token_ids=[True] * len(REPLY)), Outage, "token_ids"),
    "tokens below nought": (with_choice(token_ids=[-1] * len(REPLY)), Outage, "token_ids"),
    "tokens that the model has not": (with_choice(token_ids=[604] * len(REPLY)), Outage, "tokens below 604"),
    "too many tokens": (
        with_choice(token_ids=[5] * 9, logprobs={"content": [{"logprob": -1}] * 9}),
        Outage,
        "at most 8 tokens",
    ),
    "too few log-probs": (with_choice(logprobs={"content": [{"logprob": -1}]}), Outage, "with 1 log-probs"),
    "no log-probs": (with_choice(logprobs=None), Outage, "with 0 log-probs"),
    "a probability above 1": (with_choice(logprobs={"content": [{"logprob": 2}] * len(REPLY)}), Outage, "logprob"),
    "tokens that stand for pixels": (
        with_choice(token_ids=[ENCODER.banned_ids[0]] * len(REPLY)),
        ParityError,
        "no image or vision tokens",
    ),
    "another prompt": (lambda good: good | {"prompt_token_ids": [1, 2]}, ParityError, "another tokenizer"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_an_answer_that_is_none_is_one_error(name: str) -> None:
    change, kind, said = STRANGE[name]
    with sampler_of(change) as sampler, pytest.raises(kind, match=said) as caught:
        list(sampler.sample([PROMPT], 2, SETTINGS))
    assert "http://127.0.0.1" in str(caught.value) or PROMPT.example_id in str(caught.value)


def test_an_infinite_log_prob_is_refused() -> None:
    broken = b'{"prompt_token_ids": [], "choices": [{"index": 0, "token_ids": [1], "finish_reason": "stop", '
    broken += b'"logprobs": {"content": [{"logprob": NaN}]}}]}'
    with sampler_of(lambda _: broken) as sampler, pytest.raises(Outage, match="logprob"):
        list(sampler.sample([PROMPT], 1, SETTINGS))


@pytest.mark.parametrize(
    "change",
    [
        lambda good: good | {"prompt_logprobs": None},
        lambda good: good | {"prompt_logprobs": good["prompt_logprobs"][-2:]},
        lambda good: good | {"prompt_logprobs": [None] * 200},
        lambda good: good | {"prompt_logprobs": [{"7": {"logprob": -1.0}}] * 200},
    ],
)
def test_scores_of_other_tokens_are_refused(change: Change) -> None:
    with sampler_of(change) as sampler, pytest.raises(Outage, match=f"prompt's last {len(REPLY)} tokens"):
        sampler.score([PrefixGroup(PROMPT, (REPLY,))])
