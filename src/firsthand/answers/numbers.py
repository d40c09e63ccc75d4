r"""Numbers as people write them, read exactly: `7`, `1,000`, `2 1/2`, `\frac{5}{2}`, `50%`, `12 cm`, `七`, `seven`.

The text must be one number and, at most, its unit. Whatever could be two numbers, a range, a product or a variable is
not read. ASCII digits only: Python's own int() also takes look-alikes of other scripts. No exponents: nobody counts to
1e999999999.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from firsthand.answers.markup import without_bold, without_first_wrapper, without_markup, without_wrappers
from firsthand.answers.units import KNOWN_UNITS, read_unit

_LONGEST_NUMBER = 2_000
"""Characters (ours): Python itself refuses to read integers of more than 4,300 digits."""
_MINUS_SIGN = "\u2212"
_GROUPS = r"[0-9]{1,3}(?:(?:,|\{,\}|\\,|\\!|[\u00a0\u2009\u202f'])[0-9]{3})+"
_DECIMAL = rf"(?:(?:{_GROUPS}|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_MARKED = r"\\[dt]?frac\s*\{\s*[0-9]+\s*\}\s*\{\s*[0-9]+\s*\}|\\[dt]?frac\s*[0-9]\s*[0-9]|[½⅓⅔¼¾]"
_RATIO = rf"[0-9]+\s*/\s*[0-9]+|{_MARKED}"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<money>(?:US)?\\?\$|USD\b|[€£¥])?\s*"
    rf"(?:(?P<whole>[0-9]+)(?:\s+(?P<part>{_RATIO})|(?P<close>{_MARKED}))"
    rf"|(?P<ratio>{_RATIO})|(?P<decimal>{_DECIMAL}))"
)
_VULGAR = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4)}

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = (
    {word: value for value, word in enumerate(_ONES.split())}
    | {ten: 10 * place for place, ten in enumerate(_TENS.split(), start=2)}
    | {f"{t}-{o}": 10 * p + v for p, t in enumerate(_TENS.split(), 2) for v, o in enumerate(_ONES.split()[1:10], 1)}
)
"""English number words up to ninety-nine."""

_HAN = "零一二三四五六七八九"
_HAN_DIGITS = {digit: value for value, digit in enumerate(_HAN)} | {"〇": 0, "两": 2, "兩": 2}
_D = "[一二两兩三四五六七八九]"
_HAN_SECTION = re.compile(rf"(?:({_D})千)?(?:零?({_D})百)?(?:零?({_D}?)(十))?(?:零?({_D}))?")
_ANY = "[零〇一二两兩三四五六七八九十百千]"
_TWO_OR_THREE = re.compile(rf"^{_D}{_D}$|(?<=.)[两兩](?![百千])")
"""`两三个` are two or three, `七八个` seven or eight; and `两` counts alone, or hundreds and more."""
_HAN_NUMBER = re.compile(rf"([负負]?)(百分之)?(?:({_ANY}+)[万萬])?({_ANY}*)(?:[点點]([零〇一二三四五六七八九]+))?")

_PERCENT = re.compile(r"\s*(?:\\?%|per\s?cent\b)", re.IGNORECASE)

_PLACE = r"(?:in|on)\s(?:the|this)\s(?:picture|image|photo|figure|scene|diagram|chart)"
_QUANTITY = (
    "total|count|sum|result|number|amount|value|quantity|difference|area|length|width|height|perimeter|radius|diameter"
    "|volume|distance|angle|price|cost|weight|average|mean|median|maximum|minimum|probability"
)
_PICTURE = "(?:[图圖画畫][片面]?|照片|[场場]景)[中里裡裏上]?"
_IN_ALL = "一共|[总總共合][共计計]|共"
_SUM = "(?:[总總][数數]|[数數]量|[个個][数數]|[总總]和|[结結]果|面[积積]|[长長]度|角度)"
_NAMES_A_NUMBER = re.compile(
    r"(?:(?:so|thus|hence|therefore|and),?\s)?(?:(?:in\stotal|altogether|overall),?\s)?"
    rf"(?:{_PLACE},?\s)?(?:there\s(?:are|is)\s(?:a\stotal\sof\s|in\stotal\s|exactly\s)?"
    r"|(?:(?:a\s)total\sof|exactly)\s"
    rf"|(?:the\s)?(?:(?:total|overall|final|exact|combined)\s)?(?:{_QUANTITY})(?:\s(?:number|count|amount|value))?"
    rf"(?:\sof(?:\s[A-Za-z0-9]+){{1,6}}?)?(?:\s{_PLACE})?(?:\s(?:is|are|equals)\s:?|\s?[:=])"
    rf"|(?:{_PICTURE}(?:[显顯]示)?,?\s?)?(?:(?:{_IN_ALL})\s?)?(?:有|是)|(?:{_PICTURE},?\s?)?(?:{_IN_ALL})\s?:?"
    rf"|(?:{_IN_ALL})?{_SUM}\s?(?:[是为為:=]|等[于於])|(?:(?:\\angle|∠)\s?[A-Z]{{1,3}}|[A-Z])\s?=)\s?",
    re.IGNORECASE,
)
"""In front of a number, besides what announces any answer: what it is the number of."""
_AGAIN = re.compile(r"([^()]*[^()\\\s])\s?[(\uff08]([^()]+)[)\uff09]")
_BLANKS = re.compile(r"[ \t\n\r]+")
"""Not those that part thousands."""


class Number(NamedTuple):
    """One number as it was written."""

    value: Fraction
    """Exact; of `50%`, 50."""
    percent: bool = False
    unit: str = ""
    """The canonical name of a known unit; empty without one."""
    is_decimal: bool = False
    """Written with a decimal point, so perhaps rounded."""


def read_number(text: str) -> Number | None:
    """The number that the text is, or None when it is anything but one number with, at most, its unit.

    A number that stands once more in brackets, `7 (seven)`, is one.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    if twice := _AGAIN.fullmatch(text.strip().removesuffix(".")):
        first, second = _one_number(twice[1]), _one_number(twice[2])
        return first if first and second and same_number(second, first) else None
    return _one_number(text)


def _one_number(text: str) -> Number | None:
    text = without_markup(without_markup(text).removesuffix(".")).replace(_MINUS_SIGN, "-")
    text = without_first_wrapper(without_bold(text))
    if named := _NAMES_A_NUMBER.match(_BLANKS.sub(" ", text)):
        text = without_first_wrapper(without_wrappers(named.string[named.end() :]))
    if found := _NUMBER.match(text):
        return _with_unit(
            _number(found),
            text[found.end() :],
            "$" if "S" in (found["money"] or "") else (found["money"] or "").lstrip("\\"),
        )
    word = text.lower().split(" ")[0] if text[:1].isalpha() else ""
    if word in NUMBER_WORDS:
        return _with_unit(Number(Fraction(NUMBER_WORDS[word])), text[len(word) :], "")
    return _chinese(text)


def same_number(got: Number, truth: Number, tolerance: float = 0.0) -> bool:
    """Values that are equal, or apart by at most this share of the truth, in units that do not contradict each other.

    Where only one of the two has a percent sign, the number before it or its hundredth may be meant, as in math-verify.
    """
    if got.unit and truth.unit and got.unit != truth.unit:
        return False
    readings = [(got.value, truth.value)]
    if got.percent != truth.percent:
        readings += [(got.value / 100, truth.value) if got.percent else (got.value, truth.value / 100)]
    return any(abs(value - right) <= Fraction(str(tolerance)) * abs(right) for value, right in readings)


def _number(found: re.Match[str]) -> Number | None:
    sign = -1 if found["sign"] == "-" else 1
    if found["decimal"]:
        digits = re.sub(r"[^0-9.]", "", found["decimal"])
        return Number(sign * Fraction(digits), is_decimal="." in digits)
    part = _ratio(found["part"] or found["close"] or found["ratio"])
    return None if part is None else Number(sign * (int(found["whole"] or 0) + part))


def _ratio(text: str) -> Fraction | None:
    numbers = re.findall(r"[0-9]+", text)
    above, below = _VULGAR.get(text) or map(int, numbers if len(numbers) == 2 else numbers[0])  # or \frac12
    return Fraction(above, below) if below else None


def _with_unit(number: Number | None, rest: str, money: str) -> Number | None:
    """The number with what follows it as percent sign or unit; None when what follows is neither."""
    if number is None:
        return None
    if percent := _PERCENT.match(rest):
        number, rest = number._replace(percent=True), rest[percent.end() :]
    unit = read_unit(rest)
    if unit is None or (unit and number.percent) or (unit and money and unit != KNOWN_UNITS[money]):
        return None
    return number._replace(unit=unit or KNOWN_UNITS.get(money, ""))


def _chinese(text: str) -> Number | None:
    found = _HAN_NUMBER.match(text)
    if found is None or not (found[3] or found[4]):
        return None
    above, below = _section(found[3] or ""), _section(found[4])
    if above is None or below is None or (found[3] and found[4] and len(found[4]) == 1 and found[4] != "零"):
        return None  # 三万五 is short for 35,000 and looks like 30,005
    value = Fraction(above * 10_000 + below)
    if found[5]:
        value += Fraction(int("".join(str(_HAN_DIGITS[d]) for d in found[5])), 10 ** len(found[5]))
    number = Number(-value if found[1] else value, percent=bool(found[2]), is_decimal=bool(found[5]))
    return _with_unit(number, text[found.end() :], "")


def _section(text: str) -> int | None:
    """Up to 9,999 in Chinese: with 十百千, or as a row of digits (二〇二六)."""
    if _TWO_OR_THREE.search(text):
        return None
    if text and all(digit in _HAN_DIGITS for digit in text):
        return int("".join(str(_HAN_DIGITS[digit]) for digit in text))
    found = _HAN_SECTION.fullmatch(text)
    if found is None:
        return None
    thousands, hundreds, tens, ten, ones = found.groups()
    if ones and (thousands or hundreds) and not ten and "零" not in text:
        return None  # 二百五 is short for 250 and looks like 205
    value = 1000 * _HAN_DIGITS.get(thousands, 0) + 100 * _HAN_DIGITS.get(hundreds, 0) + _HAN_DIGITS.get(ones, 0)
    return value + (10 * _HAN_DIGITS.get(tens or "一", 1) if ten else 0)
