"""What a benchmark is: a small declarative record, one YAML file each. A suite names several.

    title: LogicVista
    files: [LogicVista]
    rows: 448
    prompt: ["{question}"]
    gold: [{kind: letters}]
    leaderboard: logicvista

docs/evaluation.md has the fields with examples; a file of a user's own is given by its path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from firsthand.config import build, nearest, read_yaml
from firsthand.errors import RecipeError
from firsthand.evaluation.leaderboard.judging import LeaderboardScorer
from firsthand.recipe import Data
from firsthand.records import Coordinates, GrownRecord, Record
from firsthand.reward.text import TextScore

GOLD_RULE = "gold_rule"
"""In an example's `meta`: the number of the rule that its gold was made by."""
DEFINITIONS = Path(__file__).with_name("definitions")

_OF_KIND = {
    **dict.fromkeys(("tolerance", "relative_tolerance"), "digit"),
    **dict.fromkeys(("aliases", "text"), "text"),
    **dict.fromkeys(("coordinates", "answer_coordinates"), "box"),
}
"""Fields of a gold rule -> the kind that they are for."""
When = dict[str, str | tuple[str, ...]]
"""Column -> the text, or one of the texts, that a row must have there; `*` is any, and "" none."""


class PromptPart(Record):
    """A part of a prompt; it is left out where one of its columns is empty, or the row is not meant."""

    text: str
    """Holes are columns, `{question}`; `{options}` are the options, a line each."""
    when: When = Field(default_factory=dict)


class Gold(GrownRecord):
    """How rows of one kind give their gold answer. The first that fits a row holds."""

    _later = frozenset(("relative_tolerance", "aliases", "text", "coordinates", "answer_coordinates"))
    kind: Literal["choice", "letters", "digit", "math", "box", "text"]
    """As in training; `open` has no rule."""
    when: When = Field(default_factory=dict)
    answer: str = "answer"
    """The column of the gold answer; of a choice its letter, or the text of one option."""
    options: str | tuple[str, ...] | None = None
    """A column that holds a list, `A-Z` for a column per letter, or the columns themselves. Rows without any do not
    fit."""
    labels: str | None = None
    """A column with the list of what the file calls its options, where an answer such as `1` is one of these."""
    tolerance: float | None = Field(default=None, gt=0)
    """How far a number may be off; None wants its exact value."""
    relative_tolerance: float | None = Field(default=None, ge=0, lt=1)
    """The same as a share of the number: ChartQA's is 0.05."""
    aliases: str | None = None
    """The column of other texts that are as right."""
    text: TextScore = "exact"
    """What a text earns: as a recipe's `reward.text`."""
    coordinates: Coordinates | None = None
    """What the boxes of replies are measured in."""
    answer_coordinates: Coordinates | None = None
    """What the gold boxes are measured in."""

    @model_validator(mode="after")
    def _one_tolerance(self) -> "Gold":
        if self.tolerance is not None and self.relative_tolerance is not None:
            raise ValueError("give either `tolerance` or `relative_tolerance`")
        for field, kind in _OF_KIND.items():
            if self.kind != kind and field in self.model_fields_set:
                raise ValueError(f"{field}: only a gold of kind {kind} has it, and this one is {self.kind}")
        return self


class Hub(Record):
    """Where the rows are on the Hugging Face hub."""

    repo: str
    split: str | None = None
    """None is all that is there, which must then be one split."""
    files: tuple[str, ...] = ()
    """What to download: patterns of paths; empty is everything."""


class Benchmark(Record):
    """Rows, a prompt, a gold answer, a scorer and an aggregate."""

    name: str = ""
    """The YAML file's own."""
    title: str
    source: str = ""
    """The paper, or where it is described."""
    files: tuple[str, ...] = ()
    """Names in the data folder, without endings: .tsv, .jsonl, .json, .parquet, or a folder in the hub's layout."""
    hub: Hub | None = None
    worlds: Data | None = None
    """Rendered tasks, in place of files; prompt and gold are theirs."""
    rows: int | None = Field(default=None, gt=0)
    """How many rows the published file has; another number is told with every result."""
    columns: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Our column -> theirs, the first that a row has; dotted paths reach inside. Ours is first unless it is listed."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Our column -> theirs, as in a recipe's data: theirs comes first."""
    required: tuple[str, ...] = ()
    """Columns that every row must have, because a scorer reads them."""
    only: When = Field(default_factory=dict)
    """Rows to take; all others are of another part of the file."""
    prompt: tuple[str | PromptPart, ...] = ("{question}",)
    option_line: str = "{letter}. {text}"
    gold: tuple[Gold, ...] = ()
    shuffle: bool = False
    """Show the options in an order drawn for each row, the same for every model."""
    short_answer: str | None = None
    """The key of the reply's JSON that holds its answer."""
    leaderboard: LeaderboardScorer | None = None
    """How VLMEvalKit scores it, where the leaderboard has it."""
    aggregate: Literal["accuracy", "worst", "wemath"] = "accuracy"
    """`worst`: a question counts if all its variants are right. `wemath`: the four-dimensional score."""
    cluster: str | None = None
    """The column that variants of one question share."""
    groups: tuple[str, ...] = ()
    """Columns that get a table of their own."""
    draws: int | None = Field(default=None, gt=0)
    """Sampled replies per row where the protocol samples: 32 gives avg@32."""
    protocol: str = "plain"
    """What is used unless another one is chosen."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Benchmark":
        if (self.worlds is None) == (not self.files):
            raise ValueError("give either `files` or `worlds`")
        if self.files and not self.gold:
            raise ValueError("gold: required with `files`: how a row gives its gold answer")
        if self.aggregate != "accuracy" and self.cluster is None:
            raise ValueError(f"aggregate {self.aggregate!r} needs `cluster`: the column that variants share")
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """How replies are judged and added up, as JSON; all else shows in the rows, or says nothing of a result."""
        always = {"name", "gold", "short_answer"}
        found = self.model_dump(mode="json", include=always | {"leaderboard", "aggregate", "cluster", "groups"})
        default = {name: field.default for name, field in Benchmark.model_fields.items()}
        return {k: v for k, v in found.items() if k in always or getattr(self, k) != default[k]}


class Suite(Record):
    """Several benchmarks, and whether their numbers are averaged."""

    name: str = ""
    title: str
    benchmarks: tuple[str, ...]
    average: bool = False
    """The plain mean of the headline numbers, as the leaderboard gives it with one decimal."""
    protocol: str | None = None
    """For all of them; None leaves each its own."""


def fits(when: When, cells: Mapping[str, str]) -> bool:
    """Whether a row is meant."""
    return all(
        cells.get(column, "") in ((text,) if isinstance(text, str) else text) or (text == "*" and column in cells)
        for column, text in when.items()
    )


def find(name: str) -> tuple[Suite | None, list[Benchmark]]:
    """A benchmark or a suite that ships here, or a YAML file of one. Raises RecipeError naming the nearest."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else DEFINITIONS / f"{name}.yaml"
    if not path.exists():
        raise RecipeError(f"--benchmark {name}: expected one that ships here or a YAML file; {nearest(name, names())}")
    content = read_yaml(path)
    if "benchmarks" in content:
        suite = build(Suite, {**content, "name": path.stem}, str(path))
        return suite, [_read(DEFINITIONS / f"{part}.yaml") for part in suite.benchmarks]
    return None, [_read(path)]


def names() -> list[str]:
    """What ships here."""
    return sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))


def _read(path: Path) -> Benchmark:
    return build(Benchmark, {**read_yaml(path), "name": path.stem}, str(path))
