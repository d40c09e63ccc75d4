"""LLaVA's format, in which most published sets come: `conversations` of a question and a reply -> the plain columns.

The reply is the gold answer, and what leads up to it a demonstration, where the two can be told apart: in LLaVA-CoT's
`<CONCLUSION>`, or an `<answer>` block.
"""

import re
from typing import Any

from firsthand.answers.stated import split_last_block
from firsthand.data.rows import Cells
from firsthand.errors import BadRow, shown

_ASKS = ("human", "user")
_REPLIES = ("gpt", "assistant")
_STAGE = re.compile(r"</?(?:SUMMARY|CAPTION|REASONING)>")


def plain_cells(cells: Cells) -> tuple[Cells, dict[str, str]]:
    """The row in the plain columns, and a map from those columns to the user's, for errors. Raises BadRow."""
    asked, replied = _exchange(cells["conversations"])
    rest = {column: value for column, value in cells.items() if column != "conversations"}
    names = dict.fromkeys(("question", "answer", "trace"), "conversations")
    return {"question": asked, **split_reply(replied), **rest}, names


def split_reply(text: str) -> Cells:
    """A reply as `answer`, and `trace` where there are steps before it."""
    if concluded := split_last_block(text, "CONCLUSION"):
        steps, answer = _STAGE.sub("", concluded[0]).strip(), concluded[1].strip()
        return {"answer": answer, "trace": f"<think>\n{steps}\n</think>\n<answer>{answer}</answer>"}
    if answered := split_last_block(text, "answer"):
        steps, answer = (part.strip() for part in answered)
        return {"answer": answer, "trace": f"{steps}\n<answer>{answer}</answer>"} if steps else {"answer": answer}
    return {"answer": text}


def _exchange(turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        remedy = 'write [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]'
        raise BadRow("conversations", "a list of turns", shown(turns), remedy, "bad_question")
    said = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    roles = [role for role, _ in said]
    if len(said) != 2 or roles[0] not in _ASKS or roles[1] not in _REPLIES:
        got, remedy = f"turns of {shown(roles)}", "put one exchange in each row: later turns need the earlier replies"
        raise BadRow("conversations", "one question and one reply", got, remedy, "bad_question")
    (_, asked), (_, replied) = said
    if not isinstance(asked, str) or not isinstance(replied, str):
        raise BadRow("conversations", "texts", shown([asked, replied]), "write them as strings", "bad_question")
    return asked, replied
