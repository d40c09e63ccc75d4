"""What a forge is asked to do: sources, teachers, and what each step may be told.

name: charts
sources:
  - {path: charts.jsonl, kind: digit}
teachers:
  default: {base_url: "http://localhost:8000/v1", model: qwen2.5-vl-72b}
  distill: {base_url: "https://api.example.com/v1", model: a-reasoner, key_env: EXAMPLE_KEY}
"""

import logging
import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from firsthand.config import nearest
from firsthand.data.source import Source
from firsthand.forge.collect import CollectConfig
from firsthand.forge.rewrite import RewriteConfig
from firsthand.forge.split import SplitConfig
from firsthand.forge.verify import VerifyConfig
from firsthand.records import Record
from firsthand.teacher import Budget, Endpoint
from firsthand.worlds import WORLDS

_LOG = logging.getLogger(__name__)

Export = Literal["trl", "vlaa"]
EXPORTS: tuple[Export, ...] = ("trl", "vlaa")

ASKING_STEPS = ("caption", "distill", "rewrite", "verify")
"""The steps that ask a teacher."""


class WorldsSource(Record):
    """Rendered tasks, for a forge that needs no data."""

    worlds: tuple[str, ...] = Field(min_length=1)
    """Families, in equal parts; each is a source of its own name."""
    split: Literal["train", "validation", "test"] = "train"
    number: int = Field(default=512, gt=0)
    """Rows in all."""
    seed: int = 0

    @field_validator("worlds")
    @classmethod
    def _known(cls, worlds: tuple[str, ...]) -> tuple[str, ...]:
        for name in worlds:
            if name not in WORLDS:
                raise ValueError(f"unknown world {name!r}; {nearest(name, WORLDS)}")
        return worlds


class Simulated(Record):
    """The teacher inside: it knows what is drawn, writes doubtful and sometimes wrong traces, and costs nothing."""

    scenes: Literal[True]


def _either(key: str, model: type[Record], other: str) -> Discriminator:
    """`key` where a value is of the model, or a mapping with the key; else `other`."""
    return Discriminator(
        lambda value: key if isinstance(value, model) or (isinstance(value, dict) and key in value) else other
    )


AnySource = Annotated[
    Annotated[WorldsSource, Tag("worlds")] | Annotated[Source, Tag("rows")], _either("worlds", WorldsSource, "rows")
]
AnyTeacher = Annotated[
    Annotated[Simulated, Tag("scenes")] | Annotated[Endpoint, Tag("endpoint")], _either("scenes", Simulated, "endpoint")
]


class ForgeConfig(Record):
    """A forge."""

    name: str
    sources: tuple[AnySource, ...] = Field(min_length=1)
    teachers: dict[str, AnyTeacher]
    """Step -> who is asked; `default` is for the steps that are not named."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """Step -> a template of your own, in place of the one that ships."""
    budget: Budget = Field(default_factory=Budget)
    """Over all steps, earlier runs of this forge included."""
    exports: tuple[Export, ...] = ()
    """Copies of the data set in other formats: `trl`, `vlaa`."""
    collect: CollectConfig = Field(default_factory=CollectConfig)
    rewrite: RewriteConfig = Field(default_factory=RewriteConfig)
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "views" not in given:
            return given
        if "exports" in given:
            raise ValueError("views is now exports, and both are given; leave views out")
        _LOG.warning("views is now exports; the old name is read for one more version")
        return {"exports" if key == "views" else key: value for key, value in given.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> "ForgeConfig":
        if re.search(r"[^\w.+-]", self.name):
            raise ValueError(f"name {self.name!r} becomes a folder: use letters, digits, '.', '+', '-' and '_'")
        for key, known in (("teachers", ("default", *ASKING_STEPS)), ("prompts", ASKING_STEPS)):
            for step in getattr(self, key):
                if step not in known:
                    raise ValueError(f"{key}.{step}: unknown step; {nearest(step, known)}")
        alone = [step for step in self.asking_steps if step not in self.teachers]
        if alone and "default" not in self.teachers:
            raise ValueError(f"teachers: nobody is there for {', '.join(alone)}; name one each, or a `default`")
        names = [name for name, _ in self.named_sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources: {twice} are there twice; give each a `name` of its own")
        for key, named in (("collect.unique_images", self.collect.unique_images), ("split.quotas", self.split.quotas)):
            for name in named:
                if name not in names:
                    raise ValueError(f"{key}: unknown source {name!r}; {nearest(name, names)}")
        return self

    @property
    def named_sources(self) -> list[tuple[str, AnySource]]:
        """Every source with its name, in order; worlds have several."""
        return [(n, s) for s in self.sources for n in (s.worlds if isinstance(s, WorldsSource) else (s.name,))]

    @property
    def row_sources(self) -> list[Source]:
        """The sources that are no worlds."""
        return [source for source in self.sources if isinstance(source, Source)]

    @property
    def asking_steps(self) -> list[str]:
        """The steps that ask a teacher, in this forge."""
        return [step for step in ASKING_STEPS if step != "verify" or self.verify.judge]

    def teacher(self, step: str) -> AnyTeacher:
        """Who is asked in a step."""
        return self.teachers.get(step) or self.teachers["default"]
