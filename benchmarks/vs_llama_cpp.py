"""A folder that `firsthand model` has written, beside llama.cpp on the file that it was made of: tokens and log-probs.

    pip install --no-deps xllamacpp      # llama.cpp, built
    OMP_NUM_THREADS=1 python benchmarks/vs_llama_cpp.py smollm2

llama.cpp rounds what goes into a quantised matrix to 8 bits, so log-probs are compared with what it computes from the
same file with every matrix in float32, too: there only the order of sums, and keys and values in 16 bits, differ.
"""

import argparse
import json
import random
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

from firsthand.policy.gguf import located, write_model

DOCS = Path(__file__).parents[1] / "docs"
SIGNS = "abcXYZ 0123456789  \n\t.,'’-+*/()$\\{}éß你好🙂½²٣\u00a0\u2003\r"
BLOCKS = ((0x20, 0x24F), (0x370, 0x1FFF), (0x2000, 0x2FFF), (0x4E00, 0x4FFF), (0x1F300, 0x1F6FF))
BEGINNINGS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Water boils at 100",
    "Once upon a time, there was",
)
QUESTIONS = ("What is the capital of France?", "What is 7 + 5?", "Name three colours.", "List the numbers 1 to 5.")
STEPS, NAMED = 24, 5
"""Tokens after each beginning, and the likeliest of each that are compared."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="as for `firsthand model`")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with located(args.model) as source, tempfile.TemporaryDirectory() as temporary:
        folder, whole = Path(temporary) / "model", Path(temporary) / "float32.gguf"
        write_model(source, folder)
        _write_float32(source.file, whole)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        prompts = _prompts(tokenizer)
        with served(source.file) as ask:
            _compare_tokens(tokenizer, ask, _texts(args.seed))
            _compare_logprobs("the file", model, ask, prompts)
        with served(whole) as ask:
            _compare_logprobs("the file in float32", model, ask, prompts)


@contextmanager
def served(file: Path) -> Iterator[Any]:
    """llama.cpp on one thread; what is given asks it."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx, settings.n_parallel, settings.warmup = 2048, 1, False
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(settings)

    def ask(path: str, **content: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(server.listening_address + path, json.dumps(content).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    yield ask


def _texts(seed: int) -> list[str]:
    draw = random.Random(seed)
    pages = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))]
    texts = [page[i : i + 1500] for page in pages for i in range(0, len(page), 1500)]
    texts += ["".join(draw.choices(SIGNS, k=draw.randint(1, 40))) for _ in range(1500)]
    texts += ["".join(chr(draw.randint(*draw.choice(BLOCKS))) for _ in range(draw.randint(1, 30))) for _ in range(500)]
    return texts


def _compare_tokens(tokenizer: Any, ask: Any, texts: list[str]) -> None:
    ours = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    theirs = [ask("/tokenize", content=text, add_special=False, parse_special=True)["tokens"] for text in texts]
    differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
    back = sum(tokenizer.decode(ids) != text for ids, text in zip(ours, texts, strict=True))
    print(f"{len(texts):,} texts, {sum(map(len, theirs)):,} tokens: {differ} texts differ, {back} do not come back")


def _prompts(tokenizer: Any) -> list[list[int]]:
    said = [
        tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True)
        for q in QUESTIONS
    ]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (*BEGINNINGS, *said)]


def _compare_logprobs(name: str, model: Any, ask: Any, prompts: list[list[int]]) -> None:
    """Along what llama.cpp writes greedily."""
    gaps, same, steps = [], 0, 0
    for prompt in prompts:
        drawn = {"n_predict": STEPS, "temperature": 0, "top_k": 1, "n_probs": NAMED, "cache_prompt": False}
        found = ask("/completion", prompt=prompt, **drawn)["completion_probabilities"]
        with torch.no_grad():
            row_NV = model(torch.tensor([prompt + [step["id"] for step in found]])).logits[0].log_softmax(-1)
        for row_V, step in zip(row_NV[len(prompt) - 1 : -1], found, strict=True):
            gaps += [abs(float(row_V[top["id"]]) - top["logprob"]) for top in step["top_logprobs"]]
            same += int(row_V.argmax()) == step["id"]
            steps += 1
    print(
        f"{name}: {steps} tokens, {same} of them the likeliest here, too; log-probs of the {NAMED} likeliest differ by "
        f"{np.mean(gaps):.4f} nats, {max(gaps):.3f} at most"
    )


def _write_float32(file: Path, copy: Path) -> None:
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(copy, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            value = 0 if name == "general.file_type" else field.contents()
            writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
