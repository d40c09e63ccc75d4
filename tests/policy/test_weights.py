"""Weights that are not whole are refused by name, before they answer anything: real commands on altered models."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, tiny_folder
from torch import Tensor
from transformers import LlamaConfig, LlamaForSequenceClassification

from firsthand.cli.main import main
from firsthand.errors import DataError, Diverged
from firsthand.policy import Lora, Policy, write_merged
from firsthand.policy.lora import WEIGHTS
from firsthand.policy.weights import not_finite
from firsthand.recipe import Recipe
from firsthand.reward.reward_model import RewardModel
from firsthand.trainer import train
from firsthand.worlds import SMALL

Change = Callable[[dict[str, Tensor]], object]
LAYER, HERE = "model.language_model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
"""A tensor as the model calls it, and as its file does."""


def put(name: str, value: float) -> Change:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[7] = value

    return change


def altered(folder: Path, change: Change, name: str = "model.safetensors") -> Path:
    """The folder with its tensors changed."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(SMALL, tmp_path / "altered"))


def names() -> list[str]:
    return sorted(load_file(SMALL / "model.safetensors"))


BAD: list[tuple[str, Change, str]] = [
    ("missing", lambda t: t.pop(HERE), f"1 missing ({LAYER})"),
    ("another", lambda t: t.update({"extra.weight": torch.ones(2)}), "1 that the model does not have (extra.weight)"),
    ("nan", put(HERE, float("nan")), f"1 with values that are not finite ({LAYER})"),
    ("infinite", put(HERE, float("-inf")), f"1 with values that are not finite ({LAYER})"),
    ("shape", lambda t: t.update({HERE: t[HERE][:-1].clone()}), f"1 of another shape ({LAYER} ("),
    ("many", lambda t: [t.pop(name) for name in names() if "layers.1." in name], " ...)"),
]


@pytest.mark.parametrize("command", ["train", "evaluate", "benchmark"])
@pytest.mark.parametrize(("change", "message"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_weights_that_are_not_whole_are_named_and_nothing_is_done(
    small: Path, capsys: pytest.CaptureFixture[str], command: str, change: Change, message: str
) -> None:
    altered(small, change)
    recipe = {"name": "mine", "model": "altered", "data": {"worlds": ["count"], "number": 2}, "prompts": 2, "steps": 1}
    Path("recipe.yaml").write_text(json.dumps(recipe))
    given = {
        "train": ["train", "recipe.yaml"],
        "evaluate": ["evaluate", "altered", "--data", "worlds:count:test:2"],
        "benchmark": ["perplexity", "altered", "--data", "worlds:count:train:2", "--out", "found.jsonl"],
    }
    assert main(given[command]) == 2
    told = capsys.readouterr().err
    assert told.startswith("firsthand: altered: expected every weight of the model, and finite ones, got ")
    assert message in told and "Traceback" not in told and "LOAD REPORT" not in told
    assert "again" in told  # the remedy
    assert not [*Path("runs").glob("*/DONE")] and not Path("found.jsonl").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_weights_are_read_also_where_some_are_tied(family: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / family, family)
    config = json.loads((folder / "config.json").read_text())
    for holder in (config, config["text_config"]):
        holder["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    altered(folder, lambda t: t.pop("lm_head.weight"))
    model = Policy.load(folder).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    embedding = next(name for name in load_file(folder / "model.safetensors") if name.endswith("embed_tokens.weight"))
    altered(folder, lambda t: t.pop(embedding))
    with pytest.raises(DataError, match="missing"):
        Policy.load(folder)


def test_what_is_not_finite_is_found_in_every_kind_of_float() -> None:
    nan, inf = float("nan"), float("inf")
    tensors = {
        "whole": torch.ones(3),
        "counts": torch.tensor([1, 2]),
        "empty": torch.ones(0),
        "scalar": torch.tensor(1.0),
        "large": torch.full((2,), 3e38),  # their sum would not be finite
        "nan": torch.tensor([1.0, nan, 2.0]),
        "half": torch.tensor([[1.0], [inf]], dtype=torch.float16),
        "bf16": torch.tensor([-inf, nan], dtype=torch.bfloat16),
    }
    assert not_finite(tensors) == ["nan", "half", "bf16"]


def test_a_torn_file_is_an_error_of_ours(small: Path) -> None:
    weights = small / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="altered: expected readable safetensors, got"):
        Policy.load(small)


def test_a_config_of_a_far_larger_model_is_refused_before_that_is_allocated(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((small / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 60
    del config["text_config"]["layer_types"]
    (small / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", pytest.fail)
    with pytest.raises(
        DataError, match=r"expected the 2\d,\d+,\d+ weights that its config.json means, got 3,7\d\d,\d+"
    ):
        Policy.load(small)


def test_a_model_that_the_last_step_has_ruined_is_not_saved(tmp_path: Path) -> None:
    content = {
        "name": "mine",
        "data": {"worlds": ["count"], "number": 2},
        "objective": {"kind": "sft", "style": "plain"},
        "prompts": 2,
        "steps": 1,
    }
    recipe = Recipe.model_validate(content)
    # A step of AdamW moves each weight by the rate: this is beyond what float32 holds, and no recipe may ask for it.
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"lr": 1e39})})
    with pytest.raises(Diverged, match="expected finite weights after training, got "):
        train(recipe, tmp_path)
    assert not [*tmp_path.glob("*/DONE")] and not [*tmp_path.glob("*/model")]


# ---- adapters and reward models


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    Policy.load(SMALL, adapter=Lora(rank=2, alpha=4)).save(tmp_path / "trained")
    return tmp_path / "trained/adapter"


ADAPTED = "base_model.model.model.language_model.layers.1.mlp.up_proj.lora_B.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(ADAPTED), r"1 missing \(.*layers\.1\.mlp\.up_proj\.lora_B"),
        (lambda t: t.update({f"{ADAPTED}2": torch.ones(2)}), r"1 that the model does not have \(.*up_proj\.lora_B"),
        (put(ADAPTED, float("nan")), r"1 with values that are not finite \(.*up_proj\.lora_B"),
    ],
)
def test_an_adapter_that_is_not_whole_is_named(adapter: Path, tmp_path: Path, change: Change, message: str) -> None:
    altered(adapter, change, WEIGHTS)
    with pytest.raises(DataError, match=message):
        write_merged(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(DataError, match=message):  # as a checkpoint that training goes on from
        Policy.load(SMALL, adapter=Lora(rank=2, alpha=4), adapter_weights=adapter)


def test_a_whole_adapter_is_merged_and_one_without_safetensors_refused(adapter: Path, tmp_path: Path) -> None:
    write_merged(adapter, tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").is_file()
    (adapter / WEIGHTS).rename(adapter / "adapter_model.bin")
    with pytest.raises(DataError, match=r"expected adapter_model\.safetensors, got none"):
        write_merged(adapter, tmp_path / "other")


def test_a_language_model_is_no_reward_model_with_a_random_output(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=300, num_labels=1, pad_token_id=0, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    shutil.copy(SMALL / "tokenizer.json", tmp_path)
    shutil.copy(SMALL / "tokenizer_config.json", tmp_path)
    RewardModel(tmp_path)
    altered(tmp_path, lambda t: t.pop("score.weight"))
    with pytest.raises(DataError, match=r"1 missing \(score\.weight\)"):
        RewardModel(tmp_path)
