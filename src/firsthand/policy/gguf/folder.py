"""A GGUF file -> a Hugging Face folder, with a card that says what it was made of."""

from importlib.metadata import version
from importlib.util import find_spec
from math import prod
from pathlib import Path

import torch
import yaml
from transformers import GenerationConfig

from firsthand.errors import RecipeError, excerpt
from firsthand.files import folder_for, replacing
from firsthand.policy.gguf.reading import GgufFile
from firsthand.policy.gguf.sources import GgufSource
from firsthand.policy.stored import refuse_full, share_mode, write_changed
from firsthand.processor.gguf_tokenizer import gguf_tokenizer

_CARD = """---
{head}
---
# {title}, out of a GGUF file

- **Origin**: {origin}.
- **Licence**: {licence}.
- **Source**: `{name}`, sha256 `{sha256}`.
- **Quantised there as**: {types}.
- **What was done**: firsthand {version} (`firsthand model`) de-quantised every weight into float32, exactly, put the
  rows of queries and keys in the order of transformers, and wrote the config, the tokenizer and the chat template that
  the file describes. Nothing was trained. What quantisation has cost the model is not given back.
"""
_DTYPE = torch.float32
"""It holds exactly what the file stands for: a scale of 11 bits times a few more, plus a minimum. bfloat16 has 8."""


def check_ready(folder: Path) -> None:
    """Raise RecipeError without the package gguf, and DataError unless there is no such folder, or an empty one."""
    if find_spec("gguf") is None:
        raise RecipeError("a GGUF file needs gguf, which is not installed: pip install 'firsthand[gguf]'")
    refuse_full(folder)


def write_model(source: GgufSource, folder: Path) -> int:
    """Write the model of a GGUF file: config, weights, tokenizer, chat template, what ends a reply, and a card.

    Returns its number of parameters. The folder appears whole, or not at all. Raises as `check_ready`, `GgufFile` and
    `gguf_tokenizer` do.
    """
    check_ready(folder)
    file = GgufFile.open(source.file)
    config, tensors = file.config, file.tensors()
    tokenizer = gguf_tokenizer(source.file, file.metadata, config.max_position_embeddings)
    with folder_for(folder), replacing(folder) as draft:
        draft.mkdir()
        config.save_pretrained(draft)
        _generation(file).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(_card(source, file), encoding="utf-8")
        write_changed(tensors, {}, draft, _DTYPE)
        share_mode(draft)
    return sum(prod(tensor.shape) for tensor in tensors.values())


def _generation(file: GgufFile) -> GenerationConfig:
    """What ends a reply: the end of a text, and that of a turn where the file tells them apart."""
    told = [file.config.eos_token_id, file.metadata.get("tokenizer.ggml.eot_token_id")]
    ends = list(dict.fromkeys(token for token in told if token is not None))
    return GenerationConfig(
        bos_token_id=file.config.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends or None,
        pad_token_id=file.config.pad_token_id,
    )


def _card(source: GgufSource, file: GgufFile) -> str:
    """README.md, in the form of the Hugging Face Hub. What the file says of itself is quoted where nothing is known."""
    known = source.known
    said = {
        key: excerpt(" ".join(str(file.metadata.get(f"general.{key}", "")).split()))
        for key in ("name", "organization", "license")
    }
    made = " of ".join(filter(None, (said["name"], said["organization"])))
    licence = known.license if known else said["license"]
    head = {"license": licence or "unknown", "library_name": "transformers", "pipeline_tag": "text-generation"}
    if known:
        head |= {"base_model": known.base_model}
    types = ", ".join(f"{name} ({number:,} weights)" for name, number in file.quantisation.most_common())
    return _CARD.format(
        head=yaml.safe_dump(head, sort_keys=False).strip(),
        title=known.base_model if known else made or source.name,
        origin=known.origin if known else f"{made}, by its own metadata" if made else "not known",
        licence=licence or "not known; the file does not say",
        name=source.name,
        sha256=source.sha256,
        types=types,
        version=version("firsthand"),
    )
