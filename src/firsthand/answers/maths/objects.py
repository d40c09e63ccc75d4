r"""What kind of mathematical object an answer is, and what it is made of. One reader for ground truth and replies.

A text with several readings gets the first that fits:

    7, 12 cm, 50%, 七              value (numbers.py)
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
from collections.abc import Callable

from firsthand.answers.maths.forms import EMPTY, INFINITY, MINUS_INFINITY, REALS, Form, facing, union
from firsthand.answers.maths.naming import read_based, read_figure, read_statement, read_words
from firsthand.answers.maths.notation import (
    COMMA_GROUPS,
    MOST_PARTS,
    enclosed,
    flaw_of_brackets,
    in_few_spellings,
    outside_brackets,
    split_outside,
    with_plain_signs,
    without_group_commas,
)
from firsthand.answers.maths.quantities import number_form, read_constant, read_end, read_time_or_ratio, read_value
from firsthand.answers.maths.relations import RELATIONS, read_relation
from firsthand.answers.maths.sentences import stated_in, without_full_stop
from firsthand.answers.maths.tokens import Unread
from firsthand.answers.numbers import read_number
from firsthand.answers.stated import LONGEST_ANSWER

_AND_OR = re.compile(r"\\text\s*\{[\s,]*(and|or)[\s,]*\}|(?<![A-Za-z\\])(and|or)(?![A-Za-z])|[\u6216\u548c\u53ca]")
_PLUS_MINUS = ("\\pm", "\\mp")
_ENVIRONMENT = re.compile(
    r"\\begin\s*\{([A-Za-z]+)\*?\}(?:\s*\{[lcr|\s]{1,20}\})?(.*)\\end\s*\{([A-Za-z]+)\*?\}", re.DOTALL
)
_MATRICES = frozenset(("pmatrix", "bmatrix", "matrix", "smallmatrix", "array", "Bmatrix"))
_MODULO = re.compile(r"([^=<>]{1,60})\\equiv([^\\(]{1,60})\(?\s?(?:\\[pb]?mod|mod)([^=<>]{1,60})")
_POINT_NAME = re.compile(r"[A-Z]'? ?(?=\([^()]{1,60},[^()]{1,60}\)\Z)")
_BUILDER = re.compile(r"([A-Za-z](?:\s*\\in\s*\\mathbb\{R\})?)\s*[|:]\s*(.+)")


def read_form(text: str, *, grouped: bool = True) -> Form:
    """The object that a text is; `grouped` tells whether 100,200 is one number. Raises Unread, with what is wrong."""
    if len(text) > LONGEST_ANSWER:
        raise Unread(f"{len(text):,} characters where an answer has at most {LONGEST_ANSWER:,}")
    text = without_full_stop(stated_in(with_plain_signs(without_full_stop(text))))
    is_plain = "=" not in text and (grouped or not COMMA_GROUPS.search(text))
    number = read_number(text) if is_plain else None
    if number is not None:
        return number_form(number)
    text = in_few_spellings(text)
    if not text:
        raise Unread("an empty answer")
    if flaw := flaw_of_brackets(text):
        raise Unread(flaw)
    try:
        return _object(without_group_commas(text) if grouped else text)
    except Unread as why:
        if why.foreign and (re.search(r",|\\text", text) or _AND_OR.search(text)):
            raise Unread(str(why)) from why  # another reader may take one of several, or leave a word out
        raise


def _object(text: str) -> Form:
    """The first reading that fits."""
    text = text.strip()
    if not text:
        raise Unread("nothing where an element should be")
    for reading in _READINGS:
        found = reading(text)
        if found is not None:
            return found
    return read_value(text)


def _list(text: str) -> Form | None:
    r"""`3, 5, 9`, `17, 44, \text{ and } 83`, `x=1 or x=2`, `x=3, y=-2`."""
    marked = _AND_OR.sub(lambda found: " ; " if "nd" in found[0] or found[0] in "\u548c\u53ca" else " \\or ", text)
    joined_by_and = ";" in marked and ";" not in text
    parts = [part.strip() for part in split_outside(marked, (",", ";", "\\or", "\u3001"))]
    if len(parts) == 1:
        return None
    parts = [part for at, part in enumerate(parts) if part or not 0 < at < len(parts)]
    parts = [part for part in parts if part]
    if len(parts) > MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {MOST_PARTS} are read")
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
    return any(sign in RELATIONS for sign, _ in outside_brackets(text))


def _both(parts: list[Form]) -> Form:
    """`x > 1 and x < 5`."""
    found = facing(*parts) if len(parts) == 2 else None
    if found is None:
        raise Unread("conditions that hold together")
    return found


def _plus_minus(text: str) -> Form | None:
    r"""`2 \pm \sqrt{3}` as the list of both."""
    if "\\pm" not in text and "\\mp" not in text:
        return None
    if text.count("\\pm") > 1 or text.count("\\mp") > 1:
        raise Unread("several signs of plus or minus")
    upper = text.replace("\\pm", "+").replace("\\mp", "-")
    lower = text.replace("\\pm", "-").replace("\\mp", "+")
    return _combined([upper, lower], joined_by_and=False)


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
    if sum(row.count("&") + 1 for row in rows) > MOST_PARTS:
        raise Unread("a matrix of too many elements")
    cells = tuple(Form("tuple", tuple(map(_object, row.split("&")))) for row in rows)
    return Form("matrix", cells)


def _bracketed(text: str) -> Form | None:
    """Tuples, sets, intervals, and expressions in brackets."""
    found = enclosed(_POINT_NAME.sub("", text))
    if found is None:
        return None
    left, inner, right = found
    if left == "{":
        return _object(inner) if len(split_outside(inner, (",",))) == 1 else _set(inner)
    if left == "\\{":
        return _set(inner)
    if not inner:
        return None
    parts = split_outside(inner, (",", ";"))
    if len(parts) == 1 and (left, right) == ("[", "]"):
        return Form("tuple", (_object(inner),))
    if len(parts) == 1:
        return _object(inner) if (left, right) == ("(", ")") and _is_grouped(inner) else None
    if len(parts) > MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {MOST_PARTS} are read")
    if left == "[" and all(part.strip().startswith("[") for part in parts):
        rows = [_object(part) for part in parts]
        return Form("matrix", tuple(Form("tuple", row.parts) for row in rows))
    if len(parts) == 2 and (left, right) in (("[", ")"), ("(", "]"), ("[", "]")):
        return Form("interval", (read_end(parts[0]), read_end(parts[1])), text=left + right)
    if (left, right) not in (("(", ")"), ("[", "]"), ("\\langle", "\\rangle")):
        return None
    if len(parts) == 2 and "\\infty" in inner:
        return Form("interval", (read_end(parts[0]), read_end(parts[1])), text=left + right)
    forms = tuple(map(_object, parts))
    return Form("tuple", forms)


def _is_grouped(inner: str) -> bool:
    """Whether brackets only hold something together: `(C)`, `(x+1)`; not so an angle's or a set's."""
    return not any(sign in _PLUS_MINUS for sign, _ in outside_brackets(inner))


def _set(inner: str) -> Form:
    if not inner:
        return EMPTY
    builder = _BUILDER.fullmatch(inner)
    if builder is not None:
        return _object(builder[2])
    parts = [part.strip() for part in split_outside(inner, (",", ";"))]
    if len(parts) > MOST_PARTS:
        raise Unread(f"{len(parts)} elements where {MOST_PARTS} are read")
    if any(part in ("\\ldots", "...") for part in parts):
        return Form("endless", _sequence(parts).parts)
    return Form("set", tuple(_object(part) for part in parts))


def _congruence(text: str) -> Form | None:
    r"""`x \equiv 3 \pmod{5}`, in three parts."""
    found = _MODULO.fullmatch(text)
    if found is None:
        return None
    return Form("congruence", tuple(read_value(part.strip("(){} ")) for part in found.groups()))


def _union(text: str) -> Form | None:
    parts = split_outside(text, ("\\cup",))
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
    parts = split_outside(text, ("\\setminus", "\\backslash"))
    if len(parts) != 2:
        return None
    whole, point = map(_object, parts)
    if whole != REALS or point.kind != "set" or len(point.parts) != 1:
        raise Unread("a difference of sets")
    ends = (point.parts[0],)
    return union([Form("interval", (MINUS_INFINITY, *ends), text="()"), Form("interval", (*ends, INFINITY), text="()")])


_READINGS: tuple[Callable[[str], Form | None], ...] = (
    read_constant,
    read_figure,
    read_words,
    read_statement,
    read_based,
    _matrix,
    _list,
    _congruence,
    lambda text: read_relation(text, _object),
    _union,
    _plus_minus,
    _bracketed,
    read_time_or_ratio,
)
