"""The pre-training of a model that sees, at a tiny size: it goes on bit for bit, learns, and ships what it says."""

import json
import random
from pathlib import Path
from typing import Any

import pretrain_vision
import pytest
import ship_vision
import torch
from pretraining import exact_replies, learn
from safetensors import safe_open
from tiny_sight import SIDE, tiny_sight, tiny_text
from vision_data import ASKED, EASY_VQA, Batches, EasyPicture, Rows, easy_pictures, held_out, loaded
from vision_model import strided

from firsthand.policy.sight import image_tokens
from firsthand.policy.stored import stored_tensors
from firsthand.processor.picture_tokens import grown_tokenizer

TINY = ["--width", "32", "--depth", "1", "--rank", "2", "--pictures", "2", "--probe", "1", "--held-out", "2"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text(tmp_path_factory.mktemp("text") / "text")


def rows_of(text: Path, model: Any) -> Rows:
    return Rows(grown_tokenizer(text), SIDE, image_tokens(model.config))


def train(out: Path, text: Path, *more: str) -> None:
    settings = ["--steps", "2", "2", "3", "--save-every", "2", "--threads", "1", *TINY, *more]
    pretrain_vision.main(["--out", str(out), "--text", str(text), *settings])


def losses(run: Path) -> list[tuple[int, str, float]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["stage"], line["loss"]) for line in lines]


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that nothing has stopped, and that draws its pictures in another process."""
    out = tmp_path_factory.mktemp("runs") / "straight"
    train(out, text, "--workers", "1")
    return out


@pytest.mark.slow
def test_a_run_that_is_killed_in_every_stage_ends_bit_for_bit_as_one_that_is_not(
    run: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def killed(*args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls in (2, 5, 8, 11):  # in each stage before its first checkpoint, and in the last one after that
            raise KeyboardInterrupt
        return learn(*args)

    monkeypatch.setattr(pretrain_vision, "learn", killed)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, text, "--workers", "0")
    train(tmp_path, text, "--workers", "0")
    assert calls == 2 + 3 + 3 + 3 + 1
    assert losses(tmp_path) == losses(run)
    assert [(step, stage) for step, stage, _ in losses(run)] == [
        *((i, "captions") for i in range(2)),
        *((i, "layers") for i in range(2, 4)),
        *((i, "questions") for i in range(4, 7)),
    ]
    for file in ("parts/parts.safetensors", "parts/parts.json", "held-out.json"):
        assert (tmp_path / file).read_bytes() == (run / file).read_bytes()


@pytest.mark.slow
def test_what_is_trained_changes_and_is_kept_in_bfloat16(run: Path, text: Path) -> None:
    torch.manual_seed(0)
    settings = pretrain_vision.tower_settings(32, 1, 144, 12)
    start = pretrain_vision.SightModel(text, settings, 2, 2).trained()
    with safe_open(run / "parts" / "parts.safetensors", framework="pt") as kept:
        names = {name.removeprefix("model.").replace(".lora_A.weight", ".lora_A") for name in kept.keys()}  # noqa: SIM118
        assert {name.replace(".lora_B.weight", ".lora_B") for name in names} == set(start)
        assert {kept.get_slice(name).get_dtype() for name in kept.keys()} == {"BF16"}  # noqa: SIM118
        for name in ("vision_model.encoder.layers.0.mlp.fc1.weight", "connector.modality_projection.proj.weight"):
            assert not torch.equal(kept.get_tensor(f"model.{name}"), start[name].to(torch.bfloat16))
        assert kept.get_tensor("model.text_model.layers.1.mlp.up_proj.lora_B.weight").abs().max() > 0
    names = json.loads((run / "held-out.json").read_text()).keys()
    assert {name.partition("/")[0] for name in names} == {"captions", "steps", "direct"}
    assert {name.split("/")[1] for name in names} == {"compare", EASY_VQA, *ASKED}


def test_every_parameter_that_is_trained_learns_and_the_text_model_does_not(text: Path) -> None:
    model = tiny_sight(text)
    [group] = Batches(rows_of(text, model), "any", 0, 1, questions=2)[0]
    before = {name: tensor.clone() for name, tensor in model.text_model.state_dict().items() if "lora" not in name}
    first = learn(model, [group], micro=1)
    still = [name for name, parameter in model.trained().items() if not parameter.grad.abs().max() > 0]
    assert still == []
    opts = pretrain_vision.optimizers(model, pretrain_vision.stages(1, 1, 1)[0])
    for group_of in (g for opt in opts for g in opt.param_groups):
        group_of["lr"] = 0.02
    for _ in range(40):
        for opt in opts:
            opt.step()
            opt.zero_grad()
        last = learn(model, [group], micro=1)
    assert last < 0.8 * first
    assert all(torch.equal(model.text_model.state_dict()[name], tensor) for name, tensor in before.items())


def test_the_gradient_does_not_depend_on_how_many_pictures_go_together(text: Path) -> None:
    model = tiny_sight(text)
    groups = Batches(rows_of(text, model), "any", 0, 3, questions=1)[0]
    grads = []
    for micro in (1, 3):
        learn(model, groups, micro)
        grads.append(torch.cat([parameter.grad.flatten() for parameter in model.trained().values()]))
        model.zero_grad()
    assert torch.cosine_similarity(*grads, dim=0) > 0.999  # products are in bfloat16


def test_a_reply_is_exact_if_every_token_is_the_likeliest(text: Path) -> None:
    model = tiny_sight(text)
    groups, names = held_out(rows_of(text, model), "validation", 1, questions=True)
    assert len(names) == sum(len(group.replies) for group in groups)

    class Says:
        """Stands for a model that always says token 2, or what it should in the replies of one row."""

        def __call__(self, groups: Any) -> Any:
            with torch.no_grad():
                logits, rows = model(groups)
            logits = torch.zeros_like(logits)
            right = rows.row_K == 1
            logits[range(len(logits)), torch.where(right, rows.target_K, 2)] = 1.0
            return logits, rows

    marks = exact_replies(Says(), groups[:3])
    first, second = len(groups[0].replies), len(groups[1].replies)
    assert marks[first : first + second] == [True] * second
    assert not any(marks[:first] + marks[first + second :])


def test_batches_depend_on_the_seed_the_stage_and_the_step_alone(text: Path) -> None:
    model = tiny_sight(text)
    rows = rows_of(text, model)
    batches = Batches(rows, "captions", 0, 2, questions=0)
    drawn = list(loaded(batches, 3, 5, workers=1))
    for step, groups in zip((3, 4), drawn, strict=True):
        assert [g.replies for g in groups] == [g.replies for g in batches[step]]
        assert all(
            torch.equal(ours.prompt.tensors["pixel_values"], theirs.prompt.tensors["pixel_values"])
            for ours, theirs in zip(groups, batches[step], strict=True)
        )
    others = (batches[4], Batches(rows, "captions", 1, 2, 0)[3], Batches(rows, "questions", 0, 2, 0)[3])
    assert all([g.replies for g in other] != [g.replies for g in drawn[0]] for other in others)


def test_no_picture_of_easy_vqa_is_in_two_parts_and_captions_are_what_its_questions_say() -> None:
    parts = {part: easy_pictures(part) for part in ("train", "validation", "test")}
    assert [len(pictures) for pictures in parts.values()] == [3800, 200, 1000]
    assert len({picture.path for pictures in parts.values() for picture in pictures}) == 5000
    told = [picture for picture in parts["train"] if picture.caption]
    assert len(told) > 2000
    shapes = [(a, picture.caption) for picture in told for q, a in picture.questions if q == "what shape is present?"]
    assert len(shapes) > 500
    assert all(str(caption).split()[1] == answer for answer, caption in shapes)


def test_a_picture_whose_questions_do_not_tell_its_colour_has_no_caption_to_learn(
    text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untold = EasyPicture(easy_pictures("train")[0].path, (("is there a circle?", "yes"),), None)
    monkeypatch.setattr("vision_data.easy_pictures", lambda part: [untold])
    batches = Batches(rows_of(text, tiny_sight(text)), "questions", 0, 1, questions=2)
    group = batches._easy(random.Random(0), 0)
    assert len(group.replies) == 1


@pytest.mark.parametrize(
    ("number", "stride", "layers"), [(30, 3, [*range(0, 30, 3), 29]), (30, 1, [*range(30)]), (2, 3, [0, 1])]
)
def test_every_so_manieth_layer_and_the_last_are_read_with(number: int, stride: int, layers: list[int]) -> None:
    assert strided(number, stride) == layers


def test_layers_come_in_between_captions_and_questions() -> None:
    captions, layers, questions = pretrain_vision.stages(5, 10, 5)
    assert [captions.share(step) for step in range(5)] == [0.0] * 5
    assert [layers.share(step) for step in range(10)] == pytest.approx([*(i / 7 for i in range(1, 8)), 1, 1, 1])
    assert [questions.share(step) for step in range(5)] == [1.0] * 5


def test_a_share_of_a_layer_lies_between_leaving_it_out_and_the_whole_of_it(text: Path) -> None:
    model = tiny_sight(text)
    groups = Batches(rows_of(text, model), "any", 0, 1, questions=0)[0]

    def logits(share: float) -> torch.Tensor:
        model.shares = [1.0, share]
        with torch.no_grad():
            return model(groups)[0]

    out, little, half, nearly, whole = map(logits, (0.0, 1e-4, 0.5, 0.9999, 1.0))
    torch.testing.assert_close(out, little, atol=2e-2, rtol=0)
    torch.testing.assert_close(nearly, whole, atol=2e-2, rtol=0)
    assert min((half - out).abs().max(), (half - whole).abs().max()) > 0.1


@pytest.mark.slow
def test_shipping_writes_a_card_of_what_was_measured(run: Path, text: Path, tmp_path: Path) -> None:
    ship_vision.main([str(run), "--text", str(text), "--out", str(tmp_path / "parts"), "--number", "2"])
    assert sorted(file.name for file in (tmp_path / "parts").iterdir()) == [
        "README.md",
        "measured.json",
        "parts.json",
        "parts.safetensors",
    ]
    measured = json.loads((tmp_path / "parts" / "measured.json").read_text())
    assert measured["captions"].keys() == ASKED.keys()
    assert measured["questions"].keys() == {"count", "compare", "digits", "chart", "geometry", "locate", EASY_VQA}
    card = (tmp_path / "parts" / "README.md").read_text()
    assert "2 steps on\n  captions through every 3rd layer, 2 while the others come in, and\n  3 on captions" in card
    assert f"{measured['prose']['the text model alone']:.2f}" in card
    weights = sum(tensor[...].numel() for tensor in stored_tensors(tmp_path / "parts", "parts.safetensors").values())
    assert f"{weights / 1e6:.1f} million" in card


def test_the_card_says_what_the_numbers_say() -> None:
    found = {
        "captions": {"count": {"easy": 0.95, "hard": 0.6}, "chart": {"easy": 0.9, "hard": 0.1}},
        "questions": {"digits": {"bare": 0.2, "in steps": 0.49}, "compare": {"bare": 0.5, "in steps": 0.3}},
        "questions, shifted": {"digits": {"bare": 0.0, "in steps": 0.0}},
    }
    well, often, not_so = ship_vision.abilities(found).splitlines()
    assert "describes the pictures of `count`, easy (95.0%)" in well
    assert "`chart`, easy (90.0%)" in well
    assert "`count`, hard (60.0%)" in often
    assert "answers the questions of `compare`, bare (50.0%)" in often
    assert "`chart`, hard (10.0%)" in not_so
    assert "answers the questions of `digits`, in steps (49.0%)" in not_so
    assert "answers the questions of `digits`, shifted, bare (0.0%)" in not_so
