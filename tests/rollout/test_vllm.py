"""A real vLLM server writes replies, and takes the policy's weights: in an environment that the test makes.

`FIRSTHAND_VLLM=install` makes it (minutes, 3.5 GB), and it is kept; another value names a Python that has vLLM.
"""

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vllm_server import python_with_vllm, vllm_server

from firsthand.errors import ParityError
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import evaluate_folder
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder
from firsthand.recipe import Data, Recipe
from firsthand.records import Score, StopReason, records_in
from firsthand.rollout import Sampling, ServedSampler, grouped, parity
from firsthand.rollout.parity import PARITY, Gap, trainer_logprobs
from firsthand.rollout.served import Follower
from firsthand.teacher import Outage, Served
from firsthand.trainer import train
from firsthand.worlds import SMALL, generate

pytestmark = pytest.mark.slow
BOUND = PARITY[torch.float32]
PROMPTS = 4
SETTINGS = Sampling(max_new_tokens=48)
CONTENT: dict[str, Any] = {
    "name": "served",
    "data": {"worlds": ["count"], "number": 64, "level": "easy"},
    "objective": {"kind": "grpo", "group_size": 4},
    "steps": 20,
    "prompts": 4,
    "sampling": {"max_new_tokens": 96},
    "optimizer": {"lr": 5e-5},
}


@pytest.fixture(scope="module")
def python() -> Path:
    found, why = python_with_vllm()
    if found is None:
        pytest.skip(why)
    return found


@pytest.fixture(scope="module")
def url(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(python, SMALL, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def sampler(url: str, encoder: Encoder, tmp_path: Path) -> Iterator[ServedSampler]:
    with ServedSampler(Served(url=url, weights=str(tmp_path)), encoder) as found:
        found.push(Policy.load(SMALL), "start")  # whatever another test has left there
        yield found


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load(SMALL)


def prompts_of(encoder: Encoder) -> list[Any]:
    return [encoder.prompt(example) for example in generate("count", "test", PROMPTS)]


def gap_of(policy: Policy, prompts: list[Any], replies: list[Any], temperature: float = 1.0) -> Gap:
    groups = [
        PrefixGroup(p, tuple(r.token_ids for r in some), sampled_logprobs=tuple(r.logprobs for r in some))
        for p, some in zip(prompts, replies, strict=True)
    ]
    with torch.no_grad():
        found = policy.logprobs(groups, temperature=temperature)
    assert found.sampled_logp_BT is not None
    return Gap.between(found.logp_BT[found.mask_BT], found.sampled_logp_BT[found.mask_BT])


def nudge(policy: Policy, by: float) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(by * torch.randn(parameter.shape, generator=draw))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_replies_come_with_the_log_probs_that_training_computes(
    sampler: ServedSampler, encoder: Encoder, temperature: float
) -> None:
    prompts, settings = prompts_of(encoder), SETTINGS.model_copy(update={"temperature": temperature})
    replies = grouped(sampler.sample(prompts, 3, settings, seed=5), len(prompts))
    assert [len(some) for some in replies] == [3] * len(prompts)
    assert gap_of(Policy.load(SMALL), prompts, replies, temperature).within(BOUND)
    for reply in (one for some in replies for one in some):
        ended = reply.token_ids[-1] in encoder.stop_ids
        assert reply.stop is (StopReason.EOS if ended else StopReason.LENGTH)
        assert ended or len(reply.token_ids) == settings.max_new_tokens
        assert reply.text == encoder.text(reply.token_ids)


def test_a_reply_is_drawn_by_seed_example_and_number(sampler: ServedSampler, encoder: Encoder) -> None:
    prompts = prompts_of(encoder)
    all_at_once = grouped(sampler.sample(prompts, 4, SETTINGS, seed=7, greedy=True), len(prompts))
    again = grouped(sampler.sample(prompts[1:2], 4, SETTINGS, seed=7), 1)
    assert [r.token_ids for r in again[0]] == [r.token_ids for r in all_at_once[1][1:]]
    assert len({r.token_ids for r in all_at_once[1]}) > 1
    other = grouped(sampler.sample(prompts[1:2], 4, SETTINGS, seed=8), 1)
    assert [r.token_ids for r in other[0]] != [r.token_ids for r in again[0]]


def test_a_push_is_followed_and_a_broken_one_is_caught(
    sampler: ServedSampler, encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy, prompts = Policy.load(SMALL), prompts_of(encoder)
    follower = Follower(sampler, policy, prompts, SETTINGS)
    assert follower.follow("one").within(BOUND)
    nudge(policy, 1e-2)
    assert follower.follow("two").within(BOUND)
    assert gap_of(policy, prompts, grouped(sampler.sample(prompts, 2, SETTINGS), len(prompts))).within(BOUND)
    assert list(tmp_path.iterdir()) == []  # what was pushed is not left lying about

    with monkeypatch.context() as patch:  # a push that arrives and loads nothing
        nudge(policy, 1e-7)
        patch.setattr(ServedSampler, "push", lambda self, policy, version: None)
        with pytest.raises(ParityError, match="to the bit"):
            follower.follow("three")

    whole = Policy.save

    def half(self: Policy, folder: Path) -> None:  # every second tensor is the old one
        whole(self, folder)
        file, old = Path(folder) / "model.safetensors", load_file(SMALL / "model.safetensors")
        mixed = {n: t if i % 2 else old[n].to(t.dtype) for i, (n, t) in enumerate(load_file(file).items())}
        save_file(mixed, file, metadata={"format": "pt"})

    with monkeypatch.context() as patch:
        patch.setattr(Policy, "save", half)
        with pytest.raises(ParityError, match="differ by"):
            follower.follow("four")


def test_a_push_without_all_tensors_is_refused(
    sampler: ServedSampler, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firsthand.rollout import served

    policy, prompts = Policy.load(SMALL), prompts_of(encoder)
    monkeypatch.setattr(served, "stored_tensors", lambda folder: dict(list(read(folder).items())[:-1]))
    with pytest.raises(Outage, match="500"):
        sampler.push(policy, "torn")
    monkeypatch.undo()
    sampler.push(policy, "whole")
    held = [PrefixGroup(p, (encoder.reply("<answer>3</answer>"),)) for p in prompts]
    assert Gap.between(sampler.score(held), trainer_logprobs(policy, held)).within(BOUND)


def read(folder: Path) -> Any:
    from firsthand.policy.stored import stored_tensors

    return stored_tensors(folder)


def test_replies_of_another_push_are_told(sampler: ServedSampler, encoder: Encoder) -> None:
    sampler.expect("mine")
    with pytest.raises(ParityError, match=r"weights of push mine, got one from \['start'\]"):
        list(sampler.sample(prompts_of(encoder), 1, SETTINGS))


def test_replies_under_way_are_kept_and_go_on_with_new_weights(url: str, encoder: Encoder, tmp_path: Path) -> None:
    """Each token's log-prob is that of the weights that the push says: old ones before it, and new ones after it."""
    old, new, prompts = Policy.load(SMALL), Policy.load(SMALL), prompts_of(encoder)
    nudge(new, 1e-2)
    settings = Sampling(max_new_tokens=200, temperature=2.0)  # so warm that few replies end
    with ServedSampler(Served(url=url, weights=str(tmp_path)), encoder, staleness=1) as sampler:
        sampler.push(old, "one")
        written = sampler.sample(prompts, 32, settings)  # of which the server writes 32 at once
        time.sleep(0.2)
        sampler.push(new, "two")
        groups = grouped(written, len(prompts))
        later = grouped(sampler.sample(prompts, 1, settings, seed=1), len(prompts))
    assert all(reply.stale == 0 for group in later for reply in group)
    replies = [(prompt, reply) for prompt, group in zip(prompts, groups, strict=True) for reply in group]
    assert len(replies) == 32 * PROMPTS
    switched = 0
    for prompt, reply in replies:
        assert reply.stop is StopReason.EOS or len(reply.token_ids) == 200  # none was cut by the push
        group = [PrefixGroup(prompt, (reply.token_ids,))]
        with torch.no_grad():
            by = [policy.logprobs(group, temperature=2.0).logp_BT[0].tolist() for policy in (old, new)]
        is_old, is_new = ([abs(a - b) < BOUND.max for a, b in zip(logps, reply.logprobs, strict=True)] for logps in by)
        first = is_old.index(False) if False in is_old else len(is_old)
        assert all(is_new[first:]), "behind the first token of new weights all are"
        switched += 0 < first < len(is_old)
        assert reply.stale == (1 if first else 0)
    assert switched >= 8


def test_replies_are_no_staler_than_the_recipe_says(url: str, tmp_path: Path) -> None:
    rollout = {"url": url, "weights": str(tmp_path)}
    stale = Recipe.model_validate({**CONTENT, "steps": 8, "rollout": rollout, "staleness": 2})
    run = train(stale, tmp_path / "runs")
    steps = [step["metrics"] for step in steps_of(run)]
    assert [step["reply/stale_max"] for step in steps] == [0, 1, 2, 2, 2, 2, 2, 2]
    assert all(step["parity/push"] <= BOUND.max for step in steps)
    rows = [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    assert max(judged["reply"].get("stale", 0) for row in rows for judged in row["group"]) == 2


def test_an_evaluation_by_the_server_is_that_of_this_process(
    url: str, sampler: ServedSampler, encoder: Encoder, tmp_path: Path
) -> None:
    """Whatever weights the server has before: those of another model here."""
    other = Policy.load(SMALL)
    nudge(other, 1e-1)
    sampler.push(other, "other")
    data, drawn = Data(worlds=("count", "chart"), split="test", number=24), {"max_new_tokens": 96, "samples": 2}
    where = {"precision": "float32", "rollout": {"url": url, "weights": str(tmp_path)}}
    served = Protocol.model_validate({**drawn, **where})
    here, there = (
        evaluate_folder(SMALL, data, protocol, tmp_path / "runs") for protocol in (Protocol(**drawn), served)
    )
    assert here != there
    texts = [
        {score.example_id: score.greedy.reply.text for score in records_in(run / "scores.jsonl", Score) if score.greedy}
        for run in (here, there)
    ]
    assert len(texts[0]) == 24 and texts[0] == texts[1]
    table = json.loads((there / "evaluation.json").read_text())
    assert table["protocol"]["rollout"] == "vllm" and url not in (there / "recipe.json").read_text()
    assert Protocol.of_data(table["protocol"]).line().endswith("replies from vllm")


def test_an_evaluation_is_not_begun_where_the_server_computes_otherwise(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.PARITY, torch.float32, Gap(0.0, 0.0))  # nothing is rounding
    served = Protocol.model_validate(
        {"samples": 0, "precision": "float32", "rollout": {"url": url, "weights": str(tmp_path)}}
    )
    with pytest.raises(ParityError, match="in its precision"):
        evaluate_folder(SMALL, Data(worlds=("count",), split="test", number=4), served, tmp_path / "runs")


def test_twenty_steps_of_grpo_are_those_of_the_local_sampler_within_noise(url: str, tmp_path: Path) -> None:
    """The reward curves of three local seeds say what noise is: the served one's mean lies as near as they do."""
    served = Recipe.model_validate({**CONTENT, "rollout": {"url": url, "weights": str(tmp_path)}})
    steps = steps_of(train(served, tmp_path / "runs"))
    assert len(steps) == 20
    for step in steps:
        assert step["metrics"]["parity/push"] <= BOUND.max and step["metrics"]["parity/max_abs"] <= BOUND.max
        assert step["metrics"]["parity/ess"] > 0.999
    local = [
        statistics.fmean(rewards(train(Recipe.model_validate({**CONTENT, "seed": seed}), tmp_path / "runs")))
        for seed in (0, 1, 2)
    ]
    spread = max(local) - min(local)
    mean = statistics.fmean(rewards_of(steps))
    assert min(local) - spread - 0.1 <= mean <= max(local) + spread + 0.1


def steps_of(run: Path) -> list[Any]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def rewards(run: Path) -> list[float]:
    return rewards_of(steps_of(run))


def rewards_of(steps: list[Any]) -> list[float]:
    return [float(step["metrics"]["reward/mean"]) for step in steps]


def test_a_tied_output_layer_follows(python: Path, tmp_path: Path) -> None:
    """Its weights lie in the files once. A server that loads them into the embedding alone answers with an old head."""
    folder = tmp_path / "tied"
    shutil.copytree(SMALL, folder)
    tensors = load_file(folder / "model.safetensors")
    head = next(name for name in tensors if name.startswith("lm_head"))
    save_file({n: t for n, t in tensors.items() if n != head}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    policy, encoder = Policy.load(folder), Encoder.load(folder)
    prompts = prompts_of(encoder)
    with (
        vllm_server(python, folder, tmp_path) as url,
        ServedSampler(Served(url=url, weights=str(tmp_path)), encoder) as sampler,
    ):
        follower = Follower(sampler, policy, prompts, SETTINGS)
        follower.follow("one")
        nudge(policy, 1e-2)
        follower.follow("two")  # raises where the head has stayed behind
