"""Rows whose question stands in messages: who says what, with which pictures. One reading for every project's spelling.

    conversations   [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]          LLaVA, ShareGPT, VLM-R1
    messages        [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]  OpenAI, HF, ms-swift,
                                                                                               LLaMA-Factory
    conversation    [{"human": ..., "assistant": ...}]                                        ms-swift's ShareGPT
    prompt          messages without a reply, or the user's text; `completion` is the reply   TRL, verl

A row is one question: at most one system message, one of the user's, and at most one reply. Content is text, or a list
of parts: {"type": "text", "text": ...} and pictures, which stand in the parts themselves or, in the parts' order, in
`images`. A reply may also be a number or a box.
"""

from typing import NamedTuple

from firsthand.answers.literals import literal
from firsthand.data.rows import Cells, is_missing
from firsthand.errors import BadRow, shown
from firsthand.records import IMAGE_MARK

_COLUMNS = ("conversations", "messages", "conversation", "prompt")
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "chatgpt"), "assistant"),
}
_PICTURES = ("image", "image_url", "input_image")
_TEXTS = ("text", "input_text", "output_text")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Where a reply's message holds what was thought before it: DeepSeek's key, vLLM's, TRL's."""
_PICTURE_KEYS = ("image", "image_url", "url", "path", "base64", "source")
"""Where a part holds its picture: Qwen's and Hugging Face's keys, OpenAI's, Anthropic's."""


class Said(NamedTuple):
    """What a column says beside the question: a reply, or all there is of a gold answer."""

    value: object
    column: str


def message_column(cells: Cells) -> str | None:
    """The column whose messages ask the question; None where a column of its own does."""
    if not all(is_missing(cells.get(column)) for column in ("question", "problem")):
        return None
    return next((column for column in _COLUMNS if not is_missing(cells.get(column))), None)


def with_pictures_apart(cells: Cells, column: str) -> tuple[Cells, dict[str, str]]:
    """The row with its messages' pictures in `images`, so that the rest can be checked as text; names for errors.

    Raises BadRow.
    """
    found: list[object] = []

    def bare(part: object) -> object:
        picture = _picture(part)
        if picture is None:
            return part
        found.append(picture)
        return {"type": "image"}

    def apart(turn: object) -> object:
        if not isinstance(turn, dict):
            return turn
        return {key: [*map(bare, said)] if isinstance(said, list) else said for key, said in turn.items()}

    turns = cells[column]
    told = [*map(apart, turns)] if isinstance(turns, list) else turns
    if not found:
        return cells, {}
    if cells.get("images") or not is_missing(cells.get("image")):
        raise BadRow(column, "pictures in the messages, or in a column", "both", "keep one of the two")
    rest = {c: v for c, v in cells.items() if c != "image"}
    return {**rest, column: told, "images": found}, {f"images[{i}]": column for i in range(len(found))}


def exchange(cells: Cells, column: str) -> tuple[Cells, dict[str, str], Said | None]:
    """The row with `question` and `system` in place of messages, our columns -> the user's, and the reply.

    Raises BadRow.
    """
    rest = {c: value for c, value in cells.items() if c not in (column, "completion" if column == "prompt" else "")}
    names = {"question": column}
    said = literal(cells[column])
    turns = [("user", said)] if column == "prompt" and isinstance(said, str) else _turns(said, column)
    roles = [role for role, _ in turns]
    asked = roles[1:] if roles[:1] == ["system"] else roles
    if asked[:1] != ["user"] or asked[1:] not in ([], ["assistant"][: column != "prompt"]):
        expected = "one user's message" + (" and one reply" if column != "prompt" else "")
        remedy = "put one exchange in each row: later turns need the earlier replies"
        raise BadRow(column, f"{expected}, and before it at most a system message", f"roles {shown(roles)}", remedy)
    contents = dict(turns)
    rest["question"] = _text(contents["user"], column)
    if "system" in contents:
        if not is_missing(cells.get("system")):
            raise BadRow("system", "one system prompt", f"one in `{column}` and one in `system`", "keep one of the two")
        rest["system"], names["system"] = _without_pictures(contents["system"], column), column
    if column == "prompt":
        return rest, names, _completion(cells.get("completion"))
    reply = contents.get("assistant")
    if reply is not None and (isinstance(reply, str) or _is_parts(reply)):
        reply = _without_pictures(reply, column)
    return rest, names, None if reply is None else Said(reply, column)


def _turns(messages: object, column: str) -> list[tuple[str, object]]:
    """(role, content) of every message; roles by their common names."""
    turns: list[tuple[str, object]] = []
    for message in messages if isinstance(messages, list) else [messages]:
        given = _given(message)
        if "human" in given and given.keys() <= {"human", "assistant"}:
            turns += [(_ROLES[role], said) for role, said in given.items()]
            continue
        role, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
        if role == "system" and content is None:
            continue
        if not isinstance(role, str) or content is None:
            who, what = ("from", "value") if column == "conversations" else ("role", "content")
            remedy = f'write [{{"{who}": "user", "{what}": ...}}, {{"{who}": "assistant", "{what}": ...}}]'
            raise BadRow(column, f"messages with {who} and {what}", shown(messages), remedy)
        thought = next((given[key] for key in _THOUGHTS if key in given), None)
        if isinstance(thought, str) and isinstance(content, str) and thought.strip() and "<think>" not in content:
            content = f"<think>\n{thought.strip()}\n</think>\n{content}"
        turns.append((_ROLES.get(role.lower(), role), content))
    return turns


def _completion(completion: object) -> Said | None:
    if is_missing(completion) or isinstance(completion, str):
        return Said(completion, "completion") if isinstance(completion, str) else None
    turns = _turns(completion, "completion")
    roles = [role for role, _ in turns]
    if roles != ["assistant"]:
        raise BadRow("completion", "one assistant message", f"roles {shown(roles)}", "keep one turn in each row")
    return Said(_without_pictures(turns[0][1], "completion"), "completion")


def _is_parts(content: object) -> bool:
    return isinstance(content, list) and any(isinstance(part, dict) for part in content)


def _text(content: object, column: str) -> str:
    """Text as it stands, or that of parts, with a mark for each picture."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRow(column, "text, or a list of parts", shown(content), "write it as a string")
    texts: list[str] = []
    pictures = 0
    for part in content:
        texts.append(_part(part, pictures, column))
        pictures += texts[-1].count(IMAGE_MARK)
    return "".join(texts)


def _without_pictures(content: object, column: str) -> str:
    text = _text(content, column)
    if IMAGE_MARK in text:
        got, remedy = "one in another message", "move it to the user's"
        raise BadRow(column, "images in the user's message only", got, remedy)
    return text


def _part(part: object, pictures: int, column: str) -> str:
    """A part as text, `pictures` before it."""
    given = _given(part)
    kind, text = given.get("type", "text"), given.get("text")
    if kind in _PICTURES and not text and given.get("index", pictures) == pictures:
        return IMAGE_MARK
    if kind in _TEXTS and isinstance(text, str):
        return text
    remedy = "write text and pictures, in order; videos, sounds and tools are not read"
    raise BadRow(column, "parts {type: image} and {type: text, text: ...}", shown(part), remedy)


def _given(part: object) -> Cells:
    """What a message or a part says. Arrow gives every one all keys: those without a value do not count."""
    return {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}


def _picture(part: object) -> object:
    """What a part holds as its picture: a path, bytes, base64, a data: URI or {bytes, path}."""
    given = _given(part)
    if given.get("type", "image") not in _PICTURES:
        return None
    value = next((given[key] for key in _PICTURE_KEYS if key in given), None)
    if isinstance(value, dict) and not value.keys() & {"bytes", "path"}:  # OpenAI's {url}, Anthropic's {data}
        value = next((value[key] for key in ("url", "data") if value.get(key) is not None), value)
    return value
