"""`firsthand reward`: replies in, verdicts out, and every bad row named."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firsthand.cli.main import main

PROBLEMS: list[dict[str, Any]] = [
    {"id": "count", "question": "How many?", "answer": "7", "kind": "digit"},
    {"id": 2, "question": "Which?", "answer": "['(b)']", "kind": "choice", "choices": "['red', 'dark blue']"},
    {"id": "sum", "question": "y?", "answer": "Output 4: a = 2x+1", "kind": "math", "meta": "{'level': 3}"},
    {"id": "cup", "question": "Where?", "answer": [0.1, 0.2, 0.7, 0.5], "kind": "box"},
    {"id": "room", "question": "What?", "answer": "a cube", "kind": "open", "scene": "a red cube"},
]
REPLIES: list[dict[str, Any]] = [
    {"id": "sum", "reply": "<answer>y=1+2x</answer>"},
    {"id": "count", "reply": "<answer>七个</answer>"},
    {"id": 2, "reply": "<answer>A</answer>"},
    {"id": 2, "reply": "<answer>Dark blue.</answer>"},
    {"id": "cup", "reply": "<answer>[0.1, 0.2, 0.7, 0.35]</answer>"},
    {"id": "room", "reply": "<answer>a red cube</answer>"},
    {"id": "sum", "reply": "<answer>10^{10^{10}}</answer>"},
    {"id": "count", "reply": "seven, I think"},
    {"id": "count", "reply": "<answer>six or seven \ud800</answer>"},
]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def listed(folder: Path) -> list[dict[str, Any]]:
    """The rows that a run of the command could not use."""
    return [json.loads(line) for line in (folder / "V.refused.jsonl").read_text().splitlines()]


def judged(
    folder: Path, problems: list[Any], replies: list[Any], *more: str, write_problems: bool = True
) -> list[dict[str, Any]]:
    """The verdicts of a run of the command, which must succeed."""
    files = [
        "--problems",
        str(write(folder / "P.jsonl", problems) if write_problems else folder / "P.jsonl"),
        "--replies",
        str(write(folder / "R.jsonl", replies)),
    ]
    assert main(["reward", *files, "--out", str(folder / "V.jsonl"), "--deadline", "1", *more]) == 0
    return [json.loads(line) for line in (folder / "V.jsonl").read_text().splitlines()]


def refusal(
    capsys: pytest.CaptureFixture[str], folder: Path, problems: list[Any], replies: list[Any], *more: str
) -> str:
    """What the command says when it refuses; nothing must be written."""
    files = [
        "--problems",
        str(write(folder / "P.jsonl", problems)),
        "--replies",
        str(write(folder / "R.jsonl", replies)),
    ]
    assert main(["reward", *files, "--out", str(folder / "V.jsonl"), *more]) == 2
    assert not (folder / "V.jsonl").exists()
    return capsys.readouterr().err


def test_every_reply_gets_its_verdict_in_order_and_the_table_sums_them_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = judged(tmp_path, PROBLEMS, REPLIES)
    told = ["id", "score", "status", "parsed", "why"]
    assert all(list(verdict) in (told, [*told, "outside"]) for verdict in verdicts)
    assert [v["id"] for v in verdicts] == [r["id"] for r in REPLIES]
    statuses = ["ok"] * 6 + ["timed_out", "wrong_format", "unparsed"]
    assert [v["status"] for v in verdicts] == statuses
    scores = [v["score"] for v in verdicts]
    assert scores[:5] == [1.0, 1.0, 0.0, 1.0, pytest.approx(0.5)]
    assert scores[5] > 0 and scores[6:] == [None, 0.0, 0.0]
    shown = capsys.readouterr().out
    counts = [cells[1] for cells in map(str.split, shown.splitlines()) if len(cells) > 5 and cells[1].isdigit()]
    assert counts == list("123219")
    assert "ALARM: math: 50% of the replies are `timed_out`" in shown


def test_verdicts_do_not_depend_on_the_number_of_workers_or_the_order(tmp_path: Path) -> None:
    replies = [row for row in REPLIES if "10^" not in row["reply"]] * 40
    one = judged(tmp_path, PROBLEMS, replies, "--workers", "1")
    two = judged(tmp_path, PROBLEMS, replies[::-1], "--workers", "2")
    assert one == two[::-1]


def test_boxes_can_be_scored_in_steps(tmp_path: Path) -> None:
    replies = [{"id": "cup", "reply": "<answer>[0.1, 0.2, 0.7, 0.4]</answer>"}]
    assert judged(tmp_path, PROBLEMS, replies, "--set", "box=stepped")[0]["score"] == 0.6


def test_boxes_that_leave_their_picture_raise_an_alarm_until_the_recipe_says_their_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "1", "question": "Where?", "answer": [0.1, 0.2, 0.5, 0.9], "kind": "box", "size": [640, 480]}
    reply = {"id": "1", "reply": "<answer>[100, 200, 500, 900]</answer>"}
    assert [v["outside"] for v in judged(tmp_path, [row], [reply])] == [True]
    assert "ALARM: box: 100% of replies have a box that leaves its picture" in " ".join(capsys.readouterr().out.split())
    [verdict] = judged(tmp_path, [row], [reply], "--set", "coordinates=thousand")
    assert (verdict["score"], verdict["outside"]) == (pytest.approx(1), False)
    assert "leaves its picture" not in capsys.readouterr().out


def test_short_words_tolerances_and_aliases_are_judged_as_rows_and_settings_say(tmp_path: Path) -> None:
    problems = [
        {"id": "colour", "question": "?", "answer": "teal", "kind": "text", "aliases": ["turquoise"]},
        {"id": "chart", "question": "?", "answer": 100, "kind": "digit", "tolerance": 0.05},
        {"id": "count", "question": "?", "answer": 100, "kind": "digit"},
        {"id": "several", "question": "?", "answer": "AC", "kind": "letters", "choices": ["a cat", "a dog", "a fox"]},
    ]
    said = [
        ("colour", "turquoise"),
        ("colour", "The car is teal"),
        ("chart", "104"),
        ("count", "104"),
        ("several", "C, A"),
    ]
    replies = [{"id": name, "reply": f"<answer>{text}</answer>"} for name, text in said]
    assert [v["score"] for v in judged(tmp_path, problems, replies)] == [1, 0, 1, 0, 1]
    more = ("--set", "text=contains", "--set", "digit_tolerance=0.05")
    assert [v["score"] for v in judged(tmp_path, problems, replies, *more)] == [1, 1, 1, 1, 1]


def test_bytes_that_are_no_utf8_are_judged_like_any_other_text(tmp_path: Path) -> None:
    problems = write(tmp_path / "P.jsonl", PROBLEMS)
    (tmp_path / "R.jsonl").write_bytes(b'{"id": "count", "reply": "<answer>\xff7\xfe</answer>"}\n')
    out = tmp_path / "deep" / "V.jsonl"
    assert main(["reward", "--problems", str(problems), "--replies", str(tmp_path / "R.jsonl"), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["status"] == "unparsed"


def test_free_text_without_a_scene_is_unmeasured_and_the_rest_is_judged(tmp_path: Path) -> None:
    problems = [PROBLEMS[0], {"id": "room", "question": "What?", "answer": "a cube", "kind": "open"}]
    replies = [{"id": "room", "reply": "<answer>a cube</answer>"}, {"id": "count", "reply": "<answer>7</answer>"}]
    verdicts = judged(tmp_path, problems, replies)
    assert [(v["status"], v["score"]) for v in verdicts] == [("failed", None), ("ok", 1.0)]
    assert judged(tmp_path, problems, replies, "--set", "open=null")[0]["status"] == "failed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "many"}, "P.jsonl line 2, column `answer`: expected a number for kind `digit`, got 'many'"),
        (
            {"kind": "number"},
            "line 2, column `kind`: expected one of digit, choice, letters, math, box, text, open, got 'number'",
        ),
        ({"question": None}, "line 2, expected id, question, answer, got no 'question'"),
        (
            {"id": "count"},
            "line 2, column `id`: expected an id that no other row has, got 'count', which P.jsonl line 1",
        ),
        ({"id": 1.5}, "line 2, column `id`: expected text or a whole number"),
        (
            {"kind": "math", "answer": r"\frac{1}{"},
            "P.jsonl line 2, column `answer`: expected a ground truth of kind `math`",
        ),
        (
            {"kind": "choice", "answer": "E", "choices": ["a", "b"]},
            "column `answer`: expected a letter from A to B",
        ),
        ({"kind": "choice", "answer": "A", "choices": 3}, "line 2, column `choices`: expected a list"),
        ({"choices": ["a", "b"]}, "line 2, column `kind`: expected `choice` for a row with options"),
        ({"kind": "box", "answer": [1, 1, 0, 0]}, "line 2, column `answer`: expected boxes"),
        ({"kind": "box", "answer": [0, 0, 1, 1], "size": 3}, "line 2, column `size`: expected [width, height]"),
        ({"scene": 3}, "line 2, column `scene`: expected text"),
        ({"answer": True}, "line 2, column `answer`: expected text or a number for kind `digit`, got True"),
        ({"image": "nowhere.png"}, "line 2, column `image`"),
    ],
)
def test_a_problem_that_cannot_be_used_costs_its_row_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    bad = {"id": "bad", "question": "How many?", "answer": "7", "kind": "digit", **change}
    good = {"id": "good", "question": "How many?", "answer": "3", "kind": "digit"}
    asked = [REPLIES[1], {"id": bad["id"] if isinstance(bad["id"], str) else "bad", "reply": "<answer>7</answer>"}]
    replies = [*asked, {"id": "good", "reply": "<answer>3</answer>"}]
    verdicts = judged(tmp_path, [PROBLEMS[0], bad, good], replies)
    told = capsys.readouterr().err
    assert "cannot be used" in told and said in told and f"all of them: {tmp_path / 'V.refused.jsonl'}" in told
    row, *_ = listed(tmp_path)
    assert row["place"] == "P.jsonl line 2" and said.rpartition("line 2")[2].lstrip(", ") in row["detail"]
    assert row["source"] == {"file": "P.jsonl", "row": 2}
    assert [verdicts[0]["score"], verdicts[2]["score"]] == [1.0, 1.0]
    if asked[1]["id"] == "bad":
        assert (verdicts[1]["status"], verdicts[1]["score"]) == ("failed", None)
    if bad["id"] == "bad":  # else nobody knows which problem was meant
        assert verdicts[1]["why"].startswith("P.jsonl line 2 cannot be used: ")


def test_every_kind_of_bad_row_among_good_ones_is_listed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [
        PROBLEMS[0],
        {"id": "gold", "question": "How many?", "answer": "many", "kind": "digit"},
        {"id": "self", "question": "y?", "answer": r"\frac{1}{", "kind": "math"},
        {"id": "none", "question": "How many?", "kind": "digit"},
        {"id": "twin", "question": "How many?", "answer": "1", "kind": "digit"},
        {"id": "twin", "question": "How many?", "answer": "2", "kind": "digit"},
        {"id": "copy", "question": "How many?", "answer": "1", "kind": "digit"},
        {"id": "copy", "question": "How many?", "answer": "1", "kind": "digit"},
        {"id": "kind", "question": "How many?", "answer": "1", "kind": "number"},
    ]
    names = ["count", "gold", "self", "none", "twin", "copy", "kind", "nobody"]
    replies: list[Any] = [{"id": name, "reply": f"<answer>{7 if name == 'count' else 1}</answer>"} for name in names]
    replies += [{"id": "count"}, ["count"], {"reply": "7"}]
    write(tmp_path / "P.jsonl", problems)
    with (tmp_path / "P.jsonl").open("a") as file:
        file.write('{"id": "torn", "question"\n')
    verdicts = judged(tmp_path, [], replies, write_problems=False)
    assert [v["id"] for v in verdicts] == [*names, "count", None, None]
    assert [v["score"] for v in verdicts] == [1.0, None, None, None, None, 1.0, *[None] * 5]
    assert {v["status"] for v in verdicts if v["score"] is None} == {"failed"}
    places = ["P.jsonl line 2", "P.jsonl line 3", "P.jsonl line 4", "P.jsonl line 5", "P.jsonl line 9"]
    assert [v["why"].partition(" cannot be used: ")[0] for v in verdicts[1:5]] == places[:4]
    assert verdicts[6]["why"].startswith(f"{places[4]} cannot be used: column `kind`")
    assert verdicts[7]["why"] == "no problem has the id 'nobody'"
    assert verdicts[8]["why"].startswith("R.jsonl line 9 cannot be used: column `reply`: expected text, got None")
    rows = [row["place"] for row in listed(tmp_path)]
    bad = [f"P.jsonl line {n}" for n in (2, 3, 4, 5, 6, 8, 9, 10)] + [f"R.jsonl line {n}" for n in (8, 9, 10, 11)]
    assert rows == bad
    out, err = capsys.readouterr()
    assert "firsthand: 12 rows cannot be used; replies to them are `failed`, not scored." in err
    assert all(f"  {place}, " in err for place in bad)
    lines = [cells for cells in map(str.split, out.splitlines()) if len(cells) > 7 and cells[1].isdigit()]
    counts = {kind: (cells[0], cells[6]) for kind, *cells in lines}
    assert counts == {"digit": ("5", "3"), "math": ("1", "1"), "?": ("5", "5"), "all": ("11", "9")}


def test_no_list_is_left_where_every_row_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "V.refused.jsonl").write_text("of an earlier call\n")
    judged(tmp_path, PROBLEMS, REPLIES[:2])
    assert not (tmp_path / "V.refused.jsonl").exists()
    assert "cannot be used" not in capsys.readouterr().err


def test_many_bad_rows_are_counted_and_the_first_ones_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strangers = [{"id": f"x{i}", "reply": "7"} for i in range(600)]
    verdicts = judged(tmp_path, PROBLEMS, [*strangers, REPLIES[1]])
    assert len(verdicts) == 601 and verdicts[-1]["score"] == 1.0
    err = capsys.readouterr().err
    assert "firsthand: 600 rows cannot be used; replies to them are `failed`, not scored. The first 20:" in err
    assert "R.jsonl line 20, " in err and "R.jsonl line 21" not in err
    assert len(listed(tmp_path)) == 600


@pytest.mark.parametrize(
    ("problems", "replies", "said"),
    [
        ([{**PROBLEMS[0], "answer": "many"}], REPLIES[1:2], "P.jsonl: 1 of 1 rows cannot be used"),
        (
            [PROBLEMS[0], {**PROBLEMS[0], "id": "bad", "answer": "many"}],
            [{"id": "bad", "reply": "7"}],
            "R.jsonl line 1, P.jsonl line 2 cannot be used: column `answer`",
        ),
        (PROBLEMS, [{"id": "nobody", "reply": "7"}], "R.jsonl line 1, column `id`: expected that of a problem"),
        (PROBLEMS, [["count", "7"]], "R.jsonl line 1, expected one JSON object"),
    ],
)
def test_where_nothing_can_be_judged_there_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], problems: list[Any], replies: list[Any], said: str
) -> None:
    assert said in refusal(capsys, tmp_path, problems, replies)
    assert not (tmp_path / "V.refused.jsonl").exists()


def test_a_broken_line_a_missing_file_and_no_replies_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems, out = write(tmp_path / "P.jsonl", PROBLEMS), str(tmp_path / "V.jsonl")
    (tmp_path / "R.jsonl").write_text('{"id": "count", "reply"\n')
    for replies, said in [("R.jsonl", "R.jsonl line 1, expected one JSON object"), ("S.jsonl", "No such file")]:
        arguments = ["reward", "--problems", str(problems), "--replies", str(tmp_path / replies), "--out", out]
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert main(["reward", "--problems", str(problems), "--out", out]) == 2
    assert "expected --replies" in capsys.readouterr().err
    assert "got none" in refusal(capsys, tmp_path, PROBLEMS, [])
    assert "expected --workers >= 1" in refusal(capsys, tmp_path, PROBLEMS, REPLIES, "--workers", "0")


def test_calibration_writes_the_beta_that_a_recipe_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**PROBLEMS[4], "id": i, "answer": said} for i, said in enumerate(("a cube", "a red cube", "a dog"))]
    out = tmp_path / "beta.json"
    problems = str(write(tmp_path / "P.jsonl", rows))
    assert main(["reward", "--problems", problems, "--out", str(out), "--calibrate"]) == 0
    found = json.loads(out.read_text())
    assert f"beta: {found['beta']:.4g}" in capsys.readouterr().out
    assert found["beta"] * found["spread"] == pytest.approx(0.693147, abs=1e-5)
    unnamed = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    again = tmp_path / "again.json"
    problems = str(write(tmp_path / "U.jsonl", unnamed))
    assert main(["reward", "--problems", problems, "--out", str(again), "--calibrate"]) == 0
    assert again.read_text() == out.read_text(), "no reply is joined to a problem, so that rows need no id"
    blind = [{name: value for name, value in row.items() if name != "scene"} for row in rows]
    problems = str(write(tmp_path / "Q.jsonl", blind))
    assert main(["reward", "--problems", problems, "--out", str(tmp_path / "x.json"), "--calibrate"]) == 2
    assert "needs the words of the scene" in capsys.readouterr().err


def test_grading_needs_no_torch() -> None:
    code = (
        "import sys, firsthand.cli.terminal.rewards; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_problems_may_have_other_columns_and_be_a_table(tmp_path: Path) -> None:
    problems = [
        {"id": "a", "ask": "Which?", "choices": ["cat", "dog"], "n": 1},
        {"id": "b", "ask": "How many?", "n": 3},
    ]
    replies = [{"id": "a", "reply": "<answer>dog</answer>"}, {"id": "a", "reply": "<answer>A</answer>"}]
    fields = "question=ask,answer=choices[n]"
    assert [v["score"] for v in judged(tmp_path, problems[:1], replies, "--fields", fields)] == [1.0, 0.0]
    assert [v["score"] for v in judged(tmp_path, problems, replies, "--fields", fields)] == [1.0, 0.0]
    assert listed(tmp_path)[0]["detail"].startswith("column `n`: expected a number from 0 that counts the 0 options")
    (tmp_path / "P.csv").write_text("id,question,A,B,answer\na,Which?,cat,dog,B\n")
    (tmp_path / "R.jsonl").write_text(json.dumps(replies[0]) + "\n")
    files = ["--problems", str(tmp_path / "P.csv"), "--replies", str(tmp_path / "R.jsonl")]
    assert main(["reward", *files, "--out", str(tmp_path / "V.jsonl")]) == 0
    assert json.loads((tmp_path / "V.jsonl").read_text())["score"] == 1.0


def test_problems_take_a_kind_and_a_preset(tmp_path: Path) -> None:
    replies = [{"id": "7", "reply": "<answer>Stop!</answer>"}]
    asked = {"id": "7", "question": "What does it say?", "answer": "stop"}
    assert judged(tmp_path, [asked], replies, "--kind", "text")[0]["score"] == 1.0
    asked = {"question_id": 7, "question": "What does it say?", "answers": ["stop"] * 10}
    assert judged(tmp_path, [asked], replies, "--preset", "textvqa")[0]["score"] == 1.0
