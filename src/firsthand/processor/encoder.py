"""Example -> prompt, text -> reply, and back, as one model folder wants them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor

from firsthand.answers.asking import BY_KIND, content_parts, default_prompt, system_of
from firsthand.errors import BadRow, DataError, RecipeError, shown
from firsthand.processor.families import family_of, model_config, vision_ids
from firsthand.processor.folder import UNTRUSTED, reading, tokenizer_of
from firsthand.processor.readers import (
    GridReader,
    ProcessorReader,
    Prompt,
    Reader,
    TextReader,
    family_processor,
    with_places,
)
from firsthand.processor.template import Conversation
from firsthand.records import IMAGE_MARK, Choice, Example, Trace

_TEMPLATE_TOKENS = 512
"""More than any chat template writes around a question and its pictures: what may be too long is looked at."""


class Encoder:
    """Turns examples into prompts and texts into replies, as one model folder wants them. Build it with `load`."""

    def __init__(self, conversation: Conversation, reader: Reader, config: Any, max_prompt_tokens: int) -> None:
        self._conversation = conversation
        self._reader = reader
        self._image_token_id = getattr(config, "image_token_id", None)
        self._max_prompt_tokens = max_prompt_tokens
        self._context: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.stop_ids = conversation.stop_ids
        """A reply ends with any of these; the first one ends the assistant's turn."""
        self.banned_ids: tuple[int, ...] = vision_ids(config)
        """Image, video and vision tokens: they stand for pixels, so a reply must never contain them."""
        self.vocabulary_size = int(config.get_text_config().vocab_size)
        """Of the model: more than the tokenizer has, where its rows are padded."""
        pad = conversation.tokenizer.pad_token_id
        self.pad_id: int = self.stop_ids[0] if pad is None else pad

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        max_prompt_tokens: int = 8192,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> "Encoder":
        """Read the tokenizer, chat template and, of a model that reads pictures, image processor of a folder.

        Pixel bounds are the folder's own (preprocessor_config.json) unless they are given; only Qwen's models have
        them. `max_prompt_tokens` only guards memory, and the model's context is a bound, too: a longer prompt is an
        error, because a cut prompt is another question.

        Raises DataError when the folder's model is of a type that cannot work, has no chat template, or has an image
        processor that does not fit its vision tower.
        """
        config = model_config(folder)
        family = family_of(config)
        tokenizer = tokenizer_of(folder)
        with reading(folder, "a tokenizer and a chat template"):
            conversation = Conversation(folder, tokenizer, in_parts=family.reads == "processor")
        reader: Reader = TextReader(folder, conversation)
        given = {"min_pixels": min_pixels, "max_pixels": max_pixels}
        bounds = {name: pixels for name, pixels in given.items() if pixels is not None}
        if bounds and family.reads == "processor":
            raise DataError(
                f"{folder}: expected no {' and '.join(bounds)}, for a model of type {config.model_type} sizes pictures "
                "in its own way; take them out of the protocol"
            )
        if family.reads != "text":
            images = _image_processor(folder, config.model_type, bounds)
            if family.reads == "grids":
                _check_tokenizer(folder, tokenizer, config)
                _check_geometry(folder, images, config.vision_config)
                reader = GridReader(conversation, images, int(config.image_token_id))
            else:
                with reading(folder, "a processor_config.json"):
                    reader = ProcessorReader(conversation, family_processor(folder, family, tokenizer, images))
        return cls(conversation, reader, config, max_prompt_tokens)

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The tokenizer's tokens, those that were added included, and their ids."""
        found: dict[str, int] = self._conversation.tokenizer.get_vocab()
        return found

    def prompt(self, example: Example, system: str | None = None) -> Prompt:
        """Render a question: its images first, then its text, then the opening of the assistant's turn.

        `system` is used when the example has no system prompt of its own, `default` being that of its kind of answer;
        with neither, the template's default holds.

        Raises DataError when an image cannot be processed, the texts contain special tokens, placeholders and image
        features do not match, or the prompt is longer than `max_prompt_tokens` or the model's context.
        """
        prompt = self._read(example, system)
        if (bad := self._too_long(prompt, len(example.images))) is not None:
            raise DataError(f"example {example.id}: {bad}")
        return prompt

    def prefetch(self, examples: Iterable[Example]) -> None:
        """Begin to process the pictures of examples that `prompt` will be asked for, in the background.

        Of families without grids, whose pictures are processed with their text, it does nothing.
        """
        if isinstance(self._reader, GridReader):
            self._reader.pixels.prefetch(picture for example in examples for picture in with_places(example))

    def complaint(self, example: Example, system: str | None = None) -> BadRow | None:
        """Why a row makes no prompt, as far as that shows before its pictures are decoded; None: nothing is wrong."""
        options = example.answer.options if isinstance(example.answer, Choice) else ()
        question = "".join(part["text"] for part in content_parts(example) if part["type"] == "text")
        texts = {"choices": "\n".join(options), "question": question, "system": example.system or ""}
        try:
            for column, text in texts.items():
                self._refuse_special_tokens(text, column)
            images = [self._image_tokens(example, i) for i in range(len(example.images))]
        except BadRow as bad:
            return bad
        if (
            self._at_most(example, system) <= min(self._max_prompt_tokens, self._context or self._max_prompt_tokens)
            or None in images
        ):
            return None
        return self._too_long(self._read(example, system), len(images))

    def complaint_of_trace(self, trace: Trace, example: Example, system: str | None = None) -> BadRow | None:
        """Why a demonstration is no reply to an example that makes a prompt; None: nothing is wrong."""
        try:
            self._refuse_special_tokens(trace.text, "trace")
            most = len(trace.text.encode()) + self._at_most(example, system)
        except BadRow as bad:
            return bad
        if self._context is None or most < self._context:
            return None
        said, asked = len(self._conversation.ids(trace.text)) + 1, len(self._read(example, system).token_ids)
        if asked + said <= self._context:
            return None
        expected = f"a demonstration that fits, behind its prompt, into the model's context of {self._context} tokens"
        return BadRow("trace", expected, f"{said} tokens behind {asked}", "shorten it, or leave the row out")

    def _at_most(self, example: Example, system: str | None) -> int:
        """Tokens that a prompt has at most: one has a byte or more of its text, so that short ones need no tokenizer.

        What pictures take may not be known; then it is as many as any prompt may have.
        """
        images = [self._image_tokens(example, i) for i in range(len(example.images))]
        if None in images:
            return self._max_prompt_tokens
        question = "".join(part["text"] for part in content_parts(example) if part["type"] == "text")
        told = question + (system_of(example, system) or "")
        return len(told.encode()) + sum(n or 0 for n in images) + _TEMPLATE_TOKENS

    def check_system(self, system: str | None) -> None:
        """Raise RecipeError when a system prompt for all rows has special tokens."""
        told = default_prompt("digit") if system == BY_KIND else system or ""
        try:
            self._refuse_special_tokens(told, "system")
        except BadRow as bad:
            raise RecipeError(f"system: expected {bad.expected}, got {bad.got}; {bad.remedy}") from bad

    def _refuse_special_tokens(self, text: str, column: str) -> None:
        """Raise BadRow when a text of the user's holds tokens that end a turn, or stand for pixels."""
        if found := self._conversation.structure_in(text):
            start = max(0, text.find(found[0]) - 20)
            got = f"{', '.join(found)} in {shown(text[start : start + 80])}"
            remedy = f"remove them: the chat template writes what the model needs, and {IMAGE_MARK} marks a picture"
            raise BadRow(column, "text without the model's special tokens", got, remedy)

    def _image_tokens(self, example: Example, i: int) -> int | None:
        try:
            return self._reader.image_tokens(example.images[i])
        except BadRow as bad:
            raise bad.renamed({"image": f"images[{i}]"} if len(example.images) > 1 else {}) from bad

    def _read(self, example: Example, system: str | None) -> Prompt:
        told = system_of(example, system)
        text = self._conversation.render(content_parts(example), told, f"example {example.id}")
        return self._reader.read(example, text)

    def _too_long(self, prompt: Prompt, images: int) -> BadRow | None:
        length, longest = len(prompt.token_ids), min(self._max_prompt_tokens, self._context or self._max_prompt_tokens)
        if length <= longest:
            return None
        in_images = prompt.token_ids.count(self._image_token_id)
        remedy = "shorten the question"
        if in_images:
            remedy += (
                " or lower the pixel bound (`longest_edge` or `max_pixels`) in the model folder's "
                "preprocessor_config.json"
            )
        expected = f"a prompt of at most {longest} tokens" + " (the model's context)" * (longest == self._context)
        got = f"{length} ({in_images} of them for {images} images)" if images else str(length)
        return BadRow("question", expected, got, remedy)

    def reply(self, text: str) -> tuple[int, ...]:
        """Token ids of a reply, end-of-turn token included. Raises DataError when the text has special tokens."""
        self._conversation.refuse_structure(text, "reply")
        return (*self._conversation.ids(text), self.stop_ids[0])

    def text(self, token_ids: Sequence[int]) -> str:
        """Decode a reply: without what ends it, with everything else (`<think>` and `<answer>` tags too)."""
        kept = list(token_ids)
        while kept and (kept[-1] in self.stop_ids or kept[-1] == self.pad_id):
            kept.pop()
        tokenizer = self._conversation.tokenizer
        return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _image_processor(folder: str | Path, model_type: str, bounds: Mapping[str, int]) -> Any:
    """The folder's image processor, on Pillow."""
    try:
        return AutoImageProcessor.from_pretrained(str(folder), backend="pil", **UNTRUSTED, **bounds)
    except Exception as error:  # damaged files make transformers raise all kinds
        raise DataError(
            f"{folder}: expected an image processor (preprocessor_config.json) that works on Pillow, got none for a "
            f"model of type {model_type}; some types have only one on torchvision, which is not used here: take "
            "another model. transformers says: "
            f"{str(error)[:200]}"
        ) from error


def _check_tokenizer(folder: str | Path, tokenizer: Any, config: Any) -> None:
    """The placeholder that the template writes must be the one that the model replaces."""
    got = tokenizer.convert_ids_to_tokens(config.image_token_id)
    if got != "<|image_pad|>":
        raise DataError(
            f"{folder}: expected <|image_pad|> to be token {config.image_token_id} of the tokenizer, got {got}; take "
            "the tokenizer from the model that the weights come from"
        )


def _check_geometry(folder: str | Path, processor: Any, vision: Any) -> None:
    """Placeholders are counted with the processor's sizes, features are made with the tower's: they must be equal."""
    expected = {"patch_size": vision.patch_size, "merge_size": vision.spatial_merge_size}
    got = {"patch_size": processor.patch_size, "merge_size": processor.merge_size}
    if expected != got:
        raise DataError(
            f"{folder}: expected an image processor that fits the vision tower ({expected}), got {got}; take "
            "preprocessor_config.json from the model that the weights come from"
        )
