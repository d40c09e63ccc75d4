"""A map from our columns to those of a data set, and the values that stand inside others.

A path such as `meta.rationale` goes into objects, `answers.0` into lists, and both into text that holds one as JSON or
as Python shows it. `answers.*` is what most of a list say (the first of those among equals), as VizWiz's ten answers.
"""

import re
from collections import Counter
from collections.abc import Mapping

from firsthand.answers.literals import literal
from firsthand.data.rows import Cells, is_missing


def map_columns(cells: Cells, fields: Mapping[str, str]) -> tuple[Cells, dict[str, str]]:
    """The row with our columns filled, and our names -> theirs for errors.

    A column of theirs that has our name and another meaning is kept as `original_NAME`.
    """
    taken = set(fields.values())
    rest = {f"original_{c}" if c in fields else c: value for c, value in cells.items() if c not in taken}
    found = {ours: lookup(cells, theirs) for ours, theirs in fields.items()}
    return {**rest, **{ours: value for ours, value in found.items() if value is not None}}, dict(fields)


def lookup(cells: Cells, path: str) -> object:
    """What stands at a dotted path; None where nothing does. A column whose own name has dots comes first."""
    if path in cells:
        return cells[path]
    value: object = cells
    for key in path.split("."):
        value = _inside(literal(value), key)
    return None if is_missing(value) else value


def fill_template(template: str, cells: Cells) -> str | None:
    """A column's text, or a template `Objects: {meta.rationale}` with its holes filled; None when one stays empty."""
    paths = re.findall(r"\{([^{}]+)\}", template) or [template]
    values = {path: lookup(cells, path) for path in paths}
    if not all(isinstance(value, str) and value.strip() for value in values.values()):
        return None
    if "{" not in template:
        return str(values[template]).strip()
    return re.sub(r"\{([^{}]+)\}", lambda hole: str(values[hole.group(1)]).strip(), template)


def _inside(value: object, key: str) -> object:
    if isinstance(value, dict):
        return value.get(key)
    if not isinstance(value, list):
        return None
    if key == "*":
        texts = [part.strip() for part in value if isinstance(part, str) and part.strip()]
        return Counter(texts).most_common(1)[0][0] if texts else None
    if value and all(isinstance(part, dict) for part in value) and not key.isdecimal():
        return [part.get(key) for part in value]
    return value[int(key)] if key.isdecimal() and int(key) < len(value) else None
