"""A command that is given again after something has changed does it again: no old result is shown for a new one."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.cli.main import main
from firsthand.report import write_report
from firsthand.run import recipe_of
from firsthand.worlds import generate

RECIPE = """\
name: mine
data: {path: data.jsonl}
sampling: {max_new_tokens: 8}
steps: 1
prompts: 2
"""
EVALUATE = "evaluate small --data data.jsonl --max-new-tokens 8 --samples 0"
METHOD = """\
def plain(table, totals, settings):
    return {"policy": -FACTOR * (table.advantage_B[:, None] * table.logp_BT * table.mask_BT).sum()}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two questions with demonstrations, a recipe, and a reward function of a user's own."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "mine.py").write_text("def score(reply, answer):\n    return 0.25\n")
    rows = []
    for number, example in enumerate(generate("count", "test", 2)):
        (tmp_path / f"{number}.png").write_bytes(example.images[0].encoded())
        trace = f"<answer>{example.answer.text}</answer>"
        row = {"question": example.question, "answer": example.answer.text, "image": f"{number}.png", "trace": trace}
        rows.append({**row, "bonus": 0.25})
    write(tmp_path, rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(desk: Path, rows: list[dict]) -> None:
    (desk / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(desk: Path) -> list[dict]:
    return [json.loads(line) for line in (desk / "data.jsonl").read_text().splitlines()]


def run(command: str) -> None:
    assert main(shlex.split(command)) == 0


def weights(desk: Path) -> set[bytes]:
    return {path.read_bytes() for path in desk.glob("runs/*/model/model.safetensors")}


def accuracies(desk: Path) -> list[float]:
    return sorted(json.loads(path.read_text())["accuracy"] for path in desk.glob("runs/*/evaluation.json"))


@pytest.mark.parametrize(
    ("objective", "changed"),
    [
        ("sft", {"trace": "<think>Look.</think><answer>7</answer>"}),
        ("sft", {"system": "Look twice."}),
        ("grpo", {"system": "Look twice."}),
    ],
)
def test_changed_demonstrations_and_system_prompts_are_trained_on(
    desk: Path, objective: str, changed: dict[str, str]
) -> None:
    command = f"train recipe.yaml --set objective={objective}"
    run(command)
    run(command)
    assert len([*desk.glob("runs/mine-*")]) == 1
    rows = rows_of(desk)
    write(desk, [{**row, **changed} for row in rows])
    run(command)
    assert len([*desk.glob("runs/mine-*")]) == 2
    assert objective == "grpo" or len(weights(desk)) == 2


def test_a_changed_demonstration_is_nothing_to_a_run_that_reads_none(desk: Path) -> None:
    run("train recipe.yaml")
    write(desk, [{**row, "trace": "<answer>7</answer>"} for row in rows_of(desk)])
    run("train recipe.yaml")
    assert len([*desk.glob("runs/mine-*")]) == 1


def test_an_edited_reward_function_judges_anew(desk: Path) -> None:
    commands = ["train recipe.yaml --set reward.function=mine:score", f"{EVALUATE} --set function=mine:score"]
    for command in commands * 2:
        run(command)
    assert accuracies(desk) == [0.25] and len([*desk.glob("runs/mine-*")]) == 1
    (desk / "mine.py").write_text("from rule import WORTH\ndef score(reply, answer):\n    return WORTH\n")
    (desk / "rule.py").write_text("WORTH = 0.5\n")
    for command in commands:
        run(command)
    (desk / "rule.py").write_text("WORTH = 0.75\n")
    for command in commands:
        run(command)
    assert accuracies(desk) == [0.25, 0.5, 0.75]
    means = [json.loads(path.read_text())["metrics"]["score/mean"] for path in desk.glob("runs/mine-*/metrics.jsonl")]
    assert sorted(means) == [0.25, 0.5, 0.75]


def test_a_column_that_a_reward_function_reads_is_in_the_id(desk: Path) -> None:
    (desk / "mine.py").write_text("def score(completions, bonus):\n    return [b for b in bonus]\n")
    run(f"{EVALUATE} --set function=mine:score")
    write(desk, [{**row, "bonus": 0.5} for row in rows_of(desk)])
    run(f"{EVALUATE} --set function=mine:score")
    assert accuracies(desk) == [0.25, 0.5]


def test_runs_of_earlier_versions_are_read_and_their_models_used(desk: Path) -> None:
    run("train recipe.yaml")
    (trained,) = desk.glob("runs/mine-*")
    run(f"evaluate {trained} --data data.jsonl --max-new-tokens 8 --samples 0")
    for folder in desk.glob("runs/*"):  # as they were recorded
        recipe = recipe_of(folder)
        if "evaluates" in recipe:
            recipe |= {"evaluates": "0123456789abcdef", "files_id": "1" * 16}
        old = {**recipe, "model_id": "2" * 16, "data_id": "3" * 16, "id": "0123456789abcdef"}
        (folder / "recipe.json").write_text(json.dumps(old))
        folder.rename(folder.with_name(f"{folder.name.rpartition('-')[0]}-01234567"))
    old, evaluated = desk / "runs/mine-s0-01234567", desk / "runs/evaluate-mine-s0-01234567"
    run(f"evaluate {old} --data data.jsonl --max-new-tokens 8 --samples 0 --out again")
    run(f"train recipe.yaml --set start={old} --out again")
    (again,) = desk.glob("again/evaluate-*")
    assert recipe_of(again)["evaluates"] == "0123456789abcdef"
    (further,) = desk.glob("again/mine-*")
    run(f"evaluate {further} --data data.jsonl --max-new-tokens 8 --samples 0 --out again")
    run(f"compare {evaluated} {further}")  # by their questions, whatever the ids of old
    page = write_report([old, evaluated], desk / "report.html", "Old runs").read_text()
    assert "has not been evaluated" not in page


def test_a_method_of_one_s_own_is_trained_from_the_folder_of_the_command_and_its_source_is_in_the_id(
    desk: Path,
) -> None:
    command = [sys.executable, "-m", "firsthand", "train", "recipe.yaml", "--set", "objective=own:plain"]
    for factor in (1.0, 2.0):
        (desk / "own.py").write_text(METHOD.replace("FACTOR", str(factor)))
        done = subprocess.run(command, cwd=desk, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    runs = sorted(desk.glob("runs/mine-*"))
    recipes = [recipe_of(folder) for folder in runs]
    assert len(runs) == 2 and len({recipe["method_id"] for recipe in recipes}) == 2
    assert [recipe["objective"]["kind"] for recipe in recipes] == ["own:plain"] * 2
    assert all("loss/policy" in json.loads((r / "metrics.jsonl").read_text())["metrics"] for r in runs)


def test_the_method_that_the_docs_show_is_trained(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (Path(__file__).parents[2] / "docs/methods.md").read_text(encoding="utf-8")
    (desk / "shown.py").write_text(
        shown.partition("## A method of your own")[2].split("```python\n")[1].split("```")[0]
    )
    forget(monkeypatch)
    run("train recipe.yaml --set 'objective={kind: \"shown:plain\", strength: 0.5, group_size: 4}'")
    assert recipe_of(*desk.glob("runs/*"))["objective"]["strength"] == 0.5


OWN = """\
from firsthand.objective import GRPO
from firsthand.records import Record
class Mild(GRPO):
    strength: float = 0.5
def mild(table, totals, settings: Mild):
    return {"policy": (table.logp_BT * table.mask_BT).sum() * settings.strength}
def nothing(table, totals, settings): return None
def whole(table, totals, settings): return {"policy": table.logp_BT}
def number(table, totals, settings): return {"policy": 0.0}
def narrow(table): return {}
def strange(table, totals, settings: int): return {}
class Loose(Record):
    pass
value = 3
"""


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("gpro", "objective.kind: unknown method 'gpro'; known: sft, dft, grpo"),
        ("own:1", "objective.kind: expected module:function, got 'own:1'"),
        ("nowhere:plain", "nowhere could not be imported from"),
        ("broken:plain", "broken could not be imported from"),
        ("own:mildd", "own has no function 'mildd'; did you mean 'mild'?"),
        ("own:value", "expected a function of three parameters: own:value(table, totals, settings), got int"),
        ("own:narrow", "expected a function of three parameters: own:narrow(table, totals, settings)"),
        ("own:strange", "annotate its third parameter with one"),
        ("{kind: 'own:mild', strenght: 1}", "strenght: unknown key; did you mean 'strength'?"),
        ("own:nothing", "expected a mapping from names to scalar tensors, whose sum is the loss, got None"),
        ("own:whole", "got a tensor of shape"),
        ("own:number", "got float as 'policy'"),
        ("yaml:load", "has the name of"),
    ],
)
def test_what_is_wrong_with_a_method_of_one_s_own_is_said_in_one_message(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, objective: str, message: str
) -> None:
    (desk / "own.py").write_text(OWN)
    (desk / "broken.py").write_text("1 / 0\n")
    (desk / "yaml.py").write_text("def load(table, totals, settings): return {}\n")
    forget(monkeypatch)
    assert main(["train", "recipe.yaml", "--set", f"objective={objective}"]) == 2
    told = capsys.readouterr().err
    assert told.count("firsthand: ") == 1 and message in told and "Traceback" not in told
    assert not [*desk.glob("runs/*/DONE")]


def test_a_method_of_one_s_own_has_settings_of_its_own(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk / "own.py").write_text(OWN)
    forget(monkeypatch)
    run("train recipe.yaml --set 'objective={kind: \"own:mild\", strength: 0.25, group_size: 2}'")
    run("train recipe.yaml --set objective=own:mild")
    found = sorted(recipe_of(folder)["objective"]["strength"] for folder in desk.glob("runs/*"))
    assert found == [0.25, 0.5]


def test_a_method_that_is_edited_under_a_process_is_not_taken_for_the_one_it_imported(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "own.py").write_text(OWN)
    forget(monkeypatch)
    run("train recipe.yaml --set objective=own:mild")
    (desk / "own.py").write_text(OWN + "# more\n")
    assert main(["train", "recipe.yaml", "--set", "objective=own:mild"]) == 2
    assert "own:mild has changed since this process imported it" in capsys.readouterr().err


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: the user's modules are not imported yet, and none is afterwards."""
    for name in ("own", "broken", "shown"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("firsthand.objective.own._FOUND", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
