"""One door to every reward: the gold answer's kind chooses the verifier.

The router owns the worker processes; it is a context manager, so that none is left behind.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Self

from firsthand.errors import DataError
from firsthand.records import Answer, Example, Status, Verdict
from firsthand.reward.box import judge_box
from firsthand.reward.choice import judge_choice
from firsthand.reward.digit import judge_digit
from firsthand.reward.extract import CLOSE, OPEN, extract
from firsthand.reward.math import judge_math
from firsthand.reward.pool import WorkerPool
from firsthand.reward.verdicts import unparsed

Verifier = Callable[[str, Any], Verdict]
"""(content of the answer block, gold answer of the verifier's kind) -> verdict."""

LONGEST_ANSWER = 2_000
"""Characters of an answer block that are read (ours). No answer of these kinds is longer; 100 KB of digits are."""
SAME = 0.99
"""What a gold must score against itself: boxes lose digits when they are written as text."""


class Router:
    """Judges replies against gold answers. Use as `with Router() as router:`; thread-safe.

    `workers` comparisons of expressions run at once, each killed after `deadline_s` seconds (TIMED_OUT, no score).
    Raises ValueError when either is not positive.
    """

    def __init__(self, workers: int = 1, deadline_s: float = 5.0) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError(f"expected workers >= 1 and deadline_s > 0, got {workers} and {deadline_s}")
        self._workers = workers
        self._pool = WorkerPool(workers, deadline_s)
        self._verifiers: dict[str, Verifier] = {
            "digit": judge_digit,
            "choice": judge_choice,
            "math": partial(judge_math, ask=self._pool.ask),
            "box": judge_box,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes and wait until they are gone."""
        self._pool.close()

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running: none before the first comparison that needs one."""
        return self._pool.pids

    def judge(self, reply: str, answer: Answer) -> Verdict:
        """The verdict on one reply. Raises ValueError when the answer's kind has no verifier."""
        if answer.kind not in self._verifiers:
            raise DataError(
                f"no verifier scores answers of kind {answer.kind!r}: expected {', '.join(self._verifiers)}; "
                "Router.check refuses such data before training"
            )
        content, why = extract(reply)
        if content is None:
            return Verdict(score=0.0, status=Status.WRONG_FORMAT, why=why)
        if len(content) > LONGEST_ANSWER:
            return unparsed(content, f"{len(content)} characters where an answer has at most {LONGEST_ANSWER}")
        return self._verifiers[answer.kind](content, answer)

    def judge_many(self, pairs: Sequence[tuple[str, Answer]]) -> list[Verdict]:
        """The verdict on each (reply, gold answer), in order: the same as one by one, with `workers` at once."""
        with ThreadPoolExecutor(self._workers) as threads:
            return list(threads.map(lambda pair: self.judge(*pair), pairs))

    def check(self, examples: Iterable[Example]) -> None:
        """Refuse data that cannot be scored, before anything is trained on it.

        Raises DataError, naming the examples, when a kind has no verifier or a gold answer is rejected by its own.
        """
        examples = list(examples)
        unknown = [f"{e.id} ({e.answer.kind})" for e in examples if e.answer.kind not in self._verifiers]
        if unknown:
            raise DataError(
                f"no verifier scores the answers of {_listed(unknown)}; leave these examples out: "
                f"expected the kinds {', '.join(self._verifiers)}"
            )
        verdicts = self.judge_many([(f"{OPEN}{e.answer.text}{CLOSE}", e.answer) for e in examples])
        rejected = [
            f"{example.id} ({example.answer.kind} {example.answer.text!r}: {verdict.status}, {verdict.why})"
            for example, verdict in zip(examples, verdicts, strict=True)
            if verdict.score is None or verdict.score < SAME
        ]
        if rejected:
            raise DataError(
                "expected every gold answer to score 1 against itself, got otherwise from the verifier of "
                f"{_listed(rejected)}; correct these golds or leave the examples out"
            )


def _listed(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list that may be long."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
