"""Step 2, caption: a model that sees writes down the picture for a reasoner that does not."""

from collections.abc import Iterable, Sequence
from typing import Any

from firsthand.forge.step import Asked, Decision, Kept, dropped_by, noted, source_of
from firsthand.forge.teaching import Voice
from firsthand.forge.templates import Prompt
from firsthand.records import Example
from firsthand.teacher import Failure, Outcome


class Caption:
    """Rows without pictures, of sources that skip this step, or that bring a caption of their own, cost nothing."""

    name = "caption"

    def __init__(self, voice: Voice, prompt_file: str | None, skipped: Sequence[str]) -> None:
        """`skipped`: names of sources whose pictures nobody captions."""
        self._voice, self._skipped = voice, frozenset(skipped)
        self._prompt = Prompt(self.name, prompt_file, {"question": "", "images": 1})

    def identity(self) -> dict[str, Any]:
        """Model, prompt, and what is skipped."""
        return {**self._voice.identity(self._prompt), "skipped": sorted(self._skipped)}

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """A caption of the pictures, with the question unsaid: a caption that knows it answers it."""
        for example in examples:
            if not example.images or source_of(example) in self._skipped or example.meta.get("caption"):
                yield Asked(example)
            else:
                text = self._prompt.text(question=example.question, images=len(example.images))
                yield Asked(example, self._voice.request(text, example.images))

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep with the caption; drop where there is none."""
        if isinstance(outcome, Failure):
            return dropped_by(asked.example, outcome)
        if outcome is None:
            own = asked.example.meta.get("caption")
            return Kept(noted(asked.example, caption=own) if own else asked.example)
        return Kept(noted(asked.example, caption=outcome.text.strip(), captioned_by=outcome.model or self._voice.model))
