"""Replies from a script, to put a fault exactly where a test wants it."""

from collections.abc import Callable, Iterator, Sequence

from firsthand.processor import Encoder, Prompt
from firsthand.records import Reply, StopReason
from firsthand.rollout import IndexedReply, Sampling


class ScriptedSampler:
    """Answers with what `script(prompt, i)` returns for the i-th reply; what the script raises is not caught.

    The replies carry no log-probs: no distribution was sampled from.
    """

    def __init__(self, encoder: Encoder, script: Callable[[Prompt, int], str]) -> None:
        self._encoder = encoder
        self._script = script

    def sample(
        self, prompts: Sequence[Prompt], n: int, settings: Sampling, *, seed: int = 0, greedy: bool = False
    ) -> Iterator[IndexedReply]:
        """n scripted replies to each prompt, cut at `max_new_tokens` as sampled ones would be.

        A greedy one before them is the script's first, too.
        """
        for place, prompt in enumerate(prompts):
            for number, i in enumerate([*([0] * greedy), *range(n)]):
                yield IndexedReply(place, number, self._reply(self._script(prompt, i), settings))

    def _reply(self, text: str, settings: Sampling) -> Reply:
        token_ids = self._encoder.reply(text)
        is_cut = len(token_ids) > settings.max_new_tokens
        token_ids = token_ids[: settings.max_new_tokens]
        stop = StopReason.LENGTH if is_cut else StopReason.EOS
        return Reply(text=self._encoder.text(token_ids), token_ids=token_ids, stop=stop)
