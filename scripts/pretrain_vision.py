"""Teach SmolLM2-135M-Instruct to see the worlds: a small vision tower, a connector and adapters, trained from nothing.

    python scripts/pretrain_vision.py --out runs/vision
    python scripts/ship_vision.py runs/vision

Three stages, one model. In the first, pictures and their exact captions go through the tower, the connector and every
third layer of SmolLM2: a small language model whose embeddings, layers and output are the real one's, so that the tower
learns its language cheaply, and nothing that is trained is thrown away. In the second the layers that were left out
come in: what they add is multiplied by a number that rises from 0 to 1. In the third pictures go through all 30 layers,
with two questions each beside the caption. In all three, what is trained is the tower, the connector, the embeddings of
eight new tokens, and adapters; SmolLM2 itself stays as it is.

The run is a function of its seed, its settings and the machine; it goes on from its last checkpoint, bit for bit.
Held-out scenes are asked while it runs (log.jsonl) and at its end (held-out.json).

Budget: three hours of two cores. A picture takes 16 GFLOP in the first stage (70 tokens, 11 layers), 40 in the second,
and 80 in the third (158 tokens, 30 layers), for what is frozen has no gradient of its own. Two cores of an AMD EPYC
that multiply bfloat16 took 1.7 s for a step of the first, with 16 pictures, 3.3 s for one of the second, and 9 s for
one of the third (2026-11-28, for most of the time nothing beside): 170 minutes. glibc gives freed memory back to the
system and asks for it again in every step; with MALLOC_MMAP_THRESHOLD_=8589934592 and
MALLOC_TRIM_THRESHOLD_=34359738368 in the environment a step of the third took a tenth less (three steps each).
"""

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pretraining import cut_log, exact_replies, go_on, keep, kept, learn, log, schedule, shares
from vision_data import Batches, Rows, held_out, loaded
from vision_model import SightModel, tower_settings

from firsthand.policy.gguf import located, write_model
from firsthand.policy.sight import image_tokens
from firsthand.processor.picture_tokens import grown_tokenizer

STRIDE = 3
"""Every so-manieth layer of the text model is in the first stage."""
RANK = 8
"""Of the adapters: with it all that is trained takes 11.4 MB."""
WIDTH, DEPTH, SIDE, PATCH, SCALE_FACTOR = 192, 6, 144, 12, 2
"""Of the tower: 12 x 12 patches, a number that 2, 3 and 4 divide, the worlds' columns and rows; 36 tokens a picture."""


@dataclass(frozen=True)
class Stage:
    """What one of the three does."""

    name: str
    steps: int
    comes_in: float
    """The share of its steps after which the layers that were left out are whole; infinite: they stay out."""
    questions: int
    """Of a picture, beside its caption."""
    tower_lr: float
    """Of tower and connector."""
    adapter_lr: float
    """Of adapters and new tokens."""

    def share(self, step: int) -> float:
        """How much of what they add the layers that were left out add in a step."""
        return min(1.0, (step + 1) / (self.comes_in * self.steps)) if self.comes_in else 1.0


def stages(captions: int, layers: int, questions: int) -> tuple[Stage, ...]:
    """All three, with so many steps each."""
    return (
        Stage("captions", captions, comes_in=math.inf, questions=0, tower_lr=2.5e-3, adapter_lr=1.5e-3),
        Stage("layers", layers, comes_in=0.7, questions=0, tower_lr=5e-4, adapter_lr=1e-3),
        Stage("questions", questions, comes_in=0.0, questions=2, tower_lr=5e-4, adapter_lr=1e-3),
    )


def optimizers(model: SightModel, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon (arXiv:2502.16982, scaled to AdamW's RMS) for the matrices of tower and connector, AdamW for the rest."""
    trained = model.trained()
    tower = {n: p for n, p in trained.items() if n.startswith("vision_model.")}
    matrices = [p for n, p in tower.items() if p.ndim == 2 and "embedding" not in n]
    chosen = {id(p) for p in (*matrices, *model.connector.parameters())}
    by_muon = [
        {"params": matrices, "peak": stage.tower_lr},
        # It begins small, as embeddings are, and would be many times as large after a few steps at the tower's rate.
        {"params": list(model.connector.parameters()), "peak": stage.tower_lr / 5},
    ]
    by_adamw = [
        {"params": [p for p in tower.values() if id(p) not in chosen], "peak": stage.tower_lr},
        {"params": [p for n, p in trained.items() if n not in tower and id(p) not in chosen], "peak": stage.adapter_lr},
    ]
    return [
        torch.optim.AdamW(by_adamw, betas=(0.9, 0.95), weight_decay=0.01),
        torch.optim.Muon(by_muon, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]


class Run:
    """One training, from its folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, args.out
        self.out.mkdir(parents=True, exist_ok=True)
        text = args.text or smollm2(self.out / "text")
        torch.manual_seed(args.seed)
        self.model = SightModel(text, tower_settings(args.width, args.depth, SIDE, PATCH), SCALE_FACTOR, args.rank)
        self.rows = Rows(grown_tokenizer(text), SIDE, image_tokens(self.model.config))

    def go(self) -> None:
        """All stages, from where the last run of this folder stopped."""
        state = kept(self.out / "state.pt")
        done = go_on(state, self.model.trained()) if state else 0
        cut_log(self.out, done)
        start = 0
        for stage in stages(*self.args.steps):
            if done < start + stage.steps:
                opts = optimizers(self.model, stage)
                if state and done > start:  # at the start of a stage the optimizers are those of the one before
                    go_on(state, self.model.trained(), opts)
                self._stage(stage, opts, start, done)
                done, state = start + stage.steps, None
            start += stage.steps
        measured = self._measure(stage, self.args.held_out)
        (self.out / "held-out.json").write_text(json.dumps(measured, indent=2) + "\n")

    def _stage(self, stage: Stage, opts: Sequence[torch.optim.Optimizer], start: int, done: int) -> None:
        batches = Batches(self.rows, stage.name, self.args.seed, self.args.pictures, stage.questions)
        first = max(0, done - start)
        drawn = loaded(batches, first, stage.steps, self.args.workers)
        for step in range(first, stage.steps):
            began = time.time()
            self.model.read_with(self.args.stride, stage.share(step))
            line: dict[str, Any] = {"step": start + step, "stage": stage.name}
            line |= self._step(stage, opts, step, next(drawn)) | {"seconds": time.time() - began}
            line["share"] = stage.share(step)
            if (step + 1) % self.args.save_every == 0 or step + 1 == stage.steps:
                line |= self._measure(stage, self.args.probe)
                self.model.save_parts(self.out / "parts")
                keep(self.out / "state.pt", start + step + 1, self.model.trained(), opts)
            log(self.out, line)

    def _step(self, stage: Stage, opts: Sequence[torch.optim.Optimizer], step: int, groups: Any) -> dict[str, float]:
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = group["peak"] * schedule(step, stage.steps)
        loss = learn(self.model, groups, self.args.micro)
        norm = torch.nn.utils.clip_grad_norm_(self.model.trained().values(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        return {"loss": loss, "grad_norm": norm.item()}

    def _measure(self, stage: Stage, scenes: int) -> dict[str, float]:
        """Shares of held-out replies that greedy decoding would write exactly."""
        groups, names = held_out(self.rows, "validation", scenes, questions=stage.questions > 0)
        return shares(names, exact_replies(self.model, groups))


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct, made out of the package index unless it is there."""
    if not folder.exists():
        with located("smollm2") as source:
            write_model(source, folder)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add("--text", type=Path, help="a text model's folder (default: SmolLM2-135M-Instruct, made in OUT/text)")
    add("--steps", type=int, nargs=3, default=(2600, 400, 450), help="of the stages (default: %(default)s)")
    add("--pictures", type=int, default=16, help="of a step (default: %(default)s)")
    add("--stride", type=int, default=STRIDE, help="of the first stage's layers (default: %(default)s)")
    add("--rank", type=int, default=RANK, help="of the adapters (default: %(default)s)")
    add("--width", type=int, default=WIDTH, help="of the tower (default: %(default)s)")
    add("--depth", type=int, default=DEPTH, help="of the tower (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    add("--workers", type=int, default=1, help="processes that draw pictures; 0: this one does (default: %(default)s)")
    add("--micro", type=int, default=8, help="pictures of a forward; changes no gradient (default: %(default)s)")
    add("--save-every", type=int, default=250)
    add("--probe", type=int, default=24, help="held-out scenes of each family and level while training")
    add("--held-out", type=int, default=200, help="the same at the end")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {"command": shlex.join(sys.argv[1:]), "on": f"{args.threads} CPU core(s)"}
    settings |= {name: value for name, value in vars(args).items() if name not in ("out", "text")}
    (args.out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    Run(args).go()


if __name__ == "__main__":
    main()
