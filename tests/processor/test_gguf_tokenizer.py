"""The tokenizer of a GGUF file cuts texts as the model's own does, and as transformers' reader where that knows how."""

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from tiny_gguf import TOKENS, Change, tiny_gguf, unchanged
from transformers import AutoTokenizer

from firsthand.processor.gguf_tokenizer import CUTS, gguf_tokenizer

CUT = "tokenizer.ggml.pre"
SPACES, LINES = "ĠĠ", "ĊĊ"


def read(folder: Path, change: Change = unchanged) -> Any:
    """A file's tokenizer, as the folder that was written has it."""
    tiny_gguf(folder / "tiny.gguf", change=change)
    metadata = {name: field.contents() for name, field in GGUFReader(folder / "tiny.gguf").fields.items()}
    gguf_tokenizer(folder / "tiny.gguf", metadata, 512).save_pretrained(folder / "tiny")
    return AutoTokenizer.from_pretrained(folder / "tiny", local_files_only=True)


def cut_as(name: str) -> Change:
    return lambda metadata, _: metadata.update({CUT: name})


@pytest.mark.parametrize(
    ("cut", "text", "tokens"),
    [
        ("smollm", "1234", ["1", "2", "3", "4"]),  # each digit alone, whatever merges there are
        ("qwen2", "1234", ["1", "2", "3", "4"]),
        ("llama-bpe", "1234", ["123", "4"]),  # threes from the left
        ("gpt-2", "1234", ["1234"]),
        ("smollm", "hey  1", ["hey", SPACES, "1"]),  # spaces end where the digit begins: both are one token
        ("gpt-2", "hey  1", ["hey", "Ġ", "Ġ", "1"]),  # the last space belongs to what follows
        ("qwen2", "hey  1", ["hey", "Ġ", "Ġ", "1"]),
        ("smollm", "hey\n\n1", ["hey", LINES, "1"]),
        ("gpt-2", "hey\n\n1", ["hey", "Ċ", "Ċ", "1"]),
        ("qwen2", "hey\n\n1", ["hey", LINES, "1"]),
        ("gpt-2", " hey", ["Ġ", "hey"]),  # merges in their order: h e, he y, and then nothing
        ("llama-bpe", " hey", ["Ġhey"]),  # a piece that is a token is one, though no merges lead to it
    ],
)
def test_a_text_is_cut_as_the_file_says(tmp_path: Path, cut: str, text: str, tokens: list[str]) -> None:
    tokenizer = read(tmp_path, cut_as(cut))
    assert tokenizer.tokenize(text) == tokens
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


TEXTS = (
    "x = 12\n\n1. a  2",
    "3.14159 and 1,000,000",
    "def f(x):\n    return x**2  # hey\r\n",
    "I'll don't WE'RE he'S",
    "naïve café, “quotes”, 你好 🙂",
    "\t\t 42   \n \n",
    "Ⅳ ½ ٣12345",
    "<|im_start|>user\nhey 12<|im_end|>\n",
)


@pytest.mark.parametrize("cut", sorted(set(CUTS) - {"smollm"}))
def test_tokens_are_those_of_transformers_reader_where_it_knows_the_cut(tmp_path: Path, cut: str) -> None:
    tokenizer = read(tmp_path, cut_as(cut))
    peer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    for text in TEXTS:
        plain = text.replace("hey", "he")  # the peer merges Llama 3's pieces that are tokens, too
        assert tokenizer(plain)["input_ids"] == peer(plain)["input_ids"], plain


@pytest.mark.parametrize("cut", CUTS)
def test_every_text_comes_back(tmp_path: Path, cut: str) -> None:
    tokenizer = read(tmp_path, cut_as(cut))
    assert [tokenizer.decode(tokenizer(text)["input_ids"]) for text in TEXTS] == list(TEXTS)


def test_qwen_reads_composed_letters(tmp_path: Path) -> None:
    assert read(tmp_path, cut_as("qwen2")).tokenize("e\u0301") == ["Ã", "©"]


def test_named_tokens_are_whole_and_the_special_ones_special(tmp_path: Path) -> None:
    tokenizer = read(tmp_path)
    assert tokenizer.tokenize("a<think>b<|im_end|>") == ["a", "<think>", "b", "<|im_end|>"]
    assert tokenizer.decode(tokenizer("a<think><|im_end|>")["input_ids"], skip_special_tokens=True) == "a<think>"
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<think>", "hey")] == [
        TOKENS.index(token) for token in ("<|im_end|>", "<think>", "hey")
    ]
    assert "[PAD0]" not in tokenizer.get_vocab()
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert named == ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|endoftext|>")
    assert tokenizer.model_max_length == 512


@pytest.mark.parametrize("adds", [True, False])
def test_a_text_begins_as_the_file_says(tmp_path: Path, adds: bool) -> None:
    tokenizer = read(tmp_path, lambda metadata, _: metadata.update({"tokenizer.ggml.add_bos_token": adds}))
    assert tokenizer("a")["input_ids"] == [TOKENS.index("<|im_start|>")] * adds + [TOKENS.index("a")]
    assert tokenizer("a", add_special_tokens=False)["input_ids"] == [TOKENS.index("a")]
