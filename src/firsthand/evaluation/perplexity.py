"""How much demonstrations surprise a model: VLAA-Thinking ranks its smaller SFT sets by it (arXiv:2504.11468)."""

import json
import math
from pathlib import Path

import torch

from firsthand.batched import batched
from firsthand.errors import BadRow
from firsthand.evaluation.replies import OnProgress
from firsthand.files import write_atomically
from firsthand.policy import Policy, PrefixGroup
from firsthand.processor import Encoder
from firsthand.recipe import Data
from firsthand.records import Example

_BATCH = 8
"""Demonstrations per forward."""


def write_perplexities(model: Path, data: Data, out: Path, on_progress: OnProgress = lambda done, total: None) -> None:
    """Write one line per example to `out`: `{"id", "perplexity", "tokens"}`, in the order of the data.

    Of the first demonstration of each, the end of turn included; `exp` of the mean negative log-prob per token, among
    the tokens that a reply may contain (picture placeholders are none).
    Raises DataError when the model or the data cannot be used, or an example has no demonstration.
    """
    encoder = Encoder.load(model)
    loaded = data.read()
    loaded = loaded.without([_complaint(example, encoder) for example in loaded.examples])
    examples = loaded.settled(data.on_bad, out.parent)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy.load(model, dtype=torch.float32 if device == "cpu" else None, device=device)
    policy.model.eval()
    lines: list[str] = []
    for batch in batched(examples, _BATCH):
        groups = [PrefixGroup(encoder.prompt(e), (encoder.reply(e.traces[0].text),)) for e in batch]
        with torch.inference_mode():
            found = policy.logprobs(groups)
        for example, logp_T, mask_T in zip(batch, found.logp_BT, found.mask_BT, strict=True):
            perplexity = math.exp(-float(logp_T[mask_T].double().mean()))
            line = {"id": example.id, "perplexity": perplexity, "tokens": int(mask_T.sum())}
            lines.append(json.dumps(line) + "\n")
            on_progress(len(lines), len(examples))
    write_atomically(out, "".join(lines))


def _complaint(example: Example, encoder: Encoder) -> BadRow | None:
    if not example.traces:
        return BadRow("trace", "a demonstration, for perplexity is about what a model would imitate", "none", "add one")
    return encoder.complaint(example) or encoder.complaint_of_trace(example.traces[0], example)
