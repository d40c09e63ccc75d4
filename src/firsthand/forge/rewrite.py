"""Step 4, rewrite: the thinking speaks of the picture, and no longer of a caption or a description."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from firsthand.forge.distill import without_tags
from firsthand.forge.draft import Draft
from firsthand.forge.step import Asked, Decision, Dropped, Kept, asking_identity
from firsthand.forge.templates import PromptTemplate
from firsthand.records import Record
from firsthand.teacher import Completion, Message, SamplingParameters, delimiter

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

    def __init__(self, sampling: SamplingParameters, prompt_file: str | None, config: RewriteConfig) -> None:
        self._sampling, self._config = sampling, config
        self._template = PromptTemplate(self.name, prompt_file, {"thinking": "", "word": ""})

    def identity(self) -> dict[str, Any]:
        """Model, prompt and settings."""
        return {**asking_identity(self._sampling, self._template), **self._config.model_dump(mode="json")}

    def ask(self, drafts: Sequence[Draft]) -> Iterable[Asked]:
        """The thinking, where it gives itself away."""
        for draft in drafts:
            if draft.thinking and (self._config.always or _GIVEN_AWAY.search(draft.thinking)):
                text = self._template.text(thinking=draft.thinking, word=delimiter(draft.thinking))
                yield Asked(draft, self._sampling.request(Message(role="user", text=text)))
            else:
                yield Asked(draft)

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep with the new thinking; drop what has drifted."""
        draft = asked.draft
        if completion is None:
            return Kept(draft)
        before, after = len((draft.thinking or "").split()), len(completion.text.split())
        if abs(after - before) > self._config.words:
            detail = f"{before} words became {after}, and at most {self._config.words} may come or go"
            return Dropped(draft, "rewrite_drifted", detail)
        thinking, left = without_tags(completion.text.strip()), len(_GIVEN_AWAY.findall(completion.text))
        by = completion.model or self._sampling.model
        return Kept(replace(draft, thinking=thinking, rewritten_by=by, mentions_left=left))
