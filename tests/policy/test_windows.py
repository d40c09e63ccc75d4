"""Sequences of patches that a tower attends to together, beside transformers, which runs them one by one."""

from typing import Any

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from firsthand.policy.windows import WINDOWS, set_up_windows

GRIDS = torch.tensor([[1, 10, 14], [1, 8, 8], [1, 4, 6]])
"""Windows of 8 x 8 patches: whole ones, and edges of three other sizes."""


def tower(*, windows: bool) -> Any:
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen2_5_VLConfig(
        text_config={"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        vision_config=vision | {"fullatt_block_indexes": [1], "initializer_range": 0.2},
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    if windows:
        set_up_windows(model)
    return model.model


def features_and_gradients(base: Any, grids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randn(int(grids.prod(-1).sum()), 3 * 2 * 14 * 14, generator=draw)
    pooled = torch.cat(list(base.get_image_features(pixels, grids, return_dict=True).pooler_output))
    weights = torch.randn(pooled.shape, generator=draw)
    (pooled * weights).sum().backward()
    return pooled.detach(), [p.grad for p in base.visual.parameters()]


@pytest.mark.parametrize("grids", [GRIDS, GRIDS[1:2], GRIDS[[1, 1]]], ids=["uneven", "one window", "two pictures"])
def test_windows_that_go_together_are_what_transformers_makes_of_them_one_by_one(grids: torch.Tensor) -> None:
    ours, theirs = tower(windows=True), tower(windows=False)
    assert ours.visual.config._attn_implementation == WINDOWS != theirs.visual.config._attn_implementation
    found, expected = features_and_gradients(ours, grids), features_and_gradients(theirs, grids)
    assert torch.allclose(found[0], expected[0], atol=1e-5)
    for mine, other in zip(found[1], expected[1], strict=True):
        assert torch.allclose(mine, other, atol=1e-4 * float(other.abs().max()) + 1e-7)


def test_a_window_sees_nothing_of_the_others() -> None:
    base = tower(windows=True)
    base.visual.fullatt_block_indexes = []
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randn(8 * 16, 3 * 2 * 14 * 14, generator=draw)
    changed = pixels.clone()
    patch = torch.arange(8 * 16).view(4, 8, 4)  # rows of 2 x 2 patches, 8 of them in a row: two windows side by side
    changed[patch[:, :4].flatten()] = 0.0
    with torch.no_grad():
        before, after = (
            torch.cat(list(base.get_image_features(p, torch.tensor([[1, 8, 16]]), return_dict=True).pooler_output))
            for p in (pixels, changed)
        )
    differs = (before != after).any(dim=1).view(4, 8)
    assert differs[:, :4].all() and not differs[:, 4:].any()


def test_models_whose_towers_are_told_no_ends_are_left_alone() -> None:
    model = torch.nn.Linear(2, 2)
    set_up_windows(model)
