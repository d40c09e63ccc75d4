"""Environment reward: what the environment's own scorer says of the answer, in a worker process with a deadline.

Scorers give parts of a mark: to an answer that holds the right one among other things, to one that begins like it, to
any answer at all (0.01). `exact` pays full marks alone, and so no answer that the environment itself calls wrong;
`partial` pays what the scorer says.

An answer that does not get full marks as it stands is scored once more without its mark-up, as all kinds are read.
"""

import json
import threading
from typing import Any, Literal, final

from firsthand.answers.markup import without_markup
from firsthand.errors import RecipeError, excerpt
from firsthand.records import Environment, Status, Verdict
from firsthand.reward.verdicts import failed, unparsed
from firsthand.workers.environments import environment_pool
from firsthand.workers.pool import DeadlineExceeded, WorkerBroken, WorkerDied, WorkerPool

EnvironmentScore = Literal["exact", "partial"]
_ROUNDING = 1e-9
"""By which a sum of parts may leave [0, 1]. Full marks are 1 all the same: a wrong answer of nine right letters and one
more than those gets 1.0000000000000002 (spell_backward)."""


@final
class EnvironmentReward:
    """The scorers of all environments, each behind workers that start when it is first asked. Thread-safe."""

    def __init__(self, workers: int, deadline_s: float, score: EnvironmentScore = "exact") -> None:
        self._workers, self._deadline_s, self._score = workers, deadline_s, score
        self._pools: dict[str, WorkerPool] = {}
        self._opening = threading.Lock()

    def judge(self, content: str, truth: Environment) -> Verdict:
        """FAILED when the scorer breaks or gives no mark from 0 to 1, TIMED_OUT when it does not end.

        Raises RecipeError where the environment is not installed.
        """
        if not content.strip():
            return unparsed(content, "an empty answer")
        verdict = self._verdict(content, truth)
        bare = without_markup(content).removesuffix(".")
        if verdict.score == 1 or verdict.status is Status.TIMED_OUT or bare in ("", content):
            return verdict
        other = self._verdict(bare, truth)
        return other if other.score == 1 else verdict

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running."""
        return tuple(pid for pool in list(self._pools.values()) for pid in pool.pids)

    def close(self) -> None:
        """Kill every worker and wait until it is gone."""
        with self._opening:
            for pool in self._pools.values():
                pool.close()

    def _verdict(self, content: str, truth: Environment) -> Verdict:
        whose = f"{truth.environment}, task {truth.task},"
        try:
            entry = json.loads(truth.entry)
        except ValueError as error:
            return failed(f"{whose} has an entry that is no JSON: {error}", content)
        asked = {"task": truth.task, **entry, "gold": truth.value, "answer": content}
        try:
            answer = self._pool(truth.environment).ask({"score": asked})
        except (DeadlineExceeded, WorkerDied) as error:
            return failed(error, content)
        except WorkerBroken as error:
            raise RecipeError(f"environment: {truth.environment} cannot be imported: {error}") from error
        if "error" in answer:
            return failed(f"{whose} raised {answer['error']}", content)
        return self._marked(answer["score"], content, truth, whose)

    def _marked(self, mark: Any, content: str, truth: Environment, whose: str) -> Verdict:
        if not -_ROUNDING <= mark <= 1 + _ROUNDING:  # nor NaN
            return failed(f"{whose} gave {mark}, expected a mark from 0 to 1", content)
        why = f"{whose} gave {mark}" + ("" if mark == 1 else f"; right is {excerpt(truth.value)}")
        score = min(1.0, max(0.0, mark)) if self._score == "partial" else float(mark == 1)
        return Verdict(score=score, status=Status.OK, parsed=excerpt(content), why=why)

    def _pool(self, name: str) -> WorkerPool:
        with self._opening:
            if name not in self._pools:
                self._pools[name] = environment_pool(name, self._workers, self._deadline_s)
            return self._pools[name]
