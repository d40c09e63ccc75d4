"""TRL's conversational vision format: a row with `prompt` (messages) and `images` -> the plain columns.

    prompt      at most one system message, then one user message, whose content is text or a list of parts
                {"type": "image"} and {"type": "text", "text": ...}; or the user's text alone
    images      pictures in the order of the image parts (`image` for a single one)
    answer      the gold answer, or else `ground_truth`, or else `solution`; an <answer> block around it is taken off
    completion  optional: the assistant's message, a demonstration; `solution` next to another gold column is one too

What TRL counts, is counted the same way here: image parts must equal images, and plain text puts all images first.
Source: trl 1.16, `data_utils.prepare_multimodal_messages`.
"""

from typing import Any

from firsthand.answers.stated import split_last_block
from firsthand.data.rows import Cells, is_missing
from firsthand.errors import BadRow, shown
from firsthand.records import IMAGE_MARK

_GOLD = ("answer", "ground_truth", "solution")


def plain_cells(cells: Cells) -> tuple[Cells, dict[str, str]]:
    """The row in the plain columns, and a map from those columns to the user's, for errors. Raises BadRow."""
    prompt, completion = cells["prompt"], cells.get("completion")
    rest = {column: value for column, value in cells.items() if column not in ("prompt", "completion")}
    names = {"question": "prompt"}
    system, rest["question"] = _conversation(prompt, _count(cells))
    if system is not None:
        if not is_missing(cells.get("system")):
            raise BadRow("system", "one system prompt", "one in `prompt` and one in `system`", "keep one of the two")
        rest["system"], names["system"] = system, "prompt"
    if not is_missing(completion):
        rest["trace"], names["trace"] = _completion(completion), "completion"
    gold = next((column for column in _GOLD if not is_missing(cells.get(column))), "answer")
    if gold in rest:
        names["answer"] = gold
        rest["answer"] = _take_truth(rest, gold)
    return rest, names


def _take_truth(rest: Cells, gold: str) -> Any:
    """Remove the ground truth and the <answer> block around it, if any; steps around the block are a demonstration."""
    value = rest.pop(gold)
    block = split_last_block(value, "answer") if isinstance(value, str) else None
    if block is None:
        return value
    steps, inside = block
    if steps.strip():
        if "trace" in rest:
            raise BadRow(gold, "one demonstration", "steps here and a `completion`", "keep one of the two")
        rest["trace"] = value
    return inside


def _count(cells: Cells) -> int:
    value = cells.get("images") if not is_missing(cells.get("images")) else cells.get("image")
    return len(value) if isinstance(value, list) else int(not is_missing(value))


def _conversation(prompt: object, pictures: int) -> tuple[str | None, str]:
    """(system prompt or None, question with a mark per image part)."""
    if isinstance(prompt, str):
        return None, prompt
    messages = _messages(prompt, "prompt")
    roles = [message["role"] for message in messages]
    if roles not in (["user"], ["system", "user"]):
        remedy = "put one exchange in each row; earlier turns cannot be told apart from a question"
        raise BadRow("prompt", "a user message, and before it at most a system message", f"roles {roles}", remedy)
    system = _text_of(messages[0]["content"], "prompt") if len(messages) == 2 else None
    content = messages[-1]["content"]
    if isinstance(content, str):
        return system, content
    question = "".join(_part(part, "prompt") for part in _list(content, "prompt"))
    if question.count(IMAGE_MARK) != pictures:
        got = f"{question.count(IMAGE_MARK)} image parts and {pictures} images"
        raise BadRow("prompt", "one {type: image} part per image", got, "add the missing parts or images")
    return system, question


def _completion(completion: object) -> str:
    if isinstance(completion, str):
        return completion
    messages = _messages(completion, "completion")
    if [message["role"] for message in messages] != ["assistant"]:
        roles = [message["role"] for message in messages]
        raise BadRow("completion", "one assistant message", f"roles {roles}", "keep one turn in each row")
    return _text_of(messages[0]["content"], "completion")


def _messages(value: object, column: str) -> list[dict[str, Any]]:
    messages = _list(value, column)
    if not all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in messages):
        raise BadRow(column, "messages with role and content", shown(value), 'write [{"role": ..., "content": ...}]')
    return messages


def _list(value: object, column: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise BadRow(column, "text or a list", shown(value), "write it as in TRL's vision data sets")


def _text_of(content: object, column: str) -> str:
    text = content if isinstance(content, str) else "".join(_part(part, column) for part in _list(content, column))
    if IMAGE_MARK in text:
        raise BadRow(column, "images in the user's message only", "one in another message", "move it to the user's")
    return text


def _part(part: object, column: str) -> str:
    """A part of a message as text. Arrow gives every part all keys, so those without a value do not count."""
    given = {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    if given == {"type": "image"}:
        return IMAGE_MARK
    if given.keys() == {"type", "text"} and given["type"] == "text" and isinstance(given["text"], str):
        return str(given["text"])
    remedy = "keep pictures in the column `images`, and nothing else in the parts"
    raise BadRow(column, "parts {type: image} and {type: text, text: ...}", shown(part), remedy)
