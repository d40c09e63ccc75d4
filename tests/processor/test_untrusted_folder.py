"""A model folder of somebody else: none of its code runs, and what is wrong with a file is one error that names it."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_folder

from firsthand.errors import DataError
from firsthand.policy import Policy, write_merged
from firsthand.processor import Encoder
from firsthand.reward.reward_model import RewardModel

DEEP = b"[" * 100_000
JSON_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "model", "qwen2_5_vl")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(path: Path, **settings: Any) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **settings}))


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model"}),
        ("preprocessor_config.json", {"AutoImageProcessor": "evil.Images"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", None]}),
        ("processor_config.json", {"AutoProcessor": "evil.Processor"}),
    ],
)
def test_code_of_a_folder_is_not_run_and_nobody_is_asked_whether_it_may(
    folder: Path, file: str, auto_map: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the class is named as one that transformers does not have, which makes it ask on the terminal."""
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    unknown = {"image_processor_type": "EvilImages", "tokenizer_class": "EvilTokenizer", "processor_class": "Evil"}
    beside = {"preprocessor_config.json": "image_processor_type", "tokenizer_config.json": "tokenizer_class"}
    change(folder / file, auto_map=auto_map, **({beside[file]: unknown[beside[file]]} if file in beside else {}))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 10))
    try:
        Encoder.load(folder)
        Policy.load(folder)
    except DataError as error:
        assert str(folder) in str(error)  # it may load, too, by the type that is built in
    assert not ran.exists() and sys.stdin.read() == "y\n" * 10


def test_code_of_a_reward_model_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    change(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"}, num_labels=1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 10))
    with pytest.raises(DataError, match="code of its own, which is never done here"):
        RewardModel(folder)
    assert not ran.exists()


def test_an_adapter_names_no_module_to_import(whole: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    change(
        adapter / "adapter_config.json",
        base_model_name_or_path=str(whole),
        peft_type="LORA",
        megatron_config={"a": 1},
        megatron_core="antigravity",
    )
    with pytest.raises(DataError, match="expected no megatron_config"):
        write_merged(adapter, tmp_path / "merged")


def test_pickles_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"expected weights in model\.safetensors, got no such file"):
        Policy.load(folder)


def test_an_index_names_no_files_elsewhere(folder: Path) -> None:
    change(folder / "model.safetensors.index.json", weight_map={"lm_head.weight": "../other/model.safetensors"})
    with pytest.raises(DataError, match="which is no file of this folder"):
        Policy.load(folder)


@pytest.mark.parametrize("file", [*JSON_FILES, "preprocessor_config.json", "model.safetensors"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda old: b"",
        lambda old: bytes(300),
        lambda old: old[: len(old) // 2],
        lambda old: b"[]",
        lambda old: b"null",
        lambda old: DEEP,
        lambda old: b"\xff\xfe{}",
    ],
    ids=["empty", "zeros", "half", "list", "null", "deep", "utf-16"],
)
def test_a_damaged_file_is_one_error_that_names_the_folder(
    folder: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    path = folder / file
    path.write_bytes(damage(path.read_bytes()) if path.exists() else damage(b"{}"))
    with pytest.raises(DataError, match=r"model.*expected"):
        Encoder.load(folder)
        Policy.load(folder)
