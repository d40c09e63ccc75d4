"""How far a study is: what its run directories say, the table of it, and the line while it goes on."""

import fcntl
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from tiny import tiny_folder

from firsthand.cli.console import Console
from firsthand.cli.main import main
from firsthand.cli.terminal.standing import Overall, duration, show_standing
from firsthand.records import Step
from firsthand.study import Study, run_seeds
from firsthand.study.standing import Stage, Standing, standing_of

CONTENT = {
    "shared": {
        "data": {"worlds": ["count"], "number": 4},
        "prompts": 1,
        "steps": 2,
        "objective": {"kind": "sft", "style": "plain"},
    },
    "arms": {"base": {"steps": 0}, "sft": {}, "more": {"start": "sft"}},
    "evaluation": {
        "data": {"worlds": ["count"], "split": "test", "number": 2},
        "protocol": {"max_new_tokens": 2, "samples": 0},
        "blind": ["gray"],
    },
}
STUDY = Study.model_validate(CONTENT)
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study under two seeds, done."""
    root = tmp_path_factory.mktemp("study")
    run_seeds(STUDY, root, SEEDS)
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def stages(root: Path, study: Study = STUDY) -> dict[str, str]:
    return {f"{one.arm} {one.seed}": str(one.stage) for one in standing_of(study, root, SEEDS)}


def folder(root: Path, arm: str, seed: int) -> Path:
    (found,) = root.glob(f"{arm}-s{seed}-*")
    return found


ALL_DONE = {f"{arm} {seed}": "done" for seed in SEEDS for arm in CONTENT["arms"]}


def test_a_study_that_nobody_has_begun_is_missing_and_asking_writes_nothing(tmp_path: Path) -> None:
    assert stages(tmp_path / "none") == dict.fromkeys(ALL_DONE, "missing")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_study_is_done_and_asking_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    found = standing_of(STUDY, root, SEEDS)
    assert [(one.arm, one.seed, one.stage) for one in found] == [
        (arm, seed, Stage.DONE) for seed in SEEDS for arm in CONTENT["arms"]
    ]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    sft = found[1]
    lines = (folder(root, "sft", 0) / "metrics.jsonl").read_text()
    seconds = [Step.model_validate_json(line).seconds for line in lines.splitlines()]
    assert sft.minutes == pytest.approx(sum(seconds) / 60)


def test_a_run_that_was_stopped_has_begun_and_what_starts_from_it_is_missing(root: Path) -> None:
    run = folder(root, "sft", 1)
    (run / "DONE").unlink()
    first, _ = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(f"{first}\n")
    assert stages(root) == ALL_DONE | {"sft 1": "begun", "more 1": "missing"}
    sft = next(one for one in standing_of(STUDY, root, SEEDS) if (one.arm, one.seed) == ("sft", 1))
    assert (sft.step, sft.steps) == (1, 2)
    with (run / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert stages(root)["sft 1"] == "running"


@pytest.mark.parametrize("which", ["evaluate-more-s0-*", "evaluate-blind-gray-more-s0-*"])
def test_without_one_of_its_evaluations_an_arm_is_trained_and_not_done(which: str, root: Path) -> None:
    training = json.loads((folder(root, "more", 1) / "recipe.json").read_text())["id"]
    (evaluation,) = [
        path for path in root.glob(which) if json.loads((path / "recipe.json").read_text())["evaluates"] == training
    ]
    (evaluation / "DONE").unlink()
    assert stages(root) == ALL_DONE | {"more 1": "trained"}


def test_another_recipe_or_another_question_is_missing(root: Path) -> None:
    longer = Study.model_validate(CONTENT | {"arms": CONTENT["arms"] | {"sft": {"steps": 3}}})
    assert stages(root, longer) == ALL_DONE | dict.fromkeys(["sft 0", "sft 1", "more 0", "more 1"], "missing")
    other = CONTENT["evaluation"] | {"protocol": {"max_new_tokens": 3, "samples": 0}}
    assert set(stages(root, Study.model_validate(CONTENT | {"evaluation": other})).values()) == {"trained"}


def test_an_arm_that_has_chosen_its_settings_is_looked_for_under_them(tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)
    shared = CONTENT["shared"] | {"model": str(model)}
    validation = {"data": {"worlds": ["count"], "split": "validation", "number": 2}}
    arms = {"sft": {}, "more": {"start": "sft"}}
    tuning = {"grid": {"optimizer.lr": [1e-4, 1e-3]}, "rungs": [1.0]}
    content = CONTENT | {"shared": shared, "arms": arms, "validation": validation, "tune": tuning, "analyses": []}
    study, root = Study.model_validate(content), tmp_path / "out"
    run_seeds(study.model_copy(update={"tune": None}), root, SEEDS[:1])  # under the settings of the file
    assert set(stages(root, study).values()) == {"missing"}
    run_seeds(study, root, SEEDS)
    assert set(stages(root, study).values()) == {"done"}
    wider = content | {"tune": tuning | {"grid": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}}}  # so they choose anew
    assert set(stages(root, Study.model_validate(wider)).values()) == {"missing"}


def test_the_command_lists_arms_and_seeds_and_does_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder(root, "sft", 1) / "DONE").unlink()
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    before = sorted(root.rglob("*"))
    assert main(["study", str(file), "--list", "--seeds", "0", "1", "--out", str(root)]) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told[0] == ["arm", "seed", "0", "seed", "1"]
    assert ["sft", "done", "begun,", "step", "2", "of", "2"] in told
    assert ["more", "done", "missing"] in told
    assert " ".join(told[-1]).startswith("study: 4 of 6 done")
    assert sorted(root.rglob("*")) == before


class Clock:
    """Minutes that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return 60 * self.now


def plan(*stage: Stage, minutes: float | None = None) -> list[Standing]:
    """Two arms of 10 and 30 steps under several seeds, with these stages."""
    arms = [("short", 10), ("long", 30)]
    return [
        Standing(*arms[n % 2][:1], n // 2, one, 0, arms[n % 2][1], minutes if one is Stage.DONE else None)
        for n, one in enumerate(stage)
    ]


def test_the_line_says_what_is_done_what_goes_on_and_how_long_the_rest_takes() -> None:
    clock = Clock()
    overall = Overall(plan(*[Stage.MISSING] * 6), clock)
    assert overall.line() == "study: 0 of 6 done"
    overall.begin("short, seed 0")
    assert overall.work()
    assert not overall.work()
    assert overall.line() == "study: 0 of 6 done; now short, seed 0"  # nothing is known yet
    clock.now += 20
    overall.begin("long, seed 0")  # as many minutes per step as the short one: 60
    overall.work()
    assert overall.line() == "study: 1 of 6 done; now long, seed 0; about 3 h 40 min left"  # 3 x 60 + 2 x 20
    clock.now += 30
    overall.begin("a try of tuning")
    assert overall.line() == "study: 1 of 6 done; now long, seed 0; about 3 h 10 min left"
    clock.now += 10
    overall.begin("short, seed 1")  # the long one took 40
    assert overall.line() == "study: 2 of 6 done; now short, seed 1; about 2 h 0 min left"


def test_what_was_done_before_counts_and_tells_how_long_the_rest_takes() -> None:
    overall = Overall(plan(Stage.DONE, Stage.DONE, Stage.MISSING, Stage.DONE, minutes=5), Clock())
    for name in ("short, seed 0", "long, seed 0"):
        overall.begin(name)  # they are passed over
    assert overall.line() == "study: 3 of 4 done; now long, seed 0; about 5 min left"


def test_a_run_that_was_half_done_takes_half_as_long() -> None:
    half = [Standing("short", 0, Stage.DONE, 10, 10, 8.0), Standing("short", 1, Stage.BEGUN, 5, 10)]
    assert Overall(half, Clock()).line() == "study: 1 of 2 done; about 4 min left"


@pytest.mark.parametrize(
    ("minutes", "told"), [(0.2, "1 min"), (1.4, "1 min"), (59.6, "1 h 0 min"), (60, "1 h 0 min"), (200, "3 h 20 min")]
)
def test_a_time_is_told_in_words(minutes: float, told: str) -> None:
    assert duration(minutes) == told


def test_a_log_has_a_line_of_the_whole_before_each_training_and_few_of_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = STUDY.recipe("sft", 0, {}).model_copy(update={"steps": 60})
    with Console(Overall(plan(*[Stage.MISSING] * 10))) as console:
        for seed in range(5):
            on_step = console.training(f"short, seed {seed}", recipe)
            for step in range(60):
                on_step(Step(step=step, metrics={}, seconds=1.0))
            show = console.evaluation(f"short, seed {seed}")
            show(1, 2)
            show(2, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("study:")][1].startswith("study: 1 of 10 done; now short, seed 1")
    assert len(lines) == 5 * (1 + 2 + 2)


def test_what_is_stopped_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Console(Overall(plan(Stage.DONE, Stage.MISSING, minutes=3))) as console:
        console.training("long", STUDY.recipe("sft", 0, {}))
        raise KeyboardInterrupt
    assert capsys.readouterr().out == "study: 1 of 2 done; now long; about 9 min left\n"


def test_a_terminal_keeps_the_last_bars_and_the_line_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    recipe = STUDY.recipe("sft", 0, {}).model_copy(update={"steps": 1})
    standings = [Standing("short", seed, Stage.MISSING, 0, 1) for seed in range(30)]
    with Console(Overall(standings)) as console:
        for seed in range(30):
            console.training(f"short, seed {seed}", recipe)(Step(step=0, metrics={}, seconds=1.0))
    last = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().out).split("train short, seed 29")[-1]
    assert "study: 30 of 30 done" in last
    assert len(console._progress.tasks) < 12


def test_a_table_of_many_seeds_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show_standing([Standing("arm", seed, Stage.BEGUN, seed, 60) for seed in range(20)])
    assert "begun, step 19 of 60" in capsys.readouterr().out


def test_an_arm_that_a_budget_ends_is_found_and_has_no_number_of_steps(tmp_path: Path) -> None:
    budget = {"match": "trained", "of": "sft"}
    arms = {"dear": {"objective": {"kind": "sft", "style": "expert"}}, "sft": {}}
    study = Study.model_validate(CONTENT | {"arms": arms, "budget": budget, "analyses": []})
    assert set(stages(tmp_path, study).values()) == {"missing"}
    run_seeds(study, tmp_path, SEEDS[:1])
    found = {one.arm: one for one in standing_of(study, tmp_path, SEEDS[:1])}
    assert {arm: (str(one.stage), one.steps) for arm, one in found.items()} == {
        "sft": ("done", 2),
        "dear": ("done", None),
    }
    (folder(tmp_path, "dear", 0) / "DONE").unlink()
    dear = next(one for one in standing_of(study, tmp_path, SEEDS[:1]) if one.arm == "dear")
    assert (dear.stage, dear.step > 0) == (Stage.BEGUN, True)
