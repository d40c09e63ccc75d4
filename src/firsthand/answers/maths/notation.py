"""LaTeX and plain notation in few spellings, and where its brackets are.

One command for each meaning, no spacing, digits in one row: what reads objects needs to know each sign once. Linear.
"""

import re
from collections.abc import Iterator
from itertools import accumulate

from firsthand.answers.markup import ON_THE_LINE, braces_match
from firsthand.answers.maths.expressions import DEEPEST

MOST_PARTS = 60
"""Elements of a list that are compared (ours)."""
_SIGNS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "\u00d7": "\\times ",
        "\u00f7": "\\div ",
        "\u00b7": "\\cdot ",
        "\u22c5": "\\cdot ",
        "\u03c0": "\\pi ",
        "\u03b8": "\\theta ",
        "\u03b1": "\\alpha ",
        "\u03b2": "\\beta ",
        "\u221e": "\\infty ",
        "\u2103": "\u00b0C",
        "\u2109": "\u00b0F",
        "\u00b1": "\\pm ",
        "\u2213": "\\mp ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u2260": "\\ne ",
        "\u2208": "\\in ",
        "\u222a": "\\cup ",
        "\u2229": "\\cap ",
        "\u2205": "\\emptyset ",
        "\u211d": "\\mathbb{R}",
        "\u2220": "\\angle ",
        "\u25b3": "\\triangle ",
        "\u2026": "\\ldots ",
        "\u22ef": "\\ldots ",
        "\u27e8": "\\langle ",
        "\u27e9": "\\rangle ",
        "\u2248": "\\approx ",
    }
)
_RAISED = re.compile("[\u207a\u207b]?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_LOWERED = re.compile("[\u2080-\u2089]+")
_SAME_COMMAND = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "\\frac"),
    **dict.fromkeys(("dbinom", "tbinom"), "\\binom"),
    **dict.fromkeys(("leq", "leqslant", "le"), "\\le "),
    **dict.fromkeys(("geq", "geqslant", "ge"), "\\ge "),
    **dict.fromkeys(("neq", "ne"), "\\ne "),
    **dict.fromkeys(("lt",), "<"),
    **dict.fromkeys(("gt",), ">"),
    **dict.fromkeys(("dots", "cdots", "ldots", "dotsc", "dotsb"), "\\ldots "),
    **dict.fromkeys(("varnothing", "emptyset"), "\\emptyset "),
    **dict.fromkeys(("lbrace",), "\\{"),
    **dict.fromkeys(("rbrace",), "\\}"),
    **dict.fromkeys(("lor", "vee"), " or "),
    **dict.fromkeys(("land", "wedge"), " and "),
    **dict.fromkeys(("degree",), "^\\circ "),
    **dict.fromkeys(("colon",), ":"),
    **dict.fromkeys(("simeq", "approx"), "\\approx "),
    **dict.fromkeys(("mid", "vert"), "|"),
    **dict.fromkeys(("measuredangle",), "\\angle "),
}
_SIZES = "left right big bigl bigr Big Bigl Bigr bigg biggl biggr Bigg displaystyle textstyle limits mathstrut"
_NOTHING = frozenset(_SIZES.split())
COMMAND = re.compile(r"\\([A-Za-z]+)")
_SPACES = re.compile(
    r"(?<!\\)\\(?:[,;:! ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|thinspace(?![A-Za-z]))|~|[\u00a0\u2009\u202f]"
)
_GROUP_SPACE = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,|\\!|[\u00a0\u2009\u202f'])[ ]{0,3}(?=[0-9]{3}(?![0-9]))")
COMMA_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_PROGRAMMERS = (("<=", "\\le "), (">=", "\\ge "), (" !=", "\\ne "))
"""5!=120 is another thing."""
_COLOURED = re.compile(r"\\(?:text)?color\s?\{[A-Za-z]{1,20}\}|\\underline(?=\s?\{)")
_TIMES_TEN = re.compile(r"(?<=[0-9])\s?[xX]\s?(?=10\s?(?:\^|\*\*))")
_UNION = re.compile(r"(?<=[)\]])\s?U\s?(?=[(\[])")
_BLACKBOARD = re.compile(r"\\(?:mathbb|Bbb)\s?([A-Z])(?![A-Za-z])")
TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|textsf|texttt)\s*\{([^{}]*)\}")
_ROOT_OF_NUMBER = re.compile(r"\u221a\s?([0-9]+|[A-Za-z])")
_PREFIX_OF_ANGLE = re.compile(r"(?<![A-Za-z])m\s?(?=\\angle)|(?<![A-Za-z\\])(?:angle)\s+(?=[A-Z]{1,3}(?![A-Za-z]))")
PLAIN_WORDS = re.compile(r"[^\W\d_]+(?:[ '\u2019][^\W\d_]+|(?<=[^\W\d_]{3})-[^\W\d_]{3,})*")
"""Not `y-x`, nor `ab-cd`."""


def with_plain_signs(text: str) -> str:
    """Typographic signs as LaTeX: `×` as a command, `10²³` as `10^{23}`."""
    text = _RAISED.sub(lambda found: f"^{{{found[0].translate(ON_THE_LINE)}}}", text)
    return _LOWERED.sub(lambda found: f"_{{{found[0].translate(ON_THE_LINE)}}}", text).translate(_SIGNS)


def in_few_spellings(text: str) -> str:
    """The same in fewer spellings: one command for each meaning, no spacing, digits in one row."""
    text = _GROUP_SPACE.sub("", text.replace("\\$", "").replace("\\displaystyle", ""))
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text).replace("\u221a", "\\sqrt")
    text = text.replace("\u00b0", "^\\circ ")
    text = _UNION.sub(" \\\\cup ", _TIMES_TEN.sub(" \\\\times ", _SPACES.sub(" ", text)))
    for sign, command in _PROGRAMMERS:
        text = text.replace(sign, command)
    text = _COLOURED.sub("", text)
    text = _BLACKBOARD.sub(r"\\mathbb{\1}", COMMAND.sub(_same_command, text)).replace("\\mathcal{O}", "O")
    text = _PREFIX_OF_ANGLE.sub(lambda found: "\\angle " if "angle" in found[0] else "", text)
    return re.sub(r"\s+", " ", text.replace("$", " ")).strip()


def _same_command(found: re.Match[str]) -> str:
    name = found[1]
    return "" if name in _NOTHING else _SAME_COMMAND.get(name, found[0])


def without_group_commas(text: str) -> str:
    """1,000 in one row, outside the brackets of tuples and sets, where a comma parts two numbers."""
    depths = list(accumulate((c in "([") - (c in ")]") for c in text.replace("\\{", "x(").replace("\\}", "x)")))
    return COMMA_GROUPS.sub(lambda found: found[0] if depths[found.start()] > 0 else found[0].replace(",", ""), text)


def flaw_of_brackets(text: str) -> str:
    """What is wrong with the brackets; empty where nothing is."""
    marks = text.replace("\\{", "").replace("\\}", "")
    if max(accumulate((c in "{([") - (c in "})]") for c in marks), default=0) > DEEPEST:
        return f"brackets nested more than {DEEPEST} deep"
    return "" if braces_match(marks) else "braces that do not match"


_PIECE = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING = frozenset(("(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil", "\\lvert", "\\begin"))
_SHUTTING = frozenset((")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil", "\\rvert", "\\end"))


def outside_brackets(text: str) -> Iterator[tuple[str, int]]:
    """Signs and commands outside all brackets, with their places."""
    depth = 0
    for piece in _PIECE.finditer(text):
        sign = piece[0]
        if sign in _SHUTTING:
            depth -= 1
        if depth == 0 and sign not in _SHUTTING:
            yield sign, piece.start()
        if sign in _OPENING:
            depth += 1


def split_outside(text: str, marks: tuple[str, ...]) -> list[str]:
    """The text cut at marks outside all brackets."""
    parts, start = [], 0
    for sign, at in outside_brackets(text):
        if sign in marks:
            parts.append(text[start:at])
            start = at + len(sign)
    return [*parts, text[start:]]


def enclosed(text: str) -> tuple[str, str, str] | None:
    """The brackets around the whole text, and what is in them."""
    for left, rights in (("(", ")]"), ("[", ")]"), ("\\{", ("\\}",)), ("\\langle", ("\\rangle",)), ("{", "}")):
        for right in rights:
            if text.startswith(left) and text.endswith(right):
                inner = text[len(left) : len(text) - len(right)]
                if not any(depth < 0 for depth in _depths(inner)):
                    return left, inner.strip(), right
    return None


def _depths(text: str) -> Iterator[int]:
    signs = (piece[0] for piece in _PIECE.finditer(text))
    return accumulate((sign in _OPENING) - (sign in _SHUTTING) for sign in signs)
