"""How much demonstrations surprise a model: VLAA-Thinking ranks its smaller SFT sets by it (arXiv:2504.11468)."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from firsthand.errors import DataError
from firsthand.files import write_atomically
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder, model_config
from firsthand.recipe import Data
from firsthand.records import Example

_BATCH = 8
"""Demonstrations per forward."""


def write_perplexities(
    model: Path, data: Data, out: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write one line per example to `out`: `{"id", "perplexity", "tokens"}`, in the order of the data.

    Of the first demonstration of each, the end of turn included; `exp` of the mean negative log-prob per token, among
    the tokens that a reply may contain (picture placeholders are none).
    Raises DataError when the model or the data cannot be used, or an example has no demonstration.
    """
    model_config(model)
    examples = data.load()
    missing = [e.id for e in examples if not e.traces]
    if missing:
        raise DataError(
            f"expected a demonstration in every row, got none in {len(missing):,} of {len(examples):,} (first: "
            f"{missing[0]}); perplexity is about what a model would imitate"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy, encoder = Policy.load(model, device=device), Encoder.load(model)
    policy.model.eval()
    lines = []
    for done, line in enumerate(_lines(policy, encoder, examples), start=1):
        lines.append(line)
        on_progress(done, len(examples))
    write_atomically(out, "".join(lines))


def _lines(policy: Policy, encoder: Encoder, examples: list[Example]) -> Iterator[str]:
    for first in range(0, len(examples), _BATCH):
        batch = examples[first : first + _BATCH]
        groups = [PrefixGroup(encoder.prompt(e), (encoder.reply(e.traces[0].text),)) for e in batch]
        with torch.inference_mode():
            found = policy.logprobs(groups)
        for example, logp_T, mask_T in zip(batch, found.logp_BT, found.mask_BT, strict=True):
            tokens = int(mask_T.sum())
            mean = float(logp_T[mask_T].double().mean())
            yield json.dumps({"id": example.id, "perplexity": math.exp(-mean), "tokens": tokens}) + "\n"
