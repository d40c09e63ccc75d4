"""Read what a vLLM server answers to token ids; pure functions. It may be another version, broken, or no vLLM."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from firsthand.errors import excerpt
from firsthand.teacher.completion import Garbled, read_json

_ROUNDING = 1e-3
"""By which a log-prob may be above 0 (ours)."""
_TokenId = Annotated[int, Field(ge=0, strict=True)]


class _Chosen(BaseModel):
    logprob: Annotated[float, Field(le=_ROUNDING, allow_inf_nan=False)]


class _Logprobs(BaseModel):
    content: list[_Chosen]


class _Span(BaseModel):
    version: str


class SampledChoice(BaseModel):
    """One reply."""

    index: int
    token_ids: Annotated[list[_TokenId], Field(min_length=1)]
    finish_reason: Literal["stop", "length"]
    logprobs: _Logprobs | None = None
    """Of each token, in order."""
    weight_versions: list[_Span] | None = None

    @property
    def logps(self) -> list[float]:
        """Of each token."""
        return [one.logprob for one in self.logprobs.content] if self.logprobs else []


class Generated(BaseModel):
    """What came of one prompt: replies by their number."""

    prompt_token_ids: list[_TokenId]
    choices: list[SampledChoice]
    prompt_logprobs: list[dict[str, _Chosen] | None] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Generated":
        self.choices.sort(key=lambda choice: choice.index)
        if [choice.index for choice in self.choices] != list(range(len(self.choices))):
            raise ValueError("expected replies that are numbered from 0")
        return self

    def replies(self, n: int, longest: int, vocabulary: int) -> list[SampledChoice]:
        """All n of them, each token with its log-prob. Raises Garbled."""
        if len(self.choices) != n:
            raise Garbled(f"expected {n} replies, got {len(self.choices)}")
        for choice in self.choices:
            said, told = len(choice.token_ids), len(choice.logps)
            if said > longest or told != said or max(choice.token_ids) >= vocabulary:
                raise Garbled(
                    f"expected a reply of at most {longest} tokens below {vocabulary}, each with its log-prob, got "
                    f"{said} tokens up to {max(choice.token_ids)} with {told} log-probs"
                )
        return self.choices

    def scores(self, reply: Sequence[int]) -> list[float]:
        """Log-probs of the tokens that the prompt ends with. Raises Garbled."""
        told = (self.prompt_logprobs or [])[-len(reply) :]
        found = [place.get(str(token)) for token, place in zip(reply, told, strict=False) if place]
        if len(found) != len(reply) or None in found:
            raise Garbled(f"expected the log-probs of a prompt's last {len(reply)} tokens, got others")
        return [one.logprob for one in found if one is not None]


def read_generated(raw: bytes) -> Generated:
    """Raises Garbled."""
    content = read_json(raw)
    try:
        return Generated.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise Garbled(f"expected replies as token ids ({place}: {first['msg']}), got {excerpt(raw)}") from error
