"""A stock model, which never learnt our tags: its answers are read; where they cannot be, one line says what helps."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmark_server import ChatServer

from firsthand import study
from firsthand.cli.main import main
from firsthand.config import build
from firsthand.errors import RecipeError
from firsthand.evaluation import Protocol
from firsthand.records import Score
from firsthand.report import write_report
from firsthand.reward.alarms import unread_remedy

SUMS = {"22 + 14": 36, "5 + 4": 9, "31 + 8": 39, "12 + 60": 72}
REPLIES = {
    "22 + 14": "22 + 14 = 36.",
    "5 + 4": "The answer is 9",
    "31 + 8": "<think>31 and 8</think><answer>38</answer>",
    "12 + 60": "I would rather not say.",
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """A folder with sums.jsonl and endpoint.yaml, whose server answers as a stock model does."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"What is {left}?", "answer": str(sum_)} for left, sum_ in SUMS.items()]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = ChatServer(tmp_path / "server", [{"when": key, "text": text} for key, text in REPLIES.items()])
    Path("endpoint.yaml").write_text(f"base_url: http://127.0.0.1:{server.port}/v1\nmodel: stock\n")
    yield server
    server.stop()


def evaluated(*options: str) -> dict[str, Any]:
    assert main(["evaluate", "endpoint.yaml", "--data", "sums.jsonl", "--samples", "0", *options]) == 0
    newest = max(Path("runs").glob("evaluate-*"), key=lambda run: (run / "DONE").stat().st_mtime_ns)
    table: dict[str, Any] = json.loads((newest / "evaluation.json").read_text())
    return table


def test_a_reply_without_tags_is_read_by_what_it_states(desk: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    table = evaluated()
    assert (table["accuracy"], table["tagged"], table["unparsed"]) == (0.5, 0.25, 0.25)
    assert table["protocol"]["answer"] == "stated"
    said = capsys.readouterr().out
    assert "replies with their answer in tags: 25.0%" in said and "NOTE" not in said


def test_by_tags_alone_a_stock_model_scores_nothing_and_one_line_says_what_helps(
    desk: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    table = evaluated("--set", "protocol.answer=tags")
    assert (table["accuracy"], table["unparsed"], table["unstated"]) == (0.0, 0.75, 0.75)
    assert "answer" not in table["protocol"]  # the id of evaluations that were made before there was a choice
    said = capsys.readouterr().out
    [note] = [line for line in said.splitlines() if line.startswith("NOTE: ")]
    assert note == (
        "NOTE: 75% of replies could not be read, and count as wrong; 75% state no answer: ask for one with "
        "--system default"
    )
    assert "answers read in tags alone" in said
    page = write_report([*Path("runs").glob("evaluate-*")], Path("report.html"), "Stock").read_text()
    assert "75% of replies could not be read, and count as wrong" in page and "in tags</th>" in page
    assert evaluated()["accuracy"] == 0.5  # a run of its own, not the one that is done


def test_how_an_evaluation_reads_is_said_in_one_place(desk: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "endpoint.yaml", "--data", "sums.jsonl", "--set", "answer=tags"]) == 2
    assert "set protocol.answer=tags" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_study_says_so_before_it_trains() -> None:
    test = {"data": {"worlds": ["count"]}, "reward": {"answer": "tags"}}
    with pytest.raises(RecipeError, match=r"set protocol\.answer=tags"):
        build(study.Test, test, "study.yaml")
    assert build(study.Test, {**test, "protocol": {"answer": "tags"}}, "study.yaml").protocol.answer == "tags"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, None),
        ({"unparsed": 0.5, "unstated": 0.5, "truncated": 0.5}, None),
        ({"unparsed": 0.9, "unstated": 0.9, "truncated": 0.9}, ["90% were cut: raise --max-new-tokens", "--system"]),
        ({"unparsed": 0.9, "unstated": 0.1, "truncated": 0.0}, ["80% state one of another kind"]),
        ({"unparsed": 1.0, "unstated": 1.0, "truncated": 0.0}, ["100% state no answer: ask for one with --system"]),
    ],
)
def test_the_remedy_names_the_likely_causes(table: Mapping[str, float], says: list[str] | None) -> None:
    found = unread_remedy(table)
    assert (found is None) == (says is None)
    assert all(part in (found or "") for part in says or [])
    assert "\n" not in (found or "")


def test_free_text_without_tags_is_read_whole(desk: ChatServer) -> None:
    desk.follow({"when": "", "text": "What I see is\n\na red cube"})
    command = ["evaluate", "endpoint.yaml", "--data", "worlds:describe:test:1", "--samples", "0"]
    assert main([*command, "--set", "open.scorer=overlap"]) == 0
    [run] = Path("runs").glob("evaluate-*")
    score = Score.model_validate_json((run / "scores.jsonl").read_text())
    assert score.greedy is not None and score.greedy.verdict.parsed == "What I see is\n\na red cube"


def test_an_evaluation_of_an_earlier_version_was_read_by_tags() -> None:
    protocol = Protocol(samples=0)
    earlier = {key: value for key, value in protocol.content.items() if key != "answer"}
    assert Protocol.of_data(earlier) == protocol.model_copy(update={"answer": "tags"})
    assert Protocol.of_data(protocol.content) == protocol


def test_the_default_system_prompt_asks_for_the_form_of_each_row_s_kind(desk: ChatServer) -> None:
    rows = [
        {"question": "0?", "answer": "7", "kind": "digit"},
        {"question": "1?", "answer": "A", "choices": ["cat", "dog"]},
        {"question": "2?", "answer": "teal", "kind": "text"},
        {"question": "3?", "answer": "teal", "kind": "text", "system": "Be brief."},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    desk.follow({"when": "", "text": "7"})
    command = ["evaluate", "endpoint.yaml", "--data", "rows.jsonl", "--samples", "0", "--system", "default"]
    assert main(command) == 0
    asked = {body["messages"][-1]["content"]: body["messages"][0] for body in desk.asked}
    told = [next(one for text, one in asked.items() if f"{n}?" in str(text)) for n in range(4)]
    assert [one["role"] for one in told] == ["system"] * 4
    forms = ["one number", "the letter of the right option", "one word"]
    assert all(form in one["content"] and "<answer>" in one["content"] for form, one in zip(forms, told, strict=False))
    assert told[3]["content"] == "Be brief."
    [run] = Path("runs").glob("evaluate-*")
    assert json.loads((run / "recipe.json").read_text())["system_id"]


def test_words_of_one_kind_are_evaluated_with_the_kind_alone(desk: ChatServer) -> None:
    rows = [{"question": f"{n}?", "answer": word} for n, word in enumerate(("teal", "triangle"))]
    Path("words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    desk.follow({"when": "0?", "text": "late"}, {"when": "1?", "text": "It is a triangle."})
    assert main(["evaluate", "endpoint.yaml", "--data", "words.jsonl", "--kind", "text", "--samples", "0"]) == 0
    [run] = Path("runs").glob("evaluate-*")
    scores = [Score.model_validate_json(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [score.greedy and score.greedy.verdict.score for score in scores] == [0.0, 1.0]
