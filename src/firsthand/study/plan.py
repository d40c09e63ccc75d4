"""What a study file says: arms, what they share, and what all are evaluated on."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from firsthand.config import as_number, build, in_todays_names, merge, nearest, read_recipe, states, with_settings
from firsthand.cost import CostUnit, TrainingBudget, added, cost_of_run
from firsthand.data.blind import Blind
from firsthand.data.difficulty import PassBounds
from firsthand.data.loaded import OnBad
from firsthand.errors import RecipeError
from firsthand.evaluation import Protocol
from firsthand.evaluation.custom import read_by
from firsthand.findings import Tuned
from firsthand.recipe import Data, Probe, Recipe
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
_PROBES = 3
"""Probes of an arm's training, the last one apart (ours)."""


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


class Validation(Record):
    """What settings are chosen on, and what every arm is probed with while it trains. Never the test."""

    data: Data
    every: int | None = Field(default=None, gt=0)
    """Steps from one probe to the next, see `Probe`; an arm with a probe of its own keeps it. None: a third of them."""


LR = "optimizer.lr"
STOP = "stop"
START = "start"
"""Of a recipe; in a grid, which of the arms above to start from."""
TEACHER = "teacher"
"""Of a recipe; in a study `{arm: NAME}` may stand in place of its folder."""
_MOST_SETTINGS = 2
"""That an arm may choose beside its rate and its length: what it is that helps must stay to be seen."""
Values = Annotated[tuple[Annotated[Any, BeforeValidator(as_number)], ...], Field(min_length=1)]
Settings = Mapping[str, Any]
"""Key of a recipe -> the value that an arm tries, or has chosen."""
SettingsGrid = dict[str, Values]
"""Key of a recipe -> the values to choose from."""


def _halved(rungs: Any) -> Any:
    """`3` is short for a quarter, half and all of the training."""
    return [0.5**left for left in reversed(range(rungs))] if isinstance(rungs, int) and 0 < rungs < 10 else rungs


class Tune(Record):
    """How every arm chooses its settings on the validation data: successive halving, with one budget for all."""

    grid: SettingsGrid = Field(default_factory=dict)
    """Of all trained arms, but for the keys that an arm states itself."""
    arms: dict[str, SettingsGrid] = Field(default_factory=dict)
    """Arm -> its own grid, in place of that; an empty one leaves the arm as the file has it."""
    tries: int | None = Field(default=None, gt=0)
    """Combinations that each arm begins with, drawn from its grid. None: all, of which all grids then have as many."""
    rungs: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1), BeforeValidator(_halved)] = (
        0.25,
        0.5,
        1.0,
    )
    """Shares of the training after which the combinations are compared."""
    keep: float = Field(default=0.5, gt=0, lt=1)
    """Share of them that goes on from each rung to the next."""
    by: Measure = "greedy"
    """What decides: accuracy of the greedy replies, or of the samples."""
    samples: int = Field(default=0, ge=0)
    """Sampled replies to each validation question."""
    seed: int = 1000
    """Of all tuning, whatever the study's seeds are."""

    @model_validator(mode="after")
    def _can_decide(self) -> "Tune":
        for where, grid in [("grid", self.grid), *((f"arms.{arm}", grid) for arm, grid in self.arms.items())]:
            if chosen := grid.keys() & {STOP, "steps"}:
                raise ValueError(f"{where}: {min(chosen)} is chosen among the rungs; leave it out")
            if len(grid.keys() - {LR}) > _MOST_SETTINGS:
                raise ValueError(f"{where}: expected at most {_MOST_SETTINGS} settings beside {LR}, got {list(grid)}")
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs: expected shares of the training that rise, got {list(self.rungs)}")
        if self.by == "sampled" and not self.samples:
            raise ValueError("by: no samples are drawn; set samples to 1 or more")
        return self


class StudyBudget(Record):
    """What is made equal between arms: each trains until its chain of starts has cost an amount, or what that of one
    arm has.

    That arm, and what it starts from, train as the file has them.
    """

    match: CostUnit
    of: str | None = None
    """The arm whose cost, under the same seed, is the budget of the others."""
    amount: float | None = Field(default=None, gt=0)
    """In place of that: what each may cost, in `match`'s own unit."""
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Arm -> how much of the budget it trains for, where that is not all: room for an arm that starts from it."""
    most: int = Field(default=100, gt=0)
    """No arm takes more than so many times its own `steps`."""

    @model_validator(mode="after")
    def _has_one_size(self) -> "StudyBudget":
        if (self.of is None) == (self.amount is None):
            raise ValueError(f"give either `of`, an arm's name, or `amount`, a number of {self.match}")
        return self


class StudyPassRate(PassBounds):
    """`data.pass_rate` of an arm: the study itself has an untrained arm answer the arm's examples, once for all arms
    and seeds that ask the same."""

    of: str
    """The arm whose model answers; it takes no step, so that all seeds train on the same examples."""
    samples: int = Field(default=8, gt=0)
    """Replies to each example; they are drawn and judged as the test's are."""


class Study(Record):
    """Arms that differ in what they say, and in nothing else."""

    shared: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    """Name -> what the arm changes; `start` and `teacher.arm` may name another arm. Arms run in this order."""
    evaluation: Test
    questions: dict[str, StudyQuestion] = Field(default_factory=dict)
    """Name -> question. Each makes all of them harder to answer; without any, see `asked`."""
    validation: Validation | None = None
    """Questions of neither training nor test."""
    tune: Tune | None = None
    """None: every arm is trained as the file has it."""
    tuned: dict[str, Tuned] = Field(default_factory=dict)
    """Arm -> the settings that it has chosen, as `firsthand tune` prints them: they are taken, and not chosen anew."""
    analyses: tuple[Literal["tokens", "distances"], ...] = ("tokens", "distances")
    """What is measured of the weights of the first seed, for the report alone: two more models in memory, one after the
    other, for each arm; and every arm's weights, read once."""
    budget: StudyBudget | None = None
    """None: every arm takes the steps that it says."""

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
            teacher = self.teacher(name)
            if teacher is not None and teacher not in known:
                raise ValueError(
                    f"arm {name!r} learns from {teacher!r}, which is not an arm above it; above are: {known}"
                )
            known.append(name)
        return self

    @model_validator(mode="after")
    def _filters_by_untrained_arms(self) -> "Study":
        for arm in self.arms:
            if (asked := self.pass_rate(arm)) is None:
                continue
            if asked.of not in self.arms:
                raise ValueError(
                    f"arm {arm!r}: data.pass_rate.of: {asked.of!r} is no arm of the study; "
                    f"{nearest(asked.of, self.arms)}"
                )
            if self.is_trained(asked.of):
                raise ValueError(
                    f"arm {arm!r}: data.pass_rate.of: expected an arm that takes no step, got {asked.of!r}; name the "
                    "untrained one"
                )
        return self

    @field_validator("tuned", mode="before")
    @classmethod
    def _named_by_their_arms(cls, tuned: Any) -> Any:
        if not isinstance(tuned, dict):
            return tuned
        return {arm: {"arm": arm, **said} if isinstance(said, dict) else said for arm, said in tuned.items()}

    @model_validator(mode="after")
    def _can_tune(self) -> "Study":
        if self.tune is None:
            grids: dict[str, SettingsGrid] = {}
        elif self.validation is None:
            raise ValueError("tune: name what settings are chosen on, `validation: {data: {...}}`; never the test")
        else:
            grids = self.tune.arms
        for where, named in (("tune.arms", grids), ("tuned", self.tuned)):
            if unknown := [arm for arm in named if arm not in self.arms]:
                raise ValueError(f"{where}: {unknown[0]!r} is no arm of the study; {nearest(unknown[0], self.arms)}")
        for arm, grid in grids.items():
            if stated := [key for key in grid if states(self.arms[arm], key)]:
                raise ValueError(f"tune.arms.{arm}: arms.{arm} states {stated[0]} itself; leave it out of one of them")
            above = list(self.arms)[: list(self.arms).index(arm)]
            if unknown := [start for start in grid.get(START, ()) if start is not None and start not in above]:
                raise ValueError(f"tune.arms.{arm}: {unknown[0]!r} is not an arm above it; above are: {above}")
        return self

    @model_validator(mode="after")
    def _can_match_costs(self) -> "Study":
        if (budget := self.budget) is None:
            return self
        of = () if budget.of is None else (budget.of,)
        for arm in (*of, *budget.shares):
            if arm not in self.arms:
                raise ValueError(f"budget: {arm!r} is no arm of the study; {nearest(arm, self.arms)}")
        if budget.of is not None and not self.is_trained(budget.of):
            raise ValueError(f"budget.of: {budget.of!r} takes no step, so that its cost is nothing")
        if free := [arm for arm in budget.shares if not self.is_matched(arm)]:
            raise ValueError(f"budget.shares: {free[0]!r} is not matched; leave it out")
        for arm in filter(self.is_matched, self.arms):
            for before in filter(self.is_matched, self._possibly_built_on(arm)):
                if budget.shares.get(before, 1) >= budget.shares.get(arm, 1):
                    does = "learns" if before == self.teacher(arm) else "starts"
                    raise ValueError(
                        f"budget: {before!r} leaves nothing for {arm!r}, which {does} from it; give it a part: "
                        f"shares: {{{before}: {budget.shares.get(arm, 1) / 2:g}}}"
                    )
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

    def starts(self, arm: str, settings: Settings | None = None) -> tuple[str, ...]:
        """The chain of arms that an arm goes on from: its start, the start of that, and so on.

        `settings` take the place of those that it has chosen.
        """
        start = {**self.shared, **self.arms[arm], **self._settings(arm, settings)}.get(START)
        return () if start is None else (start, *self.starts(start))

    def _settings(self, arm: str, settings: Settings | None) -> Settings:
        """These, or else what the arm has chosen."""
        if settings is not None:
            return settings
        return self.tuned[arm].settings if arm in self.tuned else {}

    def teacher(self, arm: str) -> str | None:
        """The arm that an arm learns from; None where it has no teacher, or a folder for one."""
        said = merge(self.shared, self.arms[arm]).get(TEACHER)
        return said.get("arm") if isinstance(said, Mapping) else None

    def built_on(self, arm: str, settings: Settings | None = None) -> tuple[str, ...]:
        """The arms whose trainings an arm has taken: its chain of starts, its teacher, and what those were built on."""
        start, teacher = self.starts(arm, settings)[:1], self.teacher(arm)
        parents = (*start, *(() if teacher is None else (teacher,)))
        return tuple(dict.fromkeys(name for parent in parents for name in (parent, *self.built_on(parent))))

    def _possibly_built_on(self, arm: str) -> tuple[str, ...]:
        """The arms that an arm is built on, whatever it chooses."""
        chosen = [self.built_on(arm), *(self.built_on(arm, {START: start}) for start in self.grid(arm).get(START, ()))]
        return tuple(dict.fromkeys(name for names in chosen for name in names))

    def is_matched(self, arm: str) -> bool:
        """Whether an arm trains until a budget is used up."""
        if self.budget is None or self._steps(arm) == 0:
            return False
        return arm not in self._sets_the_budget

    @property
    def _sets_the_budget(self) -> tuple[str, ...]:
        """The arm whose cost is matched, and what it is built on; empty where an amount is."""
        of = None if self.budget is None else self.budget.of
        return () if of is None else (of, *self.built_on(of))

    def needs(self, arm: str) -> tuple[str, ...]:
        """The arms whose finished runs its recipe reads: what it is built on, and what it is to cost as much as."""
        of = self._sets_the_budget if self.is_matched(arm) else ()
        return tuple(dict.fromkeys((*self._possibly_built_on(arm), *of)))

    @property
    def order(self) -> list[str]:
        """The arms, each after those that it needs."""
        found: dict[str, None] = {}
        for arm in self.arms:
            found |= dict.fromkeys([*(name for name in self.arms if name in self.needs(arm)), arm])
        return list(found)

    def _steps(self, arm: str) -> Any:
        return {"steps": 1, **self.shared, **self.arms[arm]}["steps"]

    def _longest(self, arm: str) -> int:
        """How many times its own steps an arm may take."""
        return self.budget.most if self.budget is not None and self.is_matched(arm) else 1

    def _budget_of(self, recipe: Recipe, folders: Mapping[str, Path], built_on: Sequence[str]) -> TrainingBudget | None:
        """What an arm may cost itself; None where it is not matched, or nobody knows yet. Raises RecipeError."""
        budget, arm = self.budget, recipe.name
        if budget is None or not self.is_matched(arm):
            return recipe.budget
        if budget.match == "generated" and not recipe.objective.samples:
            raise RecipeError(f"budget: arm {arm} generates nothing, ever; match trained, flops or seconds")
        of = self._sets_the_budget
        if not all((folders[name] / "DONE").exists() for name in (*of, *built_on)):
            return None
        before = added(cost_of_run(folders[name])[budget.match] for name in built_on)
        whole = budget.amount or added(cost_of_run(folders[name])[budget.match] for name in of)
        if whole is None or before is None:
            raise RecipeError(
                f"budget: the runs of {', '.join((*of, *built_on))} did not count {budget.match}; train them anew"
            )
        share = budget.shares.get(arm, 1)
        if share * whole <= before:
            raise RecipeError(
                f"budget: it is {whole:g} ({budget.match}), and what {arm!r} is built on has cost {before:g}, "
                f"so that nothing is left of {arm!r}'s share ({share:g})"
            )
        return TrainingBudget(unit=budget.match, amount=share * whole - before)

    def is_trained(self, arm: str) -> bool:
        """Whether an arm takes a step, by itself or in its chain of starts."""
        return any(self._steps(name) for name in (arm, *self.starts(arm)))

    @classmethod
    def read(cls, path: Path, assignments: Sequence[str] = ()) -> "Study":
        """Read a study file. Raises RecipeError."""
        return build(cls, read_recipe(path, assignments), str(path))

    def on_bad(self, on_bad: OnBad) -> "Study":
        """The study whose data, that of every arm and of the evaluation, treats bad rows so, whatever the file says."""
        data = self.evaluation.data.model_copy(update={"on_bad": on_bad})
        arms = {name: merge(arm, {"data": {"on_bad": on_bad}}) for name, arm in self.arms.items()}
        return self.model_copy(update={"arms": arms, "evaluation": self.evaluation.model_copy(update={"data": data})})

    def with_needs(self, arms: Sequence[str]) -> list[str]:
        """These arms and those that they need, each after those. Raises RecipeError when one is no arm."""
        if unknown := [arm for arm in arms if arm not in self.arms]:
            raise RecipeError(f"{unknown[0]!r} is no arm of the study; its arms are: {', '.join(self.arms)}")
        wanted = {name for arm in arms for name in (arm, *self.needs(arm))}
        return [arm for arm in self.order if arm in wanted]

    def only(self, arms: Sequence[str]) -> "Study":
        """The study of these arms and of those that they need, with the questions that are about them alone.

        Raises RecipeError when one is no arm.
        """
        wanted = self.with_needs(arms)
        filtering = [asked.of for arm in wanted if (asked := self.pass_rate(arm)) is not None]
        kept = {arm: said for arm, said in self.arms.items() if arm in {*wanted, *filtering}}

        def of_kept(named: Mapping[str, Any]) -> dict[str, Any]:
            return {arm: said for arm, said in named.items() if arm in kept}

        tune, budget = self.tune, self.budget
        return self.model_copy(
            update={
                "arms": kept,
                "questions": {name: one for name, one in self.questions.items() if {*one.arms} <= kept.keys()},
                "tuned": of_kept(self.tuned),
                "tune": tune and tune.model_copy(update={"arms": of_kept(tune.arms)}),
                "budget": budget and budget.model_copy(update={"shares": of_kept(budget.shares)}),
            }
        )

    def grid(self, arm: str) -> SettingsGrid:
        """What an arm has to choose from, its length apart; empty where its settings are the file's."""
        if self.tune is None or arm in self.tuned:
            return {}
        if arm in self.tune.arms:
            return self.tune.arms[arm]
        if self._steps(arm) == 0:
            return {}
        return {key: values for key, values in self.tune.grid.items() if not states(self.arms[arm], key)}

    def recipe(self, arm: str, seed: int, folders: Mapping[str, Path], settings: Settings | None = None) -> Recipe:
        """The recipe of an arm; `folders` holds the runs of the arms that it `needs`.

        `settings` take the place of those that it has chosen. Where the run that it is to cost as much as is not
        finished yet, the recipe has no budget. Where it filters by another arm's pass rates, `rates.with_rates` says
        where they are.
        """
        where = f"arm {arm}"
        content = with_settings(merge(self.shared, self.arms[arm]), self._settings(arm, settings), where)
        content |= {"name": arm, "seed": seed}
        if content.get(START) is not None:
            content[START] = str(folders[content[START]])
        if (teacher := self.teacher(arm)) is not None:
            said = {key: value for key, value in content[TEACHER].items() if key != "arm"}
            content[TEACHER] = {"model": str(folders[teacher]), **said}
        if (asked := self.pass_rate(arm, settings)) is not None:
            found = {"scores": f"pass rates of {asked.of}", "least": asked.least, "most": asked.most}
            content["data"] = {**content["data"], "pass_rate": found}
        planned = content.get("steps", Recipe.model_fields["steps"].default)
        if isinstance(planned, int):
            content["steps"] = planned * self._longest(arm)
        recipe = build(Recipe, content, where)
        if self.validation is not None and recipe.probe is None:
            every = self.validation.every or max(1, ceil((recipe.stop or planned) / _PROBES))
            recipe = recipe.model_copy(update={"probe": Probe(data=self.validation.data, every=every)})
        built_on = self.built_on(arm, settings)
        return recipe.model_copy(update={"budget": self._budget_of(recipe, folders, built_on)})

    def pass_rate(self, arm: str, settings: Settings | None = None) -> StudyPassRate | None:
        """By whose pass rates the study filters an arm's data; None where it does not, or by a file of the user's."""
        where = f"arm {arm}"
        content = with_settings(merge(self.shared, self.arms[arm]), self._settings(arm, settings), where)
        data = content.get("data")
        said = data.get("pass_rate") if isinstance(data, Mapping) else None
        if not isinstance(said, Mapping) or ("scores" in said and "of" not in said):
            return None
        return build(StudyPassRate, said, f"{where}: data.pass_rate")

    def recipe_from_scratch(self, arm: str, seed: int) -> Recipe:
        """That of an arm, but with the model that its chain of starts began with, and its teacher's, and data of any
        difficulty: as large, and there already."""
        wanted = self.recipe(arm, seed, {name: Path(name) for name in self.arms})
        changed: dict[str, Any] = {
            "start": None,
            "model": self._first_model(arm, seed),
            "steps": wanted.steps // self._longest(arm),
            "data": wanted.data.unfiltered,
        }
        if wanted.teacher is not None and (teacher := self.teacher(arm)) is not None:
            changed[TEACHER] = wanted.teacher.model_copy(update={"model": self._first_model(teacher, seed)})
        return wanted.model_copy(update=changed)

    def _first_model(self, arm: str, seed: int) -> str:
        """The model that an arm's chain of starts began with."""
        first = [arm, *self.starts(arm)][-1]
        return self.recipe(first, seed, {name: Path(name) for name in self.arms}).model
