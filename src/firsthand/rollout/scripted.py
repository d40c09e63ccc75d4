"""Replies from a script: for dry runs, and to put a fault exactly where a test wants it."""

from collections.abc import Callable, Sequence

from firsthand.processor import Encoder, Prompt
from firsthand.records import Reply, StopReason
from firsthand.rollout.sampler import OnReply, Sampling, ignore


class ScriptedSampler:
    """Answers with what `script(prompt, i)` returns for the i-th reply; what the script raises is not caught.

    The replies carry no log-probs: no distribution was sampled from.
    """

    def __init__(self, encoder: Encoder, script: Callable[[Prompt, int], str]) -> None:
        self._encoder = encoder
        self._script = script

    def sample(
        self,
        prompts: Sequence[Prompt],
        n: int,
        settings: Sampling,
        on_reply: OnReply = ignore,
        *,
        seed: int = 0,
        greedy: bool = False,
    ) -> list[tuple[Reply, ...]]:
        """n scripted replies to each prompt, cut at `max_new_tokens` as sampled ones would be.

        A greedy one before them is the script's first, too.
        """
        numbers = [*([0] * greedy), *range(n)]
        groups = [tuple(self._reply(self._script(prompt, i), settings) for i in numbers) for prompt in prompts]
        for place, group in enumerate(groups):
            for number, reply in enumerate(group):
                on_reply(place, number, reply)
        return groups

    def _reply(self, text: str, settings: Sampling) -> Reply:
        token_ids = self._encoder.reply(text)
        is_cut = len(token_ids) > settings.max_new_tokens
        token_ids = token_ids[: settings.max_new_tokens]
        stop = StopReason.LENGTH if is_cut else StopReason.EOS
        return Reply(text=self._encoder.text(token_ids), token_ids=token_ids, stop=stop)
