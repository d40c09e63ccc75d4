"""Maths: which objects can be equal and how, in what tolerance, and what never is."""

import random
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from math_fuzz import measure, pairs

from firsthand.answers.maths.objects import read_form
from firsthand.answers.maths.tokens import Unread
from firsthand.records import Expression, Status, Verdict
from firsthand.reward import Router
from firsthand.reward.guards import GUARDS, TOLERANCE
from firsthand.reward.math import judge_math

THOROUGH = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def maths(latex: str) -> Expression:
    return Expression(latex=latex)


def no_worker(_: object) -> dict[str, object]:
    raise AssertionError("asked a worker")


def judged(router: Router, gold: str, said: str, tolerance: float = TOLERANCE) -> Verdict:
    return judge_math(said, maths(gold), router._pool.ask, tolerance)


# ---- the table of kinds

KINDS: dict[str, tuple[str, ...]] = {
    "value": ("3", r"\frac{1}{2}", "0.25", r"2\sqrt{3}", "x^2+1", r"\pi", "10^{-8}", "12 cm", "35%", "9-i"),
    "label": ("y=2x+1", "f(x)=x^2"),
    "equation": ("3x-y+13=0", "x^2+y^2=4"),
    "assignments": ("x=3, y=-2", r"a=\frac{1}{2}, b=2"),
    "word": ("east", r"\text{no solution}", "DCA"),
    "figure": (r"\angle ABC", r"\overline{AB}", r"\triangle ABC"),
    "statement": (r"AB \parallel CD", r"\triangle ABC \cong \triangle DEF", r"\triangle ABC \cong \triangle EDF"),
    "based": ("53_8", "1011_{2}"),
    "time": ("11:00", "9:05"),
    "ratio": ("1:2:3", "2:3"),
    "tuple": ("(1, 2)", r"\left(3, \frac{\pi}{2}\right)", "(1,2,3)", r"\langle 1, 2, 4 \rangle"),
    "set": (r"\{1, 2\}", r"\emptyset", r"\{1, 2, 3\}"),
    "list": ("1, 3", r"2 \pm \sqrt{3}", "17, 44, \\text{ and } 83", "x=4 or x=6"),
    "sequence": (r"1, 2, \ldots, n",),
    "congruence": (r"x \equiv 3 \pmod{5}", r"x \equiv 3 \pmod{7}"),
    "endless": (r"\{1, 2, 3, \ldots\}",),
    "matrix": (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    "interval": ("[1, 2]", "2<x<5", r"(-\infty, 3]", r"\mathbb{R}"),
    "union": (r"(0, 4) \cup (4, 16)", r"x<1 \text{ or } x>5"),
    "infinity": (r"\infty", r"-\infty"),
    "inequality": ("x+y<3",),
    "inequalities": ("x<y<3",),
}
"""Specimens of every kind; no two of one kind are equal."""


def test_the_table_and_the_specimens_know_the_same_kinds() -> None:
    assert {kind for pair in GUARDS for kind in pair} == set(KINDS)
    for kind, texts in KINDS.items():
        assert {read_form(text).kind for text in texts} == {kind}


def test_every_specimen_equals_itself_and_no_other(router: Router) -> None:
    specimens = [text for texts in KINDS.values() for text in texts]
    equal = {(a, b) for a in specimens for b in specimens if judged(router, a, b).score != 0}
    assert equal == {(text, text) for text in specimens}


ACROSS = {
    ("value", "label"): ("5", "n = 5"),
    ("label", "value"): ("y=2x", "2x"),
    ("label", "equation"): ("y=2x+1", "2x-y+1=0"),
    ("equation", "label"): ("2x-y+1=0", "y=2x+1"),
    ("assignments", "tuple"): ("x=3, y=-2", "(3,-2)"),
    ("tuple", "assignments"): ("(3,-2)", "y=-2, x=3"),
    ("word", "value"): ("ab", "b*a"),
    ("value", "word"): (r"a \cdot b", "ab"),
    ("figure", "word"): (r"\angle ABC", "CBA"),
    ("word", "figure"): ("ABC", r"\angle ABC"),
    ("time", "ratio"): ("11:00 am", "11:00"),
    ("ratio", "time"): ("11:30", "11:30 am"),
    ("ratio", "value"): ("2:3", "2/3"),
    ("value", "ratio"): (r"\frac{2}{3}", "4:6"),
    ("list", "set"): ("1, 2", r"\{2, 1\}"),
    ("set", "list"): (r"\{2, 1\}", "1, 2"),
    ("interval", "tuple"): ("2<x<5", "(2, 5)"),
    ("tuple", "interval"): ("(2, 5)", "5>x>2"),
}


@pytest.mark.parametrize("kinds", [pair for pair in GUARDS if pair[0] != pair[1]], ids=str)
def test_what_two_kinds_can_share_is_equal_across_them(router: Router, kinds: tuple[str, str]) -> None:
    gold, said = ACROSS[kinds]
    assert judged(router, gold, said).score == 1


# ---- numbers

FORMS = ("{n}/{d}", r"\frac{{{n}}}{{{d}}}", "({n})/({d})", r"{n} \cdot {d}^{{-1}}", r"\frac{{{m}}}{{{e}}}")
fractions = st.builds(
    Fraction,
    st.integers(-(10**6), 10**6) | st.sampled_from([0, 1, 2, 10**12, 10**12 + 1]),
    st.integers(1, 40) | st.sampled_from([10**6, 3 * 10**9, 3 * 10**9 + 1]),
)


def spelled(value: Fraction, form: str) -> str:
    n, d = value.as_integer_ratio()
    return form.format(n=n, d=d, m=2 * n, e=2 * d)


@given(one=fractions, other=fractions, forms=st.tuples(st.sampled_from(FORMS), st.sampled_from(FORMS)))
@THOROUGH
def test_exact_numbers_are_equal_where_their_fractions_are(
    one: Fraction, other: Fraction, forms: tuple[str, str]
) -> None:
    gold = maths(spelled(one, forms[0]))
    assert judge_math(spelled(one, forms[1]), gold, no_worker).score == 1
    assert judge_math(spelled(other, forms[1]), gold, no_worker).score == (one == other)


@given(digits=st.integers(1, 10**9), places=st.integers(0, 40), step=st.sampled_from([-1, 1, 10, 10**6]))
@THOROUGH
def test_decimals_are_compared_to_their_last_digit(digits: int, places: int, step: int) -> None:
    gold, said = (f"{n}e-{places}" for n in (digits, digits + step))
    plain = f"{Fraction(digits, 10**places).numerator}/{Fraction(digits, 10**places).denominator}"
    assert judge_math(said, maths(gold), no_worker).score == 0
    assert judge_math(plain, maths(gold), no_worker).score == 1


def test_numbers_words_and_containers_of_numbers_need_no_worker() -> None:
    for gold, said, score in [
        ("12", "12", 1),
        ("$-1/2$", r"-\frac{1}{2}", 1),
        ("2^{10}", "1024", 1),
        ("3", "4", 0),
        ("east", "seat", 0),
        ("(1, 2)", "(1, 2.0)", 1),
        (r"\{1, 2\}", r"\{2, 1\}", 1),
        ("x=3, y=-2", "y=-2, x=3", 1),
        ("2x+1", "1+2x", 1),
        ("3x-y+13=0", "6x-2y+26=0", 1),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", 0),
    ]:
        assert judge_math(said, maths(gold), no_worker).score == score, (gold, said)


def test_an_answer_is_one_request_however_many_values_it_has(router: Router) -> None:
    asked = []

    def ask(request: dict[str, object]) -> dict[str, object]:
        asked.append(request)
        return router._pool.ask(request)

    said = r"\{\sqrt{3}, \sqrt{2}, 2\sqrt{5}\}"
    assert judge_math(said, maths(r"\{\sqrt{2}, \sqrt{20}, \sqrt{3}\}"), ask).score == 1
    assert len(asked) == 1


# ---- the tolerance

THIRD, ROOT = r"\frac{1}{3}", r"\sqrt{2}"


@pytest.mark.parametrize(
    ("gold", "said", "tolerance", "score"),
    [
        (THIRD, "0.333333", 1e-6, 1),
        (THIRD, "0.333333", 0, 0),
        (THIRD, "0.333332", 1e-6, 0),
        (THIRD, "0.333332", 1e-5, 1),
        ("0.333333", THIRD, 1e-6, 1),
        (ROOT, "1.414214", 1e-6, 1),
        (ROOT, "1.414214", 0, 0),
        (ROOT, "1.41", 1e-6, 0),
        (ROOT, "1.41", 1e-2, 1),
        (r"\sqrt{2} \times 10^{-30}", "1.414214e-30", 1e-6, 1),  # relative, not absolute
        (r"\sqrt{2} \times 10^{-30}", "1.414214e-31", 1e-6, 0),
        (r"\sqrt{2} \times 10^{30}", "1.414214e30", 1e-6, 1),
        ("7", "7.0000001", 1e-6, 0),  # a decimal beside what has a decimal of that length
        ("7", "7.0000001", 1e-5, 1),
        ("0.5", "0.5000001", 1e-6, 0),
        ("0.5", "0.5000001", 1e-5, 1),
        ("1000000000", "1000000001", 1e-2, 0),  # whole numbers and fractions are exact
        ("1/3", "333333/1000000", 1e-2, 0),
        (ROOT, r"\sqrt{2.0001}", 1e-2, 1),
        (r"\{\frac{1}{3}, 2\}", r"\{2, 0.333333\}", 1e-6, 1),
        (r"\frac{x}{3}", "0.333333x", 1e-2, 0),  # functions have none
    ],
)
def test_the_tolerance_is_relative_and_only_for_what_is_not_exact(
    router: Router, gold: str, said: str, tolerance: float, score: float
) -> None:
    assert judged(router, gold, said, tolerance).score == score


# ---- what math-verify says


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        (r"$\frac{1}{2^{97}}$", r"$\frac{1}{2^{96}}$"),
        ("$(0,1)$", r"$\{0,1\}$"),
        (r"$\{1,2,3\}$", "$(3,2,1)$"),
        (r"$\frac{1}{7^{30}} x$", r"$\frac{1}{7^{31}} x$"),
    ],
)
def test_what_math_verify_takes_for_equal_by_mistake_does_not_pass(router: Router, gold: str, said: str) -> None:
    assert router._pool.ask({"prediction": said, "gold": gold})["equal"] is False


@pytest.mark.parametrize(
    ("gold", "said", "score"),
    [(r"\int_0^1 x^2 dx", r"\frac{1}{3}", 1), (r"\int_0^1 x^2 dx", r"\frac{1}{4}", 0), (r"\sum_{k=1}^{4} k", "10", 1)],
)
def test_notation_that_only_math_verify_reads_is_left_to_it(router: Router, gold: str, said: str, score: float) -> None:
    assert judged(router, gold, said).score == score


# ---- pairs at random


def test_of_generated_unequal_answers_none_is_called_equal_and_of_equal_ones_none_is_missed(router: Router) -> None:
    found = measure(pairs(2_000, seed=20_261_126), router, shown=5)
    assert (found["unequal"], found["called_equal"], found["unmeasured"]) == (2_000, 0, 0)
    assert (found["equal"], found["missed"]) == (200, 0)


# ---- what cannot be read


@pytest.mark.parametrize(
    "text",
    [
        *("", "??", "1 2", r"\frac{1}{", "x}{", "either $4$ or $5$", r"\boxed{5} or \boxed{6}", "not 5", "4 = 5"),
        *("((" * 40 + "7" + "))" * 40, "1e999999999", r"\sqrt", "2^", "{1, 2", "59_8", "x <", "hello 5"),
        *("-" * 1999, "(" * 1999, "|" * 1999, "^" * 1999, "sin " * 400, "x^" * 900, "1," * 900, "{" * 999 + "}" * 999),
    ],
    ids=lambda text: text[:20],
)
def test_what_says_no_one_thing_is_unparsed(text: str) -> None:
    verdict = judge_math(text, maths("5"), no_worker)
    assert (verdict.status, verdict.score) == (Status.UNPARSED, 0.0), verdict


def test_any_notation_is_read_or_refused_and_nothing_else() -> None:
    pieces = [
        r"\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        r"\{",
        r"\}",
        "|",
        "1",
        "2",
        "x",
        "+",
        "-",
        "^",
        "_",
        ",",
        "=",
        "<",
    ]
    pieces += [r"\sqrt", r"\sin", "pi", r"\pm", r"\cup", ":", "!", "%", r"\text{ and }", "or", r"\angle", "A", ".", " "]
    rng = random.Random(0)
    kinds = set()
    for _ in range(20_000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 9)))
        try:
            kinds.add(read_form(text).kind)
        except Unread:
            kinds.add("unread")
    assert {"unread", "value", "interval", "list"} <= kinds
