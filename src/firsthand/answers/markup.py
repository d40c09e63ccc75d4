"""Mark-up around an answer that says nothing about its value: wrappers, lead-in words, full-width and invisible signs.

Taking it off costs the length of the text a few times over; callers bound the length.
"""

import re
from itertools import accumulate

from firsthand.answers.wording import LEADS_IN

WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("*", "*"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("\\boxed{", "}"),
    ("\\text{", "}"),
    ("\\textbf{", "}"),
    ("\\mathrm{", "}"),
    ("\\mathbf{", "}"),
)

_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # ASCII's digits, letters and signs
_SIGNS = _FULL_WIDTH | str.maketrans("\u3000。、【】〔〕「」『』“”‘’￥￡", ' .,[][]""""""\'\'¥£')
"""How Chinese text writes digits, letters and punctuation. Look-alikes of other scripts stay what they are."""
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "₀₁₂₃₄₅₆₇₈₉₊₋ₙ"
ON_THE_LINE = str.maketrans(RAISED + LOWERED, "0123456789+-n" * 2)
"""A raised or lowered sign -> the sign itself."""
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\ufe0e\ufe0f"
_BETWEEN_SIGNS = re.compile(rf"(?<=\w)[{_INVISIBLE}]+(?=\w)")
_NOWHERE_ELSE = re.compile(f"[{_INVISIBLE}]+")
_HARD_SPACE = re.compile("(?<![0-9])[\u00a0\u2007\u2009\u202f]|[\u00a0\u2007\u2009\u202f](?![0-9])")
"""Between digits it may part thousands."""
_ORNAMENTS = "✅✔☑👉🎯📌📍🔹🔸💡🏆🏁🎉🎊✨📝🔢🧮🔑💬🤖👍🙂😊"
"""In front of an answer or behind it they say nothing. Signs that may be the answer, or deny it, are not among them."""
_ARROW = re.compile(r"(?:[\u2192\u21d2\u27a1\u2234]|[-=]>|\\(?:[Rr]ightarrow|implies|therefore)\b)\s+(?=[\w\\$*(])")
_HOPE = re.compile(r"\s?\bI hope (?:it|this) is correct\.?\s*$")
"""How Minerva's prompt ends an answer (arXiv:2206.14858)."""
_BOLD = re.compile(r"(?<![\w)\]}*])\*\*(?![\s*])([^*]+)(?<!\s)\*\*(?![0-9A-Za-z])")


def without_markup(text: str) -> str:
    r"""The answer without what says nothing about its value: `Output 4: \[\boxed{７}\]` -> `7`."""
    text = without_wrappers(_without_ornaments(_HOPE.sub("", without_signs(text))))
    for _ in range(3):  # `Final Answer: The final answer is 7`
        lead_in = LEADS_IN.match(text)
        rest = text[lead_in.end() :] if lead_in else ""
        if rest.startswith("**") and rest.count("**") % 2:
            rest = rest[2:]  # of a lead-in in bold
        if not rest.strip():
            break
        text = without_wrappers(_without_ornaments(rest))
    return text


def without_signs(text: str) -> str:
    """Full-width and Chinese signs as their ASCII twins, and no invisible ones; what they parted stays apart."""
    text = _HARD_SPACE.sub(" ", text.translate(_SIGNS))
    return text if text.isascii() else _NOWHERE_ELSE.sub("", _BETWEEN_SIGNS.sub(" ", text))


def without_bold(text: str) -> str:
    """`**B.** red` -> `B. red`; a power stays: `2**3`."""
    return _BOLD.sub(r"\1", text)


def without_wrappers(text: str) -> str:
    r"""Take off the wrappers that enclose the whole text, but for a full stop: `$\boxed{A}$.` -> `A`.

    `\boxed{1}+\boxed{2}` stays.
    """
    text = text.strip()
    whole = text.removesuffix(".")
    for left, right in WRAPPERS:
        if whole.startswith(left) and whole.endswith(right) and len(whole) >= len(left) + len(right):
            inner = whole[len(left) : len(whole) - len(right)]
            if braces_match(inner) if right == "}" else left not in inner and right not in inner:
                return without_wrappers(inner)
    return text


def without_first_wrapper(text: str) -> str:
    r"""Take off the wrapper around the beginning, if there is none behind it: `\boxed{7} cubes` -> `7 cubes`."""
    for left, right in WRAPPERS:
        if not text.startswith(left):
            continue
        inner, rest = _closed(text[len(left) :], right)
        if inner.strip() and rest and left not in rest:
            return f"{inner.strip()} {rest.lstrip()}"
    return text


def braces_match(text: str) -> bool:
    """Whether every brace that opens closes, and none closes before it opens."""
    depths = [0, *accumulate((sign == "{") - (sign == "}") for sign in text)]
    return depths[-1] == 0 and min(depths) == 0


def closing_brace(text: str, start: int = 0) -> int | None:
    """Where the brace closes that was opened just before `start`; None where it does not."""
    depths = accumulate((sign == "{") - (sign == "}") for sign in text[start:])
    return next((place for place, depth in enumerate(depths, start) if depth < 0), None)


def folded(text: str) -> str:
    """A text by which two are the same: case, spacing, mark-up and a final full stop do not count."""
    return " ".join(without_markup(text).casefold().split()).removesuffix(".").strip()


def _closed(text: str, right: str) -> tuple[str, str]:
    """What is before and behind the sign that closes; all and nothing where none does."""
    if right != "}":
        inner, _, rest = text.partition(right)
        return inner, rest
    end = closing_brace(text)
    return (text, "") if end is None else (text[:end], text[end + 1 :])


def _without_ornaments(text: str) -> str:
    bare = text.strip().strip(_ORNAMENTS).strip()
    if found := _ARROW.match(bare):
        bare = bare[found.end() :]
    return bare or text
