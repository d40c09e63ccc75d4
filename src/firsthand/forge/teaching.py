"""What the four steps that ask a teacher have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firsthand.forge.templates import Prompt
from firsthand.records import Picture
from firsthand.teacher import Message, Request


@dataclass(frozen=True)
class Voice:
    """Which model is asked, and how it is sampled: what an answer depends on beside the prompt."""

    model: str
    temperature: float = 0.0
    max_tokens: int = 4096
    extra: Mapping[str, Any] = field(default_factory=dict)

    def request(self, text: str, images: tuple[Picture, ...] = ()) -> Request:
        """One user turn."""
        return Request(
            model=self.model,
            messages=(Message(role="user", text=text, images=images),),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            extra=dict(self.extra),
        )

    def identity(self, prompt: Prompt) -> dict[str, Any]:
        """What answers depend on. Where the model is reached is no part of it."""
        return {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "extra": dict(self.extra),
            "prompt": prompt.id,
        }
