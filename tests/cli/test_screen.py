"""Tables of the terminal: whole at 80 columns, nothing cut at fewer, one unit, and no number that was not measured."""

import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as Terminal

from firsthand.cli.console import Console
from firsthand.cli.terminal.benchmarks import show_summary
from firsthand.cli.terminal.comparison import show_comparison
from firsthand.cli.terminal.forge import show_funnel, step_bars
from firsthand.cli.terminal.preflight import show, show_arms
from firsthand.cli.terminal.rewards import show_tallies
from firsthand.cli.terminal.screen import NOTE, progress_bars
from firsthand.config import build
from firsthand.evaluation import Protocol
from firsthand.evaluation.grading import Tally
from firsthand.forge import StepProgress
from firsthand.preflight import PreflightResult, preflight
from firsthand.recipe import Recipe
from firsthand.teacher import Progress

ROW: dict[str, Any] = {
    "accuracy": 0.195,
    "ci95": [0.121, 0.2891],
    "n": 120,
    "pass_at": {"1": 0.2, "2": 0.3, "4": 0.4},
    "truncated": 0.0,
    "unparsed": 0.125,
    "reply_tokens": 31.4,
}


FAMILIES = ("counting", "geometry", "locate")
RECIPE = build(Recipe, {"name": "mine", "data": {"worlds": ["count"], "number": 2}, "prompts": 1}, "test")


@cache
def examined(device: str | None) -> PreflightResult:
    return preflight(RECIPE, device)


@pytest.fixture(params=[("80", ""), ("60", ""), ("40", ""), ("80", "dumb")], ids=["80", "60", "40", "dumb"])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The width of a terminal, which rich takes for one."""
    width, term = request.param
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", term or "xterm")
    return int(width)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()


def evaluation(tmp_path: Path) -> Path:
    table = {**ROW, "families": dict.fromkeys(FAMILIES, ROW), "protocol": Protocol(samples=4).content}
    (tmp_path / "evaluation.json").write_text(json.dumps(table))
    return tmp_path / "evaluation.json"


def test_an_evaluation_is_whole_at_every_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    Console().families(evaluation(tmp_path))
    *table, covers, protocol = shown(capsys)
    assert not any("…" in line or "..." in line for line in table)
    assert max(map(len, table)) <= columns
    said = " ".join(" ".join(table).split())
    for word in (
        "accuracy",
        "19.5 (12.1 to 28.9)",
        "pass@1",
        "pass@4",
        "40.0",
        "unread",
        "12.5",
        "tokens",
        "31",
        "120",
    ):
        assert word in said, word
    assert all(family in said for family in (*FAMILIES, "all"))
    assert "pass@8" not in said and "0.195" not in said
    assert covers == "in percent; intervals over questions" and protocol.startswith("protocol: ")


def test_a_study_is_whole_at_every_width(tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int) -> None:
    row = {**ROW, "covers": "questions and training seeds"}
    (tmp_path / "results.json").write_text(json.dumps({"arms": {"base": row, "sft+grpo from sft": row}}))
    Console().table(tmp_path / "results.json")
    *table, covers = shown(capsys)
    assert max(map(len, table)) <= columns and not any("…" in line for line in table)
    assert "sft+grpo from sft" in " ".join(" ".join(table).split())
    assert covers == "in percent; intervals over questions and training seeds"


def test_rewards_and_a_funnel_are_whole_at_every_width(capsys: pytest.CaptureFixture[str], columns: int) -> None:
    show_tallies({"digit": Tally(), "geometry": Tally()})
    dropped = {"answer_disagrees": 42, "caption_too_short": 7, "not_a_question": 3, "question_is_a_near_duplicate": 2}
    funnel = {
        "steps": [{"step": "collect", "read": 1000, "kept": 946, "dropped": dropped}],
        "parts": {"sft": {"": 3}, "rl": {}},
    }
    show_funnel(funnel, [])
    lines = shown(capsys)
    assert max(map(len, lines)) <= columns and not any("…" in line for line in lines)
    said = " ".join(" ".join(lines).split())
    assert all(word in said for word in ("replies", "wrong", "format", "timed", "unscored", *dropped))


@pytest.mark.parametrize("device", [None, "rtx4090"], ids=["here", "a card"])
def test_a_preflight_is_whole_at_every_width(
    capsys: pytest.CaptureFixture[str], columns: int, device: str | None
) -> None:
    plan = examined(device)
    show(RECIPE, plan)
    show_arms({"base": RECIPE, "sft-plain+grpo": RECIPE}, {"sft-plain+grpo": plan}, 3)
    lines = shown(capsys)
    assert not any("…" in line for line in lines)
    said = " ".join(" ".join(lines).split())
    words = ["gradients and workspace", "keys and values", "of the rate", "sft-plain+grpo", "largest in"]
    for word in [*words, *(["one row per forward"] if device else [])]:
        assert word in said, word


def test_a_comparison_is_whole_at_every_width(capsys: pytest.CaptureFixture[str], columns: int) -> None:
    number = {"value": 0.195, "ci95": [0.121, 0.2891], "covers": "questions", "n": 120, "runs": 1}
    names = ("mathvista", "mathvision", "dynamath, max_new_tokens 800")
    models = {model: dict.fromkeys(names, number) for model in ("base", "grpo")}
    content = {"scorer": "strict", "baseline": "base", "models": models, "differences": {}, "notes": []}
    show_comparison(content)
    head, *table = shown(capsys)
    assert head == "scorer: strict; in percent, with 95 % intervals over questions"
    assert max(map(len, table)) <= columns and not any("…" in line for line in table)
    said = " ".join(" ".join(table).split())
    assert said.count("19.5 (12.1 to 28.9)") == 6 and all(name in said for name in names)


def test_a_benchmark_is_in_percent_and_whole_at_every_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    marks = {"value": 0.195, "ci95": [0.121, 0.2891], "n": 120, "replies": 120, "unmeasured": 0, "headline": "accuracy"}
    board = {"undecided": {}, "by": {}, "quirks": {}, "disagreements": 0, **marks}
    part = {"strict": marks, "leaderboard": board, "benchmark": {"rows": 120}, "runs": ["run"], "seeds": [0]}
    part |= {"truncated": 0.0, "unparsed": 0.125, "pass_at": {"1": 0.2, "4": 0.4}, "protocol": Protocol().content}
    summary = {"title": "Mine", "model": "grpo", "benchmarks": {"open-lmm-reasoning": part}}
    (tmp_path / "mine.json").write_text(json.dumps(summary))
    show_summary(tmp_path / "mine.json")
    *table, covers, _, _ = shown(capsys)
    assert max(map(len, table)) <= columns and not any("…" in line for line in table)
    said = " ".join(" ".join(table).split())
    assert said.count("19.5 (12.1 to 28.9)") == 2 and all(word in said for word in ("pass@4", "40.0", "12.5", "unread"))
    assert covers == "in percent; intervals over questions"


def test_what_was_not_measured_is_a_dash_and_an_unmeasured_pass_at_k_is_no_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"n": 0, "protocol": Protocol(samples=0).content}
    (tmp_path / "evaluation.json").write_text(json.dumps(table))
    Console().families(tmp_path / "evaluation.json")
    said = capsys.readouterr().out
    assert "pass@" not in said and ["all", "-", "-", "0"] in [line.split() for line in said.splitlines()]


def test_a_step_whose_price_nobody_knows_has_cost_no_zero_dollars(capsys: pytest.CaptureFixture[str]) -> None:
    spent = {"step": "distil", "requests": 3, "prompt_tokens": 10, "completion_tokens": 20}
    funnel: dict[str, Any] = {"steps": [], "parts": {"sft": {}, "rl": {}}}
    show_funnel(funnel, [{**spent, "dollars": None}, {**spent, "dollars": 1.5}])
    said = capsys.readouterr().out
    assert (
        "distil: 3 requests, 10 + 20 tokens, price unknown" in said and "tokens, $1.50" in said and "0.00" not in said
    )


@pytest.mark.parametrize("width", [120, 80, 60])
def test_a_bar_takes_one_line_and_its_numbers_are_never_cut(width: int) -> None:
    terminal = Terminal(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    bars = progress_bars(terminal, "{task.description:<20}", NOTE)
    bars.add_task("train sft+grpo from sft", total=6000, completed=1234, note="score 0.12, reward 0.10")
    terminal.print(bars.get_renderable())
    [line] = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(line) <= width
    assert "train sft+grpo from sft" in line and "1234/6000" in line and "left -:--:--" in line and "score 0" in line


@pytest.mark.parametrize("term", ["", "dumb"], ids=["a file", "a terminal without a cursor"])
def test_where_no_bar_can_be_shown_there_are_a_few_lines_and_no_codes(
    term: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if term:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", term)
    with Console() as console:
        bar = console.evaluation(
            "a [bold] name that is long enough to be broken where a line has eighty columns", "judge"
        )
        for done in range(1, 41):
            bar(done, 40)
    with step_bars() as on_progress:
        asked = Progress(asked=30, retried=0, tokens=1965, dollars=0.0)
        for done in (0, 12, 12, 30, 30):
            on_progress(StepProgress("caption", done, 30, asked))
        on_progress(StepProgress("caption", 30, 30))
        for _ in range(3):
            on_progress(StepProgress("rewrite", 0, 0))
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert said.err == "" and "\x1b" not in said.out and "━" not in said.out
    assert len(lines) == 12 and lines[9].startswith("judge a [bold] name") and lines[9].endswith("columns: 40/40")
    assert lines[10:] == ["caption: 12 rows 30 asked, 1,965 tokens", "caption: 30 rows 30 asked, 1,965 tokens"]
