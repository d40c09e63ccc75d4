r"""What kind of mathematical object an answer is, and what it is made of: a value, a tuple, a set, words ...

One reader for ground truth and replies. A form is made of other forms; only values hold expressions, which somebody has
to compare (reward/math.py). A text with several readings gets the first that fits:

    7, 12 cm, 50%, 七              value (answers/numbers.py)
    east, \text{no solution}       word
    \angle ABC, \triangle ABC      figure: an angle's vertex counts, a triangle's order does not
    3, 5, 9; x=1 or x=2            list: no order.  1, 2, \ldots, n: sequence, in order
    x=3, y=-2                      assignments.  x=5, f(x)=2x: label.  3x-y=0: equation
    0<x<5, x \in (0, 5), |x|<3     interval, or union of intervals.  x+y<3: inequality
    (1, 2), \langle 1, 2 \rangle   tuple.  \{1, 2\}: set.  [1, 2]: interval
    \begin{pmatrix} ...            matrix.  1:2:3: ratio.  11:00: time.  53_8: based
    anything else                  value: one expression, with at most its unit
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from firsthand.answers.expressions import (
    DEEPEST,
    NOTATION,
    Node,
    Unread,
    difference,
    names_in,
    negated,
    number_node,
    read_expression,
)
from firsthand.answers.markup import braces_match, folded, without_markup
from firsthand.answers.numbers import read_number
from firsthand.answers.units import read_unit


class Form(NamedTuple):
    """An answer as an object."""

    kind: str
    parts: tuple["Form", ...] = ()
    node: Node | None = None
    """Of a value its expression; of an equation the difference of its sides, which is 0; of an inequality > 0."""
    text: str = ""
    """Of a value its unit, of an interval its brackets, of a label its name; of words and names what they say."""


EMPTY = Form("set")
INFINITY = Form("infinity", text="+")
MINUS_INFINITY = Form("infinity", text="-")
REALS = Form("interval", (MINUS_INFINITY, INFINITY), text="()")
_MOST_PARTS = 60
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
        "\u200b": None,
        "\u200c": None,
        "\u200d": None,
        "\u2060": None,
        "\ufeff": None,
    }
    | {
        ord(raised): f"^{digit}"
        for digit, raised in enumerate("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
    }
    | {
        ord(lowered): f"_{digit}"
        for digit, lowered in enumerate("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089")
    }
)
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
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_SPACES = re.compile(
    r"(?<!\\)\\(?:[,;:! ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|thinspace(?![A-Za-z]))|~|[\u00a0\u2009\u202f]"
)
_GROUP_SPACE = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,|\\!|[\u00a0\u2009\u202f'])[ ]{0,3}(?=[0-9]{3}(?![0-9]))")
_COMMA_GROUPS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|textsf|texttt)\s*\{([^{}]*)\}")
_ROOT_OF_NUMBER = re.compile(r"\u221a\s?([0-9]+|[A-Za-z])")
_PREFIX_OF_ANGLE = re.compile(r"(?<![A-Za-z])m\s?(?=\\angle)|(?<![A-Za-z\\])(?:angle)\s+(?=[A-Z]{1,3}(?![A-Za-z]))")


def read_form(text: str, *, grouped: bool = True) -> Form:
    """The object that a text is; `grouped` tells whether 100,200 is one number. Raises Unread, with what is wrong."""
    text = _without_full_stop(text).translate(_SIGNS)
    text = _without_full_stop(_stated(text))
    number = read_number(text) if grouped or not _COMMA_GROUPS.search(text) else None
    if number is not None:
        return Form("value", node=number_node(number.value, is_decimal=number.is_decimal), text=_unit_of(number))
    text = _cleaned(text)
    if flaw := _flaw(text):
        raise Unread(flaw)
    return _object(_without_group_commas(text) if grouped else text)


# ---- sentences around an answer

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_FORMULA = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]|(?<!\\)\$\$([^$]+)\$\$|(?<!\\)\$([^$]+)(?<!\\)\$", re.DOTALL)
_HEDGE = re.compile(
    r"(?i)\b(?:or|not|maybe|perhaps|either|neither|nor|unless|if|wrong|incorrect|except|possibly|unsure|but)\b"
    r"|n['\u2019]t\b|[\u4e0d\u6216\u975e]"
)
_LINK = re.compile(
    r"\b(?:is|are|equals?|was|be)\b\s{0,3}(?:equal\s+to\b|therefore\b)?|(?<=[a-z]{2}):\s|(?<=[a-z]\*\*):\s"
    r"|[\u662f\u4e3a]:?"
)
_CLAUSE = re.compile(r"[,.;:\n](?![0-9])")
_SAID = re.compile(r"[A-Za-z]*[a-z][A-Za-z]*[a-z]|[\u4e00-\u9fff]{2}")


def _stated(text: str) -> str:
    """The text, or what a sentence states: its box, its last formula, or what follows `is`. Never one of several."""
    boxes = _boxed(text)
    if boxes:
        before, *_, after = _BOX.split(text)
        if len(set(boxes)) > 1 or _HEDGE.search(_CLAUSE.split(before)[-1]) or _HEDGE.search(after):
            raise Unread("several boxes, or one that is doubted")
        return boxes[0]
    formulas = list(_FORMULA.finditer(text))
    plain = _TEXT_COMMAND.sub(r" \1 ", _FORMULA.sub(" 0 ", text))
    links = list(_LINK.finditer(plain))
    words = _SAID.findall(_COMMAND.sub(" ", plain))
    if not links or len(words) < (1 if plain[links[0].start()] == ":" else 2) or _PLAIN_WORDS.fullmatch(text):
        return text
    if _HEDGE.search(plain) or re.search("[0-9]", plain[links[0].end() : links[-1].start()]):
        raise Unread("a sentence that does not state one answer")
    if formulas and formulas[-1].end() > len(text) // 2:
        return next(group for group in formulas[-1].groups() if group is not None) + text[formulas[-1].end() :]
    return plain[links[-1].end() :]


def _boxed(text: str) -> list[str]:
    """What is in the first two boxes."""
    found = []
    for start in _BOX.finditer(text):
        depth = 1
        for at in range(start.end(), len(text)):
            depth += (text[at] == "{") - (text[at] == "}")
            if depth == 0:
                found.append(text[start.end() : at].strip())
                break
        else:
            raise Unread("a box that is not closed")
        if len(found) > 1:
            break
    return found


def _without_full_stop(text: str) -> str:
    return without_markup(without_markup(text).removesuffix(".")).strip()


# ---- notation

_PLAIN_WORDS = re.compile(r"[^\W\d_]+(?:[ '\u2019-][^\W\d_]+)*")


def plain_latex(text: str) -> str:
    """What a text states, in few spellings: for readers that know LaTeX alone. Raises Unread."""
    return _cleaned(_without_full_stop(_stated(_without_full_stop(text).translate(_SIGNS))))


def _cleaned(text: str) -> str:
    """The same in fewer spellings: one command for each meaning, no spacing, digits in one row."""
    text = _GROUP_SPACE.sub("", text.replace("\\$", "").replace("\\displaystyle", ""))
    text = _ROOT_OF_NUMBER.sub(r"\\sqrt{\1}", text).replace("\u221a", "\\sqrt")
    text = text.replace("\u00b0", "^\\circ ")
    text = _SPACES.sub(" ", text)
    text = _COMMAND.sub(_same_command, text)
    text = _PREFIX_OF_ANGLE.sub(lambda found: "\\angle " if "angle" in found[0] else "", text)
    return re.sub(r"\s+", " ", text.replace("$", " ")).strip()


def _same_command(found: re.Match[str]) -> str:
    name = found[1]
    return "" if name in _NOTHING else _SAME_COMMAND.get(name, found[0])


def _without_group_commas(text: str) -> str:
    """1,000 in one row, outside the brackets of tuples and sets, where a comma parts two numbers."""
    depths = list(accumulate((c in "([") - (c in ")]") for c in text.replace("\\{", "x(").replace("\\}", "x)")))
    return _COMMA_GROUPS.sub(lambda found: found[0] if depths[found.start()] > 0 else found[0].replace(",", ""), text)


def _unit_of(number: object) -> str:
    unit = getattr(number, "unit", "")
    return "%" if getattr(number, "percent", False) else str(unit)


def _flaw(text: str) -> str:
    marks = text.replace("\\{", "").replace("\\}", "")
    if max(accumulate((c in "{([") - (c in "})]") for c in marks), default=0) > DEEPEST:
        return f"brackets nested more than {DEEPEST} deep"
    return "" if braces_match(marks) else "braces that do not match"


def _object(text: str) -> Form:
    """The first reading that fits."""
    text = text.strip()
    if not text:
        raise Unread("nothing where an element should be")
    for reading in _READINGS:
        found = reading(text)
        if found is not None:
            return found
    return _value(text)


# ---- text at depth 0

_PIECE = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING = frozenset(("(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil", "\\lvert", "\\begin"))
_SHUTTING = frozenset((")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil", "\\rvert", "\\end"))


def _outside(text: str) -> Iterator[tuple[str, int]]:
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


def _split(text: str, marks: tuple[str, ...]) -> list[str]:
    """The text cut at marks outside all brackets."""
    parts, start = [], 0
    for sign, at in _outside(text):
        if sign in marks:
            parts.append(text[start:at])
            start = at + len(sign)
    return [*parts, text[start:]]


def _enclosed(text: str) -> tuple[str, str, str] | None:
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


# ---- words and names

_FIGURE = re.compile(
    r"(?:\\(?P<command>angle|triangle|square|overline|bar|overleftrightarrow|overrightarrow|vec|widehat|odot)\s*"
    r"|(?P<word>segment|line|ray|triangle|quadrilateral|arc|polygon|parallelogram|rectangle|rhombus|trapezoid)\s+)"
    r"\{?\s*(?P<points>(?:[A-Z](?:'|_[0-9]|_\{[0-9]+\})?\s?){1,8})\}?"
)
_FIGURE_KINDS = {
    **dict.fromkeys(("overline", "bar", "segment"), "segment"),
    **dict.fromkeys(("overleftrightarrow", "line"), "line"),
    **dict.fromkeys(("overrightarrow", "ray", "vec"), "ray"),
    **dict.fromkeys(("widehat", "arc"), "arc"),
    **dict.fromkeys(("square", "quadrilateral", "polygon"), "polygon"),
    **dict.fromkeys(("parallelogram", "rectangle", "rhombus", "trapezoid"), "polygon"),
    "angle": "angle",
    "triangle": "triangle",
}
_POINT = re.compile(r"[A-Z](?:'|_\{?[0-9]+\}?)?")
_ALL_REALS = frozenset(("all real numbers", "all reals", "the real numbers", "real numbers", "r"))
_ROW_OF_NAMES = re.compile(r"[A-Za-df-hj-z]{2,3}")
_PRODUCT_OF_NAMES = re.compile(r"[xyz]{2,3}|[b-df-hj-np-tv-z]{2}")
_CONNECTED = re.compile(r"(?i)(?:^|\s)(?:and|or|if)(?:\s|$)")


def _words(text: str) -> Form | None:
    r"""`east`, `\text{no solution}`, `BCA`; two consonants, or letters of xyz, are a product of names."""
    wrapped = "\\text" in text or "\\mathrm" in text or "\\mbox" in text
    plain = _TEXT_COMMAND.sub(r" \1 ", text).strip() if wrapped else text
    plain = plain.strip("()[] .") if wrapped else plain
    if not _PLAIN_WORDS.fullmatch(plain) or _CONNECTED.search(plain):
        return None
    if not wrapped and (len(plain) == 1 or _PRODUCT_OF_NAMES.fullmatch(plain) or _is_notation(plain)):
        return None
    if plain.lower() in _ALL_REALS - {"r"}:
        return REALS
    row = plain if _ROW_OF_NAMES.fullmatch(plain) else ""
    product = Node("*", tuple(Node("name", (), letter) for letter in row)) if row else None
    return Form("word", node=product, text=folded(plain))


def _is_notation(text: str) -> bool:
    """Whether words are an expression, such as `log log n`: one has the name of a function or of a Greek letter."""
    if not NOTATION & set(text.split()):
        return False
    try:
        read_expression(text)
    except Unread:  # tan is a colour too
        return False
    return True


def _figure(text: str) -> Form | None:
    """An angle, a segment, a triangle ... by its points."""
    found = _FIGURE.fullmatch(text)
    if found is None:
        return None
    kind = _FIGURE_KINDS.get(found["command"] or found["word"])
    points = [re.sub(r"[{}]", "", point) for point in _POINT.findall(found["points"])]
    if kind is None or not points or (kind in ("segment", "line", "ray") and len(points) != 2):
        return None
    row = Form("word", text=folded("".join(points)))
    return Form("figure", (row,), text=f"{kind} {' '.join(canonical_points(kind, points))}")


def canonical_points(kind: str, points: list[str]) -> list[str]:
    """The points in the one order that stands for all that name the same figure."""
    if kind in ("segment", "line", "triangle"):
        return sorted(points)
    if kind == "arc" or (kind == "angle" and len(points) == 3):
        return min(points, points[::-1])
    if kind == "polygon":
        turns = [points[at:] + points[:at] for at in range(len(points))]
        return min(turns + [turn[::-1] for turn in turns])
    return points


_BASED = re.compile(r"\(?([0-9A-F]+)\)?_(?:([0-9]{1,2})|\{([0-9]{1,2})\})|([0-9A-F]+) (?:in )?base ([0-9]{1,2})")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s?([AaPp]\.?\s?[Mm]\.?)?")


def _based(text: str) -> Form | None:
    r"""`53_8`: digits in a base; the base counts."""
    text = _TEXT_COMMAND.sub(r"\1", text)
    found = _BASED.fullmatch(text)
    if found is None:
        return None
    digits, base = found[1] or found[4], int(found[2] or found[3] or found[5])
    if not digits[0].isdigit() and (len(digits) < 2 or base <= 10):
        return None
    if not 2 <= base <= 36 or any(int(digit, 16) >= base for digit in digits):
        raise Unread(f"{digits} is no number of base {base}")
    return Form("based", text=f"{digits.lstrip('0') or '0'}_{base}")


def _time_or_ratio(text: str) -> Form | None:
    """`11:00` and `1:2:3`. Hours and minutes may also be a ratio (`2:15`), and both know it."""
    if ":" not in text or "=" in text:
        return None
    found = _TIME.fullmatch(_TEXT_COMMAND.sub(r" \1", text))
    clock = ""
    if found and int(found[2]) < 60 and int(found[1]) < 25:
        half = re.sub(r"[^apm]", "", (found[4] or "").lower())
        clock = f"{int(found[1])}:{found[2]}" + (f":{found[3]}" if found[3] else "") + half
        if half or found[2][0] == "0" or found[1][0] == "0":
            return Form("time", text=clock)
    parts = _split(text, (":",))
    if len(parts) < 2:
        return None
    return Form("ratio", tuple(map(_value, parts)), text=clock)


# ---- lists and relations

_AND_OR = re.compile(r"\\text\s*\{[\s,]*(and|or)[\s,]*\}|(?<![A-Za-z\\])(and|or)(?![A-Za-z])|[\u6216\u548c\u53ca]")
_RELATIONS = ("=", "<", ">", "\\le", "\\ge", "\\ne", "\\in", "\\approx")
_TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_LESS = frozenset(("<", "\\le"))
_PLUS_MINUS = ("\\pm", "\\mp")


def _list(text: str) -> Form | None:
    r"""`3, 5, 9`, `17, 44, \text{ and } 83`, `x=1 or x=2`, `x=3, y=-2`."""
    marked = _AND_OR.sub(lambda found: " ; " if "nd" in found[0] or found[0] in "\u548c\u53ca" else " \\or ", text)
    joined_by_and = ";" in marked and ";" not in text
    parts = [part.strip() for part in _split(marked, (",", ";", "\\or", "\u3001"))]
    if len(parts) == 1:
        return None
    parts = [part for at, part in enumerate(parts) if part or not 0 < at < len(parts)]
    parts = [part for part in parts if part]
    if len(parts) > _MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {_MOST_PARTS} are read")
    if any(part in ("\\ldots", "...") for part in parts):
        return _sequence(parts)
    return _combined(parts, joined_by_and)


def _sequence(parts: list[str]) -> Form:
    rest = [Form("word", text="...") if part in ("\\ldots", "...") else _object(part) for part in parts]
    return Form("sequence", tuple(rest))


def _combined(texts: list[str], joined_by_and: bool) -> Form:
    """What several parts are together: assignments, solutions, a union of intervals, or a list."""
    if not texts:
        raise Unread("a list of nothing")
    parts: list[Form] = []
    for text in texts:
        form = _object(text)
        parts += form.parts if form.kind == "list" else (form,)
    kinds = {part.kind for part in parts}
    if kinds == {"label"}:
        names = [part.text for part in parts]
        if len(set(names)) == len(names) > 1:
            return Form("assignments", tuple(sorted(parts, key=lambda part: part.text)))
        if len(set(names)) == 1:
            return _one_or_list([part.parts[0] for part in parts])
    if parts[0].kind == "label" and kinds == {"label", "value"} and all(p.kind == "value" for p in parts[1:]):
        return _one_or_list([parts[0].parts[0], *parts[1:]])
    if kinds <= {"interval", "union"} and any(map(_is_relation, texts)):
        return _both(parts) if joined_by_and else union(parts)
    return _one_or_list(parts)


def _one_or_list(parts: list[Form]) -> Form:
    return parts[0] if len(parts) == 1 else Form("list", tuple(parts))


def _is_relation(text: str) -> bool:
    return any(sign in _RELATIONS for sign, _ in _outside(text))


def _both(parts: list[Form]) -> Form:
    """`x > 1 and x < 5`: two half lines that face each other."""
    if len(parts) == 2 and all(part.kind == "interval" for part in parts):
        for one, other in (parts, parts[::-1]):
            if one.parts[1] == INFINITY and other.parts[0] == MINUS_INFINITY:
                return Form("interval", (one.parts[0], other.parts[1]), text=one.text[0] + other.text[1])
    raise Unread("conditions that hold together")


def union(parts: list[Form]) -> Form:
    """Intervals side by side; one alone is itself."""
    pieces: list[Form] = []
    for part in parts:
        pieces += part.parts if part.kind == "union" else (part,)
    return pieces[0] if len(pieces) == 1 else Form("union", tuple(pieces))


def _relation(text: str) -> Form | None:
    """Equations, labels, inequalities and `x in ...`."""
    signs = [(sign, at) for sign, at in _outside(text) if sign in _RELATIONS]
    if not signs:
        return None
    ends = [at for _, at in signs] + [len(text)]
    sides = [text[: signs[0][1]]] + [
        text[at + len(sign) : end] for (sign, at), end in zip(signs, ends[1:], strict=True)
    ]
    sides = [side.strip() for side in sides]
    names = [sign for sign, _ in signs]
    if any(not side for side in sides):
        if names == ["="] and sides[1]:  # `= 5`
            return _object(sides[1])
        raise Unread("a relation with one side")
    if names[0] == "\\in":
        if len(names) > 1:
            raise Unread("several relations")
        return _object(sides[1])
    if set(names) <= {"=", "\\approx"}:
        return _equation(sides)
    return _inequality(names, sides)


_LABEL = re.compile(
    r"(?:\\?[A-Za-z]+|\\[A-Za-z]+\s?\{[A-Za-z ]{1,20}\})(?:_(?:[A-Za-z0-9]|\{[^{}]{1,20}\}))?'{0,2}"
    r"(?:\([A-Za-z0-9, ]{1,8}\))?"
    r"|\\angle\s?[A-Z]{1,3}|\|\s?[A-Z]{2}\s?\||\|\s?\\[A-Za-z]+\s?\{[A-Z]{2}\}\s?\||[A-Za-z]+(?: [A-Za-z]+){1,3}"
    r"|[A-Za-z]{1,3}(?: ?: ?[A-Za-z]{1,3}){1,3}"
)
_NO_LABEL = frozenset(("e", "i", "pi", "\\pi", "\\infty"))


def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None and text not in _NO_LABEL and not text.startswith("\\sqrt")


def _equation(sides: list[str]) -> Form:
    name, value = sides[0], sides[-1]
    if not _is_label(name) and _is_label(value) and len(sides) == 2:
        name, value = value, name  # 5 = x
    if _is_label(name):
        inside = _object(value)
        if inside.kind != "value" or inside.node is None:
            return inside  # P = (1, 2), x = \pm 3, S = \{1, 2\}
        return Form("label", (inside,), _difference(name, value), text=re.sub(r"\s", "", name))
    nodes = [_expression(side) for side in sides]
    if not any(map(names_in, nodes)):
        return Form("chain", tuple(Form("value", node=node) for node in nodes))
    if len(nodes) > 2:
        raise Unread("several equations in a row")
    return Form("equation", node=difference(*nodes))


def _difference(name: str, value: str) -> Node | None:
    try:
        return difference(_expression(name), _expression(value))
    except Unread:
        return None  # a label such as `area`


def _inequality(signs: list[str], sides: list[str]) -> Form:
    if len(signs) == 1 and (around := _absolute(signs[0], sides)):
        return around
    if signs == ["\\ne"]:
        return _not_equal(sides)
    if len(signs) > 2 or set(signs) - set(_TURNED):
        raise Unread("a chain of relations")
    nodes = [_expression(side) for side in sides]
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
        ends = (_end(sides[low]), _end(sides[high]))
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
        return Form("interval", (MINUS_INFINITY, _end(end)), node, "(" + ("]" if closed else ")"))
    return Form("interval", (_end(end), INFINITY), node, ("[" if closed else "(") + ")")


def _absolute(sign: str, sides: list[str]) -> Form | None:
    r"""`|x - 2| < 3` as the interval that it is."""
    if sides[1].startswith("|") and sign in _TURNED:
        sign, sides = _TURNED[sign], sides[::-1]
    found = re.fullmatch(r"\|([^|]+)\||\\lvert (.+)\\rvert", sides[0])
    if found is None or sign not in _TURNED:
        return None
    inside, radius = _expression(found[1] or found[2]), _expression(sides[1])
    middle = _middle(inside)
    if middle is None or names_in(radius):
        return None
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
    nodes = [_expression(side) for side in sides]
    if nodes[0].op != "name" or names_in(nodes[1]):
        raise Unread("an inequation that does not name one value")
    return union([_half_line("<", sides[1], nodes[0].text), _half_line(">", sides[1], nodes[0].text)])


def _end(text: str) -> Form:
    """An end of an interval."""
    plain = text.replace(" ", "").replace("\\infty", "infty").removeprefix("+")
    if plain.removeprefix("-") in ("infty", "infinity", "inf", "oo"):
        return MINUS_INFINITY if plain.startswith("-") else INFINITY
    return _value(text)


# ---- brackets

_ENVIRONMENT = re.compile(
    r"\\begin\s*\{([A-Za-z]+)\*?\}(?:\s*\{[lcr|\s]{1,20}\})?(.*)\\end\s*\{([A-Za-z]+)\*?\}", re.DOTALL
)
_MATRICES = frozenset(("pmatrix", "bmatrix", "matrix", "smallmatrix", "array", "Bmatrix"))
_BUILDER = re.compile(r"([A-Za-z](?:\s*\\in\s*\\mathbb\{R\})?)\s*[|:]\s*(.+)")


def _matrix(text: str) -> Form | None:
    if text.startswith(("(\\begin", "[\\begin", "( \\begin", "[ \\begin")):
        text = text[1:-1].strip()
    found = _ENVIRONMENT.fullmatch(text)
    if found is None or found[1] != found[3]:
        return None
    rows = [row for row in re.split(r"\\\\(?:\s*\[[^\]]{1,9}\])?", found[2]) if row.strip()]
    if found[1] == "cases":
        return _combined([row.replace("&", " ") for row in rows], joined_by_and=True)
    if found[1] not in _MATRICES or not rows:
        return None
    if sum(row.count("&") + 1 for row in rows) > _MOST_PARTS:
        raise Unread("a matrix of too many elements")
    cells = tuple(Form("tuple", tuple(map(_object, row.split("&")))) for row in rows)
    return Form("matrix", cells)


def _bracketed(text: str) -> Form | None:
    """Tuples, sets, intervals, and expressions in brackets."""
    found = _enclosed(text)
    if found is None:
        return None
    left, inner, right = found
    if left == "{":
        return _object(inner) if len(_split(inner, (",",))) == 1 else _set(inner)
    if left == "\\{":
        return _set(inner)
    if not inner:
        return None
    parts = _split(inner, (",", ";"))
    if len(parts) == 1:
        return _object(inner) if (left, right) == ("(", ")") and _is_grouped(inner) else None
    if len(parts) > _MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {_MOST_PARTS} are read")
    if left == "[" and all(part.strip().startswith("[") for part in parts):
        rows = [_object(part) for part in parts]
        return Form("matrix", tuple(Form("tuple", row.parts) for row in rows))
    if len(parts) == 2 and (left, right) in (("[", ")"), ("(", "]"), ("[", "]")):
        return Form("interval", (_end(parts[0]), _end(parts[1])), text=left + right)
    if (left, right) not in (("(", ")"), ("[", "]"), ("\\langle", "\\rangle")):
        return None
    if len(parts) == 2 and "\\infty" in inner:
        return Form("interval", (_end(parts[0]), _end(parts[1])), text=left + right)
    forms = tuple(map(_object, parts))
    return Form("tuple", forms)


def _is_grouped(inner: str) -> bool:
    """Whether brackets only hold something together: `(C)`, `(x+1)`; not so an angle's or a set's."""
    return not any(sign in _PLUS_MINUS for sign, _ in _outside(inner))


def _set(inner: str) -> Form:
    if not inner:
        return EMPTY
    builder = _BUILDER.fullmatch(inner)
    if builder is not None:
        return _object(builder[2])
    parts = [part.strip() for part in _split(inner, (",", ";"))]
    if len(parts) > _MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {_MOST_PARTS} are read")
    if any(part in ("\\ldots", "...") for part in parts):
        return Form("endless", _sequence(parts).parts)
    return Form("set", tuple(_object(part) for part in parts))


def _union(text: str) -> Form | None:
    parts = _split(text, ("\\cup",))
    if len(parts) == 1:
        return _without_points(text)
    return union([_piece(_object(part)) for part in parts])


def _piece(form: Form) -> Form:
    if form.kind == "tuple" and len(form.parts) == 2:
        return Form("interval", form.parts, text="()")
    if form.kind not in ("interval", "union", "set"):
        raise Unread("a union of what are no sets")
    return form


def _without_points(text: str) -> Form | None:
    r"""`\mathbb{R} \setminus \{0\}`."""
    parts = _split(text, ("\\setminus", "\\backslash"))
    if len(parts) != 2:
        return None
    whole, point = map(_object, parts)
    if whole != REALS or point.kind != "set" or len(point.parts) != 1:
        raise Unread("a difference of sets")
    ends = (point.parts[0],)
    return union([Form("interval", (MINUS_INFINITY, *ends), text="()"), Form("interval", (*ends, INFINITY), text="()")])


# ---- values

_CONSTANTS = {
    "\\mathbb{R}": REALS,
    "\\mathbf{R}": REALS,
    "\\R": REALS,
    "\\emptyset": EMPTY,
    "\\{\\}": EMPTY,
    "\\infty": INFINITY,
    "infinity": INFINITY,
    "+\\infty": INFINITY,
    "-\\infty": MINUS_INFINITY,
    "-infinity": MINUS_INFINITY,
}


def _constant(text: str) -> Form | None:
    return _CONSTANTS.get(text.replace(" ", ""))


def _plus_minus(text: str) -> Form | None:
    r"""`2 \pm \sqrt{3}` as the list of both."""
    if "\\pm" not in text and "\\mp" not in text:
        return None
    if text.count("\\pm") > 1 or text.count("\\mp") > 1:
        raise Unread("several signs of plus or minus")
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return _combined([upper, lower], joined_by_and=False)


def _value(text: str) -> Form:
    """One expression, with at most its unit."""
    text = text.strip()
    number = read_number(text)
    if number is not None:
        return Form("value", node=number_node(number.value, is_decimal=number.is_decimal), text=_unit_of(number))
    expression, unit = _unit_behind(text)
    return Form("value", node=_expression(expression), text=unit)


def _expression(text: str) -> Node:
    return read_expression(_COMMA_GROUPS.sub(lambda found: found[0].replace(",", ""), text))


_WRAPPED_UNIT = re.compile(r"\\(?:text|mathrm|textrm|mbox|operatorname)\s*\{[^{}]*\}(?:\s?\^\s?(?:[23]|\{[23]\}))?")
_TRIGONOMETRIC = re.compile("sin|cos|tan|cot|sec|csc")
_RING = re.compile(r"\^\s?(?:\\circ|\{\s?\\circ\s?\})\s?(?:[CF])?")
_BARE_UNIT = re.compile(
    r"(?:square |cubic |sq\.? |cu\.? )?[A-Za-z]{1,12}(?:\s?\^\s?(?:[23]|\{[23]\}))?(?:/[A-Za-z]{1,7}(?:\^\{?[23]\}?)?)?"
)


def _unit_behind(text: str) -> tuple[str, str]:
    """An expression and the unit behind it."""
    for mark in ("\\text", "\\mathrm", "\\mbox", "\\operatorname"):
        at = text.rfind(mark)
        if at > 0 and _WRAPPED_UNIT.fullmatch(text[at:]):
            unit = read_unit(" " + text[at:])
            if unit is not None:
                return text[:at].strip(), unit
    at = text.rfind("^")
    if at > 0 and (ring := _RING.fullmatch(text[at:])) and not _TRIGONOMETRIC.search(text):
        letter = ring[0][-1:].lower()
        return text[:at].strip(), "\u00b0" + (letter if letter in "cf" else "")
    for at in (text.rfind(" ", 0, text.rfind(" ")), text.rfind(" ")):
        unit = read_unit(text[at:]) if at > 0 and _BARE_UNIT.fullmatch(text[at + 1 :]) else None
        if unit and (len(text) - at > 2 or (text[at - 1] in "0123456789})" and not names_in(_expression(text[:at])))):
            return text[:at].strip(), unit  # the h of `2 \\pi r h` is a name
    return text, ""


_READINGS: tuple[Callable[[str], Form | None], ...] = (
    _constant,
    _words,
    _figure,
    _based,
    _matrix,
    _list,
    _relation,
    _union,
    _plus_minus,
    _bracketed,
    _time_or_ratio,
)
