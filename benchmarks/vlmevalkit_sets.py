"""The items of each of the six benchmarks: made-up questions in its columns, with replies of `vlmevalkit_items`."""

import itertools
from collections.abc import Callable, Iterable, Iterator

from vlmevalkit_dynamath import dynamath
from vlmevalkit_items import (
    CHOICES,
    NUMBERS,
    VAGUE,
    Answers,
    Case,
    Item,
    Options,
    filled,
    missing,
    number_fields,
    numbered,
    very_long,
)

SIDES = Options(("3/11", "8/11", "6/11", "3/5"), right=1, wrong=2)
SOLIDS = Options(("cube", "cubed root", "sphere", "cone"), right=0, wrong=2)
ANGLES = Options(("145°", "35°", "55°", "125°", "70°"), right=4, wrong=1)
YES_NO = Options(("Yes", "No"), right=1, wrong=0)
LETTERS = Options(("a", "b", "c", "d"), right=0, wrong=3)
"""The text of an option is a letter, and one that stands in 'nan'."""
NONE_OPTION = Options(("12", "16", "20", "None"), right=3, wrong=0)
"""An option that a table gives back as no value."""
EIGHT = Options(("1 m", "2 m", "3 m", "4 m", "5 m", "6 m", "7 m", "8 m"), right=6, wrong=7)

Row = tuple[Case, dict[str, str]]


def named(names: Iterable[str], cases: Iterable[Case]) -> list[Case]:
    """Those whose name has one of these beginnings."""
    return [case for case in cases if case.name.startswith(tuple(names))]


def over(cells: dict[str, str], cases: Iterable[Case]) -> Iterator[Row]:
    """The same question with every reply."""
    return ((case, cells) for case in cases)


def choice_cases(options: Options, shown: Iterable[Case] = CHOICES) -> Iterator[Case]:
    """Replies to a question with options."""
    yield from filled(shown, options.fields())
    yield from missing(["Z"])


SHORT = named(("letter", "wrong", "text", "both", "article", "two letters", "judge", "boxed", "the answer"), CHOICES)

JUDGED = named(("number", "wrong", "trailing", "dollar", "percent", "Windows", "judge"), NUMBERS)


def mathvista() -> list[Item]:
    """MathVista: options, integers, floats, lists, and free text."""

    def cells(
        kind: str, answer: str, answer_type: str, options: Options | None = None, /, **more: str
    ) -> dict[str, str]:
        hints = {
            "integer": "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
            "float": "requiring a floating-point number and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
            "list": "requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], at the end.",
            "text": "and provide the correct option letter, e.g., A, B, C, D, at the end.",
        }
        question = f"Hint: Please answer the question {hints[answer_type]}\nQuestion: What does the picture show?"
        return {
            "question": question + (f"\nChoices:\n{options.listed}" if options else ""),
            "choices": str(list(options.texts)) if options else "",
            "unit": "",
            "precision": "",
            "answer": answer,
            "question_type": kind,
            "answer_type": answer_type,
            "answer_option": options.letter if options else "",
            "split": "testmini",
            "language": "english",
            "source": "made up",
            "category": "math-targeted-vqa" if options else "general-vqa",
            "task": "geometry problem solving" if options else "figure question answering",
            "context": "geometry diagram",
            "grade": "high school",
            "skills": "['geometry reasoning', 'algebraic reasoning']" if options else "['statistical reasoning']",
        } | more

    def choice(options: Options, task: str = "geometry problem solving") -> dict[str, str]:
        return cells("multi_choice", options.texts[options.right], "text", options, task=task)

    def number(gold: str, wrong: str, kind: str, cases: Iterable[Case] = NUMBERS, **more: str) -> Iterator[Row]:
        return over(cells("free_form", gold, kind, **more), filled(cases, number_fields(gold, wrong)))

    lists = [
        Case("list", "[2007, 2008]", ["[2007, 2008]"]),
        Case("list in a sentence", "Between 2007 and 2008.", ["[2007, 2008]"]),
        Case("wrong list", "[2006, 2007]", ["[2006, 2007]"]),
        Case("judge: null", "I won't say anything on this picture.", ["null"]),
        Case("judge: None", "I won't say anything on this picture.", ["None"]),
        Case("judge down", "Between 2007 and 2008.", [None]),
    ]
    odd_skill = {"skills": "numeric commonsense", "task": "math word problem"}
    return numbered(
        itertools.chain(
            over(choice(SIDES), choice_cases(SIDES)),
            over(choice(SOLIDS, task="visual question answering"), choice_cases(SOLIDS, SHORT)),
            over(choice(ANGLES), choice_cases(ANGLES, SHORT[:20])),
            over(choice(YES_NO), choice_cases(YES_NO, SHORT)),
            over(choice(LETTERS), choice_cases(LETTERS, SHORT[:12])),
            number("14", "15", "integer"),
            number("1000", "100", "integer", JUDGED, precision="1.0"),
            number("0", "1", "integer", NUMBERS[:12]),
            number("-7", "7", "integer", NUMBERS[:12], **odd_skill),
            over(cells("free_form", "14", "integer"), missing()),
            number("0.6", "0.66", "float", precision="1.0"),
            number("1.45", "1.46", "float", JUDGED, precision="2.0", unit="$", task="math word problem"),
            number("5.0", "5.5", "integer", NUMBERS[:8]),
            over(cells("free_form", "0.6", "float", precision="1.0"), missing()),
            over(cells("free_form", "[2007, 2008]", "list"), [*lists, *missing()]),
            number("Paris", "Rome", "text", [*NUMBERS[:8], *named(("judge: null", "judge down"), NUMBERS)]),
            over(cells("free_form", "14", "integer"), [very_long("14", "null")]),
        )
    )


def mathvision() -> list[Item]:
    """MATH-Vision: options as a list, or an answer of any notation."""

    def cells(answer: str, subject: str, options: Options | None = None) -> dict[str, str]:
        asked = "and provide the correct option letter, e.g., A, B, C, D, at the end." if options else ""
        final = asked or "and provide the final answer at the end."
        return {
            "question": f"Hint: Please answer the question {final}\nQuestion: How long is the side? <image1>"
            + (f"\nChoices:\n{options.listed}" if options else ""),
            "choices": str(list(options.texts)) if options else "[]",
            "answer": answer,
            "level": "3",
            "category": subject,
        }

    def free(gold: str, subject: str, *pairs: tuple[str, str]) -> Iterator[Row]:
        """Each pair is a reply and what the judge reads from it."""
        return over(cells(gold, subject), (Case(f"{gold} as {said or 'nothing'}", r, [said]) for r, said in pairs))

    def number(gold: str, wrong: str, cases: Iterable[Case] = NUMBERS) -> Iterator[Row]:
        return over(cells(gold, "metric geometry - length"), filled(cases, number_fields(gold, wrong)))

    def said(*answers: str) -> list[tuple[str, str]]:
        """What the judge reads from a reply of words, and the same as a reply."""
        return [(VAGUE, answer) for answer in answers] + [(answers[0], answers[0])]

    same = Options(("A", "B", "C", "D", "E"), right=2, wrong=3)
    fractions = said(
        "1/2", "0.5", r"\frac{1}{2}", r"\dfrac12", ".5", "0,5", "2/4", "50%", r"50\%", "1/3", "a", "0.5000001"
    )
    pis = said(r"36\pi", r"36 \pi", "36π", "113.097", "113.0973355292326", "36*3.141592653589793", "36", "pi*36", "A")
    pairs = said("(2,3)", "(2, 3)", "2,3", "[2, 3]", r"\left(2, 3\right)", "(3,2)", "{2,3}", "a")
    roots = said(r"2\sqrt{3}", r"\sqrt{12}", "2*3**0.5", "3.4641016151377544", "2√3", "sqrt(12)", "A")
    powers = said("1024", "2^{10}", "2**10", "1,024", "1 024", "1.024e3", r"1.024 \times 10^3", "0x400", "1024.0000001")
    ratios = said("1:2", "1 : 2", "1/2", "a", "1:3")
    texts = said("Tuesday", "tuesday", " TUESDAY ", "on Tuesday", "Monday", "a", "A")
    units = said("12 cm", "12cm", "12", r"12 \text{ cm}", "a")
    equations = said("y = 2x + 1", "y=2x+1", "2x+1", "y = 2x+1.", "a")
    variables = said("x", "X", "a", "y", "{x}")
    return numbered(
        itertools.chain(
            over(cells("B", "analytic geometry", SIDES), choice_cases(SIDES)),
            over(cells("E", "metric geometry - angle", ANGLES), choice_cases(ANGLES, SHORT)),
            over(cells("C", "solid geometry", same), choice_cases(same, SHORT)),
            over(cells("A", "counting", LETTERS), choice_cases(LETTERS, SHORT[:12])),
            number("14", "15"),
            number("0", "1", NUMBERS[:12]),
            number("0.5", "0.6"),
            over(cells("14", "arithmetic"), missing()),
            free(r"\frac{1}{2}", "arithmetic", *fractions),
            free("1/2", "arithmetic", *fractions[:4]),
            free(r"36 \pi", "solid geometry", *pis),
            free("(2,3)", "graph theory", *pairs),
            free(r"2\sqrt{3}", "metric geometry - area", *roots),
            free("1024", "combinatorics", *powers),
            free("1:2", "arithmetic", *ratios),
            free("Tuesday", "logic", *texts),
            free("12 cm", "metric geometry - length", *units),
            free("y=2x+1", "algebra", *equations),
            free("x", "algebra", *variables),
            over(cells("B", "analytic geometry", SIDES), [very_long("B", "Z")]),
        )
    )


def mathverse() -> list[Item]:
    """MathVerse, vision only: what the judge extracts, and whether it finds it the same."""
    kinds = (
        ("multi-choice", SIDES, "", "Plane Geometry", "Length"),
        ("multi-choice", SOLIDS, "", "Solid Geometry", "Area"),
        ("free-form", None, "22.3", "Functions", "Applied"),
        ("free-form", None, "f(x) = -x^2 - 2x + 1", "Functions", "Property"),
    )
    verdicts: tuple[Answers, ...] = (
        ["1"], ["0"], ["Judgement: 1"], ["1."], ["1\n"], [" 1 "], ["0\n"], ["yes"], [""], [None], [None, "1"], ["2"],
        ["Judgement: 1", "1"], ["yes", "1", "0"], [None, None, None, None, "1"], ["true"], ["-1"], ["１"], ["01"],
        ["1", "0"], ["1.0"], ["0\n\n"],
    )  # fmt: skip
    items: list[Item] = []

    def add(case: Case, number: int, score: Answers, name: str = "") -> None:
        kind, options, answer, subject, subfield = kinds[number]
        question = "<image>\nAccording to the question shown in the image, please answer it."
        metadata = {"split": "testmini", "source": "made up", "subject": subject, "subfield": subfield}
        index = str(len(items) + 1)
        cells = {
            "index": index,
            "sample_index": index,
            "problem_index": str(len(items) // 5 + 1),
            "problem_version": "Vision Only",
            "question": question,
            "answer": options.letter if options else answer,
            "question_type": kind,
            "metadata": str(metadata),
            "query_wo": question,
            "query_cot": question + "\nPlease first conduct reasoning.",
            "question_for_eval": "How long is the side?" + (f"\nChoices:\n{options.listed}" if options else ""),
        }
        items.append(Item(index, name or case.name, cells, case.reply, {"extract": case.judge, "score": score}))

    for number, options in ((0, SIDES), (1, SOLIDS)):
        for case in choice_cases(options, CHOICES if number == 0 else SHORT):
            last = case.judge[-1]
            add(case, number, ["1"] if last is not None and options.letter in last else ["0"])
    for case in filled(NUMBERS, number_fields("22.3", "22.8")):
        add(case, 2, ["1"] if case.judge[-1] and "22.3" in case.judge[-1] else ["0"])
    for case in missing():
        add(case, 2, ["0"])
    formulas = (
        "f(x) = -x^2 - 2x + 1",
        r"\( f(x) = -x^2 - 2x + 1 \)",
        " f(x) = -x^2 - 2x + 1\n",
        "-x²-2x+1",
        "x^2",
        "A",
    )
    for text, number in itertools.product(formulas, (3,)):
        add(Case(f"formula {text!r}", "So it is " + text, [text]), number, ["0"] if text in ("x^2", "A") else ["1"])
    for verdict, (number, text) in itertools.product(verdicts, ((0, "8/11"), (2, "22.30"))):
        add(Case("", VAGUE, [text]), number, verdict, f"score: {verdict}")
    add(very_long("B", "Z"), 0, ["0"])
    return items


def wemath() -> list[Item]:
    """We-Math: every pattern of right and wrong steps of two-step and three-step problems, then odd replies."""
    template = (
        "Regarding the format, please answer following the template below, and be sure to include two <> symbols:\n"
        "<Thought process>: <<your thought process>> <Answer>: <<your option>>"
    )
    concepts = ("Surface Area of Cubes", "Understanding Length (Using a Ruler)", "Surface Area of Cylinders")
    plainly_right = [case for case in CHOICES if "{L}" in case.reply and "{W}" not in case.reply]
    right = itertools.cycle(
        named(("letter", "sentence", "template with", "Answer with", "boxed", "think"), plainly_right)
    )
    wrong = itertools.cycle(
        [
            Case("wrong letter", "{W}.", ["{W}"]),
            Case("wrong template", "<Thought process>: <<equal>> <Answer>: <<{W}>>", ["{W}"]),
            Case("wrong sentence", "The correct answer is ({W}).", ["{W}"]),
            Case("refusal", "Sorry, I can't help with images of people yet.", ["Z"]),
            Case("judge: no option", VAGUE, ["Z"]),
        ]
    )
    rows: list[Row] = []

    def add(problem: str, steps: int, key: int, case: Case, options: Options) -> None:
        step = "multi" if key == steps else str(key + 1)
        letters = dict(itertools.zip_longest("ABCDEFGH", options.texts, fillvalue=""))
        cells = {
            "ID": problem,
            "split": "testmini",
            "knowledge concept": concepts[key % 3] if key < steps else "; ".join(concepts[:steps]),
            "question": f"How long is side {step}?\n{template}",
            "option": "; ".join(f"{letter}. {text}" for letter, text in letters.items() if text),
            **letters,
            "answer": options.letter,
            "key": f"{steps}steps_{step}",
            "question number": str(len(rows) + 1),
            "knowledge concept description": "made up",
            "requirement": template,
        }
        rows.append((next(filled([case], options.fields())), cells))

    shown = itertools.cycle((SIDES, EIGHT, ANGLES))
    number = 0
    for steps in (2, 3):
        for pattern in itertools.product((True, False), repeat=steps + 1):
            number += 1
            for key, good in enumerate(pattern):
                add(str(number), steps, key, next(right if good else wrong), next(shown))
    odd = [*CHOICES, *missing(["Z"]), very_long("{L}", "Z")]
    none = [*named(("text", "wrong text", "letter", "article A, long"), CHOICES), *missing(["D"])]
    uses = [
        (case, options)
        for cases, options in ((odd, SIDES), (SHORT, EIGHT), (SHORT, YES_NO), (none, NONE_OPTION), (none, LETTERS))
        for case in cases
    ]
    for place, (case, options) in enumerate(uses[: len(uses) // 3 * 3]):
        add(str(1001 + place // 3), 2, place % 3, case, options)
    return numbered(rows, start=0)


def logicvista() -> list[Item]:
    """LogicVista: one right letter or several."""
    skills = itertools.cycle(("inductive", "deductive", "numerical", "spatial", "mechanical"))

    def cells(answer: str, skill: str) -> dict[str, str]:
        question = f"Which of these come next in the sequence? Select from A, B, C, D and E.\n{SIDES.listed}"
        return {
            "question": question,
            "answer": answer,
            "skill": skill,
            "reasoning": "made up",
            "broad_capability": "ocr",
        }

    single = (
        "B",
        "b",
        "B.",
        "(B)",
        " B",
        "B\n",
        "Ｂ",
        "BB",
        "Z",
        "NONE",
        "",
        "The answer is B",
        "AB",
        "1",
        "Б",
        "null",
    )
    several = ("AC", "CA", "A, C", "A,C", "A C", "ac", "aC", "A and C", "ABC", "ACA", "A", "C", "Z", "", "A;C")
    rows: list[Row] = [(case, cells("B", next(skills))) for case in choice_cases(SIDES)]
    for gold, answers in (("B", single), ("A, C", several), ("C, A", several), ("A,C", several), ("b", single[:4])):
        for answer in answers:
            rows.append(
                (Case(f"gold {gold}, judge {answer!r}", f"I take {answer}.", [answer]), cells(gold, next(skills)))
            )
    retries: tuple[Answers, ...] = (
        ["a, c", "AC"], ["A, C", "ac", "A.C", "A C", "CA"], [None, None, "AC"], [None], ["", "", "", "", "", "AC"],
    )  # fmt: skip
    for answers_in_turn in retries:
        rows.append((Case("gold A, C, judge asked again", VAGUE, answers_in_turn), cells("A, C", next(skills))))
    for gold in ("A, B, D", "A, B, C, D, E"):
        for answer in ("ABD", "DBA", "ABCDE", "AB", "A, B, D"):
            rows.append((Case(f"gold {gold}, judge {answer!r}", VAGUE, [answer]), cells(gold, next(skills))))
    rows += [(Case("several skills", "B", ["B"]), cells("B", "['spatial', 'mechanical']"))] * 2
    rows.append((very_long("B", "Z"), cells("B", next(skills))))
    return numbered(rows)


SETS: dict[str, Callable[[], list[Item]]] = {
    "mathvista": mathvista,
    "mathvision": mathvision,
    "mathverse": mathverse,
    "dynamath": dynamath,
    "wemath": wemath,
    "logicvista": logicvista,
}
