"""One row -> one Example: the part that all sources share. No filtering and no judgement, only what the row says.

The columns are `question`, `answer`, `image` or `images`, and, where the data has them, `kind`, `choices` or
`options`, `id`, `family`, `system`, `trace` or `solution`. All others go to `Example.meta`.
"""

import difflib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain

from firsthand.answers.boxes import box_text
from firsthand.answers.ground_truth import BESIDE, typed_answer
from firsthand.answers.letters import LETTERS
from firsthand.answers.options import option_texts, shows_options
from firsthand.data.images import PictureLoader
from firsthand.data.rows import Cells, Row, is_missing
from firsthand.data.text import PICTURE_COLUMNS
from firsthand.errors import BadRow, shown
from firsthand.records import IMAGE_MARK, Answer, Box, Choice, Example, Letters, Picture, Trace

_LOG = logging.getLogger(__name__)
TRACE_STYLE = "plain"
"""The style of a demonstration that a user brings: the one a recipe takes unless it says otherwise."""

_ROW_COLUMNS = (
    *("question", "answer", *PICTURE_COLUMNS, "kind", "choices", "options"),
    *("id", "family", "system", "trace", "solution"),
)
PLAIN_COLUMNS = (*_ROW_COLUMNS, *chain.from_iterable(BESIDE.values()))
"""Our names of columns: all others go to `Example.meta`, and so do those of another kind of answer."""
_LOOKALIKES = {
    *("image_path", "image_paths", "image_file", "image_name", "image_id", "image_url", "imgname", "img", "imgs"),
    *("img_path", "picture", "pictures", "photo"),
}


_LIKELY = {
    "question": ("text", "ask", "input", "user", "question_text"),
    "answer": ("gold", "label", "answers", "target", "output", "response", "correct_answer", "answerkey", "caption"),
}
"""What others call these columns, in small letters; only to guess what a user meant."""


class RowReader:
    """Turns rows into examples; remembers checked pictures and the columns that could not be kept."""

    def __init__(self, loader: PictureLoader, kind: str | None) -> None:
        self._loader = loader
        self._kind = kind
        self._ignored: dict[str, str] = {}
        """Column -> type of its first value that JSON cannot hold."""

    def example(self, cells: Cells, row: Row) -> Example:
        """The row as an Example; its cells were checked. Raises BadRow on the first thing that is wrong with it."""
        _refuse_lookalikes(cells)
        cells = {column: value for column, value in cells.items() if not is_missing(value)}
        pictures = self._pictures(cells, row)
        options = _options(cells)
        # Of a box, so that a reply in other units can be converted.
        size = [pictures[0].width, pictures[0].height] if len(pictures) == 1 else None
        answer = typed_answer(_needed(cells, "answer"), cells.get("kind", self._kind), options, size, cells)
        shown_options = answer.options if isinstance(answer, Choice | Letters) else ()
        question = placed(with_options(_needed_text(cells, "question"), shown_options), len(pictures))
        demonstration, other = ("trace", "solution") if "trace" in cells else ("solution", "trace")
        read = (*_ROW_COLUMNS, *BESIDE.get(answer.kind, ()))
        return Example(
            id=_identity(cells),
            question=question,
            images=pictures,
            answer=answer,
            family=_text(cells, "family"),
            system=_text(cells, "system") or None,
            traces=_traces(cells, demonstration, answer),
            meta=self._meta({c: v for c, v in cells.items() if c not in read or c == other}),
        )

    def warn_of_ignored(self, spec: str) -> None:
        """Name the columns that could not be kept, if any, in the log."""
        if self._ignored:
            columns = ", ".join(f"{column} ({kind_of})" for column, kind_of in sorted(self._ignored.items()))
            _LOG.warning("%s: columns that JSON cannot hold are not kept in meta: %s", spec, columns)

    def _pictures(self, cells: Cells, row: Row) -> tuple[Picture, ...]:
        column = _one_of(cells, "image", "images")
        value = cells.get(column)
        if not isinstance(value, list | tuple):
            return () if value is None else (self._loader.load(value, row.folder, column),)
        return tuple(self._loader.load(v, row.folder, f"{column}[{i}]") for i, v in enumerate(value))

    def _meta(self, rest: Cells) -> Cells:
        kept = {column: value for column, value in rest.items() if is_json(value)}
        for column in rest.keys() - kept.keys():
            self._ignored.setdefault(column, type(rest[column]).__name__)
        return kept


def is_json(value: object) -> bool:
    """Whether JSON can hold a value exactly; NaN and infinities are not JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(v) for key, v in value.items())
    if isinstance(value, list):
        return all(is_json(v) for v in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def placed(question: str, pictures: int) -> str:
    """The question in normal form: pictures come first, or each stands where its `<image>` mark is.

    A question without marks, and one that begins with all of them, mean the same, so the latter loses its marks.
    Raises BadRow when there are marks, but not one per picture.
    """
    marks = question.count(IMAGE_MARK)
    if marks not in (0, pictures):
        got = f"{marks} {'mark' if marks == 1 else 'marks'} and {pictures} {'image' if pictures == 1 else 'images'}"
        remedy = "add what is missing, or remove all marks to put the images first"
        raise BadRow("question", f"one {IMAGE_MARK} mark per image, or none", got, remedy)
    rest = re.sub(rf"^(\s*{IMAGE_MARK})+", "", question)
    text = (question if IMAGE_MARK in rest else rest).strip()
    if not text.replace(IMAGE_MARK, "").strip():
        raise BadRow("question", "a question", shown(question), "fill it in")
    return text


def with_options(question: str, options: Sequence[str]) -> str:
    """The question with its options as lines `A) text`, unless it shows them all in such a way already.

    A choice whose options stand only in a column of their own could not be answered by anyone.
    """
    if shows_options(question, options):
        return question
    lettered = zip(LETTERS[: len(options)], options, strict=True)
    return "\n".join([question, *(f"{letter}) {option}" for letter, option in lettered)])


def _traces(cells: Cells, column: str, answer: Answer) -> tuple[Trace, ...]:
    """A demonstration that ends in its answer block; worked steps without one get the gold answer as theirs.

    Raises BadRow when there is an `<answer>` block that is unfinished, not the only one, or not at the end.
    """
    text = _text(cells, column)
    if not text:
        return ()
    if "<answer>" not in text and "</answer>" not in text:
        steps = text if "<think>" in text else f"<think>\n{text}\n</think>"
        gold = box_text(answer, answer.coordinates or "auto") if isinstance(answer, Box) else answer.text
        text = f"{steps}\n<answer>{gold}</answer>"
    elif (text.count("<answer>"), text.count("</answer>")) != (1, 1) or not text.endswith("</answer>"):
        remedy = "leave the tags out, and the gold answer is added as the last block"
        raise BadRow(column, "one <answer>...</answer> block, at the end", shown(text[-60:]), remedy)
    return (Trace(style=TRACE_STYLE, text=text),)


def _options(cells: Cells) -> tuple[str, ...]:
    column = _one_of(cells, "choices", "options")
    texts = option_texts(cells.get(column), column)
    if not all(texts):
        raise BadRow(column, "a list of texts", shown(list(texts)), "fill in what is empty")
    if len(texts) > len(LETTERS):
        raise BadRow(column, f"a list of at most {len(LETTERS)} texts", f"{len(texts)} texts", "correct the list")
    return texts


def _identity(cells: Cells) -> str:
    value = cells.get("id", "")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise BadRow("id", "text or a whole number", shown(value), "correct it, or leave the column out")


def _text(cells: Cells, column: str) -> str:
    value = cells.get(column, "")
    if not isinstance(value, str):
        raise BadRow(column, "text", shown(value), "write it as a string")
    return value.strip()


def _needed(cells: Cells, column: str) -> object:
    if column in cells:
        return cells[column]
    near = difflib.get_close_matches(column, cells.keys(), n=1) or [c for c in cells if c.lower() in _LIKELY[column]]
    inside = next((c for c, v in cells.items() if isinstance(v, list) and v and isinstance(v[0], dict)), None)
    remedy = f"fill it in, or say which column holds it: fields: {{{column}: ...}}"
    if near:
        remedy = f"rename the column `{near[0]}`, or say fields: {{{column}: {near[0]}}}"
    elif inside is not None:
        remedy = f"make the list in `{inside}` the file's only content, if it holds the rows"
    raise BadRow(column, "a value", f"nothing (the row has {', '.join(cells) or 'no values'})", remedy)


def _needed_text(cells: Cells, column: str) -> str:
    _needed(cells, column)
    text = _text(cells, column)
    if not text:
        raise BadRow(column, "text", "empty text", "fill it in")
    return text


def _one_of(cells: Cells, first: str, second: str) -> str:
    if first in cells and second in cells:
        raise BadRow(first, f"either `{first}` or `{second}`", "both", "keep one of the two columns")
    return second if second in cells else first


def _refuse_lookalikes(cells: Mapping[str, object]) -> None:
    """A misspelt picture column must not turn a visual question into a text-only one without a word."""
    if any(column in cells for column in PICTURE_COLUMNS):
        return
    for column, value in cells.items():
        word = column.lower()
        if isinstance(value, dict):
            value = value.get("bytes")
        if (
            isinstance(value, bytes)
            or word in _LOOKALIKES
            or difflib.get_close_matches(word, PICTURE_COLUMNS, n=1, cutoff=0.8)
        ):
            got = f"a column `{column}`"
            remedy = f"rename the column, or say fields: {{image: {column}}}"
            raise BadRow(column, "pictures in `image` or `images`", got, remedy, "bad_image")
