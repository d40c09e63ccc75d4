"""What other projects call our columns. A row that says one thing in two columns, differently, is refused by name.

problem; query; instruction and input                  -> question     EasyR1, R1-V; ms-swift; LLaMA-Factory
ground_truth, gt, reward_model.ground_truth            -> answer       TRL, verl
a reply, response, output, or solution                 -> answer, and what leads up to it a demonstration
image_1, image_2 ... with <image 1> in the question    -> images       MMMU
file_name, file_names                                  -> images       Hugging Face's imagefolder
A, B, C ...                                            -> options      VLMEvalKit, tables
"""

import re
from collections.abc import Collection

from firsthand.answers.letters import LETTERS
from firsthand.answers.literals import cell_text, literal
from firsthand.answers.stated import split_last_block
from firsthand.data.fields import lookup
from firsthand.data.messages import Said
from firsthand.data.normalise import boxed_at_the_end, unwrapped
from firsthand.data.rows import Cells, is_missing
from firsthand.errors import BadRow, shown
from firsthand.records import IMAGE_MARK

_GOLD = ("answer", "ground_truth", "gt", "reward_model.ground_truth")
_ASKED = (("query", "", "response"), ("instruction", "input", "output"))
"""Columns of the question, of what it is about, and of the reply."""
_NUMBERED_COLUMN = re.compile(r"image_?([0-9]{1,2})")
_NUMBERED_MARK = re.compile(r"<image[ _]?([0-9]{1,2})>")
_OPTION_COLUMN = re.compile(r"([A-Z])|(?i:option|choice)[ _]?([A-Za-z]|[1-9])")
_STAGE = re.compile(r"</?(?:SUMMARY|CAPTION|REASONING)>")
_NAME_IT = "leave one out, or say which you mean: fields: {{{}: {}}}"


def in_our_columns(
    cells: Cells, names: dict[str, str], reply: Said | None, mapped: Collection[str], kind: str | None
) -> tuple[Cells, dict[str, str]]:
    """The row in the plain columns, and a map from those columns to the user's, for errors. Raises BadRow.

    `names` is that map so far, `reply` what messages hold as one, and `mapped` are our columns which the
    user has filled, and `kind` is that of rows that name none.
    """
    cells = {column: value for column, value in cells.items() if not is_missing(value)}
    names = dict(names)
    if "question" not in mapped:
        reply = _take_question(cells, names) or reply
    _take_pictures(cells, names, mapped)
    _take_options(cells, names)
    if "answer" not in mapped:
        _take_gold(cells, names, reply, str(cells.get("kind", kind)))
    _refuse_unread(cells)
    return cells, names


def split_reply(text: str) -> Cells:
    """A reply as `answer`, and `trace` where there are steps before it."""
    if concluded := split_last_block(text, "CONCLUSION"):
        steps, answer = _STAGE.sub("", concluded[0]).strip(), concluded[1].strip()
        return {"answer": answer, "trace": f"<think>\n{steps}\n</think>\n<answer>{answer}</answer>"}
    if answered := split_last_block(text, "answer"):
        steps, answer = (part.strip() for part in answered)
        return {"answer": answer, "trace": text.strip()} if steps else {"answer": answer}
    thought, mark, answer = text.rpartition("</think>")
    if mark and answer.strip():
        return {"answer": answer.strip(), "trace": f"{thought}{mark}"}
    return {"answer": text}


def _take_question(cells: Cells, names: dict[str, str]) -> Said | None:
    """Fill `question`; the reply that stands in a column beside it."""
    if "problem" in cells:
        if _folded(cells.get("question", cells["problem"])) != _folded(cells["problem"]):
            got, remedy = "`question` and `problem`, which differ", _NAME_IT.format("question", "problem")
            raise BadRow("question", "one question", got, remedy)
        names.setdefault("question", "question" if "question" in cells else "problem")
        cells.setdefault("question", cells["problem"])
        del cells["problem"]
    for column, about, replied in _ASKED:
        if "question" in cells or column not in cells:
            continue
        if cells.get("history"):
            raise BadRow("history", "one exchange", "earlier turns", "put one exchange in each row", "bad_question")
        parts = [cells.pop(part) for part in (column, about) if part in cells]
        cells["question"] = "\n".join(p for p in parts if p) if all(isinstance(p, str) for p in parts) else parts[0]
        names["question"] = column
        return Said(cells.pop(replied), replied) if replied in cells else None
    return None


def _take_pictures(cells: Cells, names: dict[str, str], mapped: Collection[str]) -> None:
    numbered = sorted((int(m[1]), column) for column in cells if (m := _NUMBERED_COLUMN.fullmatch(column)))
    own = next((column for column in ("image", "images") if column in cells), None)
    if {"image", "images"} & set(mapped):
        numbered = []
    if numbered and own:
        got = f"`{own}` and `{numbered[0][1]}`"
        raise BadRow(own, "pictures in one column, or in numbered ones", got, _NAME_IT.format(own, own))
    if numbered:
        cells["images"] = [cells.pop(column) for _, column in numbered]
        names |= {f"images[{i}]": column for i, (_, column) in enumerate(numbered)}
    elif own is None and (theirs := next((c for c in ("file_name", "file_names") if c in cells), None)):
        ours = theirs.replace("file_name", "image")
        cells[ours], names[ours] = cells.pop(theirs), theirs
    for column in ("image", "images"):
        if isinstance(cells.get(column), str):
            cells[column] = literal(cells[column])  # a list of paths as text
    _place_numbered_marks(cells)


def _place_numbered_marks(cells: Cells) -> None:
    """`<image 2>` as a mark of ours, where each picture has one, in order; else they stay, behind the pictures."""
    question = cells.get("question")
    numbers = [int(n) for n in _NUMBERED_MARK.findall(question)] if isinstance(question, str) else []
    if not numbers:
        return
    pictures = cells.get("images", cells.get("image"))
    count = len(pictures) if isinstance(pictures, list) else int(pictures is not None)
    if max(numbers) > count:
        got, remedy = f"<image {max(numbers)}> and {count} images", "add what is missing, or correct the marks"
        raise BadRow("question", "marks of images that are there", got, remedy)
    in_options = any(_NUMBERED_MARK.search(str(cells.get(column))) for column in ("options", "choices"))
    if numbers == [*range(1, count + 1)] and not in_options:
        cells["question"] = _NUMBERED_MARK.sub(IMAGE_MARK, str(question))


def _take_options(cells: Cells, names: dict[str, str]) -> None:
    """Options in columns of their own, `A`, `option_a` or `option1`, which start with the first and have no gap."""
    columns: dict[str, str] = {}
    for column in cells:
        if found := _OPTION_COLUMN.fullmatch(column):
            letter = (found[1] or found[2]).upper()
            columns.setdefault(LETTERS[int(letter) - 1] if letter.isdecimal() else letter, column)
    if len(columns) < 2 or "A" not in columns or cells.keys() & {"choices", "options"}:
        return
    if sorted(columns) != [*LETTERS[: len(columns)]]:
        raise BadRow("options", "options A, B, C ... without a gap", ", ".join(sorted(columns)), "fill them in")
    names["options"] = f"{columns['A']}, {columns['B']} ..."
    cells["options"] = [cells.pop(columns[letter]) for letter in sorted(columns)]


def _take_gold(cells: Cells, names: dict[str, str], reply: Said | None, kind: str) -> None:
    """Fill `answer`, and `trace` where steps lead up to it."""
    found = [Said(value, column) for column in _GOLD if (value := lookup(cells, column)) is not None]
    solved = Said(cells["solution"], "solution") if "solution" in cells else None
    for other in found[1:]:
        _refuse_another(found[0], other, kind)
    if not found and solved and (reply is None or reply.column == "completion" or _is_bare(solved.value)):
        found = [solved]
        del cells["solution"]
    gold = found[0] if found else reply
    if gold is None:
        return
    if gold.column != "answer":
        cells.pop(gold.column.partition(".")[0], None)
    names["answer"] = gold.column
    parts = _parts(gold, kind)
    cells["answer"] = parts["answer"]
    steps = [Said(parts["trace"], gold.column)] if "trace" in parts else []
    if found and reply is not None and (told := _demonstration(reply, gold, kind)):
        steps.append(told)
    if solved and found != [solved] and _is_block(solved.value):
        _refuse_another(gold, solved, kind)
        del cells["solution"]  # the gold answer again: no steps, so no demonstration
    if steps and ("trace" in cells or len(steps) > 1):
        got = f"steps here and {f'a `{steps[1].column}`' if len(steps) > 1 else 'in `trace`'}"
        raise BadRow(steps[0].column, "one demonstration", got, "keep one of the two")
    if steps:
        cells["trace"], names["trace"] = steps[0]


def _parts(said: Said, kind: str) -> Cells:
    if isinstance(said.value, list) and len(said.value) == 1 and cell_text(said.value[0]) is not None:
        return {"answer": said.value[0]}
    if not isinstance(said.value, str):
        return {"answer": said.value}
    parts = split_reply(said.value)
    if kind in ("open", "text"):
        return parts
    steps, mark, answer = parts["answer"].rpartition("\n####")  # GSM8K's last line
    if mark and steps.strip() and answer.strip() and "\n" not in answer.strip():
        return {"answer": answer.strip(), "trace": steps.strip()}
    boxed = None if said.column in _GOLD else boxed_at_the_end(parts["answer"])
    return parts if boxed is None else {"answer": boxed, "trace": said.value}


def _demonstration(reply: Said, gold: Said, kind: str) -> Said | None:
    """A reply beside a gold answer of its own; None where it says no more than that."""
    if reply.column != "completion" and _is_bare(reply.value):
        _refuse_another(gold, reply, kind)
    if not isinstance(reply.value, str):
        return None
    parts = split_reply(reply.value)
    is_demonstration = reply.column == "completion" and _is_block(reply.value)  # TRL's column for what is imitated
    says_more = "trace" in parts or is_demonstration or not _agree(gold, reply, kind)
    return Said(parts.get("trace", reply.value), reply.column) if says_more else None


def _agree(gold: Said, other: Said, kind: str) -> bool:
    return _folded(_parts(gold, kind)["answer"]) == _folded(_parts(other, kind)["answer"])


def _refuse_another(gold: Said, other: Said, kind: str) -> None:
    if not _agree(gold, other, kind):
        got = f"{shown(gold.value)} in `{gold.column}` and {shown(other.value)} in `{other.column}`"
        raise BadRow("answer", "one gold answer", got, _NAME_IT.format("answer", other.column))


def _is_block(value: object) -> bool:
    block = split_last_block(value, "answer") if isinstance(value, str) else None
    return block is not None and not block[0].strip()


def _is_bare(value: object) -> bool:
    """Whether a value is an answer and no steps: a block, a number, a box, or a word."""
    return not isinstance(value, str) or _is_block(value) or (len(value.split()) < 2 and "<" not in value)


def _folded(value: object) -> str:
    """A value by which two are the same: without a block or marks of maths around it."""
    text = cell_text(value)
    text = str(value) if text is None else text
    block = split_last_block(text, "answer")
    return unwrapped(block[1] if block and not block[0].strip() else text).casefold()


def _refuse_unread(cells: Cells) -> None:
    """What is neither text nor a picture, and ms-swift's placeholders, whose values stand elsewhere."""
    for column in ("videos", "audios", "video", "audio"):
        if cells.get(column) and (column.endswith("s") or not cells.keys() & {"image", "images"}):
            remedy = "leave such rows out, or give a video's frames as `images`"
            raise BadRow(column, "text and pictures", shown(cells[column]), remedy, "bad_image")
    question = str(cells.get("question", ""))
    marks = ("<video>", "<audio>") if cells.keys() & {"image", "images"} else ("<video>", "<audio>", "<img", "![")
    if mark := next((mark for mark in marks if mark in question), None):
        remedy = "give pictures as `images` with <image> in their places, and leave rows with others out"
        raise BadRow("question", "text with its pictures in a column", f"{mark!r} in it", remedy)
    for column in ("question", "answer"):
        mark = next((m for m in ("<ref-object>", "<bbox>") if m in str(cells.get(column, ""))), None)
        if mark:
            remedy = (
                "write the name in place of <ref-object>, and make the box the answer: [x1, y1, x2, y2] in pixels, "
                "with kind `box`"
            )
            where = "objects" if "objects" in cells else column
            raise BadRow(where, "names and boxes in their places", f"the placeholder {mark}", remedy, "bad_question")
