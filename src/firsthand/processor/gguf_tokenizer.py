"""The tokenizer that a GGUF file describes, as a Hugging Face one: byte-level BPE, cut as the model's own is.

A file has the vocabulary and the merges, but of how a text is cut before they apply only a name. transformers' reader
takes GPT-2's way for a name that it does not know, SmolLM's among them, and the model then reads other tokens than it
was trained on. Here an unknown name is an error. Ways to cut: llama.cpp's `src/llama-vocab.cpp`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerFast

from firsthand.errors import DataError

_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
"""Types of tokens in a file: special; taken whole, but not special; a place in the vocabulary that no text reaches."""
_NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""transformers' names of tokens, and the file's."""
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def _gpt2() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _digits_alone() -> PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _split(pattern: str) -> Callable[[], PreTokenizer]:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])


CUTS: dict[str, Callable[[], PreTokenizer]] = {
    "gpt-2": _gpt2,
    "llama-bpe": _split(_LLAMA3),
    "qwen2": _split(_QWEN2),
    "smollm": _digits_alone,
}
"""By `tokenizer.ggml.pre`."""


def gguf_tokenizer(file: str | Path, metadata: Mapping[str, Any], context: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a file's metadata, with its special tokens and its chat template.

    Raises DataError when the vocabulary is no byte-level BPE, or cut in an unknown way.
    """
    kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or cut not in CUTS:
        raise DataError(
            f"{file}: expected a byte-level BPE vocabulary (gpt2) cut as {', '.join(CUTS)}, got {kind} cut as {cut}; "
            "take the model's own Hugging Face folder"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    vocabulary = {token: i for i, token in enumerate(tokens) if types[i] != _UNUSED}
    merges = [(left, right) for left, _, right in (m.partition(" ") for m in metadata["tokenizer.ggml.merges"])]
    # Llama 3 takes a piece that is a token as it is, even where no merges lead to it.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut == "llama-bpe"))
    if cut == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = CUTS[cut]()
    backend.decoder = decoders.ByteLevel()
    by_type = {
        wanted: [
            AddedToken(token, normalized=False, special=wanted == _CONTROL)
            for token, i in vocabulary.items()
            if types[i] == wanted
        ]
        for wanted in (_CONTROL, _USER_DEFINED)
    }
    backend.add_special_tokens(by_type[_CONTROL])
    backend.add_tokens(by_type[_USER_DEFINED])
    ids = {ours: metadata.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in _NAMED.items()}
    named = {ours: tokens[i] for ours, i in ids.items() if i is not None}
    if metadata.get("tokenizer.ggml.add_bos_token"):
        begin = named["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=[begin, "$A"], pair=[begin, "$A", begin, "$B"], special_tokens=[(begin, ids["bos_token"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata.get("tokenizer.chat_template"),
        model_max_length=context,
        **named,
    )
