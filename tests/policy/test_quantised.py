"""A base in four bits: the adapter's training is exact on it, and what is saved is made of the original weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from equivalence import check_adapted, picture_groups
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from firsthand.errors import DataError
from firsthand.policy import AdapterOff, Lora, Policy, PrefixGroup, write_merged
from firsthand.policy.lora import WEIGHTS
from firsthand.policy.quantising import is_quantized
from firsthand.preflight import preflight
from firsthand.processor import Encoder, model_config
from firsthand.recipe import Recipe
from firsthand.rollout import LocalSampler, Sampling, grouped
from firsthand.worlds import SMALL, generate

NF4 = Lora(rank=4, alpha=8, quantize="nf4")
PLAIN = NF4.model_copy(update={"quantize": None})
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture
def tiny(folders: dict[str, Path]) -> Path:
    return folders["qwen2_5_vl"]


def moved(policy: Policy, by: float = 0.05) -> Policy:
    """Adapters that do something: B is 0 at first."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(by * torch.randn(parameter.shape, generator=draw).to(parameter.dtype))
    return policy


def asked(number: int = 2) -> list[PrefixGroup]:
    """Questions, each with its demonstration as the reply."""
    encoder, examples = Encoder.load(SMALL), generate("count", "test", number)
    return [PrefixGroup(encoder.prompt(e), (tuple(encoder.reply(e.traces[0].text)),)) for e in examples]


@pytest.mark.parametrize("dtype", DTYPES)
def test_language_layers_are_quantised_and_nothing_else(tiny: Path, dtype: torch.dtype) -> None:
    policy = Policy.load(tiny, dtype=dtype, adapter=NF4)
    base, model = dict(Policy.load(tiny, dtype=dtype).model.named_parameters()), policy.model
    quantised = {name.removesuffix(".base_layer") for name, m in model.named_modules() if is_quantized(m)}
    assert len(quantised) == 7 * model.config.get_text_config().num_hidden_layers
    for name, parameter in base.items():
        module, _, kind = name.rpartition(".")
        if module in quantised and kind == "weight":
            assert "language_model" in name
            found = model.get_submodule(module).get_base_layer().weight
            assert found.nbytes * 2 == parameter.numel() and not found.requires_grad
        else:
            inner = f"{module}.base_layer" if module in quantised else module
            found = getattr(model.get_submodule(inner), kind)
            assert found.dtype == dtype and torch.equal(found, parameter)
    assert {p.dtype for p in policy.parameters} == {dtype}
    assert policy.flops == Policy.load(tiny, dtype=dtype, adapter=PLAIN).flops


def test_the_packed_row_has_the_gradients_of_plain_rows(tiny: Path) -> None:
    policy = moved(Policy.load(tiny, adapter=NF4))
    check_adapted(policy, picture_groups(tiny))


@pytest.mark.parametrize("dtype", DTYPES)
def test_checkpointing_changes_no_gradient(tiny: Path, dtype: torch.dtype) -> None:
    groups, found = picture_groups(tiny), []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        policy = Policy.load(tiny, dtype=dtype, adapter=NF4, gradient_checkpointing=checkpointing)
        found.append(torch.autograd.grad(moved(policy).logprobs(groups).logp_BT.square().sum(), policy.parameters))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("dtype", DTYPES)
def test_off_is_the_quantised_base_bit_for_bit(tiny: Path, dtype: torch.dtype) -> None:
    policy, groups = Policy.load(tiny, dtype=dtype, adapter=NF4), picture_groups(tiny)
    with torch.no_grad():
        before = policy.logprobs(groups).logp_BT
        moved(policy)
        assert not torch.allclose(policy.logprobs(groups).logp_BT, before, atol=1e-3)
        assert torch.equal(AdapterOff(policy).logprobs(groups).logp_BT, before)
    policy.logprobs(groups).logp_BT.sum().backward()  # and on again, with gradients
    assert all(p.grad is not None for p in policy.parameters)


def test_rollout_and_training_agree() -> None:
    """Sampling is in eval mode, where bitsandbytes would take another kernel on some processors."""
    policies = []
    for _ in range(2):
        torch.manual_seed(3)
        policies.append(moved(Policy.load(SMALL, adapter=NF4)))
    (policy, fresh), encoder = policies, Encoder.load(SMALL)
    prompts = [encoder.prompt(e) for e in generate("count", "test", 2)]
    replies = LocalSampler(policy, encoder).sample(prompts, 3, Sampling(max_new_tokens=24), seed=1)
    groups = grouped(replies, len(prompts))
    packed = [PrefixGroup(p, tuple(r.token_ids for r in g)) for p, g in zip(prompts, groups, strict=True)]
    with torch.no_grad():
        found = fresh.logprobs(packed)  # one that has not sampled, and so packed nothing
        assert torch.equal(found.logp_BT, policy.logprobs(packed).logp_BT)
    sampled = torch.tensor([x for g in groups for r in g for x in r.logprobs])
    torch.testing.assert_close(found.logp_BT[found.mask_BT], sampled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_saved_is_the_original_and_the_product_in_the_folder_s_precision(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    policy = moved(Policy.load(SMALL, dtype=dtype, adapter=NF4))
    policy.save(tmp_path / "model")
    before, after = (load_file(f / "model.safetensors") for f in (SMALL, tmp_path / "model"))
    kept = load_file(tmp_path / "model" / "adapter" / WEIGHTS)
    products = {
        name.replace("base_model.model.model.language_model.", "model.").replace(".lora_A.", "."): (
            2 * kept[name.replace("lora_A", "lora_B")].float() @ kept[name].float()  # alpha / rank is 2
        )
        for name in kept
        if "lora_A" in name
    }
    assert before.keys() == after.keys() and products.keys() < before.keys()
    for name, tensor in before.items():
        if name not in products:
            assert torch.equal(after[name], tensor)
            continue
        assert after[name].dtype == tensor.dtype == torch.bfloat16
        torch.testing.assert_close(after[name], (tensor.float() + products[name]).bfloat16(), rtol=2**-8, atol=1e-6)
        assert not torch.equal(after[name], tensor)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert "quantization_config" not in (tmp_path / "model" / "config.json").read_text()
    write_merged(tmp_path / "model" / "adapter", tmp_path / "merged")
    again = load_file(tmp_path / "merged" / "model.safetensors")
    for name, tensor in after.items():  # peft adds in bfloat16, which rounds the product, too
        torch.testing.assert_close(again[name], tensor, rtol=2**-6, atol=2**-9)


def test_many_files_are_written_one_after_the_other(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = moved(Policy.load(tiny, adapter=PLAIN))
    policy.save(tmp_path / "one")
    monkeypatch.setattr("firsthand.policy.stored.SHARD_BYTES", 2**17)
    policy.save(tmp_path / "many")
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 2 and files[0].name.startswith("model-00001-of-")
    assert all(sum(t.nbytes for t in load_file(f).values()) <= 2**17 or len(load_file(f)) == 1 for f in files)
    one, many = (Policy.load(tmp_path / name).model.state_dict() for name in ("one", "many"))
    assert one.keys() == many.keys() and all(torch.equal(one[name], many[name]) for name in one)
    files[1].unlink()
    with pytest.raises(DataError, match=r"many: expected weights in model-00002-of-.*, got no such file"):
        Policy.load(tmp_path / "many")


def test_the_adapter_learns_and_its_merged_model_computes_what_it_does_on_the_whole_base(tmp_path: Path) -> None:
    policy, groups = Policy.load(SMALL, adapter=NF4), asked(8)
    optimizer = torch.optim.AdamW(policy.parameters, lr=3e-3)
    losses = []
    for _ in range(12):
        found = policy.logprobs(groups)
        loss = -found.logp_BT[found.mask_BT].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    policy.save(tmp_path / "model")
    whole = Policy.load(SMALL, adapter=PLAIN, adapter_weights=tmp_path / "model" / "adapter")
    with torch.no_grad():
        mask, ours, merged, exact = (
            policy.logprobs(groups).mask_BT,
            *(p.logprobs(groups).logp_BT for p in (policy, Policy.load(tmp_path / "model"), whole)),
        )
    apart, rounded = ((x - merged)[mask].abs().mean() for x in (ours, exact))
    # The merged model differs from the whole base with the adapter by one rounding to bfloat16 alone.
    assert rounded < 0.02
    assert rounded < apart / 3  # and from what was trained by the error of the four bits


@pytest.mark.slow
def test_preflight_counts_four_bits() -> None:
    recipe = {"name": "nf4", "data": {"worlds": ["count"], "number": 8}, "objective": {"kind": "grpo"}, "steps": 3}
    of = {
        kind: preflight(Recipe.model_validate({**recipe, "adapter": {"rank": 4, "quantize": kind}}))
        for kind in (None, "nf4")
    }
    layers = of["nf4"].sizes["language layers"]
    saved = of[None].memory.held["weights"] - of["nf4"].memory.held["weights"]
    assert 0.85 * 4 * layers.frozen < saved < 4 * layers.frozen
    assert of["nf4"].cost == of[None].cost


def put(folder: Path, to: Path, name: str, value: float) -> Path:
    shutil.copytree(folder, to)
    tensors: dict[str, Tensor] = load_file(to / "model.safetensors")
    tensors[name].view(-1)[7] = value
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named_before_it_is_quantised(tmp_path: Path, value: float) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    folder = put(SMALL, tmp_path / "altered", name, value)
    with pytest.raises(DataError, match=r"1 with values that are not finite \(model\.layers\.1\.mlp\.up_proj"):
        Policy.load(folder, adapter=NF4)


def test_without_bitsandbytes_the_message_says_what_to_install() -> None:
    code = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'bitsandbytes' else find(name, *a)\n"
        "from firsthand.policy import Lora, Policy\nfrom firsthand.worlds import SMALL\n"
        "Policy.load(SMALL, adapter=Lora(quantize='nf4'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "adapter.quantize: needs bitsandbytes, which is not installed: pip install 'firsthand[quantize]'" in (
        found.stderr
    )


PEAK = """
import sys, torch
from firsthand.policy import Lora, Policy
from firsthand.worlds import SMALL
folder, dtype, quantize = sys.argv[1], getattr(torch, sys.argv[2]), sys.argv[3] or None
adapter = Lora(quantize=quantize) if quantize else None
def mib(kind):
    [line] = [line for line in open("/proc/self/status") if line.startswith(kind)]
    return int(line.split()[1]) / 1024
Policy.load(SMALL, dtype=dtype, adapter=adapter)  # libraries
open("/proc/self/clear_refs", "w").write("5")
before = mib("VmRSS")
policy = Policy.load(folder, dtype=dtype, adapter=adapter)
print(mib("VmHWM") - before, sum(p.nbytes for p in policy.model.parameters()) / 2**20)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bfloat16 folder of some hundred MB in several files, none of whose tensors is a large part of it."""
    folder = tmp_path_factory.mktemp("large")
    config = model_config(SMALL)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.vocab_size = 768, 3072, 16, 8192
    text.layer_types = ["full_attention"] * 16
    text.rope_parameters["mrope_section"] = [16, 24, 24]
    config.vision_config.out_hidden_size = 768
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="60MB")
    for file in SMALL.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "quantize"), [("bfloat16", ""), ("float32", ""), ("bfloat16", "nf4")])
def test_one_copy_of_the_weights_is_in_memory_while_they_are_read(large: Path, dtype: str, quantize: str) -> None:
    command = [sys.executable, "-c", PEAK, str(large), dtype, quantize]
    # One arena: each of the threads that read would keep what it has freed in one of its own. Large tensors outside it,
    # always: glibc learns to put them inside, and then keeps what was freed between others, up to 200 MB by chance.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    peak, weights = map(float, found.split())
    files = sum(file.stat().st_size for file in large.glob("*.safetensors")) / 2**20
    # What is being read, and what the allocator keeps of it: half of the files' size would be much of a second copy.
    assert weights <= peak + 16 and peak < weights + 0.5 * files
