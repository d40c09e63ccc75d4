"""An environment's tasks -> examples.

A question belongs to one split, by the hash of its text: what is drawn for another split is passed over. So no two
splits share a question, whatever the seeds and levels, however few questions a task has. The package's own seeds are
no such promise: item i of seed s is item 0 of seed s + i. Ours are apart all the same, in blocks of theirs, so that two
seeds of one split share a question only where the task has drawn it twice.
"""

import importlib.metadata
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from types import MappingProxyType
from typing import Any, final

from firsthand.config import nearest
from firsthand.environments.demonstrations import demonstrate
from firsthand.errors import DataError, RecipeError, shown
from firsthand.records import SPLITS, Environment, Example, SplitName, split_of
from firsthand.workers.environments import environment_pool
from firsthand.workers.pool import DeadlineExceeded, WorkerBroken, WorkerDied, WorkerPool

_BLOCK = 1_000_000
"""The package's seeds that one of ours has in a split (ours)."""
_MOST = 250
"""Items of one request (ours)."""
_FRUITLESS = 1_000
"""Draws in a row without a new question of the split, after which there are no more (ours): of a task with questions
enough, every tenth is one."""
_DEADLINE_S = 20.0
"""Of one request (ours): the slowest tasks of reasoning-gym take 2 s for a question, and one sequence of numbers in 400
grows without end."""
_TRIED = 8
"""Drawn items on which a task's scorer is tried (ours)."""
_BAITS = ("no answer", "nan", "0")
"""Answers that some scorers give full marks to, whatever is asked (seen in reasoning-gym 0.1.25)."""
_OF_THE_DRAW = ("source_dataset", "source_index", "difficulty")
"""Metadata about how a question was drawn, which is left out: one question is one example, whoever has drawn it."""


def draw_examples(
    environment: str,
    tasks: Sequence[str],
    number: int,
    *,
    split: SplitName = "train",
    seed: int = 0,
    level: Mapping[str, Any] = MappingProxyType({}),
    pool: WorkerPool | None = None,
) -> list[Example]:
    """So many examples in all, of each task in turn, no two with one question.

    `level` has settings of all tasks, and under a task's name its own. The same arguments give the same examples under
    one version of the package. `pool` are workers of the environment that are there already: to start some takes a
    second.
    Raises RecipeError where the package, a task or a setting is not there, or the package refuses the settings, and
    DataError where a task cannot draw so many questions, or its scorer cannot be used.
    """
    share = -(-number // len(tasks))
    with closing(environment_pool(environment, 1, _DEADLINE_S)) if pool is None else nullcontext(pool) as workers:
        drawn = [
            _Task(workers, environment, task, _settings(task, tasks, level)).draw(split, seed, share) for task in tasks
        ]
    return [example for row in zip(*drawn, strict=True) for example in row][:number]


def _settings(task: str, tasks: Sequence[str], level: Mapping[str, Any]) -> dict[str, Any]:
    own = level.get(task, {})
    if not isinstance(own, Mapping):
        raise RecipeError(f"level.{task}: expected settings of the task, such as {{max_terms: 3}}, got {own!r}")
    return {**{name: value for name, value in level.items() if name not in tasks}, **own}


class _Endless(DataError):
    """A request that has taken too long, or too much memory."""


@final
class _Task:
    """A task at a level, and the workers that draw it and score its answers."""

    def __init__(self, pool: WorkerPool, environment: str, name: str, settings: dict[str, Any]) -> None:
        self._pool, self._environment, self._name, self._settings = pool, environment, name, settings

    def draw(self, split: SplitName, seed: int, number: int) -> list[Example]:
        """The first questions of a seed that belong to a split."""
        found: dict[str, Example] = {}
        fruitless, broken = 0, ""
        for entry in self._entries(_first_seed(split, seed)):
            broken = entry.get("broken", "")
            question = entry.get("question", "").strip()
            fruitless += 1
            can_be_said = bool(entry.get("answer"))  # some equations have "" as their answer
            if can_be_said and question not in found and split_of(question) == split:
                found[question] = self._example(question, entry, split)
                fruitless = 0
            if len(found) == number:
                return list(found.values())
            if fruitless == _FRUITLESS:
                break
        raise DataError(
            f"{self._where}: expected {number:,} questions of the split {split}, got {len(found):,}, and the next "
            f"{fruitless:,} draws gave no other{broken and f' ({broken})'}; ask for fewer, or for a harder level"
        )

    @property
    def _where(self) -> str:
        return f"{self._environment}, task {self._name}"

    def _entries(self, first: int) -> Iterator[dict[str, Any]]:
        """The items of the package's seeds from the first on, once its scorer has been tried on some of them."""
        drawn, most = 0, _MOST
        while drawn < _BLOCK:
            request = {"task": self._name, "settings": self._settings, "seed": first + drawn, "most": most}
            try:
                entries = self._ask("draw", request)["entries"]
            except _Endless as error:
                if most > 1:
                    most = 1  # which of them it was is not known
                    continue
                entries, most = [{"broken": str(error)}], _MOST
            if drawn == 0:
                self._try_scorer([entry for entry in entries if "broken" not in entry][:_TRIED])
            yield from entries
            drawn += len(entries)

    def _try_scorer(self, entries: Sequence[dict[str, Any]]) -> None:
        """Refuse a task whose right answers are not known or not accepted, or of which one answer fits most."""
        for entry in entries:
            gold = entry["answer"]
            if gold != "" and (gold is None or self._score(entry, gold) != 1):
                got = "none" if gold is None else f"{shown(gold)}, which it does not accept"
                raise DataError(
                    f"{self._where}: expected an answer of its own that its scorer accepts, as JSON holds it, got "
                    f"{got}; leave the task out"
                )
        for bait in _BAITS:
            others = [entry for entry in entries if entry["answer"] != bait]
            if sum(self._score(entry, bait) == 1 for entry in others) > max(1, len(others) / 2):
                golds = ", ".join(shown(entry["answer"]) for entry in others[:3])
                raise DataError(
                    f"{self._where}: expected a scorer that tells answers apart, got one that gives full marks to "
                    f"{bait!r} in place of {golds}; leave the task out"
                )

    def _score(self, entry: dict[str, Any], answer: str) -> float | None:
        """Of an answer; None where the scorer breaks."""
        asked = {"task": self._name, "settings": self._settings, "metadata": entry["metadata"]}
        try:
            score: float = self._ask("score", {**asked, "gold": entry["answer"], "answer": answer})["score"]
        except DataError:
            return None
        return score

    def _ask(self, what: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._pool.ask({what: request})
        except WorkerBroken as error:
            raise RecipeError(f"environment: {self._environment} cannot be imported: {error}") from error
        except (DeadlineExceeded, WorkerDied) as error:
            raise _Endless(f"{self._where}: {what}: {error}; take an easier level, or leave the task out") from error
        if "unknown" in answer:
            key = "tasks" if answer["unknown"] == "task" else f"level of {self._name}"
            known = nearest(answer["got"], answer["known"])
            raise RecipeError(f"{key}: {self._environment} has no {answer['unknown']} {answer['got']!r}; {known}")
        if "refused" in answer:
            raise RecipeError(
                f"level of {self._name}: {self._environment} refuses {self._settings}: {answer['refused']}"
            )
        if "error" in answer:
            raise DataError(f"{self._where}: {what}: {answer['error']}; take another level, or leave the task out")
        return answer

    def _example(self, question: str, entry: dict[str, Any], split: SplitName) -> Example:
        metadata = {name: value for name, value in entry["metadata"].items() if name not in _OF_THE_DRAW}
        gold = Environment(
            value=entry["answer"],
            environment=self._environment,
            task=self._name,
            entry=json.dumps({"settings": self._settings, "metadata": metadata}),
        )
        return Example(
            question=question,
            images=(),
            answer=gold,
            family=self._name,
            traces=demonstrate(gold, question),
            meta={"split": split, "version": importlib.metadata.version(self._environment)},
        )


def _first_seed(split: SplitName, seed: int) -> int:
    """Of a block of the package's seeds that no other split and seed has. Python's generator takes -1 for 1."""
    ours = 2 * seed if seed >= 0 else -2 * seed - 1
    return (len(SPLITS) * ours + SPLITS.index(split)) * _BLOCK
