"""Tiny random models as GGUF files, written with the `gguf` package as llama.cpp's converter writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFValueType, GGUFWriter, get_tensor_name_map, quantize
from tiny import CHAT_TEMPLATE
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

CONTROL, OWN, UNUSED = 3, 4, 5
SPECIALS = {"<|endoftext|>": CONTROL, "<|im_start|>": CONTROL, "<|im_end|>": CONTROL, "<think>": OWN, "[PAD0]": UNUSED}
MERGES = ("Ġ Ġ", "Ċ Ċ", "3 4", "1 2", "12 34", "12 3", "h e", "he y", "Ġ he", "Ġhe y")
"""Spaces and line feeds in pairs; numbers whose pieces depend on how a text is cut."""
TOKENS = (*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES))
HEAD = {"qwen3": 128}
"""Sizes of heads that transformers' reader takes for granted."""

Change = Callable[[dict[str, Any], dict[str, np.ndarray]], object]
"""Alters a file's metadata and tensors before they are written."""


def unchanged(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """As it should be."""


def tiny_gguf(
    path: Path,
    kind: str = "llama",
    *,
    matrices: GGMLQuantizationType = GGMLQuantizationType.F32,
    tied: bool = True,
    change: Change = unchanged,
) -> PreTrainedModel:
    """Write a model of 2 layers with 4 query heads on 2 key-value heads; returns it as it was before quantisation."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(TOKENS),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=HEAD.get(kind, 16),
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5e4},
        initializer_range=0.2,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)  # biases and norms, too, which would all be alike
    metadata, tensors = _metadata(kind, config), _tensors(kind, model)
    change(metadata, tensors)
    writer = GGUFWriter(path, metadata.pop("general.architecture"))
    for key, value in metadata.items():
        writer.add_key_value(key, value, *_types(value))
    for name, weights in tensors.items():
        if weights.ndim == 2 and weights.dtype == np.float32 and matrices != GGMLQuantizationType.F32:
            writer.add_tensor(name, quantize(weights, matrices), raw_dtype=matrices)
        else:
            writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _metadata(kind: str, config: Any) -> dict[str, Any]:
    sizes = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "vocab_size": config.vocab_size,
    }
    if kind == "llama":
        sizes["rope.dimension_count"] = config.head_dim
    if kind == "qwen3":
        sizes |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
    return {
        "general.architecture": kind,
        "general.name": "Tiny Thing",
        "general.organization": "Nobody",
        "general.license": "cc0-1.0",
        **{f"{kind}.{key}": value for key, value in sizes.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2" if kind.startswith("qwen") else "smollm",
        "tokenizer.ggml.tokens": list(TOKENS),
        "tokenizer.ggml.token_type": [SPECIALS.get(token, 1) for token in TOKENS],
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def _types(value: Any) -> tuple[GGUFValueType, GGUFValueType | None]:
    """As llama.cpp's converter types values."""
    kinds: Mapping[type, GGUFValueType] = {
        bool: GGUFValueType.BOOL,
        int: GGUFValueType.UINT32,
        float: GGUFValueType.FLOAT32,
        str: GGUFValueType.STRING,
    }
    if isinstance(value, list):
        return GGUFValueType.ARRAY, GGUFValueType.INT32 if isinstance(value[0], int) else kinds[type(value[0])]
    return kinds[type(value)], None


def _tensors(kind: str, model: PreTrainedModel) -> dict[str, np.ndarray]:
    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == kind)
    names = get_tensor_name_map(arch, model.config.num_hidden_layers)
    found = {}
    for name, parameter in model.named_parameters():
        weights = parameter.detach().numpy().copy()
        heads = {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2]) if kind == "llama" else None
        if heads:  # as `LlamaModel.permute` of llama.cpp's converter
            half = weights.shape[0] // heads // 2
            weights = weights.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weights.shape).copy()
        found[str(names.get_name(name, (".weight", ".bias")))] = weights
    return found
