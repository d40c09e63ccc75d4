"""Which option a reply names, as VLMEvalKit's `can_infer` decides without a judge.

The letter counts as a word of its own, and only as the one option letter among the reply's words; an English article
`A` is an option too. Texts of options are searched in short replies only.
"""

import re
from collections.abc import Mapping

NONE_OF_THEM = "Z"
"""The letter of a reply that names no option."""
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_SIGNS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_STATED = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def infer_option(reply: str, options: Mapping[str, str]) -> str | None:
    """The letter that the reply names, `Z` for none of them, or None when rules cannot tell."""
    return _from_letters(reply, options) or _from_texts(reply, options)


def _from_letters(reply: str, options: Mapping[str, str]) -> str | None:
    if "Failed to obtain answer via API" in reply:
        return None
    if any(refusal in reply for refusal in _REFUSALS):
        return NONE_OF_THEM
    words = reply.translate(_SIGNS).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - 5:  # among the last four, unlike a sentence's first `A`
        return named[0]
    if not named and NONE_OF_THEM in words:
        return NONE_OF_THEM
    stated = _STATED.search(reply)
    letter = stated.group(1).upper() if stated else ""
    return letter if letter in options else None


def _from_texts(reply: str, options: Mapping[str, str]) -> str | None:
    reply = reply.lower()
    if len(reply) > 2 * sum(len(text) for text in options.values()):
        return None
    named = [letter for letter, text in options.items() if text.lower() in reply]
    return named[0] if len(named) == 1 else None
