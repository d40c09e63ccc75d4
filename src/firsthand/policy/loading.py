"""A model folder -> a transformers model that the rest of this room can rely on, or an error that says why not."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from firsthand.errors import DataError
from firsthand.policy.attention import ATTENTION
from firsthand.policy.lora import Lora, attach
from firsthand.policy.weights import read_weights
from firsthand.policy.windows import set_up_windows
from firsthand.processor import family_of


def read_model(
    folder: str | Path, config: Any, dtype: torch.dtype | None, *, quantize_on: torch.device | str | None = None
) -> Any:
    """The model, with PyTorch's attention; None as its precision is that of its files.

    Raises DataError when a weight is missing, too many or not finite, when the model has dropout, or is of an untested
    type and not built like the ones that are tested.
    """
    model = read_weights(
        model_class(config), folder, config, dtype=dtype, quantize_on=quantize_on, attn_implementation="sdpa"
    )
    _check_dropout(folder, model)
    family = family_of(config)
    if not family.is_tested:
        _check_unknown(folder, model, reads_pictures=family.reads != "text")
    return model


def model_class(config: Any) -> Any:
    """The class of transformers that reads or builds the model of a config."""
    return AutoModelForCausalLM if family_of(config).reads == "text" else AutoModelForImageTextToText


def set_up_training(model: Any, trainable: str, adapter: Lora | None, *, gradient_checkpointing: bool) -> bool:
    """Set up attention, what is trained, and checkpointing; whether the vision tower is frozen."""
    model.get_decoder().config._attn_implementation = ATTENTION
    set_up_windows(model)
    is_frozen = trainable == "language" or adapter is not None
    if is_frozen:
        _freeze_tower(model)
    if adapter is not None:
        attach(model, adapter)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return is_frozen


def _freeze_tower(model: Any) -> None:
    """Train only what reads and writes text: not the vision tower, nor what carries its features over."""
    language = language_parameters(model)
    for parameter in model.parameters():
        if id(parameter) not in language:
            parameter.requires_grad_(False)


def language_parameters(model: Any) -> set[int]:
    """The ids of the parameters that read and write text, those of the output layer among them."""
    parts = (model.get_decoder(), model.get_output_embeddings())
    return {id(parameter) for part in parts for parameter in part.parameters()}


def _check_dropout(folder: str | Path, model: Any) -> None:
    """Dropout would make training compute other log-probs than sampling."""
    configs = (model.config, model.config.get_text_config(), getattr(model.config, "vision_config", None))
    rates = [getattr(config, "attention_dropout", None) or 0.0 for config in configs]
    dropout = max([*rates, *(m.p for m in model.modules() if isinstance(m, nn.Dropout))])
    if dropout != 0:
        raise DataError(f"{folder}: expected no dropout, got {dropout}; set it to 0 in config.json")


def _check_unknown(folder: str | Path, model: Any, *, reads_pictures: bool) -> None:
    """A model of an untested type must take what we pass, and its logits must be its output layer's, no more."""
    kind = model.config.model_type
    if model.config.is_encoder_decoder:
        raise DataError(f"{folder}: expected a decoder, got {kind}, which has an encoder for text; use a tested type")
    takes = inspect.signature(model.base_model.forward).parameters
    own = [name for name in ("token_type_ids", "mm_token_type_ids") if name in takes]
    if reads_pictures and ("mm_encoder_outputs" not in takes or own):
        raise DataError(
            f"{folder}: expected a model type that takes picture features and numbers tokens in order, got {kind}, "
            f"which {'wants ' + ' and '.join(own) if own else 'takes no picture features'}; use a tested type"
        )
    ids = torch.arange(1, 9)[None]
    was_training = model.training
    with torch.no_grad():
        model.eval()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        found, expected = model.get_output_embeddings()(hidden), model(input_ids=ids, use_cache=False).logits
        model.train(was_training)
    if not torch.equal(found, expected):
        raise DataError(
            f"{folder}: expected logits that come straight from the output layer, got a model of type {kind} that "
            "changes them (a soft cap or a scale); use a tested type"
        )
