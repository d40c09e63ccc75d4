"""MathVerse: one judge takes the answer from the reply, another compares it with the gold (arXiv:2403.14624)."""

from firsthand.evaluation.leaderboard.prompts import CONSISTENT, EXTRACT, filled
from firsthand.evaluation.leaderboard.scorer import Cells, Marked, Marking, Question, through_a_file

ATTEMPTS = 5
"""How often the second judge is asked, each time at a temperature that is 0.5 higher."""


def mark(cells: Cells, reply: str) -> Marking:
    """Mark one reply. Answers that agree to the letter need no second judge."""
    said = yield Question(filled(EXTRACT, reply=through_a_file(reply)))
    found, gold = through_a_file(said), through_a_file(cells["answer"]).strip()
    if found.strip() == gold:
        return Marked(right=True, extracted=found, by="judge")
    text = filled(CONSISTENT, question=cells["question_for_eval"], gold=cells["answer"], answer=found)
    for attempt in range(ATTEMPTS):
        verdict = yield Question(text, attempt, temperature=0.5 * attempt)
        if verdict.strip() in ("0", "1"):
            return Marked(right=verdict.strip() == "1", extracted=found, by="judge")
    return Marked(right=False, extracted=found, by="judge", oddity="unread_verdict")
