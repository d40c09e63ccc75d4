"""Every arm chooses its settings on validation data: successive halving, one budget for all arms, every try kept.

The combinations of an arm's grid train up to the first rung, a share of the training, and answer the validation
questions as the study's test would ask them. The better ones go on from their checkpoints to the next rung, and so on
(Jamieson and Talwalkar 2016, arXiv:1502.07943). What was best at any rung wins, and the training is as long as it was
there: early stopping. Test questions are not answered.

    OUT/tune/
        tune.jsonl      one `Try` per line
        tuned.json      the choice of each arm: `findings.Tuned`
        ARM-s1000-.../  the runs: paused where they were given up; `evaluate-ARM-...` holds their replies
"""

import itertools
import json
import logging
import random
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple, final

from pydantic import TypeAdapter, ValidationError

from firsthand.cost import steps_of
from firsthand.errors import DataError, Diverged, NothingEarned, RecipeError, excerpt
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.joined import TRIES
from firsthand.evaluation.replies import read_journal
from firsthand.files import locked, write_atomically
from firsthand.findings import Tuned
from firsthand.identity import data_id
from firsthand.recipe import Data, Recipe
from firsthand.records import Example, Record, Score, Step, content_id, records_in
from firsthand.study.plan import LR, STOP, Settings, SettingsGrid, Study
from firsthand.study.rates import OnEvaluation, with_rates
from firsthand.trainer import train
from firsthand.trainer.trackers import Trackers

FOLDER = "tune"
CHOICES = "tuned.json"
_TUNED = TypeAdapter(list[Tuned])
_LOG = logging.getLogger(__name__)

OnArm = Callable[[str, Recipe], Callable[[Step], None]]


class Try(Record):
    """A combination of settings at a rung: a line of tune.jsonl."""

    id: str
    """Hash of the training until there, and of how it was measured."""
    arm: str
    settings: dict[str, Any]
    rung: int
    """The first is 0."""
    step: int | None = None
    """Steps that were done; None where training failed."""
    greedy: float | None = None
    """Accuracy on the validation items; None where it was not measured."""
    sampled: float | None = None
    standard_error: float | None = None
    """Of what decides, over the items."""
    n: int = 0
    """Items that were measured."""
    run: str | None = None
    """The folder of the training, beside this file."""
    evaluation: str | None = None
    """The folder of the replies."""
    failed: str = ""
    """Why training ended before the rung."""

    def accuracy(self, by: str) -> float | None:
        """What decides."""
        return self.greedy if by == "greedy" else self.sampled


OnTry = Callable[[Try], None]


def tune(
    study: Study,
    root: Path,
    arms: Sequence[str] | None = None,
    on_arm: OnArm = lambda arm, recipe: lambda step: None,
    on_evaluation: OnEvaluation = lambda arm: lambda done, total: None,
    on_try: OnTry = lambda found: None,
) -> Study:
    """The study with the settings that its arms have chosen, those of all arms or of some; see the module.

    An arm that starts from another one is tuned after it. What has been tried already is not tried again.
    Raises RecipeError when there is nothing to choose, when arms would have unequal budgets, when validation and test
    share questions, or when every combination of an arm fails.
    """
    wanted = [arm for arm in study.with_needs(arms or list(study.arms)) if study.grid(arm)]
    if not wanted:
        return study
    candidates = {arm: _combinations(study, arm) for arm in wanted}
    _refuse_unequal(study)
    for arm, found in candidates.items():  # a mistake in the last one must not show when the others are trained
        for settings in found:
            study.recipe(arm, 0, {name: Path(name) for name in study.arms}, settings)
    tuning = _Tuning(study, root / FOLDER, on_arm, on_evaluation, on_try)
    for arm, found in candidates.items():
        with locked(root / FOLDER / f".lock-{arm}"):  # another process that tunes it deletes what it gives up
            tuning.choose(arm, found)
    return tuning.study


@final
class _Tuning:
    """The arms that have chosen so far, and what has been tried."""

    def __init__(self, study: Study, folder: Path, on_arm: OnArm, on_evaluation: OnEvaluation, on_try: OnTry) -> None:
        assert study.tune is not None and study.validation is not None
        self.study, self.folder = study, folder
        self._plan, self._data = study.tune, study.validation.data
        self._on_arm, self._on_evaluation, self._on_try = on_arm, on_evaluation, on_try
        items = self._data.load()
        _refuse_shared(items, study.evaluation.data.load())
        drawn = {"samples": self._plan.samples, "greedy": True, "blind": None}
        self._protocol = study.evaluation.protocol.model_copy(update=drawn)
        self._asked = content_id(
            data_id(items, {"traces"}),
            self._protocol.model_dump(mode="json"),
            study.evaluation.reward.model_dump(mode="json"),
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRIES).touch()  # whoever looks for runs passes over the folder from its first run on
        self._examples: dict[str, list[Example]] = {}
        self._finished: dict[str, Path] = {}

    def choose(self, arm: str, candidates: Sequence[Settings]) -> None:
        """Tune one arm; the study then has its settings."""
        tries: list[Try] = []
        left = list(candidates)
        for rung, share in enumerate(self._plan.rungs):
            found = [(settings, self._try(arm, settings, rung, share)) for settings in left]
            tries += [one for _, one in found]
            ranked = [one for _, one in found if one.accuracy(self._plan.by) is not None]
            ranked.sort(key=self._rank)
            kept = ranked[: ceil(len(left) * self._plan.keep)]
            left = [settings for settings, one in found if one in kept]
            for _, one in found:
                if one not in kept or share == self._plan.rungs[-1]:
                    self._give_up(one)
        self._settle(arm, tries, len(candidates))

    def _rank(self, found: Try) -> tuple[Any, ...]:
        """The best first; of equals that with the smaller rate, then with the earlier stop."""
        accuracy = found.accuracy(self._plan.by)
        assert accuracy is not None and found.step is not None
        return -accuracy, found.settings.get(LR, 0), found.step

    def _try(self, arm: str, settings: Settings, rung: int, share: float) -> Try:
        recipe = self._recipe(arm, settings)
        identity = content_id(recipe.identity(self._read(recipe.data)), self._asked, share)
        known = next((found for found in read_tries(self.folder) if found.id == identity), None)
        if known is not None:
            return known.model_copy(update={"rung": rung, "arm": arm})
        found = self._measure(Try(id=identity, arm=arm, settings=dict(settings), rung=rung), recipe, share)
        _append(self.folder, found)
        self._on_try(found)
        return found

    def _measure(self, begun: Try, recipe: Recipe, share: float) -> Try:
        """Train up to the rung, and answer the validation questions."""
        title = f"{begun.arm}, {words(begun.settings)}"
        try:
            run = train(recipe, self.folder, self._on_arm(title, recipe), Trackers([]), pause=share)
        except (Diverged, NothingEarned) as error:
            return begun.model_copy(update={"failed": str(error)})
        test = self.study.evaluation
        bar = self._on_evaluation(title)
        replies = evaluate_folder(
            run / "model", self._data, self._protocol, self.folder, bar, name=begun.arm, reward=test.reward
        )
        measured = _Measured.of(read_journal(replies / "scores.jsonl"), self._plan.by)._asdict()
        done = {"step": sum(step.trained for step in steps_of(run)), "run": run.name, "evaluation": replies.name}
        return begun.model_copy(update={**measured, **done})

    def _recipe(self, arm: str, settings: Settings | None) -> Recipe:
        """That of tuning: with no probe, for the rungs are measured."""
        folders = {name: self._trained(name) for name in self.study.needs(arm)}
        recipe = self.study.recipe(arm, self._plan.seed, folders, settings).model_copy(update={"probe": None})
        return with_rates(self.study, recipe, self.folder.parent, self._on_evaluation, settings)

    def _trained(self, arm: str) -> Path:
        """The finished run of an arm that another one starts from, under the settings that it has chosen."""
        if arm not in self._finished:
            recipe = self._recipe(arm, None)
            self._finished[arm] = train(recipe, self.folder, self._on_arm(f"{arm}, as tuned", recipe), Trackers([]))
        return self._finished[arm]

    def _read(self, data: Data) -> list[Example]:
        key = data.model_dump_json()
        if key not in self._examples:
            self._examples[key] = data.load()
        return self._examples[key]

    def _give_up(self, found: Try) -> None:
        """Delete what only going on would need."""
        run = self.folder / (found.run or "")
        if found.run and not (run / "DONE").exists():
            for name in ("checkpoints", "model"):
                shutil.rmtree(run / name, ignore_errors=True)

    def _settle(self, arm: str, tries: Sequence[Try], number: int) -> None:
        measured = [one for one in tries if one.accuracy(self._plan.by) is not None]
        if not measured:
            raise RecipeError(f"arm {arm}: every combination of its grid failed; the first: {tries[0].failed}")
        best = min(measured, key=self._rank)
        accuracy = best.accuracy(self._plan.by)
        assert accuracy is not None
        stops: dict[int | None, None] = dict.fromkeys(self._stop(arm, one) for one in sorted(measured, key=_by_length))
        grid = {**self.study.grid(arm), STOP: tuple(stops)}
        settings = {**best.settings, STOP: self._stop(arm, best)}
        tuned = Tuned(
            arm=arm,
            settings=settings,
            accuracy=accuracy,
            standard_error=best.standard_error,
            grid=grid,
            tries=number,
            edges=(*at_an_edge(best.settings, grid), *self._ends(best)),
        )
        self.study = self.study.model_copy(update={"tuned": {**self.study.tuned, arm: tuned}})
        _keep(self.folder, tuned)

    def _ends(self, best: Try) -> tuple[str, ...]:
        """Whether it is the first rung or the last one: steps do not say it, of which a budget holds more or fewer."""
        last = len(self._plan.rungs) - 1
        return (STOP,) if last and best.rung in (0, last) else ()

    def _stop(self, arm: str, found: Try) -> int | None:
        """None is the end of a budget: how many steps that takes differs by seed."""
        is_end = found.rung == len(self._plan.rungs) - 1 and self._plan.rungs[-1] == 1
        return None if is_end and self.study.is_matched(arm) else found.step


def _by_length(found: Try) -> tuple[int, int]:
    return found.rung, found.step or 0


class _Measured(NamedTuple):
    """Accuracies on the validation items."""

    greedy: float | None
    sampled: float | None
    standard_error: float | None
    n: int

    @classmethod
    def of(cls, scores: Sequence[Score], by: str) -> "_Measured":
        greedy = [s.greedy.verdict.score for s in scores if s.greedy is not None and s.greedy.verdict.score is not None]
        drawn = [[j.verdict.score for j in s.samples if j.verdict.score is not None] for s in scores]
        sampled = [statistics.fmean(some) for some in drawn if some]
        decisive = greedy if by == "greedy" else sampled
        error = statistics.stdev(decisive) / len(decisive) ** 0.5 if len(decisive) > 1 else None
        return cls(_mean(greedy), _mean(sampled), error, len(decisive))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def at_an_edge(settings: Settings, grid: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """Settings whose value is the smallest or the largest of several numbers; 0 is no end, for nothing lies below."""
    found = []
    for key, value in settings.items():
        numbers = [one for one in grid[key] if isinstance(one, int | float) and not isinstance(one, bool)]
        ends = {min(numbers), max(numbers)} - {0} if len(set(numbers)) == len(grid[key]) > 1 else set()
        if value in ends:
            found.append(key)
    return tuple(found)


def words(settings: Settings) -> str:
    """Settings in a line: `optimizer.lr=0.0001`."""

    def word(key: str, value: Any) -> str:
        if value is None and key == STOP:
            return "the end of its budget"
        return f"{value:g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{key}={word(key, value)}" for key, value in settings.items())


def read_tries(folder: Path) -> list[Try]:
    """What has been tried in a folder; a last line that a kill has torn is passed over. Raises DataError."""
    return list(records_in(folder / TRIES, Try, may_be_torn=True))


def _append(folder: Path, found: Try) -> None:
    with locked(folder / ".lock"):
        tries = {one.id: one for one in [*read_tries(folder), found]}  # another process may have tried others
        write_atomically(folder / TRIES, "".join(f"{one.model_dump_json()}\n" for one in tries.values()))


def _keep(folder: Path, tuned: Tuned) -> None:
    """Replace an arm's choice, and leave those of the others."""
    with locked(folder / ".lock"):
        others = [one for one in _choices(folder) if one.arm != tuned.arm]
        content = [one.model_dump(mode="json") for one in (*others, tuned)]
        write_atomically(folder / CHOICES, json.dumps(content, indent=2) + "\n")


def _choices(folder: Path) -> list[Tuned]:
    """What arms have chosen. Raises DataError."""
    path = folder / CHOICES
    try:
        return _TUNED.validate_json(path.read_bytes()) if path.exists() else []
    except ValidationError as error:
        got = excerpt(str(error).splitlines()[0])
        raise DataError(
            f"{path}: expected the choices of arms, got a damaged file ({got}); restore it from a copy, or delete it: "
            f"they are made again from {TRIES}"
        ) from error


def with_kept_choices(study: Study, root: Path) -> Study:
    """The study with what its arms have chosen in `root`, from the grids that they have now; nothing is tried."""
    kept = _choices(root / FOLDER)
    chosen = {one.arm: one for one in kept if one.arm in study.arms and _chose_from(one) == study.grid(one.arm)}
    return study.model_copy(update={"tuned": {**chosen, **study.tuned}})


def _chose_from(tuned: Tuned) -> SettingsGrid:
    return {key: values for key, values in tuned.grid.items() if key != STOP}


def _combinations(study: Study, arm: str) -> list[dict[str, Any]]:
    """Those that an arm begins with, in the order of its grid."""
    assert study.tune is not None
    grid = study.grid(arm)
    found = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if study.tune.tries is None or len(found) <= study.tune.tries:
        return found
    places = random.Random(study.tune.seed).sample(range(len(found)), study.tune.tries)
    return [found[place] for place in sorted(places)]


def _refuse_unequal(study: Study) -> None:
    """A choice among more is a larger budget."""
    numbers = {arm: len(_combinations(study, arm)) for arm in study.arms if study.grid(arm)}
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{arm} {number}" for arm, number in numbers.items())
        raise RecipeError(
            f"tune: expected as many combinations for each arm, as a choice among more is a larger budget, got {told}; "
            f"set tune.tries to {min(numbers.values())}, or give the arms grids of one size"
        )


def _refuse_shared(validation: Sequence[Example], test: Sequence[Example]) -> None:
    """Raises RecipeError where a question of the test would be chosen on."""

    def asked(example: Example) -> tuple[str, tuple[str, ...]]:
        return example.question, tuple(picture.sha256 for picture in example.images)

    known = {asked(example) for example in test}
    if shared := [example for example in validation if asked(example) in known]:
        raise RecipeError(
            f"validation: expected questions that the test does not ask, got {len(shared)} of {len(validation)} that "
            f"evaluation.data has, too (the first is {shared[0].id}); name another split, seed or file"
        )
