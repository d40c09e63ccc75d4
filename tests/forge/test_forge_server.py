"""The forge over HTTP: against a server that misbehaves on plan, and through batch files; and the formats of others."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import Server
from forged import data_set

from firsthand.config import build
from firsthand.data import load_examples
from firsthand.forge import ForgeConfig, NothingKept, Unanswered, Waiting, read_answers, run_forge
from firsthand.teacher import BudgetSpent, Outage, client

PLANS = [
    ("429 429/0 think <answer>7</answer>", "kept"),
    ("500 reset think <answer>7</answer>", "kept"),
    ("cut half 503 think <answer>7</answer>", "kept"),
    ("hang think <answer>7</answer>", "kept"),
    ("drip think <answer>7</answer>", "kept"),
    ("reasoning <answer>7</answer>", "kept"),
    ("think <answer>sieben</answer>", "undecided"),
    ("think <answer>8</answer>", "answer_disagrees"),
    ("think <answer>7</answer><answer>8</answer>", "no_answer"),
    ("ok <answer>7</answer>", "kept"),
    ("empty", "teacher_empty"),
    ("null", "teacher_empty"),
    ("refusal", "teacher_refused"),
    ("filter", "teacher_filtered"),
    ("length", "teacher_truncated"),
    ("400", "teacher_rejected"),
    ("unclosed", "teacher_empty"),
]
"""What a server does to a row's attempts, and what becomes of the row. The last word is what its answer quotes."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(0.0)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_NAP_S", 0.02)


def config(server: Server, folder: Path, copies: int = 1, **changes: Any) -> ForgeConfig:
    """A forge of the plans: each question is a plan, which the prompts pass on as it is."""
    lines = [
        {"id": f"{copy}-{i}", "question": f"row {copy}-{i}: {plan}", "answer": "7", "kind": "digit"}
        for copy in range(copies)
        for i, (plan, _) in enumerate(PLANS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "plain.txt").write_text("{{ question }}")
    endpoint = {
        "base_url": f"http://127.0.0.1:{server.port}/v1",
        "model": "m",
        "timeout_s": 1.0,
        "in_flight": {"start": 8, "max": 16},
    }
    content = {
        "name": "faults",
        "sources": [{"path": str(folder / "rows.jsonl")}],
        "teachers": {"default": endpoint},
        "prompts": {"distill": str(folder / "plain.txt")},
        "verify": {"judge": False},
    }
    return build(ForgeConfig, {**content, **changes}, "test")


def test_whatever_a_server_does_every_row_is_kept_or_dropped_with_its_reason(server: Server, tmp_path: Path) -> None:
    chosen = config(server, tmp_path, copies=2)
    funnel, costs = run_forge(chosen, tmp_path / "out")
    expected = Counter(reason for _, reason in PLANS)
    found: Counter[str] = Counter()
    for step in funnel["steps"]:
        assert step["read"] == step["kept"] + sum(step["dropped"].values())
        found.update(step["dropped"])
    kept = expected.pop("kept")
    assert found == Counter({reason: 2 * n for reason, n in expected.items()})
    assert (
        sum(len(load_examples(str(tmp_path / "out" / part))) for part in ("sft", "rl") if funnel["parts"][part])
        == 2 * kept
    )
    seen = server.seen
    assert all(n == 1 for n in seen["answered"].values())
    assert costs[0]["requests"] == 2 * len(PLANS)
    assert [row["dollars"] for row in costs] == [None] * len(costs)  # nobody has said what the server charges

    run_forge(chosen, tmp_path / "out")
    assert server.seen["attempts"] == seen["attempts"]


def test_a_spent_budget_stops_the_forge_and_a_larger_one_goes_on(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent, match="the budget is spent"):
        run_forge(config(server, tmp_path, budget={"tokens": 60}), tmp_path / "out")
    before = sum(server.seen["answered"].values())
    assert 0 < before < len(PLANS)
    run_forge(config(server, tmp_path), tmp_path / "out")
    assert all(n == 1 for n in server.seen["answered"].values())
    another = Server(0.0)
    try:
        run_forge(config(another, tmp_path), tmp_path / "whole")
    finally:
        another.stop()
    assert data_set(tmp_path / "out") == data_set(tmp_path / "whole")


def test_an_outage_turns_no_row_into_a_failure(server: Server, tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"row {i}: 503", "answer": "7", "kind": "digit"}) for i in range(60)]
    chosen = config(server, tmp_path)
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    endpoint = {**chosen.model_dump(mode="json")["teachers"]["default"], "attempts": 1}
    with pytest.raises(Outage):
        run_forge(config_of(chosen, teachers={"default": endpoint}), tmp_path / "out")
    assert not list((tmp_path / "out").glob(".work/3-distill-*/part-*"))


def config_of(chosen: ForgeConfig, **changes: Any) -> ForgeConfig:
    return build(ForgeConfig, {**chosen.model_dump(mode="json", exclude_none=True), **changes}, "test")


def test_rows_that_nobody_answers_stop_the_forge_for_another_try_or_are_dropped(server: Server, tmp_path: Path) -> None:
    def asked(plan: str) -> ForgeConfig:
        chosen = config(server, tmp_path)
        lines = [{"question": f"row {i}: think <answer>7</answer>", "answer": "7", "kind": "digit"} for i in range(9)]
        lines[4]["question"] = f"row 4: {plan}"
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        endpoint = {**chosen.model_dump(mode="json")["teachers"]["default"], "attempts": 2}
        return config_of(chosen, teachers={"default": endpoint})

    passing = asked("503 503 503 think <answer>7</answer>")
    with pytest.raises(Unanswered, match="distill: 1 rows got no answer"):
        run_forge(passing, tmp_path / "out")
    funnel, _ = run_forge(passing, tmp_path / "out")
    assert [step["kept"] for step in funnel["steps"]] == [9] * 6
    assert all(n == 1 for n in server.seen["answered"].values())
    lasting = asked("503")
    funnel, _ = run_forge(lasting, tmp_path / "other", give_up=True)
    assert funnel["steps"][2]["dropped"] == {"teacher_unanswered": 1}


def test_a_dead_server_is_told_before_a_folder_is_made(server: Server, tmp_path: Path) -> None:
    chosen = config(server, tmp_path)
    judge = {"base_url": f"http://127.0.0.1:{unused_port()}/v1", "model": "judge"}
    teachers = {**chosen.model_dump(mode="json", exclude_none=True)["teachers"], "verify": judge}
    with pytest.raises(Outage, match=rf"{judge['base_url']}/chat/completions cannot be reached.*Start the server"):
        run_forge(config_of(chosen, teachers=teachers, verify={"judge": True}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(("plan", "reason"), [("empty", "teacher_empty"), ("think <answer>8</answer>", "disagrees")])
def test_a_forge_that_keeps_nothing_says_why_and_keeps_what_was_paid(
    server: Server, tmp_path: Path, plan: str, reason: str
) -> None:
    chosen = config(server, tmp_path)
    lines = [json.dumps({"question": f"row {i}: {plan}", "answer": "7", "kind": "digit"}) for i in range(5)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    for _ in range(2):
        with pytest.raises(NothingKept, match=rf"none of 5 rows is left .*\n  \w+: \w*{reason} 5, such as "):
            run_forge(chosen, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".work"]
    assert all(n == 1 for text, n in server.seen["attempts"].items())


# ---- batch files


def answered(files: list[Path], out: Path) -> Path:
    """What a batch service returns: outputs in another order, one line per request."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    with out.open("w") as output:
        for line in reversed(lines):
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            text = line["body"]["messages"][-1]["content"]
            choice = {"message": {"content": f"<think>hm</think>{text}"}, "finish_reason": "stop"}
            response = {"status_code": 200, "body": {"choices": [choice], "model": "m"}}
            output.write(
                json.dumps({"id": "r", "custom_id": line["custom_id"], "response": response, "error": None}) + "\n"
            )
    return out


def test_a_whole_forge_runs_through_batch_files_and_asks_no_server(server: Server, tmp_path: Path) -> None:
    chosen = config(server, tmp_path)
    with pytest.raises(Waiting, match="distill: its requests are in"):
        run_forge(chosen, tmp_path / "out", batch_out=tmp_path / "batches")
    files = sorted((tmp_path / "batches/distill").glob("*.jsonl"))
    outputs = answered(files, tmp_path / "outputs.jsonl")
    assert read_answers(chosen, tmp_path / "out", [outputs]) == len(PLANS)
    assert read_answers(chosen, tmp_path / "out", [outputs]) == 0
    funnel, _ = run_forge(chosen, tmp_path / "out", batch_out=tmp_path / "batches")
    assert funnel["steps"][2]["dropped"] == {"no_answer": 1}
    assert server.seen["attempts"] == {}


# ---- the formats of others


def test_exports_hold_the_same_rows(server: Server, tmp_path: Path) -> None:
    chosen = build(
        ForgeConfig,
        {
            "name": "exports",
            "sources": [{"worlds": ["count", "chart", "geometry", "locate"], "number": 40}],
            "teachers": {"default": {"scenes": True}},
            "exports": ["trl", "vlaa"],
        },
        "test",
    )
    run_forge(chosen, tmp_path)
    for part in ("sft", "rl"):
        ours = load_examples(str(tmp_path / part))
        trl = load_examples(str(tmp_path / "trl" / part))
        # Their file of demonstrations does not say what kind an answer is.
        vlaa = load_examples(str(tmp_path / "vlaa" / f"{part}.json"), kind="open" if part == "sft" else None)
        for others in (trl, vlaa):
            assert [e.question for e in others] == [e.question for e in ours]
            assert [[p.sha256 for p in e.images] for e in others] == [[p.sha256 for p in e.images] for e in ours]
        told = {"size"}  # of a box, which a reader takes from the picture
        assert [e.answer.model_dump(exclude=told) for e in trl] == [e.answer.model_dump(exclude=told) for e in ours]
        if part == "sft":
            assert [e.traces[0].text for e in trl] == [e.traces[0].text for e in ours]
    assert all(e.traces == () for e in load_examples(str(tmp_path / "trl/rl")))
    run_forge(config_of(chosen, exports=[]), tmp_path)
    assert not (tmp_path / "trl").exists() and not (tmp_path / "vlaa").exists()
