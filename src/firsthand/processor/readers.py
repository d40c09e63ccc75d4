"""Rendered conversations and their pictures -> prompts, in three ways; `families` says which one a model needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from firsthand.errors import BadRow, DataError
from firsthand.processor.families import Family
from firsthand.processor.folder import UNTRUSTED
from firsthand.processor.pixels import PixelCache, opened
from firsthand.processor.template import Conversation
from firsthand.records import Example, Picture


@dataclass(frozen=True)
class Prompt:
    """A question as the model reads it, up to the point where the assistant's turn begins."""

    example_id: str
    token_ids: tuple[int, ...]
    """Image placeholders are already expanded: one per feature of the vision tower."""
    pixels: Tensor | None
    """float32 [patches, channels * temporal * patch * patch], all images concatenated; None without images."""
    grids: Tensor | None
    """int64 [images, 3]: (t, h, w) of each image in patches; None without images."""
    pictures: tuple[str, ...] = ()
    """A name for each image's pixels: equal names are encoded once. Empty: the pixels are compared instead."""
    tensors: Mapping[str, Tensor] | None = None
    """Of families without grids: what the vision tower takes instead, by name, for all images of the prompt."""
    short_ids: tuple[int, ...] = ()
    """With one placeholder for each image, as a server wants it that expands them itself; empty without images."""
    images: tuple[Picture, ...] = ()
    """What such a server is sent."""


def with_places(example: Example) -> list[tuple[Picture, str]]:
    """An example's pictures, each with where it stands, as errors say it."""
    return [(picture, f"example {example.id}, image {i}") for i, picture in enumerate(example.images)]


class TextReader:
    """For models that read no pictures."""

    def __init__(self, folder: str | Path, conversation: Conversation) -> None:
        self._folder = folder
        self._conversation = conversation

    def image_tokens(self, picture: Picture) -> int:
        """See `Reader`."""
        raise BadRow(
            "image",
            f"no images, for the model in {self._folder} reads text only",
            "a picture",
            "use a vision-language model, or leave such rows out",
        )

    def read(self, example: Example, text: str) -> Prompt:
        try:
            for picture in example.images:
                self.image_tokens(picture)
        except BadRow as bad:
            raise DataError(f"example {example.id}: {bad}") from bad
        return Prompt(example.id, tuple(self._conversation.ids(text)), None, None)


class GridReader:
    """For Qwen's models: pictures are grids of patches, and a placeholder stands for a few patches merged."""

    def __init__(self, conversation: Conversation, image_processor: Any, image_token_id: int) -> None:
        self._conversation = conversation
        self._image_token_id = image_token_id
        self._merge_size = image_processor.merge_size
        self._image_processor = image_processor
        self.pixels = PixelCache(image_processor)

    def image_tokens(self, picture: Picture) -> int:
        """See `Reader`."""
        try:
            patches = self._image_processor.get_number_of_image_patches(picture.height, picture.width)
        except ValueError as error:
            raise _untakable(picture, error) from error
        return int(patches) // int(self._merge_size) ** 2

    def read(self, example: Example, text: str) -> Prompt:
        images = [self.pixels.of(*picture) for picture in with_places(example)]
        counts = [int(grid.prod()) // self._merge_size**2 for _, grid in images]
        token_ids = self._conversation.ids(text)
        return Prompt(
            example_id=example.id,
            token_ids=self._expand(token_ids, counts, example.id),
            pixels=torch.cat([pixels for pixels, _ in images]) if images else None,
            grids=torch.stack([grid for _, grid in images]) if images else None,
            pictures=tuple(picture.sha256 for picture in example.images),
            short_ids=tuple(token_ids) if images else (),
            images=example.images,
        )

    def _expand(self, token_ids: list[int], counts: list[int], example_id: str) -> tuple[int, ...]:
        """Replace each image's single placeholder by as many as the image has features."""
        _check_places(token_ids.count(self._image_token_id), len(counts), example_id)
        sizes = iter(counts)
        runs = ([t] * next(sizes) if t == self._image_token_id else [t] for t in token_ids)
        return tuple(token for run in runs for token in run)


class ProcessorReader:
    """For all others: transformers' processor of the family places all pictures of a prompt at once."""

    def __init__(self, conversation: Conversation, processor: Any) -> None:
        self._conversation = conversation
        self._processor = processor

    def image_tokens(self, picture: Picture) -> int | None:
        """See `Reader`. Asked of transformers as vLLM asks it; a processor that cannot tell is let be."""
        try:
            told = self._processor._get_num_multimodal_tokens(image_sizes=[(picture.height, picture.width)])
        except ValueError as error:
            raise _untakable(picture, error) from error
        except (AttributeError, KeyError, TypeError, NotImplementedError):
            return None
        return None if told.num_image_tokens is None else int(told.num_image_tokens[0])

    def read(self, example: Example, text: str) -> Prompt:
        where = f"example {example.id}"
        images = [opened(*picture) for picture in with_places(example)]
        if not images:
            return Prompt(example.id, tuple(self._conversation.ids(text)), None, None)
        _check_places(text.count(self._processor.image_token), len(images), example.id)
        try:
            found = self._processor(images=[images], text=[text], add_special_tokens=False, return_tensors="pt")
        except ValueError as error:
            raise DataError(
                f"{where}: expected images that {type(self._processor).__name__} takes, got: {error}; replace them"
            ) from error
        # What has one entry per token can be told from the tokens, and replies will add to it.
        per_token = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
        return Prompt(
            example_id=example.id,
            token_ids=tuple(found["input_ids"][0].tolist()),
            pixels=None,
            grids=None,
            pictures=tuple(picture.sha256 for picture in example.images),
            tensors={name: value for name, value in found.items() if name not in per_token},
            short_ids=tuple(self._conversation.ids(text)),
            images=example.images,
        )


Reader = TextReader | GridReader | ProcessorReader
"""Turns a rendered conversation and its example's pictures into a prompt. Raises DataError when a picture cannot be
read, or the text has no place for it. `image_tokens` says how many tokens a picture becomes, without decoding it (None:
that cannot be known), and raises BadRow on one that the model does not take."""


def family_processor(folder: str | Path, family: Family, tokenizer: Any, image_processor: Any) -> Any:
    """transformers' processor of a family, put together without its part for videos, which wants torchvision.

    Raises DataError when this family's processor cannot do without a package that is not installed.
    """
    wanted: Any = getattr(transformers, family.processor)

    class WithoutVideos(wanted):  # type: ignore[misc]
        """Lets `video_processor` be None."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return super().check_argument_for_proper_class(argument_name, argument) if argument is not None else None

    WithoutVideos.__name__ = wanted.__name__
    settings, _ = wanted.get_processor_dict(str(folder), **UNTRUSTED)
    own = {k: v for k, v in settings.items() if not isinstance(v, dict) and k not in ("processor_class", "auto_map")}
    parts = {"image_processor": image_processor, "tokenizer": tokenizer}
    if "video_processor" in wanted.get_attributes():
        parts["video_processor"] = None
    try:
        return WithoutVideos(**parts, **own)
    except ImportError as error:
        raise DataError(f"{folder}: expected what {family.processor} needs, got: {error}") from error


def _untakable(picture: Picture, error: Exception) -> BadRow:
    got = f"{picture.width} x {picture.height} pixels ({error})"
    return BadRow("image", "a picture that the model's processor takes", got, "crop it, or leave the row out")


def _check_places(found: int, images: int, example_id: str) -> None:
    if found != images:
        raise DataError(
            f"example {example_id}: expected one image placeholder for each of {images} images, got {found}; the "
            "model folder's chat template must render every {'type': 'image'} part"
        )
