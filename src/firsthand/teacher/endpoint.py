"""An OpenAI-compatible chat server: its settings, and the body of a request to it."""

import base64
import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from PIL import ExifTags
from pydantic import BeforeValidator, Field, field_validator, model_validator

from firsthand.errors import RecipeError
from firsthand.records import Picture, Record, open_picture, png, upright_rgb
from firsthand.teacher.types import Message, Outcome, Request

_SENT = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp"}
"""Pillow's name of a format that is sent as it is -> its name in a data URL. MPO is a phone's JPEG."""


def _variable(name: Any) -> Any:
    """Raises ValueError for what is no name, and does not show it: it may be the key itself."""
    if isinstance(name, str) and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            "expected the name of an environment variable that holds the key, such as OPENAI_API_KEY, got something "
            "else (not shown, for it may be the key); export the key under a name, and give that"
        )
    return name


KeyVariable = Annotated[str | None, BeforeValidator(_variable)]
"""Where a server's key is; None sends none."""


class InFlight(Record):
    """How many requests are under way at once: from `start`, as many as the server bears, up to `max`."""

    start: int = Field(default=8, gt=0)
    max: int = Field(default=64, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> "InFlight":
        if self.start > self.max:
            raise ValueError(f"expected start <= max, got {self.start} and {self.max}; lower start")
        return self


class SamplingParameters(Record):
    """What an answer depends on beside the prompt: which model is asked, and how it is sampled."""

    model: str
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=4096, gt=0)
    """Of an answer, its thinking included."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of a request's body; null takes one away."""

    def request(self, *messages: Message) -> Request:
        """A request that is sampled like that."""
        sampling = {name: getattr(self, name) for name in SamplingParameters.model_fields}
        return Request(messages=messages, **sampling)


class Endpoint(SamplingParameters):
    """The address of a chat server, and the settings of requests to it."""

    base_url: str
    """With the version and without the path of a call: http://localhost:8000/v1."""
    key_env: KeyVariable = None
    """The name of the environment variable that holds the key. The key itself is never written anywhere."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Of one attempt, from connecting to the last byte."""
    in_flight: InFlight = InFlight()
    attempts: int = Field(default=8, gt=0)
    """Attempts before a request counts as unanswered. With the waits between them, eight last about a minute."""
    prompt_price: float | None = Field(default=None, ge=0)
    """Dollars per million tokens."""
    completion_price: float | None = Field(default=None, ge=0)
    """Dollars per million tokens."""

    @field_validator("base_url")
    @classmethod
    def _complete(cls, url: str) -> str:
        return whole_url(url).rstrip("/")

    @model_validator(mode="after")
    def _both_prices(self) -> "Endpoint":
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("give prompt_price and completion_price, or neither")
        return self

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return f"{self.base_url}/chat/completions"

    def key(self) -> str | None:
        """The key. Raises RecipeError when the environment has none under the name."""
        return key_in(self.key_env, self.base_url)

    def dollars(self, outcome: Outcome) -> float:
        """What an outcome has cost; 0 where there are no prices or no token counts."""
        prompt, completion = outcome.prompt_tokens or 0, outcome.completion_tokens or 0
        return (prompt * (self.prompt_price or 0.0) + completion * (self.completion_price or 0.0)) / 1e6


class Served(Record):
    """A server that takes a model's weights, and writes its replies; see docs/scale.md."""

    engine: Literal["vllm"] = "vllm"
    url: str
    """Without a path: http://localhost:8000."""
    weights: str = "/dev/shm"
    """A folder that this process and the server see under one path: weights pass through it."""
    key_env: KeyVariable = None
    """The name of the environment variable that holds the server's key (vLLM's --api-key)."""
    timeout_s: float = Field(default=1800.0, gt=0)
    """Of one request: all replies to a prompt, or taking weights."""

    @field_validator("url")
    @classmethod
    def _complete(cls, url: str) -> str:
        return whole_url(url).rstrip("/")


def key_in(variable: str | None, url: str) -> str | None:
    """A server's key, from the environment. Raises RecipeError where the variable holds none."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise RecipeError(
            f"key_env: expected the environment variable {variable} to hold the key of {url}, "
            f"but it is not set; export it, or leave key_env out where no key is needed"
        )
    if not (key.isascii() and key.isprintable()):
        raise RecipeError(
            f"key_env: expected the environment variable {variable} to hold one line of ASCII, got other signs; "
            "export the key alone"
        )
    return key


def key_sent(variable: str | None) -> str:
    """What a server that lets nobody in was given, for its error."""
    return f"the key in the environment variable {variable}" if variable else "no key: set key_env"


def whole_url(url: str) -> str:
    """The URL. Raises ValueError unless it is http(s) with a host, and without user, password, query and fragment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected a URL such as http://localhost:8000/v1, got {url!r}; write it in full")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("expected a URL without user, password, query and fragment; put the key where key_env says")
    return url


def body(request: Request) -> dict[str, Any]:
    """What is posted, and what stands in a batch file. Raises OSError when a picture's file has gone."""
    messages = []
    for message in request.messages:
        pictures = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in message.images]
        content = [*pictures, {"type": "text", "text": message.text}] if pictures else message.text
        messages.append({"role": message.role, "content": content})
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": messages,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "response_format": {"type": "json_object"} if request.as_json else None,
        **request.extra,
    }
    return {name: value for name, value in fields.items() if value is not None}


def data_url(picture: Picture) -> str:
    """A picture as data URL, in the encoding that it has, unless servers may read that in another way than we do.

    Those that a camera's EXIF turns, those that are not RGB or grey, and formats that not every server knows become
    the PNG of what we see.
    """
    encoded = picture.encoded()
    with open_picture(encoded) as header:
        kind = _SENT.get(header.format or "")
        is_upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
        if kind is None or header.mode not in ("RGB", "RGBA", "L", "P") or not is_upright:
            encoded, kind = png(upright_rgb(header)), "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
