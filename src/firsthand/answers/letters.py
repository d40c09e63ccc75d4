r"""Option letters as people write them: which option a text names, by its letter or by its full text.

Read as option A: `A`, `a`, `A)`, `(A)`, `[A]`, `A.`, `A:`, `Option A`, `A is correct`, `\boxed{A}`, `选A`, `A. <text>`
and, when the options are known, the text of option A alone. A reply that names two options, or whose letter and text
disagree, is not read.
"""

import re

from firsthand.answers.markup import folded, without_markup

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What options are called, in order."""
_CALLED = r"(?:(?:option|choice|answer)\s+|选项?\s*|选择\s*)?"
_IS_RIGHT = r"(?:\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice))?)?"
# re.ASCII: without it, IGNORECASE lets the Kelvin sign pass for a K and the long s for an S.
_LETTER_ALONE = re.compile(
    rf"{_CALLED}(?:\(([A-Z])\)|\[([A-Z])\]|\{{([A-Z])\}}|([A-Z])[.):,]?){_IS_RIGHT}[.!]?", re.IGNORECASE | re.ASCII
)
_LETTER_AND_TEXT = re.compile(
    rf"{_CALLED}(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])(?:[.):]|\s+[-–—]\s))\s*(\S.*)", re.IGNORECASE | re.ASCII | re.DOTALL
)
_LETTER_BEFORE_ITS_TEXT = re.compile(rf"{_CALLED}([A-Z])[,\s]\s*(\S.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_ANOTHER_LETTER = re.compile(
    r"\b[A-Z][.):]|[(\[][A-Z][)\]]|\n|(?:\b(?:or|and|not|nor|either|both|maybe|also)\b|[,/&;|或和])[\s(\[]*[A-Z](?![A-Za-z])",
    re.ASCII,
)


def read_letter(text: str, options: tuple[str, ...]) -> tuple[str | None, str]:
    """The letter of the option that the text names, or None and why; `options` are empty when they are not known."""
    text = without_markup(text.replace("**", ""))
    if alone := _LETTER_ALONE.fullmatch(text):
        return _within(alone, options)
    named = [chr(ord("A") + i) for i, option in enumerate(options) if folded(text) == folded(option)]
    if len(named) == 1:
        return named[0], ""
    if named:
        return None, f"the text of {len(named)} options"
    both = _LETTER_AND_TEXT.fullmatch(text) or (_LETTER_BEFORE_ITS_TEXT.fullmatch(text) if options else None)
    return (None, "expected one option letter") if both is None else _with_text(both, options)


def read_letters(text: str) -> frozenset[str] | None:
    """`A`, `(A)`, `A, C`, `A, B and C`, `AC`, `B. its text` -> the letters; None when there is anything else."""
    inner = without_markup(text.replace("**", "")).removesuffix(".").strip()
    inner = re.sub(r"<<|>>|[\[\]()]", " ", inner).strip()
    words = [word for word in re.split(r"[\s,;&和]+|\band\b", inner) if word]
    if words and (all(re.fullmatch("[A-Z]", word) for word in words) or re.fullmatch("[A-Z]+", inner)):
        return frozenset("".join(words))
    one, _ = read_letter(text, ())
    return None if one is None else frozenset(one)


def _with_text(both: re.Match[str], options: tuple[str, ...]) -> tuple[str | None, str]:
    """A letter and a text: they must agree when the options are known, and else name no other letter."""
    (letter, why), text = _within(both, options), both[both.re.groups]
    if letter is None:
        return None, why
    if options and folded(text) != folded(options[ord(letter) - ord("A")]):
        return None, f"the text beside {letter} is not the text of option {letter}"
    if not options and _ANOTHER_LETTER.search(text):
        return None, "names more than one option"
    return letter, ""


def _within(found: re.Match[str], options: tuple[str, ...]) -> tuple[str | None, str]:
    """The letter, whichever brackets it stood in, if there is such an option."""
    letter = next(group for group in found.groups() if group).upper()
    if options and ord(letter) - ord("A") >= len(options):
        return None, f"there is no option {letter}, only {len(options)} options"
    return letter, ""
