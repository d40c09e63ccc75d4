r"""Different spellings of one text: `154 °` and `154°`, `16 cm^2` and `16 cm²`, `$\dfrac{3}{4}$` and `\frac{3}{4}`.

An option is written once in a data file and once more in a reply, by somebody else. What differs in meaning stays
apart: `cm` and `mm`, `2^3` and `23`, `-5` and `5`, `1/2` and `12`, `x_1` and `x1`.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from firsthand.answers.markup import LOWERED, ON_THE_LINE, RAISED, folded, without_bold, without_markup
from firsthand.answers.numbers import NUMBER_WORDS, read_number

_COMMANDS = {
    **dict.fromkeys(("times", "ast"), "*"),
    **dict.fromkeys(("cdot", "bullet"), "·"),
    **dict.fromkeys(("le", "leq", "leqslant"), "≤"),
    **dict.fromkeys(("ge", "geq", "geqslant"), "≥"),
    **dict.fromkeys(("ne", "neq"), "≠"),
    **dict.fromkeys(("circ", "degree", "degrees"), "°"),
    **dict.fromkeys(("to", "rightarrow"), "→"),
    **dict.fromkeys(("quad", "qquad", "left", "right", "displaystyle"), " "),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "\\frac"),
    **{"div": "/", "pm": "±", "infty": "∞", "sqrt": "√", "angle": "∠", "triangle": "△", "parallel": "∥", "perp": "⊥"},
    **{"pi": "π", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ"},
    **{"rho": "ρ", "sigma": "σ", "phi": "φ", "omega": "ω", "Delta": "Δ", "Omega": "Ω", "approx": "≈", "cong": "≅"},
}
"""LaTeX's commands -> what means the same."""
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-"),
        **dict.fromkeys("×✕", "*"),
        **dict.fromkeys("⋅∙•", "·"),
        **dict.fromkeys("º˚∘", "°"),
        **dict.fromkeys("÷⁄∕", "/"),
        **{"\u00b5": "\u03bc", "℃": "°C", "℉": "°F"},
        **{"½": " 1/2 ", "⅓": " 1/3 ", "⅔": " 2/3 ", "¼": " 1/4 ", "¾": " 3/4 "},
    }
)
_SCRIPT = re.compile(f"[{RAISED}]+|[{LOWERED}]+")
_DOLLAR = "\ue000"
"""A dollar that is meant as one, while those around formulas come off."""
_FORMULA = re.compile(r"\$\$?([^$]+)\$\$?")
_BRACKET = re.compile(r"\\[()\[\]]|\\[,;:! ]|~")
_ITSELF = re.compile(r"\\([%&#_{}])")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_IN_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname|boxed|fbox)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\s?(?:\{([^{}]*)\}\s?\{([^{}]*)\}|([0-9])\s?([0-9]))")
_ROOT = re.compile(r"√\s?(?:\{([^{}]*)\}|\(([^()]*)\)|([0-9]+|[A-Za-z]))")
_POWER = re.compile(r"([\^_])\s?(?:\{([^{}]*)\}|\(([^()]*)\)|([-+]?[0-9]+|[A-Za-z*]))")
_DEGREES = re.compile(r"\^\s?(?:\{\s?°\s?\}|°)|(?<=[0-9])\s?(?:degrees?|deg)\b", re.IGNORECASE)
_TIMES = re.compile(r"(?<=[0-9])\s?·\s?(?=[0-9])|(?<=[0-9])\s?[xX]\s?(?=10\s?\^)")
"""Between numbers; between letters, a dot and a cross are two products."""
_SIMPLE = re.compile(r"[0-9]+|[A-Za-z]")
_GAP = re.compile(r"(?<=[0-9])\s(?![0-9])|(?<![\w])\s|\s(?![\w])|(?<=[\u4e00-\u9fff])\s|\s(?=[\u4e00-\u9fff])")
"""White space, but that between two words, two numbers, or a word and the number behind it."""
_MOST_NESTED = 4
"""Braces inside each other that are looked into (ours)."""


def spelt_alike(text: str, others: Sequence[str]) -> list[int]:
    """The places of those texts that the text spells, by the most exact way of comparing that finds any.

    First as it stands; then case, spacing and mark-up do not count; then notation does not; then one number with a
    known unit is compared by value. So two of `others` are told apart as long as anything tells them apart.
    """
    for spell in _WAYS:
        spelling = spell(text)
        if spelling and (places := [i for i, other in enumerate(others) if _spelt(spell, other) == spelling]):
            return places
    return []


def respelt(text: str) -> str:
    """The text in one notation for degrees, powers, fractions, roots, products and spaces."""
    text = _plain(text)
    for _ in range(_MOST_NESTED):
        opened = _IN_TEXT.sub(r"\1", _ROOT.sub(_rooted, _FRACTION.sub(_divided, text)))
        if opened == text:
            break
        text = opened
    text = _POWER.sub(lambda found: f"{found[1]}({_held(found, 2, 3, 4)})", text)
    text = _GAP.sub("", " ".join(text.split())).casefold().rstrip(".")
    return text.rstrip("!.") if text.rstrip("!.")[-1:].isalpha() else text  # behind a digit it is a factorial


def amount(text: str) -> str:
    """Value and unit of a text that is one number with a known unit or none; empty for anything else."""
    text = _plain(text)
    number = read_number(text)
    if number is None:
        return ""
    is_named = number.unit or number.percent or text.casefold() in NUMBER_WORDS
    if not is_named and any(sign.isalpha() for sign in _COMMAND.sub("", text)):
        return ""  # of something: `6 apples` are not `6 pears`
    return f"{number.value} {'%' if number.percent else number.unit}"


_WAYS: tuple[Callable[[str], str], ...] = (str.strip, folded, respelt, amount)


@lru_cache(maxsize=4096)
def _spelt(spell: Callable[[str], str], option: str) -> str:
    """The same few options are compared with many replies."""
    return spell(option)


def _plain(text: str) -> str:
    """Without the delimiters of formulas, and with signs for commands."""
    text = without_bold(without_markup(text)).replace("\\$", _DOLLAR)
    text = _BRACKET.sub(" ", _FORMULA.sub(r" \1 ", text))
    text = _COMMAND.sub(lambda found: _COMMANDS.get(found[1], found[0]), _IN_TEXT.sub(r"\1", _ITSELF.sub(r"\1", text)))
    text = _SCRIPT.sub(_on_the_line, " ".join(text.translate(_SIGNS).replace(_DOLLAR, "$").split()))
    return _TIMES.sub("*", _DEGREES.sub("°", text))


def _on_the_line(found: re.Match[str]) -> str:
    return ("^" if found[0][0] in RAISED else "_") + "{" + found[0].translate(ON_THE_LINE) + "}"


def _divided(found: re.Match[str]) -> str:
    parts = _held(found, 1, 3), _held(found, 2, 4)
    above, below = (part if _SIMPLE.fullmatch(part) else f"({part})" for part in parts)
    return f" {above}/{below} "


def _rooted(found: re.Match[str]) -> str:
    return f"√({_held(found, 1, 2, 3)})"


def _held(found: re.Match[str], *groups: int) -> str:
    """What the one of several groups holds that is there."""
    return next(found[group] for group in groups if found[group] is not None).strip()
