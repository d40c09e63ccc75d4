"""The command line as a user meets it: what it prints, what it writes, and how it answers mistakes.

What `--help` costs is in test_package.py. Commands run in this process, so that torch is imported once.
"""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.cli.main import main
from firsthand.cli.parser import parser
from firsthand.errors import RecipeError
from firsthand.worlds import generate

RECIPE = """\
name: mine
data: {path: data.jsonl}
objective: {kind: grpo, group_size: 2}
sampling: {max_new_tokens: 8}
steps: 1
prompts: 1
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a user with two questions of their own, a recipe, and some broken files."""
    rows = []
    for number, example in enumerate(generate("count", "test", 2)):
        (tmp_path / f"{number}.png").write_bytes(example.images[0].encoded())
        rows.append({"question": example.question, "answer": example.answer.text, "image": f"{number}.png"})
    (tmp_path / "torn.png").write_bytes((tmp_path / "0.png").read_bytes()[:300])
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "torn.jsonl").write_text(json.dumps({**rows[0], "image": "torn.png"}) + "\n")
    (tmp_path / "free.jsonl").write_text(json.dumps({**rows[0], "answer": "a cat", "kind": "open"}) + "\n")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "misspelt.yaml").write_text(RECIPE.replace("group_size", "group_sise"))
    (tmp_path / "broken.yaml").write_text("name: [mine\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train nothere.yaml", "nothere.yaml: no such file"),
        ("train empty", "empty: expected a YAML file, got a folder"),
        ("train broken.yaml", "broken.yaml: not readable as YAML"),
        ("train misspelt.yaml", "group_sise: unknown key; did you mean 'group_size'?"),
        ("train recipe.yaml --set steps", "--set steps: expected KEY=VALUE"),
        ("train recipe.yaml --set steps=[1", "--set steps=[1: not readable as YAML"),
        ("train recipe.yaml --set stepz=1", "stepz: unknown key; did you mean 'steps'?"),
        ("train recipe.yaml --set sampling.temperature=0", "sampling.temperature is 0"),
        ("train recipe.yaml --set 'objective={kind: sft}'", "expected one demonstration each"),
        ("train recipe.yaml --set model=nomodel", "nomodel: expected a local Hugging Face model folder"),
        ("train recipe.yaml --set start=empty", "start: expected a finished run directory"),
        ("train recipe.yaml --set data.path=free.jsonl", "free.jsonl line 1, column `kind`: expected one of digit"),
        ("train methods", "is a study, for it has arms: firsthand study methods"),
        ("study recipe.yaml", "has no arms, so it is one recipe: firsthand train recipe"),
        ("study methods --set shared.stepz=1", "stepz: unknown key; did you mean 'steps'?"),
        ("study nothere.yaml", "nothere.yaml: no such file"),
        ("evaluate nomodel --data data.jsonl", "nomodel: expected a local Hugging Face model folder"),
        ("evaluate small --data nothere.jsonl", "nothere.jsonl: expected a data file"),
        ("evaluate small --data torn.jsonl", "torn.jsonl line 1, column `image`: expected a complete image"),
        ("evaluate small --data free.jsonl", "free.jsonl line 1, column `kind`: expected one of digit"),
        ("evaluate small --data worlds:cuont", "unknown worlds ['cuont']; known: count, digits"),
        ("evaluate small --data worlds:count:test:many", "expected worlds:NAMES[:SPLIT[:NUMBER]]"),
        ("evaluate small --data data.jsonl --samples -1", "samples: "),
        ("evaluate small --data data.jsonl --temperature 0", "temperature: "),
        ("report empty", "which holds none"),
        ("report nothere", "which is not there"),
    ],
)
def test_a_mistake_is_answered_with_one_message_and_leaves_nothing_behind(
    desk: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    before = sorted(desk.rglob("*"))
    assert main(shlex.split(command)) == 2
    told = capsys.readouterr().err
    assert told.startswith("firsthand: ")
    assert told.count("firsthand: ") == 1
    assert message in told
    assert "pydantic" not in told
    assert [path for path in sorted(desk.rglob("*")) if path not in before and path.name != "runs"] == []


def test_a_mistake_in_one_of_several_run_directories_is_not_passed_over(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "empty" / "run").mkdir()
    (desk / "empty" / "run" / "recipe.json").write_text("{}")
    assert main(["report", "empty", "nothere"]) == 2
    assert "nothere" in capsys.readouterr().err
    assert not (desk / "report.html").exists()


def test_the_exit_status_of_a_mistake_reaches_the_shell(desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "firsthand", "report", "empty"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    said = "firsthand: expected a run directory, or a folder that holds some, got empty, which holds none"
    assert done.stderr.splitlines() == [f"{said}; check the path"]


@pytest.mark.parametrize("command", ["trian recipe.yaml", "evaluate small", "train recipe.yaml --stes 3", ""])
def test_a_command_line_that_does_not_exist_is_refused_with_what_does(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    assert "usage: firsthand" in capsys.readouterr().err


def test_a_user_s_questions_are_trained_on_evaluated_and_reported(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "recipe.yaml"]) == 0
    (run,) = (desk / "runs").glob("mine-s0-*")
    assert f"model: {Path('runs') / run.name / 'model'}" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--data", "data.jsonl", "--samples", "1", "--max-new-tokens", "8"]) == 0
    (evaluated,) = (desk / "runs").glob("evaluate-mine-s0-*")
    assert json.loads((evaluated / "evaluation.json").read_text())["n"] == 2
    assert main(["report", "runs", "--out", "page.html", "--title", "Mine"]) == 0
    page = (desk / "page.html").read_text()
    assert "Mine" in page
    assert "evaluation.json cannot be read" not in page


SERVER = "model: m\nbase_url: http://127.0.0.1:{port}/v1\n"


def test_a_command_that_fails_leaves_nothing_behind(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (desk / "server.yaml").write_text(SERVER.format(port=free.getsockname()[1]))
        (desk / "bad.jsonl").write_text("{}\n")
        before = sorted(desk.rglob("*"))
        for command, message in (
            ("evaluate server.yaml --data data.jsonl", "cannot be reached"),
            ("evaluate server.yaml --benchmark worlds", "cannot be reached"),
            ("train recipe.yaml --set optimizer.lr=1e-5 --set 'objective={kind: sft}'", "demonstration"),
            ("reward --problems bad.jsonl --replies bad.jsonl --out new/deep/v.jsonl", "cannot be used"),
        ):
            assert main(shlex.split(command)) == 2
            assert message in capsys.readouterr().err
    left = [path for path in sorted(desk.rglob("*")) if path not in before]
    assert [path for path in left if path.name != "runs"] == []


def test_a_run_that_fails_at_its_first_step_leaves_no_directory(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RecipeError("no such step")

    monkeypatch.setattr("firsthand.trainer.loop.update", broken)
    assert main(["train", "recipe.yaml"]) == 2
    assert list((desk / "runs").iterdir()) == []


def test_several_runs_of_one_name_are_evaluated_in_turn_and_an_unfinished_one_is_told(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        main(["train", "recipe.yaml", "--set", "steps=0", "--set", f"prompts={seed + 1}"])
    runs = sorted(map(str, Path("runs").glob("mine-s0-*")))
    assert len(runs) == 2
    capsys.readouterr()
    evaluate = ["evaluate", *runs, "--data", "data.jsonl", "--samples", "0", "--max-new-tokens", "4"]
    assert main(evaluate) == 0
    told = capsys.readouterr().out
    assert len(set(re.findall(r"scores: (.*)", told))) == 2
    assert "already done" not in told
    assert main(evaluate) == 0
    assert "already done: runs/evaluate-mine-s0-" in capsys.readouterr().out
    (Path(runs[0]) / "DONE").unlink()
    assert main(evaluate) == 2
    assert f"{runs[0]}: expected a finished run, got one without DONE" in capsys.readouterr().err


def test_a_command_whose_work_is_done_says_so(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "recipe.yaml"]) == 0
    assert "already done" not in capsys.readouterr().out
    assert main(["train", "recipe.yaml"]) == 0
    assert "already done: runs/mine-s0-" in capsys.readouterr().out
    forge = {
        "name": "f",
        "sources": [{"worlds": ["count"], "number": 8}],
        "teachers": {"default": {"scenes": True}},
    }
    (desk / "forge.yaml").write_text(json.dumps(forge))
    assert main(["forge", "forge.yaml"]) == 0
    assert "already done" not in capsys.readouterr().out
    assert main(["forge", "forge.yaml"]) == 0
    assert "already done: forge/f" in capsys.readouterr().out


def test_an_adapter_is_called_by_its_run_s_name_and_leaves_no_other_folder(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    assert main(["train", "recipe.yaml", "--set", "adapter={}"]) == 0
    (run,) = Path("runs").iterdir()
    drawn = ["--data", "data.jsonl", "--samples", "0", "--max-new-tokens", "4"]
    assert main(["evaluate", str(run / "model" / "adapter"), *drawn]) == 0
    shutil.copytree(run / "model" / "adapter", "kept/of-mine/adapter")
    assert main(["evaluate", "kept/of-mine/adapter", *drawn]) == 0
    names = sorted(path.name.rpartition("-")[0] for path in Path("runs").iterdir())
    assert names == ["evaluate-mine-s0", "evaluate-of-mine-s0", "mine-s0"]


def test_a_finished_run_is_not_trained_again(desk: Path) -> None:
    assert main(["train", "recipe.yaml"]) == 0
    (run,) = (desk / "runs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert main(["train", "recipe.yaml"]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == before


def test_the_doctor_names_this_machine_and_asks_the_small_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "BROKEN" not in told
    assert "the small model answers a question about a picture" in told
    assert "torch 2." in told


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("question=ask", {"question": "ask"}),
        ("question=ask,answer=meta.gold", {"question": "ask", "answer": "meta.gold"}),
        ("image={a},{b}.png, answer=choices[n-1]", {"image": "{a},{b}.png", "answer": "choices[n-1]"}),
    ],
)
def test_fields_are_pairs_with_commas_between_them(said: str, expected: dict[str, str]) -> None:
    assert parser().parse_args(["evaluate", "small", "--data", "x.jsonl", "--fields", said]).fields == expected


def test_a_command_reads_columns_as_it_is_told(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (desk / "data.jsonl").read_text().splitlines()]
    for row in rows:
        row["ask"], row["meta"] = row.pop("question"), {"gold": row.pop("answer")}
    (desk / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = ["--fields", "question=ask,answer=meta.gold"]
    task = ["lmms-task", "--data", "other.jsonl", "--out", "task"]
    assert main(task) == 2
    assert "column `answer`: expected a value" in capsys.readouterr().err
    assert main([*task, *fields]) == 0
    assert main(["train", "recipe.yaml", "--set", "data.path=other.jsonl", "--set", "steps=0", *fields]) == 0
    [recipe] = (desk / "runs").glob("*/recipe.json")
    assert json.loads(recipe.read_text())["data"]["fields"] == {"question": "ask", "answer": "meta.gold"}
    with pytest.raises(SystemExit):
        main([*task, "--fields", "question"])
    assert main([*task, "--preset", "verll"]) == 2
    assert "unknown preset 'verll'; did you mean 'verl'?" in capsys.readouterr().err
