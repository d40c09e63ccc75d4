"""WeMath: one option per step, by rules or a judge, and else by chance (arXiv:2407.01284)."""

import random

from firsthand.answers.letters import LETTERS
from firsthand.evaluation.leaderboard.matching import NONE_OF_THEM, infer_option
from firsthand.evaluation.leaderboard.prompts import CHOOSE, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file
from firsthand.records import content_id


def score_reply(cells: TextCells, reply: str) -> ScorerRun:
    """Score one reply. The guess, where even the judge names no option, is a draw of our own, named by the question."""
    reply = through_a_file(reply)
    options = {letter: cells[letter] for letter in LETTERS if through_a_file(cells.get(letter, "")) != "nan"}
    lost = "" if cells["answer"] in options else "option_is_missing"
    found = infer_option(reply, options)
    if found is not None:
        return ReplyScore(right=found == cells["answer"], extracted=found, quirk=lost)
    listed = "".join(f"\n{letter}. {text}" for letter, text in options.items())
    text = fill(CHOOSE, question=cells["question"], options=listed, reply=reply)
    for attempt in range(3):
        found = infer_option((yield JudgeQuestion(text, attempt, max_tokens=2048)), options)
        if found is not None:
            return ReplyScore(right=found == cells["answer"], extracted=found, by="judge", quirk=lost)
    guess = random.Random(content_id(cells["question"], options, reply)).choice([*options, NONE_OF_THEM])
    return ReplyScore(right=guess == cells["answer"], extracted=guess, by="chance", quirk="chance")
