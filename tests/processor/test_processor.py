"""Examples become prompts: placeholders that match the pictures' features, nothing cut, every misfit named."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, picture

from firsthand.errors import DataError
from firsthand.policy import Policy
from firsthand.processor import Encoder, PixelCache, pixels
from firsthand.records import Digit, Example, Picture, png


@pytest.fixture(scope="module")
def encoder(folders: dict[str, Path]) -> Encoder:
    return Encoder.load(folders["qwen2_5_vl"])


def example(*pictures: Picture, question: str = "How many?", **fields: Any) -> Example:
    return Example(question=question, images=pictures, answer=Digit(value="7"), **fields)


def shown(encoder: Encoder, token_ids: tuple[int, ...]) -> str:
    return encoder.text(token_ids).replace("<|image_pad|>", "#")


def test_a_prompt_is_the_chat_template_with_one_placeholder_per_image_feature(encoder: Encoder) -> None:
    # 56 x 84 pixels are 4 x 6 patches of 14 pixels, merged 2 by 2: 6 features.
    prompt = encoder.prompt(example(picture(56, 84)), system="Be brief.")
    assert shown(encoder, prompt.token_ids) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|>######<|vision_end|>How many?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.grids is not None and prompt.grids.tolist() == [[1, 6, 4]]
    assert prompt.pixels is not None and prompt.pixels.shape == (24, 3 * 2 * 14 * 14)
    assert prompt.pixels.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_placeholders_are_as_many_as_the_features_of_the_real_tower(folders: dict[str, Path], family: str) -> None:
    prompt = Encoder.load(folders[family]).prompt(
        example(picture(64, 64, 1), picture(150, 40, 2), picture(300, 300, 3))
    )
    policy = Policy.load(folders[family])
    features = policy.tower.encode([prompt])
    assert features is not None
    sizes = [len(feature) for feature in features["image"].pooler_output]
    ids = torch.tensor(prompt.token_ids)
    is_image = (ids == policy.model.config.image_token_id).int()
    edges = torch.diff(is_image, prepend=torch.zeros(1), append=torch.zeros(1))
    runs = (edges == -1).nonzero()[:, 0] - (edges == 1).nonzero()[:, 0]
    assert runs.tolist() == sizes


def test_pictures_stay_within_the_folders_pixel_bounds(folders: dict[str, Path]) -> None:
    # The tiny folder allows between one feature, 28 x 28 pixels, and 16 of them.
    encoder = Encoder.load(folders["qwen2_5_vl"])
    large, small = encoder.prompt(example(picture(600, 600))).grids, encoder.prompt(example(picture(8, 8))).grids
    assert large is not None and 4 < large.prod().item() / 4 <= 16
    assert small is not None and small.prod().item() / 4 == 1


def test_a_question_without_picture_is_text_only(encoder: Encoder) -> None:
    prompt = encoder.prompt(example(question="What is 3 + 4?"))
    assert prompt.pixels is None and prompt.grids is None and prompt.pictures == ()
    assert shown(encoder, prompt.token_ids) == ("<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n")


def test_an_examples_own_system_prompt_wins_over_the_recipes(encoder: Encoder) -> None:
    assert "Mine." in shown(encoder, encoder.prompt(example(system="Mine."), system="Yours.").token_ids)
    assert "Yours." in shown(encoder, encoder.prompt(example(), system="Yours.").token_ids)


def test_a_picture_is_processed_once_however_often_it_is_shown(folders: dict[str, Path]) -> None:
    encoder = Encoder.load(folders["qwen2_5_vl"])
    shared, other = picture(seed=1), picture(seed=2)
    calls: list[int] = []
    process = encoder._reader.pixels._process

    def counted(image: Picture, where: str) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        return process(image, where)

    encoder._reader.pixels._process = counted  # type: ignore[method-assign]
    first = encoder.prompt(example(shared, other))
    second = encoder.prompt(example(shared, question="And now?"))
    assert len(calls) == 2
    assert first.pixels is not None and second.pixels is not None
    torch.testing.assert_close(second.pixels, first.pixels[: len(second.pixels)], atol=0, rtol=0)
    assert first.pictures == (shared.sha256, other.sha256)


def test_the_pixel_cache_forgets_the_least_recently_used(folders: dict[str, Path], monkeypatch: Any) -> None:
    encoder = Encoder.load(folders["qwen2_5_vl"])
    cache: PixelCache = encoder._reader.pixels
    one = 24 * 3 * 2 * 14 * 14 * 4
    monkeypatch.setattr(pixels, "PIXEL_CACHE_BYTES", 2 * one)
    first, second, third = (picture(seed=i) for i in range(3))
    for shown_now in (first, second, first, third):
        cache.of(shown_now, "here")
    assert list(cache._kept) == [first.sha256, third.sha256]
    assert cache._bytes == 2 * one


def test_pictures_are_processed_ahead_of_time_and_once_in_another_thread(folders: dict[str, Path]) -> None:
    encoder, plain = (Encoder.load(folders["qwen2_5_vl"]) for _ in range(2))
    threads: list[str] = []
    process = encoder._reader.pixels._process

    def noted(image: Picture, where: str) -> tuple[torch.Tensor, torch.Tensor]:
        threads.append(threading.current_thread().name)
        return process(image, where)

    encoder._reader.pixels._process = noted  # type: ignore[method-assign]
    asked = [example(picture(seed=1), picture(seed=2)), example(picture(seed=2), question="And now?")]
    encoder.prefetch(asked)
    encoder.prefetch(asked)
    for one in asked:
        torch.testing.assert_close(encoder.prompt(one).pixels, plain.prompt(one).pixels, atol=0, rtol=0)
    assert len(threads) == 2
    assert all(name.startswith("pixels") for name in threads)
    assert not encoder._reader.pixels._coming, "what was asked for is kept as every other picture"


def test_a_picture_that_was_processed_ahead_of_time_tells_its_fault_when_it_is_asked_for(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder, path = Encoder.load(folders["qwen2_5_vl"]), tmp_path / "gone.png"
    asked = example(Picture(sha256="0" * 64, width=56, height=56, path=str(path)))
    encoder.prefetch([asked])
    with pytest.raises(DataError, match=rf"example {asked.id}, image 0 .*gone\.png"):
        encoder.prompt(asked)
    picture(56, 56).open().save(path)
    assert encoder.prompt(asked).pixels is not None


def test_replies_end_the_turn_and_survive_the_round_trip(encoder: Encoder) -> None:
    text = "<think>\n3 + 4 = 7, déjà vu\n</think>\n<answer>7</answer>"
    token_ids = encoder.reply(text)
    assert token_ids[-1] == encoder.stop_ids[0]
    assert encoder.text(token_ids) == text
    assert encoder.text((*token_ids, encoder.pad_id, encoder.pad_id)) == text
    assert encoder.text(token_ids[:-1]) == text


@pytest.mark.parametrize("smuggled", ["<|image_pad|>", "<|im_end|>", "<|video_pad|>", "<|endoftext|>"])
def test_special_tokens_in_plain_text_are_refused(encoder: Encoder, smuggled: str) -> None:
    with pytest.raises(DataError, match=r"example \w+.*expected plain text.*remove"):
        encoder.prompt(example(question=f"Is this {smuggled}?"))
    with pytest.raises(DataError, match="system prompt"):
        encoder.prompt(example(), system=smuggled)
    with pytest.raises(DataError, match="reply"):
        encoder.reply(f"{smuggled} 7")


def test_a_template_that_drops_an_image_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders, tmp_path)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}How many?{% endfor %}")
    asked = example(picture(), picture(seed=1))
    with pytest.raises(DataError, match=rf"example {asked.id}: expected one .* 2 images, got 0; .*chat template"):
        Encoder.load(folder).prompt(asked)


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(folders: dict[str, Path]) -> None:
    asked = example(picture(), question="Why? " * 20)
    length = len(Encoder.load(folders["qwen2_5_vl"]).prompt(asked).token_ids)
    assert len(Encoder.load(folders["qwen2_5_vl"], max_prompt_tokens=length).prompt(asked).token_ids) == length
    with pytest.raises(
        DataError, match=rf"example {asked.id}: .* at most {length - 1} tokens, got {length} \(6 .*1 image"
    ):
        Encoder.load(folders["qwen2_5_vl"], max_prompt_tokens=length - 1).prompt(asked)


def test_a_picture_that_cannot_be_processed_is_named(encoder: Encoder, tmp_path: Path) -> None:
    broken = Picture(sha256="0" * 64, width=5, height=5, data=b"not an image")
    gone = Picture(sha256="1" * 64, width=5, height=5, path=str(tmp_path / "gone.png"))
    thin = picture(1, 300)
    for bad, reason in ((broken, "5x5, given as bytes"), (gone, "gone.png"), (thin, "aspect ratio")):
        asked = example(picture(), bad)
        with pytest.raises(DataError, match=rf"example {asked.id}, image 1 .*{reason}"):
            encoder.prompt(asked)


def test_the_template_of_older_folders_is_found(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders, tmp_path)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match="expected a chat template"):
        Encoder.load(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    expected = Encoder.load(folders["qwen2_5_vl"]).prompt(example(picture()))
    assert Encoder.load(folder).prompt(example(picture())).token_ids == expected.token_ids


def test_folders_that_cannot_work_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config\.json there; download"):
        Encoder.load(tmp_path / "nowhere")
    foreign = copied(folders, tmp_path)
    with pytest.raises(DataError, match=rf"did you mean {foreign}\?"):
        Encoder.load(tmp_path / "copi")
    (foreign / "config.json").write_text('{"model_type": "bert_of_mine"}')
    with pytest.raises(DataError, match=r"expected a model of type qwen2_vl, .*gemma3, or another .* got bert_of_mine"):
        Encoder.load(foreign)


def test_an_image_processor_of_another_model_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders, tmp_path)
    shutil.copy(folders["qwen3_vl"] / "preprocessor_config.json", folder)
    with pytest.raises(DataError, match=r"expected an image processor that fits .*14.*got .*16"):
        Encoder.load(folder)


def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["qwen2_5_vl"], tmp_path / "copy"))


def test_what_is_transparent_is_read_as_white():
    from PIL import Image

    data = png(Image.new("RGBA", (28, 28), (0, 0, 0, 0)))
    assert Picture(sha256="0", width=28, height=28, data=data).open().getpixel((3, 3)) == (255, 255, 255)
