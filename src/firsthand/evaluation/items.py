"""A benchmark's files -> examples: every row checked, none left out, none twice.

An example's `meta` holds the row's cells as text, for prompts, golds and scorers alike; its id is the row's index.
"""

import csv
import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

from firsthand.errors import DataError
from firsthand.evaluation.benchmark import Benchmark, Gold, Text, fits
from firsthand.records import Answer, Choice, Digit, Example, Expression, OpenEnded, Picture, content_id
from firsthand.reward.numerals import read_number
from firsthand.sources.answers import LETTERS, plain_text
from firsthand.sources.fields import literal, lookup
from firsthand.sources.formats import data_rows
from firsthand.sources.images import Limits, PictureDoor
from firsthand.sources.rows import BadRow, Cells, Row, collect, is_missing, shown
from firsthand.sources.vlmevalkit import rows_as_they_are

ENDINGS = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
LETTERED = "A-Z"
"""In a benchmark's `options`: a column per letter."""
_PICTURES = ("image", "images", "image_path")


def default_root() -> Path:
    """VLMEvalKit's data folder: $LMUData, or ~/LMUData."""
    return Path(os.environ.get("LMUData") or Path.home() / "LMUData")  # noqa: SIM112 - its own spelling


def locate(benchmark: Benchmark, root: Path) -> str:
    """The file of a benchmark, or its folder as FOLDER:SPLIT. Raises DataError saying what was looked for."""
    for stem in benchmark.files:
        given = [Path(stem)] if Path(stem).suffix else []
        for file in (*given, *(root / f"{stem}{ending}" for ending in ENDINGS)):
            if file.is_file():
                return str(file)
    split = f":{benchmark.hub.split}" if benchmark.hub and benchmark.hub.split else ""
    for place in (*(root / stem for stem in benchmark.files), *_downloaded(benchmark, root)):
        if place.exists():
            return str(place) if place.is_file() else f"{place}{split}"
    raise DataError(_not_there(benchmark, root))


def hub_folder(benchmark: Benchmark, root: Path) -> Path:
    """Where a download from the hub lies."""
    assert benchmark.hub is not None
    return root / benchmark.hub.repo.rpartition("/")[2]


def download(benchmark: Benchmark, root: Path) -> None:
    """Get a benchmark's files from the hub, unless they are there. Raises DataError when the hub cannot be reached."""
    try:
        locate(benchmark, root)
    except DataError:
        if benchmark.hub is None:
            raise
        _fetch(benchmark, root)


def _fetch(benchmark: Benchmark, root: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    assert benchmark.hub is not None
    try:
        snapshot_download(
            benchmark.hub.repo,
            repo_type="dataset",
            allow_patterns=list(benchmark.hub.files) or None,
            local_dir=hub_folder(benchmark, root),
        )
    except (OSError, HfHubHTTPError) as error:
        raise DataError(
            f"{benchmark.name}: expected {benchmark.hub.repo} from the hub, got: {str(error)[:200]}; put the file into "
            f"{root} yourself"
        ) from error


def _downloaded(benchmark: Benchmark, root: Path) -> list[Path]:
    """The places of the hub's files: a file itself, or the folder of those that a pattern means."""
    if benchmark.hub is None:
        return []
    folder = hub_folder(benchmark, root)
    return [folder / (name if "*" not in name else str(Path(name).parent)) for name in benchmark.hub.files or ("",)]


def load(benchmark: Benchmark, spec: str) -> list[Example]:
    """The examples of a benchmark's file, in order. Raises DataError naming file, row, column and remedy."""
    reader = _Reader(benchmark)
    reads = {".tsv": rows_as_they_are, ".csv": _csv_rows}.get(Path(spec).suffix)
    rows = data_rows(spec) if reads is None else reads(Path(spec))
    examples = collect(reader.chosen(rows), spec, reader.example)
    if not examples:
        raise DataError(f"{spec}: expected rows of {benchmark.title}, got none{_of(benchmark)}; check the file")
    return examples


@final
class _Reader:
    """Turns rows into examples; remembers indices, checked pictures and how often a cluster came."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._door = PictureDoor(Limits())
        self._places: dict[str, str] = {}
        self._variants: Counter[str] = Counter()

    def chosen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that the benchmark takes, in its columns; bad ones pass."""
        for row in rows:
            if isinstance(row.cells, BadRow):
                yield row
                continue
            cells = self._renamed(row.cells)
            if fits(self._benchmark.only, {c: v for c, v in cells.items() if isinstance(v, str)}):
                yield row._replace(cells=cells)

    def example(self, row: Row) -> Example:
        """The row as an example. Raises BadRow on the first thing that is wrong with it."""
        if isinstance(row.cells, BadRow):
            raise row.cells
        cells = {c: _as_text(v) for c, v in row.cells.items() if c not in _PICTURES and not is_missing(v)}
        index = self._index(cells, row)
        cluster = self._benchmark.cluster
        if cluster is not None:
            self._variants[needed(cells, cluster)] += 1
            cells.setdefault("varid", str(self._variants[cells[cluster]]))
        options = {str(gold.options): _options(gold, cells) for gold in self._benchmark.gold}
        gold = self._benchmark.gold_for(cells, options)
        if gold is None:
            conditions = sorted({column for gold in self._benchmark.gold for column in gold.when})
            got = ", ".join(f"{column} {shown(cells.get(column))}" for column in conditions) or "no options"
            raise BadRow(
                conditions[0] if conditions else "answer",
                f"a row that one of {self._benchmark.name}'s gold rules fits",
                got,
                "correct the cell, or add a rule",
            )
        answer, shown_options = self._answer(gold, cells, options[str(gold.options)], index)
        cells["gold"] = str(self._benchmark.gold.index(gold))
        return Example(
            id=f"{self._benchmark.name}/{index}",
            question=prompt(self._benchmark, cells, shown_options),
            images=self._pictures(row),
            answer=answer,
            family=cells.get(self._benchmark.groups[0], "") if self._benchmark.groups else "",
            meta=cells,
        )

    def _renamed(self, cells: Cells) -> Cells:
        found = {}
        for ours, theirs in self._benchmark.columns.items():
            values = (lookup(cells, path) for path in theirs)
            value = next((v for v in values if v is not None), None)
            if ours not in cells and value is not None:
                found[ours] = value
        return {**cells, **found}

    def _index(self, cells: Mapping[str, str], row: Row) -> str:
        index = cells.get("index") or str(row.number)
        earlier = self._places.setdefault(index, row.place)
        if earlier != row.place:
            raise BadRow(
                "index", "an index that no other row has", f"{shown(index)}, which {earlier} has", "number anew"
            )
        return index

    def _answer(
        self, gold: Gold, cells: dict[str, str], options: tuple[str, ...], index: str
    ) -> tuple[Answer, tuple[str, ...]]:
        """The typed gold, and the options in the order that they are shown in."""
        text = needed(cells, gold.answer)
        if gold.kind == "choice":
            choice = Choice(letter=_letter(text, options, gold.answer), options=options)
            if self._benchmark.shuffle:
                choice = shuffled(choice, content_id(self._benchmark.name, index))
            cells["answer_option"] = choice.letter
            return choice, choice.options
        if gold.kind == "digit":
            if read_number(text) is None:
                raise BadRow(gold.answer, "a number", shown(text), "correct it, or give the row a rule of kind `math`")
            return Digit(value=text), options
        return (Expression(latex=text) if gold.kind == "math" else OpenEnded(reference=text)), options

    def _pictures(self, row: Row) -> tuple[Picture, ...]:
        assert isinstance(row.cells, dict)
        column = next((c for c in _PICTURES if not is_missing(row.cells.get(c))), None)
        if column is None:
            return ()
        value = row.cells[column]
        values = value if isinstance(value, list) else [value]
        folder = row.folder
        nested = folder / "images" / Path(row.file).stem  # where VLMEvalKit unpacks pictures
        if column == "image_path" and isinstance(values[0], str) and not (folder / values[0]).exists():
            folder = nested if nested.is_dir() else folder
        return tuple(self._door.admit(v, folder, column) for v in values)


def prompt(benchmark: Benchmark, cells: Mapping[str, str], options: tuple[str, ...]) -> str:
    """What the model is asked. Raises BadRow when a row lacks the column of a part that it needs."""
    lines = [
        benchmark.option_line.replace("{letter}", letter).replace("{text}", text)
        for letter, text in zip(LETTERS[: len(options)], options, strict=True)
    ]
    values = {**cells, **({"options": "\n".join(lines)} if lines else {})}
    said = []
    for part in benchmark.prompt:
        text = part if isinstance(part, Text) else Text(text=part)
        names = re.findall(r"\{(\w+)\}", text.text)
        if "question" in names:
            needed(cells, "question")
        if fits(text.when, cells) and all(name in values for name in names):
            said.append(re.sub(r"\{(\w+)\}", lambda hole: values[hole[1]], text.text))
    return "".join(said)


def shuffled(choice: Choice, name: str) -> Choice:
    """The options in an order drawn for that name, and the letter that the right one has there."""
    order = list(range(len(choice.options)))
    random.Random(name).shuffle(order)
    right = order.index(LETTERS.index(choice.letter))
    return Choice(letter=LETTERS[right], options=tuple(choice.options[i] for i in order))


def needed(cells: Mapping[str, str], column: str) -> str:
    """What stands in a column. Raises BadRow."""
    if column not in cells:
        got = f"nothing (the row has {', '.join(cells) or 'no values'})"
        raise BadRow(
            column, "a value", got, "fill it in, or name the column that holds it in the benchmark's `columns`"
        )
    return cells[column]


def _letter(text: str, options: tuple[str, ...], column: str) -> str:
    """The gold letter, given as one or as the text of one option."""
    known = LETTERS[: len(options)] if options else LETTERS
    if len(text) == 1 and text in known:
        return text
    same = [letter for letter, option in zip(known[: len(options)], options, strict=True) if option == text]
    if len(same) != 1:
        expected = f"a letter from A to {known[-1]}, or the text of one option"
        raise BadRow(column, expected, shown(text), "correct the answer or the options")
    return same[0]


def _options(gold: Gold, cells: Mapping[str, str]) -> tuple[str, ...]:
    if gold.options is None:
        return ()
    if isinstance(gold.options, tuple):
        return tuple(cells[column] for column in gold.options if column in cells)
    if gold.options == LETTERED:
        found = [letter for letter in LETTERS if letter in cells]
        if found != list(LETTERS[: len(found)]):
            raise BadRow("options", "options A, B, C ... without a gap", ", ".join(found), "fill them in")
        return tuple(cells[letter] for letter in found)
    value = literal(cells.get(gold.options, "[]"))
    if not isinstance(value, list):
        raise BadRow(gold.options, "a list of options", shown(value), 'write a list such as ["red", "blue"]')
    return tuple(text for text in (plain_text(v) for v in value) if text is not None)


def _as_text(value: Any) -> str:
    """A cell as the TSV would have it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return plain_text(value) or str(value)


def _of(benchmark: Benchmark) -> str:
    return f" with {', '.join(f'{c} {v!r}' for c, v in benchmark.only.items())}" if benchmark.only else ""


def _not_there(benchmark: Benchmark, root: Path) -> str:
    names = ", ".join(f"{stem}.tsv" for stem in benchmark.files)
    said = (
        f"{benchmark.name}: expected {names} (or .jsonl, .json, .parquet, or a folder of that name) in {root}, "
        "got none; put VLMEvalKit's table there, or name its folder with --data-root"
    )
    if benchmark.hub is None:
        return said
    return f"{said}; --download gets it from the hub ({benchmark.hub.repo}, into {hub_folder(benchmark, root)})"


def _csv_rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV file, counted from 1 below the header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, cells in enumerate(csv.DictReader(file, strict=True), start=1):
                found = {column: value for column, value in cells.items() if value}
                yield Row(f"{path.name} row {number}", path.parent, found, path.name, number)
    except (OSError, UnicodeDecodeError, csv.Error) as broken:
        raise DataError(f"{path}: expected a readable CSV file in UTF-8, got: {broken}; export it again") from broken
