"""A study: arms that differ in what they say, and in nothing else."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from benchmark_files import logicvista_row, write_set
from benchmark_server import ChatServer
from fake_runs import write_scored
from tiny import tiny_folder

from firsthand.cli.console import Console
from firsthand.cli.main import main
from firsthand.config import build
from firsthand.cost import RunCost
from firsthand.errors import RecipeError
from firsthand.objective import GRPO, SFT
from firsthand.records import Score
from firsthand.report import write_report
from firsthand.report.arms import make_arms
from firsthand.report.runs import read_runs
from firsthand.study import ArmRuns, Study, run_seeds, run_study
from firsthand.study.results import _blind, over_seeds

DEMO = Path(__file__).parents[2] / "src/firsthand/recipes/demo.yaml"
TEST = {"data": {"worlds": ["count"], "number": 2}, "protocol": {"max_new_tokens": 2, "samples": 0}}


def study(shared: dict[str, Any] | None = None, **arms: dict[str, Any]) -> Study:
    shared = {"data": {"worlds": ["count"], "number": 4}, **(shared or {})}
    return Study.model_validate({"shared": shared, "arms": arms, "evaluation": TEST})


def test_an_arm_changes_what_it_says_and_shares_the_rest() -> None:
    one = study(
        {"steps": 60, "optimizer": {"lr": 1e-4, "floor": 0.1}, "data": {"worlds": ["count"], "number": 8}},
        base={"steps": 0},
        fast={"optimizer": {"lr": 1e-3}, "data": {"number": 4}},
    )
    base, fast = one.recipe("base", 3, {}), one.recipe("fast", 3, {})
    assert (base.name, base.seed, base.steps, base.optimizer.lr) == ("base", 3, 0, 1e-4)
    assert (fast.steps, fast.optimizer.lr, fast.optimizer.floor) == (60, 1e-3, 0.1)
    assert (fast.data.worlds, fast.data.number) == (("count",), 4)
    assert base.model_copy(update={"name": "fast", "steps": 60, "optimizer": fast.optimizer, "data": fast.data}) == fast


@pytest.mark.parametrize(
    ("shared", "own", "expected"),
    [
        ({"kind": "grpo", "group_size": 4}, {"kl": 0.1}, GRPO(group_size=4, kl=0.1)),
        ({"kind": "grpo", "group_size": 4}, {"kind": "grpo", "kl": 0.1}, GRPO(group_size=4, kl=0.1)),
        ({"kind": "grpo", "group_size": 4}, {"kind": "sft", "style": "plain"}, SFT(style="plain")),
        ({"kind": "sft", "style": "plain"}, {"kind": "grpo"}, GRPO()),
        ({"group_size": 4}, {"kind": "grpo", "kl": 0.1}, GRPO(group_size=4, kl=0.1)),
    ],
)
def test_an_objective_of_another_kind_replaces_the_shared_one_whole(
    shared: dict[str, Any], own: dict[str, Any], expected: GRPO | SFT
) -> None:
    assert study({"objective": shared}, a={"objective": own}).recipe("a", 0, {}).objective == expected


def test_the_shared_part_is_left_as_it_was() -> None:
    one = study({"optimizer": {"lr": 1e-4}}, a={"optimizer": {"lr": 1e-3, "floor": 0.5}}, b={})
    one.recipe("a", 0, {})
    assert one.recipe("b", 0, {}).optimizer.model_dump(include={"lr", "floor"}) == {"lr": 1e-4, "floor": 0.0}


def test_an_arm_starts_from_the_run_of_the_arm_that_it_names() -> None:
    one = study(sft={"objective": {"kind": "sft"}}, both={"start": "sft"}, again={"start": None})
    assert one.recipe("both", 0, {"sft": Path("runs/sft-s0-1234")}).start == "runs/sft-s0-1234"
    assert one.recipe("again", 0, {}).start is None


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"start": "b"}}, r"arm 'a' starts from 'b', which is not an arm above it; above are: \[\]"),
        ({"a": {"start": "b"}, "b": {}}, r"arm 'a' starts from 'b', which is not an arm above it; above are: \[\]"),
        ({"a": {}, "b": {"start": "b"}}, r"arm 'b' starts from 'b', .* above are: \['a'\]"),
    ],
)
def test_an_arm_that_starts_from_no_arm_above_it_is_refused(arms: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(**arms)


def test_an_arm_learns_from_the_run_of_the_arm_that_it_names() -> None:
    opd = {"objective": {"kind": "opd"}, "teacher": {"arm": "both", "suffix": " Think."}}
    one = study(sft={"objective": {"kind": "sft"}}, both={"start": "sft"}, opd=opd, last={"start": "opd"})
    found = one.recipe("opd", 0, {"both": Path("runs/both-s0-1234")}).teacher
    assert found is not None and (found.model, found.suffix) == ("runs/both-s0-1234", " Think.")
    assert (one.starts("opd"), one.teacher("opd"), one.teacher("sft")) == ((), "both", None)
    assert one.built_on("opd") == ("both", "sft") and one.built_on("last") == ("opd", "both", "sft")
    early = one.recipe_from_scratch("opd", 0)
    assert early.teacher is not None and (early.model, early.teacher.model) == ("small", "small")


def test_an_arm_that_learns_from_no_arm_above_it_is_refused() -> None:
    with pytest.raises(ValueError, match=r"arm 'a' learns from 'b', which is not an arm above it; above are: \[\]"):
        study(a={"objective": {"kind": "opd"}, "teacher": {"arm": "b"}}, b={})


def test_some_arms_of_a_study_are_a_study_with_what_they_need() -> None:
    sft, data = {"objective": {"kind": "sft", "style": "plain"}}, {"data": {"worlds": ["count"], "number": 4}}
    filtered = {**sft, "data": {"pass_rate": {"of": "base", "samples": 2, "least": 0.2}}}
    arms: dict[str, Any] = {"base": {"steps": 0}, "sft": sft, "grpo": {}, "both": {"start": "sft"}, "some": filtered}
    questions = {
        "sft": {"ask": "?", "arm": "sft", "against": "base"},
        "first": {"ask": "?", "arm": "both", "against": "sft"},
        "rl": {"ask": "?", "arm": "both", "against": ["grpo", "sft"]},
    }
    more = {"budget": {"match": "flops", "amount": 1e9, "shares": {"sft": 0.5, "grpo": 0.7}}}
    content = {"shared": data, "arms": arms, "evaluation": TEST, "questions": questions, **more}
    one = Study.model_validate(content)
    both = one.only(["both"])
    assert (list(both.arms), list(both.questions)) == (["sft", "both"], ["first"])
    assert both.budget is not None and both.budget.shares == {"sft": 0.5}
    assert both.recipe("sft", 0, {}) == one.recipe("sft", 0, {})  # the same run
    assert list(one.only(["some"]).arms) == ["base", "some"]  # by whose pass rates it is filtered
    with pytest.raises(RecipeError, match=r"'bose' is no arm of the study; its arms are: base, sft"):
        one.only(["bose"])


def test_a_shared_start_is_no_way_around_that() -> None:
    with pytest.raises(ValueError, match="arm 'a' starts from 'sft', which is not an arm above it"):
        study({"start": "sft"}, a={})


def test_an_arm_that_cannot_be_a_recipe_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"arm a:\n  objective\.groupsize: unknown key; did you mean 'group_s"):
        study(a={"objective": {"kind": "grpo", "groupsize": 4}}).recipe("a", 0, {})


def test_the_last_arm_is_checked_before_the_first_one_is_trained(tmp_path: Path) -> None:
    one = study(a={"steps": 0}, b={"start": "a", "stepz": 1})
    with pytest.raises(RecipeError, match="arm b:\n  stepz: unknown key"):
        run_study(one, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_demo_gives_every_arm_its_tuned_settings_and_the_same_number_of_operations() -> None:
    demo = Study.read(DEMO)
    folders = {arm: Path(arm) for arm in demo.arms}
    recipes = {arm: demo.recipe(arm, 0, folders) for arm in demo.arms}
    trained = {arm: recipe.objective.kind for arm, recipe in recipes.items() if recipe.steps}
    assert trained == {
        "grpo": "grpo",
        "sft-plain": "sft",
        "sft-expert": "sft",
        "warm-plain": "sft",
        "warm-expert": "sft",
        "sft-plain+grpo": "grpo",
        "sft-expert+grpo": "grpo",
    }
    assert set(demo.tuned) == {arm for arm in trained if not arm.startswith("warm")}
    assert not [arm for arm in demo.arms if demo.grid(arm)]  # nothing is left to choose
    assert all(demo.is_matched(arm) for arm in trained)
    # Evaluated on what no arm was trained on, and what none has chosen its settings on.
    assert {recipe.data.split for recipe in recipes.values()} == {"train"}
    assert demo.evaluation.data.split == "test" and demo.validation and demo.validation.data.split == "validation"


def test_a_study_trains_and_evaluates_every_arm_and_does_nothing_twice(tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    one = study(
        {"model": str(model), "prompts": 1, "steps": 1, "sampling": {"max_new_tokens": 2}},
        base={"steps": 0},
        sft={"objective": {"kind": "sft", "style": "plain"}},
        more={"start": "sft", "objective": {"kind": "sft", "style": "plain"}},
    )
    root = tmp_path / "runs"
    steps: list[tuple[str, int]] = []
    runs = run_study(one, root, 0, lambda arm, recipe: lambda step: steps.append((arm, step.step)))
    folders = {arm: run.training for arm, run in runs.items()}
    assert steps == [("sft", 0), ("more", 0)]
    for arm, (training, folder, _) in runs.items():
        assert (training / "DONE").exists() and (folder / "DONE").exists()
        assert folder.name.startswith(f"evaluate-{arm}-s0-") and not (training / "scores.jsonl").exists()
        evaluates = json.loads((folder / "recipe.json").read_text())["evaluates"]
        assert evaluates == json.loads((training / "recipe.json").read_text())["id"]
        assert len([Score.model_validate_json(x) for x in (folder / "scores.jsonl").read_text().splitlines()]) == 2
    assert (
        json.loads((folders["more"] / "recipe.json").read_text())["start"]
        == json.loads((folders["sft"] / "recipe.json").read_text())["id"]
    )
    results = json.loads((root / "results.json").read_text())
    assert {verdict["name"]: verdict["effect"] for verdict in results["verdicts"]} == {
        "sft-against-base": "not resolved",
        "sft-before-sft": "not resolved",
        "more-against-base": "not resolved",
    }
    results = results["arms"]
    assert {arm: row["run"] for arm, row in results.items()} == {arm: f.name for arm, f in folders.items()}
    assert all(row["n"] == 2 and row["seed"] == 0 and len(row["ci95"]) == 2 for row in results.values())
    for arm, row in results.items():
        assert RunCost.model_validate(row["cost"]) == RunCost.read(folders[arm])
    assert results["base"]["cost"]["flops"] == 0 < results["sft"]["cost"]["flops"]
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/**/*") if path.is_file()}
    refused = lambda *_: pytest.fail("trained or evaluated again")  # noqa: E731
    assert run_study(one, root, 0, lambda arm, recipe: refused, lambda arm: refused) == runs
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/**/*") if path.is_file()} == before


def test_a_study_that_asks_for_it_evaluates_every_arm_without_its_pictures_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    short = {"model": str(model), "prompts": 1, "steps": 1, "sampling": {"max_new_tokens": 2}}
    one = study(short, base={"steps": 0}, sft={"objective": {"kind": "sft", "style": "plain"}})
    one = one.model_copy(
        update={"evaluation": type(one.evaluation).model_validate({**TEST, "blind": ["gray", "none"]})}
    )
    root = tmp_path / "runs"
    runs = run_study(one, root)
    assert [path.name.split("-s0-")[0] for path in runs["sft"].blind.values()] == [
        "evaluate-blind-gray-sft",
        "evaluate-blind-none-sft",
    ]
    rows = json.loads((root / "results.json").read_text())["arms"]
    for arm, row in rows.items():
        assert list(row["blind"]) == ["gray", "none"]
        for how, found in row["blind"].items():
            table = json.loads((runs[arm].blind[how] / "evaluation.json").read_text())
            assert (found["accuracy"], found["ci95"], found["n"]) == (table["accuracy"], table["ci95"], 2)
    assert "over" not in rows["base"]["blind"]["gray"] and rows["sft"]["blind"]["gray"]["over"] == "base"
    assert rows["sft"]["blind"]["gray"]["finding"] == "not resolved"  # of two questions
    assert run_study(one, root, 0, lambda arm, recipe: refuse(arm), refuse) == runs
    Console().table(root / "results.json")
    said = capsys.readouterr().out
    assert "blind gray" in said and "sft - base, blind gray: of the gain survives without the picture: not res" in said


def test_a_gain_over_seeds_survives_as_far_as_all_of_its_runs_say(tmp_path: Path) -> None:
    """Blind, a third of what the arm gained is there under every seed."""
    none, third = [0.0] * 30, [1.0] * 10 + [0.0] * 20
    arms = {"base": (none, none), "grpo": ([1.0] * 30, third)}
    runs = {
        arm: [
            ArmRuns(
                tmp_path,
                write_scored(tmp_path / "seeing", arm, seeing, seed=seed),
                {"gray": write_scored(tmp_path / "blind", arm, blind, seed=seed)},
            )
            for seed in (0, 1)
        ]
        for arm, (seeing, blind) in arms.items()
    }
    found = _blind(runs, "grpo")["blind"]["gray"]
    assert found["accuracy"] == pytest.approx(1 / 3) and found["covers"] == "questions and training seeds"
    assert found["survives"]["share"] == pytest.approx(1 / 3)
    assert found["survives"]["covers"] == "questions and training seeds"
    assert _blind(runs, "base")["blind"]["gray"].keys() == {"accuracy", "ci95", "covers", "n"}


def test_a_test_that_is_blind_itself_has_nothing_to_stand_beside() -> None:
    blind = {"protocol": {"blind": "gray"}, "blind": ["gray"]}
    with pytest.raises(RecipeError, match="expected a protocol that shows the pictures beside it, got one that is bl"):
        build(Study, {"shared": {}, "arms": {}, "evaluation": {**TEST, **blind}}, "study")


def untrained(folder: Path, **test: Any) -> Study:
    """A study of one arm that takes no step, evaluated on `test`."""
    model = folder / "tiny"
    if not model.exists():
        tiny_folder(model, "qwen2_5_vl", layers=1)
    one = study({"model": str(model), "steps": 0}, base={})
    return one.model_copy(update={"evaluation": type(one.evaluation).model_validate({**TEST, **test})})


def refuse(arm: str) -> Any:
    return lambda *_: pytest.fail("evaluated again")


LONGER = {"protocol": {"max_new_tokens": 3, "samples": 0}}


def test_another_protocol_is_another_evaluation_and_neither_is_made_twice(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    settings: list[dict[str, Any]] = [{}, LONGER, {"reward": {"box": "stepped"}}]
    found = [run_study(untrained(tmp_path, **test), root)["base"] for test in settings]
    assert len({run.training for run in found}) == 1 and len({run.evaluation for run in found}) == 3
    tables = [json.loads((run.evaluation / "evaluation.json").read_text()) for run in found]
    assert [table.get("reward") for table in tables] == [None, None, {"box": "stepped"}]
    assert [run_study(untrained(tmp_path, **test), root, on_evaluation=refuse)["base"] for test in settings] == found


def test_two_runs_with_the_same_weights_have_an_evaluation_each(tmp_path: Path) -> None:
    runs = run_seeds(untrained(tmp_path), tmp_path / "runs", [0, 3])
    evaluates = [json.loads((run.evaluation / "recipe.json").read_text())["evaluates"] for run in runs]
    assert evaluates == [json.loads((run.training / "recipe.json").read_text())["id"] for run in runs]
    assert len(set(evaluates)) == 2
    assert run_seeds(untrained(tmp_path), tmp_path / "runs", [0, 3], on_evaluation=refuse) == runs


def contents(root: Path) -> dict[Path, tuple[int, str]]:
    """When each file below a folder was last written, and the hash of what is in it."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_no_file_of_a_finished_run_is_ever_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    write_set("logicvista", tmp_path, [logicvista_row(i, "AB"[i % 2]) for i in range(4)])
    shared = "model: tiny, prompts: 1, steps: 1, sampling: {max_new_tokens: 2}, data: {worlds: [count], number: 4}"
    sft = "objective: {kind: sft, style: plain}"
    (tmp_path / "arm.yaml").write_text(f"{{name: arm, {sft}, {shared}}}")
    (tmp_path / "arms.yaml").write_text(
        f"{{shared: {{{shared}}}, arms: {{base: {{steps: 0}}, arm: {{{sft}}}}}, evaluation: {json.dumps(TEST)}}}"
    )
    judge = ChatServer(tmp_path / "judge")
    (tmp_path / "judge.yaml").write_text(json.dumps({"base_url": judge.endpoint().base_url, "model": "one"}))

    def done(command: str) -> None:
        assert main(shlex.split(command)) == 0, capsys.readouterr().err

    def folder(pattern: str) -> Path:
        [found] = Path("runs").glob(pattern)
        return found

    try:
        done("train arm.yaml")
        done("study arms.yaml --out runs")
        trained, evaluated, base = (folder(f"{name}-s0-*") for name in ("arm", "evaluate-arm", "evaluate-base"))
        unasked = f"evaluate {trained} --benchmark logicvista --data-root . --max-new-tokens 2"
        done(unasked)
        benchmark, asked = folder("logicvista-arm-s0-*"), f"{unasked} --judge judge.yaml"
        finished = {path: state for path, state in contents(Path("runs")).items() if len(path.parts) > 2}
        monkeypatch.setenv("OMP_NUM_THREADS", "61")  # another machine, as far as environment.json knows
        for command in (
            "train arm.yaml",
            "study arms.yaml --out runs",
            "study arms.yaml --out runs --set evaluation.protocol.max_new_tokens=3",
            f"evaluate {trained} --data worlds:count:test:2 --max-new-tokens 2 --samples 0",
            unasked,
            asked,
            f"{asked} --set judge.model=two",
            asked,
            "report runs",
            f"report {trained} {benchmark}",
            f"compare {base} {evaluated}",
            f"export {benchmark} --out replies.tsv",
        ):
            done(command)
        shown = read_runs([trained])  # each table of it: three protocols or data sets of its own, and the benchmark
        assert {run.folder for run in shown} == {trained.resolve()}
        assert benchmark.resolve() in {run.evaluated_in for run in shown} and "logicvista" in {r.table for r in shown}
        after = contents(Path("runs"))
        assert {path: after.get(path) for path in finished} == finished
    finally:
        judge.stop()


def evaluated(root: Path, scores: Sequence[Sequence[float]]) -> dict[int, ArmRuns]:
    """An arm's runs, one for each list of greedy scores."""
    runs = {}
    for seed, values in enumerate(scores):
        folder = write_scored(root, "grpo", values, seed=seed)
        row = {"accuracy": fmean(values), "n": len(values), "pass_at": {"1": 0.5, "4": 1.0}, "reply_tokens": 4.0 + seed}
        families = {"count": {"accuracy": seed / 2, "sampled_accuracy": 0.25}} | ({"digits": {"n": 3}} if seed else {})
        (folder / "evaluation.json").write_text(json.dumps({**row, "ci95": [0.0, 1.0], "families": families}))
        runs[seed] = ArmRuns(folder, folder)
    return runs


def test_an_arm_over_seeds_has_a_mean_and_one_interval_that_says_what_it_covers(tmp_path: Path) -> None:
    runs = evaluated(tmp_path, [[1.0] * right + [0.0] * (40 - right) for right in (18, 20, 22)])
    row = over_seeds(runs)
    assert row["accuracy"] == pytest.approx(0.5) and row["covers"] == "questions and training seeds"
    assert (row["n"], row["pass_at"], row["reply_tokens"]) == (40, {"1": 0.5, "4": 1.0}, 5.0)
    assert row["families"] == {"count": {"accuracy": 0.5, "sampled_accuracy": 0.25}, "digits": {}}
    assert {seed: (one["accuracy"], one["covers"]) for seed, one in row["seeds"].items()} == {
        "0": (0.45, "questions"),
        "1": (0.5, "questions"),
        "2": (0.55, "questions"),
    }
    [arm] = make_arms(read_runs([tmp_path]))
    assert arm.accuracy is not None
    assert [row["accuracy"], *row["ci95"], row["covers"]] == [*arm.accuracy[:3], arm.accuracy.covers]


def test_two_seeds_of_few_questions_still_have_an_accuracy_between_none_and_all(tmp_path: Path) -> None:
    low, high = over_seeds(evaluated(tmp_path, [[0.0] * 6, [1.0, 1.0, *[0.0] * 4]]))["ci95"]
    assert 0.0 <= low < high <= 1.0  # a t interval of the two means reaches below -1


def test_console_results_and_report_give_one_number_one_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = over_seeds(evaluated(tmp_path, [[1.0] * right + [0.0] * (40 - right) for right in (18, 20, 22)]))
    (tmp_path / "results.json").write_text(json.dumps({"arms": {"grpo": row}}))
    Console().table(tmp_path / "results.json")
    said = capsys.readouterr().out
    ends = [f"{100 * end:.1f}" for end in row["ci95"]]
    assert f"50.0 ({ends[0]} to {ends[1]})" in said and "intervals over questions and training seeds" in said
    page = write_report([tmp_path], tmp_path / "report.html", "one").read_text("utf-8")
    assert f"{ends[0]}–{ends[1]}</span><small>over questions and training seeds</small>" in page
    assert f"interval {ends[0]} to {ends[1]} over questions and training seeds" in page.replace("\u00a0", " ")


def test_seeds_share_a_folder_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    small = {"model": str(model), "prompts": 1, "steps": 1, "sampling": {"max_new_tokens": 2}}
    one = study(small, base={"steps": 0}, sft={"objective": {"kind": "sft", "style": "plain"}})
    folders = [run.training for run in run_seeds(one, tmp_path / "runs", [0, 3])]
    assert [f.name.rpartition("-")[0] for f in folders] == ["base-s0", "sft-s0", "base-s3", "sft-s3"]
    arms = json.loads((tmp_path / "runs" / "results.json").read_text())["arms"]
    assert {name: list(row["seeds"]) for name, row in arms.items()} == {"base": ["0", "3"], "sft": ["0", "3"]}
    assert arms["sft"]["seeds"]["3"]["run"] == folders[3].name
    costs = [row["cost"]["trained_tokens"] for row in arms["sft"]["seeds"].values()]
    assert arms["sft"]["cost"]["trained_tokens"] == round(sum(costs) / 2) > 0
    Console().table(tmp_path / "runs" / "results.json")
    page = write_report([tmp_path / "runs"], tmp_path / "report.html", "one").read_text("utf-8")
    [row] = re.findall(r"<tr>.*sft.*</tr>", page.partition('id="costs-table"')[2].partition("</table>")[0])
    told = RunCost.model_validate(arms["sft"]["cost"]).cells()
    assert re.findall(r'<td class="n">(.*?)</td>', row) == told
    said = capsys.readouterr().out
    assert all(cell in said for cell in told)
    shown = {arm.name: arm.accuracy for arm in make_arms(read_runs([tmp_path / "runs"]))}
    for name, row in arms.items():  # what the study says is what the report says
        found = shown[name]
        assert found is not None
        assert [row["accuracy"], *row["ci95"], row["covers"]] == [*found[:3], "questions and training seeds"]
    with pytest.raises(RecipeError, match=r"expected each seed once, got \[1, 1\]"):
        run_seeds(one, tmp_path / "runs", [1, 1])


def test_a_study_says_what_tells_whether_its_arms_differ_and_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    shared = {"model": str(model), "data": {"worlds": ["count"], "number": 4}, "prompts": 1, "steps": 0}
    content = {"shared": shared, "arms": {"base": {}, "other": {"seed": 1}}, "evaluation": TEST}
    (tmp_path / "two.yaml").write_text(json.dumps(content))
    assert main(["study", "two.yaml"]) == 0
    [said] = re.findall(r"whether the arms differ: firsthand (.*)", capsys.readouterr().out)
    assert main(shlex.split(said)) == 0
    assert "other" in capsys.readouterr().out
