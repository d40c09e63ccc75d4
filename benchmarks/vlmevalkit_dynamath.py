"""The items of DynaMath: made-up questions in ten variants each, with replies in and out of the JSON it asks for."""

import itertools
import json
from collections.abc import Iterable, Iterator

from vlmevalkit_items import WORKED, Case, Item, missing


def short(value: object, solution: str = "Add the sides.") -> str:
    """A reply as DynaMath asks for it."""
    return json.dumps({"solution": solution, "short answer": value}, ensure_ascii=False)


def in_json(*values: object, judge: str) -> Iterator[Case]:
    """Replies in JSON with these short answers."""
    return (Case(f"short answer {value!r}", short(value), [judge]) for value in values)


def dynamath() -> list[Item]:
    """DynaMath: questions in ten variants each; the first three questions are answered right in all."""
    fence = "```json\n{}\n```"
    same_reply = {
        "fenced": fence.format(short("@")),
        "words around": f"Here it is:\n{short('@')}\nI hope that this helps.",
        "indented": json.dumps({"solution": "Add.", "short answer": "@"}, indent=4),
        "LaTeX": r'{"solution": "\frac{1}{2} \times \sqrt{4}", "short answer": "@"}',
        "LaTeX escaped": short("@", r"\frac{1}{2} \times \sqrt{4}"),
        "newline": '{"solution": "Add\nthem.", "short answer": "@"}',
        "newline escaped": short("@", "Add\nthem."),
        "quotes escaped": short("@", 'the "left" side'),
        "single quotes": "{'solution': 'Add.', 'short answer': '@'}",
        "braces before": r"As $\frac{1}{2}$ shows: " + short("@"),
        "missing key": json.dumps({"solution": "Add.", "answer": "@"}),
        "other case of the key": json.dumps({"solution": "Add.", "Short Answer": "@"}),
        "cut off": '{"solution": "Add.", "short answer": "@"',
        "two objects": short("@") + "\n" + short("@"),
        "think and answer tags": "<think>Equal.</think><answer>" + short("@") + "</answer>",
        "answer tags, no JSON": "<think>Equal.</think><answer>@</answer>",
        "bare": "@",
        "sentence": "The answer is @.",
        "boxed": r"\boxed{@}",
        "answer first": "@ because the sides are equal and each of them counts.",
        "Windows line ends": '{\r\n "solution": "Add.",\r\n "short answer": "@"\r\n}',
        "trailing comma": '{"solution": "Add.", "short answer": "@",}',
    }
    shapes = [Case(name, reply.replace("@", "{N}"), ["{N}"]) for name, reply in same_reply.items()]

    def shaped(gold: str) -> Iterator[Case]:
        return (Case(c.name, c.reply.replace("{N}", gold), [gold]) for c in shapes)

    def judged(*answers: str | None) -> Iterator[Case]:
        return (Case(f"judge {answer!r}", WORKED, [answer]) for answer in answers)

    def six(cases: Iterable[Case]) -> Iterator[Case]:
        return itertools.islice(cases, 6)

    plain: tuple[object, ...] = ("wrong", None, [], ["{N}"], {"a": 1}, 5, 5.0, True, "", " ")
    letters = [
        *shaped("B"),
        *in_json("b", "(B)", "B. 8/11", "B: cube", "three", "8/11", "A", "F", "BD", "Ｂ", *plain, judge="B"),
        *judged("B.", "(B)", "b", "The answer is B", "", " B\n", "A, C", None, "E", "null", "Option D", "two"),
        Case("begins with the letter", "B is right, and neither A nor C nor D is.", [None]),
        Case("begins with the letter, lower case", "b, and neither A nor C nor D", ["A, C"]),
        Case("begins with other words", "Both are B, so A and C are out.", [None]),
        *missing(["Z"]),
    ]
    floats = [
        *shaped("0.500"),
        *in_json("0.5", "0.501", "0.5011", "0.499", "0.4989", ".5", "1/2", "50%", "5e-1", "0.5 cm", judge="0.500"),
        *in_json("0.5cm", "$0.5", "≈0.5", r"\frac{1}{2}", "0,5", "0.5π", "nan", "inf", "+0.5", *plain, judge="0.500"),
        *in_json("０.５", "x = 0.5", "0.5 or 0.6", "0.5\n", "a", "-0.5", judge="0.600"),
        *judged("0.5", "0.500 cm", "0.600", "1/2", "", "The answer is 0.5", "null", None, "nan", "²", "1,234", "0.5\n"),
        *missing(["0.000"]),
    ]
    pis = [
        *in_json("3π", "3 π", "3\\pi", "9.425", "9.4248", "9.42477796076938", "3u03c0", "π3", "3π cm", judge="9.425"),
        Case("escaped pi", r'{"solution": "Multiply.", "short answer": "3\u03c0"}', ["9.425"]),
    ]
    counts = [
        *in_json("12", "12.0", "٣", "12²", "²", "1,2", "twelve", "12.", "12 apples", 12, judge="12"),
        Case("bare superscript", "²", ["12.000"]),
        *judged("12", "12.000", "12 ", "十二", "１２", "13", " 12", "5²", "12.0004"),
    ]
    thousands = [
        *in_json("1234", "1,234", "1234.0", "1.234e3", "1 234", "1234.001", "1234.002", "1234 m", judge="1234.000"),
        *judged("1,234", "1234.000"),
    ]
    words = [
        *shaped("increasing"),
        *in_json("Increasing", "increas", "in", "i", "increasing.", "decreasing", "INCREASING", "is it", judge="no"),
        *in_json("increasing and then flat", "ＩＮ", "ing", *plain, judge="increasing"),
        *judged("increasing"),
        *missing(["increasing"]),
    ]
    resonant = [*missing(["resonant"]), *in_json("nan", "sonant", judge="resonant")]
    ellipse = [*in_json("ellipse", "an ellipse", "Ellipse", "lip", "3.000", 3, None, [], "e", judge="ellipse")]
    right_letters = [*six(shaped("C")), *in_json("c", "(C)", "C.", judge="C")]
    right_floats = [*six(shaped("2.250")), *in_json("2.25", "2.2505", "2.25 m", judge="2.250")]
    right_words = [*six(shaped("even")), *in_json("Even", "EVEN", "eve", judge="even")]
    typed = [
        ("multiple choice", "C", right_letters),
        ("float", "2.250", right_floats),
        ("text", "even", right_words),
        ("multiple choice", "B", letters),
        ("float", "0.500", floats),
        ("float", "9.425", pis),
        ("float", "12.000", counts),
        ("float", "1234.000", thousands),
        ("text", "increasing", words),
        ("text", "resonant", resonant),
        ("text", "an ellipse", ellipse),
    ]
    return variants(typed)


def variants(typed: Iterable[tuple[str, str, list[Case]]]) -> list[Item]:
    """Rows of ten variants a question, of which the first and any that no case is left for are answered right.

    A question's number is the index of its first variant, and all first variants come before all second ones.
    """
    subjects = ("plane geometry", "solid geometry", "analytic geometry", "puzzle test", "statistics")
    levels = ("elementary school", "high school", "undergraduate")
    questions: list[tuple[str, str, list[Case]]] = []
    for kind, gold, cases in typed:
        for start in range(0, len(cases), 9):
            nine = cases[start : start + 9]
            right = [Case("right", short(gold), [gold])] * (10 - len(nine))
            questions.append((kind, gold, [*right, *nine]))
    return [
        Item(
            str(variant * len(questions) + number),
            cases[variant].name,
            {
                "index": str(variant * len(questions) + number),
                "qid": str(number),
                "varid": str(variant + 1),
                "question": f"Question {number}, drawn for the {variant + 1}. time: how long is the side?",
                "answer": gold,
                "answer_type": kind,
                "subject": subjects[number % 5],
                "knowledge_level": levels[number % 3],
            },
            cases[variant].reply,
            {"answer": cases[variant].judge},
        )
        for variant in range(10)
        for number, (kind, gold, cases) in enumerate(questions)
    ]
