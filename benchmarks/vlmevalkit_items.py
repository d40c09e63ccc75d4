"""Made-up questions, replies and judge's answers in the columns of six benchmarks, as VLMEvalKit's tables have them.

Nothing here comes from the benchmarks: only the columns are theirs. A template may use {L} and {W} (the right and a
wrong option, letter), {T} and {V} (their texts), {l} (lower case), {N} and {W} (the right and a wrong number).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

Answers = Sequence[str | None]
"""What the judge says, call by call; None is a call that fails."""


@dataclass(frozen=True)
class Item:
    """A row of a table, a reply to it, and what the judge would say."""

    index: str
    case: str
    cells: dict[str, str]
    prediction: str
    judge: dict[str, Answers]


class Case(NamedTuple):
    """A reply and the judge's answers to it, as templates."""

    name: str
    reply: str
    judge: Answers


LONG = "The sides of the figure are compared one after another, and each is as long as the one before it. " * 400
"""More characters than a cell of a spreadsheet holds (32767)."""

VAGUE = "Going by the shading, I would take the one at the far end of the row."
WORKED = "First the two sides are added, then the sum is halved, and that is the length asked for."
THINK = "<think>The two sides are equal.</think><answer>{}</answer>"
MISSING = ("", "None", "nan", "null", "NA", "N/A", "NULL", "NaN")
"""Replies that a spreadsheet gives back as no value at all."""

CHOICES: tuple[Case, ...] = (
    Case("letter", "{L}", ["{L}"]),
    Case("wrong letter", "{W}", ["{W}"]),
    Case("letter with full stop", "{L}.", ["{L}"]),
    Case("letter in brackets", "({L})", ["{L}"]),
    Case("lower-case letter", "{l}", ["{L}"]),
    Case("lower-case letter in brackets", "({l})", ["{l}"]),
    Case("sentence", "The answer is {L}.", ["{L}"]),
    Case("wrong sentence", "The correct answer is ({W}).", ["{W}"]),
    Case("bold", "The correct answer is **{L}**. Here is why: the two angles are equal and so are the sides.", ["{L}"]),
    Case("letter and text", "{L}. {T}", ["{L}"]),
    Case("letter of one option, text of another", "({W}) {T}", ["{W}"]),
    Case("text alone", "{T}", ["{L}"]),
    Case("text in capitals", "{TU}", ["{L}"]),
    Case("wrong text alone", "{V}", ["{W}"]),
    Case("text in a sentence", "From the picture I read {T}", ["{L}"]),
    Case("both texts", "It is {T} and not {V}", ["{L}"]),
    Case("think and answer tags", THINK.format("{L}"), ["{L}"]),
    Case("think and answer tags, wrong", THINK.format("{W}"), ["{W}"]),
    Case("answer tags with spaces", "<think>The two sides are equal.</think> <answer> {L} </answer>", ["{L}"]),
    Case("boxed", r"Hence \boxed{{{L}}}", ["{L}"]),
    Case("boxed text", r"Hence $\boxed{{\text{{{L}}}}}$", ["{L}"]),
    Case("boxed wrong", r"Hence \boxed{{{W}}}", ["{W}"]),
    Case(
        "several letters, right at the end",
        "Option {W} cannot be right since it is too small, and the rest do not fit the drawing. Final answer: {L}",
        ["{L}"],
    ),
    Case(
        "right letter early and once",
        "{L} is what I choose, because the picture shows five sides, and each of them is as long as the next.",
        ["{L}"],
    ),
    Case(
        "the answer is W, taken back later",
        "At first sight the answer is {W}. Looking again at the drawing I would rather say {L}, as it is larger.",
        ["{L}"],
    ),
    Case("article A, short", "A right triangle.", ["Z"]),
    Case("article A, long", "A triangle with one right angle is drawn in the middle of the page.", ["Z"]),
    Case("answer is clear", "The answer is clear from the picture.", ["Z"]),
    Case("answer is because", "Well, the answer is because of the angle.", ["Z"]),
    Case("answer is defined", "I think the answer is defined by the angle.", ["Z"]),
    Case("answer is about", "The answer is about to be found.", ["Z"]),
    Case("two letters", "{L} or {W}", ["{L}"]),
    Case("two letters, judge gives both", "Both {L} and {W}", ["{L}, {W}"]),
    Case("refusal, known", "Sorry, I can't help with images of people yet.", ["Z"]),
    Case("refusal, known, with a letter", "Cannot determine the answer, so I guess {L}", ["{L}"]),
    Case("refusal, unknown", "I won't say anything on this picture.", ["Z"]),
    Case("letter Z", "Z", ["Z"]),
    Case("letter out of range", "Q", ["Z"]),
    Case("Chinese", "答案是{L}。", ["{L}"]),
    Case("Chinese with a space", "选项 {L}", ["{L}"]),
    Case("full-width letter", "{LW}", ["{LW}"]),
    Case("quotes", '"{L}"', ["{L}"]),
    Case("tab and newline", "\t{L}\n", ["{L}"]),
    Case("lines, quotes and tabs", 'Steps:\n1. "left" side\n2. right\tside\n\nAnswer: {L}', ["{L}"]),
    Case("Windows line ends", "Steps:\r\n1. sides\r\n\r\nAnswer: {L}\r\n", ["{L}"]),
    Case("form feed of a broken \\frac", "With \x0crac12 the sum is one.\nAnswer: {L}", ["{L}"]),
    Case("underscores like an escape", "_x0041_ {L}", ["{L}"]),
    Case("hyphen", "-{L}-", ["{L}"]),
    Case("letter and equals sign", "={L}", ["{L}"]),
    Case("markdown heading", "### Answer\n{L}", ["{L}"]),
    Case("template with angle brackets", "<Thought process>: <<equal sides>> <Answer>: <<{L}>>", ["{L}"]),
    Case("template, wrong", "<Thought process>: <<equal sides>> <Answer>: <<{W}>>", ["{W}"]),
    Case("Answer with angle brackets", "Answer: <<{L}>>", ["{L}"]),
    Case("failure text as reply", "Failed to obtain answer via API.", ["Z"]),
    Case("judge: full stop", VAGUE, ["{L}."]),
    Case("judge: sentence", VAGUE, ["The answer is {L}"]),
    Case("judge: brackets", VAGUE, ["({L})"]),
    Case("judge: lower case", VAGUE, ["{l}"]),
    Case("judge: spaces and newline", VAGUE, [" {L}\n"]),
    Case("judge: empty", VAGUE, [""]),
    Case("judge: empty, then right", VAGUE, ["", "{L}"]),
    Case("judge: judgement", VAGUE, ["Judgement: 1"]),
    Case("judge: two letters", VAGUE, ["{L}, {W}"]),
    Case("judge: two letters, then one", VAGUE, ["{L}, {W}", "{L}"]),
    Case("judge: null", VAGUE, ["null"]),
    Case("judge: None", VAGUE, ["None"]),
    Case("judge: option text", VAGUE, ["{T}"]),
    Case("judge: Option L", VAGUE, ["Option {L}"]),
    Case("judge: full width", VAGUE, ["{LW}"]),
    Case("judge: bold", VAGUE, ["**{L}**"]),
    Case("judge: NONE", VAGUE, ["NONE"]),
    Case("judge: wrong", VAGUE, ["{W}"]),
    Case("judge down twice", VAGUE, [None, None, "{L}"]),
    Case("judge down four times", VAGUE, [None, None, None, None, "{L}"]),
    Case("judge down", VAGUE, [None]),
    Case("judge unsure three times", VAGUE, ["I cannot tell", "I am not sure", "Hard to say", "{L}"]),
)

NUMBERS: tuple[Case, ...] = (
    Case("number", "{N}", ["{N}"]),
    Case("wrong number", "{W}", ["{W}"]),
    Case("spaces", "  {N} \n", ["{N}"]),
    Case("plus sign", "+{N}", ["{N}"]),
    Case("trailing zero", "{N0}", ["{N0}"]),
    Case("full stop", "{N}.", ["{N}."]),
    Case("sentence", "The number missing is {N}.", ["{N}"]),
    Case("sentence, wrong", "The number missing is {W}.", ["{W}"]),
    Case("unit", "{N} cm", ["{N}"]),
    Case("unit kept by the judge", "{N} cm", ["{N} cm"]),
    Case("unit in LaTeX", r"${N} \mathrm{{cm}}$", [r"{N} \mathrm{{cm}}"]),
    Case("percent", "{N}%", ["{N}%"]),
    Case("dollar", "${N}", ["${N}"]),
    Case("boxed", r"Hence \boxed{{{N}}}", ["{N}"]),
    Case("boxed alone", r"\boxed{{{N}}}", [r"\boxed{{{N}}}"]),
    Case("think and answer tags", THINK.format("{N}"), ["{N}"]),
    Case("think and answer tags, wrong", THINK.format("{W}"), ["{W}"]),
    Case("LaTeX dollars", "${N}$", ["${N}$"]),
    Case("equation", "x = {N}", ["x = {N}"]),
    Case("underscore", "{N}_0", ["{N}"]),
    Case("full-width digits", "{NW}", ["{NW}"]),
    Case("Chinese", "答案是{N}。", ["{N}"]),
    Case("Windows line end", "{N}\r\n", ["{N}"]),
    Case("product", "{N}*1", ["{N}*1"]),
    Case("fraction of one", "{N}/1", ["{N}/1"]),
    Case("minus zero", "-0", ["-0"]),
    Case("zero", "0", ["0"]),
    Case("zero with a point", "0.0", ["0.0"]),
    Case("infinity", "inf", ["inf"]),
    Case("Infinity in a sentence", "It is infinite.", ["Infinity"]),
    Case("not a number", "NaN", ["NaN"]),
    Case("letter a", "a", ["a"]),
    Case("letter A", "A", ["A"]),
    Case("letter A from the judge", WORKED, ["A"]),
    Case("letter a from the judge", WORKED, ["a"]),
    Case("letter B from the judge", WORKED, ["B"]),
    Case("refusal", "I won't say anything on this picture.", ["null"]),
    Case("quotes", '"{N}"', ['"{N}"']),
    Case("lines and tabs", "Steps:\n1.\tsides\n2.\thalf\n\nAnswer: {N}", ["{N}"]),
    Case("failure text as reply", "Failed to obtain answer via API.", ["null"]),
    Case("judge: trailing zero", WORKED, ["{N0}"]),
    Case("judge: full stop", WORKED, ["{N}."]),
    Case("judge: spaces and newline", WORKED, [" {N} \n"]),
    Case("judge: with its label", WORKED, ["Extracted answer: {N}"]),
    Case("judge: thousands comma", "One thousand two hundred and thirty-four.", ["1,234"]),
    Case("judge: scientific", WORKED, ["1e3"]),
    Case("judge: LaTeX scientific", WORKED, [r"1 \times 10^{{3}}"]),
    Case("judge: LaTeX fraction", WORKED, [r"\frac{{1}}{{2}}"]),
    Case("judge: LaTeX fraction in dollars", WORKED, [r"$\frac{{1}}{{2}}$"]),
    Case("judge: list", "Between 2007 and 2008.", ["[2007, 2008]"]),
    Case("judge: full-width digits", WORKED, ["{NW}"]),
    Case("judge: null", WORKED, ["null"]),
    Case("judge: nan", WORKED, ["nan"]),
    Case("judge: inf", WORKED, ["inf"]),
    Case("judge: empty", WORKED, [""]),
    Case("judge: judgement", WORKED, ["Judgement: 1"]),
    Case("judge: wrong", WORKED, ["{W}"]),
    Case("judge down twice", WORKED, [None, None, "{N}"]),
    Case("judge down four times", WORKED, [None, None, None, None, "{N}"]),
    Case("judge down", WORKED, [None]),
    Case("judge in words", WORKED, ["The answer is {N}"]),
)


class Options(NamedTuple):
    """The options of a question, which is right, and which wrong one the replies name."""

    texts: tuple[str, ...]
    right: int
    wrong: int

    @property
    def letter(self) -> str:
        """The right one's letter."""
        return "ABCDEFGH"[self.right]

    @property
    def listed(self) -> str:
        """As a question prints them."""
        return "\n".join(f"({letter}) {text}" for letter, text in zip("ABCDEFGH", self.texts, strict=False))

    def fields(self) -> dict[str, str]:
        """What the templates of CHOICES name."""
        letter, text = self.letter, self.texts[self.right]
        other = {"W": "ABCDEFGH"[self.wrong], "V": self.texts[self.wrong]}
        return {"L": letter, "l": letter.lower(), "LW": wide(letter), "T": text, "TU": text.upper(), **other}


def wide(text: str) -> str:
    """In full-width characters."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def number_fields(gold: str, wrong: str) -> dict[str, str]:
    """What the templates of NUMBERS name."""
    return {"N": gold, "W": wrong, "N0": gold + ("0" if "." in gold else ".0"), "NW": wide(gold)}


def filled(cases: Iterable[Case], fields: dict[str, str]) -> Iterator[Case]:
    """The cases with their templates filled in."""
    for name, reply, judge in cases:
        answers = [None if answer is None else answer.format(**fields) for answer in judge]
        yield Case(name, reply.format(**fields), answers)


def missing(judge: Answers = ("null",)) -> Iterator[Case]:
    """Replies that a spreadsheet gives back as no value, and one longer than its cells hold."""
    for reply in MISSING:
        yield Case(f"no value: {reply!r}", reply, judge)


def very_long(answer: str, unseen: str) -> Case:
    """A reply longer than a cell of a spreadsheet holds, its answer at the end; what a judge says who lacks the end."""
    return Case("reply longer than a cell", LONG + "Answer: " + answer, [unseen])


def numbered(rows: Iterable[tuple[Case, dict[str, str]]], start: int = 1) -> list[Item]:
    """Items from cases and cells; a row's index is its place."""
    return [
        Item(str(place), case.name, {"index": str(place), **cells}, case.reply, {"answer": case.judge})
        for place, (case, cells) in enumerate(rows, start)
    ]


def as_json(item: Item) -> str:
    """A line of a set's file."""
    return json.dumps(asdict(item), ensure_ascii=False)
