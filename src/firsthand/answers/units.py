r"""Units behind a number: `12 cm`, `9.8 m/s^2`, `30^\circ`, `5 dollars`, `7 apples`, `三个`.

Known units are told apart, because 7 cm is not 7 mm; they are not converted. Other words only name what was counted.
"""

import re

_SYMBOLS = "mm cm dm m km in ft yd mi mg g kg t ml l s ms min h hz khz mph a v w kw n j k"
KNOWN_UNITS = {
    **dict(zip(_SYMBOLS.split(), _SYMBOLS.split(), strict=True)),
    **dict.fromkeys(("millimeter", "millimetre", "毫米", "公厘"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre", "厘米", "釐米", "公分"), "cm"),
    **dict.fromkeys(("decimeter", "decimetre", "分米", "公寸"), "dm"),
    **dict.fromkeys(("meter", "metre", "米", "公尺"), "m"),
    **dict.fromkeys(("kilometer", "kilometre", "千米", "公里"), "km"),
    **dict.fromkeys(("inch", "inche"), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
    **dict.fromkeys(("yard",), "yd"),
    **dict.fromkeys(("mile",), "mi"),
    **dict.fromkeys(("milligram",), "mg"),
    **dict.fromkeys(("gram", "克"), "g"),
    **dict.fromkeys(("kilogram", "千克", "公斤"), "kg"),
    **dict.fromkeys(("ton", "tonne", "吨", "噸"), "t"),
    **dict.fromkeys(("milliliter", "millilitre", "毫升"), "ml"),
    **dict.fromkeys(("liter", "litre", "升"), "l"),
    **dict.fromkeys(("second", "sec", "秒"), "s"),
    **dict.fromkeys(("minute", "mins", "分钟", "分鐘"), "min"),
    **dict.fromkeys(("hour", "hr", "小时", "小時"), "h"),
    **dict.fromkeys(("day", "天"), "d"),
    **dict.fromkeys(("°", "\\degree", "degree", "deg", "度"), "°"),
    **dict.fromkeys(("°c", "℃", "celsius", "degrees celsius", "摄氏度", "攝氏度"), "°c"),
    **dict.fromkeys(("°f", "℉", "fahrenheit", "degrees fahrenheit", "华氏度", "華氏度"), "°f"),
    **dict.fromkeys(("$", "dollar", "usd"), "$"),
    **dict.fromkeys(("€", "euro", "eur"), "€"),
    **dict.fromkeys(("£", "pound", "gbp"), "£"),
    **dict.fromkeys(("¥", "yuan", "元", "圓", "cny", "rmb"), "¥"),
    **dict.fromkeys(("cent",), "cent"),
}
_ARITHMETIC = (
    "plus minus times over point divided squared cubed percent half pi sin cos tan log exp sqrt theta alpha beta"
)
_HEDGES = (
    "or and not to than but maybe more less fewer least most about perhaps possibly probably approximately roughly "
    "around nearly almost wrong incorrect false unsure instead rather except without"
)
_AMOUNTS = (
    "dozen gross hundred thousand million billion trillion lakh crore third tenth hundredth thousandth zero one two "
    "three four five six seven eight nine ten eleven twelve"
)
_NOT_UNITS = frozenset(
    [*f"{_ARITHMETIC} {_HEDGES} {_AMOUNTS} halves fold".split(), *(f"{amount}s" for amount in _AMOUNTS.split())]
)
"""Words behind a number that change it, or give another beside it."""
_UNIT_WORDS = re.compile(r"(\s*)([A-Za-z]+(?: [A-Za-z]+){0,2})")
_POWER_UNIT = re.compile(
    r"\s*(?:(square|sq\.?|cubic|cu\.?)\s+)?([A-Za-z]+)(\^?\{?[23]\}?|[²³])?(?:\s*/\s*([A-Za-z]+))?(\^?\{?[23]\}?|[²³])?",
    re.IGNORECASE,
)
_DEGREE = re.compile(r"\^?\{?\\circ\b\}?|\^\{?[°∘]\}?|[º˚]")
_OF_A_SCALE = re.compile(r"°\s+(?=[CFcf]\b)")
_BEHIND = re.compile(
    r" (?:(?:shown |visible )?(?:in|on) (?:the|this) (?:picture|image|photo|figure|scene|diagram|chart)"
    r"|in total|in all|altogether)[ .]*$"
)
"""Behind what was counted: it names nothing else."""
_HAN_UNIT = re.compile(r"\s*[\u4e00-\u9fff]{1,4}")
_HAN_NOT_UNITS = frozenset(
    "或和到至不与與加减減乘除多半点點又负負零〇一二两兩三四五六七八九十百千万萬亿億以左右约約几幾余餘超近第吗嗎"
)


def read_unit(rest: str) -> str | None:
    """The canonical unit of what stands behind a number, "" for nothing or a counted thing, None for anything else."""
    rest = _unwrapped(rest)
    name = rest.strip().lower()
    if not name:
        return ""
    glued = not rest.startswith(" ")
    if (known := _known(name)) and not (glued and len(name) == 1 and name.isascii() and name.isalpha()):
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
    text = _BEHIND.sub("", _OF_A_SCALE.sub("°", _DEGREE.sub("°", text))).rstrip(" .")
    return text.rstrip("!") if text[-2:-1].isalpha() else text  # behind a digit it is a factorial
