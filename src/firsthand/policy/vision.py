"""Pictures -> features of the vision tower, every distinct picture once.

Features that a frozen tower has made are kept until the cache is full. With gradient, a trained tower sees a picture
once per forward, or in all forwards of a step together once (`Tower.once`). Either way the features enter the model
through `mm_encoder_outputs`.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from firsthand.processor import Prompt

FEATURE_CACHE_BYTES = 2**31

Features = tuple[Tensor, ...]
"""One [tokens, D] tensor that replaces the placeholders' embeddings, then one per deepstack level (Qwen3-VL only)."""
Pixels = Mapping[str, Tensor]
"""What `get_image_features` takes, by name: for one picture, or for all of a prompt in families without grids."""
GRIDS = {"pixel_values", "image_grid_thw"}
"""What pictures that are grids of patches consist of: any number of them goes through the tower at once."""


class Tower:
    """The vision tower of a model; frozen for good, or trained."""

    def __init__(self, base_model: Any, *, frozen: bool) -> None:
        self._base_model = base_model
        self._frozen = frozen
        self.keeps = frozen
        """Whether features made without gradient are kept. Of a trained tower they hold until its weights change: who
        asks for it calls `forget` then. (Versions of weights do not tell: an optimizer's fused step leaves them.)"""
        self._kept: OrderedDict[str, Features] = OrderedDict()
        self._bytes = 0
        self._leaves: dict[str, Features] = {}
        """What stands for a trained tower's output in `once`, and gathers its gradient."""
        self._wants_list = True
        """Whether the model takes the features of several pictures as a list, or as one tensor."""

    def encode(self, prompts: Sequence[Prompt]) -> dict[str, Any] | None:
        """The `mm_encoder_outputs` of a batch that holds these prompts in this order; None when it has no image."""
        pictures = [found for prompt in prompts for found in _pictures(prompt)]
        if not pictures:
            return None
        with_grad = torch.is_grad_enabled() and not self._frozen
        # Not inference mode, even inside it: what is kept here may meet autograd in a later forward.
        with torch.inference_mode(False), torch.set_grad_enabled(with_grad):
            features = self._with_gradient(dict(pictures)) if with_grad else self._features(dict(pictures))
        levels = zip(*(features[name] for name, _ in pictures), strict=True)
        embeddings, *deepstack = [list(level) for level in levels]
        pooled = embeddings if self._wants_list else torch.cat(embeddings)[None]
        return {"image": SimpleNamespace(pooler_output=pooled, deepstack_features=deepstack)}

    def forget(self) -> None:
        """Forget what a trained tower made, because its weights have changed; a frozen one's stays."""
        if not self._frozen:
            self._kept.clear()
            self._bytes = 0

    @contextmanager
    def once(self, forwards: Sequence[Sequence[Prompt]], patches: int) -> Iterator[None]:
        """Inside, a trained tower sees no picture of these forwards twice with gradient; it is the same gradient.

        Pictures whose features are known, or that several forwards show, enter each forward as leaves without a graph.
        When all forwards are through, the tower runs on these pictures with gradient, at most about `patches` of them
        at a time, and its backward takes what the leaves have gathered: by linearity, the sum over the forwards. Of all
        other pictures the tower runs in their one forward. On an error nothing is handed on.
        """
        seen = [dict(found for prompt in prompts for found in _pictures(prompt)) for prompts in forwards]
        uses = Counter(name for pictures in seen for name in pictures)
        shared = {
            name: picture
            for pictures in seen
            for name, picture in pictures.items()
            if not self._frozen and (uses[name] > 1 or name in self._kept)
        }
        chunks = list(_chunks(shared, patches))
        with torch.no_grad():
            known = [self._features(chunk) for chunk in chunks]
        self._leaves = {
            name: tuple(level.detach().requires_grad_() for level in levels)
            for features in known
            for name, levels in features.items()
        }
        try:
            yield
            for chunk in chunks:
                self._hand_on(chunk)
        finally:
            self._leaves = {}

    def _hand_on(self, pictures: Mapping[str, Pixels]) -> None:
        """The backward of these pictures, from the gradients of their leaves."""
        made = self._run(pictures)
        levels = [level for name in pictures for level in made[name]]
        grads = [leaf.grad for name in pictures for leaf in self._leaves[name]]
        reached = [i for i, grad in enumerate(grads) if grad is not None]
        torch.autograd.backward([levels[i] for i in reached], [grads[i] for i in reached])

    def _with_gradient(self, pictures: Mapping[str, Pixels]) -> dict[str, Features]:
        known = {name: self._leaves[name] for name in pictures if name in self._leaves}
        missing = {name: picture for name, picture in pictures.items() if name not in known}
        return known | (self._run(missing) if missing else {})

    def _features(self, pictures: Mapping[str, Pixels]) -> dict[str, Features]:
        """Without gradient."""
        known = {name: self._kept[name] for name in pictures if name in self._kept}
        missing = {name: picture for name, picture in pictures.items() if name not in known}
        if self._frozen:
            # Each alone: products round by their rows, and a run that goes on no longer knows what another knew.
            made = {name: self._run({name: picture})[name] for name, picture in missing.items()}
        else:
            made = self._run(missing) if missing else {}
        if self.keeps:
            self._remember(known | made)
        return known | made

    def _run(self, pictures: Mapping[str, Pixels]) -> dict[str, Features]:
        if any(pixels.keys() != GRIDS for pixels in pictures.values()):
            return {name: (self._run_prompt(pixels),) for name, pixels in pictures.items()}
        device = self._base_model.device
        together = {name: torch.cat([p[name] for p in pictures.values()]).to(device) for name in GRIDS}
        out = self._base_model.get_image_features(**together, return_dict=True)
        levels = [out.pooler_output, *out.get("deepstack_features", ())]
        return dict(zip(pictures, zip(*levels, strict=True), strict=True))

    def _run_prompt(self, pixels: Pixels) -> Tensor:
        """[tokens, D] of all pictures of a prompt: how one is cut may depend on how many there are."""
        device = self._base_model.device
        placed = {name: value.to(device) for name, value in pixels.items()}
        pooled = self._base_model.get_image_features(**placed, return_dict=True).pooler_output
        self._wants_list = not isinstance(pooled, Tensor)
        return torch.cat([part.flatten(0, -2) for part in (pooled if self._wants_list else [pooled])])

    def _remember(self, features: dict[str, Features]) -> None:
        for name, levels in features.items():
            if name not in self._kept:
                # A copy: the tower returns views into one tensor per batch, which would stay alive as a whole.
                self._kept[name] = tuple(level.clone() for level in levels)
                self._bytes += _size(levels)
            self._kept.move_to_end(name)
        while self._bytes > FEATURE_CACHE_BYTES and self._kept:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _pictures(prompt: Prompt) -> list[tuple[str, Pixels]]:
    """A name and the pixels of each image of a prompt; of all of them together in families without grids."""
    if prompt.tensors is not None:
        return [(" ".join(prompt.pictures) or _hash(prompt.tensors["pixel_values"]), prompt.tensors)]
    if prompt.pixels is None or prompt.grids is None:
        return []
    parts = prompt.pixels.split(prompt.grids.prod(-1).tolist())
    names = prompt.pictures or tuple(_hash(part) for part in parts)
    # Two processors may cut one picture into different grids.
    keys = [f"{name} {grid.tolist()}" for name, grid in zip(names, prompt.grids, strict=True)]
    pictures = [{"pixel_values": p, "image_grid_thw": g[None]} for p, g in zip(parts, prompt.grids, strict=True)]
    return list(zip(keys, pictures, strict=True))


def _chunks(pictures: Mapping[str, Pixels], patches: int) -> Iterator[dict[str, Pixels]]:
    """All pictures, as many together as have at most so many patches; one at least."""
    chunk: dict[str, Pixels] = {}
    for name, picture in pictures.items():
        if chunk and sum(map(_patches, chunk.values())) + _patches(picture) > patches:
            yield chunk
            chunk = {}
        chunk[name] = picture
    if chunk:
        yield chunk


def _patches(picture: Pixels) -> int:
    """In families without grids about that: numbers by those of a patch of 14 x 14 in three colours."""
    return len(picture["pixel_values"]) if picture.keys() == GRIDS else picture["pixel_values"].numel() // 588


def _hash(pixels: Tensor) -> str:
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def _size(levels: Features) -> int:
    return sum(level.nbytes for level in levels)
