"""Perplexities of demonstrations: the loss of transformers' own logits, row by row."""

import json
import math
from pathlib import Path

import pytest
import torch
from tiny import tiny_folder

from firsthand.cli.main import main
from firsthand.errors import DataError
from firsthand.evaluation.perplexity import write_perplexities
from firsthand.policy import Policy
from firsthand.processor import Encoder
from firsthand.recipe import Data


def test_a_perplexity_is_that_of_transformers_logits(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny", "qwen2_5_vl")
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1), "trace": "so " * (i + 1)} for i in range(11)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    assert main(["perplexity", str(folder), "--data", str(tmp_path / "rows.jsonl"), "--out", str(out)]) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    policy, encoder = Policy.load(folder), Encoder.load(folder)
    examples = Data(path=str(tmp_path / "rows.jsonl")).load()
    assert [row["id"] for row in found] == [e.id for e in examples]
    for row, example in zip(found, examples, strict=True):
        prompt, reply = encoder.prompt(example).token_ids, encoder.reply(example.traces[0].text)
        ids = torch.tensor([[*prompt, *reply]])
        with torch.no_grad():
            logits_TV = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].clone()
        logits_TV[:, list(policy.banned_ids)] = float("-inf")  # picture placeholders are no words
        loss = float(torch.nn.functional.cross_entropy(logits_TV, ids[0, len(prompt) :]))
        assert row["tokens"] == len(reply)
        assert row["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)


def test_rows_without_a_demonstration_are_named(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny", "qwen2_5_vl")
    (tmp_path / "rows.jsonl").write_text('{"question": "?", "answer": "1", "id": "bare"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl line 1, column `trace`: expected a demonstration"):
        write_perplexities(folder, Data(path=str(tmp_path / "rows.jsonl")), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
