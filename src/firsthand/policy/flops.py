"""How much arithmetic replies need, by formula: floating-point operations of the matrix products, by whoever made them.

A multiplication and an addition are two. Forward, a token costs 2 for each weight of the linear layers that it goes
through (Kaplan et al., arXiv:2001.08361, §2.1), and a query and a key that it sees cost 4 for each number of a head, in
each head of each layer: their product, and the value's share (PaLM, arXiv:2204.02311, appendix B; there masked pairs
count too, here they do not). Backward, a gradient of inputs costs the same again, and one of trained weights too.

Each token counts once, however it was computed. Left out: lookups, norms, activations and the optimizer; padding;
layers that are computed again to save memory; the recurrence of linear attention. A sliding window counts as if it saw
everything, and a first layer's gradient of inputs as if something needed it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from firsthand.processor import Prompt

Grid = tuple[int, int, int]
"""Patches (t, h, w) of a picture."""


@dataclass(frozen=True)
class Weights:
    """Numbers in the linear layers that one token (or patch) goes through."""

    all: int = 0
    trained: int = 0

    @property
    def backward(self) -> int:
        """Operations of one token's backward."""
        return 2 * self.all + 2 * self.trained

    @property
    def forward(self) -> int:
        """Operations of one token's forward."""
        return 2 * self.all


@dataclass(frozen=True)
class Flops:
    """A model's costs, and of what they are made."""

    layers: Weights
    """Of the language model, adapters included."""
    head: Weights
    """Of the output layer: only tokens that are predicted go through it."""
    pair: int
    """Operations of a query and a key that it sees, in all heads and layers."""
    patches: Weights
    """Of the vision tower, per patch."""
    merged: Weights
    """Of what brings its features into the language model, per token there."""
    vision_pair: int
    """Operations of two patches that see each other, in one layer."""
    vision_layers: int
    full_layers: int
    """Layers of the tower whose patches see all of their picture."""
    window: int
    """Patches on the side of the windows of the others."""
    image_token: int | None
    patch_size: int
    square: int = 1
    """Patches that become one token, in families that cut pictures into grids."""

    @classmethod
    def of(cls, model: Any) -> "Flops":
        """Of a model of transformers, with adapters or without, as it is set up for training."""
        decoder, head = model.get_decoder(), model.get_output_embeddings()
        inside = {id(module) for module in decoder.modules()}
        parts: dict[str, list[nn.Module]] = {"layers": [], "patches": [], "merged": []}
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) and module is not head:
                beyond = any(word in name for word in ("merger", "connector", "projector"))
                parts["layers" if id(module) in inside else "merged" if beyond else "patches"].append(module)
        text, vision = model.config.get_text_config(), getattr(model.config, "vision_config", None)
        kinds = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
        attending = sum(kind != "linear_attention" for kind in kinds)
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        depth = _first(vision, ("depth", "num_hidden_layers"), 0)
        full = getattr(vision, "fullatt_block_indexes", None)
        return cls(
            layers=_weights(parts["layers"]),
            head=_weights([head]),
            pair=4 * size * text.num_attention_heads * attending,
            patches=_weights(parts["patches"]),
            merged=_weights(parts["merged"]),
            vision_pair=4 * _first(vision, ("embed_dim", "hidden_size"), 0),
            vision_layers=depth,
            full_layers=depth if full is None else len(full),
            window=max(
                1, _side(getattr(vision, "window_size", None) or 1) // _side(_first(vision, ("patch_size",), 1))
            ),
            image_token=getattr(model.config, "image_token_id", None),
            patch_size=_side(_first(vision, ("patch_size",), 1)),
            square=_first(vision, ("spatial_merge_size",), 1) ** 2,
        )

    def rollout(self, prompt: int, replies: Sequence[int]) -> int:
        """Running a prompt of so many tokens once, and writing replies of these lengths to it."""
        fed = [length - 1 for length in replies]  # nothing is asked of a reply's last token
        return self._layers(prompt, fed, self.layers.forward, self.pair) + self.head.forward * sum(replies)

    def update(self, prompt: int, replies: Sequence[int], *, forwards: int = 1) -> int:
        """Forward and backward of a prompt with its replies; `forwards` more than 1: also those of a reference."""
        backward = self._layers(prompt, replies, self.layers.backward, 2 * self.pair)
        return forwards * self.scoring(prompt, replies) + backward + self.head.backward * sum(replies)

    def scoring(self, prompt: int, replies: Sequence[int]) -> int:
        """Forward of a prompt with its replies."""
        return self._layers(prompt, replies, self.layers.forward, self.pair) + self.head.forward * sum(replies)

    def pictures(self, grids: Iterable[Grid], tokens: int | None = None, *, backward: bool = False) -> int:
        """Forward (or backward) of the vision tower on pictures of these patches.

        They become so many tokens; None: squares of patches become one each, as where pictures are grids.
        """
        grids = list(grids)
        tokens = sum(map(math.prod, grids)) // self.square if tokens is None else tokens
        patches, merged = (w.backward if backward else w.forward for w in (self.patches, self.merged))
        pair = self.vision_pair * (2 if backward else 1)
        seen = sum(
            t * (self.full_layers * (h * w) ** 2 + (self.vision_layers - self.full_layers) * self._windows(h, w))
            for t, h, w in grids
        )
        return patches * sum(map(math.prod, grids)) + merged * tokens + pair * seen

    def of_prompt(self, prompt: Prompt, *, backward: bool = False) -> int:
        """That of a prompt's pictures."""
        if prompt.grids is not None:
            return self.pictures([(int(t), int(h), int(w)) for t, h, w in prompt.grids.tolist()], backward=backward)
        if prompt.tensors is None:
            return 0
        *tiles, _, height, width = prompt.tensors["pixel_values"].shape
        grid = (math.prod(tiles), height // self.patch_size, width // self.patch_size)
        return self.pictures([grid], prompt.token_ids.count(self.image_token), backward=backward)

    def _layers(self, prompt: int, replies: Sequence[int], token: int, pair: int) -> int:
        seen = _triangle(prompt) + sum(prompt * length + _triangle(length) for length in replies)
        return token * (prompt + sum(replies)) + pair * seen

    def _windows(self, height: int, width: int) -> int:
        """Pairs of patches that share a window."""
        return math.prod(n // self.window * self.window**2 + (n % self.window) ** 2 for n in (height, width))


def _triangle(tokens: int) -> int:
    """Pairs of a token with itself and those before it."""
    return tokens * (tokens + 1) // 2


def _weights(modules: Iterable[Any]) -> Weights:
    found = [(_numbers(module), module.weight.requires_grad) for module in modules]
    return Weights(sum(n for n, _ in found), sum(n for n, is_trained in found if is_trained))


def _numbers(module: Any) -> int:
    """Of a layer's weight, also where it is quantised, and holds several in one."""
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return int(module.weight.numel())


def _first(config: Any, names: Sequence[str], otherwise: Any) -> Any:
    """The first of these that a config has; Qwen2-VL's tower is as wide as `embed_dim`, where others have no such."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), otherwise)


def _side(size: Any) -> int:
    """Some configs say height and width."""
    return int(size if isinstance(size, int) else size[0])
