"""WeMath: one option per step, by rules or a judge, and else by chance (arXiv:2407.01284)."""

import random

from firsthand.answers.letters import LETTERS
from firsthand.evaluation.leaderboard.matching import NONE_OF_THEM, infer_option
from firsthand.evaluation.leaderboard.prompts import CHOOSE, filled
from firsthand.evaluation.leaderboard.scorer import MISSING, Cells, Marked, Marking, Question, through_a_file
from firsthand.records import content_id

ATTEMPTS = 3


def mark(cells: Cells, reply: str) -> Marking:
    """Mark one reply. The guess, where even the judge names no option, is a draw of our own, named by the question."""
    reply = through_a_file(reply)
    options = {letter: cells[letter] for letter in LETTERS if cells.get(letter, "") not in MISSING}
    lost = "" if cells["answer"] in options else "option_is_missing"
    found = infer_option(reply, options)
    if found is not None:
        return Marked(right=found == cells["answer"], extracted=found, oddity=lost)
    listed = "".join(f"\n{letter}. {text}" for letter, text in options.items())
    text = filled(CHOOSE, question=cells["question"], options=listed, reply=reply)
    for attempt in range(ATTEMPTS):
        found = infer_option((yield Question(text, attempt, max_tokens=2048)), options)
        if found is not None:
            return Marked(right=found == cells["answer"], extracted=found, by="judge", oddity=lost)
    guess = random.Random(content_id(cells["question"], options, reply)).choice([*options, NONE_OF_THEM])
    return Marked(right=guess == cells["answer"], extracted=guess, by="chance", oddity="chance")
