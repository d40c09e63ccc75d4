"""Judged by rules alone: what a reply says as its answer, compared by the gold's kind. No judge, and no guess.

The answer is what stands in the reply's one `<answer>` block. A reply without such tags, as base and instruct models
write, is read after its thinking, by the first of these that is there:

    the key of its JSON that the benchmark asked for
    its last \\boxed{...}, unless a value is stated after it
    its last `the answer is ...` or `Answer: ...`, to the end of the line, or to a `because` or the sentence's end
    all of it, when it is one short line

Two different answers side by side are none, and so is one that the reply takes back (`Wait, ...`) or has only supposed.
Anything else is unparsed, and counts as wrong: whoever evaluates sees how often that was so.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from firsthand.answers.letters import read_letter
from firsthand.answers.numbers import read_number
from firsthand.answers.stated import CLOSE, OPEN, extract, plain
from firsthand.evaluation.benchmarks.spec import GOLD_RULE, Benchmark, Gold
from firsthand.records import Answer, Choice, Example, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.verdicts import compared, unparsed

VERSION = 1
"""Of these rules: it stands in a run's id, so that no number of other rules passes for one of these."""
LONGEST_LINE = 200
"""Characters of a reply that is read whole (ours)."""
LONGEST = 2_000
"""Characters of an answer that are read, as everywhere."""
_STATES = re.compile(
    r"""(?imx) answer\s+is\b | answer\W{0,3}[:=] | ^[\s*_\#]{0,8}(?:the\s)?(?:final\s|correct\s)?answer[\s*_]{0,4}$
    | answer\s(?:to|for)\s(?:the|this)\s(?:question|problem)\sis\b | (?:correct|right|best)\s(?:option|choice)\sis\b
    | \b(?:so|thus|hence|therefore),?\s(?:the\s)?(?:correct\s)?(?:option|choice)\s(?=\(?(?-i:[A-Z])\b)
    | (?:答案|正确选项)\s*(?:应该|应)?(?:是|为|选|[:\uff1a]) | (?<!不)(?:故|应|因此|所以)选择?"""
)
_SUPPOSED = re.compile(
    r"(?i)(?:(?:\b(?:if|suppose|assum\w+|whether|unless)|(?:\bnot|n't|n\u2019t|\bnever)\s(?:think|believe|say|sure|certain))"
    r"\s(?:that\s)?(?:the\s|my\s|our\s)?|\b(?:no|not|wrong|incorrect|possible|his|her|their|student['\u2019]?s)\s"
    r"|如果|假设|假如|若)(?:correct\s|final\s)?$"
)
"""In front of `answer is`: it is not stated."""
_TAKEN_BACK = re.compile(
    r"\b[Ww]ait\b(?=\s?[,.!?\u2026\u2014:;-])|\bBut wait\b|(?i:\bhold on\b|\bhmm+\b|\bon second thought|\bscratch that"
    r"|\bcorrection:|\b(?:my|a) mistake\b|\blet me re(?:check|consider|think|calculate|compute|evaluate|examine|read)"
    r"|[.!?\n]\s{0,3}(?:actually\b|oops|sorry\b|no,))|等等|等一下|不对|重新|更正"
)
"""After an answer: it no longer holds. `Actually` counts at the start of a sentence."""
_DENIED = re.compile(r"(?i)\b(?:wrong|incorrect|false|not sure|unsure|unclear|(?:is|are) not|isn't|can(?:no|')t)\b|不")
"""Beside a letter whose option is not known."""
_REASON = re.compile(
    r"(?i)[,.;:]?\s(?:because|since|due to)\b|[,;.]\s(?:as|given|based on)\b|[\s,，。；]?(?:因为|由于)"
)
_SENTENCE = re.compile(r"(?<=[^\s.])[.!](?=\s[A-Z])|。(?=\S)")
_HEDGE = re.compile(r"(?i)\b(?:or|but|however|maybe|perhaps|unless|although|though|not sure|unclear|so)\b|或|但|所以")
_VALUE = re.compile(r"(?:(?:option|choice)\s)?[(\[$\\*<\s]{0,9}(?-i:[A-Z]\b|[-+\u2212.]?[0-9]|\\)", re.IGNORECASE)
_ONE_LETTER = re.compile(r"(?i)(?:option\s|choice\s)?[(\[]?[A-Z][)\]]?")
_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}\\]|[{}]")
_NEXT_QUESTION = re.compile(r"(?im)^[\s*_\#]{0,8}(?:question|q|problem|human|user|问题|题目)\s?[0-9]{0,4}\s?[:\uff1a]")
_FILLERS = frozenset(("the", "final", "correct", "right", "my", "our", "so", "therefore", "thus", "hence", "and", "or"))
_BRACKETS = (("<<", ">>"), ("[", "]"), ("(", ")"))


class _Stated(NamedTuple):
    """A place that states an answer."""

    text: str
    start: int
    end: int


class Strict:
    """Judges the replies to one benchmark's examples."""

    def __init__(self, benchmark: Benchmark, router: Router) -> None:
        self._benchmark, self._router = benchmark, router

    def judge_many(self, pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
        """The verdict on each (reply, example), in order."""
        found: list[Verdict | None] = []
        routed: list[tuple[str, Answer]] = []
        for reply, example in pairs:
            answer, why = read(reply, self._benchmark.short_answer)
            gold = self._gold(example)
            if answer is None:
                found.append(Verdict(score=0.0, status=Status.WRONG_FORMAT, why=why))
            elif gold is not None and (own := compare(answer, example.answer, gold)) is not None:
                found.append(own)
            else:
                found.append(None)
                routed.append((f"{OPEN}{answer.replace(OPEN, '').replace(CLOSE, '')}{CLOSE}", example.answer))
        verdicts = iter(self._router.judge_many(routed))
        return [next(verdicts) if verdict is None else verdict for verdict in found]

    def _gold(self, example: Example) -> Gold | None:
        """The rule that an example's answer was made by; None of a rendered one."""
        return self._benchmark.gold[int(example.meta[GOLD_RULE])] if GOLD_RULE in example.meta else None


def compare(answer: str, expected: Answer, gold: Gold) -> Verdict | None:
    """Compare what the verifiers of training do not know: letters, text, numbers with a tolerance. None: they do."""
    if len(answer) > LONGEST:
        return unparsed(answer, f"{len(answer)} characters where an answer has at most {LONGEST}")
    if isinstance(expected, Choice) and not expected.options and _DENIED.search(answer):
        return unparsed(answer, "expected one option letter")
    if gold.kind == "letters":
        if _DENIED.search(answer):
            return unparsed(answer, "expected one or several option letters")
        got = letters(answer)
        if got is None:
            return unparsed(answer, "expected one or several option letters")
        return compared(got == letters(expected.text), ", ".join(sorted(got)), expected.text)
    if gold.kind == "text":
        return compared(_folded(answer) == _folded(expected.text), answer, expected.text)
    if gold.kind == "digit" and gold.tolerance is not None:
        number, right = read_number(plain(answer)), read_number(expected.text)
        assert right is not None  # or the row had been refused
        if number is None:
            return unparsed(answer, "expected one number, with at most its unit")
        return compared(abs(float(number.value) - float(right.value)) <= gold.tolerance, answer, expected.text)
    return None


def read(reply: str, short_answer: str | None = None) -> tuple[str | None, str]:
    """The answer as the reply states it, or None and why there is none; `short_answer` is the key of its JSON."""
    visible = reply.rpartition("</think>")[2]
    if "<think>" in visible:
        return None, "the thinking is not closed"
    if OPEN in visible or CLOSE in visible:
        found = extract(reply)
        if found.content is not None and short_answer is not None and (inner := _json(found.content, short_answer)):
            return inner, ""
        return found.content, found.why
    if short_answer is not None and (found_json := _json(visible, short_answer)) is not None:
        return found_json, ""
    visible = _without_further_questions(visible)
    if not visible.strip():
        return None, "an empty reply"
    stated, why = _stated(visible)
    if stated is not None or why:
        return stated, why
    line = visible.strip()
    if "\n" in line or len(line) > LONGEST_LINE:
        return None, "no answer is stated"
    return (None, "the answer is taken back") if _TAKEN_BACK.search(line) else (line, "")


def letters(text: str) -> frozenset[str] | None:
    """`A`, `(A)`, `A, C`, `A, B and C`, `AC`, `B. its text` -> the letters; None when there is anything else."""
    bare = plain(text.replace("**", "")).removesuffix(".").strip()
    for left, right in _BRACKETS:
        bare = bare.replace(left, " ").replace(right, " ").strip()
    words = [word for word in re.split(r"[\s,;&和]+|\band\b", bare) if word]
    if words and (all(re.fullmatch("[A-Z]", word) for word in words) or re.fullmatch("[A-Z]+", bare)):
        return frozenset("".join(words))
    one = read_letter(text, ()).letter
    return None if one is None else frozenset(one)


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


def _without_further_questions(text: str) -> str:
    """Up to where a base model, which has answered, goes on with a question of its own."""
    first = _STATES.search(text)
    further = _NEXT_QUESTION.search(text, first.end()) if first else None
    return text[: further.start()] if further else text


def _stated(text: str) -> tuple[str | None, str]:
    """What a text states last as its answer. None and the reason when that does not hold; no reason: it states none."""
    boxes, is_open = _boxes(text)
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
        if _folded(earlier.text) != _folded(last.text):
            return None, "two answers side by side"
    if _TAKEN_BACK.search(text, last.start):
        return None, "the answer is taken back"
    return last.text, ""


def _side_by_side(text: str, one: _Stated, other: _Stated) -> bool:
    """Whether neither words, but `or` and the like, nor a taking back are between two answers."""
    between = _words(text[one.end : other.start])
    said = [word for word in _words(one.text) if word not in _FILLERS]
    is_short = len(said) <= 3 and ("\n" in text[one.start : other.start] or _VALUE.match(one.text) is not None)
    is_list = is_short and all(len(word) == 1 or word in _FILLERS for word in between)
    return is_list and _TAKEN_BACK.search(text, one.start, other.start) is None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _boxes(text: str) -> tuple[list[_Stated], bool]:
    """What is boxed, outermost boxes alone, and whether the last one is never closed."""
    found: list[_Stated] = []
    opened: list[re.Match[str]] = []
    around = 0
    for brace in _BRACES.finditer(text):
        sign = brace[0]
        if sign == "}" and opened:
            start = opened.pop()
            around -= len(start[0]) > 1
            inner = text[start.end() : brace.start()].strip()
            if len(start[0]) > 1 and not around and inner:
                found.append(_Stated(inner, start.start(), brace.end()))
        elif sign.endswith("{") and sign != "\\{":
            opened.append(brace)
            around += len(sign) > 1
    return found, around > 0


def _statements(text: str) -> Iterator[_Stated]:
    """What follows `answer is` or `Answer:`, each up to the next or the end of its line."""
    matches = [found for found in _STATES.finditer(text) if _states(text, found.start())]
    ends = [found.start() for found in matches] + [len(text)]
    for found, end in zip(matches, ends[1:], strict=True):
        rest = text[found.end() : min(end, found.end() + LONGEST)]
        said = rest.lstrip(" \t\r\n:\uff1a=*>_")
        line = _display(said) or said.partition("\n")[0]
        value = _value(line)
        if any(word not in _FILLERS for word in _words(value)) or (value and not _words(value)):
            yield _Stated(value, found.start(), found.end() + len(rest) - len(said) + len(line))


def _states(text: str, start: int) -> bool:
    """Whether `answer is` states it, by what is in front: not `if the answer is`, `the wrong answer is`."""
    return _SUPPOSED.search(text[max(0, start - 60) : start]) is None


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


def _folded(text: str) -> str:
    return " ".join(plain(text).casefold().split()).removesuffix(".").strip()
