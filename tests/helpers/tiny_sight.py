"""A tiny text model's folder as SmolLM2's is made, and random parts that let it see."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_gguf import CONTROL, tiny_gguf
from torch import nn
from vision_model import SightModel, tower_settings

from firsthand.policy.gguf import located, write_model

SIDE, PATCH, SCALE_FACTOR = 24, 4, 2
"""6 x 6 patches, 9 tokens a picture."""


def without_gaps(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """As SmolLM2's file: every id is a token's, and none is `<think>`."""
    metadata["tokenizer.ggml.tokens"][3] = "<file_sep>"
    metadata["tokenizer.ggml.token_type"][3:5] = [CONTROL, CONTROL]


def tiny_text(folder: Path, **settings: Any) -> Path:
    """A Llama of 2 layers and width 64 with SmolLM2's way of cutting texts."""
    file = folder.with_suffix(".gguf")
    tiny_gguf(file, **{"change": without_gaps, **settings})
    with located(str(file)) as source:
        write_model(source, folder)
    return folder


def tiny_sight(text: Path) -> SightModel:
    """A model with all that is trained drawn at random, adapters too, and so large that it matters."""
    torch.manual_seed(0)
    model = SightModel(text, tower_settings(32, 2, SIDE, PATCH), SCALE_FACTOR, rank=2)
    with torch.no_grad():
        for name, parameter in model.trained().items():
            if "norm" not in name:
                nn.init.normal_(parameter, std=0.15)
            # What ships is in bfloat16.
            parameter.copy_(parameter.to(torch.bfloat16))
    return model
