"""Judged by rules alone: what a reply says as its answer, compared by the gold's kind. No judge, and no guess.

The answer is what stands in the reply's one `<answer>` block. A reply without such tags, as base and instruct models
write, is read after its thinking, by the first of these that is there:

    the key of its JSON that the benchmark asked for
    its last \\boxed{...}
    its last `the answer is ...` or `Answer: ...`, to the end of the line
    all of it, when it is one short line

Anything else is unparsed, and counts as wrong: whoever evaluates sees how often that was so.
"""

import json
import re
from collections.abc import Sequence

from firsthand.evaluation.benchmark import Benchmark, Gold
from firsthand.records import Answer, Example, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.extract import CLOSE, OPEN, extract, plain
from firsthand.reward.numerals import read_number
from firsthand.reward.verdicts import compared, unparsed

LONGEST_LINE = 200
"""Characters of a reply that is read whole (ours)."""
LONGEST = 2_000
"""Characters of an answer that are read, as everywhere."""
_STATES = re.compile(r"(?i)answer\s+is\b|answer\W{0,3}[:=]")
_LETTERS = re.compile(r"[A-Z](?:(?:\s*(?:,|and|&|;)\s*|\s+)[A-Z])*|[A-Z]+")
_BRACKETS = (("<<", ">>"), ("[", "]"), ("(", ")"))


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
        return self._benchmark.gold[int(example.meta["gold"])] if "gold" in example.meta else None


def compare(answer: str, expected: Answer, gold: Gold) -> Verdict | None:
    """Compare what the verifiers of training do not know: letters, text, numbers with a tolerance. None: they do."""
    if len(answer) > LONGEST:
        return unparsed(answer, f"{len(answer)} characters where an answer has at most {LONGEST}")
    if gold.kind == "letters":
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
    stated = _boxed(visible) or _said(visible)
    if stated is not None:
        return stated, ""
    line = visible.strip()
    if line and "\n" not in line and len(line) <= LONGEST_LINE:
        return line, ""
    return None, "no answer is stated" if line else "an empty reply"


def letters(text: str) -> frozenset[str] | None:
    """`A`, `(A)`, `A, C`, `A and C`, `AC` -> the letters; None when there is anything else."""
    text = plain(text.replace("**", "")).removesuffix(".").strip()
    for left, right in _BRACKETS:
        text = text.replace(left, " ").replace(right, " ").strip()
    if not _LETTERS.fullmatch(text):
        return None
    return frozenset(letter for word in re.split(r"\s*(?:,|\band\b|&|;|\s)\s*", text) for letter in word)


def _json(text: str, key: str) -> str | None:
    """A short answer of a JSON object within a text, LaTeX's backslashes allowed."""
    first, last = text.find("{"), text.rfind("}")
    if not 0 <= first < last:
        return None
    for candidate in (text[first : last + 1], re.sub(r"\\(?![\"\\/bfnrtu])", r"\\\\", text[first : last + 1])):
        try:
            found = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        value = found.get(key) if isinstance(found, dict) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip() or None
    return None


def _boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + len("\\boxed"), len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + len("\\boxed{") : place].strip() or None
    return None


def _said(text: str) -> str | None:
    """What follows the last `answer is` or `answer:`, without the mark-up around it."""
    ends = [found.end() for found in _STATES.finditer(text)]
    if not ends:
        return None
    said = text[ends[-1] :].lstrip(" \t\n:=*>")
    line = said.partition("\n")[0].strip().strip("*").strip()
    for left, right in _BRACKETS[:1]:
        line = line.removeprefix(left).partition(right)[0]
    return line.removesuffix(".").strip() or None


def _folded(text: str) -> str:
    return " ".join(plain(text).casefold().split()).removesuffix(".").strip()
