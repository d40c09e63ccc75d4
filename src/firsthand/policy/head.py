"""Hidden states -> log-probs of tokens. Sampling and training share this file, so that they mean the same distribution.

That distribution is softmax(logits / temperature) over the vocabulary without the banned tokens. Suppressing them in
only one of the two places would make every rollout slightly off-policy.

Shape letters: K tokens, D hidden size, V vocabulary.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Entropy = Literal["none", "value", "gradient"]
"""Whether entropies are made, and with their gradient: a bonus needs it, weights and plots must not have it."""
LOGITS_PER_CHUNK = 2**26
"""Logits that may be alive at once (0.25 GiB in fp32); more are made chunk by chunk, and made again in backward."""


class TokenLogprobs(NamedTuple):
    """Natural log-probs of tokens and the entropy (nats) of the distributions they came from, both float32."""

    logp_K: Tensor
    entropy_K: Tensor | None


class Head:
    """The output layer of a policy: `lm_head`, and the tokens that may not be said."""

    def __init__(self, lm_head: nn.Module, banned_ids: tuple[int, ...], vocabulary: int) -> None:
        self._lm_head = lm_head
        self._banned = torch.tensor(banned_ids, dtype=torch.long)
        self._chunk = max(1, LOGITS_PER_CHUNK // vocabulary)

    def logits(self, hidden_KD: Tensor, temperature: float) -> Tensor:
        """float32 [K, V], divided by the temperature (> 0); -inf for banned tokens."""
        return self.logits_of(self.scores(hidden_KD), temperature)

    def scores(self, hidden_KD: Tensor) -> Tensor:
        """[K, V] in the weights' precision, as the output layer has them."""
        scores_KV: Tensor = self._lm_head(hidden_KD)
        return scores_KV

    def logits_of(self, scores_KV: Tensor, temperature: float) -> Tensor:
        """The logits of these scores; float32 ones may be changed in place."""
        logits_KV = scores_KV.float()
        if temperature != 1.0:
            logits_KV = logits_KV / temperature
        # In place: neither the matrix product nor the division needs its own output in backward.
        if self._banned.device != logits_KV.device:  # once: a CUDA graph may copy nothing from the CPU
            with torch.inference_mode(False):  # even inside it: a backward needs them, too
                self._banned = self._banned.to(logits_KV.device)
        return logits_KV.index_fill_(1, self._banned, -torch.inf)

    def logprobs(self, hidden_KD: Tensor, target_K: Tensor, temperature: float, entropy: Entropy) -> TokenLogprobs:
        """Log-prob of each target under the distribution that its hidden state predicts."""
        if len(hidden_KD) <= self._chunk:
            return self._chunk_logprobs(hidden_KD, target_K, temperature, entropy)
        parts = [
            checkpoint(self._chunk_logprobs, hidden, target, temperature, entropy, use_reentrant=False)
            for hidden, target in zip(hidden_KD.split(self._chunk), target_K.split(self._chunk), strict=True)
        ]
        entropies = [part.entropy_K for part in parts if part.entropy_K is not None]
        return TokenLogprobs(torch.cat([part.logp_K for part in parts]), torch.cat(entropies) if entropies else None)

    def _chunk_logprobs(
        self, hidden_KD: Tensor, target_K: Tensor, temperature: float, entropy: Entropy
    ) -> TokenLogprobs:
        logp_KV = self.logits(hidden_KD, temperature).log_softmax(-1)
        entropy_K = None
        if entropy != "none":
            source_KV = logp_KV if entropy == "gradient" else logp_KV.detach()
            # A banned token has log-prob -inf, and 0 * -inf is nan: any finite number in its place gives 0.
            entropy_K = -(source_KV.exp() * source_KV.clamp(min=torch.finfo(source_KV.dtype).min)).sum(-1)
        return TokenLogprobs(logp_KV.gather(1, target_K[:, None])[:, 0], entropy_K)
