"""Option-letter reward: 1 when the reply names the gold option, by its letter or by its full text (VLAA-Thinking).

Read as option A: `A`, `a`, `A)`, `(A)`, `A.`, `A:`, `Option A`, `\\boxed{A}`, `A. <text>` and, when the options are
known, the text of option A alone. A reply that names two options, or whose letter and text disagree, is not read.
"""

import re
from typing import NamedTuple

from firsthand.records import Choice, Verdict
from firsthand.reward.extract import bare
from firsthand.reward.verdicts import compared, failed, unparsed

# re.ASCII: without it, IGNORECASE lets the Kelvin sign pass for a K and the long s for an S.
LETTER_ALONE = re.compile(r"(?:(?:option|choice)\s+)?(?:\(([A-Z])\)|([A-Z])[.):]?)\.?", re.IGNORECASE | re.ASCII)
LETTER_AND_TEXT = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(([A-Z])\)|([A-Z])[.):])\s*(\S.*)", re.IGNORECASE | re.ASCII | re.DOTALL
)
ANOTHER_LETTER = re.compile(r"\b[A-Z][.):]|\([A-Z]\)|\n", re.ASCII)


class Reading(NamedTuple):
    """The letter that was read, or None and the reason why there is none."""

    letter: str | None
    why: str = ""


def judge_choice(content: str, gold: Choice) -> Verdict:
    """Compare letters. A gold letter that names none of its own options gives FAILED, not 0."""
    expected = read_letter(gold.letter, gold.options)
    if expected.letter is None:
        return failed(f"the gold answer {gold.letter!r} is not an option letter: {expected.why}")
    got = read_letter(content, gold.options)
    if got.letter is None:
        return unparsed(content, got.why)
    return compared(got.letter == expected.letter, got.letter, expected.letter)


def read_letter(text: str, options: tuple[str, ...]) -> Reading:
    """Which option the text names; `options` are the options' texts in letter order, empty when they are not known."""
    text = bare(text.replace("**", ""))
    if alone := LETTER_ALONE.fullmatch(text):
        return _within(alone[1] or alone[2], options)
    named = [chr(ord("A") + i) for i, option in enumerate(options) if _same(text, option)]
    if len(named) == 1:
        return Reading(named[0])
    both = LETTER_AND_TEXT.fullmatch(text)
    if both is None or named:
        return Reading(None, f"the text of {len(named)} options" if named else "expected one option letter")
    reading = _within(both[1] or both[2], options)
    if reading.letter is None:
        return reading
    if options and not _same(both[3], options[ord(reading.letter) - ord("A")]):
        return Reading(None, f"the text beside {reading.letter} is not the text of option {reading.letter}")
    if not options and ANOTHER_LETTER.search(both[3]):
        return Reading(None, "names more than one option")
    return reading


def _within(letter: str, options: tuple[str, ...]) -> Reading:
    letter = letter.upper()
    if options and ord(letter) - ord("A") >= len(options):
        return Reading(None, f"there is no option {letter}, only {len(options)} options")
    return Reading(letter)


def _same(text: str, option: str) -> bool:
    return _folded(text) == _folded(option)


def _folded(text: str) -> str:
    """Case, spacing, wrappers and a final full stop do not make another option."""
    return " ".join(bare(text).casefold().split()).removesuffix(".").strip()
