"""The answer that a reply states, read by one of two rules.

`tags` is the rule of training, which is its format rule too (VLAA-Thinking, arXiv:2504.11468): the answer is what is in
the reply's one `<answer>` block after the thinking. There is no separate format reward: a reply from which no single
block can be extracted scores 0, whatever it says.

`stated` also reads a reply without such tags, as base and instruct models write it, after its thinking, by the first of
these that is there:

    the key of its JSON that was asked for
    its last \\boxed{...}, unless a value is stated after it
    its last `the answer is ...` or `Answer: ...`, to the end of the line, or to a `because` or the sentence's end
    all of it, when it is one short line; of a sum that is worked out, `22 + 14 = 36.`, its result

Two different answers side by side are none, and so is one that the reply takes back (`Wait, ...`) or has only supposed.

Both are linear in the length of the reply: replies are untrusted text, and this runs in the training process.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from firsthand.answers.markup import folded, without_markup
from firsthand.answers.wording import STATES, TAKEN_BACK

OPEN, CLOSE = "<answer>", "</answer>"
LONGEST_ANSWER = 2_000
"""Characters of an answer that are read (ours). No answer but free text is longer; 100 KB of digits are."""
_LONGEST_LINE = 200
"""Characters of a reply that is read whole (ours)."""
Rule = Literal["tags", "stated"]
_NO_BLOCK = "no <answer> block"

_SUPPOSED = re.compile(
    r"(?i)(?:(?:\b(?:if|suppose|assum\w+|whether|unless)|(?:\bnot|n't|n\u2019t|\bnever)\s(?:think|believe|say|sure|certain))"
    r"\s(?:that\s)?(?:the\s|my\s|our\s)?|\b(?:no|not|wrong|incorrect|possible|his|her|their|student['\u2019]?s)\s"
    r"|如果|假设|假設|假如|若|[错錯][误誤]的?|[不非]|不[认認觉覺][为為得]|是否|可能的?)(?:correct\s|final\s)?$"
)
"""In front of `answer is`: it is not stated, as in `if the answer is` and `the wrong answer is`."""
_REASON = re.compile(
    r"(?i)[,.;:]?\s(?:(?:this|that|it)\sis\s)?(?:because|since|due to)\b|[,;.]\s(?:as|given|based on)\b"
    r"|[\s,，。；]?(?:因为|因為|由于|由於)"
)
_SENTENCE = re.compile(r"(?<=[^\s.])[.!](?=\s[A-Z])|。(?=\S)")
_HEDGE = re.compile(r"(?i)\b(?:or|but|however|maybe|perhaps|unless|although|though|not sure|unclear|so)\b|或|但|所以")
_VALUE = re.compile(r"(?:(?:option|choice)\s)?[(\[$\\*<\s]{0,9}(?-i:[A-Z]\b|[-+\u2212.]?[0-9]|\\)", re.IGNORECASE)
_ONE_LETTER = re.compile(r"(?i)(?:option\s|choice\s)?[(\[]?[A-Z][)\]]?")
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}\\]|[{}]")
_NEXT_QUESTION = re.compile(
    r"(?im)^[\s*_\#]{0,8}(?:question|q|problem|human|user|问题|問題|题目|題目)\s?[0-9]{0,4}\s?[:\uff1a]"
)
_GAP = " ()\uff08\uff09[]_\u3000"
"""What a question has where its answer belongs, `正确的是（　）`, when a reply repeats it."""
_WORKED = re.compile(r"[(0-9][-+*/\u00d7\u00f7\u00b7\u2212()0-9., ]{2,100}=\s?(?=[-+$]?[0-9])")
"""An arithmetic expression in front of its value."""
_FILLERS = frozenset(("the", "final", "correct", "right", "my", "our", "so", "therefore", "thus", "hence", "and", "or"))


class Block(NamedTuple):
    """A text's one `<answer>` block."""

    before: str
    """The text up to the first opening tag; all of it where there is none."""
    inside: str | None
    """None where there is no block, more than one, or half of one."""
    why: str = ""
    """Why `inside` is None."""


class _Statement(NamedTuple):
    """A place that states an answer."""

    text: str
    start: int
    end: int


def read_answer(
    reply: str, rule: Rule = "tags", key: str | None = None, *, is_free: bool = False
) -> tuple[str | None, str]:
    """The answer that the reply states by a rule, or None and the reason why there is none.

    `key` is that of the JSON which the reply was asked for, if any. `is_free`: the answer is text of any length, so
    that `stated` reads a reply without tags whole.
    Everything up to the last `</think>` is thinking, and nothing in it counts. Thinking that is never closed leaves no
    answer. Two blocks are as bad as none: otherwise listing every option would pay.
    """
    visible = reply.rpartition("</think>")[2]
    if "<think>" in visible:
        return None, "the thinking is not closed"
    if rule == "stated" and OPEN not in visible and CLOSE not in visible:
        return (visible.strip(), "") if is_free and visible.strip() else _without_tags(visible, key)
    _, inside, why = answer_block(visible)
    if rule == "stated" and inside is not None and key is not None and (member := _json(inside, key)):
        return member, ""
    if why == _NO_BLOCK and OPEN in reply:
        return None, f"{_NO_BLOCK} after the thinking"
    return inside, why


def answer_block(text: str) -> Block:
    """The text's one `<answer>...</answer>` block, wherever it stands."""
    before, _, after = text.partition(OPEN)
    inside, closing, rest = after.partition(CLOSE)
    if closing and OPEN not in after and CLOSE not in rest and CLOSE not in before:
        return Block(before, inside.strip())
    opened, closed = text.count(OPEN), text.count(CLOSE)
    if opened == closed == 0:
        return Block(before, None, _NO_BLOCK)
    if opened > 1 or closed > 1:
        return Block(before, None, f"{max(opened, closed)} <answer> blocks instead of one")
    return Block(before, None, "the <answer> block is incomplete")


def split_last_block(text: str, tag: str) -> tuple[str, str] | None:
    """What is before and in the last `<tag>...</tag>`, if the text ends with one."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    text = text.rstrip()
    start = text.rfind(opening)
    if start < 0 or not text.endswith(closing):
        return None
    return text[:start], text[start + len(opening) : -len(closing)]


def _without_tags(visible: str, key: str | None) -> tuple[str | None, str]:
    if key is not None and (member := _json(visible, key)) is not None:
        return member, ""
    first = STATES.search(visible)
    if first and (further := _NEXT_QUESTION.search(visible, first.end())):
        visible = visible[: further.start()]  # a base model, which has answered, goes on with a question of its own
    if not visible.strip():
        return None, "an empty reply"
    stated, why = _stated(visible)
    if stated is not None or why:
        return stated, why
    line = visible.strip()
    if "\n" in line or len(line) > _LONGEST_LINE:
        return None, "no answer is stated"
    if TAKEN_BACK.search(line):
        return None, "the answer is taken back"
    worked = _WORKED.match(bare := without_markup(line))
    return bare[worked.end() :] if worked else line, ""


def _json(text: str, key: str) -> str | None:
    """A short answer of a JSON object within a text, LaTeX's backslashes and braces allowed."""
    first, last = text.find("{"), text.rfind("}")
    whole = text[first : last + 1] if 0 <= first < last else ""
    member = text.rfind(f'"{key}"')  # alone, where the rest of the object is no JSON
    short = "{" + text[member : last + 1] if 0 <= member < last else ""
    for candidate in (whole, short):
        for escaped in (candidate, re.sub(r"\\(?![\"\\/bfnrtu])", r"\\\\", candidate)):
            try:
                found = json.loads(escaped, strict=False)
            except (ValueError, RecursionError):
                continue
            value = found.get(key) if isinstance(found, dict) else None
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value).translate(_COMMANDS).strip() or None
    return None


_COMMANDS = str.maketrans({"\f": "\\f", "\b": "\\b", "\t": "\\t"})
"""`\frac`, `\beta` and `\theta` in JSON, by those who forget to double the backslash."""


def _stated(text: str) -> tuple[str | None, str]:
    """What a text states last as its answer. None and the reason when that does not hold; no reason: it states none."""
    boxes, is_open = _boxed(text)
    if is_open:
        return None, "the last box is not closed"
    found = list(_statements(text))
    if boxes and (not found or found[-1].start < boxes[-1].end or not _VALUE.match(found[-1].text)):
        found = boxes
    if not found:
        return None, ""
    last = found[-1]
    for later, earlier in pairwise(reversed(found)):
        if not _side_by_side(text, earlier, later):
            break
        if folded(earlier.text) != folded(last.text):
            return None, "two answers side by side"
    if TAKEN_BACK.search(text, last.start):
        return None, "the answer is taken back"
    return last.text, ""


def _side_by_side(text: str, one: _Statement, other: _Statement) -> bool:
    """Whether neither words, but `or` and the like, nor a taking back are between two answers."""
    between = _words(text[one.end : other.start])
    said = [word for word in _words(one.text) if word not in _FILLERS]
    is_short = len(said) <= 3 and ("\n" in text[one.start : other.start] or _VALUE.match(one.text) is not None)
    is_list = is_short and all(len(word) == 1 or word in _FILLERS for word in between)
    return is_list and TAKEN_BACK.search(text, one.start, other.start) is None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _boxed(text: str) -> tuple[list[_Statement], bool]:
    """What is boxed, outermost boxes alone, and whether the last one is never closed."""
    found: list[_Statement] = []
    opened: list[re.Match[str]] = []
    around = 0
    for brace in _BRACES.finditer(text):
        sign = brace[0]
        if sign == "}" and opened:
            start = opened.pop()
            around -= len(start[0]) > 1
            inner = text[start.end() : brace.start()].strip()
            if len(start[0]) > 1 and not around and inner:
                found.append(_Statement(inner, start.start(), brace.end()))
        elif sign.endswith("{") and sign != "\\{":
            opened.append(brace)
            around += len(sign) > 1
    return found, around > 0


def _statements(text: str) -> Iterator[_Statement]:
    """What follows `answer is` or `Answer:`, each up to the next or the end of its line."""
    matches = [
        found
        for found in STATES.finditer(text)
        if not _SUPPOSED.search(text[max(0, found.start() - 60) : found.start()])
    ]
    ends = [found.start() for found in matches] + [len(text)]
    for found, end in zip(matches, ends[1:], strict=True):
        rest = text[found.end() : min(end, found.end() + LONGEST_ANSWER)]
        said = rest.lstrip(" \t\r\n:\uff1a=*>_\u2192\u21d2\u27a1\ufe0f")
        line = _display(said) or said.partition("\n")[0]
        value = _value(line)
        is_sign = value.strip(_GAP) != "" and not _words(value)
        if any(word not in _FILLERS for word in _words(value)) or is_sign:
            yield _Statement(value, found.start(), found.end() + len(rest) - len(said) + len(line))


def _display(said: str) -> str:
    """A formula that has lines of its own."""
    for left, right in (("$$", "$$"), ("\\[", "\\]")):
        if said.startswith(left) and right in said[2:]:
            return left + said[2:].partition(right)[0] + right
    return ""


def _value(line: str) -> str:
    """A statement without the mark-up around it, the reason behind it and the sentences after it."""
    line = re.sub(r"\*\*(?=[\s.,;:!?。，]|$)", "", " ".join(line.split())).strip()
    if line.startswith("<<"):
        line = line[2:].partition(">>")[0].strip()
    for cut in (_REASON.search(line), _SENTENCE.search(line)):
        head = line[: cut.start()] if cut else ""
        is_reason = cut is not None and cut.re is _REASON
        # `B. The third` may be a letter and its text, which must agree: that is for the verifier to see
        if cut and head and (is_reason or not _ONE_LETTER.fullmatch(head)) and not _HEDGE.search(line, cut.end()):
            line = head
    return line.strip().strip("*").removesuffix(".").strip()
