"""Put a pre-trained model into the package as bfloat16, measure it, and write its model card.

    python scripts/ship.py runs/pretrain --out src/firsthand/worlds/small

Everything is measured on the shipped weights, on test scenes that pre-training never saw.
"""

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from pretraining import DIRECTLY, STEPS
from transformers import Qwen2_5_VLForConditionalGeneration

from firsthand.evaluation import Protocol, score_examples, tabulate
from firsthand.evaluation.local import LocalGenerator
from firsthand.policy import Policy
from firsthand.processor import Encoder
from firsthand.records import Example, Score
from firsthand.reward import Router
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.worlds import WORLDS, generate

CLOSED = [name for name in WORLDS if name != "describe"]


def convert(source: Path, out: Path) -> None:
    """Copy a model folder with its weights in bfloat16."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(source, dtype=torch.bfloat16)
    for path in source.iterdir():  # tokenizer and processor first: another tokenizer's must not stay behind
        if path.suffix in (".json", ".jinja"):
            (out / path.name).write_bytes(path.read_bytes())
    model.save_pretrained(out)


class Bench:
    """The shipped model, ready to be asked."""

    def __init__(self, folder: Path, number: int, dtype: torch.dtype = torch.float32) -> None:
        self.encoder = Encoder.load(folder)
        self.sampler = LocalSampler(Policy.load(folder, dtype=dtype), self.encoder)
        self.number = number

    def scores(self, examples: Sequence[Example], suffix: str, samples: int, router: Router) -> list[Score]:
        """Replies to the questions with a style instruction behind them."""
        asked = [e.model_copy(update={"question": e.question + suffix}) for e in examples]
        generator = LocalGenerator(self.sampler, self.encoder)
        return score_examples(asked, generator, router.judge_many, Protocol(max_new_tokens=128, samples=samples))

    def family(self, name: str, router: Router, *, shifted: bool = False) -> dict[str, Any]:
        """The row of a family."""
        examples = generate(name, "test", self.number, seed=77, shifted=shifted)
        bare = self.scores(examples, "", 8, router)
        row = tabulate(bare, 8)
        sampled = [j.reply.text for s in bare for j in s.samples]
        return {
            "greedy": row["accuracy"],
            "sampled": row["sampled_accuracy"],
            "pass@1": row["pass_at"]["1"],
            "pass@8": row["pass_at"]["8"],
            "stepwise": tabulate(self.scores(examples, STEPS, 0, router), 0)["accuracy"],
            "direct": tabulate(self.scores(examples, DIRECTLY, 0, router), 0)["accuracy"],
            "starts with <think>": statistics.fmean(text.startswith("<think>") for text in sampled),
            "follows the tags": statistics.fmean(
                text.count("<answer>") == text.count("</answer>") == 1 for text in sampled
            ),
        }

    def captions(self, name: str, *, level: str = "mixed", shifted: bool = False) -> float:
        """Share of descriptions that are exact."""
        drawn = generate(name, "test", self.number, seed=78, level=level, shifted=shifted)
        examples = [e.model_copy(update={"question": "Describe the image."}) for e in drawn]
        prompts = [self.encoder.prompt(e) for e in examples]
        replies = grouped(self.sampler.sample(prompts, 1, Sampling(max_new_tokens=96, temperature=0)), len(prompts))
        return statistics.fmean(
            f"<answer>{e.scene}</answer>" == r[0].text for e, r in zip(examples, replies, strict=True)
        )


def measure(folder: Path, number: int) -> dict[str, Any]:
    """Everything that the card states."""
    bench = Bench(folder, number)
    with Router() as router:
        found: dict[str, Any] = {"families": {name: bench.family(name, router) for name in CLOSED}}
        found["shifted"] = {name: bench.family(name, router, shifted=True) for name in CLOSED}
    scenes = ("describe", "digits", "chart", "geometry")
    found["captions"] = {name: bench.captions(name) for name in scenes}
    found["captions, shifted"] = {name: bench.captions(name, shifted=True) for name in scenes}
    return found


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    names = list(next(iter(rows.values())))
    lines = [f"| family | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {family} | " + " | ".join(f"{row[n]:.3f}" for n in names) + " |" for family, row in rows.items()]
    return "\n".join(lines)


def card(found: dict[str, Any], number: int, training: dict[str, Any], parameters: int) -> str:
    """The model card."""
    captions = {
        name: {"exact": found["captions"][name], "exact, shifted": found["captions, shifted"][name]}
        for name in found["captions"]
    }
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---
# The small VLM of firsthand

transformers' Qwen2.5-VL architecture with {parameters / 1e6:.1f}M parameters (patch size 14, merge 2, untied output
layer), in bfloat16. It answers questions about rendered shapes, charts, figures and handwritten digits. It is a
laboratory animal for comparing training recipes, and of no other use.

- **Data**: the worlds of this package alone, train split; every scene is rendered, nothing is downloaded. Handwritten
  digits: scikit-learn's `load_digits` (UCI Optical Recognition of Handwritten Digits).
- **Command**: `python scripts/pretrain.py {training["command"]}` then `python scripts/ship.py`.
- **Training**: {training["steps"]} steps of {training["rows"]} pictures with 4 to 6 turns each, seed
  {training["seed"]}; {training["minutes"]:.0f} minutes on {training["on"]} of a shared machine, final loss
  {training["loss"]:.4f}.
- **Styles**: a bare question is answered directly more often than in steps. "Think step by step." and "Answer
  directly." choose the style. "Describe the image." gives an exact description.

## Measured

{number} test scenes per row, greedy unless said otherwise; pass@k at temperature 1 from 8 samples; mean IoU for
`locate` (a hit for pass@k is IoU >= 0.5). {date.today()}, torch {torch.__version__}, transformers
{transformers.__version__}, {platform.machine()}, `python scripts/ship.py RUN --number {number}`.

{table(found["families"])}

Shifted (unseen colour-shape pairs, more objects, another font):

{table(found["shifted"])}

Descriptions that are exact, word for word:

{table(captions)}
"""


def main() -> None:
    """Convert, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder that scripts/pretrain.py wrote")
    parser.add_argument("--out", type=Path, default=Path("src/firsthand/worlds/small"))
    parser.add_argument("--number", type=int, default=200)
    args = parser.parse_args()
    convert(args.run / "model", args.out)
    lines = [json.loads(line) for line in (args.run / "log.jsonl").read_text().splitlines()]
    settings = json.loads((args.run / "settings.json").read_text())
    training = settings | {
        "minutes": sum(line["seconds"] for line in lines) / 60,
        "loss": statistics.fmean(line["loss"] for line in lines[-50:]),
    }
    found = measure(args.out, args.number)
    (args.run / "measured.json").write_text(json.dumps(found, indent=2))
    parameters = sum(p.numel() for p in Policy.load(args.out).model.parameters())
    (args.out / "README.md").write_text(card(found, args.number, training, parameters))
    print((args.out / "README.md").read_text())


if __name__ == "__main__":
    main()
