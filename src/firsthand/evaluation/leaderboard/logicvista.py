"""LogicVista: a judge names the letters, one or several, and all of them must be right (arXiv:2407.04973)."""

from firsthand.evaluation.leaderboard.prompts import LETTERS_OF, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file


def score_reply(cells: TextCells, reply: str) -> ScorerRun:
    """Score one reply. Their order does not matter."""
    gold = sorted(letter.lower() for letter in cells["answer"].split(", "))
    text = fill(LETTERS_OF, question=cells["question"], reply=through_a_file(reply))
    for attempt in range(5):  # until the judge writes capital letters alone, each time at a temperature 0.5 higher
        said = yield JudgeQuestion(text, attempt, temperature=0.5 * attempt)
        if said.isupper() and said.isalpha():
            right = "".join(sorted(said.lower())) == "".join(gold)
            return ReplyScore(right=right, extracted=said, by="judge")
    return ReplyScore(right=False, extracted=None, by="judge", quirk="unread_verdict")
