r"""Option letters as people write them: which option a text names, by its letter or by its full text.

Read as option A: `A`, `a`, `A)`, `(A)`, `[A]`, `A.`, `A:`, `Option A`, `A is correct`, `\boxed{A}`, `选A`, `A選項`,
`A. <text>` and, when the options are known, `A <text>`, `A (<text>)` and the text of option A alone, in any spelling
(spelling.py). A reply that names two options, or whose letter and text disagree, is not read.
"""

import re
from functools import lru_cache

from firsthand.answers.markup import without_bold, without_markup
from firsthand.answers.spelling import spelt_alike
from firsthand.answers.text import begins_with_yes_or_no, yes_or_no_of
from firsthand.answers.wording import DENIES, REMARKS, STATES, TAKEN_BACK

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What options are called, in order."""
_CALLED = (
    r"(?:(?:option|choice|answer|letter)\s+|(?:choose|select|pick)\s+(?:option\s+)?"
    r"|(?:(?:因此|所以|故|答案)\s?)?(?:[选選][择擇项項]?\s?:?\s?){0,2})"
)
_BRACKETED = r"\(([A-Z])\)|\[([A-Z])\]"
_LETTER = rf"(?:{_BRACKETED}|\{{([A-Z])\}}|\"([A-Z])\"|'([A-Z])'|([A-Z])[.):,]?)"
_IS_RIGHT = (
    r"(?:\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice))?|\s+is\s+the\s+answer"
    r"|\s?(?:[选選]?[项項])?\s?[是为為]?(?:正确|正確|[对對])的?(?:答案|[选選][项項])?|\s?[选選]?[项項])"
)
# re.ASCII: without it, IGNORECASE lets the Kelvin sign pass for a K and the long s for an S.
_FLAGS = re.IGNORECASE | re.ASCII
_LETTER_ALONE = re.compile(rf"{_CALLED}{_LETTER}{_IS_RIGHT}?[.!]?", _FLAGS)
_LETTER_AND_TEXT = re.compile(
    rf"{_CALLED}(?:{_BRACKETED}|[\"']?([A-Z])[\"']?(?:[.):]|\s+[-–—]\s))[.:]?\s*(\S.*)", _FLAGS | re.DOTALL
)
_LETTER_BEFORE_ITS_TEXT = re.compile(rf"{_CALLED}([A-Z])(?:[,\s]|(?=[(\[]))\s*(\S.*)", _FLAGS | re.DOTALL)
_TEXT_BEFORE_ITS_LETTER = re.compile(r"(\S.*)[(\[](?:(?:option|choice)\s)?([A-Z])[)\]]", _FLAGS | re.DOTALL)
_ENDS_RIGHT = re.compile(r",?\s(?:is|as)\s(?:the\s)?(?:correct|right|best)(?:\s(?:answer|option|choice))?$", _FLAGS)
_IN_BRACKETS = re.compile(r"[(\[](.*)[)\]]", re.DOTALL)
_ANOTHER_LETTER = re.compile(
    r"\b[A-Z][.):]|[(\[{\"'][A-Z][)\]}\"']|\n|\b[A-Z]\s(?:is|are)\s(?:also|wrong|incorrect|not|right|correct)\b"
    r"|(?:\b(?i:or|and|not|nor|either|both|maybe|perhaps|also|it's|is|be|actually|option|choice|choose|pick|select|meant?"
    r"|instead|rather|unless|than|then)\b|[,/&;|>\u2192或和])[\s(\[]*[A-Z](?![A-Za-z])",
    re.ASCII,
)
_LETTER_AGAIN = re.compile(r"\W{0,3}(?:[A-Z]\W*$|[B-F](?!\w)|A(?!\w)(?!\s[a-z]))", re.ASCII)
"""Behind a letter, one more of those that most options have."""
_HEDGED_REMARK = re.compile(
    r"(?i)\b(?:or|also|could|might|may|either|both|equally|maybe|perhaps|unsure|actually|instead|rather|again)\b|或|也"
)
_LONE_LETTER = re.compile(r"(?<!\w)[A-Z](?!\w)", re.ASCII)
_LAST_LETTER = re.compile(r"(?<!\w)([A-Z])\W*$", re.ASCII)
_WRAPPED_LETTER = re.compile(
    r"\$?(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{){1,2}\s*(\(?[A-Z]\)?\s?[.:)]?)\s*\}{1,2}\$?"
    r"(?:\\[ ,;]|~|\\quad)?\s*|\$(\(?[A-Z]\)?[.:)]?)\$\s*",
    _FLAGS,
)
_OWN_LETTER = re.compile(
    r"(?:[(\[（]([A-Za-z])[)\]）]|([A-Za-z])\s?(?:[).:、．：）]|[-–—](?=\s)))[.:]?\s*(\S.*)", re.DOTALL
)
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_SEVERAL_CALLED = re.compile(
    r"^(?:both\s|all\sof\s)?(?:options?|choices?|answers?|letters?|[选選][择擇项項]?)?\s?:?\s?", _FLAGS
)
_ARE_RIGHT = re.compile(
    r"\s(?:is|are)\s(?:both\s|all\s)?(?:the\s)?(?:correct|right|true)(?:\s(?:answers?|options?|choices?))?$"
    r"|\s?[选選]?[项項]?\s?(?:[都均是为為]|全部){0,2}(?:正确|正確|[对對])的?$",
    _FLAGS,
)
_BETWEEN_LETTERS = re.compile(r"[\s,;&/+和与與及]+|\band\b", _FLAGS)
_PIECES = re.compile(r"[;,\n]\s?|\sand\s", _FLAGS)
_BEFORE_A_LETTER = re.compile(r"(?:[;,\n]\s?(?:and\s)?|\sand\s)(?=[(\[]?[A-Z][.):\]])", re.ASCII)


def read_letter(text: str, options: tuple[str, ...]) -> tuple[str | None, str]:
    """The letter of the option that the text names, or None and why; `options` are empty when they are not known."""
    text = _opened(without_markup(without_bold(text)))
    if alone := _LETTER_ALONE.fullmatch(text):
        letter, why = _within(alone, options)
        if letter is not None or len(_named(text, options)) != 1:
            return letter, why
    named = _named(text, options)
    both = _LETTER_AND_TEXT.fullmatch(text) or (_LETTER_BEFORE_ITS_TEXT.fullmatch(text) if options else None)
    letter, why = (None, "expected one option letter") if both is None else _with_text(both, options)
    if len(named) == 1:
        if letter not in (None, *named):
            return None, f"may name {letter} or {named[0]}"
        return named[0], ""
    if named:
        return None, f"the text of {len(named)} options"
    if letter is None and options and (after := _TEXT_BEFORE_ITS_LETTER.fullmatch(text)):
        return (after[2].upper(), "") if after[2].upper() in _named(after[1], options) else (None, why)
    return letter, why


def read_letters(text: str, options: tuple[str, ...] = ()) -> frozenset[str] | None:
    """`A`, `(A)`, `A, C`, `A, B and C`, `AC`, `A/C`, `A. its text` -> the letters; None when there is anything else."""
    inner = _opened(without_markup(without_bold(text))).strip().rstrip(".!")
    inner = _ARE_RIGHT.sub("", re.sub(r"[ \t]+", " ", inner))
    bare = re.sub(r"<<|>>|[\[\](){}\"]", " ", _SEVERAL_CALLED.sub("", inner, count=1)).strip()
    words = [word.rstrip(".:") for word in _BETWEEN_LETTERS.split(bare) if word.rstrip(".:")]
    together = re.fullmatch("[A-Z]+", bare) is not None and len(set(bare)) == len(bare)
    if together or (words and all(re.fullmatch("[A-Za-z]", word) for word in words)):
        letters = frozenset("".join(words).upper())
        return letters if not options or letters <= set(LETTERS[: len(options)]) else None
    one, _ = read_letter(text, options)
    if one is not None:
        return frozenset(one)
    return _pieces(inner, options)


def without_labels(options: tuple[str, ...]) -> tuple[str, ...]:
    """Options without the letters that each of them carries: `A) cat`, `B) dog` -> `cat`, `dog`; others as they are."""
    found = [_OWN_LETTER.fullmatch(option) for option in options]
    carried = [(own[1] or own[2]).upper() for own in found if own]
    are_own = len(options) > 1 and carried == list(LETTERS[: len(options)])
    return tuple(own[3].strip() for own in found if own) if are_own else options


def _opened(text: str) -> str:
    r"""A letter out of the LaTeX around it: `\text{B. } 45`, `\textbf{(B)}\ 45`, `$B$. 45` -> `B. 45`, `(B) 45`."""
    found = _WRAPPED_LETTER.match(text)
    if found is None:
        return text
    letter, rest = (found[1] or found[2]).strip(), text[found.end() :]
    return f"{letter}{'' if rest[:1] in '.):,' else ' '}{rest}"


def _pieces(text: str, options: tuple[str, ...]) -> frozenset[str] | None:
    """Several letters with their texts, or several texts of known options."""
    for parts in (_BEFORE_A_LETTER.split(text), _PIECES.split(text) if options else []):
        read = [read_letter(part, options)[0] for part in parts] if len(parts) in range(2, len(LETTERS) + 1) else []
        letters = {letter for letter in read if letter is not None}
        if read and len(letters) == len(read):
            return frozenset(letters)
    return None


def _named(text: str, options: tuple[str, ...]) -> list[str]:
    """The letters of the options that have this text: with the letter that they may carry, or without, or its article.

    Of `yes` and `no`, a sentence that begins with one names it.
    """
    bare = _bare(options)
    places = spelt_alike(text, options) or (spelt_alike(text, bare) if bare != options else [])
    if not places and not text.startswith("A "):  # which may be the letter
        places = spelt_alike(_ARTICLE.sub("", text), _without_articles(bare))
    if not places and len(bare) == 2 and (word := begins_with_yes_or_no(text)):
        words = [yes_or_no_of(option) for option in bare]
        places = [words.index(word)] if sorted(map(str, words)) == ["no", "yes"] else []
    return [LETTERS[place] for place in places if place < len(LETTERS)]


@lru_cache(maxsize=4096)
def _without_articles(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_ARTICLE.sub("", option) for option in options)


@lru_cache(maxsize=4096)
def _bare(options: tuple[str, ...]) -> tuple[str, ...]:
    return without_labels(options)


def _with_text(both: re.Match[str], options: tuple[str, ...]) -> tuple[str | None, str]:
    """A letter and a text: they must agree when the options are known, and else name no other letter."""
    (letter, why), text = _within(both, options), both[both.re.groups]
    if letter is None:
        return None, why
    if options:
        return _beside(letter, text, options, may_remark=both.re is _LETTER_AND_TEXT)
    if REMARKS.match(text):
        return (letter, "") if _is_remark(text, letter) else (None, f"doubts {letter}")
    if any(p.search(text) for p in (_ANOTHER_LETTER, TAKEN_BACK, STATES)) or _LETTER_AGAIN.match(text):
        return None, "names more than one option"
    return (None, f"denies {letter}") if DENIES.search(text) else (letter, "")


def _beside(letter: str, text: str, options: tuple[str, ...], *, may_remark: bool) -> tuple[str | None, str]:
    """The letter, if its option's text stands there (bare, in brackets, before `is correct`) or a remark about it."""
    inner = _IN_BRACKETS.fullmatch(text.strip().removesuffix("."))
    ended = _ENDS_RIGHT.sub("", " ".join(text.split()).removesuffix("."))
    named = _named(text, options) or (_named(inner[1], options) if inner else []) or _named(ended, options)
    if letter in named or (may_remark and not named and _is_remark(text, letter)):
        return letter, ""
    return None, f"the text beside {letter} is not the text of option {letter}"


def _is_remark(text: str, letter: str) -> bool:
    """Whether a sentence stands behind the letter that neither doubts it nor ends with another one."""
    if not REMARKS.match(text) or any(p.search(text) for p in (_HEDGED_REMARK, TAKEN_BACK, STATES)):
        return False
    last, lone = _LAST_LETTER.search(text), _LONE_LETTER.findall(text)
    if last and last[1] != letter:
        return False
    of_others = letter not in lone and (lone or " other" in f" {text.lower()}")
    return bool(of_others) or DENIES.search(text) is None


def _within(found: re.Match[str], options: tuple[str, ...]) -> tuple[str | None, str]:
    """The letter, whichever brackets it stood in, if there is such an option."""
    letter = next(group for group in found.groups() if group).upper()
    if options and ord(letter) - ord("A") >= len(options):
        return None, f"there is no option {letter}, only {len(options)} options"
    return letter, ""
