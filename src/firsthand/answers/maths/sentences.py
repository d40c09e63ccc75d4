"""What a sentence states: its box, its last formula, or what follows `is`. Never one of several answers.

The value is 7/9                                     7/9
The last digits of \\(2003^{2002}\\) are \\[009\\]    009
so the sum is $8+(-6)=\\boxed{2}$                    2
either $4$ or $5$; 7 is wrong                        nothing
"""

import re
from itertools import islice

from firsthand.answers.markup import closing_brace, without_markup
from firsthand.answers.maths.notation import COMMAND, PLAIN_WORDS, TEXT_COMMAND, in_few_spellings, with_plain_signs
from firsthand.answers.maths.tokens import Unread

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_FORMULA = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]|(?<!\\)\$\$([^$]+)\$\$|(?<!\\)\$([^$]+)(?<!\\)\$", re.DOTALL)
HEDGE = re.compile(
    r"(?i)\b(?:or|not|maybe|perhaps|either|neither|nor|unless|if|wrong|incorrect|except|possibly|unsure|but)\b"
    r"|n['\u2019]t\b|[\u4e0d\u6216\u975e]"
)
_LINK = re.compile(
    r"\b(?:is|are|equals?|was|be)\b\s{0,3}(?:equal\s+to\b|therefore\b)?|(?<=[a-z]{2}):\s|(?<=[a-z]\*\*):\s"
    r"|[\u662f\u4e3a]:?"
)
_CLAUSE = re.compile(r"[,.;:\n](?![0-9])")
_SEVERAL = re.compile(r"[0-9,;]|\band\b")
"""Between two verbs: each may state something."""
_WORD = re.compile("[A-Za-z]+|[\u4e00-\u9fff]{2}")


def plain_latex(text: str) -> str:
    """What a text states, in few spellings: for readers that know LaTeX alone. Raises Unread."""
    return in_few_spellings(without_full_stop(stated_in(with_plain_signs(without_full_stop(text)))))


def stated_in(text: str) -> str:
    """The text, or what a sentence states: its box, its last formula, or what follows `is`. Never one of several."""
    boxes = _boxed(text)
    if boxes:
        before, *_, after = _BOX.split(text)
        if len(set(boxes)) > 1 or HEDGE.search(_CLAUSE.split(before)[-1]) or HEDGE.search(after):
            raise Unread("several boxes, or one that is doubted")
        return boxes[0]
    formulas = list(_FORMULA.finditer(text))
    plain = TEXT_COMMAND.sub(r" \1 ", _FORMULA.sub(" 0 ", text))
    links = list(_LINK.finditer(plain))
    words = [word for word in _WORD.findall(COMMAND.sub(" ", plain)) if sum(map(str.isupper, word)) + 1 < len(word)]
    if not links or len(words) < (1 if plain[links[0].start()] == ":" else 2) or PLAIN_WORDS.fullmatch(text):
        return text
    if HEDGE.search(plain) or _SEVERAL.search(plain, links[0].end(), links[-1].start()):
        raise Unread("a sentence that does not state one answer")
    if formulas and formulas[-1].end() > len(text) // 2:
        return next(group for group in formulas[-1].groups() if group is not None) + text[formulas[-1].end() :]
    return plain[links[-1].end() :]


def _boxed(text: str) -> list[str]:
    """What is in the first two boxes."""
    found = []
    for start in islice(_BOX.finditer(text), 2):
        end = closing_brace(text, start.end())
        if end is None:
            raise Unread("a box that is not closed")
        found.append(text[start.end() : end].strip())
    return found


def without_full_stop(text: str) -> str:
    return without_markup(without_markup(text).removesuffix(".")).strip()
