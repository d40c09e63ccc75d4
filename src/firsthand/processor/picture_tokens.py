"""What a text model needs for conversations with pictures: tokens, a chat template, an image processor.

As Idefics 3 and SmolVLM have them, which read a picture as `<fake_token_around_image><global-img>`, one `<image>` for
each of its features, and `<fake_token_around_image>` again.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from firsthand.errors import DataError
from firsthand.processor.families import model_config
from firsthand.processor.folder import tokenizer_of

MARKS = ("<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>")
"""Special tokens that transformers' Idefics3Processor writes, or adds where they are not there."""
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""Ordinary tokens: evaluation tools strip special ones from replies, and the answer block would vanish with them."""
NEW_TOKENS = (*MARKS, *TAGS)
"""In the order of their ids, behind those of the text model."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, in which SmolLM2 was taught; without a system prompt of its own, which every picture would pay for."""


def grown_tokenizer(folder: Path) -> Any:
    """The tokenizer of a text model's folder, with NEW_TOKENS behind its own and CHAT_TEMPLATE.

    Raises DataError when the ids of the new tokens are not the next ones after the model's embeddings.
    """
    tokenizer = tokenizer_of(folder)
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS], special_tokens=True)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    first = model_config(folder).vocab_size
    got = tokenizer.convert_tokens_to_ids(list(NEW_TOKENS))
    if got != list(range(first, first + len(NEW_TOKENS))):
        raise DataError(
            f"{folder}: expected a tokenizer whose next tokens are {first} to {first + len(NEW_TOKENS) - 1}, behind "
            f"the model's embeddings, got {got}; take the tokenizer that the weights come with"
        )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def image_processor(side: int) -> Idefics3ImageProcessorPil:
    """Every picture becomes one square of this side, whatever its form; none is cut into tiles."""
    edge = {"longest_edge": side}
    return Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)


def save_processor(folder: Path, side: int, image_tokens: int) -> None:
    """Write what transformers makes an Idefics3Processor of, beside the tokenizer's files."""
    image_processor(side).save_pretrained(folder)
    told = {"processor_class": "Idefics3Processor", "image_seq_len": image_tokens}
    (folder / "processor_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
