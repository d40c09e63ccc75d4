"""How often verdicts err: right answers that score nothing, and wrong answers that score, by kind.

    python benchmarks/reward_errors.py --number 400 --seed 0

Answers are generated in many wordings. Some wordings are refused on purpose (a sentence, a hedge): they count as errors
here when the answer in them is right, because a reader would have accepted it. Boxes: right is the gold box in another
notation (it must score 0.99), wrong is a box with an IoU below 0.5 (it must not). Several letters: wrong is another set
of them, or a hedge. Short texts are compared as `exact`. Free text, by the embedded overlap scorer: right says more of
the scene than the reference, wrong describes another scene.
"""

import argparse
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firsthand.answers.numbers import NUMBER_WORDS
from firsthand.records import Answer, Box, Choice, Digit, Example, Expression, Letters, OpenEnded, Text
from firsthand.reward import Router
from firsthand.reward.box import iou
from firsthand.reward.open_ended import OpenVerifier, WordOverlap

SPELLED = {value: word for word, value in NUMBER_WORDS.items()}
HAN = "零一二三四五六七八九十"


class Case(NamedTuple):
    """An answer in some wording, and its gold."""

    said: str
    gold: Answer
    scene: str | None = None


Maker = Callable[[random.Random, bool], Case]

WORDINGS = (
    "{}",
    "{}.",
    " {} ",
    "${}$",
    r"\boxed{{{}}}",
    r"\[\boxed{{{}}}\]",
    r"\({}\)",
    "**{}**",
    "`{}`",
    "Answer: {}",
    "The answer is {}.",
    "The final answer is {}.",
    "Output 4: {}",
    "答案是{}",
    "答案：{}。",
    "So it is {}.",
    "I think {}",
    "Therefore, the correct answer is {}.",
    "= {}",
    "It's {}!",
    '"{}"',
)
"""Around an answer of any kind."""


def number_in(n: int, rng: random.Random) -> str:
    """A whole number in some notation."""
    spelled = SPELLED.get(abs(n), str(abs(n)))
    forms = [str(n), f"{n}.0", f"{n:,}", f"{n} cubes", f"{n}个", f"{n} in total", f"{n} red cubes", f"There are {n}"]
    forms += [spelled, spelled.capitalize(), f"{spelled} cubes"] if n >= 0 else []
    forms += [HAN[n], f"{HAN[n]}个"] if 0 <= n <= 10 else []
    return rng.choice([*forms, str(n).translate(str.maketrans("0123456789", "０１２３４５６７８９"))])


def digit(rng: random.Random, right: bool) -> Case:
    n = rng.choice((rng.randint(0, 12), rng.randint(0, 99), rng.randint(100, 20_000)))
    if right:
        return Case(rng.choice(WORDINGS).format(number_in(n, rng)), Digit(value=str(n)))
    other = rng.choice([m for m in (n + 1, n - 1, 10 * n + 1, n + 10, -n, 2 * n, n // 10) if m != n])
    hedges = (
        "{n} or {m}",
        "{m} or {n}",
        "not {n}",
        "{n} - {m}",
        "{n}, {m}",
        "{n}/{m}",
        "{m}.{n}",
        "at least {n}",
        "{n}{n}",
    )
    hedged = rng.choice(hedges).format(n=n, m=other)
    if hedged in ("00", f"{n}/1") or (n == 0 and "/" in hedged):
        hedged = f"not {n}"  # that was the right number
    said = rng.choice((number_in(other, rng), number_in(other, rng), hedged))
    return Case(rng.choice(WORDINGS).format(said), Digit(value=str(n)))


def choice(rng: random.Random, right: bool) -> Case:
    texts = tuple(rng.sample(("red", "dark blue", "green", "a cup", "a cat", "12 cm", "none of these", "Paris"), 4))
    options = rng.choice((texts, ()))
    letter = rng.choice("ABCD")
    said = letter if right else rng.choice([x for x in "ABCD" if x != letter])
    text = texts["ABCD".index(said)]
    forms = ["{l}", "{l})", "({l})", "[{l}]", "{l}.", "{l}:", "Option {l}", "option ({l})", "{l} is correct", "选{l}"]
    forms += ["{s}", "{l}. {t}", "({l}) {t}", "{l}: {t}", "{l} - {t}", "Choice {l}", "The correct option is {l}"]
    forms += ["{t}", "{t}.", "{l} {t}"] if options else []
    hedges = ["{g} or {l}", "{l}. or {g}", "{l}, {g}", "{l} and {g}", "ABCD", "not {g}", "{l} ({g} is wrong)"]
    form = rng.choice(forms if right or rng.random() < 0.7 else hedges)
    filled = form.format(l=said, t=text, g=letter, s=said.lower())
    return Case(rng.choice(WORDINGS).format(filled), Choice(letter=letter, options=options))


def letters(rng: random.Random, right: bool) -> Case:
    texts = tuple(rng.sample(("red", "dark blue", "green", "a cup", "a cat", "12 cm", "none of these", "Paris"), 4))
    options = rng.choice((texts, ()))
    sets = ("AB", "AC", "AD", "BC", "BD", "CD", "ABC", "ABD", "BCD", "A", "C")
    gold = rng.choice(sets)
    said = gold if right else rng.choice([other for other in (*sets, "ABCD") if other != gold])
    in_any_order = rng.sample(said, len(said))
    forms = [said, ", ".join(said), ",".join(in_any_order), " and ".join(said), "/".join(said), " & ".join(said)]
    forms += ["、".join(said), "".join(f"({x})" for x in said), ", ".join(f"({x})" for x in in_any_order), f"选{said}"]
    forms += [f"Options {', '.join(said)}", f"The correct options are {' and '.join(said)}", f"[{', '.join(said)}]"]
    forms += ["; ".join(f"{x}. {texts['ABCD'.index(x)]}" for x in said)] if options else []
    hedges = (" or ".join(gold) if len(gold) > 1 else f"{gold} or D", f"not {gold}", f"{gold}, maybe B", "none", "A-D")
    return Case(
        rng.choice(WORDINGS).format(rng.choice(forms if right or rng.random() < 0.7 else hedges)),
        Letters(letters=gold, options=options),
    )


def text(rng: random.Random, right: bool) -> Case:
    words = ("teal", "dark blue", "rectangle", "two dogs", "left", "U.S.", "12:30", "don't walk", "-5", "红色")
    gold = rng.choice((*words, "yes", "no"))
    if right:
        said = [gold, gold.capitalize(), gold.upper(), f" {gold} ", f"{gold}.", f"'{gold}'", f"**{gold}**"]
        sentences = {"yes": ["Yes, there is.", "True", "是"], "no": ["No, there isn't.", "False", "不是"]}
        said += sentences.get(gold, [f"the {gold}", f"a {gold}"])
        return Case(rng.choice(WORDINGS).format(rng.choice(said)), Text(value=gold))
    other = rng.choice([word for word in words if word != gold])
    near = {
        "-5": "5",
        "12:30": "1230",
        "dark blue": "blue",
        "two dogs": "three dogs",
        "红色": "红",
        "U.S.": "US dollars",
    }
    hedges = [f"{gold} or {other}", f"not {gold}", f"maybe not {gold}", f"{other} and {gold}", f"{other}, {gold}"]
    hedges += (
        ["yes and no", "yes or no"] if gold in ("yes", "no") else [f"{gold}, {other}", f"{gold} {other}", gold[::-1]]
    )
    said = [other, near.get(gold, f"{gold}x"), rng.choice(hedges)]
    return Case(rng.choice(WORDINGS).format(rng.choice(said)), Text(value=gold))


def math_(rng: random.Random, right: bool) -> Case:
    a, b, n = rng.randint(2, 30), rng.randint(2, 30), rng.randint(2, 5)
    d = a + rng.choice((1, 2, 10))
    forms = [  # gold, equal, not equal
        (f"{a}x+{b}", f"{b}+{a}x", f"{b}-{a}x"),
        (f"{a}x+{b}", f"y = {a}x + {b}", f"y = {d}x + {b}"),
        (f"y={a}x+{b}", f"f(x)={a}x+{b}", f"f(x)={a}x-{b}"),
        (f"a={a}x+{b}", f"{a}*x+{b}", f"{a}*y+{b}"),
        (f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b}", f"x^2-{a + b}x+{a * b}"),
        (f"x^2-{a * a}", f"(x-{a})(x+{a})", f"(x-{a})^2"),
        (rf"\frac{{{a}}}{{{b}}}", f"{2 * a}/{2 * b}", f"{b}/{d}"),
        (rf"\frac{{{2 * a + 1}}}{{2}}", rf"{a}\frac{{1}}{{2}}", f"{d} 1/2"),
        (rf"\frac{{{2 * a + 1}}}{{2}}", f"{a} 1/2", f"{a}1/2"),
        (f"{a * 1000 + b}", f"{a * 1000 + b:,}", f"{a},{b}"),
        (rf"{a}\sqrt{{{b}}}", f"{a}*sqrt({b})", f"{a}+sqrt({b})"),
        (rf"\sqrt{{{a * a * 7}}}", rf"{a}\sqrt{{7}}", rf"{a}\sqrt{{5}}"),
        (f"{a}%", f"{a / 100}", f"{a / 10}"),
        (f"{a} cm", f"{a} centimeters", f"{a} mm"),
        (rf"{a}\pi", f"{a}π", f"{a}"),
        (f"x<{a}", f"{a}>x", f"x>{a}"),
        (rf"\{{{a}, {a + 50}\}}", f"{a + 50}, {a}", f"{a + 50}"),
        (f"({a}, {a + b})", f"({a},{a + b})", f"({a + b},{a})"),
        (f"{a}^{{{n}}}", str(a**n), str(a * n + 1)),
        (f"x^{{{a}}}", f"x**{a}", f"{a}x"),
        (rf"{a}\sin x", f"{a}sin(x)", f"{a}cos(x)"),
        (f"x={a} or x=-{a}", f"{a}, -{a}", f"{a}"),
    ]
    gold, equal, unequal = rng.choice(forms)
    return Case(rng.choice(WORDINGS).format(equal if right else unequal), Expression(latex=gold))


def box(rng: random.Random, right: bool) -> Case:
    x, y = round(rng.uniform(0, 0.5), 2), round(rng.uniform(0, 0.5), 2)
    gold = (x, y, round(x + rng.uniform(0.1, 0.5), 2), round(y + rng.uniform(0.1, 0.5), 2))
    said = gold
    while not right and iou(said, gold) >= 0.5:
        x, y = round(rng.uniform(0, 0.5), 2), round(rng.uniform(0, 0.5), 2)
        said = (x, y, round(x + rng.uniform(0.1, 0.5), 2), round(y + rng.uniform(0.1, 0.5), 2))
    forms = (
        "[{}, {}, {}, {}]",
        "({}, {}, {}, {})",
        "{}, {}, {}, {}",
        "({}, {}), ({}, {})",
        '{{"bbox_2d": [{}, {}, {}, {}]}}',
        '```json\n[{{"bbox": [{}, {}, {}, {}], "label": "cup"}}]\n```',
        "x1={}, y1={}, x2={}, y2={}",
        "[[{}, {}], [{}, {}]]",
        "The cup is at [{}, {}, {}, {}].",
        "from ({}, {}) to ({}, {})",
        "<box>{} {} {} {}</box>",
        "left {}, top {}, right {}, bottom {}",
    )
    return Case(rng.choice(forms).format(*said), Box(xyxy=gold))


def open_(rng: random.Random, right: bool) -> Case:
    things = [
        f"{rng.choice(('red', 'blue', 'green', 'white'))} {n}" for n in rng.sample(("cube", "ball", "cone", "cup"), 3)
    ]
    scene = f"a {things[0]}, a {things[1]} and a {things[2]}"
    others = [f"{rng.choice(('black', 'yellow', 'pink'))} {n}" for n in rng.sample(("dog", "tree", "car", "boat"), 3)]
    swapped = [f"{a.split()[0]} {b.split()[1]}" for a, b in zip(things, [*things[1:], things[0]], strict=True)]
    said = things if right else rng.choice((others, swapped, [things[0], *others[:2]]))
    rng.shuffle(said := list(said))
    forms = (
        "There is a {}, a {} and a {}.",
        "a {}, a {}, a {}",
        "I see a {} beside a {}; behind them stands a {}",
        "{} {} {}",
    )
    return Case(rng.choice(forms).format(*said), OpenEnded(reference=f"a {things[0]} and something else"), scene)


KINDS: dict[str, Maker] = {
    "digit": digit,
    "choice": choice,
    "letters": letters,
    "math": math_,
    "box": box,
    "text": text,
    "open": open_,
}


def interval(errors: int, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate."""
    z, p = 1.96, errors / number
    middle, half = p + z * z / (2 * number), z * math.sqrt(p * (1 - p) / number + z * z / (4 * number * number))
    return (middle - half) / (1 + z * z / number), (middle + half) / (1 + z * z / number)


def measure(kind: str, right: bool, number: int, seed: int, router: Router, shown: int) -> dict[str, object]:
    """The rate of errors among so many answers, and some of them."""
    rng = random.Random(f"{kind} {right} {seed}")
    cases = [KINDS[kind](rng, right) for _ in range(number)]
    examples = [Example(question="?", images=(), answer=case.gold, scene=case.scene) for case in cases]
    replies = [f"<think>hm</think><answer>{case.said}</answer>" for case in cases]
    verdicts = router.judge_many(list(zip(replies, examples, strict=True)))
    bound = {"box": 0.99, "open": 1e-9}.get(kind, 0.5)
    wrong = [
        f"{case.said!r} for {case.gold.text!r}: {verdict.status}, {verdict.why}"
        for case, verdict in zip(cases, verdicts, strict=True)
        if verdict.score is not None and (verdict.score >= bound) != right
    ]
    unmeasured = sum(verdict.score is None for verdict in verdicts)
    low, high = interval(len(wrong), number)
    for line in wrong[:shown]:
        print("   ", kind, "right" if right else "wrong", line)
    return {"rate": len(wrong) / number, "ci95": [low, high], "unmeasured": unmeasured}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=400, help="answers of each kind, right and wrong each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=0, help="errors of each kind to print")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report: dict[str, dict[str, object]] = {}
    with Router(deadline_s=10.0, open_ended=OpenVerifier(WordOverlap(), 0.2)) as router:
        for kind in KINDS:
            misses, passes = (
                measure(kind, right, args.number, args.seed, router, args.show) for right in (True, False)
            )
            report[kind] = {"false_negatives": misses, "false_positives": passes}
            print(f"{kind:7s} false negatives {misses}\n        false positives {passes}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
