"""Find the answer in a reply: the format rule, which is implicit (VLAA-Thinking, arXiv:2504.11468).

There is no separate format reward: a reply from which no single answer block can be extracted scores 0, whatever it
says. `extract` is linear in the length of the reply: replies are untrusted text, and this runs in the training process.
"""

from typing import NamedTuple

OPEN, CLOSE = "<answer>", "</answer>"

WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("\\boxed{", "}"),
    ("\\text{", "}"),
    ("\\textbf{", "}"),
    ("\\mathrm{", "}"),
    ("\\mathbf{", "}"),
)
"""Mark-up around an answer that says nothing about its value."""


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
