"""A policy loads, saves and scores replies; the packed row is laid out as its docstring says."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import equivalence
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import picture
from torch import nn

from firsthand.errors import DataError
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.packing import block_mask, pack, row_positions
from firsthand.processor import Encoder, Prompt
from firsthand.records import Digit, Example


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["qwen2_5_vl"]


def group(folder: Path, *replies: tuple[int, ...]) -> PrefixGroup:
    asked = Example(question="How many?", images=(picture(),), answer=Digit(value="7"))
    return PrefixGroup(Encoder.load(folder).prompt(asked), replies)


def text_prompt(*token_ids: int) -> Prompt:
    return Prompt("text", token_ids, None, None)


def test_a_row_is_the_prompt_once_and_every_reply_restarts_after_it() -> None:
    groups = [PrefixGroup(text_prompt(1, 2, 3), ((5, 6), (7, 8, 9))), PrefixGroup(text_prompt(1, 2), ((5,),))]
    rows = pack(groups, [torch.arange(3).expand(3, -1), torch.arange(2).expand(3, -1)], pad_id=0)
    assert rows.token_ids_MN.tolist() == [[1, 2, 3, 5, 6, 7, 8, 9], [1, 2, 5, 0, 0, 0, 0, 0]]
    assert rows.position_ids_3MN[0].tolist() == [[0, 1, 2, 3, 4, 3, 4, 5], [0, 1, 2, 0, 0, 0, 0, 0]]
    # The first token of every reply is predicted from the last prompt token: column 2, or 1.
    assert rows.source_K.tolist() == [2, 3, 2, 5, 6, 1]
    assert rows.target_K.tolist() == [5, 6, 7, 8, 9, 5]
    assert rows.row_K.tolist() == [0, 0, 0, 0, 0, 1]
    assert rows.mask_BT.tolist() == [[True, True, False], [True, True, True], [True, False, False]]
    assert rows.unpack(rows.target_K.float()).tolist() == [[5, 6, 0], [7, 8, 9], [5, 0, 0]]


def test_log_probs_of_sampling_become_one_table_beside_the_replies() -> None:
    positions = [torch.arange(2).expand(3, -1)]
    mixed = PrefixGroup(text_prompt(1, 2), ((5, 6), (7, 8, 9)), sampled_logprobs=((-0.5, -1.0), ()))
    rows = pack([mixed], positions, pad_id=0)
    assert rows.sampled_logp_BT is not None
    assert rows.sampled_logp_BT.tolist() == [[-0.5, -1.0, 0.0], [0.0, 0.0, 0.0]]
    assert rows.is_sampled_B.tolist() == [True, False]
    given = replace(mixed, sampled_logprobs=())  # nobody sampled it
    assert pack([given], positions, pad_id=0).sampled_logp_BT is None
    with pytest.raises(ValueError, match="expected a log-prob per token, 2, or none, got 1"):
        pack([replace(mixed, sampled_logprobs=((-0.5,), ()))], positions, pad_id=0)


def test_replies_see_the_prompt_and_themselves_and_nothing_sees_padding_but_itself() -> None:
    attend = block_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0].int().tolist()
    assert attend == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_positions_of_replies_follow_the_largest_prompt_position_on_any_axis() -> None:
    prompt = torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 2, 2], [0, 1, 4, 1, 4]])
    assert row_positions(prompt, [2, 1])[:, 5:].tolist() == [[5, 6, 5]] * 3


def test_only_tokens_that_are_trained_are_scored(folder: Path) -> None:
    policy = Policy.load(folder)
    whole = group(folder, (5, 6, 7), (8, 9))
    part = replace(whole, trained=((False, True, True), (False, False)))
    scored, expected = policy.logprobs([part], entropy="value"), policy.logprobs([whole], entropy="value")
    assert scored.mask_BT.tolist() == [[False, True, True], [False, False, False]]
    assert scored.entropy_BT is not None and expected.entropy_BT is not None
    for found, full in ((scored.logp_BT, expected.logp_BT), (scored.entropy_BT, expected.entropy_BT)):
        torch.testing.assert_close(found, full * scored.mask_BT)


def test_two_threads_give_the_same_gradients_to_the_bit(folder: Path) -> None:
    """Every reply reads the prompt's last hidden state: threads that sum up what comes back must not race for it."""
    policy = Policy.load(folder)
    asked = group(folder, *((5, 6, 7),) * 400)  # enough that torch splits the sum between threads
    threads, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(8):
            policy.model.zero_grad()
            (policy.logprobs([asked]).logp_BT * torch.linspace(0.1, 3, 400)[:, None]).sum().backward()
            seen.append([p.grad.clone() for p in policy.parameters if p.grad is not None])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, again) for run in seen[1:] for first, again in zip(seen[0], run, strict=True))


def test_empty_replies_and_flags_that_do_not_fit_are_refused(folder: Path) -> None:
    policy = Policy.load(folder)
    with pytest.raises(ValueError, match=r"example \w+: every reply must have at least one token"):
        policy.logprobs([group(folder, (5, 6), ())])
    with pytest.raises(ValueError, match=r"expected \[2\], got \[1\]"):
        policy.logprobs([replace(group(folder, (5, 6)), trained=((True,),))])


def test_a_reply_that_holds_an_image_token_is_refused(folder: Path) -> None:
    policy = Policy.load(folder)
    with pytest.raises(ValueError, match=r"example \w+: expected replies without image.*leave that reply out"):
        policy.logprobs([group(folder, (5, policy.banned_ids[2]))])


def test_a_frozen_tower_gets_no_gradient_and_everything_else_does(folder: Path) -> None:
    for trainable, tower_learns in (("all", True), ("language", False)):
        policy = Policy.load(folder, trainable=trainable)  # type: ignore[arg-type]
        policy.logprobs([group(folder, (5, 6, 7))]).logp_BT.sum().backward()
        named = dict(policy.model.named_parameters())
        assert all((p.grad is not None) == (tower_learns or ".visual." not in n) for n, p in named.items())
        assert {id(p) for p in policy.parameters} == {id(p) for p in named.values() if p.grad is not None}


def test_a_saved_policy_is_a_complete_folder_with_the_same_log_probs(folder: Path, tmp_path: Path) -> None:
    policy = Policy.load(folder)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.01)
    policy.save(tmp_path / "saved")
    asked = group(folder, (5, 6, 7))
    again = Policy.load(tmp_path / "saved")
    torch.testing.assert_close(again.logprobs([asked]).logp_BT, policy.logprobs([asked]).logp_BT, atol=0, rtol=0)
    assert group(tmp_path / "saved", (5, 6, 7)).prompt.token_ids == asked.prompt.token_ids
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {p.name for p in folder.iterdir()}
    for name in ("tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()


def test_log_probs_are_float32_whatever_the_weights_are(folder: Path) -> None:
    policy = Policy.load(folder, dtype=torch.bfloat16)
    assert policy.model.dtype == torch.bfloat16
    found = policy.logprobs([group(folder, (5, 6, 7))], entropy="value")
    assert found.logp_BT.dtype == torch.float32
    assert found.entropy_BT is not None and found.entropy_BT.dtype == torch.float32
    assert not found.entropy_BT.requires_grad


def changed(folder: Path, tmp_path: Path, **settings: Any) -> Path:
    """A copy of a folder whose language model has other settings."""
    copy = Path(shutil.copytree(folder, tmp_path / "changed"))
    config = json.loads((copy / "config.json").read_text())
    config["text_config"] |= settings
    config["text_config"].pop("layer_types", None)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_dropout_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected no dropout, got 0\.1"):
        Policy.load(changed(folder, tmp_path, attention_dropout=0.1))


def test_a_sliding_window_that_is_too_short_is_not_shared(folder: Path, tmp_path: Path) -> None:
    windows = {"use_sliding_window": True, "max_window_layers": 0, "sliding_window": 16}
    policy = Policy.load(changed(folder, tmp_path, **windows))
    asked = group(folder, (5, 6, 7), (8, 9))
    shapes: list[int] = []
    policy.language.layers[0].register_forward_hook(lambda module, args, out: shapes.append(len(args[0])))
    policy.logprobs([asked])
    assert shapes == [2], "one row for each reply"
    equivalence.assert_equivalent(policy, [asked])


def test_gradient_checkpointing_recomputes_the_layers(folder: Path) -> None:
    calls: list[nn.Module] = []
    policy = Policy.load(folder, gradient_checkpointing=True)
    policy.model.model.language_model.layers[1].mlp.register_forward_pre_hook(lambda module, args: calls.append(module))
    policy.logprobs([group(folder, (5, 6, 7))]).logp_BT.sum().backward()
    assert len(calls) == 2


def test_weights_lie_aligned_wherever_they_lie_in_their_file(folder: Path, tmp_path: Path) -> None:
    """Products on a CPU round by the place of their factors, and a checkpoint's header has a length of its own."""
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    weights = load_file(copied / "model.safetensors")
    logps = []
    for padding in ("", "x" * 8, "x" * 24):
        save_file(weights, copied / "model.safetensors", metadata={"format": "pt", "padding": padding})
        policy = Policy.load(copied)
        assert {parameter.data_ptr() % 64 for parameter in policy.model.parameters()} == {0}
        with torch.no_grad():
            logps.append(policy.logprobs([group(folder, (5, 6, 7, 8, 9), (7,))]).logp_BT)
    assert all(torch.equal(logp, logps[0]) for logp in logps)
