"""Ground truth of published data, freed of what stands around them; what is not understood stays as it is.

    Step 1: ... †Answer: y = -5x.                 -> y = -5x        the last `Answer:` or `the answer is`
    Output 4: \\[\\boxed{y=|x+9|}\\]                -> y=|x+9|        the last \\boxed{}, and wrappers of maths
    a = -5, y = -5x                               -> y = -5x        for a question that asks for the function
    (a), A), A. A cat                             -> A              for a choice
The wrappers are those found in VLAA-Thinking's files and in the sets that they were made from. They are fewer than
those of answers/markup.py on purpose: what is read here becomes part of an example's id, and `\\text{cat}` or `"cat"`
in a file is its author's answer, while in a reply it is a way to write one.
"""

import re

_BOXED = re.compile(r"\\f?boxed\s*\{")
# No pattern may start with white space, or try each of many starts to the end: answers come from others, and are long.
_MARKER = re.compile(r"\banswer\s{0,9}(?:is\b\s{0,9}:?|:|：)\s{0,9}\**", re.IGNORECASE)
_OUTPUT = re.compile(r"^output\s*\d*\s*[:：]?\s*", re.IGNORECASE)
_WRAPPERS = (("\\[", "\\]"), ("\\(", "\\)"), ("$$", "$$"), ("$", "$"), ("**", "**"))
_LETTER = re.compile(r"\(?([A-Za-z])(?:\)|\.|:|：|$)")
_FUNCTION = re.compile(r"(?:y|[fg]\s*\(\s*x\s*\))\s*=")
_BOX = re.compile(r"\[\s*[\d.]+(?:\s*,\s*[\d.]+){3}\s*\]")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SIGNS = " \t\n$\\()[]{}*.,;。"
_MOST_BOXES = 8
"""Unfinished boxes that are passed over before the search ends (ours)."""
_MOST_WRAPPERS = 8
"""Wrappers inside each other that are taken off (ours)."""
_EQUATION = re.compile(r"[A-Za-z]\w*(?:\s*\(\s*\w\s*\))?\s*=")


def normalised_answer(answer: object, kind: str | None) -> object:
    """An answer without what stands around it. Values that are not text, and open answers, stay as they are."""
    if not isinstance(answer, str) or kind == "open":
        return answer
    text = answer.strip()
    marked = list(_MARKER.finditer(text))
    text = text[marked[-1].end() :].strip() or text if marked else text  # what follows the last `Answer:`
    boxed = _split_at_box(text)
    text = unwrapped(unwrapped(_OUTPUT.sub("", boxed[1] if boxed else text)).rstrip("."))
    if kind == "box":
        boxes = _BOX.findall(text)
        return boxes[0] if len(boxes) == 1 else text
    if kind == "choice":
        letter = _LETTER.match(text)
        return letter.group(1).upper() if letter else text
    return _function(text) if kind in ("math", None) else text


def unwrapped(text: str) -> str:
    """Text without the marks of maths, and the box, that stand around all of it."""
    for _ in range(_MOST_WRAPPERS):
        inner = _inside(text := text.strip())
        if inner is None:
            break
        text = inner
    return text


def _inside(text: str) -> str | None:
    """What one wrapper holds that stands around all of the text."""
    for before, after in _WRAPPERS:
        inner = text[len(before) : -len(after)]
        if text.startswith(before) and text.endswith(after) and len(text) > len(before + after) and before not in inner:
            return inner
    start = _BOXED.match(text)
    return text[start.end() : -1] if start and _closing(text, start.end()) == len(text) - 1 else None


def boxed_at_the_end(text: str) -> str | None:
    """What the last box holds, where steps stand before it and nothing but signs behind it."""
    before, inside, after = _split_at_box(text) or ("", None, "")
    return inside if before.strip(_SIGNS) and not after.strip(_SIGNS) else None


def _split_at_box(text: str) -> tuple[str, str, str] | None:
    """What is before, in and behind the last box."""
    for start in list(_BOXED.finditer(text))[: -_MOST_BOXES - 1 : -1]:
        if (end := _closing(text, start.end())) is not None:
            return text[: start.start()], text[start.end() : end], text[end + 1 :]
    return None


def _closing(text: str, start: int) -> int | None:
    """Where the brace that was opened just before `start` closes."""
    if "}" not in text:
        return None
    depth = 1
    for sign in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(sign.group(), 0)
        if depth == 0:
            return sign.start()
    return None


def _function(text: str) -> str:
    """Of several equations the one that gives the function: the others solve for its parameters."""
    parts = [part.strip() for part in re.split(r"[,;\n]|\band\b|\bso\b", text) if part.strip()]
    functions = [part for part in parts if _FUNCTION.match(part)]
    several = len(parts) > 1 and all(_EQUATION.match(part) for part in parts)
    return functions[0] if several and len(functions) == 1 else text
