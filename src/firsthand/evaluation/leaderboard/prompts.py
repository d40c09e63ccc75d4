"""The judge's prompts, in our words: they ask what VLMEvalKit asks for each set, with examples of the same kinds.

A judge's number depends on its wording. `PROMPTS_VERSION` stands with every number and in every request's identity.
"""

import re
from pathlib import Path

PROMPTS_VERSION = 1


def _text(name: str) -> str:
    return Path(__file__).with_name("texts").joinpath(name).read_text("utf-8").removesuffix("\n")


TAKE_ANSWER = _text("take_answer.txt")
EXTRACT = _text("extract.txt")
CONSISTENT = _text("consistent.txt")
CHOOSE = _text("choose.txt")
LETTERS_OF = _text("letters_of.txt")
SHORT_ANSWER = _text("short_answer.txt")
SHORT_ANSWER_SYSTEM = "You turn free answers into short ones, in the form that you are told."

ANSWER_FORMS = {
    "multiple choice": "the letter of the chosen option, such as A, B, C or D, on one line.",
    "float": "the number with three decimals, on one line.",
    "text": "a short answer on one line; a number in it has three decimals.",
}
"""By DynaMath's types of answers."""


def fill(template: str, /, **values: str) -> str:
    """The template with its holes filled in one pass: what looks like a hole in a value stays text."""
    return re.sub(r"\{(\w+)\}", lambda hole: values[hole[1]], template)
