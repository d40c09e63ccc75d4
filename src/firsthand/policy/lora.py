"""Low-rank adapters through peft: the weights stay as they are, and small matrices beside them are trained.

peft puts its layers in place of the linear ones of the model that is there; nothing is wrapped, so the shared-prefix
attention, the decoder and the output layer work on. The reference policy is the same model with its adapters off.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

from firsthand.errors import DataError, RecipeError
from firsthand.policy.quantising import language_linears
from firsthand.policy.stored import Stored
from firsthand.policy.weights import refuse
from firsthand.processor.folder import reading
from firsthand.records import Record

if TYPE_CHECKING:
    from firsthand.policy.model import Logprobs, Policy
    from firsthand.policy.packing import PrefixGroup

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""peft's names of an adapter's two files."""


class Lora(Record):
    """Low-rank adaptation (arXiv:2106.09685). There is no dropout: it would part rollout and training log-probs."""

    rank: int = Field(default=16, gt=0)
    """Of the two matrices (ours, between the 8 of the paper and the 64 that is usual for reasoning)."""
    alpha: float = Field(default=32.0, gt=0)
    """Their product is scaled by alpha / rank (2, as is usual in the field)."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers that get one, such as `q_proj`; empty: all of the language layers (QLoRA,
    arXiv:2305.14314, §4). Never the vision tower or the output layer."""
    quantize: Literal["nf4"] | None = None
    """Hold the language layers in four bits; the adapters are in the precision of the rest."""


def attach(model: Any, settings: Lora) -> None:
    """Give the language layers their adapters, and train nothing else. B starts at 0, so nothing changes yet.

    Raises RecipeError when peft is not installed, or no layer has a wanted name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RecipeError("adapter: needs peft, which is not installed: pip install 'firsthand[peft]'") from error
    names = language_linears(model)
    known = sorted({name.rpartition(".")[2] for name in names})
    unknown = sorted(set(settings.targets) - set(known))
    if unknown:
        raise RecipeError(f"adapter.targets: expected names among {known}, got {unknown}")
    chosen = [name for name in names if not settings.targets or name.rpartition(".")[2] in settings.targets]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=chosen)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model)
    dtype = model.get_input_embeddings().weight.dtype  # of a quantised layer peft would not know it
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)


class AdapterOff:
    """The policy without its adapters: the reference policy, in no memory of its own."""

    def __init__(self, policy: "Policy") -> None:
        self._policy = policy

    def logprobs(self, groups: "Sequence[PrefixGroup]", *, temperature: float = 1.0) -> "Logprobs":
        """As `Policy.logprobs` gives them, bit for bit those of the model that the adapters were attached to."""
        layers = _adapted(self._policy.model)
        for _, layer in layers:
            layer.enable_adapters(False)
        try:
            return self._policy.logprobs(groups, temperature=temperature)
        finally:
            for _, layer in layers:
                layer.enable_adapters(True)
                for name, parameter in layer.named_parameters():  # enabling leaves them frozen
                    parameter.requires_grad_("lora_" in name)


def deltas(model: Any, stored: Mapping[str, Stored]) -> dict[str, Callable[[], Tensor]]:
    """What makes each adapter's product, under the name that its layer's weight has among the stored tensors.

    Raises DataError when there is no such weight: where several layers share one, or one is in several parts.
    """
    made: dict[str, Callable[[], Tensor]] = {}
    for name, layer in _adapted(model):
        weight = _stored_name(model, f"{name}.weight", stored)
        if weight is None:
            raise DataError(
                f"adapter: expected a weight of {name} among the model's files, got none that is its alone; "
                "leave that layer out of adapter.targets"
            )
        made[weight] = partial(_delta, layer)
    return made


def _stored_name(model: Any, name: str, stored: Mapping[str, Stored]) -> str | None:
    """Of a weight of the model. Files may lack the base model's prefix, and have names of an earlier transformers."""
    renamed = list(revert_weight_conversion(model, {name: torch.empty(0, device="meta")}))
    bare = [one.removeprefix(f"{model.base_model_prefix}.") for one in (*renamed, name)]
    return next((one for one in (*renamed, name, *bare) if one in stored), None)


@torch.no_grad()
def _delta(layer: Any) -> Tensor:
    """B A times alpha / rank, in float32."""
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    product: Tensor = up.float() @ down.float() * layer.scaling["default"]
    return product.cpu()


def save_adapter(model: nn.Module, folder: Path, base: str) -> None:
    """The adapters as peft writes them, so that `PeftModel.from_pretrained` reads the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name.replace('.default.', '.')}": value.detach().cpu().contiguous()
        for name, value in model.named_parameters()
        if "lora_" in name
    }
    save_file(tensors, folder / WEIGHTS)
    config: Any = model.peft_config  # injection leaves it there, by adapter name
    config["default"].base_model_name_or_path = base
    config["default"].save_pretrained(str(folder))


def load_adapter(model: nn.Module, folder: Path) -> None:
    """Give attached adapters the weights that `save_adapter` wrote, bit for bit. Raises DataError when they differ."""
    with reading(folder, "an adapter's weights"):
        kept = load_file(folder / WEIGHTS)
    wanted = {
        f"base_model.model.{name.replace('.default.', '.')}": parameter
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }
    with torch.no_grad():
        for name in wanted.keys() & kept.keys():
            wanted[name].copy_(kept[name])
    refuse(folder, model, wanted.keys() - kept.keys(), kept.keys() - wanted.keys())


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    """The layers that have an adapter, with their names."""
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
