"""A recipe's model without its weights: built from config.json on the meta device, and run to count what it holds.

Its tensors have shapes and no numbers (torch calls them fake), and say that they are on a CPU: what its kernels hold
was within 2.2 % of what an H100's held, in ten cases of 3B and 7B (docs/performance.md). What runs is the policy's own
code, so shared prefixes, gradient checkpointing, frozen parts and adapters hold what they hold in training. Left out
are the steps that depend on numbers: putting picture features into their places (and Qwen3-VL's deepstack additions).
The vision towers of families that do not cut pictures into a grid depend on numbers as a whole, and are left out too.

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
from torch.utils.hooks import RemovableHandle

from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.decoding import Decoder, PlainDecoder
from firsthand.policy.flops import Flops, Grid
from firsthand.policy.head import Entropy
from firsthand.policy.loading import model_class, set_up_training
from firsthand.policy.packing import PackedRows, alone
from firsthand.policy.quantising import BYTES_PER_WEIGHT, language_linears
from firsthand.preflight.kernels import KernelCounter
from firsthand.preflight.workload import RowLengths
from firsthand.processor import Prompt, model_config, vision_ids
from firsthand.recipe import Recipe
from firsthand.rollout.local import RETIRE, cdf_crossing


class Size(NamedTuple):
    """Parameters of one part of a model."""

    frozen: int
    trained: int


class Moment(NamedTuple):
    """Of a backward: so much was held at most, beside the gradients that it had given to so many weights."""

    held: int
    done: int


class UpdateCost(NamedTuple):
    """Bytes of one forward and backward, on top of weights and of gradients that were handed over."""

    activations: int
    """That the forward keeps for the backward, the output layer's among them."""
    moments: Sequence[Moment]
    calls: int
    products: int
    """Kinds of matrix products of bfloat16."""


class RolloutCost(NamedTuple):
    """Bytes of running M prompts, and writing replies to each, on top of weights."""

    cache: int
    """Keys and values of the prompts, and room for those of the replies."""
    peak: int
    """The cache, and what is needed beside it at the worst moment."""
    calls: int
    """Of one token more in every reply."""
    products: int
    """Kinds of matrix products of bfloat16, those against a reply's own tokens once for each length."""


class PictureCost(NamedTuple):
    """Bytes of pictures that go through the vision tower together, on top of weights."""

    features: int
    """What the tower returns."""
    peak: int


class Blueprint:
    """A policy of fake tensors. Raises DataError when the folder has no config.json of a known family."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """The recipe is settled."""
        config = model_config(folder)
        with torch.device("meta"):
            settings = {"attn_implementation": "sdpa", "trust_remote_code": False}
            model = model_class(config).from_config(config, dtype=recipe.dtype, **settings)
            self._is_frozen = set_up_training(
                model, recipe.trainable, recipe.adapter, gradient_checkpointing=bool(recipe.gradient_checkpointing)
            )
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self._mode:
            _place(model)
        banned = vision_ids(config)
        self._model = model.train()
        self._policy = Policy(model, folder, banned, frozen_tower=self._is_frozen)
        self._token = next(token for token in range(1, len(banned) + 2) if token not in banned)
        """Stands for every token: what is counted does not depend on which."""
        layers = dict(model.named_modules())
        frozen = [layers[name].weight for name in language_linears(model) if "lora_" not in name]
        self._quantized = frozen if recipe.adapter is not None and recipe.adapter.quantize is not None else []

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
    def weights(self) -> int:
        """Bytes of all weights, those in four bits counted as such."""
        held: int = sum(tensor.nbytes for tensor in (*self._model.parameters(), *self._model.buffers()))
        saved: int = sum(weight.nbytes - int(BYTES_PER_WEIGHT * weight.numel()) for weight in self._quantized)
        return held - saved

    @property
    def unpacked(self) -> int:
        """Bytes of the largest layer that is made of its four bits while it computes. Fake ones compute the same."""
        return max((weight.nbytes for weight in self._quantized), default=0)

    @property
    def largest(self) -> int:
        """Numbers of the largest parameter that is trained."""
        return max(parameter.numel() for parameter in self._policy.parameters)

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
        moments: list[Moment] = []
        with KernelCounter() as counter:
            logp_K = self._logprobs(packed, groups, entropy)
            activations = counter.live
            if reference:
                with torch.no_grad():
                    self._logprobs(packed, groups, "none")
            hooks = self._handing_over(counter, moments)
            with self._mode:
                logp_K.sum().backward()
            _remove(hooks)
        return UpdateCost(activations, moments, counter.calls, len(counter.products))

    def rollout(self, prompts: Sequence[int], n: int, tokens: int) -> RolloutCost:
        """Run prompts of these lengths, and write n replies of so many tokens to each: the last token of them."""
        self._model.eval()  # layers that checkpoint gradients refuse a cache
        shares, rows = self._policy.sharing.allows(max(prompts) + tokens), len(prompts) * n
        decoder: Decoder | PlainDecoder
        with torch.no_grad(), KernelCounter() as counter:
            if shares:
                decoder = Decoder(self._policy, [self._group(length, ()).prompt for length in prompts], n, tokens)
                decoder.length = tokens - 1
            else:  # its cache grows, to what these prompts would take
                asked = [self._group(length + tokens, ()).prompt for length in prompts]
                decoder = PlainDecoder(self._policy, asked, n)
            cache, begun = counter.live, counter.calls
            logp_BV = self._policy.head.logits(decoder.hidden_BD, 1.0).log_softmax(-1)
            cdf_crossing(logp_BV.exp(), self._fake(rows))  # of a drawing, all that takes memory
            del logp_BV
            decoder.step(torch.zeros(rows, dtype=torch.long))
            calls = counter.calls - begun
            decoder.keep(torch.arange(rows - math.ceil(RETIRE * rows)))  # what finished leaves, and the rest is copied
        self._model.train()
        products = len(counter.products)
        return RolloutCost(cache, counter.peak, calls, products and products + 2 * (tokens - 1))

    def pictures(self, grid: Grid, numbers: int, count: int, *, learn: bool) -> PictureCost:
        """Run so many pictures of (t, h, w) patches, of so many numbers each, through the tower; and back, to learn."""
        pixels = self._fake(count * math.prod(grid), numbers)
        with nullcontext() if learn else torch.no_grad(), KernelCounter() as counter:
            out = self._model.base_model.get_image_features(pixels, torch.tensor([grid] * count), return_dict=True)
            levels = [*out.pooler_output, *(one for level in out.get("deepstack_features", ()) for one in level)]
            del out
            features = sum(level.nbytes for level in levels)
            moments: list[Moment] = []
            if learn:
                hooks = self._handing_over(counter, moments)
                torch.stack([level.sum() for level in levels]).sum().backward()
                _remove(hooks)
        return PictureCost(features, max(counter.peak, *(moment.held for moment in moments), 0))

    def matrix(self) -> tuple[int, int]:
        """Inputs and outputs of the language model's largest kind of layer, its MLP's."""
        layers = [module for module in self._model.get_decoder().modules() if isinstance(module, nn.Linear)]
        largest = max(layers, key=lambda layer: layer.weight.numel())
        return largest.in_features, largest.out_features

    def _logprobs(self, packed: PackedRows, groups: Sequence[PrefixGroup], entropy: Entropy) -> Tensor:
        with self._mode:  # also around masks, which are large, and made afresh in every forward
            hidden_KD = self._policy.hidden(packed, groups).last_hidden_state[packed.row_K, packed.source_K]
        return self._policy.head.logprobs(hidden_KD, packed.target_K, 1.0, entropy).logp_K

    def _handing_over(self, counter: KernelCounter, moments: list[Moment]) -> list[RemovableHandle]:
        """Hooks that note what was held when a parameter got its gradient, and take the gradient away."""

        def hand_over(parameter: Tensor) -> None:
            done = moments[-1].done if moments else 0
            # First what was held on the way, then the parameter's own gradient beside the place that it is added to.
            moments.extend((Moment(counter.mark(), done), Moment(counter.live, done + parameter.numel())))
            parameter.grad = None
            counter.mark()

        return [parameter.register_post_accumulate_grad_hook(hand_over) for parameter in self._policy.parameters]

    def _fake(self, *shape: int) -> Tensor:
        with self._mode:
            return torch.zeros(shape, device=self._model.device)

    def _group(self, prompt: int, replies: Sequence[int]) -> PrefixGroup:
        asked = Prompt("preflight", (self._token,) * prompt, None, None)
        return PrefixGroup(asked, tuple((self._token,) * length for length in replies))


def _remove(hooks: Sequence[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()


def _place(model: nn.Module) -> None:
    """In a fake mode: tensors of the same shapes on the CPU, in place of a model's own; what was tied stays tied."""
    placed: dict[int, Tensor] = {}
    for module in model.modules():
        for name, old in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if id(old) not in placed:
                new = torch.empty_like(old, device="cpu")
                is_parameter = isinstance(old, nn.Parameter)
                placed[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
            setattr(module, name, placed[id(old)])
