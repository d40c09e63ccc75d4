"""Sampling from a vLLM server, which takes the policy's weights before every step; see docs/scale.md.

The server is sent token ids and pictures, each prompt once for all its replies, and sends back token ids and the
log-probs that they were sampled with. vLLM is not needed in this process: `vllm_server.py` runs where it is.
"""

import json
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self, final

import torch

from firsthand.errors import ParityError, RecipeError, excerpt
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.stored import stored_tensors
from firsthand.processor import Encoder, Prompt
from firsthand.records import Reply, StopReason, content_id
from firsthand.rollout.local import first_replies
from firsthand.rollout.parity import PARITY, Gap, Watch, trainer_logprobs
from firsthand.rollout.sampler import IndexedReply, Sampling, grouped
from firsthand.rollout.vllm_answer import Generated, SampledChoice, read_generated
from firsthand.teacher import Outage, Served
from firsthand.teacher.completion import Garbled, read_json
from firsthand.teacher.endpoint import data_url, key_in, key_sent
from firsthand.teacher.http import NoResponse, Transport

SERVER = Path(__file__).with_name("vllm_server.py")
"""What starts a server that takes weights; it runs without firsthand."""
MODEL = "policy"
"""The name under which `vllm_server.py` has the model."""
NEVER = -1e9
"""Added to a banned token's logit: its probability is 0 in float32."""
_LONGEST = 1 << 28
"""Bytes of an answer (ours): a hundred for each token, of many long replies."""
FLOOR = -9000.0
"""vLLM writes -9999 for a log-prob that is none."""
HELD_OUT, HELD_OUT_TOKENS = 4, 32
"""Questions, and tokens of a reply to each, that are compared after every push (ours)."""


class _Job(NamedTuple):
    """One request: n replies to a prompt, of which the first has a number."""

    prompt: int
    first: int
    sampling: dict[str, Any]
    copies: int = 1
    """Greedy replies are equal: one is asked for, and stands for so many."""


_Answered = Future[Generated]
_Waiting = SimpleQueue[tuple[_Job, _Answered]]


@final
class ServedSampler:
    """A `Sampler` behind a vLLM server. Use as a context manager."""

    def __init__(self, settings: Served, encoder: Encoder, staleness: int = 0) -> None:
        """Replies may come from so many pushes before the last. Raises RecipeError where the key is not set."""
        self._settings, self._encoder = settings, encoder
        self._transport = Transport(key_in(settings.key_env, settings.url))
        self._is_busy = staleness > 0
        self._pushed: deque[str] = deque(maxlen=staleness + 1)
        """Versions of the weights that replies may come from, the newest last; empty: of any."""

    def __enter__(self) -> Self:
        """Raises Outage where nobody answers, and RecipeError where it is not such a server."""
        self._transport.__enter__()
        try:
            self._call("/init_weight_transfer_engine", {"init_info": {}})
        except BaseException:
            self._transport.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.__exit__()

    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """As `Sampler.sample` says, but that all replies to a prompt come at once, and are written from now on.

        A reply's seed is a function of (seed, example, i); its tokens, of what vLLM computes beside it, too, as far as
        its kernels round by the batch.
        Raises Outage where the server fails, ParityError where it reads other prompts or has other weights.
        """
        waiting: _Waiting = SimpleQueue()
        pending = []
        for job in self._jobs(prompts, n, settings, seed, greedy=greedy):
            future = self._transport.submit(self._generate(prompts[job.prompt], job.sampling))
            pending.append(future)
            future.add_done_callback(lambda done, job=job: waiting.put((job, done)))  # type: ignore[misc]
        return self._written(prompts, pending, waiting)

    def _written(
        self, prompts: Sequence[Prompt], pending: Sequence[_Answered], waiting: _Waiting
    ) -> Iterator[IndexedReply]:
        try:
            for _ in pending:
                job, done = waiting.get()
                replies = self._replies(done.result(), prompts[job.prompt], job.sampling)
                for number, reply in enumerate(replies * job.copies, start=job.first):
                    yield IndexedReply(job.prompt, number, reply)
        finally:
            for future in pending:
                future.cancel()

    def _jobs(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, seed: int, *, greedy: bool
    ) -> Iterator[_Job]:
        for i, (prompt, first) in enumerate(zip(prompts, first_replies(prompts, n), strict=True)):
            if greedy:
                yield _Job(i, 0, self._sampling(settings, n=1, temperature=0.0))
            if n and settings.temperature == 0:
                yield _Job(i, int(greedy), self._sampling(settings, n=1, temperature=0.0), copies=n)
            elif n:
                # vLLM adds a reply's number to the seed.
                own = int(content_id(seed, prompt.example_id), 16) % 2**62 + first
                yield _Job(i, int(greedy), self._sampling(settings, n=n, temperature=settings.temperature, seed=own))

    def _sampling(self, settings: Sampling, **more: Any) -> dict[str, Any]:
        return {
            "max_tokens": settings.max_new_tokens,
            "stop_token_ids": list(self._encoder.stop_ids),
            "logit_bias": {str(token): NEVER for token in self._encoder.banned_ids},
            "logprobs": 0,
            **more,
        }

    async def _generate(self, prompt: Prompt, sampling: dict[str, Any], behind: Sequence[int] = ()) -> Generated:
        """What vLLM answers to a prompt with some tokens behind it. Raises ParityError where it reads another one, and
        Outage for what is no answer."""
        # Pictures are encoded here, while other requests are under way.
        pictures = [{"type": "image_url", "url": data_url(p), "uuid": p.sha256} for p in prompt.images]
        body = {
            "model": MODEL,
            "token_ids": [*(prompt.short_ids or prompt.token_ids), *behind],
            "content_parts": pictures or None,
            "sampling_params": {"detokenize": False, **sampling},
            "return_token_ids": True,
        }
        raw = await self._post("/inference/v1/generate", body)
        try:
            found = read_generated(raw)
        except Garbled as error:
            raise self._strange(prompt, error) from error
        expected, got = [*prompt.token_ids, *behind], found.prompt_token_ids
        if got != expected:
            raise ParityError(
                f"example {prompt.example_id}: expected the server to read the prompt's {len(expected)} tokens, got "
                f"{len(got)}, or others: it has another tokenizer or other picture settings; serve the folder that is "
                "trained"
            )
        return found

    def _replies(self, found: Generated, prompt: Prompt, sampling: Mapping[str, Any]) -> list[Reply]:
        try:
            choices = found.replies(sampling["n"], sampling["max_tokens"], self._encoder.vocabulary_size)
        except Garbled as error:
            raise self._strange(prompt, error) from error
        return [self._reply(choice, prompt) for choice in choices]

    def _reply(self, choice: SampledChoice, prompt: Prompt) -> Reply:
        token_ids = tuple(choice.token_ids)
        where = f"{self._settings.url}, example {prompt.example_id}"
        if said := set(token_ids).intersection(self._encoder.banned_ids):
            raise ParityError(f"{where}: expected no image or vision tokens in a reply, got {sorted(said)}")
        return Reply(
            text=self._encoder.text(token_ids),
            token_ids=token_ids,
            logprobs=tuple(logp if logp > FLOOR else float("-inf") for logp in choice.logps),
            stop=StopReason.EOS if token_ids[-1] in self._encoder.stop_ids else StopReason.LENGTH,
            stale=self._age(choice, where),
        )

    def _strange(self, prompt: Prompt, error: Garbled) -> Outage:
        return Outage(
            f"{self._settings.url}, example {prompt.example_id}: {error}; look at the server's log and its version "
            "(docs/scale.md), and start again: the run goes on where it is"
        )

    def _age(self, choice: SampledChoice, where: str) -> int:
        """How many pushes ago the oldest weights came that wrote a token. Raises ParityError for weights of others."""
        if not self._pushed:
            return 0
        versions = {span.version for span in choice.weight_versions or ()}
        if not versions or not versions.issubset(self._pushed):
            raise ParityError(
                f"{where}: expected a reply from the weights of push {' or '.join(self._pushed)}, got one from "
                f"{sorted(versions)}: somebody else pushes to this server, or several servers answer under one address"
            )
        return len(self._pushed) - 1 - min(self._pushed.index(version) for version in versions)

    @property
    def has_weights(self) -> bool:
        """Whether it was pushed some, or knows of it."""
        return bool(self._pushed)

    def expect(self, version: str) -> None:
        """Replies are from this push from now on, or from one that may be stale."""
        if version not in self._pushed:
            self._pushed.append(version)

    def score(self, groups: Sequence[PrefixGroup]) -> torch.Tensor:
        """Log-probs [K] of the reply tokens of groups of one reply each: at temperature 1, nothing banned."""
        asked = []
        for group in groups:
            [reply] = group.replies
            sampling = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
            asked.append(self._transport.submit(self._generate(group.prompt, sampling, reply)))
        logps: list[float] = []
        for group, future in zip(groups, asked, strict=True):
            [reply] = group.replies
            try:
                logps += future.result().scores(reply)
            except Garbled as error:
                raise self._strange(group.prompt, error) from error
        return torch.tensor(logps)

    def push(self, policy: Policy, version: str) -> None:
        """Give the server the policy's weights, in vLLM's four phases, and have it forget what it computed with others.

        Replies that may be stale are kept where they are, and go on with the new weights. Divided weights have to be
        whole. Raises Outage where the server does not take them.
        """
        draft = Path(self._settings.weights) / f"firsthand-{os.getpid()}-{version}"
        try:
            policy.save(draft)
            files: dict[Path, list[str]] = {}
            for name, stored in stored_tensors(draft).items():
                files.setdefault(stored.file, []).append(name)
            self._call(f"/pause?mode={'keep' if self._is_busy else 'wait'}")
            self._call("/start_weight_update")
            for file, names in files.items():
                self._call("/update_weights", {"update_info": {"file": str(file), "names": names}})
            self._call("/finish_weight_update", {"weight_version": version})
            for cache in ("prefix", "mm", "encoder"):
                told = self._call(f"/reset_{cache}_cache")
                if isinstance(told, dict) and told.get("success") is False:
                    raise Outage(f"{self._settings.url}: its {cache} cache could not be emptied; restart the server")
            self._call("/resume")
        except OSError as error:
            raise RecipeError(
                f"rollout.weights: expected a folder with room for the model's weights, got: {error}; name another, "
                "which the server sees, too"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self.expect(version)

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        raw = self._transport.submit(self._post(path, body)).result()
        try:
            return read_json(raw) if raw.strip() else None
        except Garbled as error:
            raise Outage(f"{self._settings.url}{path}: {error}; look at the server's log") from error

    async def _post(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        url = f"{self._settings.url}{path}"
        data = b"" if body is None else json.dumps(body).encode()
        try:
            status, _, raw = await self._transport.post(url, data, self._settings.timeout_s, _LONGEST)
        except NoResponse as error:
            raise Outage(f"{url}: no answer ({error}). Start the server with: {started()}") from error
        if status in (401, 403):
            raise RecipeError(
                f"{url} answered {status}: {excerpt(raw)}; it was given {key_sent(self._settings.key_env)}"
            )
        if status in (404, 405):
            raise RecipeError(f"{url} answered {status}; it is no server for rollouts: start it with: {started()}")
        if status != 200:
            raise Outage(
                f"{url} answered {status}: {excerpt(raw)}. Look at the server's log; the run goes on where it is"
            )
        return raw


@final
class Follower:
    """Keeps a server's weights those of a policy in training, and looks after every push whether they are."""

    def __init__(self, sampler: ServedSampler, policy: Policy, prompts: Sequence[Prompt], settings: Sampling) -> None:
        """`prompts` are those whose tokens are compared; the replies to them are drawn once, and not trained on."""
        self._sampler, self._policy, self._prompts = sampler, policy, prompts[:HELD_OUT]
        most = min(HELD_OUT_TOKENS, settings.max_new_tokens)
        self._settings = settings.model_copy(update={"max_new_tokens": most})
        self._held: list[PrefixGroup] = []
        self._watch = Watch(PARITY[policy.model.dtype])

    def follow(self, version: str) -> Gap:
        """Push the policy's weights, whole ones; how far held-out tokens are apart then. Raises ParityError, Outage."""
        self._sampler.push(self._policy, version)
        if not self._held:
            drawn = grouped(self._sampler.sample(self._prompts, 1, self._settings), len(self._prompts))
            self._held = [PrefixGroup(p, (r.token_ids,)) for p, (r,) in zip(self._prompts, drawn, strict=True)]
        return self._watch.check(self._sampler.score(self._held), trainer_logprobs(self._policy, self._held))


def started(model: str = "FOLDER") -> str:
    """The command that starts a server that takes weights."""
    return f"PYTHON-WITH-VLLM {SERVER} --model {model}"
