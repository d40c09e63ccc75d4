"""A recipe's model without its weights: built from config.json on the meta device, and run to count what it costs.

Its tensors get the name of a real device (torch calls them fake), which decides what kernels run on them; they still
have shapes and no numbers. What runs is the policy's own code, so shared prefixes, gradient checkpointing, frozen parts
and adapters cost what they cost in training. Left out are the steps that depend on numbers: putting picture features
into their places (and Qwen3-VL's deepstack additions). The vision towers of families that do not cut pictures into a
grid depend on numbers as a whole, and are left out too.

Shape letters: M prompts, K reply tokens.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.decoding import Decoder, PlainDecoder
from firsthand.policy.flops import Flops, Grid
from firsthand.policy.head import Entropy
from firsthand.policy.loading import model_class, set_up_training
from firsthand.policy.packing import PackedRows, alone
from firsthand.policy.quantising import language_linears
from firsthand.preflight.kernels import Kernel, KernelCounter
from firsthand.preflight.workload import RowLengths
from firsthand.processor import Prompt, model_config, vision_ids
from firsthand.recipe import Recipe
from firsthand.rollout.local import inverse_cdf


class Size(NamedTuple):
    """Parameters of one part of a model."""

    frozen: int
    trained: int


class UpdateCost(NamedTuple):
    """One forward and backward over packed rows. Bytes are on top of weights and gradients."""

    activations: int
    """Bytes that the layers keep for the backward."""
    head: int
    """Bytes that the output layer keeps."""
    workspace: int
    """What the backward, or the reference's forward, needs on top at its worst moment."""
    kernels: Sequence[Kernel]
    reference: Sequence[Kernel]
    """Those of the reference's forward; empty when there is none."""


class RolloutCost(NamedTuple):
    """Running M prompts, and one token more of each of their replies."""

    bytes_per_token: int
    """Of keys and values; a recurrent layer's state counts as if it grew with the prompt."""
    shares: bool
    """Whether a prompt's keys and values are held once for all of its replies."""
    workspace: int
    """Bytes beside keys and values at the worst moment."""
    prefill: Sequence[Kernel]
    step: Sequence[Kernel]


class PictureCost(NamedTuple):
    """One picture in the vision tower."""

    patches: int
    features: int
    """Bytes of what the tower returns."""
    kept: int
    """Bytes that a trained tower keeps for the backward, its features among them."""
    workspace: int
    """Bytes at the worst moment of a frozen tower's forward, or a trained one's backward."""
    forward: Sequence[Kernel]
    backward: Sequence[Kernel]
    """Empty when the tower is frozen."""


class Blueprint:
    """A policy of fake tensors. Raises DataError when the folder has no config.json of a known family."""

    def __init__(self, recipe: Recipe, folder: Path, device: str) -> None:
        config = model_config(folder)
        with torch.device("meta"):
            dtype = recipe.settled(None).dtype
            model = model_class(config).from_config(config, dtype=dtype, attn_implementation="sdpa")
            self._is_frozen = set_up_training(
                model, recipe.trainable, recipe.adapter, gradient_checkpointing=recipe.gradient_checkpointing
            )
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode:
            _place(model, device)
        banned = vision_ids(config)
        self._model = model.train()
        is_quantized = recipe.adapter is not None and recipe.adapter.quantize is not None
        layers = dict(model.named_modules())
        frozen = [layers[name].weight for name in language_linears(model) if "lora_" not in name]
        self.quantized = [weight.numel() for weight in frozen] if is_quantized else []
        """Numbers of each layer that training holds in four bits, and this model does not: it computes the same."""
        self._policy = Policy(model, folder, banned, frozen_tower=self._is_frozen)
        self._token = next(token for token in range(1, len(banned) + 2) if token not in banned)
        """Stands for every token: what is counted does not depend on which."""

    def sizes(self) -> dict[str, Size]:
        """Parameters of each part; what two parts share belongs to the first of them."""
        parts = {
            "adapters": [p for name, p in self._model.named_parameters() if "lora_" in name],
            "embeddings": self._model.get_input_embeddings().parameters(),
            "output layer": self._model.get_output_embeddings().parameters(),
            "language layers": self._model.get_decoder().parameters(),
            "vision tower": self._model.parameters(),  # what is left
        }
        seen: set[nn.Parameter] = set()
        sizes = {}
        for name, found in parts.items():
            own = set(found) - seen
            seen |= own
            trained = sum(p.numel() for p in own if p.requires_grad)
            sizes[name] = Size(sum(p.numel() for p in own) - trained, trained)
        return sizes

    @property
    def flops(self) -> Flops:
        """The formula of a run's cost, of this model."""
        return self._policy.flops

    def update(self, rows: Sequence[RowLengths], entropy: Entropy, *, reference: bool) -> UpdateCost:
        """Forward and backward over packed rows."""
        groups = [self._group(prompt, replies) for prompt, *replies in rows]
        if not self._policy.sharing.allows(max(group.tokens for group in groups)):
            groups = alone(groups)
        packed = self._policy.rows(groups)
        with self._mode:  # as after a first micro-batch: gradients are not counted as a part of this one
            for parameter in self._policy.parameters:
                parameter.grad = torch.zeros_like(parameter)
        with KernelCounter() as counter:
            hidden_KD = self._hidden(packed, groups)
            activations = counter.live
            logp_K = self._policy.head.logprobs(hidden_KD, packed.target_K, 1.0, entropy).logp_K
            del hidden_KD
            kept, begun = counter.live, len(counter.kernels)
            if reference:
                with torch.no_grad(), self._mode:
                    self._policy.head.logprobs(self._hidden(packed, groups), packed.target_K, 1.0, "none")
            ended = len(counter.kernels)
            with self._mode:
                logp_K.sum().backward()
        kernels = counter.kernels
        learning = [*kernels[:begun], *kernels[ended:]]
        return UpdateCost(activations, kept - activations, counter.peak - kept, learning, kernels[begun:ended])

    def rollout(self, prompts: Sequence[int], n: int) -> RolloutCost:
        """Run prompts of these lengths, and write one token of n replies to each."""
        self._model.eval()  # layers that checkpoint gradients refuse a cache
        with torch.no_grad():
            groups = [self._group(length, ()) for length in prompts]
            with KernelCounter() as prefill:
                cache = self._policy.hidden(self._policy.rows(groups), groups, use_cache=True).past_key_values
            held = prefill.live
            del cache
            asked = [group.prompt for group in groups]
            shares = self._policy.sharing.allows(max(prompts) + 1)
            decoder = Decoder(self._policy, asked, n, 1) if shares else PlainDecoder(self._policy, asked, n)
            with KernelCounter() as step:
                logp_BV = self._policy.head.logits(decoder.hidden_BD, 1.0).log_softmax(-1)
                inverse_cdf(logp_BV.exp(), self._fake(len(prompts) * n))
                del logp_BV
                decoder.step(torch.zeros(len(prompts) * n, dtype=torch.long))
        self._model.train()
        per_token = held // (len(prompts) * max(prompts))
        return RolloutCost(per_token, shares, max(prefill.peak - held, step.peak), prefill.kernels, step.kernels)

    def picture(self, grid: Grid, numbers: int) -> PictureCost:
        """Run one picture of (t, h, w) patches, of so many numbers each, through the tower; and back, if trained."""
        pixels = self._fake(math.prod(grid), numbers)
        with torch.no_grad() if self._is_frozen else nullcontext(), KernelCounter() as counter:
            out = self._model.base_model.get_image_features(pixels, torch.tensor([grid]), return_dict=True)
            levels = [level[0] for level in (out.pooler_output, *out.get("deepstack_features", ()))]
            del out
            features, kept, ended = sum(level.nbytes for level in levels), counter.live, len(counter.kernels)
            if not self._is_frozen:
                torch.stack([level.sum() for level in levels]).sum().backward()
        kernels = counter.kernels
        return PictureCost(math.prod(grid), features, kept, counter.peak, kernels[:ended], kernels[ended:])

    def matrix(self) -> tuple[int, int]:
        """Inputs and outputs of the language model's largest kind of layer, its MLP's."""
        layers = [module for module in self._model.get_decoder().modules() if isinstance(module, nn.Linear)]
        largest = max(layers, key=lambda layer: layer.weight.numel())
        return largest.in_features, largest.out_features

    def _hidden(self, packed: PackedRows, groups: Sequence[PrefixGroup]) -> Tensor:
        with self._mode:  # also around masks, which are large, and made afresh in every forward
            hidden: Tensor = self._policy.hidden(packed, groups).last_hidden_state[packed.row_K, packed.source_K]
            return hidden

    def _fake(self, *shape: int) -> Tensor:
        with self._mode:
            return torch.zeros(shape, device=self._model.device)

    def _group(self, prompt: int, replies: Sequence[int]) -> PrefixGroup:
        asked = Prompt("preflight", (self._token,) * prompt, None, None)
        return PrefixGroup(asked, tuple((self._token,) * length for length in replies))


def _place(model: nn.Module, device: str) -> None:
    """In a fake mode: tensors of the same shapes on a device, in place of a model's own; what was tied stays tied."""
    placed: dict[int, Tensor] = {}
    for module in model.modules():
        for name, old in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if id(old) not in placed:
                new = torch.empty_like(old, device=device)
                is_parameter = isinstance(old, nn.Parameter)
                placed[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
            setattr(module, name, placed[id(old)])
