"""Tiny random vision-language models of each family we support: real transformers classes, built in-process."""

import hashlib
import io
from pathlib import Path

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from firsthand.records import Picture

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's layout, without its default system prompt and its videos."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE without merges (256 bytes) plus Qwen's special tokens and our tags."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        extra_special_tokens=list(SPECIALS[3:]),
    )


def tiny_model(
    family: str, *, hidden: int = 32, layers: int = 3, vocab: int | None = None, seed: int = 0
) -> PreTrainedModel:
    """A random model in fp32: 4 query heads on 2 key-value heads, 2 vision blocks, weights large enough to matter."""
    tokenizer = tiny_tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in _TOKEN_NAMES}
    text = {
        "vocab_size": vocab or len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,  # at 0.02 a tiny model predicts the same whatever it attends to
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": _mrope_section(hidden // 4)},
        "pad_token_id": ids["endoftext"],
        "eos_token_id": ids["im_end"],
        "bos_token_id": ids["endoftext"],
    }
    shared = {
        "image_token_id": ids["image_pad"],
        "video_token_id": ids["video_pad"],
        "vision_start_token_id": ids["vision_start"],
        "vision_end_token_id": ids["vision_end"],
    }
    torch.manual_seed(seed)
    return _BUILDERS[family](text, shared, hidden)


def tiny_folder(path: Path, family: str, **model: int) -> Path:
    """Write a whole Hugging Face folder (weights, tokenizer, image processor) and return its path."""
    tiny_model(family, **model).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    patch = 16 if family == "qwen3_vl" else 14
    side = 2 * patch
    Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": side * side, "longest_edge": 16 * side * side}
    ).save_pretrained(path)
    return path


def picture(width: int = 56, height: int = 84, seed: int = 0) -> Picture:
    """Noise as a PNG: pictures of different seeds have nothing in common."""
    noise = torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise.numpy()).save(buffer, format="PNG")
    data = buffer.getvalue()
    return Picture(sha256=hashlib.sha256(data).hexdigest(), width=width, height=height, data=data)


_TOKEN_NAMES = ("endoftext", "im_end", "image_pad", "video_pad", "vision_start", "vision_end")


def _mrope_section(head_dim: int) -> list[int]:
    half = head_dim // 2
    return [half - 2 * (half // 3), half // 3, half // 3]


def _qwen2_vl(text: dict, shared: dict, hidden: int) -> PreTrainedModel:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": hidden, "num_heads": 2, "initializer_range": 0.1}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **shared))


def _qwen2_5_vl(text: dict, shared: dict, hidden: int) -> PreTrainedModel:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": hidden,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.1,
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **shared))


def _qwen3_vl(text: dict, shared: dict, hidden: int) -> PreTrainedModel:
    rope = {**text["rope_parameters"], "mrope_interleaved": True}
    text = {**text, "rope_parameters": rope, "head_dim": hidden // 4}
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": hidden,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
        "initializer_range": 0.1,
    }
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **shared))


_BUILDERS = {"qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl}
