r"""Units behind a number: `12 cm`, `9.8 m/s^2`, `30^\circ`, `5 dollars`, `7 apples`, `三个`.

Known units are told apart, because 7 cm is not 7 mm; they are not converted. Other words only name what was counted.
"""

import re

_SYMBOLS = "mm cm dm m km in ft yd mi mg g kg t ml l s ms min h hz khz mph a v w kw n j k"
KNOWN_UNITS = {
    **dict(zip(_SYMBOLS.split(), _SYMBOLS.split(), strict=True)),
    **dict.fromkeys(("millimeter", "millimetre", "毫米"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre", "厘米"), "cm"),
    **dict.fromkeys(("decimeter", "decimetre", "分米"), "dm"),
    **dict.fromkeys(("meter", "metre", "米"), "m"),
    **dict.fromkeys(("kilometer", "kilometre", "千米", "公里"), "km"),
    **dict.fromkeys(("inch", "inche"), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
    **dict.fromkeys(("yard",), "yd"),
    **dict.fromkeys(("mile",), "mi"),
    **dict.fromkeys(("milligram",), "mg"),
    **dict.fromkeys(("gram", "克"), "g"),
    **dict.fromkeys(("kilogram", "千克", "公斤"), "kg"),
    **dict.fromkeys(("ton", "tonne", "吨"), "t"),
    **dict.fromkeys(("milliliter", "millilitre", "毫升"), "ml"),
    **dict.fromkeys(("liter", "litre", "升"), "l"),
    **dict.fromkeys(("second", "sec", "秒"), "s"),
    **dict.fromkeys(("minute", "mins", "分钟"), "min"),
    **dict.fromkeys(("hour", "hr", "小时"), "h"),
    **dict.fromkeys(("day", "天"), "d"),
    **dict.fromkeys(("°", "^\\circ", "^{\\circ}", "\\circ", "\\degree", "degree", "deg", "度"), "°"),
    **dict.fromkeys(("°c", "celsius"), "°c"),
    **dict.fromkeys(("°f", "fahrenheit"), "°f"),
    **dict.fromkeys(("$", "dollar", "usd"), "$"),
    **dict.fromkeys(("€", "euro", "eur"), "€"),
    **dict.fromkeys(("£", "pound", "gbp"), "£"),
    **dict.fromkeys(("¥", "yuan", "元", "cny", "rmb"), "¥"),
    **dict.fromkeys(("cent",), "cent"),
}
_ARITHMETIC = (
    "plus minus times over point divided squared cubed percent half pi sin cos tan log exp sqrt theta alpha beta"
)
_HEDGES = "or and not to than but maybe more less fewer least most about"
_AMOUNTS = "dozen hundred thousand million billion zero one two three four five six seven eight nine ten eleven twelve"
_NOT_UNITS = frozenset(f"{_ARITHMETIC} {_HEDGES} {_AMOUNTS}".split())
"""Words behind a number that change it, or give another beside it."""
_UNIT_WORDS = re.compile(r"(\s*)([A-Za-z]+(?: [A-Za-z]+){0,2})")
_POWER_UNIT = re.compile(
    r"\s*(?:(square|sq\.?|cubic|cu\.?)\s+)?([A-Za-z]+)(\^?\{?[23]\}?|[²³])?(?:\s*/\s*([A-Za-z]+))?(\^?\{?[23]\}?|[²³])?",
    re.IGNORECASE,
)
_IN_ALL = re.compile(r" (?:in total|in all|altogether)[ .]*$")
_HAN_UNIT = re.compile(r"\s*[\u4e00-\u9fff]{1,4}")
_HAN_NOT_UNITS = frozenset("或和到至不与加减乘除多半点又负零〇一二两三四五六七八九十百千万亿")


def read_unit(rest: str) -> str | None:
    """The canonical unit of what stands behind a number, "" for nothing or a counted thing, None for anything else."""
    rest = _unwrapped(rest)
    name = rest.strip().lower()
    if not name:
        return ""
    glued = not rest.startswith(" ")
    if (known := _known(name)) and not (glued and len(name) == 1 and name.isalpha()):
        return known
    if power := _POWER_UNIT.fullmatch(rest):
        base, per = _known(power[2].lower()), _known((power[4] or "").lower())
        if base and (per or not power[4]) and not (glued and len(power[2]) == 1):
            return f"{base}{_exponent(power[1] or power[3])}" + (f"/{per}{_exponent(power[5])}" if per else "")
    words = _UNIT_WORDS.fullmatch(rest)
    if words and not glued and all(len(w) > 2 and w not in _NOT_UNITS for w in name.split()):
        return ""
    return "" if _HAN_UNIT.fullmatch(rest) and not _HAN_NOT_UNITS & set(name) else None


def _known(name: str) -> str:
    return KNOWN_UNITS.get(name) or KNOWN_UNITS.get(name.removesuffix("s"), "") if name else ""


def _exponent(text: str | None) -> str:
    word = (text or "").lower()
    if word[:2] in ("sq", "cu"):
        return "2" if word[:2] == "sq" else "3"
    return {"²": "2", "³": "3"}.get(word, re.sub(r"[^23]", "", word))


def _unwrapped(rest: str) -> str:
    r"""`\,\text{cm}^2` -> ` cm^2`; a wrapped unit stands apart from its number."""
    text = re.sub(r"\\(?:text|mathrm|textrm)\{([^{}]*)\}", r" \1", re.sub(r"\\[,;! ]|~", " ", rest))
    return _IN_ALL.sub("", text).rstrip(" .")
