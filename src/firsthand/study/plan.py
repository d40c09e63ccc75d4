"""What a study file says: arms, what they share, and what all are evaluated on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from firsthand.config import build, in_todays_names, merge, nearest, read_recipe
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


Measure = Literal["greedy", "sampled"]


class StudyQuestion(Record):
    """What a study is to find out: whether one arm scores more than another."""

    ask: str = ""
    """In words: `Does SFT before RL help?`; empty: whether the arms help."""
    arm: tuple[str, ...] = Field(min_length=1)
    """One, or several, whose mean is compared: the main effect of a factorial."""
    against: tuple[str, ...] = Field(min_length=1)
    measure: Measure | None = None
    """Accuracy of the greedy replies, or of the samples; None: greedy, where the protocol draws greedy replies."""

    @field_validator("arm", "against", mode="before")
    @classmethod
    def _one_is_a_list(cls, arms: Any) -> Any:
        return (arms,) if isinstance(arms, str) else arms

    @model_validator(mode="after")
    def _compares_two(self) -> "StudyQuestion":
        if sorted(self.arm) == sorted(self.against):
            raise ValueError(f"expected other arms in `against` than in `arm`, got {', '.join(self.arm)} twice")
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """Those of both sides."""
        return (*self.arm, *self.against)

    @property
    def words(self) -> str:
        """The question in words."""
        return self.ask or f"Does {' and '.join(self.arm)} help, against {' and '.join(self.against)}?"


class Study(Record):
    """Arms that differ in what they say, and in nothing else."""

    shared: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    """Name -> what the arm changes; `start` may name another arm. Arms run in this order."""
    evaluation: Test
    questions: dict[str, StudyQuestion] = Field(default_factory=dict)
    """Name -> question. Each makes all of them harder to answer; without any, see `asked`."""

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

    @model_validator(mode="after")
    def _can_answer_its_questions(self) -> "Study":
        drawn = self.evaluation.protocol
        for name, question in self.questions.items():
            if unknown := [arm for arm in question.arms if arm not in self.arms]:
                wrong = unknown[0]
                raise ValueError(f"questions.{name}: {wrong!r} is no arm of the study; {nearest(wrong, self.arms)}")
            if question.measure == "greedy" and not drawn.greedy:
                raise ValueError(f"questions.{name}: greedy replies are not drawn; set protocol.greedy to true")
            if question.measure == "sampled" and not drawn.samples:
                raise ValueError(f"questions.{name}: no samples are drawn; set protocol.samples to 1 or more")
        return self

    @property
    def asked(self) -> dict[str, StudyQuestion]:
        """The questions of the study, with what they measure. Where it has none, whether each trained arm is better
        than the untrained one, and each that starts from another arm than the same training without that start."""
        drawn: Measure = "greedy" if self.evaluation.protocol.greedy else "sampled"
        return {
            name: question if question.measure else question.model_copy(update={"measure": drawn})
            for name, question in (self.questions or dict(self._default_questions())).items()
        }

    def _default_questions(self) -> Iterator[tuple[str, StudyQuestion]]:
        untrained = next((arm for arm in self.arms if not self.is_trained(arm)), None)
        for arm in self.arms:
            start = self.starts(arm)[:1]
            twins = [other for other in self.arms if start and self._is_without_its_start(other, arm)]
            for other in twins[:1]:
                ask = f"Does {start[0]} before {other} help?"
                yield f"{start[0]}-before-{other}", StudyQuestion(ask=ask, arm=(arm,), against=(other,))
            if untrained is not None and self.is_trained(arm):
                yield (
                    f"{arm}-against-{untrained}",
                    StudyQuestion(ask=f"Does {arm} help?", arm=(arm,), against=(untrained,)),
                )

    def _is_without_its_start(self, other: str, arm: str) -> bool:
        """Whether `other` is the training of `arm`, but from where the start of `arm` itself started."""
        first, second = ({**merge(self.shared, self.arms[name]), "start": None} for name in (other, arm))
        return first == second and self.starts(other) == self.starts(arm)[1:]

    def starts(self, arm: str) -> tuple[str, ...]:
        """The arms that an arm is built on: its start, the start of that, and so on."""
        start = {**self.shared, **self.arms[arm]}.get("start")
        return () if start is None else (start, *self.starts(start))

    def is_trained(self, arm: str) -> bool:
        """Whether an arm takes a step, by itself or in its chain of starts."""
        return any({"steps": 1, **self.shared, **self.arms[name]}["steps"] for name in (arm, *self.starts(arm)))

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
