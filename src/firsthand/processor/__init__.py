"""Example -> token ids and pixels: the only room that knows chat templates, tokenizers and image processors.

torchvision is not needed: the tokenizer and the Pillow image processor of the model's own folder are put together
here. For Qwen's models image placeholders are expanded here too, so that they can be checked against the vision tower.
"""

from firsthand.processor.encoder import Encoder
from firsthand.processor.families import FAMILIES, Family, family_of, model_config, vision_ids
from firsthand.processor.pixels import PIXEL_CACHE_BYTES, PixelCache
from firsthand.processor.readers import Prompt

__all__ = [
    "FAMILIES",
    "PIXEL_CACHE_BYTES",
    "Encoder",
    "Family",
    "PixelCache",
    "Prompt",
    "family_of",
    "model_config",
    "vision_ids",
]
