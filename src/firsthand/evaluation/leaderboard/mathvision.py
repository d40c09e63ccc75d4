"""MathVision: as MathVista, but free answers are equal if Python or a LaTeX parser finds them so (arXiv:2402.14804)."""

from collections.abc import Callable
from typing import Any

from firsthand.evaluation.leaderboard.matching import infer_option
from firsthand.evaluation.leaderboard.mathvista import options_of
from firsthand.evaluation.leaderboard.prompts import TAKE_ANSWER, filled
from firsthand.evaluation.leaderboard.scorer import Cells, Marked, Marking, Question, through_a_file
from firsthand.workers.pool import DeadlineExceeded

DEADLINE_S = 30.0
"""Of one comparison, as there."""

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""Send a comparison to a worker that runs equal.py; raises DeadlineExceeded and WorkerDied."""


def mark(cells: Cells, reply: str, ask: Ask) -> Marking:
    """Mark one reply. `ask` compares free answers in a worker. Raises WorkerDied when that worker dies of one."""
    reply, gold, options = through_a_file(reply), through_a_file(cells["answer"]), options_of(cells)
    if options:
        found, by = infer_option(reply, options), "rules"
        if found is None:
            found, by = through_a_file((yield _question(cells, reply))), "judge"
        letter = infer_option(found, options)
        return Marked(right=letter == cells["answer"], extracted=found, by="rules" if by == "rules" else "judge")
    right, oddity = _equal(gold, reply, ask)
    if right:
        return Marked(right=True, extracted=reply, oddity=oddity)
    said = through_a_file((yield _question(cells, reply)))
    right, oddity = _equal(gold, said, ask)
    return Marked(right=right, extracted=said, by="judge", oddity=oddity)


def _question(cells: Cells, reply: str) -> Question:
    return Question(filled(TAKE_ANSWER, question=cells["question"], reply=reply))


def _equal(gold: str, given: str, ask: Ask) -> tuple[bool, str]:
    if gold.lower().strip() == given.lower().strip():
        return True, ""
    try:
        found = ask({"gold": gold, "answer": given})
    except DeadlineExceeded:
        return False, "not_in_time"
    return bool(found["equal"]), str(found["oddity"])
