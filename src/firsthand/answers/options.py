"""The options of a question, as data files hold them -> their texts in letter order.

    ["cat", "dog"]  "['cat', 'dog']"  [1, 2]              a list, also as text
    {"A": "cat", "B": "dog"}                              an object with a letter for each
    {"text": ["cat", "dog"], "label": ["A", "B"]}         ARC's
    [{"label": "A", "text": "cat"}, ...]                  an object for each
    ["A) cat", "B) dog"]                                  letters of their own, all of them and in order, are taken off

Two options of one text are refused: a reply in words could not be told apart.
"""

import re
from collections.abc import Mapping, Sequence

from firsthand.answers.letters import LETTERS, without_labels
from firsthand.answers.literals import cell_text, literal
from firsthand.errors import BadRow, shown

_LABELS, _TEXTS = ("label", "letter", "key", "id"), ("text", "content", "value", "option")
_WRITE = 'write a list such as ["red", "blue"]'


def option_texts(options: object, column: str = "choices", *, distinct: bool = True) -> tuple[str, ...]:
    """The options' texts, none where there are none. Raises BadRow, also where two are the same unless `distinct`."""
    found = _in_order(literal(options), column)
    texts = tuple(text for option in found if (text := cell_text(option)) is not None)
    if len(texts) != len(found):
        raise BadRow(column, "a list of texts", shown(options), _WRITE)
    texts = without_labels(texts)
    doubled = next((text for i, text in enumerate(texts) if text in texts[:i]), None)
    if distinct and doubled is not None:
        letters = " and ".join(letter for letter, text in zip(LETTERS, texts, strict=False) if text == doubled)
        remedy = "correct the list: a reply in words could not be told apart"
        raise BadRow(column, "different texts", f"{shown(doubled)} as {letters}", remedy)
    return texts


def shows_options(question: str, options: Sequence[str]) -> bool:
    """Whether a question has all of its options in it, each behind its letter: `A) cat`, `(A) cat`, `A、cat`."""
    lettered = zip(LETTERS, options, strict=False)
    return all(
        re.search(rf"\b{letter}\s?[).:\]、．：）]\s*{re.escape(option)}", question) for letter, option in lettered
    )


def _in_order(found: object, column: str) -> Sequence[object]:
    if found is None:
        return ()
    if isinstance(found, list | tuple) and found and all(isinstance(option, dict) for option in found):
        found = _labelled(found)
    if isinstance(found, Mapping) and found.keys() == {"text", "label"}:
        labels, texts = found["label"], found["text"]
        if isinstance(labels, list | tuple) and isinstance(texts, list | tuple) and len(labels) == len(texts):
            found = dict(zip(map(str, labels), texts, strict=True))
    if isinstance(found, Mapping):
        there = {str(key).strip(" ().:").upper(): text for key, text in found.items() if text is not None}
        if sorted(there) != list(LETTERS[: len(there)]):
            raise BadRow(column, "options A, B, C ... without a gap", ", ".join(map(str, found)), _WRITE)
        return [there[letter] for letter in sorted(there)]
    if not isinstance(found, list | tuple):
        raise BadRow(column, "a list of texts", shown(found), _WRITE)
    return found


def _labelled(options: Sequence[Mapping[str, object]]) -> object:
    """`[{"label": "A", "text": "cat"}, ...]` and `[{"A": "cat"}, ...]` as one object; anything else as it is."""
    if all(len(option) == 1 for option in options):
        return {key: text for option in options for key, text in option.items()}
    label = next((name for name in _LABELS if all(name in option for option in options)), None)
    text = next((name for name in _TEXTS if all(name in option for option in options)), None)
    return {str(option[label]): option[text] for option in options} if label and text else options
