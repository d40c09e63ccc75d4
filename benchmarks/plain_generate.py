"""Greedy replies of a Qwen-VL folder by transformers' own `generate`, one item at a time, without firsthand.

    python benchmarks/plain_generate.py MODEL TASK/data/test.parquet OUT.jsonl [MAX_NEW_TOKENS]

It reads the data file of an lmms-eval task. Weights are in float32. Tokenizer and Pillow image processor are put
together here, because the family's processor cannot be built without torchvision.
"""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

PLACE = "<|image_pad|>"


def replies(folder: str, data: str, max_new_tokens: int) -> Iterator[dict[str, Any]]:
    """The id, reply and number of tokens of each item."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    for row in pyarrow.parquet.read_table(data).to_pylist():
        images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in row["images"]]
        text = tokenizer.apply_chat_template(json.loads(row["messages"]), tokenize=False, add_generation_prompt=True)
        pixels = processor(images=images, return_tensors="pt")
        first, *others = text.split(PLACE)
        counts = [int(grid.prod()) // processor.merge_size**2 for grid in pixels["image_grid_thw"]]
        text = first + "".join(PLACE * count + other for count, other in zip(counts, others, strict=True))
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        kinds = (ids == model.config.image_token_id).int()
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=kinds,
                **pixels,
                do_sample=False,
                max_new_tokens=max_new_tokens,
            )[0, ids.shape[1] :]
        yield {"id": row["id"], "reply": tokenizer.decode(out, skip_special_tokens=True), "tokens": len(out)}


if __name__ == "__main__":
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else 256
    with Path(sys.argv[3]).open("w") as out_file:
        out_file.writelines(json.dumps(row) + "\n" for row in replies(sys.argv[1], sys.argv[2], limit))
