"""Step 3, distill: a text-only reasoner answers from caption, side information and question. It never sees the gold."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from firsthand.answers.stated import CLOSE, OPEN
from firsthand.forge.step import Asked, Decision, Dropped, Kept, dropped_by, noted, notes, source_of
from firsthand.forge.teaching import Voice
from firsthand.forge.templates import Prompt
from firsthand.records import Example, Trace
from firsthand.teacher import Completion, Failure, Outcome

STYLE = "distilled"
"""The style of a forged demonstration."""

_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
"""With one level of braces inside, as in \\boxed{\\frac{1}{2}}."""

FORMS = {
    "digit": "a number in digits",
    "choice": "the letter of the option",
    "math": "an expression in LaTeX",
    "box": "[x1, y1, x2, y2], the corners as fractions of the picture's width and height",
    "open": "",
}
"""What an answer looks like, by kind. The kind says nothing about the answer's value."""


class Distill:
    """Thinking and answer are kept apart: the answer alone is verified, the thinking alone is rewritten."""

    name = "distill"

    def __init__(
        self, voice: Voice, prompt_file: str | None, skipped: Sequence[str], demonstrated: Sequence[str] = ()
    ) -> None:
        """`skipped`: names of sources that get no demonstration. `demonstrated`: those that bring their own."""
        self._voice, self._skipped, self._demonstrated = voice, frozenset(skipped), frozenset(demonstrated)
        sample = {"question": "", "caption": "", "side": "", "images": 1, "form": "", "kind": ""}
        self._prompt = Prompt(self.name, prompt_file, sample)

    def identity(self) -> dict[str, Any]:
        """Model, prompt, and what is skipped."""
        return {
            **self._voice.identity(self._prompt),
            "skipped": sorted(self._skipped),
            "own": sorted(self._demonstrated),
        }

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """The question, with what there is to see in words."""
        for example in examples:
            if source_of(example) in self._skipped | self._demonstrated:
                yield Asked(example)
                continue
            text = self._prompt.text(
                question=example.question,
                caption=notes(example).get("caption", ""),
                side=example.meta.get("side", ""),
                images=len(example.images),
                form=FORMS[example.answer.kind],
                kind=example.answer.kind,
            )
            yield Asked(example, self._voice.request(text))

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep with the demonstration; drop what has no thinking or no answer."""
        if isinstance(outcome, Failure):
            return dropped_by(asked.example, outcome)
        if outcome is None and source_of(asked.example) in self._skipped:
            return Kept(asked.example.model_copy(update={"traces": ()}))
        if outcome is None:
            return _own(asked.example)
        thinking, answer = thought_and_answer(outcome)
        if not thinking:
            return Dropped(asked.example, "no_thinking", "the reasoner gave an answer without reasoning")
        if not answer:
            return Dropped(asked.example, "no_answer", "there is no single <answer> block after the reasoning")
        by = outcome.model or self._voice.model
        return Kept(noted(with_trace(asked.example, thinking, answer), answer=answer, distilled_by=by))


def _own(example: Example) -> Decision:
    """A row that brings its demonstration: thinking and answer are told apart as in a reasoner's reply."""
    text = example.traces[0].text if example.traces else ""
    thinking, answer = thought_and_answer(Completion(text=text.replace("<think>", "").replace("</think>", "")))
    if not thinking or not answer:
        return Dropped(example, "no_answer" if thinking else "no_thinking", "the row brings no whole demonstration")
    return Kept(noted(with_trace(example, thinking, answer), answer=answer, distilled_by="the source"))


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
    if opened:
        return thinking, answer.strip() if closed else ""
    boxed = _BOXED.findall(reply.text)
    return thinking, (boxed[-1] if boxed else reply.text).strip() if reply.thinking.strip() else ""


def with_trace(example: Example, thinking: str, answer: str) -> Example:
    """The example with this demonstration as its only one."""
    # A tag inside would end the thinking, or make a second answer block.
    for tag in ("<think>", "</think>", OPEN, CLOSE):
        thinking = thinking.replace(tag, "")
    text = f"<think>\n{thinking}\n</think>\n{OPEN}{answer}{CLOSE}"
    return example.model_copy(update={"traces": (Trace(style=STYLE, text=text),)})
