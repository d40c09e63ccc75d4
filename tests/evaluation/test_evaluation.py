"""Evaluation: estimators against brute force and known values, and replies that could not be measured."""

import base64
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmark_server import ChatServer
from scripted import ScriptedSampler
from tiny import tiny_folder

from firsthand.cli.console import Console
from firsthand.cli.main import main
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation import Protocol, score_examples, tabulate
from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.generator import identity, settled
from firsthand.evaluation.local import LocalGenerator
from firsthand.evaluation.replies import BATCH, read_journal
from firsthand.processor import Encoder
from firsthand.recipe import Data
from firsthand.records import Choice, Digit, Example, Judged, Reply, Score, Status, StopReason, Verdict
from firsthand.reward import Reward, Router
from firsthand.stats import clustered_mean
from firsthand.teacher import Endpoint
from firsthand.worlds import SMALL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models") / "tiny", "qwen2_5_vl", layers=1)


def judged(
    value: float | None, status: Status | None = None, stop: StopReason = StopReason.EOS, tokens: int = 3
) -> Judged:
    status = status or (Status.OK if value is not None else Status.TIMED_OUT)
    return Judged(reply=Reply(text="", token_ids=(1,) * tokens, stop=stop), verdict=Verdict(score=value, status=status))


NAMES = itertools.count()


def scored(greedy: Judged | None, *samples: float | None, family: str = "") -> Score:
    drawn = tuple(judged(value) for value in samples)
    return Score(
        example_id=f"e{next(NAMES)}", family=family, question="?", gold="7", images=(), greedy=greedy, samples=drawn
    )


# ---- a server that ignores the temperature


@pytest.mark.parametrize(("answers", "are_alike"), [("B", True), (["A", "B", "C", "D"], False)], ids=["one", "several"])
def test_samples_that_are_all_alike_are_told(
    answers: str | list[str], are_alike: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ChatServer(tmp_path / "server", [{"when": "", "text": answers}])
    rows = [{"question": f"Which one is it, {i}?", "answer": "B", "kind": "choice"} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = Data(path=str(tmp_path / "rows.jsonl"))
    try:
        run = evaluate_folder(server.endpoint(), data, Protocol(samples=4), tmp_path / "runs")
    finally:
        server.stop()
    Console().families(run / "evaluation.json")
    assert ("the server seems to ignore the temperature" in capsys.readouterr().out) is are_alike
    assert json.loads((run / "evaluation.json").read_text()).get("samples_alike", False) is are_alike


# ---- tables


def test_a_table_worked_by_hand() -> None:
    scores = [
        scored(judged(1.0, tokens=2), 1.0, 0.0, family="count"),
        scored(judged(0.0, Status.WRONG_FORMAT, StopReason.LENGTH, tokens=4), 0.0, 0.0, family="count"),
        scored(judged(0.6, tokens=6), 0.4, 0.7, family="locate"),  # a box: a hit from IoU 0.5 on
    ]
    table = tabulate(scores, 2)
    families = table.pop("families")
    assert table == {
        "n": 3,
        "unmeasured": 0,
        "accuracy": pytest.approx(1.6 / 3),
        "ci95": list(clustered_mean([1.0, 0.0, 0.6], range(3))[1:3]),
        "truncated": pytest.approx(1 / 3),
        "tagged": 0.0,
        "unparsed": pytest.approx(1 / 3),
        "unstated": pytest.approx(1 / 3),
        "reply_tokens": 4.0,
        "pass_at": {"1": pytest.approx(1 / 3), "2": pytest.approx(2 / 3)},
        "sampled_accuracy": pytest.approx(2.1 / 6),
    }
    assert set(families) == {"count", "locate"}
    assert families["count"] == tabulate([s.model_copy(update={"family": ""}) for s in scores[:2]], 2)


def test_an_unmeasured_reply_is_counted_and_never_wrong() -> None:
    right, timed_out = scored(judged(1.0), 1.0, 1.0), scored(judged(None), 1.0, None)
    table = tabulate([right, timed_out], 2)
    assert (table["accuracy"], table["n"], table["unmeasured"]) == (1.0, 1, 1)
    assert table["ci95"] == list(clustered_mean([1.0], ["a"])[1:3])
    assert table["sampled_accuracy"] == 1.0
    # pass@k of an example with fewer measured draws would be another quantity: it is left out.
    assert table["pass_at"] == {"1": 1.0, "2": 1.0}


def test_what_was_not_measured_is_absent() -> None:
    assert tabulate([scored(judged(None))], 0) == {"n": 0, "unmeasured": 1}
    assert tabulate([], 8) == {"n": 0, "unmeasured": 0}
    assert not {"pass_at", "sampled_accuracy", "families"} & set(tabulate([scored(judged(1.0))], 0))
    assert "ci95" not in tabulate([scored(None, None)], 1)
    assert "pass_at" not in tabulate([scored(judged(1.0), 1.0, None)], 2)


def test_pass_at_k_is_given_for_powers_of_two_up_to_the_samples() -> None:
    assert set(tabulate([scored(judged(1.0), *[0.0] * 6)], 6)["pass_at"]) == {"1", "2", "4"}


# ---- sampling and judging


class Spy(ScriptedSampler):
    """Remembers how it was asked."""

    asked: list[tuple[int, bool, float, int, int]]

    def sample(self, prompts: Any, n: int, settings: Any, *, seed: int = 0, greedy: bool = False) -> Any:
        self.asked = [*getattr(self, "asked", []), (n, greedy, settings.temperature, seed, settings.max_new_tokens)]
        return super().sample(prompts, n, settings, seed=seed, greedy=greedy)


def test_each_reply_is_judged_against_its_own_example(folder: Path) -> None:
    encoder = Encoder.load(folder)
    examples = [
        Example(question="How many?", images=(), answer=Digit(value="7"), family="count"),
        Example(question="Which?", images=(), answer=Choice(letter="B", options=("x", "y")), family="chart"),
    ]
    said = {examples[0].id: ["7", "8", "7"], examples[1].id: ["B", "7", "C"]}
    sampler = Spy(encoder, lambda prompt, i: f"<answer>{said[prompt.example_id][i]}</answer>")
    protocol = Protocol(max_new_tokens=64, samples=3, temperature=0.7, seed=5)
    with Router() as router:
        scores = score_examples(examples, LocalGenerator(sampler, encoder), router.judge_many, protocol)
        only_greedy = score_examples(examples, LocalGenerator(sampler, encoder), router.judge_many, Protocol(samples=0))
    # Greedy reply and samples in one call: prompt and pictures are encoded once.
    assert sampler.asked == [(3, True, 0.7, 5, 64), (0, True, 1.0, 0, 256)]
    assert [(s.example_id, s.gold, s.family) for s in scores] == [
        (examples[0].id, "7", "count"),
        (examples[1].id, "B", "chart"),
    ]
    assert [s.greedy and s.greedy.verdict.score for s in scores] == [1.0, 1.0]
    assert [[j.verdict.score for j in s.samples] for s in scores] == [[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert [s.samples for s in only_greedy] == [(), ()]


def test_evaluating_a_folder_writes_what_the_report_reads_once(folder: Path, tmp_path: Path) -> None:
    data, protocol = Data(worlds=("count", "digits"), split="test", number=2), Protocol(max_new_tokens=3, samples=2)
    progress: list[tuple[int, int]] = []
    run = evaluate_folder(folder, data, protocol, tmp_path, lambda done, total: progress.append((done, total)))
    scores = [Score.model_validate_json(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [s.family for s in scores] == ["count", "digits"]
    assert all(s.greedy and len(s.greedy.reply.token_ids) <= 3 and len(s.samples) == 2 for s in scores)
    assert {name for s in scores for name in s.images} == {p.stem for p in (run / "images").iterdir()}
    table = json.loads((run / "evaluation.json").read_text())
    assert table == json.loads(
        json.dumps({"data": data.model_dump(), "protocol": protocol.content, **tabulate(scores, 2)})
    )
    assert (run / "DONE").exists()
    assert evaluate_folder(folder, data, protocol, tmp_path, lambda *_: pytest.fail("evaluated again")) == run
    assert progress == [(2, 2)]


def test_free_text_is_evaluated_where_a_scorer_is_named(folder: Path, tmp_path: Path) -> None:
    data = Data(worlds=("describe",), split="test", number=2)
    protocol = Protocol(max_new_tokens=2, samples=0)
    with pytest.raises(DataError, match="open"):
        evaluate_folder(folder, data, protocol, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    reward = Reward.model_validate({"open": {"scorer": "overlap"}, "format": 1.0})
    run = evaluate_folder(folder, data, protocol, tmp_path / "runs", reward=reward)
    table = json.loads((run / "evaluation.json").read_text())
    assert table["n"] == 2 and set(table["reward"]) == {"open"}


# ---- without the picture


def test_a_blind_evaluation_shows_other_pictures_and_is_another_run(folder: Path, tmp_path: Path) -> None:
    data = Data(worlds=("count",), split="test", number=6)
    runs = {
        how: evaluate_folder(folder, data, Protocol(max_new_tokens=8, samples=0, blind=how), tmp_path)
        for how in (None, "gray", "shuffled", "none")
    }
    assert len(set(runs.values())) == 4
    found = {how: read_journal(run / "scores.jsonl") for how, run in runs.items()}
    for how, run in runs.items():
        assert (f"blind-{how}" in run.name) is (how is not None)
        kept = {path.stem for path in (run / "images").glob("*")}
        assert kept == {name for score in found[how] for name in score.images}
        assert [(s.example_id, s.question) for s in found[how]] == [(s.example_id, s.question) for s in found[None]]
        assert json.loads((run / "evaluation.json").read_text())["protocol"].get("blind") == how
    true = {name for score in found[None] for name in score.images}
    assert true.isdisjoint(name for score in found["gray"] for name in score.images)
    assert all(set(a.images).isdisjoint(b.images) for a, b in zip(found["shuffled"], found[None], strict=True))
    assert [score.images for score in found["none"]] == [()] * 6


def test_a_blind_evaluation_goes_on_where_it_was_stopped_with_the_same_exchange(folder: Path, tmp_path: Path) -> None:
    data = Data(worlds=("count",), split="test", number=BATCH + 6)
    protocol = Protocol(max_new_tokens=2, samples=0, blind="shuffled", seed=3)
    whole = evaluate_folder(folder, data, protocol, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        evaluate_folder(folder, data, protocol, tmp_path / "runs", stop)
    run = evaluate_folder(folder, data, protocol, tmp_path / "runs")
    assert (run / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()


def test_a_server_is_sent_what_a_blind_model_is_shown(tmp_path: Path) -> None:
    server = ChatServer(tmp_path / "server")
    data = Data(worlds=("count",), split="test", number=4)
    true = {base64.b64encode(picture.encoded()).decode() for e in data.load() for picture in e.images}
    try:
        for how, sent in ((None, 4), ("gray", 0), ("shuffled", 4), ("none", 0)):
            before = len(server.asked)
            evaluate_folder(server.endpoint(), data, Protocol(samples=0, blind=how), tmp_path / "runs")
            bodies = [json.dumps(body) for body in server.asked[before:]]
            assert sum(any(picture in body for picture in true) for body in bodies) == sent, how
            assert sum("image_url" in body for body in bodies) == (0 if how == "none" else 4), how
    finally:
        server.stop()


def test_a_reply_is_judged_with_the_true_picture_also_where_another_was_shown() -> None:
    examples = Data(worlds=("count",), split="test", number=3).load()
    shown = Protocol(blind="none").shown(examples)
    judged_on: list[Example] = []

    def judge(pairs: Sequence[tuple[str, Example]]) -> list[Verdict]:
        judged_on.extend(example for _, example in pairs)
        return [Verdict(score=0.0, status=Status.OK)] * len(pairs)

    class Silent:
        def answer(self, asked: Sequence[Example], protocol: Protocol) -> list[tuple[Reply, ...]]:
            assert [e.images for e in asked] == [()] * 3
            return [(Reply(text="", token_ids=()),)] * 3

    score_examples(examples, Silent(), judge, Protocol(samples=0, blind="none"), shown)  # type: ignore[arg-type]
    assert judged_on == examples


@pytest.mark.parametrize("kind", ["--data", "--benchmark"])
def test_the_command_line_evaluates_blind(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text("title: Tiny\nworlds: {worlds: [count], split: test, number: 2}\n")
    what = "worlds:count:test:2" if kind == "--data" else "tiny.yaml"
    command = ["evaluate", str(folder), kind, what, "--max-new-tokens", "1", "--samples", "0", "--blind", "gray"]
    assert main(command) == 0
    assert "BLIND: pictures gray" in capsys.readouterr().out
    assert len(list(Path("runs").glob("*-blind-gray-*/DONE"))) == 1


# ---- stopped, and gone on with


class Killed(Exception):
    """Stands for a kill between two batches."""


def test_an_evaluation_of_ones_own_data_goes_on_where_it_was_stopped(folder: Path, tmp_path: Path) -> None:
    data, protocol = Data(worlds=("count",), split="test", number=BATCH + 6), Protocol(max_new_tokens=2, samples=0)
    whole = evaluate_folder(folder, data, protocol, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        evaluate_folder(folder, data, protocol, tmp_path / "runs", stop)
    (journal,) = (tmp_path / "runs").glob("*/replies.jsonl")
    assert len(journal.read_text().splitlines()) == BATCH and not (journal.parent / "DONE").exists()
    progress: list[tuple[int, int]] = []
    run = evaluate_folder(folder, data, protocol, tmp_path / "runs", lambda *seen: progress.append(seen))
    assert progress == [(BATCH, BATCH + 6), (BATCH + 6, BATCH + 6)]
    assert run == journal.parent and not journal.exists()
    assert (run / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()


def test_the_command_line_says_how_replies_are_drawn_and_shows_every_seed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", str(folder), "--data", "worlds:count:test:2", "--max-new-tokens", "1"]
    assert main([*command, "--set", "protocol.samples=2", "--seeds", "0", "1"]) == 0
    runs = sorted(Path("runs").iterdir())
    said = capsys.readouterr().out
    assert [f"scores: {run / 'scores.jsonl'}" in said for run in runs] == [True, True]
    tables = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    assert [table["protocol"]["samples"] for table in tables] == [2, 2]
    assert main([*command, "--set", "protocol.sample=2"]) == 2
    assert "did you mean 'samples'?" in capsys.readouterr().err
    assert main([*command, "--judge", "j.yaml"]) == 2
    assert capsys.readouterr().err == "firsthand: --judge goes with --benchmark, not with --data; leave it out\n"


def test_a_model_is_named_by_what_is_in_its_folder_and_not_by_where_it_lies(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, moved)
    assert identity(moved) == identity(folder)
    config = moved / "preprocessor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_pixels": 3136}))
    assert identity(moved)["model_id"] != identity(folder)["model_id"]  # another bound gives other replies


def test_pictures_up_to_the_bound_of_qwen_s_folders_fit_without_a_protocol_s(folder: Path) -> None:
    assert LocalGenerator.load(folder, Protocol())._encoder._max_prompt_tokens >= 16384 + 4096


def test_a_folder_is_evaluated_in_the_precision_that_the_protocol_says(tmp_path: Path) -> None:
    stored = Protocol(max_new_tokens=8, samples=0)
    data = Data(worlds=("count",), number=2)
    plain, rounded = (
        evaluate_folder(SMALL, data, protocol, tmp_path)
        for protocol in (stored, stored.model_copy(update={"precision": "bfloat16"}))
    )
    recipes = [json.loads((folder / "recipe.json").read_text()) for folder in (plain, rounded)]
    assert "precision" not in recipes[0]["protocol"] and recipes[1]["protocol"]["precision"] == "bfloat16"
    logprobs = [
        [p for score in read_journal(folder / "scores.jsonl") for p in score.greedy.reply.logprobs]
        for folder in (plain, rounded)
    ]
    assert logprobs[0] != logprobs[1]


def test_a_server_s_precision_is_its_own() -> None:
    server = Endpoint(base_url="http://a/v1", model="m")
    assert settled(server, Protocol()) == Protocol()
    with pytest.raises(RecipeError, match="expected none for a server"):
        settled(server, Protocol(precision="bfloat16"))
