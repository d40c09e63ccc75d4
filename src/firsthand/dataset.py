"""Example -> token ids and pixels: the only file that knows the chat template, the tokenizer and the image processor.

torchvision is not needed: the tokenizer and the Pillow image processor of the model's own folder are put together
here, and image placeholders are expanded here, so that they can be checked against the vision tower's features.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import DecompressionBombError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from firsthand.errors import DataError
from firsthand.records import Example, Picture

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""`model_type` of the folders that work."""
START_OF_TURN, END_OF_TURN, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
STRUCTURE = (START_OF_TURN, END_OF_TURN, END_OF_TEXT, *VISION_TOKENS)
"""Tokens that plain text must not smuggle in: they end a turn, or stand for pixels that are not there."""
PIXEL_CACHE_BYTES = 2**30
MARK = "<image>"
"""Where a picture stands inside a question; sources check that there is one mark per picture, or none."""


@dataclass(frozen=True)
class Prompt:
    """A question as the model reads it, up to the point where the assistant's turn begins."""

    example_id: str
    token_ids: tuple[int, ...]
    """Image placeholders are already expanded: one `<|image_pad|>` per feature of the vision tower."""
    pixels: Tensor | None
    """float32 [patches, channels * temporal * patch * patch], all images concatenated; None without images."""
    grids: Tensor | None
    """int64 [images, 3]: (t, h, w) of each image in patches; None without images."""
    pictures: tuple[str, ...] = ()
    """A name for each image's pixels: equal names are encoded once. Empty: the pixels are compared instead."""


class Encoder:
    """Turns examples into prompts and texts into replies, as one model folder wants them. Build it with `load`."""

    def __init__(self, tokenizer: Any, image_processor: Any, config: Any, max_prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._image_processor = image_processor
        self._image_token_id = int(config.image_token_id)
        self._max_prompt_tokens = max_prompt_tokens
        self._pixels = PixelCache(image_processor)
        vocabulary = tokenizer.get_vocab()
        self.stop_ids: tuple[int, ...] = tuple(vocabulary[t] for t in (END_OF_TURN, END_OF_TEXT) if t in vocabulary)
        """A reply ends with any of these; the first one ends the assistant's turn."""
        self.banned_ids: tuple[int, ...] = vision_ids(config)
        """Image, video and vision tokens: they stand for pixels, so a reply must never contain them."""
        self.pad_id: int = vocabulary.get(END_OF_TEXT, self.stop_ids[0])

    @classmethod
    def load(cls, folder: str | Path, *, max_prompt_tokens: int = 8192) -> "Encoder":
        """Read the tokenizer, chat template and image processor of a Hugging Face folder.

        Pixel bounds are the folder's own (preprocessor_config.json). `max_prompt_tokens` only guards memory: a longer
        prompt is an error, because a cut prompt is another question.

        Raises DataError when the folder is not of a supported family, has no chat template, or has an image processor
        that does not fit its vision tower.
        """
        config = model_config(folder)
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        tokenizer.chat_template = _chat_template(Path(folder), tokenizer)
        missing = [t for t in (END_OF_TURN, "<|image_pad|>") if t not in tokenizer.get_vocab()]
        if missing:
            raise DataError(f"{folder}: the tokenizer has no {' and no '.join(missing)}; is this a Qwen tokenizer?")
        processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil", local_files_only=True)
        _check_geometry(folder, processor, config.vision_config)
        return cls(tokenizer, processor, config, max_prompt_tokens)

    def prompt(self, example: Example, system: str | None = None) -> Prompt:
        """Render a question: its images first, then its text, then the opening of the assistant's turn.

        `system` is used when the example has no system prompt of its own; with neither, the template's default holds.

        Raises DataError when an image cannot be processed, the texts contain special tokens, placeholders and image
        features do not match, or the prompt is longer than `max_prompt_tokens`.
        """
        images = [self._pixels.of(p, f"example {example.id}, image {i}") for i, p in enumerate(example.images)]
        counts = [int(grid.prod()) // self._image_processor.merge_size**2 for _, grid in images]
        token_ids = self._expand(self._render(example, system), counts, example.id)
        if len(token_ids) > self._max_prompt_tokens:
            raise DataError(
                f"example {example.id}: expected a prompt of at most {self._max_prompt_tokens} tokens, got "
                f"{len(token_ids)} ({sum(counts)} of them for {len(counts)} images); shorten the question or lower "
                "the pixel bound (`longest_edge` or `max_pixels`) in the model folder's preprocessor_config.json"
            )
        return Prompt(
            example_id=example.id,
            token_ids=token_ids,
            pixels=torch.cat([pixels for pixels, _ in images]) if images else None,
            grids=torch.stack([grid for _, grid in images]) if images else None,
            pictures=tuple(picture.sha256 for picture in example.images),
        )

    def reply(self, text: str) -> tuple[int, ...]:
        """Token ids of a reply, end-of-turn token included. Raises DataError when the text has special tokens."""
        _refuse_structure(text, "reply")
        return (*self._tokenizer(text, add_special_tokens=False)["input_ids"], self.stop_ids[0])

    def text(self, token_ids: Sequence[int]) -> str:
        """Decode a reply: without what ends it, with everything else (`<think>` and `<answer>` tags too)."""
        kept = list(token_ids)
        while kept and (kept[-1] in self.stop_ids or kept[-1] == self.pad_id):
            kept.pop()
        return str(self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _render(self, example: Example, system: str | None) -> list[int]:
        """Token ids of the chat, with one placeholder per image."""
        system = example.system if example.system is not None else system
        for text in (system or "", example.question):
            _refuse_structure(text, f"example {example.id}: the question or system prompt")
        messages: list[dict[str, Any]] = [{"role": "user", "content": content_parts(example)}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _expand(self, token_ids: list[int], counts: list[int], example_id: str) -> tuple[int, ...]:
        """Replace each image's single placeholder by as many as the image has features."""
        placeholders = token_ids.count(self._image_token_id)
        if placeholders != len(counts):
            raise DataError(
                f"example {example_id}: expected one image placeholder for each of {len(counts)} images, got "
                f"{placeholders}; the model folder's chat template must render every {{'type': 'image'}} part"
            )
        sizes = iter(counts)
        runs = ([t] * next(sizes) if t == self._image_token_id else [t] for t in token_ids)
        return tuple(token for run in runs for token in run)


def content_parts(example: Example) -> list[dict[str, str]]:
    """A question as the parts of a chat message: pictures where `<image>` marks stand, or first when there are none."""
    if MARK not in example.question or not example.images:
        return [*({"type": "image"} for _ in example.images), {"type": "text", "text": example.question}]
    first, *others = example.question.split(MARK)
    texts = [{"type": "text", "text": first}]
    parts = texts + [part for text in others for part in ({"type": "image"}, {"type": "text", "text": text})]
    return [part for part in parts if part.get("text") != ""]


class PixelCache:
    """Processes each picture once (by the hash of its bytes) and keeps the most recently used ones in memory."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._bytes = 0

    def of(self, picture: Picture, where: str) -> tuple[Tensor, Tensor]:
        """Pixels float32 [patches, features] and grid int64 [3] of a picture; DataError says `where` it failed."""
        if picture.sha256 not in self._kept:
            self._add(picture.sha256, self._process(picture, where))
        self._kept.move_to_end(picture.sha256)
        return self._kept[picture.sha256]

    def _process(self, picture: Picture, where: str) -> tuple[Tensor, Tensor]:
        try:
            found = self._image_processor(images=[picture.open()], return_tensors="pt")
        except (OSError, ValueError, DecompressionBombError) as error:
            source = picture.path or f"{picture.width}x{picture.height}, given as bytes"
            raise DataError(
                f"{where} ({source}): expected an image that the model's processor takes, got: {error}; replace it"
            ) from error
        return found["pixel_values"], found["image_grid_thw"][0]

    def _add(self, name: str, entry: tuple[Tensor, Tensor]) -> None:
        self._kept[name] = entry
        self._bytes += entry[0].nbytes
        while self._bytes > PIXEL_CACHE_BYTES and len(self._kept) > 1:
            _, (pixels, _) = self._kept.popitem(last=False)
            self._bytes -= pixels.nbytes


def model_config(folder: str | Path) -> Any:
    """The transformers config of a model folder. Raises DataError unless it is a local folder of a known family."""
    if not (Path(folder) / "config.json").is_file():
        raise DataError(
            f"{folder}: expected a local Hugging Face model folder, got no config.json there; download the model "
            "first (`hf download NAME --local-dir FOLDER`) and name the folder"
        )
    # Read before transformers does: its own error for a foreign model_type runs over two screens.
    model_type = json.loads((Path(folder) / "config.json").read_text()).get("model_type")
    if model_type not in FAMILIES:
        raise DataError(f"{folder}: expected a model of type {', '.join(FAMILIES)}, got {model_type}")
    return AutoConfig.from_pretrained(str(folder), local_files_only=True)


def vision_ids(config: Any) -> tuple[int, ...]:
    """The tokens that stand for pixels or enclose them, from a model's config."""
    return (config.vision_start_token_id, config.vision_end_token_id, config.image_token_id, config.video_token_id)


def _refuse_structure(text: str, where: str) -> None:
    found = [token for token in STRUCTURE if token in text]
    if found:
        raise DataError(f"{where}: expected plain text, got the special tokens {found}; remove them")


def _check_geometry(folder: str | Path, processor: Any, vision: Any) -> None:
    """Placeholders are counted with the processor's sizes, features are made with the tower's: they must be equal."""
    expected = {"patch_size": vision.patch_size, "merge_size": vision.spatial_merge_size}
    got = {"patch_size": processor.patch_size, "merge_size": processor.merge_size}
    if expected != got:
        raise DataError(
            f"{folder}: expected an image processor that fits the vision tower ({expected}), got {got}; take "
            "preprocessor_config.json from the model that the weights come from"
        )


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """The folder's template. Older folders keep it in chat_template.json, which a tokenizer alone does not read."""
    legacy = folder / "chat_template.json"
    if legacy.is_file():
        return str(json.loads(legacy.read_text())["chat_template"])
    if tokenizer.chat_template is None:
        raise DataError(f"{folder}: expected a chat template (chat_template.jinja), got none; use an instruct model")
    return str(tokenizer.chat_template)
