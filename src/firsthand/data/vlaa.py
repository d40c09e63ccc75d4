"""The files of VLAA-Thinking (arXiv:2504.11468): its rows -> the plain columns, and examples -> its rows.

    GRPO-25K   id, image, question, gt, verifier_type, meta        what reinforcement learning asks
    SFT-126K   image, question, answer                             `answer` is <think>...</think><answer>...</answer>
    README     id, image, question, gt, ds_answer, caption, meta   both in one

They are JSON Lines in files called .json. `meta` may be an object that was written as text. Image paths start from the
folder `images/`, with or without a leading slash, and their first part names the upstream set.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from firsthand.answers.ground_truth import columns_beside
from firsthand.answers.literals import literal
from firsthand.answers.stated import split_last_block
from firsthand.data.normalise import normalised_answer, unwrapped
from firsthand.data.rows import Cells
from firsthand.data.store import encoded_picture
from firsthand.data.text import check_cells
from firsthand.errors import BadRow, DataError, shown
from firsthand.files import replacing, write_atomically
from firsthand.records import Choice, Example, Letters, Picture

_KIND_OF = {
    **{"digit": "digit", "mcq": "choice", "math": "math", "iou": "box", "open": "open"},
    **{"letters": "letters", "text": "text", "environment": "environment"},
}
"""`verifier_type` -> our kind. `iou` and `open` are our names: nobody has written down what the release says there. It
has none for the last three."""
_GOLD = "firsthand_gold"
"""In `meta`: what our golds know besides, such as aliases, for which the release has no column."""
_VERIFIERS = {
    **_KIND_OF,
    **dict.fromkeys(("choice", "multiple_choice", "option"), "choice"),
    **dict.fromkeys(("bbox", "box", "grounding"), "box"),
    **dict.fromkeys(("general", "open_ended", "open-ended", "rm", "reward_model"), "open"),
    "number": "digit",
}
_KIND_OF_FOLDER = {
    "clevr_math": "digit",
    "geoqa170k": "choice",
    "arxivqa": "choice",
    "synthesis": "math",
    "coco": "box",
    "vg": "box",
    **dict.fromkeys(("docvqa", "vizwiz", "allava_laion", "chartqa"), "open"),
}
"""First part of an image path -> the reward of that set (figure 4; ChartQA ships, but is not in it)."""

_SHAPES = {
    "digit": r"[+-]?\d+(\.\d+)?",
    "choice": r"[A-Z]",
    "math": r"[^\n]*[=\d\\][^\n]*",
    "box": r"\[\s*[\d.]+(\s*,\s*[\d.]+){3}\s*\]",
}
"""What an answer of an SFT row looks like when its verifier could read it: about a third are prose."""

_EXTENSIONS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


def is_vlaa(cells: Cells) -> bool:
    """Whether a row is of one of these files."""
    if "question" not in cells or "choices" in cells or "options" in cells:
        return False
    answer = cells.get("answer")
    finished = isinstance(answer, str) and "<think>" in answer and split_last_block(answer, "answer") is not None
    return ("gt" in cells and "answer" not in cells) or (finished and not {"trace", "solution"} & cells.keys())


def plain_cells(cells: Cells, kind: str | None) -> tuple[Cells, dict[str, str]]:
    """The row in the plain columns, and a map from those columns to the user's, for errors. Raises BadRow.

    `kind` is for rows without a `verifier_type`; None takes that of the upstream set.
    """
    rest = {c: v for c, v in cells.items() if c not in ("gt", "answer", "ds_answer", "verifier_type", "image", "meta")}
    gold, trace, names = _truth_and_trace(cells)
    image, folder = _image(cells.get("image"))
    meta = literal(cells.get("meta"))
    options = meta.get("options") if isinstance(meta, dict) else None
    kind, gold = _typed(gold, _verified(cells) or cells.get("kind") or kind, _KIND_OF_FOLDER.get(folder))
    given: Cells = {"answer": gold, "trace": trace, "image": image, "kind": kind, "meta": meta, "options": options}
    check_cells({"meta": meta, "family": folder})  # what was text in text, or a part of a path, when cells were checked
    beside = meta.get(_GOLD) if isinstance(meta, dict) else None
    rest |= beside if isinstance(beside, dict) else {}
    known = {"family": folder, **rest, **{column: value for column, value in given.items() if value is not None}}
    return known, names


def _truth_and_trace(cells: Cells) -> tuple[object, str | None, dict[str, str]]:
    """The gold answer, the demonstration with its block unwrapped, and what the two columns are called there."""
    column = "ds_answer" if "gt" in cells else "answer"
    names = {"trace": column, "answer": "gt" if "gt" in cells else "answer"}
    gold = cells.get(column)
    trace = gold if isinstance(gold, str) and gold.strip() else None
    if trace and (block := split_last_block(trace, "answer")):
        steps, gold = block
        trace = f"{steps}<answer>{unwrapped(gold)}</answer>"
    return cells.get("gt", gold), trace, names


def _verified(cells: Cells) -> str | None:
    word = cells.get("verifier_type")
    if word is None:
        return None
    kind = _VERIFIERS.get(word.strip().lower()) if isinstance(word, str) else None
    if kind is None:
        expected, remedy = f"one of {', '.join(_KIND_OF)}", "correct it, or leave it out and give a kind"
        raise BadRow("verifier_type", expected, shown(word), remedy, "bad_answer")
    return kind


def _typed(gold: object, known: str | None, likely: str | None) -> tuple[str | None, object]:
    """Kind and normalised answer: the kind that is known, or else the upstream set's, or `open` where it cannot be."""
    if known is not None or likely is None:
        return known, normalised_answer(gold, known)
    answer = normalised_answer(gold, likely)
    return (likely, answer) if re.fullmatch(_SHAPES.get(likely, r"(?!)"), str(answer)) else ("open", gold)


def _image(value: object) -> tuple[object, str]:
    """The path without a leading slash, and its first part."""
    if isinstance(value, list):
        paths = [_image(path) for path in value]
        return [path for path, _ in paths], paths[0][1] if paths else ""
    if not isinstance(value, str) or value.startswith("data:"):
        return value, ""
    path = value.lstrip("/")
    return path, path.split("/")[0] if "/" in path else ""


def write_vlaa(examples: Iterable[Example], path: Path | str, part: Literal["sft", "rl"]) -> None:
    """Write examples as the release has them: JSON Lines at `path`, and pictures below `images/` beside it.

    `sft` takes the first trace of each example, `rl` its gold answer. Memory stays flat, and the file appears in one
    move. Raises DataError when an example lacks its trace, or a picture is no longer the one that was loaded.
    """
    path = Path(path)
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as lines:
        for example in examples:
            row = _sft_row(example) if part == "sft" else _rl_row(example)
            images = [_kept(picture, example, path.parent / "images") for picture in example.images]
            shown_images = {"image": images[0] if len(images) == 1 else images} if images else {}
            lines.write(json.dumps({**shown_images, **row}, ensure_ascii=False, allow_nan=False) + "\n")


def _sft_row(example: Example) -> Cells:
    if not example.traces:
        raise DataError(f"example {example.id}: expected a trace for the SFT file, got none; write it with part='rl'")
    return {"question": example.question, "answer": example.traces[0].text}


def _rl_row(example: Example) -> Cells:
    answer, said = example.answer, columns_beside(example.answer)
    options = {"options": list(answer.options)} if isinstance(answer, Choice | Letters) else {}
    meta = {**example.meta, **options, **({_GOLD: said} if said else {})}
    verifier = next(word for word, kind in _KIND_OF.items() if kind == example.answer.kind)
    gold = {"gt": example.answer.text, "verifier_type": verifier}
    source = example.meta.get("source")
    own = str(source["id"]) if isinstance(source, dict) and source.get("id") else example.id
    return {"id": own, "question": example.question, **gold, "meta": meta}


def _kept(picture: Picture, example: Example, root: Path) -> str:
    """Put a picture below `root`, named by its content; its relative path."""
    encoded = encoded_picture(picture, example.id)
    ending = next((e for start, e in _EXTENSIONS.items() if encoded.startswith(start)), ".img")
    relative = f"{re.sub(r'[^A-Za-z0-9_-]', '_', example.family) or 'pictures'}/{picture.sha256[:32]}{ending}"
    file = root / relative
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_atomically(file, encoded)
    return relative
