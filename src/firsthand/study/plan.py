"""What a study file says: arms, what they share, and what all are evaluated on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from firsthand.config import build, in_todays_names, merge, read_recipe
from firsthand.data.blind import Blind
from firsthand.data.loaded import OnBad
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import read_by
from firsthand.recipe import Data, Recipe
from firsthand.records import Record
from firsthand.reward import Reward


class Test(Record):
    """What every arm is evaluated on, and how."""

    data: Data
    protocol: Protocol = Field(default_factory=Protocol)
    reward: Reward = Field(default_factory=Reward)
    """How every arm's answers are judged, whatever they were trained with; free text needs `open`."""
    blind: tuple[Blind, ...] = ()
    """Evaluate every arm without its pictures, too: what is shown in their place."""

    @model_validator(mode="after")
    def _read_by_its_protocol(self) -> "Test":
        read_by(self.protocol, self.reward)  # before an arm is trained
        if self.blind and self.protocol.blind is not None:
            raise ValueError("blind: expected a protocol that shows the pictures beside it, got one that is blind")
        return self

    def blindly(self, how: Blind) -> "Test":
        """The same test without the pictures."""
        return self.model_copy(update={"protocol": self.protocol.model_copy(update={"blind": how})})


class Study(Record):
    """Arms that differ in what they say, and in nothing else."""

    shared: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    """Name -> what the arm changes; `start` may name another arm. Arms run in this order."""
    evaluation: Test

    @model_validator(mode="before")
    @classmethod
    def _in_todays_names(cls, content: Any) -> Any:
        return in_todays_names(content, where="study") if isinstance(content, dict) else content

    @model_validator(mode="after")
    def _arms_start_from_earlier_ones(self) -> "Study":
        known: list[str] = []
        for name, arm in self.arms.items():
            start = {**self.shared, **arm}.get("start")
            if start is not None and start not in known:
                raise ValueError(
                    f"arm {name!r} starts from {start!r}, which is not an arm above it; above are: {known}"
                )
            known.append(name)
        return self

    @classmethod
    def read(cls, path: Path, assignments: Sequence[str] = ()) -> "Study":
        """Read a study file. Raises RecipeError."""
        return build(cls, read_recipe(path, assignments), str(path))

    def on_bad(self, on_bad: OnBad) -> "Study":
        """The study whose data, that of every arm and of the evaluation, treats bad rows so, whatever the file says."""
        data = self.evaluation.data.model_copy(update={"on_bad": on_bad})
        arms = {name: merge(arm, {"data": {"on_bad": on_bad}}) for name, arm in self.arms.items()}
        return self.model_copy(update={"arms": arms, "evaluation": self.evaluation.model_copy(update={"data": data})})

    def recipe(self, arm: str, seed: int, folders: Mapping[str, Path]) -> Recipe:
        """The recipe of an arm; `folders` holds the finished runs of the arms above it."""
        content = {**merge(self.shared, self.arms[arm]), "name": arm, "seed": seed}
        if content.get("start") is not None:
            content["start"] = str(folders[content["start"]])
        return build(Recipe, content, f"arm {arm}")

    def recipe_from_scratch(self, arm: str, seed: int) -> Recipe:
        """That of an arm, but with the model that its chain of starts began with: as large, and there already."""
        names = {name: Path(name) for name in self.arms}
        wanted = first = self.recipe(arm, seed, names)
        while first.start is not None:
            first = self.recipe(first.start, seed, names)
        return wanted.model_copy(update={"start": None, "model": first.model})
