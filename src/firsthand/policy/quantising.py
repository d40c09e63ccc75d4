"""Language layers in four bits (NF4, arXiv:2305.14314), through bitsandbytes; for adapters, whose base is frozen.

Weights are quantised one by one as they are read, in blocks of 64, and the scales of the blocks in turn. Embeddings,
the output layer and the vision tower keep the precision of the rest of the model. Whatever is computed is computed in
that precision: a layer's weight is made again of its four bits in each of its forwards and backwards.
"""

import logging
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from firsthand.errors import RecipeError

BYTES_PER_WEIGHT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Four bits, a byte for each block of 64, and a float32 for each 256 blocks."""
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# peft imports it wherever it is installed; on a CPU it would warn that a kernel which is not for training is not there.


def check_installed() -> None:
    """Raises RecipeError where bitsandbytes is not installed, or accelerate, which transformers needs for it."""
    for package in ("bitsandbytes", "accelerate"):
        if find_spec(package) is None:
            raise RecipeError(
                f"adapter.quantize: needs {package}, which is not installed: pip install 'firsthand[quantize]'"
            )


def loading_settings(blank: Any, dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
    """What `from_pretrained` is told in order to quantise the language layers, and no others, of a model like this."""
    from transformers import BitsAndBytesConfig

    check_installed()
    chosen = set(language_linears(blank))
    others = [name for name, module in blank.named_modules() if isinstance(module, nn.Linear) and name not in chosen]
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=others,
    )
    return {"quantization_config": config, "device_map": {"": torch.device(device)}}


def language_linears(model: Any) -> list[str]:
    """Names of the linear layers that read and write text: of what adapters are for, and what is quantised."""
    inside = {id(module) for module in model.get_decoder().modules()}
    return [name for name, m in model.named_modules() if isinstance(m, nn.Linear) and id(m) in inside]


def settle(model: Any) -> None:
    """After loading: sampling computes as training does, and the config is that of the model as it is saved."""
    for module in model.modules():
        if is_quantized(module):
            # In eval mode it would pack its weight anew for another kernel, which rounds otherwise, and does not take
            # every shape.
            module.support_avx512bf16_for_cpu = False
    model.hf_quantizer.remove_quantization_config(model)


def is_quantized(module: nn.Module) -> bool:
    """Whether a layer's weight is in four bits."""
    return getattr(getattr(module, "weight", None), "quant_type", None) is not None
