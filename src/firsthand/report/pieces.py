"""Where the tokens of a reply lie in its text, by the tokenizer.json of a model folder: no torch, no transformers."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from firsthand.worlds.generate import SMALL

_KEPT = 200_000
"""Token ids whose text a tokenizer remembers: about a vocabulary."""


class Pieces:
    """The tokenizers that may have written a run's replies, the likeliest first."""

    def __init__(self, tokenizers: Sequence[Tokenizer]) -> None:
        self._tokenizers = tokenizers
        self._texts: dict[tuple[int, int], str] = {}

    @classmethod
    def of(cls, folders: Iterable[Path]) -> "Pieces":
        """The tokenizers of these model folders; of those that have one, each once."""
        files = [folder / "tokenizer.json" for folder in folders]
        texts = dict.fromkeys(file.read_text(encoding="utf-8") for file in files if file.is_file())
        return cls([_tokenizer(text) for text in texts])

    def lengths(self, text: str, token_ids: Sequence[int]) -> list[int] | None:
        """UTF-16 code units of `text` that each token wrote; None where no tokenizer writes that text.

        What ends a reply has written nothing, and of a character of several tokens the last one has written it.
        """
        for number, tokenizer in enumerate(self._tokenizers):
            parts = self._one_by_one(number, token_ids)
            found = _fitted(text, parts)
            if found is None:
                found = _fitted(text, _streamed(tokenizer, token_ids))
            if found is not None:
                return found
        return None

    def _one_by_one(self, number: int, token_ids: Sequence[int]) -> list[str]:
        """The text of each token by itself: right for all but characters of several tokens."""
        if len(self._texts) > _KEPT:
            self._texts.clear()
        parts = []
        for token in token_ids:
            text = self._texts.get((number, token))
            if text is None:
                text = self._tokenizers[number].decode([token], skip_special_tokens=False)
                self._texts[number, token] = text
            parts.append(text)
        return parts


def model_folders(run: Path, model: object) -> tuple[Path, ...]:
    """Where the tokenizer of a run may be: in its result, or in the model that its recipe names."""
    named = () if not isinstance(model, str) else (SMALL if model == "small" else Path(model),)
    return (run / "model", *named)


@cache
def _tokenizer(content: str) -> Tokenizer:
    return Tokenizer.from_str(content)


def _streamed(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    stream = DecodeStream(skip_special_tokens=False)
    return [stream.step(tokenizer, token) or "" for token in token_ids]


def _fitted(text: str, parts: Sequence[str]) -> list[int] | None:
    """The parts' lengths where they make the text; those after its end have written nothing."""
    found, place = [], 0
    for part in parts:
        if place == len(text):
            part = ""
        if not text.startswith(part, place):
            return None
        place += len(part)
        found.append(utf16_length(part))
    return found if place == len(text) else None


def utf16_length(text: str) -> int:
    """How long a browser's script finds a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
