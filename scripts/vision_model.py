"""The model that scripts/pretrain_vision.py trains: a frozen text model, and beside it all that lets it see.

transformers' own Idefics 3 tower and connector in front of a LlamaModel with adapters. What is trained is in float32,
the text model in that of the products (`product_dtype`), for it is not to change.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pretraining import product_dtype, products
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector, Idefics3VisionTransformer

from firsthand.policy.attention import additive
from firsthand.policy.packing import PackedRows, PrefixGroup, pack, prompt_positions
from firsthand.policy.sight import (
    ADAPTER_DOWN,
    ADAPTER_UP,
    NEW_EMBEDDINGS,
    PART_SETTINGS,
    PART_WEIGHTS,
    sight_config,
)
from firsthand.processor import model_config
from firsthand.processor.picture_tokens import NEW_TOKENS

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PLACE_SCALE = 0.5
"""Of the positions that a tower begins with: as strong as what it sees of a patch, and not 20 times weaker."""


def tower_settings(width: int, depth: int, side: int, patch: int) -> dict[str, Any]:
    """The vision_config: heads of 32, and a hidden layer four times as wide."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // 32,
        "image_size": side,
        "patch_size": patch,
    }


class Adapted(nn.Module):
    """A frozen linear layer and its low-rank adapter (arXiv:2106.09685), with B at 0: nothing is changed yet.

    peft's layer converts and scales all that goes through it, which on a CPU took a fifth of a step.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight = linear.weight
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x W' + x A' B', where ' transposes."""
        frozen = F.linear(x, self.weight)
        low = F.linear(x, self.lora_A).flatten(0, -2)
        return torch.addmm(frozen.flatten(0, -2), low, self.lora_B.t()).view_as(frozen)


def strided(number: int, stride: int) -> list[int]:
    """Every so-manieth of so many layers, and the last."""
    return sorted({*range(0, number, stride), number - 1})


class SightModel(nn.Module):
    """Pictures and tokens -> logits, through all layers of a text model, or some of them.

    Build it under a seed: what is new is drawn at random.
    """

    def __init__(self, text: Path, vision: Mapping[str, Any], scale_factor: int, rank: int) -> None:
        super().__init__()
        self.config = sight_config(model_config(text), vision, scale_factor)
        settings: Any = self.config.vision_config
        settings._attn_implementation = "eager"
        self.vision_model = Idefics3VisionTransformer(settings)
        self.connector = Idefics3Connector(self.config)
        # Eager: of rows so short, the matrix products of attention cost less than PyTorch's kernel with its backward.
        causal = AutoModelForCausalLM.from_pretrained(text, dtype=product_dtype(), attn_implementation="eager")
        self.text_model = causal.model.requires_grad_(False)
        self.read_with(1)
        self.table = self.text_model.embed_tokens.weight
        self.new_embeddings = nn.Parameter(_means_of_pieces(text, self.table))
        self._attach(rank)
        with torch.no_grad():
            _places(self.vision_model.embeddings.position_embedding.weight)
            # Features begin as large as embeddings: after the tower's norm each number of them has a variance of 1.
            projection = self.connector.modality_projection.proj.weight
            projection.normal_(std=float(self.table.float().std()) / projection.shape[1] ** 0.5)

    def _attach(self, rank: int) -> None:
        for layer in self.text_model.layers:
            for part in (layer.self_attn, layer.mlp):
                for name, linear in part.named_children():
                    if name in LINEARS:
                        setattr(part, name, Adapted(linear, rank))

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def read_with(self, stride: int, share: float = 0.0) -> None:
        """Go through every so-manieth layer of the text model, and the last, and add a share of what the others add."""
        depth = len(self.text_model.layers)
        whole = strided(depth, stride)
        self.shares = [1.0 if i in whole else share for i in range(depth)]

    def features(self, pixels: Tensor) -> Tensor:
        """[pictures, 3, side, side] -> [pictures, tokens, D]."""
        return self.connector(self.vision_model(pixel_values=pixels).last_hidden_state)

    def embed(self, token_ids: Tensor, features: Tensor) -> Tensor:
        """Embeddings of the text model's tokens, of the new ones, and, for `<image>`, the features in their order."""
        known = len(self.table)
        old = F.embedding(token_ids.clamp(max=known - 1), self.table)
        new = F.embedding((token_ids - known).clamp(min=0), self.new_embeddings).to(old.dtype)
        embedded = torch.where((token_ids >= known)[..., None], new, old)
        is_image = (token_ids == self.config.image_token_id)[..., None]
        return embedded.masked_scatter(is_image, features.to(old.dtype))

    def forward(self, groups: Sequence[PrefixGroup]) -> tuple[Tensor, PackedRows]:
        """Logits of every trained token, float32, and the rows that they come from."""
        places = [prompt_positions(None, group.prompt, None) for group in groups]
        rows = pack(groups, places, pad_id=0, device=self.table.device)
        with products(self.table.device.type):
            pixels = torch.cat([_pixels(group) for group in groups]).to(self.table.device)
            hidden = self.embed(rows.token_ids_MN, self.features(pixels))
            rotary = self.text_model.rotary_emb(hidden, rows.position_ids_3MN[0])
            attend = additive(rows.attend_M1NN, hidden.dtype)
            for layer, share in zip(self.text_model.layers, self.shares, strict=True):
                if share:
                    behind = layer(hidden, attention_mask=attend, position_embeddings=rotary)
                    hidden = behind if share == 1 else torch.lerp(hidden, behind, share)
            hidden = self.text_model.norm(hidden)[rows.row_K, rows.source_K]
            logits = torch.cat([F.linear(hidden, self.table), F.linear(hidden, self.new_embeddings)], dim=-1)
        return logits.float(), rows

    def save_parts(self, folder: Path) -> None:
        """Write what was trained, in bfloat16, as `firsthand.policy.sight` puts it to a text model."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name, parameter in self.trained().items():
            if name == "new_embeddings":
                tensors[NEW_EMBEDDINGS] = parameter
            else:
                ours = name.replace(".lora_A", ADAPTER_DOWN).replace(".lora_B", ADAPTER_UP)
                tensors[f"model.{ours}"] = parameter
        kept = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
        save_file(kept, folder / PART_WEIGHTS, metadata={"format": "pt"})
        vision: Any = self.config.vision_config
        names = tower_settings(32, 1, 1, 1)
        settings = {"vision_config": {name: getattr(vision, name) for name in names}}
        settings |= {"scale_factor": self.config.scale_factor}
        (folder / PART_SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def _pixels(group: PrefixGroup) -> Tensor:
    tensors = group.prompt.tensors
    assert tensors is not None
    return tensors["pixel_values"].flatten(0, 1)


def _means_of_pieces(text: Path, table: Tensor) -> Tensor:
    """Of each new token, the mean embedding of those that its text has been so far."""
    tokenizer = AutoTokenizer.from_pretrained(text)
    pieces = [tokenizer(token)["input_ids"] for token in NEW_TOKENS]
    return torch.stack([table[ids].float().mean(dim=0) for ids in pieces])


def _places(weight: Tensor) -> None:
    """Sines and cosines of a patch's row and column (arXiv:2010.11929 learns them; arXiv:2111.06377 fixes these)."""
    side, quarter = round(len(weight) ** 0.5), weight.shape[1] // 4
    steps = torch.arange(side) / side
    rates = torch.pi * 2 ** torch.linspace(0, torch.log2(torch.tensor(float(side))).item(), quarter)
    angles = steps[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = axis[:, None].expand(side, side, -1), axis[None].expand(side, side, -1)
    weight.zero_()
    weight[:, : 4 * quarter] = PLACE_SCALE * torch.cat([rows, columns], dim=-1).flatten(0, 1)
