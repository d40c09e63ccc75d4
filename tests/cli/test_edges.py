"""At the edges: full and vanished folders, names too long, odd locales, closed outputs, markup: one message each."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import write_runs
from rich.console import Console as Terminal

import firsthand
from firsthand.cli.main import main
from firsthand.cli.terminal.screen import Screen, progress_bars

SOURCES = sorted(Path(firsthand.__file__).parent.rglob("*.py"))
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""An environment whose texts are ASCII, unless somebody says otherwise."""

JOURNAL = """
from pathlib import Path
from firsthand.records import Rollout, Step
from firsthand.run import Run
with Run.open(Path("runs"), "a", 0, {"name": "×"}) as run:
    rollout = Rollout(step=0, example_id="e", question="5 × 3?", gold="15", images=(), group=())
    run.append_step(Step(step=0, metrics={}, seconds=1.0), [rollout])
    run.rewind(1)
    run.write_json("evaluation.json", {"a": "×"})
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "runs")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("report runs --out file/report.html", "something that is no folder stands there"),
        ("report runs --out loop/report.html", "something that is no folder stands there"),
        (f"report runs --out {'x' * 300}.html", "choose a shorter name"),
        ("report runs --out runs", "a folder stands where a file should"),
        ("report runs --out /proc/report.html", "firsthand: /proc"),
    ],
)
def test_what_the_system_refuses_is_one_message_with_what_to_do(
    desk: Path, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("firsthand: ") and said in line


def test_a_folder_that_has_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["report", "runs", "--out", "report.html"]) == 2
    assert "Traceback" not in (said := capsys.readouterr().err) and said.startswith("firsthand: ")


def test_a_report_that_cannot_be_written_leaves_the_earlier_one(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = desk / "report.html"
    assert main(["report", "runs", "--out", str(out)]) == 0
    before = out.read_bytes()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
    command = "main(['report', 'runs', '--out', 'report.html'])"
    code = f"{limit} from firsthand.cli.main import main; raise SystemExit({command})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and "File too large" in ended.stderr
    assert out.read_bytes() == before and len(before) > 30_000


def test_an_output_that_takes_nothing_is_one_message(desk: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "firsthand", "benchmarks"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("firsthand: No space left on device; make room") and ended.stderr.count("\n") == 1


def test_a_locale_of_another_encoding_changes_no_file_and_ends_no_command(tmp_path: Path) -> None:
    environment = {**os.environ, **ASCII}
    (tmp_path / "journal.py").write_text(JOURNAL, encoding="utf-8")
    subprocess.run([sys.executable, "journal.py"], cwd=tmp_path, env=environment, check=True)
    [run] = (tmp_path / "runs").iterdir()
    assert "5 × 3?" in (run / "rollouts.jsonl").read_text(encoding="utf-8")
    command = [sys.executable, "-m", "firsthand", "report", "\xd7"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ended.returncode == 2 and b"\\udcc3\\udc97" in ended.stderr and b"Traceback" not in ended.stderr


def without_encoding(path: Path) -> list[str]:
    """Where a source reads or writes text as the locale has it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        needed = {"read_text": 1, "write_text": 2}.get(name)
        if name == "open" and any(isinstance(a, ast.Constant) and a.value in ("a", "w", "r", "x") for a in node.args):
            needed = 9  # by name alone
        if needed and len(node.args) < needed and all(word.arg != "encoding" for word in node.keywords):
            found.append(f"{path} line {node.lineno}")
    return found


def test_every_text_is_read_and_written_in_an_encoding_that_is_said() -> None:
    """The default is the locale's, and what one machine writes another would not read."""
    assert [place for path in SOURCES for place in without_encoding(path)] == []


@pytest.mark.parametrize("name", ["[/red]", "[link=file:///etc]a[/link]", "[bold", "\\[a]"])
def test_names_are_text_and_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.table([name, f"{name} (95 %)"], [[name, "1.0"]])
    screen.say(name)
    terminal = Terminal(force_terminal=True, width=200)
    with progress_bars(terminal, "{task.description}") as bars:
        bars.add_task(name, total=1, note=name)
        bars.refresh()
    out = capsys.readouterr().out
    assert out.count(name) >= 4 and "\x1b]8" not in out
