"""What the GPU is given: models of random weights in the shapes of Qwen2.5-VL, pictures of noise, random words."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig

from firsthand.policy import Lora, Policy, PrefixGroup
from firsthand.policy.loading import set_up_training
from firsthand.processor import Prompt, vision_ids


@dataclass(frozen=True)
class Size:
    """How large a model, and how much work."""

    text: dict[str, Any]
    vision: dict[str, Any]
    first_special: int
    """The first of Qwen's token ids around pictures; below it, less 100, are words."""
    grid: tuple[int, int, int]
    """The picture of a prompt in patches (t, h, w); a quarter as many tokens."""
    words: int
    """Tokens of a prompt beside those of its picture and the two around it."""
    group: int
    tokens: int
    compared: tuple[int, int]
    """G and R where forms are compared: gradients of float32 weights must fit, too."""
    small: tuple[int, int, int]
    """Prompts, G and the longest R of what the small model does."""
    prompts: tuple[int, ...]
    """Prompts of a rollout, G replies to each."""
    rounds: int
    matrix: int
    """Side of the square matrices whose product is timed."""
    stepped: int
    """Prompts of a full step."""
    long: int
    """Tokens of the longest replies that an update is tried with."""
    is_tied: bool = True
    """Whether the output layer's weights are those of the embeddings."""
    name: str = "3B"
    larger: "Size | None" = None
    """A larger model, for which the rest is the same."""


LARGER = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
"""Qwen2.5-VL-7B, where it differs (its config.json); its output layer has weights of its own."""

_3B = Size(
    text={
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    vision={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048},
    first_special=151652,
    grid=(1, 50, 64),
    words=198,
    group=8,
    tokens=200,
    compared=(4, 64),
    small=(8, 8, 48),
    prompts=(1, 8, 32),
    rounds=9,
    matrix=8192,
    stepped=4,
    long=1024,
)
"""Qwen2.5-VL-3B (arXiv:2502.13923, and its config.json), P = 1,000 with 800 tokens of a picture."""

FULL = dataclasses.replace(
    _3B,
    larger=dataclasses.replace(
        _3B,
        text=_3B.text | LARGER,
        vision=_3B.vision | {"out_hidden_size": LARGER["hidden_size"]},
        is_tied=False,
        name="7B",
    ),
)

TINY = Size(
    text={
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    },
    vision={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
    | {"fullatt_block_indexes": [1]},
    first_special=390,
    grid=(1, 8, 8),
    words=6,
    group=3,
    tokens=6,
    compared=(2, 5),
    small=(2, 3, 20),
    prompts=(1, 2),
    rounds=2,
    matrix=64,
    stepped=2,
    long=9,
    name="tiny",
)


def config_of(size: Size, special: tuple[int, int, int, int] | None = None) -> Any:
    """The config; `special` are its tokens around pictures: where one begins and ends, of a picture, of a video."""
    first = size.first_special
    start, end, image, video = special or (first, first + 1, first + 3, first + 4)
    text, vision = size.text, size.vision
    return Qwen2_5_VLConfig(
        text_config={
            **text,
            "initializer_range": 0.9 / math.sqrt(text["hidden_size"]),
            "tie_word_embeddings": size.is_tied,
        },
        vision_config={**vision, "initializer_range": 0.9 / math.sqrt(vision["hidden_size"])},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
        tie_word_embeddings=size.is_tied,
    )


def random_model(size: Size, device: str, special: tuple[int, int, int, int] | None = None) -> Any:
    """Random weights in bfloat16."""
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForImageTextToText.from_config(
            config_of(size, special), dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    # As they are drawn, every query attends to all keys alike, and all tokens are as likely: no error would show. Much
    # more than this, and 36 layers blow rounding up to the size of errors.
    scales = {"q_proj.weight": 1.5, "k_proj.weight": 1.5, "o_proj.weight": 2.0, "down_proj.weight": 0.5}
    with torch.no_grad():
        for name, parameter in model.get_decoder().named_parameters():
            parameter.mul_(scales.get(".".join(name.split(".")[-2:]), 1.0))
        model.get_input_embeddings().weight.mul_(5)
    return model


def random_policy(size: Size, device: str) -> Policy:
    """Random weights in bfloat16. Their vision tower is frozen, as a recipe has it by default."""
    return policy_of(random_model(size, device))


def policy_of(
    model: Any, trainable: str = "language", adapter: Lora | None = None, *, gradient_checkpointing: bool = False
) -> Policy:
    """The policy of a model that comes from no folder."""
    frozen = set_up_training(model, trainable, adapter, gradient_checkpointing=gradient_checkpointing)
    return Policy(model.train(), Path("random-weights"), vision_ids(model.config), frozen_tower=frozen)


def random_prompt(size: Size, seed: int) -> Prompt:
    """Random words around a picture of noise."""
    draw = torch.Generator().manual_seed(seed)
    first, (t, h, w) = size.first_special, size.grid
    words = torch.randint(0, first - 100, (size.words,), generator=draw).tolist()
    picture = [first, *[first + 3] * (t * h * w // 4), first + 1]
    pixels = torch.randn(t * h * w, 3 * 2 * 14 * 14, generator=draw)
    half = len(words) // 2
    ids = (*words[:half], *picture, *words[half:])
    return Prompt(f"random-{seed}", ids, pixels, torch.tensor([size.grid]), (f"noise-{seed}",))


def random_group(size: Size, seed: int, number: int, tokens: int) -> PrefixGroup:
    """So many random replies, each of so many tokens, to a random prompt."""
    draw = torch.Generator().manual_seed(seed)
    replies = torch.randint(0, size.first_special - 100, (number, tokens), generator=draw).tolist()
    return PrefixGroup(random_prompt(size, seed), tuple(map(tuple, replies)))
