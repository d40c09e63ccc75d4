"""A benchmark evaluated: what is written, what is asked again and what is not, and what no number is given for.

Generators and judges are real: the small model, or a server in a process of its own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_files import logicvista_row, png, some, write_set
from benchmark_server import ChatServer
from tiny import picture, tiny_folder
from tiny_families import family_folder

from firsthand.cli.main import main
from firsthand.errors import DataError, RecipeError
from firsthand.evaluation import Protocol
from firsthand.evaluation.benchmarks.evaluate import Task, evaluate_benchmark, read_task
from firsthand.evaluation.benchmarks.judged import judged_file, leaderboard_tables
from firsthand.evaluation.benchmarks.spec import Benchmark, find
from firsthand.evaluation.benchmarks.suite import EvaluationPlan, averages, evaluate_all
from firsthand.evaluation.leaderboard.judging import NO_JUDGE, LeaderboardJudge
from firsthand.evaluation.local import LocalGenerator
from firsthand.evaluation.replies import BATCH, read_journal
from firsthand.records import Digit, Example, Score, Status, StopReason
from firsthand.stats import clustered_mean
from firsthand.teacher import Outage
from firsthand.worlds import SMALL

GREEDY = Protocol(max_new_tokens=2, samples=0)
SAMPLED = Protocol(max_new_tokens=8, samples=4, greedy=False, temperature=0.5)
ROWS = [logicvista_row(i, "AB"[i % 2]) for i in range(8)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """Answers A to everything."""
    monkeypatch.setattr("firsthand.teacher.client.FIRST_NAP_S", 0.005)
    started = ChatServer(tmp_path / "server")
    yield started
    started.stop()


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[ChatServer]:
    """Finds A in everything."""
    started = ChatServer(tmp_path / "judge")
    yield started
    started.stop()


def logicvista(root: Path, rows: list[dict[str, str]] = ROWS) -> Task:
    write_set("logicvista", root, rows)
    return read_task(find("logicvista")[1][0], root)


def table_of(run: Path) -> Any:
    """The run's own table, and those of the judges."""
    return {**json.loads((run / "evaluation.json").read_text()), "leaderboard": leaderboard_tables(run)}


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When every file below a folder was last written, and what is in it."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def scores_of(run: Path) -> list[Score]:
    return read_journal(run / "scores.jsonl")


def fail(*_: object) -> None:
    pytest.fail("asked again")


# ---- one run


def test_a_run_writes_the_replies_both_scorers_outcomes_and_nothing_else(tmp_path: Path, judge: ChatServer) -> None:
    task, progress = logicvista(tmp_path), list[tuple[int, int]]()
    who = LeaderboardJudge(endpoint=judge.endpoint())
    run = evaluate_benchmark(
        SMALL, task, GREEDY, tmp_path / "runs", judge=who, on_progress=lambda *seen: progress.append(seen)
    )
    assert progress == [(8, 8)]
    names = [".lock", "DONE", "environment.json", "evaluation.json", "images", "items.jsonl", "judged", "recipe.json"]
    assert sorted(path.name for path in run.iterdir()) == sorted([*names, "scores.jsonl", "units-strict.jsonl"])
    (judged,) = (run / "judged").iterdir()
    made_by = ["disagreements.jsonl", "leaderboard.jsonl", "table.json", "units.jsonl"]
    assert (judged.name, sorted(path.name for path in judged.iterdir())) == (who.identity, made_by)
    items = [json.loads(line) for line in (run / "items.jsonl").read_text().splitlines()]
    assert [item["id"] for item in items] == [score.example_id for score in scores_of(run)]
    assert items[3]["cells"]["question"] == ROWS[3]["question"] and "image" not in items[3]["cells"]
    table = table_of(run)
    assert table["benchmark"] == {
        "name": "logicvista",
        "title": "LogicVista",
        "file": str(tmp_path / "LogicVista.tsv"),
        "rows": 8,
        "published_rows": 448,
    }
    assert table["strict"]["replies"] == table["n"] == 8
    board = table["leaderboard"][who.identity]
    assert (board["value"], board["n"], board["by"], board["unmeasured"]) == (0.5, 8, {"judge": 8}, 0)
    assert board["judge"]["model"] == "m"
    differing = [json.loads(line) for line in (judged / "disagreements.jsonl").read_text().splitlines()]
    assert len(differing) == board["disagreements"] == 4  # what the small model says is never A
    assert {(d["strict"], d["leaderboard"], d["extracted"], d["by"]) for d in differing} == {(0, 1, "A", "judge")}


def test_a_finished_run_is_not_asked_again(tmp_path: Path, server: ChatServer) -> None:
    task = logicvista(tmp_path)
    run = evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs")
    before = state_of(run)
    assert evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", on_progress=fail) == run
    assert len(server.asked) == 8
    assert state_of(run) == before


def test_without_a_judge_there_is_no_leaderboard_number_and_the_reason_stands_there(
    tmp_path: Path, server: ChatServer
) -> None:
    run = evaluate_benchmark(server.endpoint(), logicvista(tmp_path), GREEDY, tmp_path / "runs")
    table = table_of(run)
    assert table["strict"]["value"] == 0.5
    assert table["leaderboard"] == {
        "rules": {"undecided": {NO_JUDGE: 8}, "absent": NO_JUDGE, "by": {}, "quirks": {}, "disagreements": 0}
    }


def test_rules_that_decide_every_reply_need_no_judge(tmp_path: Path, server: ChatServer) -> None:
    write_set("dynamath", tmp_path)
    server.follow({"when": "", "text": '{"solution": "so", "short answer": "C"}'})
    rows = [row for row in some("dynamath") if row["answer_type"] == "multiple choice"]
    write_set("dynamath", tmp_path, rows)
    task = read_task(find("dynamath")[1][0], tmp_path)
    board = table_of(evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs"))["leaderboard"]["rules"]
    assert (board["headline"], board["n"], board["average"]["n"]) == ("worst case", 1, 1)
    assert "absent" not in board and board["by"] == {"rules": 10}


def test_a_judge_that_comes_later_judges_the_replies_that_are_there(
    tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    task = logicvista(tmp_path)
    run = evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs")
    before = state_of(run)
    first, second = (LeaderboardJudge(endpoint=judge.endpoint(model)) for model in ("one", "two"))
    for who in (first, second):
        assert (
            evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=who, on_progress=fail) == run
        )
    assert len(server.asked) == 8 and before.items() <= state_of(run).items()  # nothing of the run is written again
    boards = table_of(run)["leaderboard"]
    assert {name: board["value"] for name, board in boards.items()} == {first.identity: 0.5, second.identity: 0.5}
    assert [boards[name]["judge"]["model"] for name in (first.identity, second.identity)] == ["one", "two"]
    assert len(judge.asked) == 16 and table_of(run)["strict"]["value"] == 0.5
    judge.stop()  # what it has said is kept: nobody is needed to mark the replies again
    before = state_of(run)
    evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=first)
    assert table_of(run)["leaderboard"] == boards and state_of(run) == before


def test_without_a_judge_the_summary_says_so_whoever_has_marked_the_replies_before(
    tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    logicvista(tmp_path)
    asked = plan(find("logicvista")[1][0], protocol=GREEDY, judge=LeaderboardJudge(endpoint=judge.endpoint()))
    boards = []
    for one in (asked, asked._replace(judge=None)):
        summary = evaluate_all(server.endpoint(), one, tmp_path, tmp_path / "runs")
        boards.append(json.loads(summary.read_text())["benchmarks"]["logicvista"]["leaderboard"])
    assert (boards[0]["value"], boards[0]["n"]) == (0.5, 8)
    assert boards[1]["absent"] == NO_JUDGE and "value" not in boards[1]


def test_the_marks_that_an_earlier_version_kept_beside_the_replies_are_read_and_not_made_again(
    tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    task, who = logicvista(tmp_path), LeaderboardJudge(endpoint=judge.endpoint())
    run = evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=who)
    boards, judged = table_of(run)["leaderboard"], run / "judged" / who.identity
    for name in ("leaderboard", "disagreements", "units"):
        (judged / f"{name}.jsonl").rename(run / f"{name}-{who.identity}.jsonl")
    (run / "evaluation.json").write_text(json.dumps(table_of(run)))
    (judged / "table.json").unlink()
    judged.rmdir()
    before = state_of(run)
    judge.stop()
    evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=who, on_progress=fail)
    assert table_of(run)["leaderboard"] == boards and state_of(run) == before


@pytest.mark.parametrize("rows", [8, 60])  # fewer than make an outage, and more
def test_a_judge_that_dies_half_way_leaves_no_number_and_is_asked_only_for_the_rest(
    rows: int, tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    task, root = logicvista(tmp_path, [logicvista_row(i, "AB"[i % 2]) for i in range(rows)]), tmp_path / "runs"
    who = LeaderboardJudge(endpoint=judge.endpoint())
    undisturbed = table_of(evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "other", judge=who))
    asked = len(judge.asked)
    judge.stop()
    judge.follow({"when": "", "text": "A"}, {"die_after": 5})
    judge.start()
    with pytest.raises(Outage, match=r"kept: (the same command goes on|give the same command again)"):
        evaluate_benchmark(server.endpoint(), task, GREEDY, root, judge=who)
    (run,) = root.glob("logicvista-*")
    assert table_of(run)["leaderboard"] == {} and table_of(run)["strict"] == undisturbed["strict"]
    assert not (run / "judged" / who.identity).exists()
    judge.follow({"when": "", "text": "A"})
    judge.start()
    evaluate_benchmark(server.endpoint(), task, GREEDY, root, judge=who, on_progress=fail)
    assert table_of(run) == undisturbed
    assert len(judge.asked) == asked + rows  # five before, and the others after
    assert len(server.asked) == 2 * rows


# ---- killed and gone on with


def small_run(root: Path, rows: int = 2 * BATCH + 10) -> Task:
    return logicvista(root, [logicvista_row(i, "AB"[i % 2]) for i in range(rows)])


class Killed(Exception):
    """Stands for a kill between two batches."""


def stop_after_the_first_batch(task: Task, root: Path) -> Path:
    """The journal of a run that has one batch."""

    def stop(done: int, _: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        evaluate_benchmark(SMALL, task, GREEDY, root, on_progress=stop)
    (journal,) = root.glob("*/replies.jsonl")
    assert len(journal.read_text().splitlines()) == BATCH
    return journal


def stop_late(done: int, _: int) -> None:
    """A kill after the second batch."""
    if done == 127:
        raise DataError("nobody")


def test_a_run_goes_on_from_its_journal_a_torn_last_line_or_not(tmp_path: Path) -> None:
    task = small_run(tmp_path)
    whole = scores_of(evaluate_benchmark(SMALL, task, GREEDY, tmp_path / "whole"))
    journal = stop_after_the_first_batch(task, tmp_path / "runs")
    journal.write_bytes(journal.read_bytes()[:-30])
    with pytest.raises(DataError, match="nobody"):  # stopped again: what is appended stands on lines of its own
        evaluate_benchmark(SMALL, task, GREEDY, tmp_path / "runs", on_progress=stop_late)
    assert len(read_journal(journal)) == 127
    progress: list[tuple[int, int]] = []
    run = evaluate_benchmark(SMALL, task, GREEDY, tmp_path / "runs", on_progress=lambda *seen: progress.append(seen))
    assert progress == [(127, 138), (138, 138)]
    assert [s.example_id for s in scores_of(run)] == [s.example_id for s in whole]
    assert [s.greedy and s.greedy.verdict for s in scores_of(run)] == [s.greedy and s.greedy.verdict for s in whole]
    assert not journal.exists()


def test_a_journal_of_other_examples_or_with_a_bad_line_is_refused(tmp_path: Path) -> None:
    task = small_run(tmp_path)
    journal = stop_after_the_first_batch(task, tmp_path / "runs")
    lines = journal.read_text().splitlines(keepends=True)
    for strange, message in (
        (lines[0].replace("logicvista/", "logicvista/9999"), "got one more to logicvista/9999"),
        (lines[0], "got one more to logicvista/"),
        ('{"half": 1}\n', "line 65: expected a judged reply, got b'"),
    ):
        journal.write_text("".join([*lines, strange]))
        with pytest.raises(DataError) as error:
            evaluate_benchmark(SMALL, task, GREEDY, tmp_path / "runs", on_progress=fail)
        assert message in str(error.value) and str(error.value).endswith("delete it")


@pytest.mark.slow
def test_kill_9_costs_the_batch_in_flight_and_changes_no_reply(tmp_path: Path) -> None:
    rows = 12 * BATCH
    task = small_run(tmp_path / "data", rows)
    command = [sys.executable, "-m", "firsthand", "evaluate", "small", "--benchmark", "logicvista"]
    command += ["--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"), "--max-new-tokens", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    journals: list[Path] = []
    while not any(p.read_bytes().count(b"\n") >= BATCH for p in journals) and time.monotonic() < deadline:
        time.sleep(0.005)
        journals = list(tmp_path.glob("runs/*/replies.jsonl"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = journals[0].read_bytes().count(b"\n")
    assert BATCH <= kept < rows  # a kill may fall into the writing of a batch: its whole lines count
    progress: list[int] = []
    drawing = Protocol(max_new_tokens=2, samples=0)
    run = evaluate_benchmark(
        SMALL, task, drawing, tmp_path / "runs", name="small", on_progress=lambda done, _: progress.append(done)
    )
    assert run == journals[0].parent
    assert progress == [*range(kept, rows, BATCH), rows]
    whole = evaluate_benchmark(SMALL, task, drawing, tmp_path / "whole", name="small")
    assert (run / "scores.jsonl").read_bytes() == (whole / "scores.jsonl").read_bytes()


# ---- protocols that sample


def test_samples_give_the_mean_over_draws_with_questions_as_clusters(tmp_path: Path, server: ChatServer) -> None:
    server.follow({"when": "Question 0", "text": ["A", "B", "A", "A"]}, {"when": "", "text": "B"})
    run = evaluate_benchmark(server.endpoint(), logicvista(tmp_path), SAMPLED, tmp_path / "runs")
    first, *others = scores_of(run)
    assert first.greedy is None and [j.reply.text for j in first.samples] == ["B", "A", "A", "A"]  # seeds 1 to 4
    assert all(len(score.samples) == 4 for score in others)
    assert {(body["seed"], body["temperature"]) for body in server.asked} == {(s, 0.5) for s in (1, 2, 3, 4)}
    table = table_of(run)
    values = [0.0, 1.0, 1.0, 1.0] + [float(row["answer"] == "B") for row in ROWS[1:] for _ in range(4)]
    expected = clustered_mean(values, [i // 4 for i in range(32)])
    assert table["strict"]["value"] == table["accuracy"] == pytest.approx(expected.value)
    assert table["strict"]["ci95"] == table["ci95"] == [pytest.approx(expected.low), pytest.approx(expected.high)]
    assert (table["n"], table["questions"], table["strict"]["n"], table["strict"]["replies"]) == (32, 8, 8, 32)
    units = [json.loads(line) for line in (run / "units-strict.jsonl").read_text().splitlines()]
    assert [unit["cluster"] for unit in units] == [f"logicvista/{i // 4}" for i in range(32)]
    assert len({unit["question"] for unit in units}) == 32
    assert table["pass_at"] == {
        "1": pytest.approx(expected.value),
        "2": pytest.approx((1 + 4) / 8),
        "4": pytest.approx((1 + 4) / 8),
    }


def plan(
    *benchmarks: Benchmark, protocol: Protocol, seeds: tuple[int, ...] = (0,), judge: LeaderboardJudge | None = None
) -> EvaluationPlan:
    return EvaluationPlan(None, benchmarks, [protocol] * len(benchmarks), seeds, judge)


def test_seeds_are_runs_of_their_own_and_one_number(tmp_path: Path, server: ChatServer, judge: ChatServer) -> None:
    logicvista(tmp_path)
    server.follow({"when": "", "text": ["A", "B", "B"]})
    judge.follow({"when": "B", "text": "A"})
    once = Protocol(samples=1, greedy=False)
    who = LeaderboardJudge(endpoint=judge.endpoint())
    whole = plan(find("logicvista")[1][0], protocol=once, seeds=(0, 1), judge=who)
    summary = evaluate_all(server.endpoint(), whole, tmp_path, tmp_path / "runs")
    part = json.loads(summary.read_text())["benchmarks"]["logicvista"]
    tables = [table_of(tmp_path / "runs" / name) for name in part["runs"]]
    assert [name.rpartition("-")[0] for name in part["runs"]] == ["logicvista-m-s0", "logicvista-m-s1"]
    assert {body["seed"] for body in server.asked} == {1, 1001}
    texts = [{j.reply.text for s in scores_of(tmp_path / "runs" / name) for j in s.samples} for name in part["runs"]]
    assert texts == [{"B"}, {"B"}]
    assert (part["strict"]["n"], part["strict"]["replies"], part["strict"]["value"]) == (8, 16, 0.5)
    assert part["strict"]["ci95"] == tables[0]["strict"]["ci95"]  # the same questions twice are not more questions
    board = part["leaderboard"]
    assert (board["n"], board["replies"], board["value"], board["by"]) == (8, 16, 0.5, {"judge": 16})
    assert board["disagreements"] == sum(t["leaderboard"][who.identity]["disagreements"] for t in tables) == 16


def test_seeds_without_a_judge_have_a_number_only_if_rules_decide_every_seeds_replies(
    tmp_path: Path, server: ChatServer
) -> None:
    rows = [row for row in some("dynamath") if row["answer_type"] == "multiple choice"]
    write_set("dynamath", tmp_path, rows)
    plain, unclear = '{"solution": "so", "short answer": "C"}', "It is hard to say."
    server.follow({"when": "", "text": [plain, plain, unclear]})  # seed 1 of the first run, 1001 of the second
    once = Protocol(samples=1, greedy=False)
    dynamath = find("dynamath")[1][0]
    summary = evaluate_all(server.endpoint(), plan(dynamath, protocol=once, seeds=(0, 1)), tmp_path, tmp_path / "runs")
    board = json.loads(summary.read_text())["benchmarks"]["dynamath"]["leaderboard"]
    assert {body["seed"] % 3 for body in server.asked} == {1, 2}
    assert board["absent"] == NO_JUDGE and "value" not in board
    assert board["undecided"] == {NO_JUDGE: 10} and board["by"] == {"rules": 10}


def test_what_a_model_wrote_does_not_end_the_lines_of_a_file(tmp_path: Path, server: ChatServer) -> None:
    rows = [{**row, "question": row["question"] + "\u2028next\x85line"} for row in some("dynamath")]
    write_set("dynamath", tmp_path, [{**row, "answer_type": "text"} for row in rows])
    server.follow({"when": "", "text": '{"short answer": "a\u2028b\x85c"}'})
    once = Protocol(samples=1, greedy=False)
    several = plan(find("dynamath")[1][0], protocol=once, seeds=(0, 1))
    summary = evaluate_all(server.endpoint(), several, tmp_path, tmp_path / "runs")
    assert json.loads(summary.read_text())["benchmarks"]["dynamath"]["leaderboard"]["replies"] == 2 * len(rows)


@pytest.mark.parametrize("drawing", [GREEDY, Protocol(max_new_tokens=2, samples=2)])
def test_greedy_replies_are_not_drawn_under_several_seeds(drawing: Protocol, tmp_path: Path) -> None:
    logicvista(tmp_path)
    several = plan(find("logicvista")[1][0], protocol=drawing, seeds=(0, 1))
    with pytest.raises(RecipeError, match="greedy replies are the same under every seed"):
        evaluate_all(SMALL, several, tmp_path, tmp_path / "runs")
    with pytest.raises(RecipeError, match=r"expected each seed once, got \[1, 1\]"):
        evaluate_all(SMALL, several._replace(seeds=(1, 1)), tmp_path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# ---- suites


def test_a_suites_average_is_there_only_if_all_are_measured(tmp_path: Path) -> None:
    def table(value: float | None, **more: Any) -> dict[str, Any]:
        found = {} if value is None else {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 100}
        return {**found, "unmeasured": 0, **more}

    whole = {"benchmark": {"rows": 100}, "strict": table(0.5), "leaderboard": table(0.6)}
    other = {"benchmark": {"rows": 100}, "strict": table(0.2), "leaderboard": table(0.3)}
    found = averages({"a": whole, "b": other})
    assert (found["strict"]["value"], found["strict"]["of"]) == (pytest.approx(0.35), 2)
    assert found["leaderboard"]["value"] == pytest.approx(0.45)
    assert "partial" not in found["strict"]
    found = averages({"a": whole, "b": {**other, "leaderboard": table(None)}, "c": {**other, "strict": table(None)}})
    assert found == {
        "strict": {"absent": "not measured: c"},
        "leaderboard": {"absent": "not measured: b"},
    }
    short = {**other, "benchmark": {"rows": 90, "published_rows": 100}}
    some_lost = {**other, "leaderboard": table(0.3, unmeasured=1)}
    found = averages({"a": whole, "b": short, "c": some_lost})
    assert found["strict"]["partial"] == ["b"] and found["leaderboard"]["partial"] == ["b", "c"]
    strict_only = {key: value for key, value in whole.items() if key != "leaderboard"}
    assert set(averages({"a": strict_only})) == {"strict"}


def test_a_suite_reads_every_file_before_it_asks(tmp_path: Path, server: ChatServer) -> None:
    logicvista(tmp_path)
    both = plan(find("logicvista")[1][0], find("mathvista")[1][0], protocol=GREEDY)
    with pytest.raises(DataError, match=r"expected MathVista_MINI\.tsv"):
        evaluate_all(server.endpoint(), both, tmp_path, tmp_path / "runs")
    assert not server.asked and not (tmp_path / "runs").exists()


# ---- models behind a server


def ask_server(tmp_path: Path, server: ChatServer, *rules: dict[str, Any], rows: int = 4) -> tuple[Any, list[Score]]:
    server.follow(*rules)
    task = logicvista(tmp_path, [logicvista_row(i) for i in range(rows)])
    run = evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs")
    return table_of(run), scores_of(run)


def reply(score: Score) -> str:
    assert score.greedy is not None
    return score.greedy.reply.text


def test_a_model_file_at_the_command_line_sends_pictures_system_prompt_and_limits(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logicvista(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.yaml").write_text(
        yaml.safe_dump({"base_url": server.endpoint().base_url, "model": "org/Big-VL", "extra": {"top_k": 1}})
    )
    command = "evaluate model.yaml --benchmark logicvista --data-root . --max-new-tokens 9 --system Look."
    assert main([*command.split(), "--set", "protocol.suffix=' Go.'"]) == 0
    assert "logicvista" in capsys.readouterr().out
    wanted = ROWS[0]["question"] + " Go."
    body = next(body for body in server.asked if body["messages"][1]["content"][1]["text"] == wanted)  # in no order
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_k"]) == ("org/Big-VL", 9, 0.0, 1)
    system, user = body["messages"]
    assert system == {"role": "system", "content": "Look."}
    image, text = user["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"] == wanted
    (run,) = (tmp_path / "runs").glob("logicvista-Big-VL-s0-*")
    assert json.loads((run / "recipe.json").read_text())["endpoint"]["model"] == "org/Big-VL"


def test_what_a_server_cuts_leaves_empty_or_refuses_is_counted_as_what_it_is(
    tmp_path: Path, server: ChatServer
) -> None:
    table, scores = ask_server(
        tmp_path,
        server,
        {"when": "Question 0", "text": "and so on\nand so", "finish": "length"},
        {"when": "Question 1", "text": ""},
        {"when": "Question 2", "status": 400},
        {"when": "", "text": "A"},
        rows=5,
    )
    judged = [score.greedy for score in scores]
    assert all(judged)
    assert [j.verdict.score for j in judged if j] == [0.0, 0.0, None, 1.0, 1.0]
    assert [j.reply.stop for j in judged if j][:2] == [StopReason.LENGTH, StopReason.EOS]
    assert judged[2] is not None and judged[2].verdict.status is Status.FAILED
    assert judged[2].verdict.why.startswith("rejected: 400")
    assert (table["n"], table["unmeasured"], table["accuracy"]) == (4, 1, 0.5)
    assert (table["strict"]["n"], table["strict"]["unmeasured"]) == (4, 1)
    assert (table["truncated"], table["unparsed"]) == (0.25, 0.5)  # of those that were asked


def test_a_question_that_was_never_put_to_the_model_is_no_matter_for_the_judge(
    tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    server.follow({"when": "Question 2", "status": 400}, {"when": "Question 3", "text": ""}, {"when": "", "text": "A"})
    who = LeaderboardJudge(endpoint=judge.endpoint())
    task = logicvista(tmp_path, [logicvista_row(i) for i in range(4)])
    run = evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=who)
    board = table_of(run)["leaderboard"][who.identity]
    assert (board["n"], board["unmeasured"], board["replies"], len(judge.asked)) == (3, 1, 4, 3)
    (why,) = board["undecided"]
    assert why.startswith("rejected: 400")
    marks = [json.loads(line) for line in judged_file(run, who.identity, "leaderboard").read_text().splitlines()]
    assert [mark["mark"] is not None for mark in marks] == [True, True, False, True]


def test_thinking_is_part_of_the_reply_and_lengths_are_the_servers(tmp_path: Path, server: ChatServer) -> None:
    table, scores = ask_server(tmp_path, server, {"when": "", "text": "<answer>A</answer>", "reasoning": "B? No."})
    assert reply(scores[0]) == "<think>B? No.</think><answer>A</answer>"
    assert (table["accuracy"], table["reply_tokens"]) == (1.0, len("<answer>A</answer>"))


def test_lengths_are_absent_where_the_server_counts_none(tmp_path: Path, server: ChatServer) -> None:
    table, scores = ask_server(tmp_path, server, {"when": "", "text": "A", "usage": False})
    assert "reply_tokens" not in table and table["accuracy"] == 1.0
    assert [score.greedy and score.greedy.reply.length for score in scores] == [None] * 4


def test_a_server_in_trouble_is_one_clear_error_and_the_same_call_goes_on(tmp_path: Path, server: ChatServer) -> None:
    trouble = {"when": "Question 2", "status": 500}
    with pytest.raises(Outage) as error:
        ask_server(tmp_path, server, trouble, {"when": "", "text": "A"})
    assert str(error.value) == (
        f"{server.endpoint().base_url}: 1 of 4 requests were not answered; look at the server. The others are kept: "
        "the same command goes on"
    )
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "DONE").exists() and not (run / "evaluation.json").exists()
    asked = len(server.asked)
    table, _ = ask_server(tmp_path, server, {"when": "", "text": "A"})
    assert len(server.asked) == asked + 1 and table["accuracy"] == 1.0


def test_a_server_that_is_not_there_is_told_at_the_command_line(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    logicvista(tmp_path)
    monkeypatch.chdir(tmp_path)
    url = server.endpoint().base_url
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"base_url": url, "model": "m", "attempts": 1}))
    assert main(["evaluate", "model.yaml", "--benchmark", "logicvista", "--data-root", "."]) == 2
    said = capsys.readouterr().err
    assert said.startswith("firsthand: ") and "Traceback" not in said
    assert url in said and "has answered none of the first" in said and "Look at the server" in said


# ---- pictures' bounds, and what a leaderboard's scorer is given


def image_tokens(folder: Path, drawing: Protocol, width: int, height: int) -> int:
    example = Example(question="?", images=(picture(width, height),), answer=Digit(value="1"))
    encoder = LocalGenerator.load(folder, drawing)._encoder
    pad = encoder.prompt(example).token_ids
    return max(pad.count(token) for token in set(pad))


def test_a_protocols_pixel_bounds_change_how_many_tokens_a_picture_has(tmp_path: Path) -> None:
    folder, one = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1), 28 * 28
    assert image_tokens(folder, Protocol(), 112, 112) == 16
    assert image_tokens(folder, Protocol(max_pixels=4 * one), 112, 112) == 4
    assert image_tokens(folder, Protocol(max_pixels=64 * one), 224, 224) == 64  # beyond the folder's own 16
    assert image_tokens(folder, Protocol(min_pixels=9 * one), 56, 56) == 9


def test_pixel_bounds_are_refused_by_models_that_size_pictures_themselves(tmp_path: Path) -> None:
    folder = family_folder(tmp_path / "other", "smolvlm")
    task = logicvista(tmp_path)
    with pytest.raises(
        DataError, match="expected no max_pixels, for a model of type smolvlm sizes pictures in its own"
    ):
        evaluate_benchmark(folder, task, Protocol(samples=0, max_pixels=9999), tmp_path / "runs")


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("<think>B</think><answer> A </answer>", "A"),
        ("no tags: A", "no tags: A"),
        ("<answer>A</answer> or <answer>B</answer>", "<answer>A</answer> or <answer>B</answer>"),
        ("<think>B</think><answer>A", "<think>B</think><answer>A"),
        ("A</answer>", "A</answer>"),
        ("<answer>A</answer></answer>", "<answer>A</answer></answer>"),
        ("</answer><answer>A", "</answer><answer>A"),
        ("<answer></answer>", ""),
    ],
)
def test_a_leaderboard_is_given_the_one_answer_block_or_the_whole_reply(text: str, given: str) -> None:
    assert Protocol(prediction="answer_block").predicted(text) == given
    assert Protocol().predicted(text) == text


def test_the_judge_sees_what_the_protocol_leaves_of_a_reply(
    tmp_path: Path, server: ChatServer, judge: ChatServer
) -> None:
    server.follow({"when": "", "text": "<think>THOUGHT</think><answer>WORD</answer>"})
    task, who = logicvista(tmp_path, ROWS[:1]), LeaderboardJudge(endpoint=judge.endpoint())
    whole: Callable[[], str] = lambda: json.dumps(judge.asked[-1])  # noqa: E731
    evaluate_benchmark(server.endpoint(), task, GREEDY, tmp_path / "runs", judge=who)
    assert "THOUGHT" in whole() and "WORD" in whole()
    block = GREEDY.model_copy(update={"prediction": "answer_block"})
    evaluate_benchmark(server.endpoint(), task, block, tmp_path / "runs", judge=who)
    assert "THOUGHT" not in whole() and "WORD" in whole()


def test_a_picture_is_kept_once_by_its_content(tmp_path: Path, server: ChatServer) -> None:
    run = evaluate_benchmark(server.endpoint(), logicvista(tmp_path), GREEDY, tmp_path / "runs")
    (kept,) = (run / "images").iterdir()
    assert kept.read_bytes() == png()


# ---- the command line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--temperature 0.5", "--temperature is that of samples, and none are drawn; add --samples N"),
        ("--set max_new_tokens=3", "--set max_new_tokens=3: with --benchmark expected protocol.KEY=VALUE or judge.KEY"),
        ("--set protocol.max_tokens=3", "max_tokens: unknown key; did you mean 'max_new_tokens'?"),
        ("--set protocol.greedy=false --samples 0", "samples: expected 1 or more where greedy is false"),
        ("--judge nowhere.yaml", "nowhere.yaml: no such file"),
        ("--seeds 0 1", "--seeds: greedy replies are the same under every seed"),
        ("--protocol vlaaa", "did you mean 'vlaa'?"),
    ],
)
def test_a_mistake_at_the_command_line_is_one_message_and_nothing_is_made(
    more: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logicvista(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "small", "--benchmark", "logicvista", "--data-root", ".", *more.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_a_benchmark_that_is_done_is_said_to_be_unless_another_judge_marks_it(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logicvista(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"base_url": server.endpoint().base_url, "model": "m"}))
    command = ["evaluate", "m.yaml", "--benchmark", "logicvista", "--data-root", "."]
    for more, is_done in (([], False), ([], True), (["--judge", "m.yaml"], False), (["--judge", "m.yaml"], True)):
        assert main([*command, *more]) == 0
        told = capsys.readouterr().out
        assert ("already done: runs/logicvista-m-" in told) == is_done, more


def test_the_command_says_where_replies_are_and_that_a_judge_is_not_needed(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logicvista(tmp_path)
    (tmp_path / "aime24.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"base_url": server.endpoint().base_url, "model": "m"}))
    assert main(["evaluate", "m.yaml", "--benchmark", "logicvista", "--data-root", "."]) == 0
    (run,) = Path("runs").glob("logicvista-m-s0-*")
    told = capsys.readouterr().out
    assert f"replies: {run}\n" in told and "already done" not in told
    judged = ["evaluate", "m.yaml", "--benchmark", "aime24", "--data-root", ".", "--judge", "m.yaml"]
    assert main(judged) == 2
    assert "--judge: aime24 has no leaderboard's scorer" in capsys.readouterr().err
    assert main(judged[:-2]) == 0  # avg@32 unless the user says otherwise
    assert main([*judged[:-2], "--samples", "2"]) == 0
    assert sorted(len(scores_of(run)[0].samples) for run in Path("runs").glob("aime24-m-s0-*")) == [2, 32]
