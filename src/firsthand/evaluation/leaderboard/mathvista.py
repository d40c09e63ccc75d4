"""MathVista: rules first, a judge for the rest, then a comparison by the answer's type (arXiv:2310.02255)."""

from collections.abc import Sequence

from firsthand.answers.literals import literal
from firsthand.evaluation.leaderboard.matching import infer_option
from firsthand.evaluation.leaderboard.prompts import TAKE_ANSWER, fill
from firsthand.evaluation.leaderboard.scorer import JudgeQuestion, ReplyScore, ScorerRun, TextCells, through_a_file


def score_reply(cells: TextCells, reply: str) -> ScorerRun:
    """Score one reply. The judge is asked unless the whole reply already is the right number, or names an option."""
    reply, is_zero = through_a_file(reply), False
    if cells["question_type"] == "multi_choice":
        found = infer_option(reply, options_of(cells))
    else:
        is_right = _is_right(cells, reply)
        is_zero = is_right and float(reply) == 0  # 0 is false, and so counts as nothing found
        found = reply if is_right and not is_zero else None
    if found is not None:
        return ReplyScore(right=_is_right(cells, found), extracted=found)
    if cells["question_type"] != "multi_choice" and cells["answer_type"] not in ("integer", "float"):
        return ReplyScore(right=False, extracted=None, quirk="never_right")
    said = yield JudgeQuestion(fill(TAKE_ANSWER, question=cells["question"], reply=reply))
    right = _is_right(cells, through_a_file(said))
    return ReplyScore(right=right, extracted=said, by="judge", quirk="zero_is_asked" if is_zero else "")


def options_of(cells: TextCells) -> dict[str, str]:
    """The options under their letters, from the list that the TSV holds as text."""
    options = literal(cells.get("choices", "[]"))
    listed = options if isinstance(options, Sequence) and not isinstance(options, str) else ()
    return {chr(ord("A") + i): str(option) for i, option in enumerate(listed)}


def _is_right(cells: TextCells, found: str) -> bool:
    """Compare by type: letters, whole numbers as Python's `int` reads them, exactly equal floats."""
    if cells["question_type"] == "multi_choice":
        return infer_option(found, options_of(cells)) == cells["answer_option"]
    number = {"integer": int, "float": float}.get(cells["answer_type"])
    if number is None:
        return False
    try:
        return bool(number(found) == number(cells["answer"]))
    except ValueError:
        return False
