r"""One expression with at most its unit, the ends of intervals, times and ratios."""

import re

from firsthand.answers.maths.expressions import Node, names_in, number_node, read_expression
from firsthand.answers.maths.forms import EMPTY, INFINITY, MINUS_INFINITY, REALS, Form
from firsthand.answers.maths.notation import COMMA_GROUPS, MOST_PARTS, TEXT_COMMAND, split_outside
from firsthand.answers.numbers import Number, read_number
from firsthand.answers.units import read_unit

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
_WRAPPED_UNIT = re.compile(r"\\(?:text|mathrm|textrm|mbox|operatorname)\s*\{[^{}]*\}(?:\s?\^\s?(?:[23]|\{[23]\}))?")
_TRIGONOMETRIC = re.compile("sin|cos|tan|cot|sec|csc")
_RING = re.compile(r"\^\s?(?:\\circ|\{\s?\\circ\s?\})\s?(?:[CF])?")
_BARE_UNIT = re.compile(
    r"(?:square |cubic |sq\.? |cu\.? )?[A-Za-z]{1,12}(?:\s?\^\s?(?:[23]|\{[23]\}))?(?:/[A-Za-z]{1,7}(?:\^\{?[23]\}?)?)?"
)
_SYMBOLS = (
    "J N m s kg g K mol W V A C T Hz Pa kPa eV F H \u03a9 L mL cm mm km h min Wb rad nm \u03bcm lm cd Bq kJ kN kW"
)
_SI = frozenset(_SYMBOLS.split())
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?\s{0,3}([AaPp]\.?\s?[Mm]\.?)?\s?")


def read_value(text: str) -> Form:
    """One expression, with at most its unit."""
    text = text.strip()
    number = read_number(TEXT_COMMAND.sub(r" \1", text))
    if number is not None:
        return number_form(number)
    expression, unit = _unit_behind(text)
    return Form("value", node=read_latex(expression), text=unit)


def number_form(number: Number) -> Form:
    """A number with its unit, of which a percent sign is one."""
    unit = "%" if number.percent else number.unit
    return Form("value", node=number_node(number.value, is_decimal=number.is_decimal), text=unit)


def read_end(text: str) -> Form:
    """An end of an interval."""
    plain = text.replace(" ", "").replace("\\infty", "infty").removeprefix("+")
    if plain.removeprefix("-") in ("infty", "infinity", "inf", "oo"):
        return MINUS_INFINITY if plain.startswith("-") else INFINITY
    return read_value(text)


def read_latex(text: str) -> Node:
    """An expression whose numbers may have commas. Raises Unread."""
    return read_expression(COMMA_GROUPS.sub(lambda found: found[0].replace(",", ""), text))


def read_constant(text: str) -> Form | None:
    """A set or an infinity that has a name."""
    return _CONSTANTS.get(text.replace(" ", ""))


def read_time_or_ratio(text: str) -> Form | None:
    """`11:00` and `1:2:3`. Hours and minutes may also be a ratio (`2:15`), and both know it."""
    if ":" not in text or "=" in text:
        return None
    found = _TIME.fullmatch(TEXT_COMMAND.sub(r"\1", text))
    clock = ""
    if found and int(found[2]) < 60 and int(found[1]) < 25:
        half = re.sub(r"[^apm]", "", (found[4] or "").lower())
        clock = f"{int(found[1])}:{found[2]}" + (f":{found[3]}" if found[3] else "") + half
        if half or found[2][0] == "0" or found[1][0] == "0":
            return Form("time", text=clock)
    parts = split_outside(text, (":",))
    if not 1 < len(parts) <= MOST_PARTS:
        return None
    return Form("ratio", tuple(map(read_value, parts)), text=clock)


def _unit_behind(text: str) -> tuple[str, str]:
    """An expression and the unit behind it."""
    for mark in ("\\text", "\\mathrm", "\\mbox", "\\operatorname"):
        at = text.rfind(mark)
        if at > 0 and _WRAPPED_UNIT.fullmatch(text[at:]):
            unit = read_unit(" " + text[at:])
            unit = _compound(TEXT_COMMAND.sub(r"\1", text[at:])) if unit is None else unit
            if unit is not None:
                return text[:at].strip(), unit
    at = text.rfind("^")
    if at > 0 and (ring := _RING.fullmatch(text[at:])) and not _TRIGONOMETRIC.search(text):
        letter = ring[0][-1:].lower()
        return text[:at].strip(), "\u00b0" + (letter if letter in "cf" else "")
    for at in (text.rfind(" ", 0, text.rfind(" ")), text.rfind(" ")):
        tail = text[at + 1 :]
        unit = (read_unit(text[at:]) if _BARE_UNIT.fullmatch(tail) else _compound(tail)) if at > 0 else None
        if unit and (len(tail) > 1 or text[at - 1] in "0123456789})") and not names_in(read_latex(text[:at])):
            return text[:at].strip(), unit  # the h of `2 \\pi r h` is a name
    return text, ""


def _compound(text: str) -> str | None:
    r"""`N\cdot m`, `kg/m^3`: a unit as it is written, of known symbols."""
    text = re.sub(r"\\cdot ?|\*|\s+", "\u00b7", text.strip())
    parts = re.split(r"[\u00b7/]", re.sub(r"\^?\{?-?[0-9]\}?", "", text))
    return text if all(part in _SI for part in parts) else None
