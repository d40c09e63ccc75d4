"""A teacher inside this process, for dry runs and for the worlds: it knows the row, and errs on purpose.

A real reasoner is sometimes wrong, speaks of the caption, forgets the answer block, and gets longer when it rewrites.
So does this one, at rates that are written here, so that every path of the forge has traffic without a network. What
it does with a row depends on the request alone.
"""

import random
import re
from typing import final

from firsthand.answers.stated import CLOSE, OPEN
from firsthand.forge.draft import FORGED_STYLE, Draft
from firsthand.forge.step import Asked
from firsthand.records import Digit, Example
from firsthand.teacher import Completion, Failure, Outcome, Request

SIMULATED_MODEL = "scenes"
_REFUSES, _NO_ANSWER, _WRONG, _GIVES_AWAY, _DRIFTS = 0.01, 0.02, 0.15, 0.4, 0.05
"""Share of the requests."""

_OPENINGS = ("The description says that ", "According to the caption, ", "From the provided text I see that ")
_MENTIONS = re.compile("|".join(_OPENINGS))


@final
class SimulatedTeacher:
    """Tell it of a row with `expect` before its request arrives."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._rows: dict[str, Draft] = {}

    def expect(self, asked: Asked) -> None:
        """The row that a request is about."""
        if asked.request is not None:
            self._rows[asked.request.key] = asked.draft

    def forget(self, asked: Asked) -> None:
        """The row has been decided."""
        if asked.request is not None:
            self._rows.pop(asked.request.key, None)

    def answer(self, request: Request) -> Outcome:
        """What a teacher might say in this step."""
        draft, rng = self._rows[request.key], random.Random(request.key)
        if rng.random() < _REFUSES:
            return Failure(reason="refused", detail="this teacher refuses one row in a hundred")
        text = request.messages[-1].text
        said = {"caption": _caption, "distill": _trace, "rewrite": _rewritten, "verify": _judged}[self._step]
        answer = said(draft, text, rng)
        counts = {"prompt_tokens": len(text.split()), "completion_tokens": len(answer.split())}
        return Completion(text=answer, model=SIMULATED_MODEL, **counts)


def _caption(draft: Draft, text: str, rng: random.Random) -> str:
    example = draft.example
    return example.scene or "; ".join(f"a picture of {p.width} by {p.height} pixels" for p in example.images)


def _trace(draft: Draft, text: str, rng: random.Random) -> str:
    """A demonstration of the row's own, else a short one, with an answer that is sometimes wrong."""
    example = draft.example
    own = [trace for trace in example.traces if trace.style != FORGED_STYLE]
    whole = rng.choice(own).text if own else f"I look at it and find {example.answer.text}."
    thinking = re.sub(r"</?think>", "", whole.partition(OPEN)[0]).strip() or f"I see {example.answer.text}."
    if rng.random() < _GIVES_AWAY:
        thinking = rng.choice(_OPENINGS) + thinking
    if rng.random() < _NO_ANSWER:
        return thinking
    return f"{thinking}\n{OPEN}{_wrong(example) if rng.random() < _WRONG else example.answer.text}{CLOSE}"


def _wrong(example: Example) -> str:
    gold = example.answer.text
    if isinstance(example.answer, Digit):
        return str(int(float(gold)) + 1)
    return "B" if gold == "A" else "A" if len(gold) == 1 else f"{gold} + 1"


def _rewritten(draft: Draft, text: str, rng: random.Random) -> str:
    cleaned = _MENTIONS.sub("In the picture ", draft.thinking or "")
    return f"{cleaned} {'And so on and on. ' * 8}" if rng.random() < _DRIFTS else cleaned


def _judged(draft: Draft, text: str, rng: random.Random) -> str:
    said, gold = draft.answer or "", draft.example.answer.text
    return "Yes" if said.strip().lower() == gold.strip().lower() else "No"
