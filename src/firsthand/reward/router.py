"""Every reward behind one class: the kind of the ground truth chooses the verifier.

The router owns the worker processes; it is a context manager, so that none is left behind.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from firsthand.answers.boxes import box_text
from firsthand.answers.stated import CLOSE, LONGEST_ANSWER, OPEN, Rule, read_answer
from firsthand.errors import BadRow, DataError, shown
from firsthand.records import Answer, Box, Coordinates, Environment, Example, OpenEnded, Status, Verdict
from firsthand.reward.box import BoxScore, judge_box
from firsthand.reward.choice import judge_choice
from firsthand.reward.digit import judge_digit
from firsthand.reward.environment import EnvironmentReward, EnvironmentScore
from firsthand.reward.guards import TOLERANCE
from firsthand.reward.letters import judge_letters
from firsthand.reward.math import judge_math
from firsthand.reward.open_ended import Context, OpenVerifier
from firsthand.reward.text import TextScore, judge_text
from firsthand.reward.user import UserReward
from firsthand.reward.verdicts import unparsed
from firsthand.workers.pool import WorkerPool

_LONGEST_TEXT = 20_000
"""Characters of an open-ended answer, or of an environment's, that are read (ours)."""
_LISTED = 20
"""Examples that one error names; it always gives the total."""
_SAME = 0.99
"""What a ground truth must score against itself: boxes lose digits when they are written as text."""


class Router:
    """Judges replies against ground truths. Use as `with Router() as router:`; thread-safe.

    `workers` replies are judged at once, each comparison of expressions killed after `deadline_s` seconds (TIMED_OUT,
    no score). `answer` is the rule by which replies are read. `box`, `text` and `environment` say how boxes, words and
    answers to an environment score, `coordinates` what the boxes of replies are measured in, and the tolerances how far
    a number may be off, as a share of it; what a gold says itself comes first.
    `open_ended` scores free text, which has no verifier without it. `function`, a user's own `module:function`, scores
    every reply in place of all verifiers.
    Raises ValueError when `workers` or `deadline_s` is not positive, RecipeError when `function` is no such path.
    """

    def __init__(
        self,
        workers: int = 1,
        deadline_s: float = 5.0,
        *,
        answer: Rule = "tags",
        box: BoxScore = "iou",
        coordinates: Coordinates = "auto",
        digit_tolerance: float = 0.0,
        math_tolerance: float = TOLERANCE,
        text: TextScore = "exact",
        environment: EnvironmentScore = "exact",
        open_ended: OpenVerifier | None = None,
        function: str | None = None,
    ) -> None:
        if workers < 1 or deadline_s <= 0:
            raise ValueError(f"expected workers >= 1 and deadline_s > 0, got {workers} and {deadline_s}")
        self._pool = WorkerPool(workers, deadline_s)
        self._environments = EnvironmentReward(workers, deadline_s, environment)
        self._user = None if function is None else UserReward(function, workers, deadline_s)
        self._open = open_ended
        self._rule: Rule = answer
        self._coordinates = coordinates
        self._threads = ThreadPoolExecutor(workers, "reward")
        self._verifiers: dict[str, Callable[[str, Any], Verdict]] = {
            "digit": partial(judge_digit, tolerance=digit_tolerance),
            "choice": judge_choice,
            "letters": judge_letters,
            "math": partial(judge_math, ask=self._pool.ask, tolerance=math_tolerance),
            "box": partial(judge_box, score=box, coordinates=coordinates),
            "text": partial(judge_text, score=text),
            "environment": self._environments.judge,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes and wait until they are gone. What was not judged by then is cancelled."""
        self._pool.close()
        self._environments.close()
        if self._user is not None:
            self._user.pool.close()
        self._threads.shutdown(cancel_futures=True)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that are running: none before the first comparison that needs one."""
        return self._pool.pids + self._environments.pids + (() if self._user is None else self._user.pool.pids)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of answer that can be judged."""
        return (*self._verifiers, "open") if self._open or self._user else tuple(self._verifiers)

    def judge(self, reply: str, truth: Answer | Example) -> Verdict:
        """The verdict on one reply, beside an Example's question. Raises DataError when the kind has no verifier."""
        answer, context = (truth.answer, Context.of(truth)) if isinstance(truth, Example) else (truth, Context())
        if answer.kind not in self.kinds:
            raise DataError(
                f"no verifier scores answers of kind {answer.kind!r}: expected {', '.join(self.kinds)}; "
                "Router.check refuses such data before training"
            )
        if self._user is not None:
            return self._user.judge(reply, answer, context, truth.meta if isinstance(truth, Example) else {})
        content, why = read_answer(reply, self._rule, is_free=isinstance(answer, OpenEnded))
        if content is None:
            return Verdict(score=0.0, status=Status.WRONG_FORMAT, why=why)
        return self._judge_content(content, answer, context)

    def judge_answers(self, pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
        """`judge_many` of what stands in answer blocks; not for a user's function, nor for kinds without a verifier."""
        judged = ((content.strip(), example.answer, Context.of(example)) for content, example in pairs)
        return list(self._threads.map(lambda one: self._judge_content(*one), judged))

    def _judge_content(self, content: str, answer: Answer, context: Context) -> Verdict:
        longest = _LONGEST_TEXT if isinstance(answer, OpenEnded | Environment) else LONGEST_ANSWER
        if len(content) > longest:
            return unparsed(content, f"{len(content)} characters where an answer has at most {longest}")
        if isinstance(answer, OpenEnded):
            assert self._open is not None  # or "open" would not be one of the kinds
            return self._open.judge(content, answer, context) if content else unparsed(content, "an empty answer")
        return self._verifiers[answer.kind](content, answer)

    def judge_many(self, pairs: Sequence[tuple[str, Answer | Example]]) -> list[Verdict]:
        """The verdict on each (reply, ground truth or example), in order: the same as one by one."""
        return list(self._threads.map(lambda pair: self.judge(*pair), pairs))

    def submit(self, reply: str, truth: Answer | Example) -> Future[Verdict]:
        """`judge` in the background, so that the next replies can be sampled meanwhile."""
        return self._threads.submit(self.judge, reply, truth)

    def check(self, examples: Iterable[Example]) -> None:
        """Raises DataError, naming examples, when a kind has no verifier or a ground truth is rejected by its own."""
        examples = list(examples)
        found = zip(examples, self.bad_ground_truths(examples), strict=True)
        named = [f"  example {example.id}, {bad}" for example, bad in found if bad is not None]
        if named:
            first = "" if len(named) <= _LISTED else f" The first {_LISTED}:"
            headline = f"{len(named):,} of {len(examples):,} ground truths cannot be used.{first}"
            raise DataError("\n".join([headline, *named[:_LISTED]]))

    def bad_ground_truths(self, examples: Sequence[Example]) -> list[BadRow | None]:
        """What is wrong with each ground truth: no verifier of its kind, or one that rejects it. None: nothing is."""
        verdicts = iter(self.truth_verdicts([e for e in examples if e.answer.kind in self.kinds]))
        return [
            self._bad_ground_truth(e.answer, next(verdicts))
            if e.answer.kind in self.kinds
            else self._unscored(e.answer)
            for e in examples
        ]

    def _unscored(self, answer: Answer) -> BadRow:
        got = f"`{answer.kind}`, which no verifier scores"
        remedy = "leave the row out, or name a scorer for free text (`reward.open`, or --set open.scorer=...)"
        return BadRow("kind", f"one of {', '.join(self.kinds)}", got, remedy)

    def _bad_ground_truth(self, answer: Answer, verdict: Verdict) -> BadRow | None:
        if self.accepts(answer, verdict):
            return None
        got = f"{shown(answer.text)}, which is `{verdict.status}` ({verdict.why})"
        if isinstance(answer, OpenEnded):
            remedy = "see to the scorer (`reward.open`): a judge must be able to return the JSON that it is asked for"
            return BadRow("answer", "a reference that the scorer of free text gives a score", got, remedy)
        expected = f"a ground truth of kind `{answer.kind}` that its own verifier accepts"
        return BadRow("answer", expected, got, "correct it, or give it another `kind`")

    def truth_verdicts(self, examples: Sequence[Example]) -> list[Verdict]:
        """The verdict on each ground truth, given as a reply to its own question."""
        return self.judge_many([(f"{OPEN}{self._as_a_reply(e.answer)}{CLOSE}", e) for e in examples])

    def _as_a_reply(self, answer: Answer) -> str:
        """A ground truth as a reply would write it: boxes in the units that replies are read in."""
        return box_text(answer, answer.coordinates or self._coordinates) if isinstance(answer, Box) else answer.text

    def accepts(self, answer: Answer, verdict: Verdict) -> bool:
        """Whether a ground truth's own verdict lets it be used: it must score 1, and free text must be measurable."""
        if self._user is not None or isinstance(answer, OpenEnded):
            return verdict.status in (Status.OK, Status.UNSCORED)
        return verdict.score is not None and verdict.score >= _SAME
