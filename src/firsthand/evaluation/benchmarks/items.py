"""A benchmark's files -> examples: every row checked, none left out, none twice.

An example's `meta` holds the row's cells as text, for prompts, ground truths and scorers; its id is the row's index.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from firsthand.answers.ground_truth import typed_answer
from firsthand.answers.letters import LETTERS
from firsthand.answers.literals import cell_text, literal
from firsthand.answers.options import option_texts
from firsthand.data.fields import lookup, map_columns
from firsthand.data.images import PictureLimits, PictureLoader
from firsthand.data.loaded import collect
from firsthand.data.rows import Cells, Row, is_missing
from firsthand.errors import BadRow, DataError, shown
from firsthand.evaluation.benchmarks.files import benchmark_rows, named
from firsthand.evaluation.benchmarks.spec import GOLD_RULE, Benchmark, Gold, PromptPart, fits
from firsthand.evaluation.leaderboard.prompts import fill
from firsthand.records import Answer, Choice, Example, Letters, Picture, content_id

_PICTURES = ("image", "images", "image_path")


def load(benchmark: Benchmark, files: Sequence[Path]) -> list[Example]:
    """The examples of a benchmark's files, in order. Raises DataError naming file, row, column and remedy."""
    reader = _Reader(benchmark)
    examples = collect(reader.chosen(benchmark_rows(files)), named(files), reader.example)
    if not examples:
        only = f" with {', '.join(f'{c} {v!r}' for c, v in benchmark.only.items())}" if benchmark.only else ""
        raise DataError(f"{named(files)}: expected rows of {benchmark.title}, got none{only}; check the file")
    return examples


@final
class _Reader:
    """Turns rows into examples; remembers indices, checked pictures and how often a cluster came."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._loader = PictureLoader(PictureLimits())
        self._places: dict[str, str] = {}
        self._variants: Counter[str] = Counter()

    def chosen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that the benchmark takes, in its columns; bad ones pass."""
        for row in rows:
            if isinstance(row.cells, BadRow):
                yield row
                continue
            try:
                cells = self._renamed(row.cells)
            except BadRow as bad:
                yield row._replace(cells=bad)
                continue
            if fits(self._benchmark.only, {c: v for c, v in cells.items() if isinstance(v, str)}):
                yield row._replace(cells=cells)

    def example(self, row: Row) -> Example:
        """The row as an example. Raises BadRow on the first thing that is wrong with it."""
        if isinstance(row.cells, BadRow):
            raise row.cells
        cells = {c: _as_text(v) for c, v in row.cells.items() if c not in _PICTURES}
        index = self._index(cells, row)
        for column in self._benchmark.required:
            if column != "image":  # pictures are no text; _pictures looks for them
                needed(cells, column)
        cluster = self._benchmark.cluster
        if cluster is not None:
            self._variants[needed(cells, cluster)] += 1
            cells.setdefault("varid", str(self._variants[cells[cluster]]))
        rules = self._benchmark.gold
        choices = [_options(gold, cells) for gold in rules]
        fitting = (i for i, gold in enumerate(rules) if fits(gold.when, cells) and (gold.options is None or choices[i]))
        rule = next(fitting, None)
        if rule is None:
            conditions = sorted({column for gold in rules for column in gold.when})
            raise BadRow(
                conditions[0] if conditions else "answer",
                f"a row that one of {self._benchmark.name}'s gold rules fits",
                ", ".join(f"{column} {shown(cells.get(column))}" for column in conditions) or "no options",
                "correct the cell, or add a rule",
            )
        pictures = self._pictures(row)
        size = (pictures[0].width, pictures[0].height) if len(pictures) == 1 else None
        answer = self._answer(rules[rule], cells, choices[rule], index, size)
        cells[GOLD_RULE] = str(rule)
        return Example(
            id=f"{self._benchmark.name}/{index}",
            question=prompt(self._benchmark, cells, answer.options if isinstance(answer, Choice) else choices[rule]),
            images=pictures,
            answer=answer,
            family=cells.get(self._benchmark.groups[0], "") if self._benchmark.groups else "",
            meta=cells,
        )

    def _renamed(self, cells: Cells) -> Cells:
        """The row with our columns filled; empty cells are absent, as in a table. Pictures stand under ours only.

        Raises BadRow.
        """
        cells, _ = map_columns(cells, self._benchmark.fields)
        cells = {column: v for column, v in cells.items() if not is_missing(v) and v != ""}
        columns = self._benchmark.columns
        found: Cells = {}
        for ours, theirs in columns.items():
            for path in theirs if ours in theirs else (ours, *theirs):
                if ours not in found and (value := lookup(cells, path)) is not None:
                    found[ours] = value
        moved = {path for ours in _PICTURES for path in columns.get(ours, ())}
        return {**{column: v for column, v in cells.items() if column not in moved}, **found}

    def _index(self, cells: Mapping[str, str], row: Row) -> str:
        index = cells.get("index") or str(len(self._places) + 1)  # of all files: each shard counts its own rows from 1
        earlier = self._places.setdefault(index, row.place)
        if earlier != row.place:
            got = f"{shown(index)}, which {earlier} has"
            raise BadRow("index", "an index that no other row has", got, "number anew")
        return index

    def _answer(
        self, gold: Gold, cells: dict[str, str], options: tuple[str, ...], index: str, size: tuple[int, int] | None
    ) -> Answer:
        """The typed ground truth; the options of a choice stand in the order that they are shown in."""
        text = needed(cells, gold.answer)
        if gold.kind == "choice":
            text = _chosen(text, options, gold, cells)
        has_options = gold.kind in ("choice", "letters")
        beside = {
            "tolerance": gold.relative_tolerance,
            "aliases": cells.get(gold.aliases) if gold.aliases else None,
            "coordinates": gold.coordinates,
            "answer_coordinates": gold.answer_coordinates,
        }
        try:
            answer = typed_answer(text, gold.kind, options if has_options else (), size, beside, distinct=False)
        except BadRow as bad:
            raise bad.renamed({"answer": gold.answer, "aliases": gold.aliases or "aliases"}) from bad
        if isinstance(answer, Letters):
            answer = answer.model_copy(update={"options": options})
        if isinstance(answer, Choice):
            answer = Choice(letter=answer.letter, options=options)  # as the file writes them: so does the prompt
            if self._benchmark.shuffle:
                order = list(range(len(options)))
                random.Random(content_id(self._benchmark.name, index)).shuffle(order)
                right = order.index(LETTERS.index(answer.letter))
                answer = Choice(letter=LETTERS[right], options=tuple(options[i] for i in order))
            cells["answer_option"] = answer.letter
        return answer

    def _pictures(self, row: Row) -> tuple[Picture, ...]:
        assert isinstance(row.cells, dict)
        column = next((c for c in _PICTURES if not is_missing(row.cells.get(c))), None)
        if column is None:
            if "image" in self._benchmark.required:
                raise BadRow("image", "a picture", "none", "fill it in: without it the question is another one")
            return ()
        value = row.cells[column]
        values = value if isinstance(value, list) else [value]
        folder = row.folder
        nested = folder / "images" / Path(row.file).stem  # where VLMEvalKit unpacks pictures
        paths = [v for v in values if isinstance(v, str) and len(v) < 1024]  # longer ones are no paths but base64
        if paths and nested.is_dir() and not (folder / paths[0]).exists():
            folder = nested
        return tuple(self._loader.load(v, folder, column) for v in values)


def prompt(benchmark: Benchmark, cells: Mapping[str, str], options: tuple[str, ...]) -> str:
    """What the model is asked. Raises BadRow when a row lacks the column of a part that it needs."""
    lines = [
        benchmark.option_line.replace("{letter}", letter).replace("{text}", text)
        for letter, text in zip(LETTERS[: len(options)], options, strict=True)
    ]
    values = {column: value for column, value in cells.items() if column != "options"}
    values |= {"options": "\n".join(lines)} if lines else {}
    said = []
    for part in benchmark.prompt:
        text = part if isinstance(part, PromptPart) else PromptPart(text=part)
        names = re.findall(r"\{(\w+)\}", text.text)
        if "question" in names:
            needed(cells, "question")
        if fits(text.when, cells) and all(name in values for name in names):
            said.append(fill(text.text, **values))
    return "".join(said)


def needed(cells: Mapping[str, str], column: str) -> str:
    """What stands in a column. Raises BadRow."""
    if column not in cells:
        got = f"nothing (the row has {', '.join(cells) or 'no values'})"
        remedy = "fill it in, or name the column that holds it in the benchmark's `columns`"
        raise BadRow(column, "a value", got, remedy)
    return cells[column]


def _chosen(text: str, options: tuple[str, ...], gold: Gold, cells: Mapping[str, str]) -> str:
    """The answer of a choice, its letter in brackets where the file gives a letter or a label of its own.

    In brackets, a letter is not taken for an option of that text. Where options are columns, the answer is the text of
    one. Raises BadRow.
    """
    if isinstance(gold.options, tuple):
        places = [i for i, option in enumerate(options) if option == text]
        if len(places) != 1:
            raise BadRow(gold.answer, "the text of one option", shown(text), "correct the answer or the options")
        return f"({LETTERS[places[0]]})"
    labels = literal(cells.get(gold.labels, "[]")) if gold.labels else []
    places = [i for i, label in enumerate(labels if isinstance(labels, list) else []) if cell_text(label) == text]
    if len(places) != 1 and len(text) == 1 and text in LETTERS[: len(options) or None]:
        places = [LETTERS.index(text)]
    return f"({LETTERS[places[0]]})" if len(places) == 1 else text


def _options(gold: Gold, cells: Mapping[str, str]) -> tuple[str, ...]:
    if gold.options is None:
        return ()
    if isinstance(gold.options, tuple):
        there = [column for column in gold.options if column in cells]
        if there and len(there) < len(gold.options):
            absent = next(column for column in gold.options if column not in cells)
            raise BadRow(absent, "an option, as in the other columns", "nothing", "fill it in")
        return tuple(cells[column] for column in there)
    if gold.options == "A-Z":  # a column per letter
        found = [letter for letter in LETTERS if letter in cells]
        if found != list(LETTERS[: len(found)]):
            raise BadRow("options", "options A, B, C ... without a gap", ", ".join(found), "fill them in")
        return tuple(cells[letter] for letter in found)
    return option_texts(cells.get(gold.options), gold.options, distinct=False)


def _as_text(value: Any) -> str:
    """A cell as the TSV would have it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return cell_text(value) or str(value)
