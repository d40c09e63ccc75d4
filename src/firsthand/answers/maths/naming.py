r"""Words, rows of letters, and the names of figures: compared as text, for no product of letters is meant."""

import re

from firsthand.answers.markup import folded
from firsthand.answers.maths.expressions import Node, read_expression
from firsthand.answers.maths.forms import REALS, Form, canonical_points
from firsthand.answers.maths.notation import PLAIN_WORDS, TEXT_COMMAND
from firsthand.answers.maths.tokens import NOTATION, Unread

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
_LETTERS_APART = re.compile(r"[a-z](?: [a-z])*")
_ROW_OF_NAMES = re.compile(r"[A-Za-df-hj-z]{2,3}")
_PRODUCT_OF_NAMES = re.compile(r"[xyz]{2,3}|[b-df-hj-np-tv-z]{2}")
_CONNECTED = re.compile(r"(?i)(?:^|\s)(?:and|or|if)(?:\s|$)")
_MOLECULE = re.compile(r"(?:[A-Z][a-z]?(?:_(?:[0-9]|\{[0-9]{1,3}\}))?){1,9}(?<=[0-9}])|[A-Z][a-z]?_[0-9][A-Z][a-z]?")
_BASED = re.compile(r"\(?([0-9A-F]+)\)?_(?:([0-9]{1,2})|\{([0-9]{1,2})\})|([0-9A-F]+) (?:in )?base ([0-9]{1,2})")


def read_words(text: str) -> Form | None:
    r"""`east`, `\text{no solution}`, `BCA`; two consonants, or letters of xyz, are a product of names."""
    if _MOLECULE.fullmatch(text) and sum(sign.isupper() for sign in text) > 1:
        return Form("word", text=folded(re.sub("[{}]", "", text)))
    wrapped = "\\text" in text or "\\mathrm" in text or "\\mbox" in text
    plain = TEXT_COMMAND.sub(r" \1 ", text).strip() if wrapped else text
    plain = plain.strip("()[] .") if wrapped else plain
    if not PLAIN_WORDS.fullmatch(plain) or _CONNECTED.search(plain):
        return None
    if not wrapped and (
        _LETTERS_APART.fullmatch(plain) or len(plain) == 1 or _PRODUCT_OF_NAMES.fullmatch(plain) or _is_notation(plain)
    ):
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


def read_figure(text: str) -> Form | None:
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


def read_statement(text: str) -> Form | None:
    r"""`AB \parallel CD`, in either order; triangles that are congruent have their corners in a row."""
    sides = re.split(r"\\(parallel|perp|cong|sim)(?![A-Za-z])", text)
    if len(sides) != 3:
        return None
    names = sorted(_side(side.strip(), in_a_row=sides[1] in ("cong", "sim")) for side in sides[::2])
    return Form("statement", text=" ".join([sides[1], *names]))


def _side(text: str, *, in_a_row: bool) -> str:
    form = read_figure(text) or read_figure(f"segment {text}") or read_words(text)
    if form is None:
        raise Unread(f"{text[:40]!r} is no figure")
    return f"{form.text.partition(' ')[0]} {form.parts[0].text}" if in_a_row and form.parts else form.text


def read_based(text: str) -> Form | None:
    r"""`53_8`: digits in a base; the base counts."""
    text = TEXT_COMMAND.sub(r"\1", text)
    found = _BASED.fullmatch(text)
    if found is None:
        return None
    digits, base = found[1] or found[4], int(found[2] or found[3] or found[5])
    if not digits[0].isdigit() and (len(digits) < 2 or base <= 10):
        return None
    if not 2 <= base <= 36 or any(int(digit, 16) >= base for digit in digits):
        raise Unread(f"{digits} is no number of base {base}")
    return Form("based", text=f"{digits.lstrip('0') or '0'}_{base}")
