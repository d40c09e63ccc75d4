"""A map from our columns to those of a data set, and the values that stand inside others.

A path such as `meta.rationale` goes into objects, `answers.0` into lists, and both into text that holds one as JSON or
as Python shows it. `answers.*` is what most of a list say (the first of those among equals), as VizWiz's ten answers;
where there is no list, what stands there.
A template fills its holes, `images/{imageId}.jpg`; what a row lacks is left out of it. `choices[answer]` is the letter
of the option that the number in `answer` counts, from 0; `choices[answer-1]` counts from 1. Of `query|question` the
first that the row has.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from firsthand.answers.letters import LETTERS
from firsthand.answers.literals import cell_text, literal
from firsthand.answers.options import option_texts
from firsthand.data.rows import Cells, is_missing
from firsthand.errors import BadRow, shown

_HOLE = re.compile(r"\{([^{}]+)\}")
_COUNTED = re.compile(r"([^\[\]]+)\[([^\[\]]+?)(-1)?\]")

_NEEDED = {"question", "answer"}


def map_columns(cells: Cells, fields: Mapping[str, str]) -> tuple[Cells, dict[str, str]]:
    """The row with our columns filled, and our names -> theirs for errors. Raises BadRow.

    A column of theirs that has our name and another meaning is kept as `original_NAME`.
    """
    paths = {ours: [theirs] if theirs in cells else theirs.split("|") for ours, theirs in fields.items()}
    taken = {path for some in paths.values() for path in some}
    rest = {f"original_{c}" if c in fields else c: value for c, value in cells.items() if c not in taken}
    found = {ours: _first(cells, some) for ours, some in paths.items()}
    for ours in _NEEDED & fields.keys() & cells.keys():
        if found[ours] is None:  # the row's own column of that name is another one, by the user's word
            remedy = f"fill it in, or correct `fields`: `{ours}` is read from there"
            raise BadRow(ours, "a value", f"nothing (the row has {', '.join(cells)})", remedy).renamed(fields)
    return {**rest, **{ours: value for ours, value in found.items() if value is not None}}, dict(fields)


def lookup(cells: Cells, path: str) -> object:
    """What stands at a dotted path; None where nothing does. A column whose own name has dots comes first."""
    if path in cells:
        value: object = cells[path]
    else:
        value = cells
        for key in path.split("."):
            value = _inside(literal(value), key)
    return None if is_missing(value) else value


def fill_template(template: str, cells: Cells) -> str | None:
    """A column's text, or a template `Objects: {meta.rationale}` with its holes filled; None when one stays empty."""
    texts = _hole_texts(template, cells)
    return _filled(template, texts) if all(texts.values()) else None


def _first(cells: Cells, paths: Sequence[str]) -> object:
    return next((value for path in paths if (value := _find(cells, path)) is not None), None)


def _find(cells: Cells, theirs: str) -> object:
    if theirs in cells:
        return lookup(cells, theirs)
    if "{" in theirs:
        texts = _hole_texts(theirs, cells)
        return _filled(theirs, texts) if any(texts.values()) else None
    counted = _COUNTED.fullmatch(theirs)
    return lookup(cells, theirs) if counted is None else _counted(cells, counted[1], counted[2], int(bool(counted[3])))


def _hole_texts(template: str, cells: Cells) -> dict[str, str]:
    paths = _HOLE.findall(template) or [template]
    return {path: cell_text(lookup(cells, path)) or "" for path in paths}


def _filled(template: str, texts: Mapping[str, str]) -> str:
    return _HOLE.sub(lambda hole: texts[hole[1]], template).strip() if "{" in template else texts[template]


def _counted(cells: Cells, options: str, column: str, first: int) -> str | None:
    value = lookup(cells, column)
    if value is None:
        return None
    texts, number = option_texts(lookup(cells, options), options), cell_text(value) or ""
    index = int(number) - first if number.isdecimal() and len(number) < 4 else -1
    if isinstance(value, bool) or not 0 <= index < min(len(texts), len(LETTERS)):
        expected = f"a number from {first} that counts the {len(texts)} options of `{options}`"
        raise BadRow(column, expected, shown(value), "correct it, or say in `fields` how it counts", "bad_answer")
    return f"({LETTERS[index]})"


def _inside(value: object, key: str) -> object:
    if isinstance(value, dict):
        return value.get(key)
    if not isinstance(value, list):
        return value if key == "*" else None
    if key == "*":
        texts = [part.strip() for part in value if isinstance(part, str) and part.strip()]
        return Counter(texts).most_common(1)[0][0] if texts else None
    if value and all(isinstance(part, dict) for part in value) and not key.isdecimal():
        return [part.get(key) for part in value]
    return value[int(key)] if key.isdecimal() and int(key) < len(value) else None
