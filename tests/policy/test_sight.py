"""A text model and parts that let it see become a plain folder: transformers, our policy and training read it alike."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_gguf import tiny_gguf, unchanged
from tiny_sight import SIDE, tiny_sight, tiny_text
from transformers import AutoModelForImageTextToText, AutoProcessor
from vision_data import Rows

from firsthand.cli.main import main
from firsthand.errors import DataError
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.gguf import located, write_model
from firsthand.policy.sight import SHIPPED, TrainedParts, image_tokens, put_together
from firsthand.policy.stored import stored_tensors
from firsthand.processor import Encoder
from firsthand.processor.picture_tokens import grown_tokenizer
from firsthand.rollout import LocalSampler, Sampling
from firsthand.worlds import generate

REPLY = "<think>a1 red circle yes 1</think><answer>1</answer>"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text(tmp_path_factory.mktemp("text") / "text")


@pytest.fixture(scope="module")
def parts(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    tiny_sight(text).save_parts(folder)
    (folder / "README.md").write_text("its card")
    return folder


@pytest.fixture(scope="module")
def folder(text: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sight"
    parameters = put_together(text, parts, folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    assert parameters == sum(p.numel() for p in model.parameters())
    return folder


def test_weights_are_the_text_models_with_products_added_and_rows_behind(text: Path, parts: Path, folder: Path) -> None:
    ours, theirs, trained = stored_tensors(folder), stored_tensors(text), stored_tensors(parts, "parts.safetensors")
    layer = "layers.1.mlp.down_proj"
    known = theirs[f"model.{layer}.weight"][...]
    down, up = (trained[f"model.text_model.{layer}.lora_{part}.weight"][...].float() for part in "AB")
    assert torch.equal(ours[f"model.text_model.{layer}.weight"][...], known + up @ down)
    assert (up @ down).abs().max() > 0.05
    rows = ours["model.text_model.embed_tokens.weight"][...]
    assert torch.equal(rows[:-8], theirs["model.embed_tokens.weight"][...])
    assert torch.equal(rows[-8:], trained["new_embeddings"][...].float())
    norm = "model.text_model.norm.weight"
    assert torch.equal(ours[norm][...], theirs["model.norm.weight"][...])
    assert (folder / "README.md").read_text() == "its card"
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_plain_transformers_reads_the_prompt_and_gives_the_policys_log_probs(folder: Path) -> None:
    [example] = generate("count", "test", 1)
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    parts = [{"type": "image"}, {"type": "text", "text": example.question}]
    asked = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    read = processor(text=[asked], images=[[example.images[0].open()]], return_tensors="pt")
    encoder, policy = Encoder.load(folder), Policy.load(folder)
    prompt = encoder.prompt(example)
    assert tuple(read["input_ids"][0].tolist()) == prompt.token_ids
    assert asked.startswith("<|im_start|>user\n<image>")
    replies = (encoder.reply(REPLY), encoder.reply("<answer>2</answer>"))
    got = policy.logprobs([PrefixGroup(prompt, replies)])
    assert policy.sharing.allows(100)
    for i, reply in enumerate(replies):
        ids = torch.tensor([[*prompt.token_ids, *reply]])
        logits = model(input_ids=ids, pixel_values=read["pixel_values"]).logits[0, len(prompt.token_ids) - 1 : -1]
        logits[:, model.config.image_token_id] = -torch.inf
        wanted = logits.log_softmax(-1).gather(1, torch.tensor(reply)[:, None])[:, 0]
        assert torch.allclose(got.logp_BT[i, : len(reply)], wanted, atol=1e-5)


def test_what_was_trained_on_is_what_the_encoder_shows_and_the_policy_computes(text: Path, folder: Path) -> None:
    [example] = generate("count", "test", 1)
    model = tiny_sight(text)
    rows = Rows(grown_tokenizer(text), SIDE, image_tokens(model.config))
    group = rows.group(example.images[0].open(), [(example.question, REPLY), ("Describe the image.", "x")], "0")
    encoder, policy = Encoder.load(folder), Policy.load(folder)
    prompt, reply = encoder.prompt(example), encoder.reply(REPLY)
    assert (*group.prompt.token_ids, *group.replies[0]) == (*prompt.token_ids, *reply)
    assert sum(group.trained[0]) == len(reply)
    assert torch.equal(group.prompt.tensors["pixel_values"], prompt.tensors["pixel_values"])
    with torch.no_grad():
        logits, packed = model([group])
        logp = packed.unpack(logits.log_softmax(-1).gather(1, packed.target_K[:, None])[:, 0])[0]
        wanted = policy.logprobs([PrefixGroup(prompt, (reply,))]).logp_BT[0]
        blank = replace(prompt, tensors={"pixel_values": torch.ones_like(prompt.tensors["pixel_values"])}, pictures=())
        unseen = policy.logprobs([PrefixGroup(blank, (reply,))]).logp_BT[0]
    got = logp[logp != 0][: len(reply)]
    # Products in bfloat16 are all that parts the two: what the picture tells is far more.
    assert (got - wanted).abs().max() < 0.2 * (unseen - wanted).abs().max()


def test_pictures_of_any_form_take_the_same_number_of_tokens_and_change_what_is_said(folder: Path) -> None:
    encoder, policy = Encoder.load(folder), Policy.load(folder)
    prompts = [encoder.prompt(generate(world, "test", 1)[0]) for world in ("count", "digits", "chart")]
    image = encoder.banned_ids[0]
    assert {prompt.token_ids.count(image) for prompt in prompts} == {9}
    sampler = LocalSampler(policy, encoder)
    drawn = list(sampler.sample(prompts, 1, Sampling(max_new_tokens=6, temperature=0)))
    assert len({answer.reply.token_ids for answer in drawn}) > 1
    assert not any(image in answer.reply.token_ids for answer in drawn)


def broken(parts: Path, tmp_path: Path, settings: str | None) -> Path:
    shutil.copytree(parts, tmp_path / "broken")
    file = tmp_path / "broken" / "parts.json"
    if settings is None:
        file.unlink()
    else:
        file.write_text(settings)
    return tmp_path / "broken"


@pytest.mark.parametrize(
    "settings", [None, "{", "[]", '{"vision_config": {}}', '{"vision_config": 1, "scale_factor": 2}']
)
def test_parts_without_whole_settings_are_refused(
    text: Path, parts: Path, tmp_path: Path, settings: str | None
) -> None:
    with pytest.raises(
        DataError, match=r"parts.json: expected the vision_config and the scale_factor of trained parts"
    ):
        put_together(text, broken(parts, tmp_path, settings), tmp_path / "out")


def test_parts_of_another_size_are_refused_with_the_names(text: Path, parts: Path, tmp_path: Path) -> None:
    settings = json.loads((parts / "parts.json").read_text())
    settings["vision_config"] |= {"num_hidden_layers": 3, "patch_size": 8}
    with pytest.raises(DataError) as error:
        put_together(text, broken(parts, tmp_path, json.dumps(settings)), tmp_path / "out")
    assert "16 missing (model.vision_model.encoder.layers.2" in str(error.value)
    assert "2 of another shape (model.vision_model.embeddings.patch_embedding.weight" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_text_model_that_fits_not_is_refused(parts: Path, tmp_path: Path) -> None:
    untied = tiny_text(tmp_path / "untied", tied=False)
    with pytest.raises(DataError, match=r"untied: expected a text model with tied embeddings"):
        put_together(untied, parts, tmp_path / "out")


def test_new_tokens_that_would_not_stand_behind_the_embeddings_are_refused(parts: Path, tmp_path: Path) -> None:
    tiny_gguf(tmp_path / "gaps.gguf", change=unchanged)
    with located(str(tmp_path / "gaps.gguf")) as source:
        write_model(source, tmp_path / "gaps")
    with pytest.raises(DataError, match=r"gaps: expected a tokenizer whose next tokens are 271 to 278"):
        put_together(tmp_path / "gaps", parts, tmp_path / "out")


def test_a_full_folder_is_left_alone(text: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(DataError, match="or an empty one, got a full one"):
        put_together(text, parts, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


def test_what_ships_is_put_together_with_a_text_model_that_is_here(
    text: Path, parts: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHIPPED, "tiny", TrainedParts("nobody's", parts))
    assert main(["model", "tiny", "--text", str(text), "--out", str(tmp_path / "out")]) == 0
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()} == {
        f.name: f.read_bytes() for f in folder.iterdir()
    }


def test_what_ships_fetches_its_text_model(
    text: Path, parts: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHIPPED, "tiny", TrainedParts(str(text.with_suffix(".gguf")), parts))
    assert main(["model", "tiny", "--out", str(tmp_path / "out")]) == 0
    weights = "model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (folder / weights).read_bytes()


def test_a_text_model_beside_one_that_has_none_inside_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "smollm2", "--text", str(text), "--out", str(tmp_path / "out")]) == 2
    assert "--text: only smolvlm-worlds has a text model inside; leave it out" in capsys.readouterr().err
