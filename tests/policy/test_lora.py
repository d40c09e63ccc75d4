"""Low-rank adapters: exact in the packed row, off without a trace, merged without a difference, resumed bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from equivalence import check_adapted, picture_groups
from tiny import FAMILIES
from transformers import AutoModelForImageTextToText

from firsthand.errors import DataError, RecipeError
from firsthand.policy import AdapterOff, Lora, Policy, PrefixGroup, write_merged
from firsthand.policy.lora import CONFIG, WEIGHTS
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.trainer import train
from firsthand.worlds import SMALL, generate

LORA = Lora(rank=4, alpha=8)


def moved(policy: Policy) -> Policy:
    """Adapters that do something: B is 0 at first."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return policy


@pytest.mark.parametrize("family", FAMILIES)
def test_the_packed_row_has_the_gradients_of_plain_rows(folders: dict[str, Path], family: str) -> None:
    policy = moved(Policy.load(folders[family], adapter=LORA))
    check_adapted(policy, picture_groups(folders[family]))


def test_checkpointing_changes_no_gradient(folders: dict[str, Path]) -> None:
    groups = picture_groups(folders["qwen2_5_vl"])
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        policy = moved(Policy.load(folders["qwen2_5_vl"], adapter=LORA, gradient_checkpointing=checkpointing))
        found.append(torch.autograd.grad(policy.logprobs(groups).logp_BT.square().sum(), policy.parameters))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_adapters_of_language_layers_are_trained(folders: dict[str, Path], family: str) -> None:
    policy = Policy.load(folders[family], trainable="all", adapter=LORA)
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name and "visual" not in name and "lm_head" not in name for name in names)
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    two = Policy.load(folders[family], adapter=Lora(targets=("q_proj", "v_proj")))
    assert {n.split(".")[-4] for n, p in two.model.named_parameters() if p.requires_grad} == {"q_proj", "v_proj"}


def test_a_new_adapter_changes_nothing_and_off_is_the_base_model_bit_for_bit(folders: dict[str, Path]) -> None:
    tiny = folders["qwen2_5_vl"]
    base, policy = Policy.load(tiny), Policy.load(tiny, adapter=LORA)
    groups = picture_groups(tiny)
    with torch.no_grad():
        before = base.logprobs(groups).logp_BT
        assert torch.equal(policy.logprobs(groups).logp_BT, before)
        moved(policy)
        assert not torch.allclose(policy.logprobs(groups).logp_BT, before, atol=1e-3)
        assert torch.equal(AdapterOff(policy).logprobs(groups).logp_BT, before)
        trained = [p.requires_grad for p in policy.model.parameters()]
    policy.logprobs(groups).logp_BT.sum().backward()  # and on again, with gradients
    assert all(p.grad is not None for p in policy.parameters)
    assert trained == [p.requires_grad for p in policy.model.parameters()]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft reads it
def test_a_saved_policy_is_a_plain_model_with_the_adapter_beside_it(tmp_path: Path, folders: dict[str, Path]) -> None:
    from peft import PeftModel

    tiny = folders["qwen2_5_vl"]
    policy = moved(Policy.load(tiny, adapter=LORA))
    policy.save(tmp_path / "model")
    groups = picture_groups(tiny)
    with torch.no_grad():
        ours = policy.logprobs(groups).logp_BT
        # (W + BA) x against W x + B(A x): one rounding more or less of float32 in each of six layers.
        torch.testing.assert_close(Policy.load(tmp_path / "model").logprobs(groups).logp_BT, ours, rtol=1e-4, atol=1e-4)
    base = AutoModelForImageTextToText.from_pretrained(str(tiny), dtype=torch.float32)
    with_peft = PeftModel.from_pretrained(base, str(tmp_path / "model" / "adapter"))
    loaded = {n.replace("base_model.model.", ""): p for n, p in with_peft.named_parameters() if "lora_" in n}
    mine = {n: p for n, p in policy.model.named_parameters() if "lora_" in n}
    assert loaded.keys() == mine.keys() and all(torch.equal(loaded[n], mine[n]) for n in mine)


def test_rollout_and_training_agree_with_the_adapter_on() -> None:
    policy, encoder = moved(Policy.load(SMALL, adapter=LORA)), Encoder.load(SMALL)
    prompts = [encoder.prompt(e) for e in generate("count", "test", 2)]
    groups = grouped(
        LocalSampler(policy, encoder).sample(prompts, 3, Sampling(max_new_tokens=24), seed=1), len(prompts)
    )
    packed = [PrefixGroup(p, tuple(r.token_ids for r in g)) for p, g in zip(prompts, groups, strict=True)]
    with torch.no_grad():
        found = policy.logprobs(packed)
    sampled = torch.tensor([x for g in groups for r in g for x in r.logprobs])
    torch.testing.assert_close(found.logp_BT[found.mask_BT], sampled, rtol=1e-4, atol=1e-4)


def recipe(**fields: object) -> Recipe:
    content = {
        "name": "lora",
        "data": {"worlds": ["count"], "number": 8},
        "objective": {"kind": "grpo", "group_size": 4, "kl": 0.01},
        "adapter": {"rank": 4},
        "steps": 3,
        "prompts": 2,
        "sampling": {"max_new_tokens": 24},
        "optimizer": {"lr": 1e-2},
        "checkpoint_every": 1,
    }
    return Recipe.model_validate({**content, **fields})


NF4 = {"adapter": {"rank": 4, "quantize": "nf4"}, "gradient_checkpointing": True}


@pytest.mark.parametrize("fields", [{}, NF4], ids=["whole base", "four bits"])
def test_a_run_with_an_adapter_is_resumed_bit_for_bit_from_checkpoints_without_the_base(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    torch.set_num_threads(1)
    files: list[set[str]] = []

    def stop(step: object) -> None:
        if getattr(step, "step", 0) == 1:
            (checkpoint,) = (tmp_path / "cut").glob("*/checkpoints/step-*")
            files.append({p.name for p in (checkpoint / "model").iterdir()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(**fields), tmp_path / "cut", stop)
    assert files and {WEIGHTS, CONFIG} <= files[0] and "model.safetensors" not in files[0]
    cut, whole = (train(recipe(**fields), tmp_path / name) for name in ("cut", "whole"))
    metrics = [[json.loads(x)["metrics"] for x in (f / "metrics.jsonl").read_text().splitlines()] for f in (cut, whole)]
    assert metrics[0] == metrics[1]
    assert metrics[1][-1]["policy/kl"] > 0  # the reference is the base, not the adapted model
    for name in ("model.safetensors", f"adapter/{WEIGHTS}"):
        assert (cut / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(RecipeError, match=r"adapter\.targets: expected names among .*'q_proj'.*, got \['query'\]"):
        Policy.load(SMALL, adapter=Lora(targets=("query",)))


def test_without_peft_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from firsthand.policy import Lora, Policy\nfrom firsthand.worlds import SMALL\n"
        "Policy.load(SMALL, adapter=Lora())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'firsthand[peft]'" in found.stderr


def test_an_adapter_of_peft_s_becomes_a_plain_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    policy = moved(Policy.load(folders["qwen2_5_vl"], adapter=LORA))
    policy.save(tmp_path / "trained")
    found = tmp_path / "out"
    write_merged(tmp_path / "trained" / "adapter", found)
    group = picture_groups(folders["qwen2_5_vl"])
    ours, theirs = (Policy.load(folder).logprobs(group) for folder in (tmp_path / "trained", found))
    torch.testing.assert_close(ours.logp_BT, theirs.logp_BT, rtol=0, atol=1e-5)
    before = Policy.load(folders["qwen2_5_vl"]).logprobs(group)
    assert (before.logp_BT - theirs.logp_BT).abs().max() > 1e-2
    Encoder.load(found)


def test_an_adapter_whose_base_is_not_here_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    moved(Policy.load(folders["qwen2_5_vl"], adapter=LORA)).save(tmp_path / "trained")
    config = tmp_path / "trained" / "adapter" / CONFIG
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "Qwen/Qwen2-VL-2B"}))
    with pytest.raises(
        DataError, match=r"expected base_model_name_or_path to be a local model folder, got 'Qwen/Qwen2"
    ):
        write_merged(tmp_path / "trained" / "adapter", tmp_path / "out")
