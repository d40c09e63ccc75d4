"""What the rollout browser is given: which replies, tokens and pictures, and what is said of those that are not."""

import base64
import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import ARMS, judged, token_change, write_lines, write_runs
from PIL import Image
from report_browser import write_training
from tokenizers import Tokenizer

from firsthand.findings import TOKENS_FILE
from firsthand.records import Judged, Reply, Rollout, Score, Status, StopReason, Verdict
from firsthand.report import browser, write_report
from firsthand.report.arms import make_arms
from firsthand.report.browser import BrowserData, browser_data
from firsthand.report.page import _trained
from firsthand.report.pictures import shot
from firsthand.report.pieces import Pieces
from firsthand.report.runs import read_run, read_runs
from firsthand.worlds import SMALL

TEXT, SCORE, STATUS, PARSED, WHY, REWARD, ADVANTAGE, FLAGS, TOKENS, LENGTHS, LOGPS, TUNED, CHANGE = range(13)


def data_of(*runs: Path) -> BrowserData:
    arms = make_arms(read_runs(list(runs)))
    return browser_data(arms, _trained(arms))


def records_of(*runs: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(data_of(*runs).records)))
    return content


def with_group(run: Path, *group: Judged, **changed: Any) -> Path:
    """The run, whose only group is now this."""
    first = Rollout.model_validate_json((run / "rollouts.jsonl").read_text().splitlines()[0])
    write_lines(run / "rollouts.jsonl", [first.model_copy(update={"group": group, **changed})])
    return run


@pytest.fixture
def grpo(tmp_path: Path) -> Path:
    """A complete GRPO run that a test may change."""
    return write_runs(tmp_path / "runs", per_family=2, arms={"grpo": ARMS["grpo"]})[0]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run whose replies were written with the small model's tokenizer."""
    return write_training(tmp_path / "small", steps=3, prompts=2, group=4, held_out=4)


def test_every_reply_of_every_group_and_question_is_there(small: Path) -> None:
    found = records_of(small)
    lines = [Rollout.model_validate_json(line) for line in (small / "rollouts.jsonl").read_text().splitlines()]
    assert [(step, place) for _, step, place, *_ in found["groups"]] == [(s, k) for s in range(3) for k in range(2)]
    for (_, _, _, question, left_out, replies), line in zip(found["groups"], lines, strict=True):
        assert found["questions"][question][:4] == [line.example_id, line.family, line.question, line.gold]
        assert left_out == "" and [reply[TEXT] for reply in replies] == [j.reply.text for j in line.group]
        assert [reply[ADVANTAGE] for reply in replies] == [round(j.advantage or 0, 4) for j in line.group]
    scores = [Score.model_validate_json(line) for line in (small / "scores.jsonl").read_text().splitlines()]
    assert [row[4][TEXT] for row in found["held"]] == [s.greedy.reply.text for s in scores if s.greedy]
    assert all(len(row[5]) == 4 for row in found["held"])


def test_tokens_lie_where_the_tokenizer_wrote_them_and_have_their_log_probs(small: Path) -> None:
    tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    line = Rollout.model_validate_json((small / "rollouts.jsonl").read_text().splitlines()[0])
    for told, one in zip(records_of(small)["groups"][0][5], line.group, strict=True):
        cuts = np.cumsum([0, *told[LENGTHS]])
        pieces = [told[TEXT][a:b] for a, b in pairwise(cuts)]
        assert pieces[:-1] == [tokenizer.decode([i], skip_special_tokens=False) for i in one.reply.token_ids[:-1]]
        assert pieces[-1] == "" and told[TOKENS] == len(pieces)
        assert told[LOGPS] == [round(-100 * logp) for logp in one.reply.logprobs]


def test_a_character_of_several_tokens_belongs_to_the_last_of_them(tmp_path: Path) -> None:
    from tokenizers import decoders, models, pre_tokenizers

    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    pieces = Pieces.of([tmp_path / "not-there", tmp_path])
    text = "a√𝄞b"  # one, three, four and one byte; in a browser's script 1, 1, 2 and 1 units
    ids = tokenizer.encode(text).ids
    assert pieces.lengths(text, ids) == [1, 0, 0, 1, 0, 0, 0, 2, 1]
    assert pieces.lengths("another text", ids) is None
    assert Pieces.of([tmp_path / "not-there"]).lengths(text, ids) is None


def test_replies_of_an_unknown_tokenizer_are_shown_without_tokens_and_that_is_said(grpo: Path) -> None:
    assert any("no tokenizer.json writes these replies" in line for line in data_of(grpo).said)
    assert all(len(reply) == LENGTHS for *_, replies in records_of(grpo)["groups"] for reply in replies)


def test_what_training_changed_is_found_by_question_and_text(small: Path) -> None:
    line = Rollout.model_validate_json((small / "rollouts.jsonl").read_text().splitlines()[0])
    reply = line.group[1].reply
    tokens = small.parent / "tokens-grpo-s0-12345678"
    tokens.mkdir()
    tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    pieces = [*(tokenizer.decode([i], skip_special_tokens=False) for i in reply.token_ids[:-1]), ""]
    (tokens / "recipe.json").write_text(json.dumps({"tokens_of": read_run(small).id}))
    write_lines(tokens / TOKENS_FILE, [token_change(line, reply.text, pieces, [-1.0], [-0.25])])
    found = records_of(small)
    told = found["groups"][0][5]
    assert found["tuned"] == ["grpo"] and told[1][TUNED] == 0 and set(told[1][CHANGE]) == {75}
    same = [i for i, one in enumerate(line.group) if one.reply.text == reply.text]
    assert [i for i, reply in enumerate(told) if len(reply) > LOGPS + 1] == same


@pytest.mark.parametrize(
    ("one", "flags"),
    [
        (judged("a", 1.0, advantage=0.5), browser.WITH_LOSS),
        (judged("a", 0.0, advantage=0.0), browser.WITH_LOSS),
        (judged("a", None, Status.FAILED), 0),
        (judged("a", 0.0, stop=StopReason.LENGTH), browser.CUT),
        (judged("a", 1.0, stop=StopReason.GIVEN), browser.DEMONSTRATION | browser.WITH_LOSS),
    ],
)
def test_a_reply_says_whether_a_loss_was_on_its_tokens(grpo: Path, one: Judged, flags: int) -> None:
    [[*_, left_out, [told]]] = records_of(with_group(grpo, one))["groups"]
    assert (told[FLAGS], left_out) == (flags, "")


def test_a_group_that_was_left_out_says_why_and_had_no_loss(grpo: Path) -> None:
    with_group(grpo, judged("a", 1.0, advantage=0.0), left_out="zero variance: all score 1")
    [[*_, left_out, [told]]] = records_of(grpo)["groups"]
    assert left_out == "zero variance: all score 1" and told[FLAGS] == 0


def test_a_long_reply_keeps_its_answer_and_says_what_it_leaves_out(grpo: Path) -> None:
    with_group(grpo, judged("begin" + "x" * 100_000 + "<answer>7</answer>", 1.0))
    text = records_of(grpo)["groups"][0][5][0][TEXT]
    assert text.startswith("begin") and text.endswith("<answer>7</answer>") and len(text) < 7_000
    assert "[... 94,023 characters are not shown ...]" in text


def test_of_a_long_reply_the_tokens_before_the_cut_are_told_apart(small: Path) -> None:
    tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    ids = tokenizer.encode("green " * 4000).ids
    text = tokenizer.decode(ids, skip_special_tokens=False)
    reply = Reply(text=text, token_ids=tuple(ids), logprobs=(-0.1,) * len(ids))
    with_group(small, Judged(reply=reply, verdict=Verdict(score=0.0, status=Status.OK)))
    told = records_of(small)["groups"][0][5][0]
    assert 3_900 < sum(told[LENGTHS]) <= 4_000 and len(told[LOGPS]) == len(told[LENGTHS])


def test_a_reply_from_a_server_has_the_tokens_that_the_server_counted(grpo: Path) -> None:
    verdict = Verdict(score=1.0, status=Status.OK)
    counted, uncounted = (
        Judged(reply=Reply(text="<answer>7</answer>", token_ids=(), tokens=tokens), verdict=verdict)
        for tokens in (9, None)
    )
    [[*_, replies]] = records_of(with_group(grpo, counted, uncounted))["groups"]
    assert [reply[TOKENS] for reply in replies] == [9, None]


def test_numbers_that_json_does_not_know_are_not_there(grpo: Path) -> None:
    odd = Reply(text="a", token_ids=(1,), logprobs=(float("-inf"),))
    one = Judged(reply=odd, verdict=Verdict(score=1.0, status=Status.OK), reward=float("nan"), advantage=float("inf"))
    [[*_, [told]]] = records_of(with_group(grpo, one))["groups"]
    assert (told[REWARD], told[ADVANTAGE]) == (None, None)


# ---- what does not fit


def test_steps_that_do_not_fit_are_left_out_evenly_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_training(tmp_path, steps=20, prompts=2, group=4)
    monkeypatch.setattr(browser, "TRAINING_BYTES", 6_000)
    found = records_of(run)
    steps = sorted({step for _, step, *_ in found["groups"]})
    assert steps[0] == 0 and steps[-1] == 19 and 3 < len(steps) < 20
    assert max(np.diff(steps)) - min(np.diff(steps)) <= 1
    assert len(found["groups"]) == 2 * len(steps)
    assert found["runs"][0][3:] == [len(steps), 20]
    assert any(line.startswith(f"{len(steps)} of 20 training steps are here") for line in data_of(run).said)


def test_of_held_out_questions_the_seeds_go_before_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = write_runs(tmp_path, per_family=6, seeds=(0, 1), arms={"base": ARMS["base"], "grpo": ARMS["grpo"]})
    everything = records_of(*runs)["held"]
    assert {(arm, seed) for arm, seed, *_ in everything} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    monkeypatch.setattr(browser, "HELD_OUT_BYTES", browser._size(everything) * 2 // 3)
    found = records_of(*runs)
    assert {(arm, seed) for arm, seed, *_ in found["held"]} == {(0, 0), (1, 0)} and len(found["questions"]) >= 30
    monkeypatch.setattr(browser, "HELD_OUT_BYTES", browser._size(everything) // 6)
    found = records_of(*runs)
    kept = {row[3] for row in found["held"]}
    assert 5 < len(kept) < 30 and len(found["held"]) == 2 * len(kept)
    assert {found["questions"][place][1] for place in kept} == set(ARMS["base"].skill)
    assert any(line.startswith(f"{len(kept)} of 30 held-out questions are here") for line in data_of(*runs).said)


def test_a_picture_is_there_once_and_those_that_do_not_fit_are_counted(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(small)
    pictures = json.loads(data.pictures)
    assert len(pictures) == len(list((small / "images").iterdir())) == len({uri for uri, *_ in pictures})
    monkeypatch.setattr(browser, "PICTURE_BYTES", len(pictures[0][0]) + 1)
    data = data_of(small)
    assert [picture is None for picture in json.loads(data.pictures)] == [False, False, *[True] * (len(pictures) - 2)]
    assert any(f"{len(pictures) - 2} of {len(pictures)} pictures are left out" in line for line in data.said)


def test_a_picture_that_is_gone_or_damaged_is_null(grpo: Path) -> None:
    first, second, *others = sorted((grpo / "images").iterdir())
    first.unlink()
    second.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    pictures = json.loads(data_of(grpo).pictures)
    assert pictures.count(None) == 2 and len(pictures) == len(others) + 2


def test_a_picture_outside_of_the_run_is_never_shown(grpo: Path) -> None:
    """By a name that leads out, in a run that was passed on, or by a link in place of a picture."""
    private = grpo.parent / "private.png"
    Image.new("RGB", (32, 32), (1, 2, 3)).save(private)
    first = sorted((grpo / "images").iterdir())[0]
    first.unlink()
    first.symlink_to(private)
    assert shot([grpo], first.stem) is None
    for name in ("../../private", f"../{'a' * 64}", "a" * 63, f"{'A' * 64}", f"{'a' * 64}\n"):
        (grpo.parent / f"{'a' * 64}.png").write_bytes(private.read_bytes())
        assert shot([grpo], name) is None
    rollouts = [json.loads(line) for line in (grpo / "rollouts.jsonl").read_text().splitlines()]
    changed = [json.dumps({**rollout, "images": ["../../private"]}) for rollout in rollouts]
    (grpo / "rollouts.jsonl").write_text("".join(f"{line}\n" for line in changed))
    assert json.loads(data_of(grpo).pictures).count(None) > 0
    assert base64.b64encode(private.read_bytes()).decode() not in data_of(grpo).pictures


def test_a_report_of_large_pictures_and_long_replies_stays_below_fifteen_megabytes(tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "runs", per_family=16)
    rng = np.random.default_rng(0)
    for path in (runs[0] / "images").iterdir():
        Image.fromarray(rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(path)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ<&>"))
    for run in runs:
        scores = [Score.model_validate_json(line) for line in (run / "scores.jsonl").read_text().splitlines()]
        wordy = [tuple(judged("".join(rng.choice(letters, 3000)), 0.0) for _ in range(8)) for _ in scores]
        pairs = zip(scores, wordy, strict=True)
        write_lines(run / "scores.jsonl", [s.model_copy(update={"samples": some}) for s, some in pairs])
    out = write_report(runs, tmp_path / "report.html", "large")
    assert 5_000_000 < out.stat().st_size < 15_000_000
