"""SmolLM2-135M-Instruct itself, out of its package: weights and tokens against independent readings; its replies."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
import regex
import torch
from pages import page
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from firsthand.errors import DataError
from firsthand.policy import Policy
from firsthand.policy.gguf import located, write_model
from firsthand.policy.gguf.sources import GgufSource
from firsthand.processor import Encoder
from firsthand.records import Example, Text
from firsthand.rollout import LocalSampler, Sampling

pytestmark = pytest.mark.slow
DEFAULT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


@pytest.fixture(scope="module")
def source() -> Iterator[GgufSource]:
    try:
        with located("smollm2") as source:
            yield source
    except DataError as error:
        pytest.skip(f"the package with SmolLM2 cannot be had here: {error}")


@pytest.fixture(scope="module")
def folder(source: GgufSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    assert write_model(source, folder) == 134_515_008
    return folder


@pytest.fixture(scope="module")
def file(source: GgufSource) -> gguf.GGUFReader:
    return gguf.GGUFReader(source.file)


def test_weights_are_what_gguf_makes_of_them_with_queries_and_keys_in_order(
    folder: Path, file: gguf.GGUFReader
) -> None:
    packed = {tensor.name: tensor for tensor in file.tensors}
    theirs = {
        "model.embed_tokens.weight": ("token_embd.weight", None),
        "model.layers.0.self_attn.q_proj.weight": ("blk.0.attn_q.weight", 9),
        "model.layers.29.self_attn.k_proj.weight": ("blk.29.attn_k.weight", 3),
        "model.layers.17.self_attn.v_proj.weight": ("blk.17.attn_v.weight", None),
        "model.layers.29.mlp.down_proj.weight": ("blk.29.ffn_down.weight", None),
        "model.norm.weight": ("output_norm.weight", None),
    }
    with safe_open(folder / "model.safetensors", framework="np") as stored:
        assert len(stored.keys()) == len(packed) == 272
        for ours, (name, heads) in theirs.items():
            weights = gguf.dequantize(packed[name].data, packed[name].tensor_type)
            if heads:  # rows 0, 1 of a head are its rows 0, 32 in transformers, and so on
                order = [h * 64 + 2 * i + half for h in range(heads) for half in (0, 1) for i in range(32)]
                weights = weights[order]
            assert np.array_equal(stored.get_tensor(ours), weights), ours


class Bpe:
    """Byte-level BPE by the book, with the vocabulary and the merges of a file."""

    def __init__(self, file: gguf.GGUFReader) -> None:
        self.ids = {token: i for i, token in enumerate(file.fields["tokenizer.ggml.tokens"].contents())}
        self.ranks = {merge: i for i, merge in enumerate(file.fields["tokenizer.ggml.merges"].contents())}

    def __call__(self, text: str) -> list[int]:
        """Digits are cut out first, then the rest as GPT-2 cuts it."""
        parts = regex.split(r"(\p{N})", text)
        return [token for part in parts for piece in GPT2.findall(part) for token in self.merged(piece)]

    def merged(self, piece: str) -> list[int]:
        symbols = [bytes_to_unicode()[byte] for byte in piece.encode()]
        while len(symbols) > 1:
            pairs = [f"{a} {b}" for a, b in itertools.pairwise(symbols)]
            best = min(range(len(pairs)), key=lambda i: self.ranks.get(pairs[i], len(self.ranks)))
            if pairs[best] not in self.ranks:
                break
            symbols[best : best + 2] = ["".join(symbols[best : best + 2])]
        return [self.ids[symbol] for symbol in symbols]


def test_tokens_are_those_of_the_files_vocabulary_and_merges(folder: Path, file: gguf.GGUFReader) -> None:
    tokenizer, by_the_book = AutoTokenizer.from_pretrained(folder), Bpe(file)
    pages = [page(name)[:6000] for name in ("docs/recipes.md", "docs/performance.md")]
    draw = np.random.default_rng(0)
    signs = list("abcXYZ 0123456789  \n\n\t.,'’-+*/()$\\{}éß你好🙂½²٣\u00a0\u2003\r")
    mixed = ["".join(draw.choice(signs, 30)) for _ in range(300)]
    for text in (*pages, *mixed, "don't WE'LL", "  12  34\n\n5", "1,000,000.50 €"):
        ids = tokenizer(text)["input_ids"]
        assert ids == by_the_book(text)
        assert tokenizer.decode(ids) == text


def asked(question: str) -> Example:
    return Example(question=question, images=(), answer=Text(value="Paris"))


def test_the_template_is_chatml_with_the_models_own_system_prompt_unless_there_is_one(folder: Path) -> None:
    encoder, tokenizer = Encoder.load(folder), AutoTokenizer.from_pretrained(folder)
    for system in (None, "Answer in one word."):
        prompt = encoder.prompt(asked("What is the capital of France?"), system)
        assert tokenizer.decode(prompt.token_ids) == (
            f"<|im_start|>system\n{system or DEFAULT}<|im_end|>\n<|im_start|>user\nWhat is the capital of France?"
            "<|im_end|>\n<|im_start|>assistant\n"
        )
    assert tokenizer.convert_ids_to_tokens(list(encoder.stop_ids)) == ["<|im_end|>"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")


def test_it_knows_the_capital_of_france_and_ends_its_reply(folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), AutoTokenizer.from_pretrained(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.dtype == torch.float32
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=1, do_sample=False)
    assert tokenizer.decode(written[0]) == "The capital of France is Paris"
    encoder = Encoder.load(folder)
    sampler = LocalSampler(Policy.load(folder), encoder)
    [answer] = sampler.sample([encoder.prompt(asked("What is the capital of France?"))], 1, Sampling(temperature=0))
    assert answer.reply.text == "The capital of France is Paris."
    assert tokenizer.convert_ids_to_tokens(answer.reply.token_ids[-1]) == "<|im_end|>"
