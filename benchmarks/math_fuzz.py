r"""Whether maths can be made to lie: generated pairs of unequal answers, of which none may be called equal.

    python benchmarks/math_fuzz.py --number 100000 --seed 0 --workers 1

Values lie between 1e-300 and 1e300 in size, and differ by a digit, a sign, a power of ten, or by a share of 1e-15 to
1e-60 of themselves; objects differ in kind, order, one element or their brackets. A tenth as many pairs are equal in
another spelling: how many of these are missed is reported too.
"""

import argparse
import json
import os
import platform
import random
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from firsthand.records import Expression
from firsthand.reward import Router

_ROW = "east west north south stale least slate steal listen silent red blue rectangle circle no on true false"
WORDS = _ROW.split()
_NEAR = Fraction(3, 10**6)
"""Relative. Nearer than this, a decimal counts as the value that it may be the rounding of: by intention."""


class Pair(NamedTuple):
    """A gold answer and a reply, and whether they are equal."""

    shape: str
    gold: str
    said: str
    equal: bool


Maker = Callable[[random.Random], tuple[str, str]]


# ---- numbers


def size(rng: random.Random) -> Fraction:
    """A value of any magnitude."""
    mantissa = Fraction(rng.randint(1, 10 ** rng.randint(1, 17)))
    return (
        rng.choice((1, 1, -1))
        * mantissa
        * Fraction(10) ** rng.choice((0, 0, rng.randint(-8, 8), rng.randint(-300, 283)))
    )


def neighbour(value: Fraction, rng: random.Random) -> Fraction:
    """Another value, often a near one."""
    small = Fraction(1, 10 ** rng.randint(15, 60))
    return rng.choice(
        (
            value + value * small,
            value * Fraction(10) ** rng.choice((-1, 1)),
            -value,
            value + 1,
            value * 2,
            value + Fraction(1, 10 ** rng.randint(1, 12)),
            value * rng.choice((1 + Fraction(1, 10**5), 1 - Fraction(1, 10**7))),
            1 / value if abs(value) != 1 else value + 1,
        )
    )


def row_of_digits(value: Fraction) -> tuple[str, int] | None:
    """The digits of a value's size, and how many of them are behind the point; None where no decimal ends."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    return None if rest > 1 or places > 340 else (str(abs(value.numerator) * 10**places // value.denominator), places)


def decimal(value: Fraction) -> str | None:
    """The value as a plain decimal."""
    found = row_of_digits(value)
    if found is None:
        return None
    digits, places = found[0].rjust(found[1] + 1, "0"), found[1]
    return ("-" if value < 0 else "") + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def scientific(value: Fraction, rng: random.Random) -> str | None:
    """The value with a power of ten."""
    found = row_of_digits(value)
    if found is None:
        return None
    digits, places = found
    row = digits.rstrip("0") or "0"
    mantissa = row[0] + ("." + row[1:] if len(row) > 1 else "")
    form = rng.choice((r"{m} \times 10^{{{e}}}", r"{m}\cdot 10^{{{e}}}", "{m}e{e}", "{m} × 10^{e}"))
    return ("-" if value < 0 else "") + form.format(m=mantissa, e=len(digits) - 1 - places)


def fraction(value: Fraction, rng: random.Random) -> str:
    """The value as a fraction, or as a whole number."""
    n, d = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    if d == 1:
        return sign + str(n)
    k = rng.choice((1, 1, 2, 7))
    return sign + rng.choice((r"\frac{{{n}}}{{{d}}}", "{n}/{d}", r"\dfrac{{{n}}}{{{d}}}")).format(n=k * n, d=k * d)


def spelled(value: Fraction, rng: random.Random) -> str:
    """Any spelling that is exact."""
    found = rng.choice((decimal(value), scientific(value, rng), None, None))
    return fraction(value, rng) if found is None else found


def numbers(rng: random.Random) -> tuple[str, str]:
    one = size(rng)
    other = neighbour(one, rng)
    if abs(one - other) > _NEAR * max(abs(one), abs(other)):
        return spelled(one, rng), spelled(other, rng)
    if decimal(one) and decimal(other) and rng.random() < 0.7:
        one_said, other_said = (rng.choice((decimal(v), scientific(v, rng))) for v in (one, other))
        return str(one_said), str(other_said)
    return fraction(one, rng), fraction(other, rng)


def sums_of_powers(rng: random.Random) -> tuple[str, str]:
    base, power, k = rng.randint(2, 12), rng.randint(20, 900), rng.randint(1, 9)
    return rng.choice(
        (
            (rf"{base}^{{{power}}}", rf"{base}^{{{power}}}+{k}"),
            (rf"\frac{{1}}{{{base}^{{{power}}}}}", rf"\frac{{1}}{{{base}^{{{power + 1}}}}}"),
            (
                rf"\frac{{{base}^{{{power}}}+1}}{{{k}\cdot {base}^{{{power + 1}}}}}",
                rf"\frac{{1}}{{{k} \cdot {base}^{{{power + 1}}}}}",
            ),
            (rf"{k}\cdot {base}^{{{power}}}", rf"{k + 1}\cdot {base}^{{{power}}}"),
            (rf"{base}^{{-{power}}}", "0"),
            (rf"1+{base}^{{-{power}}}", "1"),
            (rf"{base}^{{{power}}}", rf"{base}^{{{-power}}}"),
        )
    )


def roots(rng: random.Random) -> tuple[str, str]:
    a, b, n = rng.randint(2, 99), rng.choice((2, 3, 5, 6, 7, 10, 11, 13)), rng.randint(1, 10**6)
    e = rng.randint(-300, 300)
    big = 10 ** rng.randint(3, 150)
    p, q = 1, 1  # convergents of the root of 2
    for _ in range(rng.randint(3, 75)):
        p, q = p + 2 * q, p + q
    return rng.choice(
        (
            (rf"{a}\sqrt{{{b}}}", rf"{a + 1}\sqrt{{{b}}}"),
            (rf"\sqrt{{{n}}}", rf"\sqrt{{{n + 1}}}"),
            (rf"{a}+\sqrt{{{b}}}", rf"{a}-\sqrt{{{b}}}"),
            (rf"{a}\sqrt{{{b}}} \times 10^{{{e}}}", rf"{a}\sqrt{{{b}}} \times 10^{{{e + 1}}}"),
            (rf"\sqrt{{{big}^2+1}}", str(big)),
            (rf"\sqrt{{{big + 1}}}-\sqrt{{{big}}}", "0"),
            (r"\sqrt{2}", rf"\frac{{{p}}}{{{q}}}"),
            (rf"\sqrt[3]{{{n}}}", rf"\sqrt{{{n}}}" if n > 1 else "2"),
            (rf"\sqrt{{{b}}}+\sqrt{{{a * a * b + 1}}}", rf"{a + 1}\sqrt{{{b}}}"),
            (rf"\frac{{{a}+\sqrt{{{b}}}}}{{2}}", rf"\frac{{{a}+\sqrt{{{b}}}}}{{3}}"),
            (str(a), rf"{a}\sqrt{{{b}}}"),
            (rf"{a}\sqrt{{{b}}}", str(a)),
        )
    )


def constants(rng: random.Random) -> tuple[str, str]:
    a, b, e = rng.randint(1, 60), rng.randint(2, 60), rng.randint(-300, 300)
    k = rng.randint(15, 60)
    return rng.choice(
        (
            (rf"{a}\pi", rf"{a + 1}\pi"),
            (rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{a}\pi}}{{{b + 1}}}"),
            (rf"{a}\pi \times 10^{{{e}}}", rf"{2 * a}\pi\times 10^{{{e}}}"),
            (rf"{a}\pi \times 10^{{{e}}}", rf"{a}\pi \times 10^{{{e - 1}}}"),
            (r"\pi", rf"\pi+10^{{-{k}}}"),
            (rf"{a}\pi", rf"{a}\pi(1+10^{{-{k}}})"),
            (rf"e^{{{a}}}", rf"e^{{{a + 1}}}"),
            (rf"e^{{-{a}}}", rf"e^{{{a}}}"),
            (rf"\ln {b}", rf"\ln {b + 1}"),
            (rf"\log_{{{a + 1}}} {b}", rf"\log_{{{a + 2}}} {b}"),
            (r"\pi", r"\frac{22}{7}"),
            (r"\pi", r"\frac{355}{113}"),
            (r"e^{\pi\sqrt{163}}", "262537412640768744"),
            (rf"\sin {a}", rf"\cos {a}"),
            (rf"{a}+{b}i", rf"{a}-{b}i"),
            (rf"{a}+{b}i", rf"{b + 60}+{a}i"),
            (rf"1-\frac{{1}}{{e^{{{a}}}}}", "1"),
        )
    )


# ---- objects


def elements(rng: random.Random, most: int = 4) -> list[tuple[str, str]]:
    """Different elements, each with another that none of them is."""
    found = []
    for at in rng.sample(range(2, 60), rng.randint(2, most)):
        forms = (
            (str(at), str(at + 100)),
            (rf"\frac{{{at}}}{{61}}", rf"\frac{{{at}}}{{67}}"),
            (rf"{at}\pi", rf"{at + 100}\pi"),
            (rf"10^{{-{at}}}", rf"10^{{-{at + 100}}}"),
            (f"{at}.0000001", f"{at}.0000002"),
            (rf"{at} \times 10^{{-90}}", rf"{at} \times 10^{{-91}}"),
        )
        found.append(rng.choice(forms))
    return found


BRACKETS = (
    (r"\{{{}\}}", "set"),
    ("({})", "tuple"),
    ("{}", "list"),
    (r"\left({}\right)", "tuple"),
    (r"\langle {} \rangle", "tuple"),
)


def containers(rng: random.Random) -> tuple[str, str]:
    """Of the same kind, with another element, more of them, or in another order where it counts."""
    pairs = elements(rng)
    form, kind = rng.choice(BRACKETS)
    gold = [one for one, _ in pairs]
    said = list(gold)
    how = rng.choice(("other", "fewer", "more", "order"))
    at = rng.randrange(len(gold))
    if how == "fewer":
        del said[at]
        if len(said) < 2:
            return form.format(", ".join(gold)), said[0]
    elif how == "more":
        said.append("997")
    elif how == "order" and kind == "tuple":
        said = said[1:] + said[:1]
    else:
        said[at] = pairs[at][1]
    return form.format(", ".join(gold)), form.format(", ".join(said))


def points(rng: random.Random) -> tuple[str, str]:
    """Several points: a coordinate of one is another, or swapped with its neighbour."""
    pairs = elements(rng, 6)
    pairs = pairs if len(pairs) % 2 == 0 else pairs[:-1]
    gold = [one for one, _ in pairs]
    said = list(gold)
    at = 2 * rng.randrange(len(gold) // 2)
    if rng.random() < 0.5:
        said[at], said[at + 1] = said[at + 1], said[at]
    else:
        said[at] = pairs[at][1]
    form = rng.choice((r"\{{{}\}}", "{}"))
    one, two = (
        form.format(", ".join(f"({row[k]}, {row[k + 1]})" for k in range(0, len(row), 2))) for row in (gold, said)
    )
    return one, two


def other_kinds(rng: random.Random) -> tuple[str, str]:
    """The same elements in other brackets."""
    row = ", ".join(one for one, _ in elements(rng))
    (one, kind), (other, second) = rng.sample(BRACKETS, 2)
    if kind == second or {kind, second} == {"set", "list"}:
        other, one = rng.sample(("({})", r"\{{{}\}}"), 2)
    return one.format(row), other.format(row)


def intervals(rng: random.Random) -> tuple[str, str]:
    a, b = sorted(rng.sample(range(-50, 50), 2))
    left, right = rng.choice("[("), rng.choice("])")
    flipped = "(" if left == "[" else "[", ")" if right == "]" else "]"
    signs = {"[": r"\le", "(": "<", "]": r"\le", ")": "<"}
    gold = rng.choice(
        (f"{left}{a}, {b}{right}", rf"x \in {left}{a},{b}{right}", f"{a} {signs[left]} x {signs[right]} {b}")
    )
    said = rng.choice(
        (
            f"{flipped[0]}{a}, {b}{right}",
            f"{left}{a}, {b}{flipped[1]}",
            f"{left}{a}, {b + 1}{right}",
            f"{left}{a - 1}, {b}{right}",
            rf"\{{{a}, {b}\}}",
            f"x {signs[right]} {b}",
            f"{a} {signs[flipped[0]]} x {signs[right]} {b}",
            rf"{left}{a}, {b}{right} \cup {left}{b + 2}, {b + 3}{right}",
            rf"(-\infty, {b}{right}",
        )
    )
    return gold, said


def ratios(rng: random.Random) -> tuple[str, str]:
    parts = [rng.randint(1, 9) for _ in range(rng.randint(2, 4))]
    other = list(parts)
    other[rng.randrange(len(parts))] += rng.randint(1, 3)
    if rng.random() < 0.3:
        other = [*parts, 1]
    k = rng.randint(1, 4)
    return ":".join(map(str, parts)), ":".join(str(k * part) for part in other)


def matrices(rng: random.Random) -> tuple[str, str]:
    rows = [[rng.randint(-9, 9) for _ in range(2)] for _ in range(2)]
    rows[0][1] = rows[1][0] + 1
    other = [list(row) for row in rows]
    if rng.random() < 0.5:
        other = [list(column) for column in zip(*rows, strict=True)]
    else:
        other[rng.randrange(2)][rng.randrange(2)] += rng.choice((-1, 1))
    if rng.random() < 0.2:
        other = [[*rows[0], *rows[1]]]
    texts = [r" \\ ".join(" & ".join(map(str, row)) for row in table) for table in (rows, other)]
    names = rng.choice(("pmatrix", "bmatrix")), rng.choice(("pmatrix", "bmatrix"))
    one, two = (rf"\begin{{{name}}} {text} \end{{{name}}}" for name, text in zip(names, texts, strict=True))
    return one, two


def equations(rng: random.Random) -> tuple[str, str]:
    a, b, c = (rng.randint(2, 20) for _ in range(3))
    k = rng.randint(2, 5)
    gold = rng.choice((f"{a}x-{b}y+{c}=0", f"{a}x+{c}={b}y"))
    said = (
        f"{a}x-{b}y-{c}=0",
        f"{a}x+{b}y+{c}=0",
        f"{k * a}x-{k * b}y+{c}=0",
        f"{a + 1}x-{b}y+{c}=0",
        f"{a}x-{b}y={c}",
        f"{a}x-{b}y+{c}",
        f"{a}x-{b}y+{c}<0",
        str(c),
    )
    return gold, rng.choice(said)


def inequalities(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(-20, 20), rng.randint(2, 9)
    return rng.choice(
        (
            (f"x<{a}", f"x>{a}"),
            (f"x<{a}", rf"x \le {a}"),
            (f"x<{a}", f"x<{a + 1}"),
            (f"x<{a}", f"y<{a}"),
            (f"{b}x+y<{abs(a) + 1}", f"{b}x+y>{abs(a) + 1}"),
            (f"{b}x+y<{abs(a) + 1}", rf"{b}x+y\le {abs(a) + 1}"),
            (f"|x|<{b}", f"x<{b}"),
            (f"|x|<{b}", f"|x|>{b}"),
            (f"|x-{b}|<{b}", f"0<x<{b}"),
            (rf"x \ne {a}", f"x={a}"),
            (f"x={a}", f"x>{a}"),
            (f"x<{a} or x>{a + b}", f"{a}<x<{a + b}"),
        )
    )


def figures(rng: random.Random) -> tuple[str, str]:
    a, b, c, d = rng.sample("ABCDEFGHKMPQ", 4)
    return rng.choice(
        (
            (rf"\angle {a}{b}{c}", rf"\angle {a}{c}{b}"),
            (rf"\angle {a}{b}{c}", rf"\angle {a}{b}{d}"),
            (rf"\angle {a}{b}{c}", rf"\triangle {a}{b}{c}"),
            (rf"\angle {a}", rf"\angle {b}"),
            (rf"\triangle {a}{b}{c}", rf"\triangle {a}{b}{d}"),
            (rf"\overline{{{a}{b}}}", rf"\overline{{{a}{c}}}"),
            (rf"\overrightarrow{{{a}{b}}}", rf"\overrightarrow{{{b}{a}}}"),
            (f"{a}{b}{c}", f"{b}{c}{a}"),
            (rf"\text{{{a}{b}{c}{d}}}", f"{a}{b}{d}{c}"),
            (rf"\text{{({a})}}", b),
            (a, b),
        )
    )


def words(rng: random.Random) -> tuple[str, str]:
    one, other = rng.sample(WORDS, 2)
    form = rng.choice(("{}", r"\text{{{}}}", r"\textbf{{{}}}", "{}."))
    if rng.random() < 0.3:
        shuffled = "".join(rng.sample(one, len(one)))
        other = shuffled if shuffled != one else one[::-1] + "s"
    return form.format(one), rng.choice(("{}", r"\text{{{}}}")).format(other)


def polynomials(rng: random.Random) -> tuple[str, str]:
    a, b, c, n = (rng.randint(2, 30) for _ in range(4))
    big = 10 ** rng.randint(6, 200)
    return rng.choice(
        (
            (f"{a}x^2+{b}x+{c}", f"{a}x^2+{b}x+{c + 1}"),
            (f"{a}x^2+{b}x+{c}", f"{a}x^2-{b}x+{c}"),
            (f"{a}x^{n}", f"{a}x^{n + 1}"),
            (f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b + 1}"),
            (f"{a}x+{b}y", f"{b + 30}x+{a}y"),
            (f"y={a}x+{b}", f"y={a}x-{b}"),
            (f"y={a}x", f"x={a}y"),
            (f"{big}x+1", f"{big + 1}x+1"),
            (f"x+{big}", f"x+{big + 1}"),
            (rf"x+10^{{-{n + 6}}}", "x"),
            (rf"\frac{{x}}{{{a}}}", rf"\frac{{x}}{{{a + 1}}}"),
            (f"{a}x", f"{a}y"),
            (f"|x-{big}|", f"x-{big}"),
            (f"|x+{big}|", f"x+{big}"),
            (rf"|10^{{-{n}}}x+{a}|", rf"10^{{-{n}}}x+{a}"),
            (rf"|\sqrt{{2}}x+{big}|", rf"\sqrt{{2}}x+{big}"),
            (rf"{a}\sin x", rf"{a}\cos x"),
            (rf"\sin({a}x)", rf"{a}\sin(x)"),
            (f"e^{{{a}x}}", f"e^{{{a + 1}x}}"),
            (rf"\ln({a}x)", rf"{a}\ln x"),
            (rf"\sqrt{{x+{a}}}", rf"\sqrt{{x}}+{a}"),
            (r"\sqrt{x^2}", "x"),
            (f"O(n^{n})", f"O(n^{n + 1})"),
            (r"O(n \log n)", "O(n)"),
            (f"{a}x^2+{b}x+{c}", str(a + b + c)),
        )
    )


def others(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(range(1, 60), 2)
    hour = rng.randint(1, 12)
    return rng.choice(
        (
            (f"{hour}:{a:02}", f"{hour}:{b:02}"),
            (f"{hour}:{a:02}", f"{hour % 12 + 1}:{a:02}"),
            (
                f"{10 + a}_{{{8}}}" if a % 10 < 8 and (10 + a) // 10 < 8 else "17_8",
                f"{100 + b}_9" if b % 10 < 9 else "11_9",
            ),
            (f"{a} cm", f"{a} mm"),
            (f"{a} cm", f"{b} cm"),
            (rf"{a}\sqrt{{2}} \text{{ cm}}", rf"{a}\sqrt{{2}} \text{{ m}}"),
            (f"{a}%", f"{a * 10 + 1}%"),
            (f"x={a}, y={b}", f"x={b}, y={a}"),
            (f"x={a}, y={b}", f"x={a}"),
            (rf"{a} \pm \sqrt{{3}}", rf"{a} + \sqrt{{3}}"),
            (rf"{a} \pm \sqrt{{3}}", rf"{a} \pm \sqrt{{5}}"),
            (rf"1, 2, \ldots, {a + 2}", rf"1, 2, \ldots, {b + 70}"),
            (rf"0.\overline{{{a}}}", f"0.{a}{a}"),
            (f"{a} or {b}", str(a)),
            (str(a), f"{a} or {b}"),
            (str(a), rf"\boxed{{{b}}}"),
        )
    )


UNEQUAL: dict[str, tuple[int, Maker]] = {
    "numbers": (8, numbers),
    "powers": (2, sums_of_powers),
    "roots": (2, roots),
    "constants": (2, constants),
    "containers": (3, containers),
    "points": (2, points),
    "other_kinds": (2, other_kinds),
    "intervals": (2, intervals),
    "ratios": (1, ratios),
    "matrices": (1, matrices),
    "equations": (1, equations),
    "inequalities": (1, inequalities),
    "figures": (2, figures),
    "words": (2, words),
    "polynomials": (2, polynomials),
    "others": (1, others),
}
"""How often, and what."""


def same(rng: random.Random) -> tuple[str, str]:
    """Equal answers in two spellings."""
    value = size(rng)
    a, b, c = (rng.randint(2, 30) for _ in range(3))
    row = [one for one, _ in elements(rng)]
    mixed = rng.sample(row, len(row))
    p, q, r = rng.sample("ABCDEFG", 3)
    return rng.choice(
        (
            (spelled(value, rng), spelled(value, rng)),
            (spelled(value, rng), spelled(value, rng)),
            (rf"\{{{', '.join(row)}\}}", rf"\{{{', '.join(mixed)}\}}"),
            (", ".join(row), ", ".join(mixed)),
            (f"({', '.join(row)})", rf"\left( {' , '.join(row)} \right)"),
            (f"({a}, {a + b})", f"{a} < x < {a + b}"),
            (f"[{a}, {a + b}]", rf"{a} \le x \le {a + b}"),
            (rf"\sqrt{{{a * a * 7}}}", rf"{a}\sqrt{{7}}"),
            (rf"\frac{{1}}{{\sqrt{{{b}}}}}", rf"\frac{{\sqrt{{{b}}}}}{{{b}}}"),
            (f"(x+{a})(x+{b})", f"x^2+{a + b}x+{a * b}"),
            (f"{a}x-{b}y+{c}=0", f"{2 * a}x + {2 * c} = {2 * b}y"),
            (f"{a}:{b % 9 + 1}", f"{3 * a}:{3 * (b % 9 + 1)}"),
            (rf"\angle {p}{q}{r}", rf"\angle {r}{q}{p}"),
            (rf"\triangle {p}{q}{r}", rf"\triangle {q}{r}{p}"),
            (rf"{a}\pi", f"{a}π"),
            (rf"{a} \pm \sqrt{{{b}}}", rf"{a}-\sqrt{{{b}}}, {a}+\sqrt{{{b}}}"),
            (rf"\text{{{WORDS[a % len(WORDS)]}}}", WORDS[a % len(WORDS)].capitalize()),
            (f"x={a}, y={b}", f"y = {b}, x = {a}"),
            (rf"\frac{{\sin {a}x}}{{\cos {a}x}}", rf"\tan {a}x"),
            (rf"\ln {a * b}", rf"\ln {a} + \ln {b}"),
            (rf"(x^{a})^{{{b}}}", f"x^{{{a * b}}}"),
        )
    )


def pairs(number: int, seed: int) -> list[Pair]:
    """So many unequal pairs, and a tenth as many equal ones."""
    rng = random.Random(seed)
    names, weights = list(UNEQUAL), [weight for weight, _ in UNEQUAL.values()]
    found = []
    for shape in rng.choices(names, weights, k=number):
        gold, said = UNEQUAL[shape][1](rng)
        found.append(Pair(shape, *((gold, said) if rng.random() < 0.5 else (said, gold)), equal=False))
    return found + [Pair("same", *same(rng), equal=True) for _ in range(number // 10)]


def measure(cases: list[Pair], router: Router, shown: int = 0) -> dict[str, object]:
    """How many unequal pairs are called equal, how many equal ones are missed, and how many are not measured."""
    began = time.monotonic()
    wrong, missed, unmeasured, unread = (Counter[str]() for _ in range(4))
    for first in range(0, len(cases), 1_000):
        part = cases[first : first + 1_000]
        replies = [(f"<answer>{case.said}</answer>", Expression(latex=case.gold)) for case in part]
        for case, verdict in zip(part, router.judge_many(replies), strict=True):
            counts = None
            if verdict.score is None:
                counts = unmeasured
            elif (verdict.score == 1) != case.equal:
                counts = missed if case.equal else wrong
            elif verdict.status == "unparsed":
                unread[case.shape] += 1
            if counts is not None:
                counts[case.shape] += 1
                if counts.total() <= shown:
                    print(case, verdict.status, verdict.why[:100])
    equal = sum(case.equal for case in cases)
    return {
        "unequal": len(cases) - equal,
        "called_equal": wrong.total(),
        "unmeasured": unmeasured.total(),
        "unparsed": unread.total(),
        "equal": equal,
        "missed": missed.total(),
        "by_shape": {"called_equal": wrong, "unmeasured": unmeasured, "unparsed": unread},
        "seconds": round(time.monotonic() - began, 1),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2_000, help="unequal pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--show", type=int, default=20, help="failures of each sort to print")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with Router(args.workers, deadline_s=20.0) as router:
        report = measure(pairs(args.number, args.seed), router, args.show)
    report |= {"seed": args.seed, "workers": args.workers, "cores": len(os.sched_getaffinity(0))}
    text = json.dumps(report | {"python": platform.python_version()}, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
