"""Tiny random model folders of families beside Qwen-VL: text models, and vision models with a processor of their own.

Every folder is whole: weights, tokenizer, chat template, generation config, image processor and processor settings.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tiny import CHAT_TEMPLATE, SPECIALS, picture
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

TEXT = ("qwen2", "qwen3", "llama")
PICTURES = ("smolvlm", "idefics3", "llava_onevision", "internvl", "gemma3", "qwen3_5")
UNSHARED = ("gemma3", "qwen3_5")

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}: {% for p in m['content'] %}"
    "{% if p['type'] == 'text' %}{{ p['text'] }}{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] | trim }}{% else %}<start_of_image>{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def parts_template(image: str) -> str:
    """Qwen's layout of a conversation in parts, with another placeholder."""
    return CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", image)


def tokenizer(specials: tuple[str, ...], template: str, named: dict[str, str], **tokens: str) -> Any:
    """A byte-level BPE without merges, with these special tokens; `named` become attributes, as processors want."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    found = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens([AddedToken(token, special=True) for token in specials])
    return PreTrainedTokenizerFast(
        tokenizer_object=found, chat_template=template, extra_special_tokens=named or [], **tokens
    )


def text_config(kind: str, vocab: int, **more: Any) -> dict[str, Any]:
    """2 layers, 4 query heads on 2 key-value heads; weights large enough to matter."""
    return {
        "model_type": kind,
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "pad_token_id": 0,
        "tie_word_embeddings": False,
        **more,
    }


def siglip(**more: Any) -> dict[str, Any]:
    """A vision tower for pictures of 32 x 32 pixels in 16 patches."""
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.1,
        **more,
    }


def family_folder(path: Path, family: str, **text: Any) -> Path:
    """Write a whole folder of this `model_type`; `text` changes the settings of its language model."""
    if family == "qwen3_5":
        return _qwen3_5(path, text)
    if family in _VISION:
        return _VISION[family](path, text)
    return text_folder(path, family, **text)


def text_folder(path: Path, kind: str, **more: Any) -> Path:
    """A text model: Qwen's with Qwen's tokens and template, all others with Llama 3's."""
    if kind.startswith("qwen"):
        words = tokenizer(SPECIALS[:3], CHAT_TEMPLATE, {}, eos_token="<|im_end|>", pad_token="<|endoftext|>")
        config = text_config(kind, len(words), **more)
        return _write(path, config, words, stops=("<|im_end|>", "<|endoftext|>"), auto=AutoModelForCausalLM)
    ends = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
    specials = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", *ends)
    words = tokenizer(specials, LLAMA_TEMPLATE, {}, bos_token=specials[0], eos_token=ends[0])
    config = text_config(kind, len(words), **more)
    return _write(path, config, words, stops=ends, auto=AutoModelForCausalLM)


def shown() -> list[tuple[tuple[Any, ...], str]]:
    """Two pictures, one, and none."""
    first, second, third = picture(64, 64, 1), picture(40, 80, 2), picture(84, 56, 3)
    return [((first, second), "Which is larger?"), ((third,), "How many are there?"), ((), "What is 1 + 2?")]


def _smolvlm(path: Path, text: dict[str, Any], kind: str = "smolvlm") -> Path:
    places = tuple(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7))
    specials = ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>", *places)
    words = tokenizer(specials, SMOL_TEMPLATE, {}, eos_token=specials[1], pad_token=specials[0])
    config = {
        "model_type": kind,
        "text_config": text_config("llama", len(words), **text),
        "vision_config": siglip(),
        "image_token_id": words.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
    }
    # A picture is cut into up to 2 x 2 tiles of 32 x 32 pixels.
    images = SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return _write(path, config, words, images=images, processor={"image_seq_len": 4}, stops=specials[1:2])


def _idefics3(path: Path, text: dict[str, Any]) -> Path:
    return _smolvlm(path, text, "idefics3")


def _gemma3(path: Path, text: dict[str, Any]) -> Path:
    specials = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    words = tokenizer(
        (*specials, *named.values()),
        GEMMA_TEMPLATE,
        named,
        pad_token=specials[0],
        eos_token=specials[1],
        bos_token=specials[2],
    )
    ids = {f"{name}_index": words.convert_tokens_to_ids(token) for name, token in named.items()}
    layers = ["sliding_attention", "full_attention"]
    gemma = {"sliding_window": 12, "layer_types": layers, "query_pre_attn_scalar": 8, "rope_parameters": None}
    config = {
        "model_type": "gemma3",
        "text_config": text_config("gemma3_text", len(words), **(gemma | text)),
        "vision_config": siglip(model_type="siglip_vision_model", vision_use_head=False),
        "mm_tokens_per_image": 4,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
        **ids,
    }
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    stops = ("<eos>", "<end_of_turn>")
    return _write(path, config, words, images=images, processor={"image_seq_length": 4}, stops=stops)


def _llava_onevision(path: Path, text: dict[str, Any]) -> Path:
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
    words = tokenizer(specials, parts_template("<image>"), {}, eos_token=specials[2], pad_token=specials[0])
    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = {
        "model_type": "llava_onevision",
        "text_config": text_config("qwen2", len(words), **text),
        "vision_config": siglip(model_type="siglip_vision_model", vision_use_head=False),
        "image_token_index": words.convert_tokens_to_ids("<image>"),
        "video_token_index": words.convert_tokens_to_ids("<video>"),
        "image_grid_pinpoints": pinpoints,
        "tie_word_embeddings": False,
    }
    images = LlavaOnevisionImageProcessorPil(size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints)
    settings = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    return _write(path, config, words, images=images, processor=settings, stops=specials[2:3])


def _internvl(path: Path, text: dict[str, Any]) -> Path:
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    template = parts_template("<IMG_CONTEXT>\n")
    every = (*specials, *named.values())
    words = tokenizer(every, template, named, eos_token=specials[2], pad_token=specials[0])
    config = {
        "model_type": "internvl",
        "text_config": text_config("qwen2", len(words), **text),
        "vision_config": siglip(image_size=[32, 32], patch_size=[8, 8]),
        "image_token_id": words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        "image_seq_length": 4,
        "tie_word_embeddings": False,
    }
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=3)
    return _write(path, config, words, images=images, processor={"image_seq_length": 4}, stops=specials[2:3])


def _llava(path: Path, text: dict[str, Any]) -> Path:
    """Of a type that is not in our table."""
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
    words = tokenizer(specials, parts_template("<image>"), {}, eos_token=specials[2], pad_token=specials[0])
    config = {
        "model_type": "llava",
        "text_config": text_config("llama", len(words), **text),
        "vision_config": siglip(model_type="clip_vision_model"),
        "image_token_index": words.convert_tokens_to_ids("<image>"),
        "tie_word_embeddings": False,
    }
    side = {"height": 32, "width": 32}
    images = CLIPImageProcessorPil(size=side, crop_size=side)
    settings = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return _write(path, config, words, images=images, processor=settings, stops=specials[2:3])


def _qwen3_5(path: Path, text: dict[str, Any]) -> Path:
    words = tokenizer(SPECIALS, CHAT_TEMPLATE, {}, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    image, video, start, end = (words.convert_tokens_to_ids(f"<|{name}|>") for name in names)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    rope["partial_rotary_factor"] = 1.0
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    layers = ["linear_attention", "full_attention"]
    hybrid = {
        "linear_num_value_heads": 4,
        "layer_types": layers,
        "rope_parameters": {**rope, "partial_rotary_factor": 1.0},
    }
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    config = {
        "model_type": "qwen3_5",
        "text_config": text_config("qwen3_5_text", len(words), **(linear | hybrid | text)),
        "vision_config": {**vision, "num_position_embeddings": 64, "initializer_range": 0.1},
        "image_token_id": image,
        "video_token_id": video,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "tie_word_embeddings": False,
    }
    size = {"shortest_edge": 32 * 32, "longest_edge": 16 * 32 * 32}
    return _write(path, config, words, images=Qwen2VLImageProcessorPil(patch_size=16, size=size), stops=SPECIALS[2:3])


_VISION = {
    "smolvlm": _smolvlm,
    "idefics3": _idefics3,
    "gemma3": _gemma3,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
    "llava": _llava,
}


def _write(
    path: Path,
    config: dict[str, Any],
    words: Any,
    *,
    images: Any = None,
    processor: dict[str, Any] | None = None,
    stops: tuple[str, ...],
    auto: Any = AutoModelForImageTextToText,
) -> Path:
    torch.manual_seed(0)
    settings = {name: value for name, value in config.items() if name != "model_type"}
    model = auto.from_config(AutoConfig.for_model(config["model_type"], **settings))
    for name, parameter in model.named_parameters():
        if "norm" not in name:  # what transformers starts at 0 or near it would hide what is wrong with it
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(path)
    words.save_pretrained(path)
    GenerationConfig(eos_token_id=[words.convert_tokens_to_ids(token) for token in stops]).save_pretrained(path)
    if images is not None:
        images.save_pretrained(path)
    if processor is not None:
        (path / "processor_config.json").write_text(json.dumps(processor))
    return path
