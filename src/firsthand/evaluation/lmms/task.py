"""Examples -> a task folder of lmms-eval, so that its users score a model on our data with our verifiers.

The folder is self-contained: the task (`NAME.yaml`), its functions (`utils.py`) and the data with the pictures inside
(`data/test.parquet`). lmms-eval reads it offline with `--include_path FOLDER --tasks NAME`. Prompts are laid out here,
so that the functions only put pictures into them. Neither torch nor `datasets` is needed to write one.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from PIL import ExifTags

from firsthand.answers.asking import content_parts, system_of
from firsthand.batched import batched
from firsthand.data.store import IMAGES_TYPE, encoded_picture
from firsthand.errors import RecipeError
from firsthand.files import replacing, write_atomically
from firsthand.records import Choice, Example, Letters, Picture, open_picture, png
from firsthand.reward import Router

_TEXT = ("id", "family", "kind", "question", "answer", "gold", "messages")


def write_lmms_task(
    examples: Sequence[Example], folder: Path, *, name: str, system: str | None = None, max_new_tokens: int = 256
) -> Path:
    """Write a task folder of lmms-eval; the path of its YAML file.

    Decoding is greedy with at most `max_new_tokens` tokens. `system` is the prompt of examples that have none of their
    own. The task scores with `firsthand.reward`, which must be installed where lmms-eval runs.
    Raises RecipeError when `name` is no plain word or there are no examples, DataError when an answer cannot be scored
    by rules (free text needs a scorer, which lmms-eval does not have) or a picture is no longer what was loaded.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise RecipeError(
            f"a task's name: expected letters, digits, `_`, `.` and `-`, got {name!r}; choose another one"
        )
    if not examples or max_new_tokens < 1:
        got = f"{len(examples)} examples and max_new_tokens {max_new_tokens}"
        raise RecipeError(f"task {name}: expected examples, and at least one token for each reply, got {got}")
    with Router() as router:
        router.check(examples)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    schema = _schema()
    with replacing(folder / "data" / "test.parquet") as draft, pa.parquet.ParquetWriter(draft, schema) as writer:
        for some in batched(examples, 200):  # the pictures of so many rows are in memory at once
            writer.write_table(pa.Table.from_pylist([_row(example, system) for example in some], schema=schema))
    templates = Path(__file__).with_name("template")
    write_atomically(folder / "utils.py", (templates / "utils.py").read_bytes())
    task = folder / f"{name}.yaml"
    template = Template((templates / "task.yaml").read_text(encoding="utf-8"))
    write_atomically(task, template.substitute(name=name, tokens=max_new_tokens))
    return task


def messages(example: Example, system: str | None = None) -> list[dict[str, Any]]:
    """The chat messages of a question; pictures are parts without content, where their marks stand or in front."""
    told = system_of(example, system)
    opening = [] if told is None else [{"role": "system", "content": [{"type": "text", "text": told}]}]
    return [*opening, {"role": "user", "content": content_parts(example)}]


def _schema() -> pa.Schema:
    """The columns, also in the words of the `datasets` library: it decodes the pictures."""
    fields = [*(pa.field(name, pa.string()) for name in _TEXT), pa.field("options", pa.list_(pa.string()))]
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in _TEXT}
    features |= {"options": [{"dtype": "string", "_type": "Value"}], "images": [{"_type": "Image"}]}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([*fields, pa.field("images", IMAGES_TYPE)], metadata=metadata)


def _row(example: Example, system: str | None) -> dict[str, Any]:
    answer = example.answer
    return {
        "id": example.id,
        "family": example.family,
        "kind": answer.kind,
        "question": example.question,
        "answer": answer.text,
        "gold": answer.model_dump_json(),
        "messages": json.dumps(messages(example, system), ensure_ascii=False),
        "options": list(answer.options) if isinstance(answer, Choice | Letters) else [],
        "images": [{"bytes": _plain(picture, example.id), "path": None} for picture in example.images],
    }


def _plain(picture: Picture, example_id: str) -> bytes:
    """The picture's own bytes where every reader sees the same in them; otherwise a PNG of what our models see.

    Readers differ in what they make of transparency, of palettes and of a camera's turn.
    """
    encoded = encoded_picture(picture, example_id)
    with open_picture(encoded) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if image.mode == "RGB" and not image.has_transparency_data and not turned:
            return encoded
    return png(picture.open())
