"""Families beside Qwen-VL: exact against transformers' own forward, sharing a row only where that stays exact."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from equivalence import assert_equivalent, leaky_mask, plain_inputs, ragged_groups
from tiny import picture
from tiny_families import PICTURES, TEXT, UNSHARED, family_folder, shown
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText

from firsthand.errors import DataError
from firsthand.policy import Policy, PrefixGroup, attention, packing
from firsthand.policy.loading import _check_unknown
from firsthand.policy.sharing import Sharing, _say_once, sharing
from firsthand.processor import FAMILIES, Encoder
from firsthand.records import Digit, Example
from firsthand.rollout import LocalSampler, Sampling, grouped

# Qwen3.5 warns that its linear attention runs without CUDA kernels, which is the point of a CPU test.
pytestmark = pytest.mark.filterwarnings("ignore:.*falling back:UserWarning")
EVERY = (*TEXT, *PICTURES)
SHARED = tuple(family for family in EVERY if family not in UNSHARED)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model folder per family, written when it is first asked for."""
    root = tmp_path_factory.mktemp("models")

    class Folders(dict[str, Path]):
        def __missing__(self, family: str) -> Path:
            self[family] = family_folder(root / family, family)
            return self[family]

    return Folders()


def is_text(family: str) -> bool:
    return family in (*TEXT, "mistral")


def examples(family: str) -> list[Example]:
    """Two pictures, one and none; the same questions without pictures for text models."""
    return [
        Example(question=question, images=() if is_text(family) else pictures, answer=Digit(value="1"))
        for pictures, question in shown()
    ]


def groups_of(folder: Path, family: str) -> list[PrefixGroup]:
    return ragged_groups(Encoder.load(folder), examples(family))


def plain(folder: Path, family: str) -> Any:
    """transformers' model of the folder, as it comes."""
    auto = AutoModelForCausalLM if is_text(family) else AutoModelForImageTextToText
    return auto.from_pretrained(folder, dtype=torch.float32).train()


@pytest.mark.parametrize("trainable", ["all", "language"])
@pytest.mark.parametrize("family", EVERY)
def test_log_probs_and_gradients_are_those_of_plain_rows(folders: dict[str, Path], family: str, trainable: Any) -> None:
    policy = Policy.load(folders[family], trainable=trainable)
    groups = groups_of(folders[family], family)
    assert policy.sharing.allows(max(group.tokens for group in groups)) == (family in SHARED)
    assert_equivalent(policy, groups, temperature=0.8, plain=plain(folders[family], family))


@pytest.mark.parametrize("worthwhile", [0.0, torch.inf])
@pytest.mark.parametrize("family", ["llama", "smolvlm", "internvl"])
def test_both_ways_to_compute_a_shared_row_are_exact(
    folders: dict[str, Path], family: str, worthwhile: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "WORTHWHILE", worthwhile)
    policy = Policy.load(folders[family], gradient_checkpointing=True)
    assert_equivalent(policy, groups_of(folders[family], family), plain=plain(folders[family], family))


@pytest.mark.parametrize("family", UNSHARED)
def test_sharing_where_it_is_not_allowed_fails_the_check(folders: dict[str, Path], family: str) -> None:
    policy = Policy.load(folders[family])
    policy.sharing = Sharing(None)
    with pytest.raises((AssertionError, IndexError, RuntimeError, ValueError)):
        assert_equivalent(policy, groups_of(folders[family], family), plain=plain(folders[family], family))


@pytest.mark.parametrize("family", ["llama", "smolvlm"])
def test_positions_that_run_on_across_replies_fail_the_check(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_on(prompt_3P: Tensor, lengths: Sequence[int]) -> Tensor:
        return torch.arange(prompt_3P.shape[1] + sum(lengths)).expand(3, -1)

    monkeypatch.setattr(packing, "row_positions", run_on)
    with pytest.raises(AssertionError):
        assert_equivalent(Policy.load(folders[family]), groups_of(folders[family], family))


@pytest.mark.parametrize("family", ["llama", "smolvlm"])
def test_replies_that_see_each_other_fail_the_check(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "block_mask", leaky_mask)
    monkeypatch.setattr(attention, "WORTHWHILE", torch.inf)
    with pytest.raises(AssertionError):
        assert_equivalent(Policy.load(folders[family]), groups_of(folders[family], family))


@pytest.mark.parametrize("family", ["llama", "smolvlm"])
def test_a_prefix_without_gradient_fails_the_check(folders: dict[str, Path], family: str) -> None:
    groups = groups_of(folders[family], family)
    policy = Policy.load(folders[family])
    lengths = torch.tensor([len(group.prompt.token_ids) for group in groups])

    def detach_prompts(module: Any, args: Any, output: Tensor) -> Tensor:
        is_prompt = torch.arange(output.shape[1]) < lengths[:, None]
        return torch.where(is_prompt[..., None], output.detach(), output)

    for layer in policy.language.layers:
        layer.self_attn.k_proj.register_forward_hook(detach_prompts)
        layer.self_attn.v_proj.register_forward_hook(detach_prompts)
    with pytest.raises(AssertionError, match="cosine"):
        assert_equivalent(policy, groups, plain=plain(folders[family], family))


def test_only_tokens_that_are_trained_are_scored_in_rows_of_their_own_too(folders: dict[str, Path]) -> None:
    policy = Policy.load(folders["gemma3"])
    whole = groups_of(folders["gemma3"], "gemma3")[1]
    part = replace(whole, trained=((False, True, True, False), (True,) * 6 + (False,)))
    scored, expected = policy.logprobs([part]), policy.logprobs([whole])
    assert scored.mask_BT.int().tolist() == [[0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]]
    torch.testing.assert_close(scored.logp_BT, expected.logp_BT * scored.mask_BT)


def often_ends(policy: Policy, stop_id: int) -> None:
    """Make the end of turn likely, so that replies end at different times."""

    def raised(module: Any, args: Any, logits: Tensor) -> Tensor:
        others = logits.clone()
        others[..., stop_id] = -torch.inf
        return others.index_copy(-1, torch.tensor([stop_id]), others.logsumexp(-1, keepdim=True) - 2.0)

    policy.model.get_output_embeddings().register_forward_hook(raised)


@pytest.mark.parametrize("family", EVERY)
def test_log_probs_of_sampling_are_those_of_training(folders: dict[str, Path], family: str) -> None:
    policy, encoder = Policy.load(folders[family], gradient_checkpointing=True), Encoder.load(folders[family])
    often_ends(policy, encoder.stop_ids[0])
    prompts = [encoder.prompt(example) for example in examples(family)]
    sampled = grouped(
        LocalSampler(policy, encoder).sample(prompts, 6, Sampling(max_new_tokens=16, temperature=0.8), seed=3),
        len(prompts),
    )
    replies = [reply for group in sampled for reply in group]
    assert len({len(reply.token_ids) for reply in replies}) > 4, "no row left the decoder early"
    packed = [PrefixGroup(p, tuple(r.token_ids for r in g)) for p, g in zip(prompts, sampled, strict=True)]
    scored = policy.logprobs(packed, temperature=0.8)
    stored = torch.zeros_like(scored.logp_BT)
    for b, reply in enumerate(replies):
        stored[b, : len(reply.logprobs)] = torch.tensor(reply.logprobs)
    torch.testing.assert_close(stored, scored.logp_BT.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", EVERY)
def test_greedy_replies_are_those_of_generate(folders: dict[str, Path], family: str) -> None:
    policy, encoder = Policy.load(folders[family]), Encoder.load(folders[family])
    prompts = [encoder.prompt(example) for example in examples(family)]
    found = grouped(
        LocalSampler(policy, encoder).sample(prompts, 2, Sampling(max_new_tokens=16, temperature=0)), len(prompts)
    )
    model = plain(folders[family], family).eval()
    for prompt, group in zip(prompts, found, strict=True):
        row = torch.tensor([prompt.token_ids])
        out = model.generate(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            **plain_inputs(model, prompt, row),
            max_new_tokens=16,
            do_sample=False,
            suppress_tokens=list(policy.banned_ids) or None,
            eos_token_id=list(encoder.stop_ids),
            pad_token_id=encoder.pad_id,
        )
        expected = tuple(out[0, row.shape[1] :].tolist())
        assert [reply.token_ids for reply in group] == [expected] * 2


@pytest.mark.parametrize(("window", "is_shared"), [(24, False), (4096, True)])
def test_a_row_is_shared_only_within_the_window_of_its_layers(tmp_path: Path, window: int, is_shared: bool) -> None:
    sliding = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 1}
    folder = family_folder(tmp_path / "qwen3", "qwen3", **sliding)
    policy = Policy.load(folder)
    assert policy.sharing == Sharing(None, window)
    groups = groups_of(folder, "qwen3")
    assert policy.sharing.allows(max(group.tokens for group in groups)) == is_shared
    assert_equivalent(policy, groups, plain=plain(folder, "qwen3"))


@pytest.mark.parametrize(
    ("kind", "settings", "obstacle"),
    [
        ("qwen3_next", {}, "linear_attention, whose state"),
        ("llama4_text", {"layer_types": ["chunked_attention", "full_attention"] * 24}, "chunked_attention"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "attend to later ones"),
        ("qwen3_moe", {"output_router_logits": True}, "router loss"),
        ("gpt2", {}, "not rotary"),
        ("mistral", {}, "mistral have not been tested"),
        ("gemma3", {}, "both directions"),
        ("llama", {}, None),
        ("qwen2_5_vl", {}, None),
    ],
)
def test_what_keeps_replies_from_sharing_is_read_from_the_config(
    kind: str, settings: dict[str, Any], obstacle: str | None
) -> None:
    found = sharing(AutoConfig.for_model(kind, **settings)).obstacle
    assert (found is None) == (obstacle is None)
    assert obstacle is None or obstacle in str(found)


def test_a_model_that_does_not_share_says_so_once(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    _say_once.cache_clear()
    for _ in range(2):
        policy = Policy.load(folders["qwen3_5"])
        policy.logprobs(groups_of(folders["qwen3_5"], "qwen3_5"))
    said = [record.getMessage() for record in caplog.records if record.name == "firsthand.policy.sharing"]
    assert len(said) == 1
    assert "linear_attention, whose state runs through a whole row. Each gets a row of its own" in said[0]


@pytest.mark.parametrize("family", PICTURES)
def test_a_frozen_tower_is_everything_that_is_not_language(folders: dict[str, Path], family: str) -> None:
    policy = Policy.load(folders[family], trainable="language")
    names = {n for n, p in policy.model.named_parameters() if p.requires_grad}
    assert names
    assert all(n.startswith(("model.language_model.", "model.text_model.", "lm_head.")) for n in names)
    frozen = {n.split(".")[1] for n, p in policy.model.named_parameters() if not p.requires_grad}
    assert frozen & {"vision_tower", "vision_model", "visual"}
    calls: list[int] = []
    policy.model.get_encoder(modality="image").register_forward_hook(lambda *_: calls.append(1))
    groups = groups_of(folders[family], family)
    policy.logprobs(groups)
    made = len(calls)
    policy.logprobs(groups)
    assert made == len(calls) > 0, "features of a frozen tower are kept"


@pytest.mark.parametrize("family", ["llama", "gemma3", "smolvlm"])
def test_a_saved_policy_is_a_complete_folder(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    policy = Policy.load(folders[family])
    policy.save(tmp_path / "saved")
    before, after = groups_of(folders[family], family), groups_of(tmp_path / "saved", family)
    assert [g.prompt.token_ids for g in after] == [g.prompt.token_ids for g in before]
    again = Policy.load(tmp_path / "saved")
    torch.testing.assert_close(again.logprobs(after).logp_BT, policy.logprobs(before).logp_BT, atol=0, rtol=0)
    assert Encoder.load(tmp_path / "saved").stop_ids == Encoder.load(folders[family]).stop_ids


def test_a_text_model_refuses_pictures(folders: dict[str, Path]) -> None:
    asked = Example(question="How many?", images=(picture(),), answer=Digit(value="1"))
    told = rf"example {asked.id}: column `image`: expected no images, .* reads text only, got a picture; use"
    with pytest.raises(DataError, match=told):
        Encoder.load(folders["llama"]).prompt(asked)


def test_what_ends_a_reply_is_found_in_the_folder(folders: dict[str, Path]) -> None:
    ends = {"llama": "<|eot_id|>", "qwen2": "<|im_end|>", "smolvlm": "<end_of_utterance>", "gemma3": "<end_of_turn>"}
    for family, token in ends.items():
        encoder = Encoder.load(folders[family])
        vocabulary = encoder._conversation.tokenizer.get_vocab()
        assert encoder.stop_ids[0] == vocabulary[token], "what the template writes after a reply"
        assert encoder.reply("7")[-1] == vocabulary[token]
    llama = Encoder.load(folders["llama"])
    vocabulary = llama._conversation.tokenizer.get_vocab()
    assert set(llama.stop_ids) == {vocabulary[f"<|{end}|>"] for end in ("eot_id", "end_of_text", "eom_id")}


@pytest.mark.parametrize(
    ("family", "smuggled"),
    [("llama", "<|eot_id|>"), ("gemma3", "<end_of_turn>"), ("smolvlm", "<image>"), ("internvl", "<IMG_CONTEXT>")],
)
def test_each_tokenizers_own_special_tokens_are_refused(folders: dict[str, Path], family: str, smuggled: str) -> None:
    encoder = Encoder.load(folders[family])
    with pytest.raises(DataError, match="expected plain text, got the special tokens"):
        encoder.prompt(Example(question=f"Is this {smuggled}?", images=(), answer=Digit(value="1")))
    foreign = "<|im_end|>" if family in ("llama", "gemma3") else "<|eot_id|>"
    assert encoder.prompt(Example(question=f"Is this {foreign}?", images=(), answer=Digit(value="1"))).token_ids


def test_marks_place_pictures_even_where_the_mark_is_a_special_token(folders: dict[str, Path]) -> None:
    encoder = Encoder.load(folders["smolvlm"])
    first, second = picture(64, 64, 1), picture(64, 64, 2)
    asked = Example(question="Left <image> or right <image>?", images=(first, second), answer=Digit(value="1"))
    text = encoder.text(encoder.prompt(asked).token_ids)
    assert text.index("Left ") < text.index("<row_1_col_1>") < text.index(" or right ") < text.rindex("<row_1_col_1>")


@pytest.mark.parametrize("grid", [(0, 0), (1, 2), (2, 2)])
def test_idefics_processor_writes_smolvlms_tokens(folders: dict[str, Path], grid: tuple[int, int]) -> None:
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    processor = Encoder.load(folders["smolvlm"])._reader._processor  # type: ignore[attr-defined]
    found = processor.replace_image_token({"rows": [[grid[0]]], "cols": [[grid[1]]]}, 0)
    assert found == get_image_prompt_string(*grid, 4, "<fake_token_around_image>", "<image>", "<global-img>")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ messages[-1]['content'] }}", "expected .* chat template to show the system prompt"),
        ("{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system.') }}{% endif %}", "No system"),
        (None, r"expected a chat template \(chat_template.jinja\), got none; use an instruct model, or put"),
    ],
)
def test_a_template_that_cannot_serve_is_named(
    folders: dict[str, Path], tmp_path: Path, template: str | None, complaint: str
) -> None:
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "copy"))
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(DataError, match=complaint):
        Encoder.load(folder).prompt(examples("llama")[0], system="Be brief.")


@pytest.mark.parametrize("kind", ["mistral", "llava"])
def test_an_unknown_model_works_with_a_row_for_each_reply(tmp_path: Path, kind: str) -> None:
    folder = family_folder(tmp_path / kind, kind)
    policy = Policy.load(folder)
    assert not policy.sharing.allows(1)
    assert_equivalent(policy, groups_of(folder, kind), plain=plain(folder, kind))


def test_an_image_processor_that_wants_torchvision_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["internvl"], tmp_path / "copy"))
    (folder / "config.json").write_text('{"model_type": "cohere2_vision"}')
    processor = {"image_processor_type": "Cohere2VisionImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(DataError, match=r"works on Pillow, got none for a model of type cohere2_vision; .*torchvision"):
        Encoder.load(folder)


def test_an_unknown_model_that_changes_its_logits_is_refused(tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "cohere", "cohere", logit_scale=0.5)
    with pytest.raises(DataError, match=r"straight from the output layer, got a model of type cohere .*tested type"):
        Policy.load(folder)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("paligemma", "got paligemma, which wants token_type_ids; use"),
        ("florence2", "got florence2, which has an encoder"),
    ],
)
def test_an_unknown_vision_model_that_needs_more_than_we_pass_is_refused(kind: str, complaint: str) -> None:
    config = AutoConfig.for_model(kind)
    with torch.device("meta"):
        model = SimpleNamespace(config=config, base_model=AutoModel.from_config(config))
    with pytest.raises(DataError, match=complaint):
        _check_unknown("folder", model, reads_pictures=True)


def test_a_template_without_a_place_for_pictures_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["internvl"], tmp_path / "copy"))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'][-1]['text'] }}")
    asked = Example(question="How many?", images=(picture(),), answer=Digit(value="1"))
    with pytest.raises(DataError, match=rf"example {asked.id}: expected one image placeholder for each of 1 images"):
        Encoder.load(folder).prompt(asked)


def test_every_family_is_in_the_docs() -> None:
    table = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for family in FAMILIES:
        assert f"`{family}`" in table
