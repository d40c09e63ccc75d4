"""Short words as people write them, and when two of them are the same answer.

The normalisation is that of VQA's evaluation (https://visualqa.org/evaluation.html): case, articles, punctuation and
apostrophes do not count, and number words are digits. Ours is stricter where a sign has a meaning of its own: `-5` is
not `5`, `1/2` not `1 2`, and `2,3` not `23`.
"""

import re
import unicodedata

from firsthand.answers.markup import without_markup
from firsthand.answers.numbers import NUMBER_WORDS

_ARTICLES = frozenset(("a", "an", "the"))
_NONE = "none"
"""VQA's evaluation takes it for 0."""
_NOT_CONTRACTED = frozenset(("were", "well", "shell", "hell", "ill", "wed", "shed", "its"))
"""Words that `we're`, `we'll`, `she'll` ... would become without their apostrophe."""
_YES = frozenset(("yes", "yeah", "yep", "true", "是", "是的", "对", "對", "对的", "對的", "正确", "正確"))
_NO = frozenset(("no", "nope", "false", "否", "不", "不是", "错", "錯", "错误", "錯誤", "不对", "不對"))
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_BETWEEN_NUMBERS = re.compile(r"(?<=[0-9])\s*([-/+])\s*(?=[0-9])|(?<=\w)\s*([=<>])\s*(?=[-\w])")
_SIGN = re.compile(
    r"(?<=[0-9])[-/+](?=[0-9])|(?<=\w)[=<>](?=[-\w])|(?<![\w.])-(?=\.?[0-9])|(?<=\w)\++(?!\w)"
    r"|(?<=[0-9])\.(?=[0-9])|(?<!\w)\.(?=[0-9])"
)
_PUNCTUATION = re.compile(r"""[;/\[\]"{}()=+\\_\-><@`,?!.:|*~\u2026\u2013\u2014]""")
_GAP = (" ", "")
"""What punctuation leaves: a full stop nothing, as in `U.S.`, and every other sign a gap."""
_APOSTROPHES = re.compile(r"['\u2018\u2019`\u00b4]")
_FIRST_WORD = re.compile(
    r"\s*([^\W\d_]+)\s*(?:[,.;:!\u2014]|-\s|\Z"
    r"|\s(?=(?:there|it|he|she|they|this|that|these|those|the|i|we|you)\b))",
    re.IGNORECASE,
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_HEDGES = _set(
    "or but however maybe perhaps possibly probably might may could unless although though wait actually if sure "
    "unsure unclear correction either neither doubt guess"
)
_NEGATIONS = _set("not no never none nor neither nothing without non cannot cant nt")
_WRONG = _set("wrong incorrect false 不 没 沒 非")
_INSTEAD = _set("except instead rather unlike other hardly barely opposite almost similar")
_DENIALS = _NEGATIONS | _HEDGES | _WRONG | _INSTEAD
_AGAINST = {"yes": _NO | _NEGATIONS | _WRONG, "no": _YES | {"correct", "indeed"}}
"""What takes back a yes, and a no, behind it."""
_SMALL_WORDS = _set(
    "a an the it its is are was were be of in on at to by with from there this that here i see as has have can says "
    "reads shows very for"
)
"""Words of a sentence; all others might be answers, too."""
_SEPARATORS = re.compile(r"[,;/|&(\[]|(?<=\w)[-\u2013\u2014](?=\w)|\band\b|[和或与與及]")
_MOST_WORDS = 20
"""Words of a reply in which a gold answer may be contained, and of one that begins with yes or no (ours)."""


def normalised_text(text: str) -> str:
    """The words that count, in order, with one space between them; never empty where the text is not."""
    # Not NFKC: it turns 10² into 102.
    text = unicodedata.normalize("NFC", without_markup(text)).casefold().replace("\u2212", "-").strip()
    text = _BETWEEN_NUMBERS.sub(r"\1\2", _THOUSANDS.sub("", text))
    kept: list[str] = []
    for part in text.split():
        whole = part.strip(".,;:!?\"'()[]")
        kept += [str(NUMBER_WORDS[whole])] if whole in NUMBER_WORDS else ["and"] if part == "&" else _words(part)
    counted = [word for word in kept if word not in _ARTICLES] or kept
    return " ".join("0" if word == _NONE else word for word in counted) or text


def yes_or_no_of(text: str) -> str | None:
    """`yes` or `no` where a text is a word for it, in English or Chinese: `True`, `是`, `錯`."""
    word = without_markup(text).removesuffix(".").strip().casefold()
    return "yes" if word in _YES else "no" if word in _NO else None


def begins_with_yes_or_no(text: str) -> str | None:
    """`Yes, there is.` -> `yes`; None where what follows takes it back, or says `or`."""
    text = without_markup(text)
    found = _FIRST_WORD.match(text)
    word = yes_or_no_of(found[1]) if found else None
    if found is None or word is None:
        return None
    rest = _bare_words(text[found.end() :])
    is_long = len(text.split()) > _MOST_WORDS
    return word if not is_long and (_HEDGES | _AGAINST[word]).isdisjoint(rest) else None


def contains_text(answer: str, gold: str) -> bool:
    """Whether one short sentence holds the gold answer as whole words, and neither denies it nor lists several."""
    inner = without_markup(answer).strip().rstrip(".!")
    wanted, words = normalised_text(gold).split(), normalised_text(inner).split()
    places = [i for i in range(len(words) - len(wanted) + 1) if words[i : i + len(wanted)] == wanted]
    if not places or len(words) > _MOST_WORDS + len(wanted) or re.search(r"[.!]\s|[?\n]", inner):
        return False
    if len(_SEPARATORS.findall(inner)) > len(_SEPARATORS.findall(gold)):
        return False
    around = words[: places[0]] + words[places[0] + len(wanted) :]
    others = sum(word not in _SMALL_WORDS for word in around)
    small = sum(word in _SMALL_WORDS for word in re.findall(r"[^\W_]+", inner.casefold()))
    # `teal red` and `It is red green blue teal` are lists; a sentence of as many words has small ones between them.
    is_sentence = not others or others < max(small, 2 * bool(small))
    return is_sentence and _DENIALS.isdisjoint(_bare_words(" ".join(around)))


def similarity(answer: str, gold: str) -> float:
    """1 - normalised Levenshtein distance of two texts without case and repeated white space: ANLS of one pair."""
    one, other = (" ".join(without_markup(text).casefold().split()) for text in (answer, gold))
    longest = max(len(one), len(other))
    if not longest:
        return 0.0
    if min(len(one), len(other)) * 2 < longest:
        return 0.0  # below 0.5 whatever they say: no need to compare 2,000 characters with three
    return 1 - _distance(one, other) / longest


def _words(part: str) -> list[str]:
    """The words of a text without white space: cut where punctuation has no meaning of its own."""
    bare = _APOSTROPHES.sub("", part)
    part = _APOSTROPHES.sub("'", part) if bare in _NOT_CONTRACTED else bare
    meant = {i for found in _SIGN.finditer(part) for i in range(*found.span())}
    signs = (sign if i in meant or not _PUNCTUATION.match(sign) else _GAP[sign == "."] for i, sign in enumerate(part))
    return "".join(signs).split()


def _bare_words(text: str) -> set[str]:
    words = re.findall(r"[^\W_]+", _APOSTROPHES.sub("", text.casefold()))
    return {*words, *("nt" for word in words if word.endswith("nt") and word[:-2] in _VERBS)}


_VERBS = _set("is are was were do does did has have had ca would could should must")


def _distance(one: str, other: str) -> int:
    """Levenshtein's distance, a column of the table at a time in one integer (Myers 1999, Hyyrö 2003)."""
    if not one:
        return len(other)
    ones: dict[str, int] = {}
    for place, sign in enumerate(one):
        ones[sign] = ones.get(sign, 0) | 1 << place
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    rises, falls, distance = every, 0, len(one)
    for sign in other:
        equal = ones.get(sign, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        across_up, across_down = falls | ~(diagonal | rises) & every, rises & diagonal
        distance += bool(across_up & last) - bool(across_down & last)
        across_up, across_down = (across_up << 1 | 1) & every, across_down << 1 & every
        rises, falls = across_down | ~(diagonal | across_up) & every, across_up & diagonal
    return distance
