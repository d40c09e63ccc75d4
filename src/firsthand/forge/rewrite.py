"""Step 4, rewrite: the thinking speaks of the picture, and no longer of a caption or a description."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from firsthand.forge.distill import with_trace
from firsthand.forge.step import Asked, Decision, Dropped, Kept, dropped_by, noted, notes
from firsthand.forge.teaching import Voice
from firsthand.forge.templates import Prompt
from firsthand.records import Example, Record
from firsthand.teacher import Failure, Outcome

_GIVEN_AWAY = re.compile(
    r"\b(descri(?:be[ds]?|bing|ption|ptions)|captions?|captioned|rationales?|provided text)\b", re.IGNORECASE
)


class RewriteConfig(Record):
    """When to rewrite, and how much may change."""

    words: int = Field(default=15, ge=0)
    """A row is dropped when its thinking becomes longer or shorter by more words than this (VLAA-Thinking)."""
    always: bool = False
    """Also send thinking that mentions no caption or description. The paper does; what is returned is then the same."""


class Rewrite:
    """Only the thinking is sent: an answer must not change on the way to its verification."""

    name = "rewrite"

    def __init__(self, voice: Voice, prompt_file: str | None, config: RewriteConfig) -> None:
        self._voice, self._config = voice, config
        self._prompt = Prompt(self.name, prompt_file, {"thinking": ""})

    def identity(self) -> dict[str, Any]:
        """Model, prompt and settings."""
        return {**self._voice.identity(self._prompt), **self._config.model_dump(mode="json")}

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """The thinking, where it gives itself away."""
        for example in examples:
            thinking = thinking_of(example) if example.traces else ""
            if thinking and (self._config.always or _GIVEN_AWAY.search(thinking)):
                yield Asked(example, self._voice.request(self._prompt.text(thinking=thinking)))
            else:
                yield Asked(example)

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep with the new thinking; drop what has drifted."""
        if outcome is None:
            return Kept(asked.example)
        if isinstance(outcome, Failure):
            return dropped_by(asked.example, outcome)
        before = len(thinking_of(asked.example).split())
        after = len(outcome.text.split())
        if abs(after - before) > self._config.words:
            detail = f"{before} words became {after}, and at most {self._config.words} may come or go"
            return Dropped(asked.example, "rewrite_drifted", detail)
        left = len(_GIVEN_AWAY.findall(outcome.text))
        rewritten = with_trace(asked.example, outcome.text.strip(), notes(asked.example)["answer"])
        return Kept(noted(rewritten, rewritten_by=outcome.model or self._voice.model, mentions_left=left))


def thinking_of(example: Example) -> str:
    """The text inside the think tags of a forged demonstration."""
    return example.traces[0].text.partition("<think>\n")[2].partition("\n</think>")[0]
