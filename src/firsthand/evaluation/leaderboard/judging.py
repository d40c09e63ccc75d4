"""Score many replies: in each round, all open questions go to the judge together.

A reply for which the judge gives nothing has no score, and the reason is kept: it is never a wrong answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Literal, NamedTuple

from firsthand.evaluation.leaderboard import dynamath, logicvista, mathverse, mathvision, mathvista, wemath
from firsthand.evaluation.leaderboard.prompts import PROMPTS_VERSION
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells
from firsthand.records import Record, content_id
from firsthand.teacher import AnswerLog, BatchClient, Endpoint, Failure, Message, Outcome, Request
from firsthand.workers.pool import MATHVISION, WorkerDied, WorkerPool

LeaderboardScorer = Literal["mathvista", "mathvision", "mathverse", "dynamath", "wemath", "logicvista"]
NO_JUDGE = "no judge is configured, and rules alone do not decide it"


class NotScored(Record):
    """Why a reply has no score."""

    why: str
    is_passing: bool = False
    """The judge did not answer at all: another call asks again."""


class Pair(NamedTuple):
    """A benchmark's row, and the reply to it."""

    cells: TextCells
    reply: str


class LeaderboardJudge(Record):
    """Who is asked, and in whose words: what a leaderboard's number depends on besides the replies."""

    endpoint: Endpoint

    @property
    def identity(self) -> str:
        """16 hex digits of what its answers depend on."""
        own = {"max_tokens"} & self.endpoint.model_fields_set
        asked = self.endpoint.model_dump(mode="json", include={"model", "extra"} | own)
        return content_id("leaderboard", asked, PROMPTS_VERSION)

    def request(self, question: JudgeQuestion) -> Request:
        """A question as a request; another attempt has another key, so that it is drawn anew."""
        # What the user has said holds: a judge that thinks needs more than VLMEvalKit's 128.
        is_said = "max_tokens" in self.endpoint.model_fields_set
        system = (Message(role="system", text=question.system),) if question.system else ()
        return Request(
            model=self.endpoint.model,
            messages=(*system, Message(role="user", text=question.text)),
            temperature=question.temperature,
            max_tokens=self.endpoint.max_tokens if is_said else question.max_tokens,
            seed=question.attempt or None,
            extra=self.endpoint.extra,
        )


Scorers = Mapping[LeaderboardScorer, Callable[[TextCells, str], ScorerRun]]


@contextmanager
def open_scorers() -> Iterator[Scorers]:
    """The six scorers, and the worker processes that one of them needs until the block ends."""
    with closing(WorkerPool(2, mathvision.DEADLINE_S, (str(MATHVISION),))) as pool:
        yield {
            "mathvista": mathvista.score_reply,
            "mathvision": partial(mathvision.score_reply, ask=pool.ask),
            "mathverse": mathverse.score_reply,
            "dynamath": dynamath.score_reply,
            "wemath": wemath.score_reply,
            "logicvista": logicvista.score_reply,
        }


def score_replies(
    scorer: LeaderboardScorer, pairs: Sequence[Pair], judge: LeaderboardJudge | None, log: AnswerLog | None
) -> list[ReplyScore | NotScored]:
    """The score of each reply. Without a judge, only of those that rules decide; `log` keeps what a judge has said.

    Raises Outage, BudgetSpent or RecipeError when the judge cannot be had; what it has said is in the log by then.
    """
    with open_scorers() as scorers:
        runs = [scorers[scorer](*pair) for pair in pairs]
        steps = [_advance(run, None) for run in runs]
        while asked := {place: step for place, step in enumerate(steps) if isinstance(step, JudgeQuestion)}:
            outcomes: Iterable[tuple[int, Outcome | None]] = dict.fromkeys(asked).items()
            if judge is not None and log is not None:
                requests = ((place, judge.request(question)) for place, question in asked.items())
                outcomes = BatchClient(judge.endpoint, log, step=f"judge {judge.endpoint.model}").answers(requests)
            for place, outcome in outcomes:
                said = _said(outcome)
                if isinstance(said, NotScored):
                    runs[place].close()
                steps[place] = said if isinstance(said, NotScored) else _advance(runs[place], said)
    return [step for step in steps if not isinstance(step, JudgeQuestion)]


def _advance(run: ScorerRun, said: str | None) -> JudgeQuestion | ReplyScore | NotScored:
    """The scorer's next question, or its score."""
    try:
        return next(run) if said is None else run.send(said)
    except StopIteration as end:
        score: ReplyScore = end.value
        return score
    except WorkerDied as error:
        return NotScored(why=str(error))


def _said(outcome: Outcome | None) -> str | NotScored:
    """What the judge said; a text that was cut at its longest counts, as there."""
    if outcome is None:
        return NotScored(why=NO_JUDGE)
    if not isinstance(outcome, Failure) or (outcome.reason == "truncated" and outcome.text):
        return outcome.text
    why = f"the judge gave no answer: {outcome.reason}, {outcome.detail}"
    return NotScored(why=why, is_passing=outcome.reason == "unanswered")
