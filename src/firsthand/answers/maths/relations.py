r"""Equations, inequalities, and intervals that are written as such: `x=5`, `3x-y=0`, `0<x<5`, `|x-2|<3`, `x \in [1,2]`.

A relation with a name on one side is a label. What one of the others says is its form: a solved one is an interval.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from firsthand.answers.maths.expressions import Node, difference, names_in, negated, number_node
from firsthand.answers.maths.forms import INFINITY, MINUS_INFINITY, Form, union
from firsthand.answers.maths.notation import outside_brackets
from firsthand.answers.maths.quantities import read_end, read_latex
from firsthand.answers.maths.sentences import HEDGE
from firsthand.answers.maths.tokens import FUNCTIONS, Unread

RELATIONS = ("=", "<", ">", "\\le", "\\ge", "\\ne", "\\in", "\\approx")
_TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_LESS = frozenset(("<", "\\le"))
_LABEL = re.compile(
    r"(?:\\?[A-Za-z]+|\\[A-Za-z]+\s?\{[A-Za-z ]{1,20}\})(?:_(?:[A-Za-z0-9]|\{[^{}]{1,20}\}))?'{0,2}"
    r"(?:\([A-Za-z0-9, =<>+-]{1,12}\))?"
    r"|\\angle\s?[A-Z]{1,3}|\|\s?[A-Z]{2}\s?\||\|\s?\\[A-Za-z]+\s?\{[A-Z]{2}\}\s?\||[A-Za-z]+(?: [A-Za-z]+){1,3}"
    r"|\([a-z](?:, ?[a-z]){1,3}\)|[A-Za-z]\^\{?-1\}?\([a-z]\)|\\frac\{d[a-z]?\}\{d[a-z]\}"
    r"|[A-Za-z]{1,3}(?: ?: ?[A-Za-z]{1,3}){1,3}"
)
_NO_LABEL = frozenset(("e", "i", "pi", "\\pi", "\\infty"))


def read_relation(text: str, read: Callable[[str], Form]) -> Form | None:
    """A relation; `read` reads what stands on a side of it."""
    signs = [(sign, at) for sign, at in outside_brackets(text) if sign in RELATIONS]
    if not signs:
        return None
    ends = [at for _, at in signs] + [len(text)]
    sides = [text[: signs[0][1]]] + [
        text[at + len(sign) : end] for (sign, at), end in zip(signs, ends[1:], strict=True)
    ]
    sides = [side.strip() for side in sides]
    names = [sign for sign, _ in signs]
    if any(not side for side in sides):
        if names in (["="], ["\\approx"]) and sides[1]:  # `= 5`
            return read(sides[1])
        raise Unread("a relation with one side")
    if names[0] == "\\in":
        if len(names) > 1:
            raise Unread("several relations")
        return read(sides[1])
    if set(names) <= {"=", "\\approx"}:
        return _equation(_without_approximation(names, sides), read)
    return _inequality(names, sides)


def _without_approximation(signs: list[str], sides: list[str]) -> list[str]:
    r"""`x = \\frac{1}{3} \\approx 0.33` says a third; where there is nothing else, x is what it is about."""
    first = 1 if _is_label(sides[0]) else 0
    cut = next((at for at in range(first, len(signs)) if signs[at] == "\\approx"), len(signs))
    return sides[: cut + 1]


def _equation(sides: list[str], read: Callable[[str], Form]) -> Form:
    name, value = sides[0], sides[-1]
    if len(sides) == 1:
        return read(name)
    if not _is_label(name) and _is_label(value) and len(sides) == 2:
        name, value = value, name  # 5 = x
    if _is_label(name):
        inside = read(value) if len(sides) == 2 else _chain(sides[1:], read)
        if inside.kind == "word" and inside.node is not None and len(name) <= len("nRT"):
            inside = Form("value", node=inside.node)  # F = ma
        if inside.kind not in ("value", "chain"):
            return inside  # P = (1, 2), x = \pm 3, S = \{1, 2\}
        return Form("label", (inside,), _difference(name, value), text=re.sub(r"\s", "", name))
    nodes = [read_latex(side) for side in sides]
    if not any(map(names_in, nodes)):
        return _chain(sides, read)
    if len(nodes) > 2:
        raise Unread("several equations in a row")
    return Form("equation", node=difference(*nodes))


def _chain(sides: list[str], read: Callable[[str], Form]) -> Form:
    """Values of which each is said to be the next: the last one, where the others have variables."""
    parts = tuple(map(read, sides))
    if any(part.node is None or part.kind != "value" or names_in(part.node) for part in parts):
        return parts[-1]
    return Form("chain", parts)


def _is_label(text: str) -> bool:
    """Whether it names a value: one word of it that is a function, or denies, makes it something else."""
    if text in _NO_LABEL or _LABEL.fullmatch(text) is None or HEDGE.search(text):
        return False
    return not FUNCTIONS & set(re.findall("[A-Za-z]+", text))


def _difference(name: str, value: str) -> Node | None:
    try:
        return difference(read_latex(name), read_latex(value))
    except Unread:
        return None  # a label such as `area`


def _inequality(signs: list[str], sides: list[str]) -> Form:
    if len(signs) == 1 and (around := _absolute(signs[0], sides)):
        return around
    if signs == ["\\ne"]:
        return _not_equal(sides)
    if len(signs) > 2 or set(signs) - set(_TURNED):
        raise Unread("a chain of relations")
    nodes = [read_latex(side) for side in sides]
    named = [bool(names_in(node)) for node in nodes]
    bare = [node.op == "name" for node in nodes]
    if len(signs) == 1 and bare[0] and not named[1]:
        return _half_line(signs[0], sides[1], nodes[0].text)
    if len(signs) == 1 and bare[1] and not named[0]:
        return _half_line(_TURNED[signs[0]], sides[0], nodes[1].text)
    if len(signs) == 2 and bare[1] and not named[0] and not named[2] and len({sign in _LESS for sign in signs}) == 1:
        low, high = (0, 2) if signs[0] in _LESS else (2, 0)
        brackets = ["(" if sign in "<>" else "[" for sign in signs]
        left, right = brackets if low == 0 else brackets[::-1]
        ends = (read_end(sides[low]), read_end(sides[high]))
        return Form("interval", ends, text=left + {"(": ")", "[": "]"}[right], node=nodes[1])
    parts = [
        Form("inequality", node=_positive(sign, a, b), text=">" if sign in "<>" else ">=")
        for sign, a, b in zip(signs, nodes, nodes[1:], strict=False)
    ]
    return parts[0] if len(parts) == 1 else Form("inequalities", tuple(parts))


def _positive(sign: str, left: Node, right: Node) -> Node:
    return difference(left, right) if sign in (">", "\\ge") else difference(right, left)


def _half_line(sign: str, end: str, name: str) -> Form:
    closed = sign in ("\\le", "\\ge")
    node = Node("name", (), name)
    if sign in ("<", "\\le"):
        return Form("interval", (MINUS_INFINITY, read_end(end)), node, "(" + ("]" if closed else ")"))
    return Form("interval", (read_end(end), INFINITY), node, ("[" if closed else "(") + ")")


def _absolute(sign: str, sides: list[str]) -> Form | None:
    r"""`|x - 2| < 3` as the interval that it is."""
    if sides[1].startswith("|") and sign in _TURNED:
        sign, sides = _TURNED[sign], sides[::-1]
    found = re.fullmatch(r"\|([^|]+)\||\\lvert (.+)\\rvert", sides[0])
    if found is None or sign not in _TURNED:
        return None
    inside, radius = read_latex(found[1] or found[2]), read_latex(sides[1])
    middle = _middle(inside)
    if names_in(radius):
        return None
    if middle is None:
        if sign not in _LESS:
            raise Unread("an absolute value of what is not x - a")
        strict = ">" if sign == "<" else ">="
        parts = (difference(radius, inside), Node("+", (radius, inside)))
        return Form("inequalities", tuple(Form("inequality", node=part, text=strict) for part in parts))
    name, centre = middle
    ends = [Form("value", node=_plain_sum(centre, node)) for node in (negated(radius), radius)]
    closed = sign in ("\\le", "\\ge")
    if sign in ("<", "\\le"):
        return Form("interval", tuple(ends), name, "[]" if closed else "()")
    return Form(
        "union",
        (
            Form("interval", (MINUS_INFINITY, ends[0]), name, "(]" if closed else "()"),
            Form("interval", (ends[1], INFINITY), name, "[)" if closed else "()"),
        ),
    )


def _middle(node: Node) -> tuple[Node, Node] | None:
    """Of x - 2 the name and 2, which is the middle of |x - 2| < r."""
    if node.op == "name":
        return node, number_node(Fraction(0))
    if node.op == "+" and len(node.parts) == 2:
        for name, other in (node.parts, node.parts[::-1]):
            if name.op == "name" and not names_in(other):
                return name, negated(other)
    return None


def _plain_sum(left: Node, right: Node) -> Node:
    if left == number_node(Fraction(0)):
        return right
    return Node("+", (left, right))


def _not_equal(sides: list[str]) -> Form:
    nodes = [read_latex(side) for side in sides]
    if nodes[0].op != "name" or names_in(nodes[1]):
        raise Unread("an inequation that does not name one value")
    return union([_half_line("<", sides[1], nodes[0].text), _half_line(">", sides[1], nodes[0].text)])
