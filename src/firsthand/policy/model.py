"""A language model, mostly one that sees, as a policy: load, save, and the log-probs of replies.

This package is the only place that knows transformers' models. Shape letters: see `packing`.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from firsthand.errors import Diverged
from firsthand.policy.attention import additive, blocks
from firsthand.policy.flops import Flops
from firsthand.policy.head import Entropy, Head, TokenLogprobs
from firsthand.policy.loading import language_parameters, read_model, set_up_training
from firsthand.policy.lora import Lora, deltas, load_adapter, save_adapter
from firsthand.policy.packing import PackedRows, PrefixGroup, alone, pack, prompt_positions
from firsthand.policy.quantising import is_quantized
from firsthand.policy.sharding import Shards
from firsthand.policy.sharing import sharing
from firsthand.policy.stored import share_mode, stored_dtype, stored_tensors, write_changed
from firsthand.policy.vision import Tower
from firsthand.policy.weights import not_finite
from firsthand.processor import family_of, model_config, vision_ids

COMPANIONS = (
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.*",
    "*preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
)
"""Files of a model folder that hold no weights; a saved policy carries them along, byte for byte."""

UNUSED_MASK = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
"""Four dimensions: transformers makes no mask of its own, which for restarting positions would be a large one."""
PAD_ID = 0
"""Fills rows; nothing attends to it, so any id does that is not an image placeholder."""


@dataclass(frozen=True)
class Logprobs:
    """Log-probs of the replies of all groups, in order: B replies, T tokens of the longest."""

    logp_BT: Tensor
    """float32, natural log; 0 outside the mask. Carries the gradient."""
    mask_BT: Tensor
    """bool: the tokens that carry a loss."""
    entropy_BT: Tensor | None = None
    """float32, nats; 0 outside the mask. None unless it was asked for."""
    sampled_logp_BT: Tensor | None = None
    """float32: the log-probs that tokens were sampled with; of replies that nobody sampled, `logp_BT` without its
    gradient. None when nobody sampled any."""


class Policy:
    """A language model, with a vision tower or without, whose replies can be sampled and scored."""

    def __init__(self, model: Any, folder: str | Path, banned_ids: tuple[int, ...], *, frozen_tower: bool) -> None:
        self.model = model
        self.folder = Path(folder)
        self.banned_ids = banned_ids
        self.family = family_of(model.config)
        self.sharing = sharing(model.config)
        self.language: Any = model.get_decoder()
        """The layers that read and write text, without the output layer."""
        self.head = Head(model.get_output_embeddings(), banned_ids, model.config.get_text_config().vocab_size)
        self.tower = Tower(model.base_model, frozen=frozen_tower)
        self.flops = Flops.of(model)
        self._shards: Shards | None = None
        found = (path for glob in COMPANIONS for path in sorted(Path(folder).glob(glob)))
        self._companions = {path.name: path.read_bytes() for path in found if path.is_file()}

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        trainable: Literal["all", "language"] = "all",
        dtype: torch.dtype | None = torch.float32,
        device: torch.device | str = "cpu",
        gradient_checkpointing: bool = False,
        adapter: Lora | None = None,
        adapter_weights: str | Path | None = None,
    ) -> "Policy":
        """Read a Hugging Face folder (safetensors only, no code from the folder is run).

        Args:
            trainable: "language" freezes the vision tower, merger included.
            dtype: of the weights; None: that of the folder's files. Log-probs are float32 in any case.
            gradient_checkpointing: recompute each layer in backward, to save memory.
            adapter: train low-rank adapters of the language layers, and nothing else (whatever `trainable` says).
            adapter_weights: a folder that `save_adapter` wrote, whose weights the adapters begin with.

        Raises DataError when the folder's model is of a type that cannot work, or has dropout, or when its weights or
        the adapters' are not whole.
        """
        config = model_config(folder)
        quantize_on = device if adapter is not None and adapter.quantize else None
        model = read_model(folder, config, dtype, quantize_on=quantize_on)
        frozen = set_up_training(model, trainable, adapter, gradient_checkpointing=gradient_checkpointing)
        if adapter is not None:
            deltas(model, stored_tensors(folder))  # what cannot be saved is not trained
        if adapter_weights is not None:
            load_adapter(model, Path(adapter_weights))
        return cls(model.to(device).train(), folder, vision_ids(config), frozen_tower=frozen)

    def divide(self) -> None:
        """Divide the language weights among the ranks of torch's process group, for good; see `sharding`."""
        language = language_parameters(self.model)
        self._shards = Shards(self.model, {p for p in self.model.parameters() if id(p) not in language})

    @property
    def is_divided(self) -> bool:
        """Whether ranks hold parts of the weights."""
        return self._shards is not None

    def whole(self) -> AbstractContextManager[None]:
        """Inside, divided weights are whole on every rank; to be entered by all. Without any it is nothing."""
        return nullcontext() if self._shards is None else self._shards.whole()

    def save(self, folder: str | Path) -> None:
        """Write a plain Hugging Face folder: weights, config, and the tokenizer and processor files it came with.

        Adapters are added to the weights, so that anything reads the folder; on their own they are in `adapter/`. The
        weights are read again from the folder that the policy came from, so that those of a quantised model are the
        ones from before, in the precision of that folder. Divided weights have to be `whole`.
        Raises Diverged, and writes nothing, when a weight is not finite.
        """
        self._refuse_diverged()
        if self.has_adapter:
            self._save_merged(Path(folder))
            save_adapter(self.model, Path(folder) / "adapter", base=str(self.folder))
        else:
            # Asked for its state, a model with divided weights would divide them again.
            held = dict(self.model.named_parameters()) if self.is_divided else None
            self.model.save_pretrained(str(folder), state_dict=held)
        for name, content in self._companions.items():
            (Path(folder) / name).write_bytes(content)
        share_mode(Path(folder))

    def _save_merged(self, folder: Path) -> None:
        tensors = stored_tensors(self.folder)
        is_whole = not any(map(is_quantized, self.model.modules()))
        dtype = self.model.get_input_embeddings().weight.dtype if is_whole else stored_dtype(tensors)
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        for part in (config, *(getattr(config, name) for name in config.sub_configs)):
            if part is not None:
                part.dtype = dtype
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        write_changed(tensors, deltas(self.model, tensors), folder, dtype)

    def save_checkpoint(self, folder: str | Path) -> None:
        """Write what training goes on from, bit for bit: the adapters alone where there are some. Raises as `save`."""
        self._refuse_diverged()
        if self.has_adapter:
            save_adapter(self.model, Path(folder), base=str(self.folder))
        else:
            self.save(folder)

    def _refuse_diverged(self) -> None:
        """The last update is followed by no other step, which would notice."""
        if bad := not_finite(dict(self.model.named_parameters())):
            raise Diverged(
                f"expected finite weights after training, got {len(bad)} that are not (the first is {bad[0]}): "
                "training has diverged; lower optimizer.lr or optimizer.max_grad_norm"
            )

    @property
    def has_adapter(self) -> bool:
        """Whether low-rank adapters are trained instead of the weights."""
        return any("lora_" in name for name, _ in self.model.named_parameters())

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained, in the model's order."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def logprobs(
        self, groups: Sequence[PrefixGroup], *, temperature: float = 1.0, entropy: Entropy = "none"
    ) -> Logprobs:
        """Log-probs of every reply given its prompt, in one forward over one packed row per group.

        Equal, gradients included, to one row per reply: see `packing`. Where the model cannot keep replies apart (see
        `sharing`) it is one row per reply. Only hidden states that predict a loss-carrying token go through the output
        layer. `temperature` is the one that the replies were sampled at; demonstrations are scored at 1.

        Raises ValueError when a reply contains a banned token.
        """
        if self._shards is None:
            return self._logprobs(groups, temperature, entropy)

        def work() -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
            found = self._logprobs(groups, temperature, entropy)
            return found.logp_BT, found.mask_BT, found.entropy_BT, found.sampled_logp_BT

        return Logprobs(*self._shards.forward(work))

    def _logprobs(self, groups: Sequence[PrefixGroup], temperature: float, entropy: Entropy) -> Logprobs:
        if not self.sharing.allows(max(group.tokens for group in groups)):
            groups = alone(groups)
        rows = self.rows(groups)
        hidden_MND = self.hidden(rows, groups).last_hidden_state
        # Not `hidden_MND[row_K, source_K]`: where a place is read twice (the prompt's last token, by every reply), the
        # gradient of that adds floats in the order in which threads arrive, and no two runs would be equal to the bit.
        place_K = rows.row_K * hidden_MND.shape[1] + rows.source_K
        hidden_KD = nn.functional.embedding(place_K, hidden_MND.flatten(0, 1))
        found = self._scored(hidden_KD, rows, temperature, entropy)
        entropy_BT = rows.unpack(found.entropy_K) if found.entropy_K is not None else None
        logp_BT, sampled_BT = rows.unpack(found.logp_K), rows.sampled_logp_BT
        if sampled_BT is not None:
            sampled_BT = torch.where(rows.is_sampled_B[:, None], sampled_BT, logp_BT.detach())
        return Logprobs(logp_BT, rows.mask_BT, entropy_BT, sampled_BT)

    def _scored(self, hidden_KD: Tensor, rows: PackedRows, temperature: float, entropy: Entropy) -> TokenLogprobs:
        """Sampled tokens at the temperature, and those of demonstrations, which nobody sampled, at 1."""
        given_K = rows.is_given_B[rows.reply_K]
        if temperature == 1.0 or not bool(given_K.any()):
            return self.head.logprobs(hidden_KD, rows.target_K, temperature, entropy)
        places = [given_K.nonzero()[:, 0], (~given_K).nonzero()[:, 0]]
        parts = [
            self.head.logprobs(hidden_KD[place_J], rows.target_K[place_J], heat, entropy)
            for place_J, heat in zip(places, (1.0, temperature), strict=True)
        ]
        back_K = torch.cat(places).argsort()
        entropies = [part.entropy_K for part in parts if part.entropy_K is not None]
        logp_K = torch.cat([part.logp_K for part in parts])[back_K]
        return TokenLogprobs(logp_K, torch.cat(entropies)[back_K] if entropies else None)

    def rows(self, groups: Sequence[PrefixGroup]) -> PackedRows:
        """Groups as packed rows on the model's device. Raises ValueError when a reply contains a banned token."""
        for group in groups:
            found = {token for reply in group.replies for token in reply}.intersection(self.banned_ids)
            if found:
                raise ValueError(
                    f"example {group.prompt.example_id}: expected replies without image, video and vision tokens "
                    f"{self.banned_ids}, got {sorted(found)}; leave that reply out"
                )
        image_token_id = getattr(self.model.config, "image_token_id", None)
        places = [prompt_positions(self.model.base_model, g.prompt, image_token_id) for g in groups]
        return pack(groups, places, pad_id=PAD_ID, device=self.model.device)

    def hidden(self, rows: PackedRows, groups: Sequence[PrefixGroup], *, use_cache: bool = False) -> Any:
        """Run everything but the output layer on the rows of these groups; transformers' output object."""
        inputs: dict[str, Any] = {"position_ids": self.positions(rows.position_ids_3MN)}
        # A row with one reply at most is causal, and its padding, on the right, is seen by no other token.
        if max(len(group.replies) for group in groups) > 1:
            text = self.model.config.get_text_config()
            queries_per_key = text.num_attention_heads // text.num_key_value_heads
            dtype = self.model.get_input_embeddings().weight.dtype
            inputs["shared"] = blocks(groups, queries_per_key, rows.token_ids_MN.device, dtype)
            is_square = inputs["shared"] is None
            inputs["attention_mask"] = additive(rows.attend_M1NN, dtype) if is_square else UNUSED_MASK
        if self.family.marks_images:
            inputs["token_type_ids"] = (rows.token_ids_MN == self.model.config.image_token_id).long()
        features = self.tower.encode([group.prompt for group in groups])
        if features is not None:
            inputs["mm_encoder_outputs"] = features
        return self.model.base_model(input_ids=rows.token_ids_MN, use_cache=use_cache, **inputs)

    def positions(self, position_ids_3XY: Tensor) -> Tensor:
        """Positions as the model takes them: on three axes, or, in families without grids, on one of them."""
        return position_ids_3XY if self.family.reads == "grids" else position_ids_3XY[0]
