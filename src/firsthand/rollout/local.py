"""Sampling from the policy in this process: every prompt is run once, all its replies are written side by side.

Shape letters: B rows (replies), A rows that are still in the decoder, V vocabulary, T tokens.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firsthand.errors import RecipeError
from firsthand.policy import Limits, Policy
from firsthand.policy.decoding import Decoder, PlainDecoder
from firsthand.policy.head import Head
from firsthand.policy.memory import is_out_of_memory, release
from firsthand.processor import Encoder, Prompt
from firsthand.records import Reply, StopReason, content_id
from firsthand.rollout.sampler import IndexedReply, Sampling

_LOG = logging.getLogger(__name__)
MAX_ROWS = 256
"""Replies that are written at once."""
RETIRE = 1 / 8
"""Finished rows leave the decoder once they are this share of it; leaving costs a copy of the rest (measured, ours)."""
CPU_BLOCK = 2**18
"""Log-probs that a CPU has at once while it draws tokens, 1 MiB: they stay in its cache, and in memory it has. At 64
rows of 49,152 numbers each pass over all of them is mostly page faults (3.5 times as long, measured, ours)."""


class _Draw(NamedTuple):
    """What all replies of one call have in common."""

    settings: Sampling
    seed: int
    greedy: bool
    """Whether number 0 of each prompt is its likeliest reply."""
    first: Sequence[int]
    """Each prompt's first reply, as its name has it."""


class _Part(NamedTuple):
    """What is written at once: the replies of these numbers to these prompts."""

    prompts: Sequence[int]
    numbers: range

    @property
    def rows(self) -> int:
        return len(self.prompts) * len(self.numbers)

    def halves(self) -> list["_Part"]:
        """The same in two; a prompt's replies stay together where there are others."""
        if len(self.prompts) > 1:
            half = len(self.prompts) // 2
            return [_Part(self.prompts[:half], self.numbers), _Part(self.prompts[half:], self.numbers)]
        half = len(self.numbers) // 2
        return [_Part(self.prompts, self.numbers[:half]), _Part(self.prompts, self.numbers[half:])]


class LocalSampler:
    """Samples from a policy that lives in this process, with the log-probs that training computes."""

    def __init__(self, policy: Policy, encoder: Encoder, *, limits: Limits | None = None) -> None:
        """`limits` says how much is written at once, and is told when that is too much."""
        self._policy = policy
        self._encoder = encoder
        self._limits = limits or Limits(rows=MAX_ROWS)
        self.stop_ids = encoder.stop_ids
        """What ends a reply. Empty: every reply has `max_new_tokens` tokens, as a benchmark wants."""

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """As `Sampler.sample` says; the model is in eval mode until the last reply is read.

        Log-probs are those at the sampling temperature; of greedy replies (temperature 0, too) at temperature 1.
        Where memory runs out, fewer are written at once, from there on; replies that were handed over are not again.
        Raises RecipeError when it does not suffice for one.
        """
        longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
        shares = self._policy.sharing.allows(longest + settings.max_new_tokens)
        rows = n + greedy
        together = max(1, self._limits.rows // rows)
        waiting = [_Part(chunk, range(rows)) for chunk in chunks(prompts, together, only_equal=not shares)]
        draw = _Draw(settings, seed, greedy, first_replies(prompts, n))
        handed: set[tuple[int, int]] = set()
        was_training = self._policy.model.training
        self._policy.model.eval()
        try:
            while waiting:
                part = waiting.pop(0)
                if part.rows > max(1, self._limits.rows):
                    release()
                    waiting[:0] = part.halves()
                    continue
                try:
                    for indexed in self._write_part(part, prompts, draw, shares=shares):
                        if indexed[:2] not in handed:
                            handed.add(indexed[:2])
                            yield indexed
                except (RuntimeError, MemoryError) as error:
                    self._write_fewer(part.rows, error)
                    waiting.insert(0, part)
        finally:
            self._policy.model.train(was_training)

    def _write_fewer(self, rows: int, error: Exception) -> None:
        """From here on, half as many replies at once as these. Raises the error when fewer would not help."""
        if not is_out_of_memory(error):
            raise error
        if rows == 1:
            raise RecipeError(
                "expected memory for one reply at a time, got too little even for that; lower sampling.max_new_tokens "
                f"or the pictures' size, or take a smaller model ({error})"
            ) from error
        self._limits.rows = rows // 2
        self._limits.retries += 1
        _LOG.warning("Out of memory with %d replies at once: from here on %d.", rows, self._limits.rows)

    def _write_part(
        self, part: "_Part", prompts: Sequence[Prompt], draw: "_Draw", *, shares: bool
    ) -> Iterator[IndexedReply]:
        """All replies of a part, each as soon as it has ended."""
        places = [(i, j) for i in part.prompts for j in part.numbers]
        names = [(prompts[i].example_id, draw.first[i] + j - draw.greedy) for i, j in places]
        is_greedy = [draw.settings.temperature == 0 or (draw.greedy and j == 0) for _, j in places]
        chosen = [prompts[i] for i in part.prompts]
        decoder: Decoder | PlainDecoder
        if shares:
            decoder = Decoder(self._policy, chosen, len(part.numbers), draw.settings.max_new_tokens)
        else:
            decoder = PlainDecoder(self._policy, chosen, len(part.numbers))
        for row, reply in self._write(decoder, draw.settings, draw.seed, names, is_greedy):
            yield IndexedReply(*places[row], reply)

    def _write(
        self,
        decoder: Decoder | PlainDecoder,
        settings: Sampling,
        seed: int,
        names: Sequence[tuple[str, int]],
        is_greedy: Sequence[bool],
    ) -> Iterator[tuple[int, Reply]]:
        """The rows with their replies, each as soon as it has ended; the longest come last."""
        device = decoder.hidden_BD.device
        B, T = len(names), settings.max_new_tokens
        uniform_BT = uniforms(seed, names, T).to(device)
        token_BT = torch.zeros(B, T, dtype=torch.long, device=device)
        logp_BT = torch.zeros(B, T, device=device)
        stop = torch.tensor(self.stop_ids, dtype=torch.long, device=device)
        row_A = torch.arange(B, device=device)
        greedy_B = torch.tensor(is_greedy, device=device)
        greedy_K = greedy_B.nonzero()[:, 0]
        is_writing_A = torch.ones(B, dtype=torch.bool, device=device)
        for t in range(T):
            head, uniform_A = self._policy.head, uniform_BT[row_A, t]
            token_A, logp_A = draw(head, decoder.hidden_BD, uniform_A, settings.temperature, greedy_K)
            token_BT[row_A, t], logp_BT[row_A, t] = token_A, logp_A
            ends_A = is_writing_A if t + 1 == T else torch.isin(token_A, stop) & is_writing_A
            for row in row_A[ends_A].tolist():
                yield row, self._reply(token_BT[row, : t + 1].tolist(), logp_BT[row, : t + 1].tolist())
            is_writing_A = is_writing_A & ~ends_A
            writing = int(is_writing_A.sum())
            if writing == 0:
                break
            if len(row_A) - writing >= RETIRE * len(row_A):
                keep = is_writing_A.nonzero()[:, 0]
                decoder.keep(keep)
                row_A, token_A, is_writing_A = row_A[keep], token_A[keep], is_writing_A[keep]
                greedy_K = greedy_B[row_A].nonzero()[:, 0]
            decoder.step(token_A)

    def _reply(self, tokens: Sequence[int], logprobs: Sequence[float]) -> Reply:
        token_ids = tuple(tokens)
        stop = StopReason.EOS if token_ids[-1] in self.stop_ids else StopReason.LENGTH
        return Reply(text=self._encoder.text(token_ids), token_ids=token_ids, logprobs=tuple(logprobs), stop=stop)


def chunks(prompts: Sequence[Prompt], size: int, *, only_equal: bool) -> Iterator[list[int]]:
    """Indices of prompts to be run together, at most `size` of them, similar (or only equal) lengths together."""
    chunk: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i].token_ids)):
        differs = only_equal and chunk and len(prompts[i].token_ids) != len(prompts[chunk[0]].token_ids)
        if len(chunk) == size or differs:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def draw(
    head: Head, hidden_AD: Tensor, uniform_A: Tensor, temperature: float, greedy_K: Tensor
) -> tuple[Tensor, Tensor]:
    """One token per row, and its log-prob: at the temperature, or at 1 in greedy rows, whose places are given."""
    score_AV = head.scores(hidden_AD)
    A, V = score_AV.shape
    rows = max(1, CPU_BLOCK // V) if score_AV.device.type == "cpu" else A
    if rows >= A:
        return _draw(head, score_AV, uniform_A, temperature, greedy_K)
    blocks = [
        _draw(
            head,
            score_AV[i : i + rows],
            uniform_A[i : i + rows],
            temperature,
            greedy_K[(greedy_K >= i) & (greedy_K < i + rows)] - i,
        )
        for i in range(0, A, rows)
    ]
    return torch.cat([token for token, _ in blocks]), torch.cat([logp for _, logp in blocks])


def _draw(
    head: Head, score_AV: Tensor, uniform_A: Tensor, temperature: float, greedy_K: Tensor
) -> tuple[Tensor, Tensor]:
    logp_AV = head.logits_of(score_AV, temperature or 1.0).log_softmax(-1)
    if temperature not in (0.0, 1.0) and len(greedy_K):
        logp_AV = logp_AV.index_copy(0, greedy_K, head.logits_of(score_AV[greedy_K], 1.0).log_softmax(-1))
    if len(greedy_K) == len(score_AV):
        token_A = _likeliest(logp_AV)
    else:
        token_A = inverse_cdf(logp_AV.exp(), uniform_A)
        if len(greedy_K):
            token_A = token_A.index_copy(0, greedy_K, _likeliest(logp_AV[greedy_K]))
    return token_A, logp_AV.gather(1, token_A[:, None])[:, 0]


def inverse_cdf(prob_AV: Tensor, uniform_A: Tensor) -> Tensor:
    """The token at which each row's cumulative probability passes its uniform number; never one of probability 0."""
    token_A = cdf_crossing(prob_AV, uniform_A)
    # A parallel cumulative sum rounds, and may step up where the probability is 0, or end below 1.
    is_possible_A = prob_AV.gather(1, token_A[:, None])[:, 0] > 0
    if prob_AV.device.type == "cpu" and is_possible_A.all():  # elsewhere asking costs more than knowing
        return token_A
    return torch.where(is_possible_A, token_A, _likeliest(prob_AV))


def cdf_crossing(prob_AV: Tensor, uniform_A: Tensor) -> Tensor:
    """The token at which each row's cumulative probability passes its uniform number, as far as rounding lets it."""
    cdf_AV = prob_AV.cumsum(-1)
    return torch.searchsorted(cdf_AV, uniform_A[:, None], right=True).clamp_(max=prob_AV.shape[1] - 1)[:, 0]


def _likeliest(value_AV: Tensor) -> Tensor:
    """The place of each row's greatest number, the first where there are several."""
    # On a CPU, argmax takes 2.7 times as long (49,152 numbers a row).
    return value_AV.max(-1).indices


def uniforms(seed: int, names: Sequence[tuple[str, int]], tokens: int) -> Tensor:
    """float32 [B, T] in [0, 1), row b a function of the seed and its name alone (Philox, a counter-based generator)."""
    keys = [int(content_id(seed, *name), 16) for name in names]
    rows = [np.random.Generator(np.random.Philox(key=k)).random(tokens, np.float32) for k in keys]
    return torch.from_numpy(np.stack(rows))


def first_replies(prompts: Sequence[Prompt], n: int) -> list[int]:
    """The number of each prompt's first reply: an example that is asked twice gets replies 0..n-1, then n..2n-1."""
    seen: Counter[str] = Counter()
    first = []
    for prompt in prompts:
        first.append(seen[prompt.example_id] * n)
        seen[prompt.example_id] += 1
    return first
