"""The formula of a model's arithmetic: a count by hand, and the matrix products that torch sees."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, picture, tiny_folder
from tiny_families import family_folder
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from firsthand.policy import Lora, Policy, PrefixGroup
from firsthand.policy.flops import Flops, Weights
from firsthand.processor import Encoder, Prompt
from firsthand.records import Digit, Example
from firsthand.rollout import LocalSampler, Sampling
from firsthand.worlds import SMALL


def text(tokens: int) -> Prompt:
    return Prompt("x", (11,) * tokens, None, None)


def counted(work: Any) -> int:
    """What torch counts: attention as its matrix products, masked pairs among them."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def masked(tokens: int) -> int:
    """Pairs of a square of queries and keys that a causal mask forbids."""
    return tokens * (tokens - 1) // 2


def test_the_small_model_by_hand() -> None:
    flops = Policy.load(SMALL, trainable="language").flops
    # q and o 192 x 192, k and v 192 x 64, and three times 192 x 512, in each of 6 layers; 604 words.
    layers, head = 6 * (2 * 192 * 192 + 2 * 192 * 64 + 3 * 192 * 512), 604 * 192
    assert (flops.layers, flops.head) == (Weights(layers, layers), Weights(head, head))
    # A patch of 3 x 2 x 14 x 14 numbers becomes 128; qkv and proj, and three times 128 x 256, in each of 4 layers.
    assert flops.patches == Weights(1176 * 128 + 4 * (4 * 128 * 128 + 3 * 128 * 256), 0)
    assert flops.merged == Weights(512 * 512 + 512 * 192, 0)
    # 3 tokens of a prompt, and replies of 2 and 1: 6 tokens go through the layers.
    # Pairs: 1 + 2 + 3 in the prompt, 4 + 5 in the one reply, 4 in the other; each 4 x 32 numbers in 6 heads, 6 layers.
    pairs = 4 * 32 * 6 * 6 * (6 + 9 + 4)
    forward = 2 * layers * 6 + pairs + 2 * head * 3
    assert flops.update(3, [2, 1]) == 3 * forward
    assert flops.update(3, [2, 1], forwards=2) == 4 * forward
    # Written: the last token of each reply is not read again. 3 + 1 tokens are, and 3 are predicted.
    assert flops.rollout(3, [2, 1]) == 2 * layers * 4 + 4 * 32 * 6 * 6 * (6 + 4) + 2 * head * 3
    # A picture of 4 x 6 patches, all of which see each other, becomes 6 tokens.
    pairs = 4 * 128 * 4 * 24 * 24
    assert flops.pictures([(1, 4, 6)]) == 2 * flops.patches.all * 24 + 2 * flops.merged.all * 6 + pairs


def test_an_adapter_s_weights_are_learned_and_the_others_only_passed() -> None:
    flops = Policy.load(SMALL, adapter=Lora(rank=4, targets=("o_proj",))).flops
    assert flops.layers == Weights(6 * (393216 + 2 * 4 * 192), 6 * 2 * 4 * 192)
    assert flops.layers.backward == 2 * flops.layers.all + 2 * flops.layers.trained
    assert flops.head.trained == 0


@pytest.mark.parametrize("name", [*FAMILIES, "qwen2", "llama"])
def test_an_update_is_counted_as_torch_counts_it(tmp_path: Path, name: str) -> None:
    folder = (tiny_folder if name in FAMILIES else family_folder)(tmp_path / "model", name)
    policy = Policy.load(folder, trainable="language")
    group = PrefixGroup(text(7), ((11,) * 5,))
    found = counted(lambda: policy.logprobs([group]).logp_BT.sum().backward())
    assert found == policy.flops.update(7, [5]) + 3 * policy.flops.pair * masked(12)
    reference = counted(lambda: torch.no_grad()(policy.logprobs)([group]))
    assert 3 * reference == found


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [(56, 84), (280, 140)], ids=str)
def test_pictures_are_counted_as_torch_counts_them(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    folder = tiny_folder(tmp_path / "model", name)
    policy, encoder = Policy.load(folder, trainable="all"), Encoder.load(folder)
    asked = Example(id="x", question="How many?", images=(picture(*size),), answer=Digit(value="3"))
    prompt = encoder.prompt(asked)
    assert prompt.grids is not None
    out: list[Any] = []
    forward = counted(lambda: out.append(policy.tower.encode([prompt])))
    assert forward == policy.flops.of_prompt(prompt)
    features = out[0]["image"]
    levels = [*features.pooler_output, *(part for level in features.deepstack_features for part in level)]
    backward = counted(lambda: torch.stack([level.sum() for level in levels]).sum().backward())
    # Nobody asks for the gradient of the pixels.
    first = policy.model.base_model.visual.patch_embed.proj.weight.numel() * int(prompt.grids.prod())
    assert backward == policy.flops.of_prompt(prompt, backward=True) - 2 * first


@pytest.mark.parametrize("name", ["smolvlm", "internvl", "gemma3", "llava_onevision"])
def test_pictures_of_families_without_grids_are_counted_within_a_tenth(tmp_path: Path, name: str) -> None:
    folder = family_folder(tmp_path / "model", name)
    policy, encoder = Policy.load(folder, trainable="language"), Encoder.load(folder)
    asked = Example(id="x", question="How many?", images=(picture(56, 84),), answer=Digit(value="3"))
    prompt = encoder.prompt(asked)
    assert counted(lambda: policy.tower.encode([prompt])) == pytest.approx(policy.flops.of_prompt(prompt), rel=0.1)


def test_a_rollout_is_counted_as_torch_counts_it(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "qwen2_5_vl")
    policy = Policy.load(folder)
    sampler = LocalSampler(policy, Encoder.load(folder))
    sampler.stop_ids = ()
    settings = Sampling(max_new_tokens=6)
    found = counted(lambda: list(sampler.sample([text(9)], 4, settings)))
    assert found == policy.flops.rollout(9, [6] * 4) + policy.flops.pair * masked(9)


def test_a_window_s_patches_see_each_other_and_no_others() -> None:
    plain = Weights()
    flops = Flops(plain, plain, 0, plain, plain, 1, 3, 1, 8, None, 14)
    windows = [8 * 8, 8 * 8, 4 * 8, 2 * 8, 2 * 8, 2 * 4]  # a grid of 10 x 20 patches
    assert flops.pictures([(1, 10, 20)]) == 200**2 + 2 * sum(n * n for n in windows)
