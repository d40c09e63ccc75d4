"""Many marks at once: all questions that are open go to the judge together, round by round.

A mark that the judge could not be had for is absent, and the reason is kept: it is never a wrong answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self, final

from firsthand.evaluation.leaderboard import dynamath, logicvista, mathverse, mathvision, mathvista, wemath
from firsthand.evaluation.leaderboard.prompts import VERSION
from firsthand.evaluation.leaderboard.scorer import Cells, Marked, Marking, Question
from firsthand.records import Record, content_id
from firsthand.teacher import AnswerLog, BatchClient, Endpoint, Failure, Message, Outcome, Request
from firsthand.workers.pool import WorkerDied, WorkerPool

Scoring = Literal["mathvista", "mathvision", "mathverse", "dynamath", "wemath", "logicvista"]
EQUAL = Path(__file__).with_name("equal.py")
NO_JUDGE = "no judge is configured, and rules alone do not decide it"


class Unmarked(Record):
    """Why a reply has no mark."""

    why: str
    is_passing: bool = False
    """The judge did not answer at all: another call asks again."""


class Pair(NamedTuple):
    """What is marked: a benchmark's row, and the reply to it."""

    cells: Cells
    reply: str


class Judge(Record):
    """Who is asked, and in whose words: what a leaderboard's number depends on besides the replies."""

    endpoint: Endpoint

    @property
    def identity(self) -> str:
        """16 hex digits of what its answers depend on."""
        asked = self.endpoint.model_dump(mode="json", include={"model", "extra"} | self._longer)
        return content_id("leaderboard", asked, VERSION)

    @property
    def _longer(self) -> set[str]:
        """`max_tokens`, where the user has said it: a judge that thinks needs more than VLMEvalKit's 128."""
        return {"max_tokens"} & self.endpoint.model_fields_set

    def request(self, question: Question) -> Request:
        """A question as a request; another attempt has another key, so that it is drawn anew."""
        system = (Message(role="system", text=question.system),) if question.system else ()
        return Request(
            model=self.endpoint.model,
            messages=(*system, Message(role="user", text=question.text)),
            temperature=question.temperature,
            max_tokens=self.endpoint.max_tokens if self._longer else question.max_tokens,
            seed=question.attempt or None,
            extra=self.endpoint.extra,
        )


@final
class Markers:
    """The six scorers, and the worker processes that one of them needs. Use as a context manager."""

    def __init__(self, workers: int = 2) -> None:
        self._pool = WorkerPool(workers, mathvision.DEADLINE_S, (str(EQUAL),))
        self._by_name: dict[Scoring, Callable[[Cells, str], Marking]] = {
            "mathvista": mathvista.mark,
            "mathvision": partial(mathvision.mark, ask=self._pool.ask),
            "mathverse": mathverse.mark,
            "dynamath": dynamath.mark,
            "wemath": wemath.mark,
            "logicvista": logicvista.mark,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def begin(self, scoring: Scoring, pair: Pair) -> Marking:
        """A scorer at its start."""
        return self._by_name[scoring](pair.cells, pair.reply)


def mark_all(
    scoring: Scoring, pairs: Sequence[Pair], judge: Judge | None, log: AnswerLog | None
) -> list[Marked | Unmarked]:
    """The mark of each reply. Without a judge, only of those that rules decide; `log` keeps what a judge has said.

    Raises Outage, BudgetSpent or RecipeError when the judge cannot be had; what it has said is in the log by then.
    """
    found: dict[int, Marked | Unmarked] = {}
    with ExitStack() as stack:
        markers = stack.enter_context(Markers())
        waiting: dict[int, tuple[Marking, Question]] = {}
        for place, pair in enumerate(pairs):
            marking = markers.begin(scoring, pair)
            _take(place, marking, _advance(marking, None), found, waiting)
        while waiting:
            asked, waiting = waiting, {}
            for place, outcome in _outcomes(asked, judge, log):
                marking = asked[place][0]
                text = _text(outcome)
                if text is None:
                    marking.close()
                    found[place] = Unmarked(why=_why(outcome), is_passing=_is_passing(outcome))
                else:
                    _take(place, marking, _advance(marking, text), found, waiting)
    return [found[place] for place in range(len(pairs))]


def _take(
    place: int,
    marking: Marking,
    step: Question | Marked | Unmarked,
    found: dict[int, Marked | Unmarked],
    waiting: dict[int, tuple[Marking, Question]],
) -> None:
    if isinstance(step, Question):
        waiting[place] = marking, step
    else:
        found[place] = step


def _advance(marking: Marking, said: str | None) -> Question | Marked | Unmarked:
    """The scorer's next question, or its mark."""
    try:
        return next(marking) if said is None else marking.send(said)
    except StopIteration as end:
        mark: Marked = end.value
        return mark
    except WorkerDied as error:
        return Unmarked(why=str(error))


def _outcomes(
    asked: Mapping[int, tuple[Marking, Question]], judge: Judge | None, log: AnswerLog | None
) -> Iterator[tuple[int, Outcome | None]]:
    if judge is None or log is None:
        yield from ((place, None) for place in asked)
        return
    requests: Iterable[tuple[int, Request]] = (
        (place, judge.request(question)) for place, (_, question) in asked.items()
    )
    yield from BatchClient(judge.endpoint, log, step=f"judge {judge.endpoint.model}").answers(requests)


def _text(outcome: Outcome | None) -> str | None:
    """What the judge said; a text that was cut at its longest counts, as there."""
    if outcome is None:
        return None
    if isinstance(outcome, Failure):
        return outcome.text if outcome.reason == "truncated" and outcome.text else None
    return outcome.text


def _is_passing(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Failure) and outcome.reason == "unanswered"


def _why(outcome: Outcome | None) -> str:
    return (
        NO_JUDGE
        if not isinstance(outcome, Failure)
        else f"the judge gave no answer: {outcome.reason}, {outcome.detail}"
    )
