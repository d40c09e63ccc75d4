"""Step 2, caption: a model that sees writes down the picture for a reasoner that does not."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from firsthand.forge.draft import Draft, source_of
from firsthand.forge.step import Asked, Decision, Kept, asking_identity
from firsthand.forge.templates import PromptTemplate
from firsthand.teacher import Completion, Message, SamplingParameters


class Caption:
    """Rows without pictures, of sources that skip this step, or that bring a caption of their own, cost nothing."""

    name = "caption"

    def __init__(self, sampling: SamplingParameters, prompt_file: str | None, skipped: Sequence[str]) -> None:
        """`skipped`: names of sources whose pictures nobody captions."""
        self._sampling, self._skipped = sampling, frozenset(skipped)
        self._template = PromptTemplate(self.name, prompt_file, {"question": "", "images": 1})

    def identity(self) -> dict[str, Any]:
        """Model, prompt, and what is skipped."""
        return {**asking_identity(self._sampling, self._template), "skipped": sorted(self._skipped)}

    def ask(self, drafts: Sequence[Draft]) -> Iterable[Asked]:
        """A caption of the pictures, with the question unsaid: a caption that knows it answers it."""
        for draft in drafts:
            example = draft.example
            if not example.images or source_of(draft) in self._skipped or example.meta.get("caption"):
                yield Asked(draft)
            else:
                text = self._template.text(question=example.question, images=len(example.images))
                yield Asked(draft, self._sampling.request(Message(role="user", text=text, images=example.images)))

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep with the caption; drop where there is none."""
        if completion is None:
            own = asked.draft.example.meta.get("caption")
            return Kept(replace(asked.draft, caption=str(own)) if own else asked.draft)
        by = completion.model or self._sampling.model
        return Kept(replace(asked.draft, caption=completion.text.strip(), captioned_by=by))
