r"""What mathematical notation is made of: numbers, names, functions, commands and signs.

Letters are names, of which a product may be made: `2ab`. A row of four or more is a word, and words are no product.
"""

import re
from fractions import Fraction
from typing import NamedTuple

_LARGEST_EXPONENT = 2_000
"""Of a number such as 3e8 (ours): 1e999999999 is nine characters and a billion digits."""


class Unread(Exception):
    """Why a text is not read. `foreign`: it is notation that another reader may know, such as an integral."""

    def __init__(self, why: str, *, foreign: bool = False) -> None:
        super().__init__(why)
        self.foreign = foreign


_GREEK_NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
    "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
_GREEK = frozenset(_GREEK_NAMES.split())
_FUNCTION_NAMES = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp abs floor ceil sqrt cbrt gcd lcm max min"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
NOTATION = FUNCTIONS | _GREEK | {"pi", "infinity", "inf", "asin", "acos", "atan"}
"""Words that stand for a function or a letter."""
_SAME_NAME = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "ceiling": "ceil"}
_WORDS = "and or is if of to not the no in at as be by it on so we"
_NO_NAMES = frozenset(_WORDS.split())
_LONGEST_PRODUCT = 3
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![A-Za-z0-9.]))?)"
    r"|(?P<letters>[A-Za-z]+)|(?P<command>\\[A-Za-z]+)|(?P<sign>\*\*|\\[{}%]|.)",
    re.DOTALL,
)
_WRAPPED = re.compile(r"\\(?:mathrm|mathit|operatorname|mathnormal|textit|text)\s*\{\s*([A-Za-z]+)\s*\}")
_REPEATING = re.compile(r"(?<![0-9])([0-9]+)\.([0-9]*)\\(?:overline|bar)\s*\{\s*([0-9]+)\s*\}")
_DOTTED = re.compile(r"(?<![0-9])([0-9]+)\.([0-9]*)\\dot\{?([0-9])\}?(?:([0-9]*)\\dot\{?([0-9])\}?)?")
_BRACKETED = re.compile(r"(?<![0-9])([0-9]+)\.()\(([0-9]+)\)")


class Token(NamedTuple):
    kind: str
    """number, name, function, constant, command or sign."""
    text: str
    spaced: bool
    """Whether white space is in front of it."""


def tokens_of(text: str) -> list[Token]:
    """The tokens of an expression. Raises Unread."""
    text = _WRAPPED.sub(_unwrapped_letters, text)
    for pattern in (_REPEATING, _DOTTED, _BRACKETED):
        text = pattern.sub(_repeating, text)
    tokens: list[Token] = []
    spaced = False
    for found in _TOKEN.finditer(text):
        kind, part = str(found.lastgroup), found[0]
        if kind == "space":
            spaced = True
            continue
        if kind == "letters":
            tokens += _letters(part, spaced)
        elif kind == "command":
            tokens.append(_command(part, spaced))
        elif kind == "number":
            if (exponent := part.lower().partition("e")[2]) and abs(int(exponent)) > _LARGEST_EXPONENT:
                raise Unread(f"a number of more than {_LARGEST_EXPONENT:,} digits")
            tokens.append(Token("number", part, spaced))
        else:
            tokens.append(Token("sign", {"**": "^"}.get(part, part), spaced))
        spaced = False
    return tokens


def _unwrapped_letters(found: re.Match[str]) -> str:
    word = found[1]
    if len(word) == 1:
        return f" {word} "
    return f"\\{word} " if word in FUNCTIONS else found[0]


def _repeating(found: re.Match[str]) -> str:
    r"""`0.1\overline{6}` as `\frac{..}{..}`: the fraction that it is."""
    whole, first, cycle = found[1], found[2], "".join(group or "" for group in found.groups()[2:])
    value = Fraction(f"{whole}.{first}0") + Fraction(int(cycle), 10 ** len(first) * (10 ** len(cycle) - 1))
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"


def _command(text: str, spaced: bool) -> Token:
    name = text[1:]
    name = _SAME_NAME.get(name, name)
    if name in FUNCTIONS:
        return Token("function", name, spaced)
    if name in ("pi", "infty"):
        return Token("constant", name, spaced)
    return Token("name" if name in _GREEK else "command", text, spaced)


def _letters(run: str, spaced: bool) -> list[Token]:
    name = _SAME_NAME.get(run, run)
    if name in FUNCTIONS:
        return [Token("function", name, spaced)]
    if run in ("pi", "infinity", "inf"):
        return [Token("constant", "pi" if run == "pi" else "infty", spaced)]
    if run in _GREEK:
        return [Token("name", f"\\{run}", spaced)]
    if run.lower() in _NO_NAMES or (len(run) > _LONGEST_PRODUCT and not run.isupper()):
        raise Unread(f"the word {run[:40]!r} in an expression")
    kinds = [("constant" if letter in "ei" else "name") for letter in run]
    return [Token(kind, letter, spaced and at == 0) for at, (kind, letter) in enumerate(zip(kinds, run, strict=True))]
