"""Find the answer in a reply: the format rule, which is implicit (VLAA-Thinking, arXiv:2504.11468).

There is no separate format reward: a reply from which no single answer block can be extracted scores 0, whatever it
says. `extract` is linear in the length of the reply: replies are untrusted text, and this runs in the training process.
"""

import re
from typing import NamedTuple

OPEN, CLOSE = "<answer>", "</answer>"
LONGEST_ANSWER = 2_000
"""Characters of an answer that are read (ours). No answer but free text is longer; 100 KB of digits are."""

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
"""Mark-up around an answer that says nothing about its value."""

CHINESE_SIGNS = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII: digits, letters and signs
    | {ord(a): b for a, b in zip("\u3000\u3002\u3001\u3010\u3011\u201c\u201d\u2018\u2019", " .,[]\"\"''", strict=True)}
)
"""How Chinese text writes digits, letters and punctuation. Look-alikes of other scripts stay what they are."""

LEAD_IN = re.compile(
    r"\*{0,2}(?:output\s*[0-9]{0,3}\s*:"
    r"|(?:(?:so|thus|hence|therefore),?\s+)?(?:"
    r"(?:the\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice)(?:\s+is\s*:?|\s*[:=])"
    r"|it(?:\s+is|'s)\s|there\s+(?:are|is)\s)"
    r"|(?:正确)?答案\s*(?:是|为|:)\s*:?|=)\*{0,2}\s*",
    re.IGNORECASE,
)
"""Words in front of an answer that say nothing about its value: `Output 4:`, as in VLAA-Thinking's own data."""


class Extraction(NamedTuple):
    """The text between the answer tags, or None and the reason why there is none."""

    content: str | None
    why: str = ""


def extract(reply: str) -> Extraction:
    """The content of the reply's one `<answer>...</answer>` block.

    Everything up to the last `</think>` is thinking, and a block in the thinking does not count. Thinking that is never
    closed leaves no answer. Two blocks are as bad as none: otherwise listing every option would pay.
    """
    visible = reply.rpartition("</think>")[2]
    if "<think>" in visible:
        return Extraction(None, "the thinking is not closed")
    opened, closed = visible.count(OPEN), visible.count(CLOSE)
    if opened == closed == 0:
        return Extraction(None, "no <answer> block after the thinking" if OPEN in reply else "no <answer> block")
    if opened > 1 or closed > 1:
        return Extraction(None, f"{max(opened, closed)} <answer> blocks instead of one")
    before, _, after = visible.partition(OPEN)
    if opened == 0 or closed == 0 or CLOSE in before:
        return Extraction(None, "the <answer> block is incomplete")
    return Extraction(after.partition(CLOSE)[0].strip())


def plain(text: str) -> str:
    r"""The answer without what says nothing about its value: `Output 4: \[\boxed{７}\]` -> `7`.

    Costs the length of the text a few times over; callers bound the length.
    """
    text = bare(text.translate(CHINESE_SIGNS))
    if lead_in := LEAD_IN.match(text):
        text = bare(text[lead_in.end() :])
    return text


def bare(text: str) -> str:
    r"""Take off the wrappers that enclose the whole text: `$\boxed{A}$` -> `A`; `\boxed{1}+\boxed{2}` stays as it is.

    Costs the length of the text for each wrapper; callers bound the length.
    """
    text = text.strip()
    for left, right in WRAPPERS:
        if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
            inner = text[len(left) : len(text) - len(right)]
            if _belongs_together(inner, left, right):
                return bare(inner)
    return text


def _belongs_together(inner: str, left: str, right: str) -> bool:
    """Whether the wrapper at the start of a text is closed by the one at its end, and not before."""
    if right != "}":
        return left not in inner and right not in inner
    depth = 0
    for character in inner:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0
