"""A recipe's model without its weights: built from config.json on the meta device, and run there to count what it costs.

Every tensor of it is a fake one: it has a shape and a device, and no numbers. What runs is the policy's own code, so
shared prefixes, gradient checkpointing, frozen parts and adapters cost what they cost in training. Left out are the
steps that depend on numbers: putting picture features into their places (and Qwen3-VL's deepstack additions).

Shape letters: M prompts, K reply tokens.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForImageTextToText

from firsthand.dataset import Prompt, model_config, vision_ids
from firsthand.policy import Group, Policy
from firsthand.policy.attention import ATTENTION
from firsthand.policy.decoding import Decoder
from firsthand.policy.head import Entropy
from firsthand.policy.packing import PackedRows
from firsthand.preflight.ledger import Kernel, Ledger
from firsthand.preflight.workload import Row
from firsthand.recipe import Recipe
from firsthand.rollout.local import inverse_cdf

TEXT_ID = 1
"""Stands for every token: what is counted does not depend on which."""


class Size(NamedTuple):
    """Parameters of one part of a model."""

    frozen: int
    trained: int


@dataclass(frozen=True)
class Update:
    """The cost of one forward and backward over packed rows. Bytes are on top of weights and gradients."""

    activations: int
    """Bytes that the layers keep for the backward."""
    head: int
    """Bytes that the output layer keeps."""
    workspace: int
    """What the backward, or the reference's forward, needs on top at its worst moment."""
    kernels: tuple[Kernel, ...]
    reference: tuple[Kernel, ...]
    """Those of the reference's forward; empty when there is none."""


@dataclass(frozen=True)
class Rollout:
    """The cost of running M prompts, and of one token more of each of their replies."""

    bytes_per_token: int
    """Of keys and values."""
    prefill_workspace: int
    """Bytes beside keys and values at the worst moment."""
    step_workspace: int
    prefill: tuple[Kernel, ...]
    step: tuple[Kernel, ...]


@dataclass(frozen=True)
class Picture:
    """The cost of one picture in the vision tower."""

    features: int
    """Bytes of what the tower returns."""
    kept: int
    """Bytes that a trained tower keeps for the backward, its features among them."""
    workspace: int
    """Bytes at the worst moment of a frozen tower's forward, or a trained one's backward."""
    forward: tuple[Kernel, ...]
    backward: tuple[Kernel, ...]
    """Empty when the tower is frozen."""


class Blueprint:
    """A policy of fake tensors. Raises DataError when the folder has no config.json of a known family."""

    def __init__(self, recipe: Recipe, folder: Path, device: str) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        config = model_config(folder)
        with self._mode, torch.device(device):
            model: Any = AutoModelForImageTextToText.from_config(
                config, dtype=torch.float32, attn_implementation="sdpa"
            )
        self._is_frozen = recipe.trainable == "language"
        model.model.language_model.config._attn_implementation = ATTENTION
        model.model.visual.requires_grad_(not self._is_frozen)
        if recipe.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self._model = model.train()
        self._policy = Policy(self._model, folder, vision_ids(config), frozen_tower=self._is_frozen)

    def sizes(self) -> dict[str, Size]:
        """Parameters of each part; what two parts share belongs to the first of them."""
        inner = self._model.model
        embeddings = inner.language_model.embed_tokens
        parts = {
            "vision tower": inner.visual.parameters(),
            "embeddings": embeddings.parameters(),
            "language layers": inner.language_model.parameters(),
            "output layer": self._model.lm_head.parameters(),
        }
        seen: set[int] = set()
        sizes = {}
        for name, parameters in parts.items():
            own = [p for p in parameters if id(p) not in seen]
            seen |= {id(p) for p in own}
            trained = sum(p.numel() for p in own if p.requires_grad)
            sizes[name] = Size(sum(p.numel() for p in own) - trained, trained)
        return sizes

    def update(self, rows: Sequence[Row], entropy: Entropy, *, reference: bool) -> Update:
        """Forward and backward over packed rows: each is the length of a prompt, then those of its replies."""
        groups = [Group(_prompt(prompt), tuple((TEXT_ID,) * n for n in replies)) for prompt, *replies in rows]
        packed = self._policy.rows(groups)
        self._fill_gradients()
        with Ledger() as ledger:
            with self._mode:  # also around masks, which are large, and made afresh in every forward
                hidden_KD = self._policy.hidden(packed, groups).last_hidden_state[packed.row_K, packed.source_K]
            activations = ledger.live
            logp_K = self._policy.head.logprobs(hidden_KD, packed.target_K, 1.0, entropy).logp_K
            del hidden_KD
            kept, begun = ledger.live, len(ledger.kernels)
            if reference:
                self._forward_only(packed, groups)
            ended = len(ledger.kernels)
            with self._mode:
                logp_K.sum().backward()
        kernels = tuple(ledger.kernels)
        learning = kernels[:begun] + kernels[ended:]
        return Update(activations, kept - activations, ledger.peak - kept, learning, kernels[begun:ended])

    def rollout(self, prompts: Sequence[int], n: int) -> Rollout:
        """Run prompts of these lengths, and write one token of n replies to each."""
        self._model.eval()  # layers that checkpoint gradients refuse a cache
        with torch.no_grad():
            groups = [Group(_prompt(length), ()) for length in prompts]
            with Ledger() as prefill:
                out = self._policy.hidden(self._policy.rows(groups), groups, use_cache=True)
            held = sum(layer.keys.nbytes + layer.values.nbytes for layer in out.past_key_values.layers)
            decoder = Decoder(self._policy, [group.prompt for group in groups], n, 1)
            with Ledger() as step:
                logp_BV = self._policy.head.logits(decoder.hidden_BD, 1.0).log_softmax(-1)
                inverse_cdf(logp_BV.exp(), self._fake(len(prompts) * n))
                del logp_BV
                decoder.step(torch.zeros(len(prompts) * n, dtype=torch.long))
        self._model.train()
        per_token = held // (len(prompts) * max(prompts))
        return Rollout(per_token, prefill.peak - held, step.peak, tuple(prefill.kernels), tuple(step.kernels))

    def picture(self, grid: tuple[int, int, int]) -> Picture:
        """Run one picture of (t, h, w) patches through the tower, with its backward where the tower is trained."""
        pixels = self._fake(grid[0] * grid[1] * grid[2], self.patch_bytes // 4)
        with torch.no_grad() if self._is_frozen else nullcontext(), Ledger() as ledger:
            out = self._model.model.get_image_features(pixels, torch.tensor([grid]), return_dict=True)
            levels = [*out.pooler_output, *out.get("deepstack_features", ())]
            del out
            features, kept, ended = sum(level.nbytes for level in levels), ledger.live, len(ledger.kernels)
            if not self._is_frozen:
                torch.stack([level.sum() for level in levels]).sum().backward()
        kernels = tuple(ledger.kernels)
        return Picture(features, kept, ledger.peak, kernels[:ended], kernels[ended:])

    @property
    def patch_bytes(self) -> int:
        """Bytes of one patch of a picture, as the image processor cuts it."""
        return 4 * int(self._model.model.visual.patch_embed.proj.weight[0].numel())

    def matrix(self) -> tuple[int, int]:
        """Inputs and outputs of the language model's largest kind of layer, its MLP's."""
        inner = next(m for m in self._model.model.language_model.layers[0].mlp.modules() if isinstance(m, nn.Linear))
        return inner.in_features, inner.out_features

    def _forward_only(self, packed: PackedRows, groups: Sequence[Group]) -> None:
        with torch.no_grad(), self._mode:
            hidden_KD = self._policy.hidden(packed, groups).last_hidden_state[packed.row_K, packed.source_K]
            self._policy.head.logprobs(hidden_KD, packed.target_K, 1.0, "none")

    def _fill_gradients(self) -> None:
        """As after a first micro-batch: gradients are counted by the parameters, not as part of a backward."""
        with self._mode:
            for parameter in self._policy.parameters:
                parameter.grad = torch.zeros_like(parameter)

    def _fake(self, *shape: int) -> Tensor:
        with self._mode:
            return torch.zeros(shape, device=self._model.device)


def _prompt(tokens: int) -> Prompt:
    return Prompt("preflight", (TEXT_ID,) * tokens, None, None)
