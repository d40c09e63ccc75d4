"""Read the response of an OpenAI-compatible server as an outcome; pure functions."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from firsthand.errors import excerpt
from firsthand.teacher.types import Completion, Failure, FailureReason, Outcome

TRANSIENT = {408, 409, 425, 429}
"""Statuses that another attempt may change; so may all from 500 on."""
OVERLOAD = {408, 429, 503, 504, 529}
"""The server has too much to do; 529 is what some hosted ones say."""
SETTING = {401, 402, 403, 404, 405}
"""Wrong for every request alike: the key, the account, the URL or the model's name. Redirects are, too."""

MOST_TOKENS = 2**40
"""Of one answer (ours): no model is asked for more, and the sum of many can still be kept."""


class Garbled(ValueError):
    """A response's body is no chat completion."""


def _whole(text: Any) -> Any:
    """JSON may carry half a surrogate pair, which no file can."""
    return text.encode("utf-8", "replace").decode("utf-8") if isinstance(text, str) else text


_WholeText = Annotated[str, BeforeValidator(_whole)]


class _Message(BaseModel):
    content: _WholeText | None = None
    refusal: _WholeText | None = None
    reasoning_content: _WholeText | None = None
    reasoning: _WholeText | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


_Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _Usage(BaseModel):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Body(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None
    model: _WholeText | None = None


def read_completion(raw: bytes) -> Outcome:
    """The outcome that a response's body holds. Raises Garbled when it is no chat completion."""
    content = read_json(raw)
    try:
        completion = _Body.model_validate(content)
    except ValidationError as error:
        raise Garbled(f"expected a chat completion, got {excerpt(raw)}") from error
    choice, usage = completion.choices[0], completion.usage or _Usage()
    thinking, text = _apart(choice.message)
    if trouble := _trouble(choice, text):
        reason, detail = trouble
        cut = _together(thinking, text) if reason == "truncated" else ""
        return Failure(reason=reason, detail=detail, text=cut, **usage.model_dump())
    return Completion(text=text, thinking=thinking, model=completion.model or "", **usage.model_dump())


def is_transient(status: int) -> bool:
    """Whether another attempt may succeed."""
    return status in TRANSIENT or status >= 500


def rejection(status: int, raw: bytes) -> Failure:
    """The failure for a status that another attempt will not change."""
    return Failure(reason="filtered" if b'"content_filter"' in raw else "rejected", detail=f"{status}: {excerpt(raw)}")


def read_json(raw: bytes) -> Any:
    """Raises Garbled."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"expected JSON, got {len(raw)} bytes: {excerpt(raw)}") from error


def _apart(message: _Message) -> tuple[str, str]:
    """Thinking and text. Some chat templates open the thinking in the prompt, so that only its end is seen."""
    content = (message.content or "").strip()
    told = message.reasoning_content or message.reasoning
    if told is not None:
        return told.strip(), content
    thinking, end, text = content.partition("</think>")
    opened = content.startswith("<think>")
    if not opened and (not end or "<think>" in thinking):  # the text may speak about thinking, somewhere in its middle
        return "", content
    return thinking.removeprefix("<think>").strip(), text.strip()


def _together(thinking: str, text: str) -> str:
    """What was written before it was cut, thinking included: without it nobody would see what took so long."""
    return f"<think>{thinking}{'</think>' if text else ''}{text}" if thinking else text


def _trouble(choice: _Choice, text: str) -> tuple[FailureReason, str] | None:
    if choice.message.refusal:
        return "refused", excerpt(choice.message.refusal.encode())
    if choice.finish_reason == "content_filter":
        return "filtered", "the server's content filter ended the answer"
    if choice.finish_reason == "length":
        return "truncated", f"cut at max_tokens after {excerpt(text.encode())!r}"
    if not text:
        return "empty", "the answer has no text"
    return None
