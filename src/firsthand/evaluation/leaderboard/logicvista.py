"""LogicVista: a judge names the letters, one or several, and all of them must be right (arXiv:2407.04973)."""

from firsthand.evaluation.leaderboard.prompts import LETTERS_OF, filled
from firsthand.evaluation.leaderboard.scorer import Cells, Marked, Marking, Question, through_a_file

ATTEMPTS = 5
"""How often the judge is asked until it writes capital letters alone, each time at a temperature that is 0.5 higher."""


def mark(cells: Cells, reply: str) -> Marking:
    """Mark one reply. Their order does not matter."""
    gold = sorted(letter.lower() for letter in cells["answer"].split(", "))
    text = filled(LETTERS_OF, question=cells["question"], reply=through_a_file(reply))
    for attempt in range(ATTEMPTS):
        said = yield Question(text, attempt, temperature=0.5 * attempt)
        if said.isupper() and said.isalpha():
            right = "".join(sorted(said.lower())) == "".join(gold)
            return Marked(right=right, extracted=said, by="judge")
    return Marked(right=False, extracted=None, by="judge", oddity="unread_verdict")
