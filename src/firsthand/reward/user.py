"""A user's own reward function in a recipe: TRL's form or plain Python, named as `module:function`.

The function runs in worker processes with our deadline, one reply at a time: so it cannot hang a run, and neither order
nor batch size can matter. Only what the user names is imported, by the workers alone, and nothing is unpickled.
"""

from collections.abc import Mapping
from typing import Any, final

from firsthand.answers.ground_truth import columns_beside
from firsthand.errors import RecipeError, excerpt
from firsthand.identity import FUNCTION_PATH, code_id
from firsthand.records import Answer, Choice, Letters, Status, Verdict
from firsthand.reward.open_ended import Context
from firsthand.reward.verdicts import LARGEST_SCORE, failed, is_usable
from firsthand.workers.pool import USER_FUNCTION, DeadlineExceeded, WorkerBroken, WorkerDied, WorkerPool


@final
class UserReward:
    """A user's reward function, at `module:function`, behind a pool of killable workers. Thread-safe."""

    def __init__(self, path: str, workers: int, deadline_s: float) -> None:
        """Raises RecipeError when `path` is not a `module:function`; its module is imported by the workers only."""
        if not FUNCTION_PATH.fullmatch(path):
            raise RecipeError(f"reward.function: expected module:function, got {path!r}; such as mine.rewards:brevity")
        self._path = path
        self._source = code_id(path)
        self.pool = WorkerPool(workers, deadline_s, (str(USER_FUNCTION), path))

    def judge(self, reply: str, gold: Answer, context: Context, columns: Mapping[str, Any]) -> Verdict:
        """FAILED when the function raises or returns no number, UNSCORED for None. Raises RecipeError without it, or
        where it has been edited since the first reply."""
        row = {
            **columns_beside(gold),
            "prompts": [{"role": "user", "content": context.question}],
            "answer": gold.text,
            "solution": gold.text,
            "kind": gold.kind,
            "choices": list(gold.options) if isinstance(gold, Choice | Letters) else [],
        }
        try:
            answer = self.pool.ask({"reply": reply, "columns": {**columns, **row}})
        except (DeadlineExceeded, WorkerDied) as error:
            self._refuse_another()
            return failed(error, reply)
        except WorkerBroken as error:
            raise RecipeError(f"reward.function: expected a function that can be imported, got {error}") from error
        if "error" in answer:
            return failed(f"{self._path} raised {answer['error']}", reply)
        score = answer["score"]
        if score is None:
            return Verdict(
                score=None, status=Status.UNSCORED, parsed=excerpt(reply), why=f"{self._path} does not apply"
            )
        if not is_usable(score):
            return failed(f"{self._path} returned {score:g}; expected {LARGEST_SCORE:g} at most", reply)
        return Verdict(score=score, status=Status.OK, parsed=excerpt(reply), why=f"{self._path} says {score:g}")

    def _refuse_another(self) -> None:
        """The worker that takes a killed one's place imports the function anew: its source must be what it was."""
        if code_id(self._path) != self._source:
            raise RecipeError(
                f"reward.function: the source of {self._path} has changed while it was in use, and the other replies "
                "were scored by what it was; give the command again"
            )
