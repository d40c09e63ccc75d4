"""MathVision: as MathVista, but free answers are equal if Python or a LaTeX parser finds them so (arXiv:2402.14804)."""

from collections.abc import Callable
from typing import Any

from firsthand.evaluation.leaderboard.matching import infer_option
from firsthand.evaluation.leaderboard.mathvista import options_of
from firsthand.evaluation.leaderboard.prompts import TAKE_ANSWER, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file
from firsthand.workers.pool import DeadlineExceeded

DEADLINE_S = 30.0
"""Of one comparison, as there."""

_Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a comparison to a worker that runs workers/mathvision.py; raises DeadlineExceeded and WorkerDied."""


def score_reply(cells: TextCells, reply: str, ask: _Ask) -> ScorerRun:
    """Score one reply. `ask` compares free answers in a worker. Raises WorkerDied when that worker dies of one."""
    reply, gold, options = through_a_file(reply), through_a_file(cells["answer"]), options_of(cells)
    question = JudgeQuestion(fill(TAKE_ANSWER, question=cells["question"], reply=reply))
    if options:
        found, by = infer_option(reply, options), "rules"
        if found is None:
            found, by = through_a_file((yield question)), "judge"
        letter = infer_option(found, options)
        return ReplyScore(right=letter == cells["answer"], extracted=found, by="rules" if by == "rules" else "judge")
    right, quirk = _equal(gold, reply, ask)
    if right:
        return ReplyScore(right=True, extracted=reply, quirk=quirk)
    said = through_a_file((yield question))
    right, quirk = _equal(gold, said, ask)
    return ReplyScore(right=right, extracted=said, by="judge", quirk=quirk)


def _equal(gold: str, given: str, ask: _Ask) -> tuple[bool, str]:
    if gold.lower().strip() == given.lower().strip():
        return True, ""
    try:
        found = ask({"gold": gold, "answer": given})
    except DeadlineExceeded:
        return False, "not_in_time"
    return bool(found["equal"]), str(found["quirk"])
