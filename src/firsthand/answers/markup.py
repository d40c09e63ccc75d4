"""Mark-up around an answer that says nothing about its value: wrappers, lead-in words, full-width signs.

Taking it off costs the length of the text a few times over; callers bound the length.
"""

import re
from itertools import accumulate

WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("\\boxed{", "}"),
    ("\\text{", "}"),
    ("\\textbf{", "}"),
    ("\\mathrm{", "}"),
    ("\\mathbf{", "}"),
)

_CHINESE_SIGNS = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII: digits, letters and signs
    | {ord(a): b for a, b in zip("\u3000\u3002\u3001\u3010\u3011\u201c\u201d\u2018\u2019", " .,[]\"\"''", strict=True)}
)
"""How Chinese text writes digits, letters and punctuation. Look-alikes of other scripts stay what they are."""

_LEAD_IN = re.compile(
    r"\*{0,2}(?:output\s*[0-9]{0,3}\s*:"
    r"|(?:(?:so|thus|hence|therefore),?\s+)?(?:"
    r"(?:the\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice)(?:\s+is\s*:?|\s*[:=])"
    r"|it(?:\s+is|'s)\s|there\s+(?:are|is)\s)"
    r"|(?:正确)?答案\s*(?:是|为|:)\s*:?|=)\*{0,2}\s*",
    re.IGNORECASE,
)
"""Words in front of an answer that say nothing about its value: `Output 4:`, as in VLAA-Thinking's own data."""


def without_markup(text: str) -> str:
    r"""The answer without what says nothing about its value: `Output 4: \[\boxed{７}\]` -> `7`."""
    text = without_wrappers(text.translate(_CHINESE_SIGNS))
    if lead_in := _LEAD_IN.match(text):
        text = without_wrappers(text[lead_in.end() :])
    return text


def without_wrappers(text: str) -> str:
    r"""Take off the wrappers that enclose the whole text: `$\boxed{A}$` -> `A`; `\boxed{1}+\boxed{2}` stays."""
    text = text.strip()
    for left, right in WRAPPERS:
        if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
            inner = text[len(left) : len(text) - len(right)]
            if braces_match(inner) if right == "}" else left not in inner and right not in inner:
                return without_wrappers(inner)
    return text


def braces_match(text: str) -> bool:
    """Whether every brace that opens closes, and none closes before it opens."""
    depths = [0, *accumulate((sign == "{") - (sign == "}") for sign in text)]
    return depths[-1] == 0 and min(depths) == 0


def folded(text: str) -> str:
    """A text by which two are the same: case, spacing, mark-up and a final full stop do not count."""
    return " ".join(without_markup(text).casefold().split()).removesuffix(".").strip()
