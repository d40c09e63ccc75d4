"""Pre-train the small VLM that ships with the package, from the worlds alone.

    python scripts/pretrain.py --out runs/pretrain

Every row is one picture and several turns about it, packed so that the picture is encoded once (`policy.packing`): a
description, and questions in several styles. A question that ends in "Think step by step." is answered in steps, one
that ends in "Answer directly." is not; a bare question is answered
directly more often than in steps. The model thus
*can* reason, and by habit does not: what reinforcement learning can change.

The run is reproducible from its seed and number of steps; it resumes from its last checkpoint.
"""

import argparse
import json
import random
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pretraining import (
    DIRECTLY,
    STEPS,
    Turn,
    conversation,
    exact_replies,
    go_on,
    keep,
    kept,
    learn,
    log,
    products,
    schedule,
    shares,
    styled,
)
from small_model import build_tokenizer, save_processor, small_config
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from firsthand import worlds
from firsthand.policy.packing import PackedRows, PrefixGroup, pack, prompt_positions
from firsthand.processor import Prompt
from firsthand.worlds import grid
from firsthand.worlds.traces import direct, stepwise
from firsthand.worlds.world import Scene

MIX = {"count": 0.43, "digits": 0.20, "chart": 0.22, "geometry": 0.15}
"""Which scene a row shows; the grid scene of `count` also serves `locate` and `describe`."""
VOCABULARY = 640
MEAN, STD = np.float32([0.48145466, 0.4578275, 0.40821073]), np.float32([0.26862954, 0.26130258, 0.27577711])


def turns(rng: random.Random, family: str, scene: Scene) -> list[Turn]:
    """Questions about one scene, each with the reply to learn."""
    description = grid.ask_caption(rng, scene)
    found = [(description.text, f"<answer>{scene.caption}</answer>")]
    for _ in range(3):
        found.append(styled(rng, worlds.WORLDS[family].ask(rng, scene)))
    if family == "count":
        found += [styled(rng, grid.ask_box(rng, scene)) for _ in range(2)]
    return found


def corpus(number: int) -> Iterator[str]:
    """Texts that the tokenizer is trained on: every style, tags taken out."""
    for family in worlds.WORLDS:
        for example in worlds.generate(family, "train", number, seed=1):
            texts = [example.question + STEPS, DIRECTLY, "The answer is 7.", "You are a helpful assistant."]
            texts += [trace.text for trace in example.traces]
            for text in texts:
                for tag in ("<think>", "</think>", "<answer>", "</answer>"):
                    text = text.replace(tag, " ")
                yield text
    yield from ["<|im_start|>system\n user\n assistant\n"] * number


class Rows:
    """Endless, seeded batches; batch `step` depends on nothing but (seed, step)."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, model: Qwen2_5_VLForConditionalGeneration, seed: int
    ) -> None:
        self.tokenizer, self.model, self.seed = tokenizer, model, seed
        self.image_id = model.config.image_token_id
        self.opening = tokenizer.encode(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        )
        self.closing = tokenizer.encode("<|vision_end|>")
        self.places: dict[tuple[int, int], Tensor] = {}

    def batch(self, step: int, rows: int) -> list[PrefixGroup]:
        """One group a picture."""
        return [self.group(random.Random(f"{self.seed} {step} {row}"), step * rows + row) for row in range(rows)]

    def group(self, rng: random.Random, index: int) -> PrefixGroup:
        family = rng.choices(list(MIX), list(MIX.values()))[0]
        scene, _ = worlds.scene(family, "train", self.seed + 1000, index, level=rng.choice(("easy", "hard", "hard")))
        return self.turns_group(scene, turns(rng, family, scene), index)

    def turns_group(self, scene: Scene, texts: Sequence[Turn], index: int) -> PrefixGroup:
        """A picture, and what is asked and said about it."""
        pixels, grid_thw = patches(scene)
        count = int(grid_thw.prod()) // 4
        prompt = Prompt(str(index), (*self.opening, *[self.image_id] * count, *self.closing), pixels, grid_thw)
        return conversation(self.tokenizer, prompt, texts)

    def positions(self, prompt: Prompt) -> Tensor:
        key = (int(prompt.grids[0, 1]), int(prompt.grids[0, 2]))
        if key not in self.places:
            self.places[key] = prompt_positions(self.model.model, prompt, self.image_id)
        return self.places[key]


def patches(scene: Scene) -> tuple[Tensor, Tensor]:
    """Pixels and grid of one picture, as the image processor of the saved folder makes them (checked at start)."""
    array = (np.asarray(scene.picture, dtype=np.float32) / 255 - MEAN) / STD
    h, w = array.shape[0] // 14, array.shape[1] // 14
    array = array.transpose(2, 0, 1).reshape(3, h // 2, 2, 14, w // 2, 2, 14).transpose(1, 4, 2, 5, 0, 3, 6)
    array = np.broadcast_to(array[:, :, :, :, :, None], (*array.shape[:5], 2, 14, 14)).reshape(h * w, -1)
    return torch.from_numpy(np.ascontiguousarray(array)), torch.tensor([[1, h, w]])


def forward(
    model: Qwen2_5_VLForConditionalGeneration, drawn: Rows, groups: Sequence[PrefixGroup]
) -> tuple[Tensor, PackedRows]:
    """Logits of every trained token, and the rows they come from."""
    places = [drawn.positions(group.prompt) for group in groups]
    rows = pack(groups, places, pad_id=drawn.tokenizer.pad_token_id, device=model.device)
    with products(model.device.type):
        hidden = model.model(
            input_ids=rows.token_ids_MN,
            position_ids=rows.position_ids_3MN,
            attention_mask=rows.attend_M1NN,
            pixel_values=torch.cat([g.prompt.pixels for g in groups]).to(model.device),
            image_grid_thw=torch.cat([g.prompt.grids for g in groups]).to(model.device),
            use_cache=False,
        ).last_hidden_state
        logits = model.lm_head(hidden[rows.row_K, rows.source_K])
    return logits.float(), rows


def probe(model: Qwen2_5_VLForConditionalGeneration, rows: Rows, scenes: int = 60) -> dict[str, float]:
    """Share of validation replies that greedy decoding would write exactly, per family and style."""
    groups, names = [], []
    for family in MIX:
        for index in range(scenes):
            scene, rng = worlds.scene(family, "validation", 7, index, level=("easy", "hard")[index % 2])
            question = worlds.WORLDS[family].ask(rng, scene)
            texts = [
                ("Describe the image.", f"<answer>{scene.caption}</answer>"),
                (question.text + STEPS, stepwise(question)),
                (question.text + DIRECTLY, direct(question)),
            ]
            groups.append(rows.turns_group(scene, texts, index))
            names += [f"{family}/{style}" for style in ("caption", "steps", "direct")]
    return shares(names, exact_replies(partial(forward, model, rows), groups))


def optimizers(model: torch.nn.Module, lr: float, muon: bool) -> list[torch.optim.Optimizer]:
    """Muon (arXiv:2502.16982, scaled to AdamW's RMS) for the hidden matrices, AdamW for the rest."""
    inside = ("layers", "blocks")
    hidden = [p for n, p in model.named_parameters() if muon and p.ndim == 2 and any(part in n for part in inside)]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.01)]
    if hidden:
        found.append(torch.optim.Muon(hidden, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3400)
    parser.add_argument("--rows", type=int, default=16, help="pictures per step")
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--adamw", action="store_true", help="AdamW for every parameter, instead of Muon for the hidden matrices"
    )
    parser.add_argument("--micro", type=int, default=8, help="pictures per forward; changes no gradient")
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(corpus(1500), VOCABULARY)
    model = Qwen2_5_VLForConditionalGeneration._from_config(
        small_config(tokenizer), dtype=torch.float32, attn_implementation="sdpa"
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    rows = Rows(tokenizer, model, args.seed)
    opts = optimizers(model, args.lr, not args.adamw)
    on = torch.cuda.get_device_name() if model.device.type == "cuda" else f"{args.threads} CPU core(s)"
    settings = {
        "command": shlex.join(sys.argv[1:]),
        "steps": args.steps,
        "seed": args.seed,
        "rows": args.rows,
        "on": on,
    }
    (args.out / "settings.json").write_text(json.dumps(settings))
    start = time.time()
    state = kept(args.out / "state.pt")
    first = go_on(state, model.state_dict(), opts) if state else 0
    for step in range(first, args.steps):
        for group in (g for o in opts for g in o.param_groups):
            group["lr"] = args.lr * schedule(step, args.steps)
        began = time.time()
        loss = learn(partial(forward, model, rows), rows.batch(step, args.rows), args.micro)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        line = {
            "step": step,
            "loss": loss,
            "grad_norm": norm.item(),
            "seconds": time.time() - began,
            "elapsed": time.time() - start,
        }
        done = step + 1
        if done % args.save_every == 0 or done == args.steps:
            line |= probe(model, rows)
            model.save_pretrained(args.out / "model")
            save_processor(tokenizer, args.out / "model")
            keep(args.out / "state.pt", done, model.state_dict(), opts)
        log(args.out, line)


if __name__ == "__main__":
    main()
