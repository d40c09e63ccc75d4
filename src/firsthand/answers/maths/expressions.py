r"""Mathematical notation, LaTeX or plain, read into a tree: `\frac{1}{2}`, `3*sqrt(2)`, `n \log n`, `0.\overline{27}`.

Only what has one reading is read. Nothing is computed here but numbers as they are written. Linear in the text's
length, and bounded in depth: replies are untrusted, and this runs in the training process.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

from firsthand.answers.maths.tokens import Token, Unread, tokens_of

DEEPEST = 30
"""Brackets within brackets of an expression that is read (ours)."""
_DEEPEST_CALL = 2 * DEEPEST


class Node(NamedTuple):
    """A part of an expression: plain data, which a worker gets as JSON."""

    op: str
    """One of number, decimal, name, constant, + * ^ root, call (a known function) and unknown (one like f(x))."""
    parts: tuple["Node", ...] = ()
    text: str = ""
    """A number's value as a fraction, or the name of what has one."""


_OF_SEVERAL = frozenset(("gcd", "lcm", "max", "min"))
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_UNKNOWN = frozenset(("f", "O", "\\Theta", "\\Omega", "\\mathcal{O}"))
"""Names that are a function where a bracket follows; every other name is multiplied by the bracket."""
_DECORATIONS = "\\vec \\hat \\bar \\tilde \\dot \\mathbf \\boldsymbol \\mathbb \\mathcal \\overline"
_DECORATED = frozenset(_DECORATIONS.split())
_FIGURES = frozenset(("\\angle", "\\triangle"))
_TIMES = frozenset(("*", "\\cdot", "\\times", "\\ast"))
_OVER = frozenset(("/", "\\div"))
_FOREIGN = frozenset(("\\int", "\\iint", "\\oint", "\\sum", "\\prod", "\\lim"))
"""What is left to another reader."""
_DERIVATIVE = re.compile(r"\{(?:d|\\partial)[A-Za-z]?\}\{(?:d|\\partial)[A-Za-z]\}")
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "\\lvert": "\\rvert"}


def read_expression(text: str) -> Node:
    """The tree of an expression. Raises Unread."""
    parser = _Parser(tokens_of(text))
    node = parser.sum()
    if parser.token is not None:
        raise Unread(f"{parser.token.text!r} is not understood where it stands")
    return node


def number_node(value: Fraction, *, is_decimal: bool = False) -> Node:
    """A number as a tree."""
    return Node("decimal" if is_decimal else "number", (), str(value))


def negated(node: Node) -> Node:
    """The tree of minus that."""
    if node.op in ("number", "decimal"):
        return Node(node.op, (), str(-Fraction(node.text)))
    return Node("*", (Node("number", (), "-1"), node))


def difference(left: Node, right: Node) -> Node:
    """The tree of left minus right."""
    return Node("+", (left, negated(right)))


def names_in(node: Node) -> frozenset[str]:
    """The variables of an expression."""
    own = {node.text} if node.op == "name" else set()
    return frozenset(own.union(*map(names_in, node.parts)))


def has_decimal(node: Node) -> bool:
    """Whether a number with a decimal point is part of it."""
    return node.op == "decimal" or any(map(has_decimal, node.parts))


class _Parser:
    """Recursive descent: sums of products of powers of atoms."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0
        self._in_function = False

    @property
    def token(self) -> Token | None:
        """The next token."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next_is(self, *texts: str) -> bool:
        return self.token is not None and self.token.text in texts and self.token.kind in ("sign", "command")

    def _take(self) -> Token:
        if self.token is None:
            raise Unread("the expression is not complete")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, text: str) -> None:
        if not self._next_is(text):
            raise Unread(f"{text!r} is missing")
        self._at += 1

    def sum(self) -> Node:
        """Terms with + and - between them."""
        terms = [self._product()]
        while self._next_is("+", "-"):
            minus = self._take().text == "-"
            term = self._product()
            terms.append(negated(term) if minus else term)
        return terms[0] if len(terms) == 1 else Node("+", tuple(terms))

    def _product(self) -> Node:
        factors = [self._signed()]
        while self.token is not None:
            if self.token.text in _TIMES and self.token.kind != "number":
                self._take()
                factors.append(self._signed())
            elif self.token.text in _OVER and self.token.kind != "number":
                self._take()
                factors.append(_inverse(self._signed()))
            elif self._starts_atom():
                factors.append(self._beside())
            else:
                break
        return factors[0] if len(factors) == 1 else Node("*", tuple(factors))

    def _takes_minus(self) -> bool:
        """Whether the signs in front, which it takes, come to a minus."""
        minus = False
        while self._next_is("+", "-"):
            minus ^= self._take().text == "-"
        return minus

    def _signed(self) -> Node:
        minus = self._takes_minus()
        power = self._power()
        return negated(power) if minus else power

    def _beside(self) -> Node:
        """A factor without a sign of multiplication in front of it: not a number beside a number."""
        assert self.token is not None
        if self.token.kind == "number" and self._tokens[self._at - 1].kind == "number":
            raise Unread("two numbers side by side are no expression")
        if self.token.kind == "number" and self.token.spaced and self._tokens[self._at - 1].text in ("}", ")"):
            raise Unread("a number behind an expression")
        return self._power()

    def _starts_atom(self) -> bool:
        token = self.token
        if token is None:
            return False
        if token.kind in ("number", "name", "function", "constant"):
            return True
        if token.text == "|":
            return self._bars == 0
        return token.text in ("(", "[", "{", "\\lfloor", "\\lceil", "\\lvert", "\\frac", "\\binom") or (
            token.text in _DECORATED or token.text in _FIGURES
        )

    def _power(self) -> Node:
        node = self._atom()
        while True:
            if self._next_is("!"):
                self._take()
                if self._next_is("!"):
                    raise Unread("a double factorial", foreign=True)
                node = Node("call", (node,), "factorial")
            elif self._next_is("%", "\\%"):
                self._take()
                node = Node("*", (node, number_node(Fraction(1, 100))))
            elif self._next_is("^"):
                self._take()
                node = self._raised(node)
            else:
                return node

    def _raised(self, base: Node) -> Node:
        if self._is_degree():
            if not self._in_function:
                return base
            return Node("*", (base, Node("constant", (), "pi"), number_node(Fraction(1, 180))))
        return Node("^", (base, self._exponent()))

    def _is_degree(self) -> bool:
        """Whether a ring follows, with braces or without, which it takes."""
        texts = [token.text for token in self._tokens[self._at : self._at + 3]]
        for ring in (["\\circ"], ["{", "\\circ", "}"]):
            if texts[: len(ring)] == ring:
                self._at += len(ring)
                return True
        return False

    def _exponent(self) -> Node:
        minus = self._takes_minus()
        if self._next_is("{"):
            node = self._group()
        elif self.token is not None and self.token.kind in ("number", "name", "constant"):
            node = self._short()
            if self._next_is("^"):  # 2^3^2
                self._take()
                node = self._nested(lambda: self._raised(node))
        else:
            node = self._atom()
        return negated(node) if minus else node

    def _group(self) -> Node:
        self._expect("{")
        return self._inside("}")

    def _inside(self, closing: str) -> Node:
        """A sum and the bracket that closes behind it; bars around the brackets do not end in them."""
        bars, self._bars = self._bars, 0
        node = self.sum()
        self._bars = bars
        self._expect(closing)
        return node

    def _argument(self) -> Node:
        r"""What a LaTeX command takes: a group, or one token, which is one digit: `\frac12`."""
        if self._next_is("{"):
            return self._group()
        token = self.token
        if token is not None and token.kind == "number" and len(token.text) > 1:
            if not token.text.isdigit():
                raise Unread("a decimal that is no group")
            self._tokens[self._at] = token._replace(text=token.text[1:])
            return number_node(Fraction(token.text[0]))
        return self._short()

    def _short(self) -> Node:
        r"""An atom that is no mixed number: `2^3\\frac{1}{2}` is 4."""
        if self.token is not None and self.token.kind == "number":
            token = self._take()
            return number_node(Fraction(token.text), is_decimal="." in token.text)
        return self._atom()

    def _nested(self, read: Callable[[], Node]) -> Node:
        """What is inside something else, unless that is too deep."""
        self._depth += 1
        if self._depth > _DEEPEST_CALL:
            raise Unread(f"nested more than {DEEPEST} deep")
        node = read()
        self._depth -= 1
        return node

    def _atom(self) -> Node:
        return self._nested(self._atom_here)

    def _atom_here(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "name":
            return self._name(token.text)
        if token.kind == "constant":
            return Node("constant", (), token.text)
        if token.kind == "function":
            return self._function(token.text)
        return self._opened(token.text)

    def _opened(self, text: str) -> Node:
        """What begins with a bracket or a command."""
        if text in ("|", "\\lvert", "\\lfloor", "\\lceil"):
            self._bars += text == "|"
            inside = self.sum()
            self._expect(_CLOSING.get(text, "|"))
            self._bars -= text == "|"
            return Node("call", (inside,), {"\\lfloor": "floor", "\\lceil": "ceil"}.get(text, "abs"))
        if text in ("(", "[", "{"):
            return self._inside(_CLOSING[text])
        if text in ("\\frac", "\\binom"):
            self._refuse_derivative()
            above, below = self._argument(), self._argument()
            return Node("*", (above, _inverse(below))) if text == "\\frac" else Node("call", (above, below), "binom")
        if text in _DECORATED:
            return self._decorated(text)
        if text in _FIGURES:
            points = self._points()
            same = "".join(sorted(points)) if text == "\\triangle" else min(points, points[::-1])
            return Node("name", (), text + same)
        raise Unread(f"{text[:40]!r} is not understood", foreign=text in _FOREIGN)

    def _refuse_derivative(self) -> None:
        r"""`\\frac{dy}{dx}` is no product of d and y."""
        texts = "".join(token.text for token in self._tokens[self._at : self._at + 8])
        if _DERIVATIVE.match(texts):
            raise Unread("a derivative", foreign=True)

    def _number(self, token: Token) -> Node:
        node = number_node(Fraction(token.text), is_decimal="." in token.text)
        if self._tokens[self._at : self._at + 1] and token.text.isdigit():
            return self._mixed(node)
        return node

    def _mixed(self, whole: Node) -> Node:
        r"""`1\frac{1}{2}` and `1 1/2` are 3/2; a fraction above 1 is a factor."""
        texts = [token.text for token in self._tokens[self._at : self._at + 7]]
        part: list[str] = []
        if texts[:2] == ["\\frac", "{"] and texts[3:5] == ["}", "{"] and texts[6:7] == ["}"]:
            part, length = [texts[2], texts[5]], 7
        elif len(texts) > 2 and texts[1] == "/" and self._tokens[self._at].spaced:
            part, length = [texts[0], texts[2]], 3
        if len(part) == 2 and all(text.isdigit() for text in part) and 0 < int(part[0]) < int(part[1]):
            self._at += length
            return number_node(Fraction(whole.text) + Fraction(int(part[0]), int(part[1])))
        return whole

    def _name(self, text: str) -> Node:
        while self._next_is("'"):
            text += self._take().text
        if self._next_is("_"):
            self._take()
            text += "_" + self._raw_group()
        if text in _UNKNOWN and self._next_is("("):
            return Node("unknown", self._bracketed(), text)
        return Node("name", (), text)

    def _raw_group(self) -> str:
        """A subscript's text: letters and digits mean nothing there."""
        if not self._next_is("{"):
            return self._take().text
        self._take()
        depth, parts = 1, []
        while depth:
            token = self._take()
            depth += (token.text == "{") - (token.text == "}")
            parts.append(token.text)
        return "".join(parts[:-1])

    def _decorated(self, command: str) -> Node:
        name = f"{command}{{{self._raw_group()}}}"
        if name in _UNKNOWN and self._next_is("("):
            return Node("unknown", self._bracketed(), name)
        if self._next_is("_"):
            self._take()
            name += "_" + self._raw_group()
        return Node("name", (), name)

    def _points(self) -> str:
        """The letters of an angle or a triangle."""
        points = ""
        while self.token is not None and self.token.kind in ("name", "number") and not (points and self.token.spaced):
            points += self._take().text
        if not points:
            raise Unread("an angle without a name")
        return points

    def _bracketed(self) -> tuple[Node, ...]:
        """One or several arguments in round brackets."""
        self._expect("(")
        bars, self._bars = self._bars, 0
        parts = [self.sum()]
        while self._next_is(","):
            self._take()
            parts.append(self.sum())
        self._bars = bars
        self._expect(")")
        return tuple(parts)

    def _function(self, name: str) -> Node:
        if name in ("sqrt", "cbrt"):
            return self._root(name)
        base = power = None
        if name == "log" and [token.text for token in self._tokens[self._at + 1 : self._at + 2]] == ["("]:
            base = self._glued_number()
        while self._next_is("_", "^"):
            if self._take().text == "_":
                base = self._argument()
            else:
                power = self._exponent()
        was, self._in_function = self._in_function, True
        parts = self._arguments(name)
        self._in_function = was
        if power == number_node(Fraction(-1)) and name in _INVERSE:
            name, power = _INVERSE[name], None
        if base is not None:
            if name != "log":
                raise Unread(f"{name!r} with an index", foreign=True)
            parts = (*parts, base)
        node = Node("call", parts, name)
        return node if power is None else Node("^", (node, power))

    def _glued_number(self) -> Node | None:
        """The base in `log2(8)`."""
        if self.token is None or self.token.kind != "number" or self.token.spaced:
            return None
        return self._atom()

    def _arguments(self, name: str) -> tuple[Node, ...]:
        if self._next_is("("):
            parts = self._bracketed()
            if len(parts) > 1 and name not in _OF_SEVERAL and not (name == "log" and len(parts) == 2):
                raise Unread(f"{name!r} of {len(parts)} values")
            return parts
        if self._next_is("{"):
            return (self._group(),)
        factors = [self._signed()]
        is_function = factors[0].op == "call"
        while not is_function and self._starts_atom() and self._tokens[self._at].kind != "function":
            if self._next_is("("):
                break
            factors.append(self._beside())
        return (factors[0] if len(factors) == 1 else Node("*", tuple(factors)),)

    def _root(self, name: str) -> Node:
        index = number_node(Fraction(3 if name == "cbrt" else 2))
        if self._next_is("["):
            self._take()
            index = self.sum()
            self._expect("]")
        is_number = self.token is not None and self.token.kind == "number"  # \sqrt13 is meant as the root of 13
        return Node("root", (self._short() if is_number else self._argument(), index))


def _inverse(node: Node) -> Node:
    return Node("^", (node, number_node(Fraction(-1))))
