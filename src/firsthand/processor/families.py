"""The model families that are known, and what differs between them when prompts are made; how a folder is recognised.

A family that is not in the table may still work, if transformers can load it: see `docs/models.md`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES  # type: ignore[attr-defined]

from firsthand.errors import DataError
from firsthand.files import did_you_mean
from firsthand.processor.folder import UNTRUSTED, reading, settings_in


@dataclass(frozen=True)
class Family:
    """What differs between the models of one `model_type` and those of another."""

    reads: Literal["grids", "text", "processor"]
    """How pictures become tokens: patches of a (t, h, w) grid, as Qwen has them; not at all; or by the processor of
    transformers, that places all pictures of a prompt at once."""
    processor: str = ""
    """Name of that processor's class in transformers."""
    is_tested: bool = True
    """Whether our tests compare its log-probs and gradients with those of transformers' own forward."""
    mixes: str = ""
    """Why replies in one row would change a prompt, or each other; empty when only its config can tell."""
    marks_images: bool = False
    """Whether its forward wants `token_type_ids` that say which tokens are pictures."""


FAMILIES = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5"), Family("grids")),
    **dict.fromkeys(("qwen2", "qwen3", "llama"), Family("text")),
    # SmolVLM's own processor insists on packages for videos; for pictures Idefics 3's writes the same tokens.
    **dict.fromkeys(("smolvlm", "idefics3"), Family("processor", "Idefics3Processor")),
    "llava_onevision": Family("processor", "LlavaOnevisionProcessor"),
    "internvl": Family("processor", "InternVLProcessor"),
    "gemma3": Family(
        "processor",
        "Gemma3Processor",
        mixes="its image tokens attend to each other in both directions",
        marks_images=True,
    ),
}
"""By `model_type`."""


def family_of(config: Any) -> Family:
    """The family of a config that `model_config` has let through."""
    known = FAMILIES.get(config.model_type)
    if known is not None:
        return known
    if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return Family("processor", PROCESSOR_MAPPING_NAMES[config.model_type], is_tested=False)
    return Family("text", is_tested=False)


def model_config(folder: str | Path) -> Any:
    """The transformers config of a model folder.

    Raises DataError unless it is a local folder of a type that transformers loads as a language model, or as one that
    also reads pictures.
    """
    if not (Path(folder) / "config.json").is_file():
        download = (
            "download the model first (`hf download NAME --local-dir FOLDER`, or a small one without the hub: "
            "`firsthand model smollm2 --out FOLDER`) and name the folder"
        )
        remedy = did_you_mean(Path(folder)) or download
        raise DataError(f"{folder}: expected a local Hugging Face model folder, got no config.json there; {remedy}")
    # Read before transformers does: its own error for a foreign model_type runs over two screens.
    model_type = settings_in(Path(folder) / "config.json").get("model_type")
    if not _is_loadable(model_type):
        raise DataError(
            f"{folder}: expected a model of type {', '.join(FAMILIES)}, or another one that transformers loads for "
            f"text or for image-text-to-text, got {model_type}"
        )
    with reading(folder, "a config.json"):
        return AutoConfig.from_pretrained(str(folder), **UNTRUSTED)


def vision_ids(config: Any) -> tuple[int, ...]:
    """The tokens that stand for pixels or enclose them, from a model's config; none for a text model."""
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    more = ("boi_token_index", "eoi_token_index", "image_token_index", "video_token_index")
    found = [getattr(config, name, None) for name in (*names, *more)]
    return tuple(dict.fromkeys(token for token in found if isinstance(token, int)))


def _is_loadable(model_type: Any) -> bool:
    if not isinstance(model_type, str):
        return False
    if model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return model_type in FAMILIES or model_type in PROCESSOR_MAPPING_NAMES
    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
