"""Two kinds of demonstration for one question.

*plain*: the short correct steps. *expert*: long, hesitant, self-correcting, sometimes wrong in the middle, in the
manner of traces distilled from a large reasoner; its final answer is right. What imitating each does to a model is
the question that this package answers.
"""

import random
import re

from firsthand.records import Trace
from firsthand.worlds.world import Question

_OPENINGS = (
    "Okay, let me look at the image carefully.",
    "Hmm, let me think about this.",
    "Alright, let me start by looking at the image.",
)
_HESITATIONS = ("Hmm,", "Let me see,", "So,", "Next,", "Okay,")
_DOUBTS = ("Wait, that is not right.", "Wait, let me double-check that.", "Hmm, I made a mistake there.")
_CLOSINGS = (
    "Let me double-check. Yes, that seems right.",
    "I should confirm this. It looks correct.",
    "Alternatively, I could check again, but I am confident.",
)


def direct(question: Question) -> str:
    """Only the answer block."""
    return f"<answer>{question.said}</answer>"


def stepwise(question: Question) -> str:
    """The steps inside think tags, then the answer block."""
    return f"<think>{', '.join(question.steps)}</think>{direct(question)}"


def plain_trace(question: Question) -> Trace:
    """The short correct demonstration."""
    return Trace(style="plain", text=stepwise(question) if question.steps else direct(question))


def expert_trace(rng: random.Random, question: Question) -> Trace:
    """The long hesitant demonstration: fillers, slips that are noticed and put right, and a final check."""
    parts = [rng.choice(_OPENINGS)]
    for step in question.steps:
        if rng.random() < 0.35:
            parts.append(rng.choice(_HESITATIONS))
        slip = _slip(rng, step)
        if slip != step and rng.random() < 0.25:
            parts += [f"{slip}.", rng.choice(_DOUBTS)]
        parts.append(f"{step}.")
    parts.append(rng.choice(_CLOSINGS))
    return Trace(style="expert", text=f"<think>{' '.join(parts)}</think>{direct(question)}")


def _slip(rng: random.Random, step: str) -> str:
    """The step with its last number off by one or two."""
    numbers = list(re.finditer(r"\d+", step))
    if not numbers:
        return step
    last = numbers[-1]
    wrong = max(0, int(last.group()) + rng.choice((-2, -1, 1, 2)))
    return step[: last.start()] + str(wrong) + step[last.end() :]
