"""MathVerse: one judge takes the answer from the reply, another compares it with the gold (arXiv:2403.14624)."""

from firsthand.evaluation.leaderboard.prompts import CONSISTENT, EXTRACT, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file


def score_reply(cells: TextCells, reply: str) -> ScorerRun:
    """Score one reply. Answers that agree to the letter need no second judge."""
    said = yield JudgeQuestion(fill(EXTRACT, reply=through_a_file(reply)))
    found, gold = through_a_file(said), through_a_file(cells["answer"]).strip()
    if found.strip() == gold:
        return ReplyScore(right=True, extracted=found, by="judge")
    text = fill(CONSISTENT, question=cells["question_for_eval"], gold=cells["answer"], answer=found)
    for attempt in range(5):  # each time at a temperature that is 0.5 higher
        verdict = yield JudgeQuestion(text, attempt, temperature=0.5 * attempt)
        if verdict.strip() in ("0", "1"):
            return ReplyScore(right=verdict.strip() == "1", extracted=found, by="judge")
    return ReplyScore(right=False, extracted=found, by="judge", quirk="unread_verdict")
