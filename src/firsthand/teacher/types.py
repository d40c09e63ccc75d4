"""Requests to chat servers and their outcomes; a request is named by the hash of its content."""

from functools import cached_property
from typing import Any, Literal, Protocol

from pydantic import Field

from firsthand.records import Picture, Record, content_id


class Message(Record):
    """One turn of a conversation with a teacher; the images come before the text."""

    role: Literal["system", "user", "assistant"]
    text: str
    images: tuple[Picture, ...] = ()


class Request(Record):
    """One call of a teacher, with everything that its answer depends on."""

    model: str
    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 4096
    seed: int | None = None
    as_json: bool = False
    """Ask for one JSON object instead of free text."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request's body, as JSON; None takes a field away."""

    @cached_property
    def key(self) -> str:
        """16 hex digits naming the content, images by their sha256: two requests with one key have one answer."""
        said = [(m.role, m.text, [p.sha256 for p in m.images]) for m in self.messages]
        return content_id(self.model, said, self.temperature, self.max_tokens, self.seed, self.as_json, self.extra)


class Completion(Record):
    """What a teacher wrote, its thinking apart; token counts are None where the server gave none."""

    text: str
    thinking: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    """Thinking included."""
    model: str = ""
    """The model that says it answered."""


FailureReason = Literal["filtered", "refused", "truncated", "empty", "rejected", "unanswered"]
"""`filtered`: by the server's content filter. `refused`: by the model. `truncated`: at max_tokens. `rejected`: the
server will not take this request, now or later. `unanswered`: every attempt failed; another run asks again."""


class Failure(Record):
    """A request that has no usable answer. What was paid for it is counted all the same."""

    reason: FailureReason
    detail: str
    """What the server or the network said, shortened."""
    text: str = ""
    """What was written before it was cut, of a `truncated` one."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


Outcome = Completion | Failure


class Teacher(Protocol):
    """Answers one request at a time: a client of a server, or a script in this process."""

    def answer(self, request: Request) -> Outcome:
        """The outcome of one request, a function of the request alone."""


def delimiter(*parts: str) -> str:
    """A word around quoted data that the data cannot hold: a hash of it, so that equal data make equal requests."""
    return content_id("delimiter", *parts)
