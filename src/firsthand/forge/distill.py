"""Step 3, distill: a text-only reasoner answers from caption, side information and question. It never sees the gold."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from firsthand.answers.stated import CLOSE, OPEN
from firsthand.forge.draft import Draft, source_of
from firsthand.forge.step import Asked, Decision, Dropped, Kept, asking_identity
from firsthand.forge.templates import PromptTemplate
from firsthand.records import Answer, Box
from firsthand.teacher import Completion, Message, SamplingParameters, delimiter

_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
"""With one level of braces inside, as in \\boxed{\\frac{1}{2}}."""

_FORM_OF_ANSWER = {
    "digit": "a number in digits",
    "choice": "the letter of the option",
    "letters": "the letters of all options that are right, such as A, C",
    "math": "an expression in LaTeX",
    "box": "[x1, y1, x2, y2], the corners ",
    "text": "a word or a few words",
    "open": "",
    "environment": "in the form that the question asks for",
}
"""What an answer looks like, by kind. The kind says nothing about the answer's value."""
_COORDINATES = {
    "pixels": "in pixels",
    "thousand": "in thousandths of the picture's width and height, from 0 to 1000",
}
"""What a box is measured in where its row says so; otherwise in fractions, which say as much of every picture."""


_NOT_REASONED = (
    "the reasoner gave an answer without reasoning; name a model that thinks as teachers.distill, or ask for the steps "
    "in front of <answer> with prompts.distill"
)


class Distill:
    """Thinking and answer are kept apart: the answer alone is verified, the thinking alone is rewritten."""

    name = "distill"

    def __init__(
        self,
        sampling: SamplingParameters,
        prompt_file: str | None,
        skipped: Sequence[str],
        demonstrated: Sequence[str] = (),
    ) -> None:
        """`skipped`: names of sources that get no demonstration. `demonstrated`: those that bring their own."""
        self._sampling, self._skipped, self._demonstrated = sampling, frozenset(skipped), frozenset(demonstrated)
        sample = {"question": "", "caption": "", "side": "", "images": 1, "form": "", "kind": "", "word": ""}
        self._template = PromptTemplate(self.name, prompt_file, sample)

    def identity(self) -> dict[str, Any]:
        """Model, prompt, and what is skipped."""
        asking = asking_identity(self._sampling, self._template)
        return {**asking, "skipped": sorted(self._skipped), "own": sorted(self._demonstrated)}

    def ask(self, drafts: Sequence[Draft]) -> Iterable[Asked]:
        """The question, with what there is to see in words."""
        for draft in drafts:
            if source_of(draft) in self._skipped | self._demonstrated:
                yield Asked(draft)
                continue
            example = draft.example
            caption, side = draft.caption or "", example.meta.get("side", "")
            text = self._template.text(
                question=example.question,
                caption=caption,
                side=side,
                images=len(example.images),
                form=_form(example.answer),
                kind=example.answer.kind,
                word=delimiter(caption, side, example.question),
            )
            yield Asked(draft, self._sampling.request(Message(role="user", text=text)))

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep with thinking and answer; drop what lacks one of them."""
        draft = asked.draft
        if completion is None:
            return Kept(replace(draft, is_explored_only=True)) if source_of(draft) in self._skipped else _own(draft)
        thinking, answer = thought_and_answer(completion)
        if not thinking:
            return Dropped(draft, "no_thinking", _NOT_REASONED)
        if not answer:
            return Dropped(draft, "no_answer", "there is no single <answer> block after the reasoning")
        by = completion.model or self._sampling.model
        return Kept(replace(draft, thinking=without_tags(thinking), answer=answer, distilled_by=by))


def _form(answer: Answer) -> str:
    unit = answer.coordinates if isinstance(answer, Box) else None
    measured = _COORDINATES.get(unit or "", "as fractions of the picture's width and height")
    return _FORM_OF_ANSWER[answer.kind] + (measured if isinstance(answer, Box) else "")


def _own(draft: Draft) -> Decision:
    """A row that brings its demonstration: thinking and answer are told apart as in a reasoner's reply."""
    text = draft.example.traces[0].text if draft.example.traces else ""
    thinking, answer = thought_and_answer(Completion(text=text.replace("<think>", "").replace("</think>", "")))
    if not thinking or not answer:
        return Dropped(draft, "no_answer" if thinking else "no_thinking", "the row brings no whole demonstration")
    return Kept(replace(draft, thinking=without_tags(thinking), answer=answer, distilled_by="the source"))


def thought_and_answer(reply: Completion) -> tuple[str, str]:
    """The thinking of a reply and its final answer, either empty where there is none.

    A model that thinks aloud has its thinking in front of the answer block. One that thinks apart and forgets the tags
    means the last `\\boxed{}`, or else its whole text.
    """
    before, opened, rest = reply.text.partition(OPEN)
    answer, closed, after = rest.partition(CLOSE)
    thinking = reply.thinking.strip() or before.strip()
    if OPEN in rest or CLOSE in after or CLOSE in before:  # of two answers nobody knows which is meant
        return thinking, ""
    if opened:  # a tag inside the answer would break the demonstration
        return thinking, answer.strip() if closed and without_tags(answer) == answer else ""
    boxed = _BOXED.findall(reply.text)
    return thinking, (boxed[-1] if boxed else reply.text).strip() if reply.thinking.strip() else ""


def without_tags(thinking: str) -> str:
    """The thinking without what would end it, or make a second answer block."""
    for tag in ("<think>", "</think>", OPEN, CLOSE):
        thinking = thinking.replace(tag, "")
    return thinking
