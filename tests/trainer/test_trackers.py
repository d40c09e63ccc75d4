"""Trackers see what the journal holds, each step once; they change no run, and stop none."""

import html
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tracked_runs
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tracked_runs import REPLY, Scripted, judged, write_steps

from firsthand.cli.main import main
from firsthand.cost import USED
from firsthand.errors import RecipeError
from firsthand.records import Rollout, Score, Step, json_lines
from firsthand.run import Run
from firsthand.study import Study, run_study
from firsthand.trainer import trackers as module
from firsthand.trainer.tracked import (
    ASKED,
    GROUPS,
    LONGEST,
    REPLIES,
    SHOWN_STEPS,
    SIDE,
    evaluation_tables,
    is_shown,
    rollout_table,
)
from firsthand.trainer.trackers import TrackedRun, Trackers, track_evaluation
from firsthand.worlds import generate


class Office:
    """Opens scripted trackers under the names of real ones, and keeps them: name -> the one of each run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.opened: dict[str, list[Scripted]] = {name: [] for name in names}
        self.has: dict[str, int] = dict.fromkeys(names, 0)
        self.faults: dict[str, Mapping[int | str, Exception]] = {name: {} for name in names}
        monkeypatch.setattr(module, "find_spec", lambda name: object())
        monkeypatch.setattr(module, "_check_login", lambda: None)
        for name in names:
            monkeypatch.setitem(module._OPENED, name, lambda run, name=name: self._open(name, run))

    def _open(self, name: str, run: TrackedRun) -> Scripted:
        if "open" in self.faults[name]:
            raise self.faults[name]["open"]
        self.opened[name].append(Scripted(run, self.has[name], self.faults[name]))
        return self.opened[name][-1]


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 21, 60, 999, 100_000])
def test_few_steps_of_a_run_show_their_replies_the_first_and_the_last_among_them(steps: int) -> None:
    shown = [step for step in range(steps) if is_shown(step / steps, (step + 1) / steps)]
    assert len(shown) <= SHOWN_STEPS + 1
    assert (shown[0], shown[-1]) == (0, steps - 1)
    assert len(shown) >= min(steps, SHOWN_STEPS // 2)


def test_a_table_is_small_however_large_the_step_is(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (10, 2000), "blue").save(tmp_path / "tall.png")
    group = tuple(judged("long " * 5000) for _ in range(REPLIES + 5))
    asked = {"question": "why? " * 5000, "gold": "3" * 5000, "images": ("wide", "tall"), "group": group}
    table = rollout_table([Rollout(step=0, example_id=str(n), **asked) for n in range(GROUPS + 5)], tmp_path)
    assert len(table.rows) == GROUPS * REPLIES
    assert all(len(cell) <= LONGEST + len("...") for row in table.rows for cell in row if isinstance(cell, str))
    assert len(table.pictures) == GROUPS
    for picture in table.pictures:
        assert picture.size == (SIDE + 1, SIDE)  # beside each other: 256 x 85 and 1 x 256
        assert picture.getpixel((0, 0)) == (255, 0, 0)
        assert picture.getpixel((SIDE, 100)) == (0, 0, 255)


def test_a_question_without_a_picture_has_a_row_without_one(tmp_path: Path) -> None:
    table = rollout_table(
        [Rollout(step=0, example_id="1", question="2 + 1", gold="3", images=(), group=(judged(),))], tmp_path
    )
    assert table.rows == (("2 + 1", None, "3", REPLY, 1.0, "ok", "equals 3", 1.0, 1.0),)
    assert table.pictures == ()


@pytest.mark.parametrize(("number", "greedy"), [(3, True), (17, True), (1000, False)])
def test_an_evaluation_shows_a_few_questions_with_the_reply_that_counts(number: int, greedy: bool) -> None:
    right, wrong = judged("right"), judged("wrong", 0.0)
    asked = {"gold": "3", "images": (), "greedy": right if greedy else None, "samples": (wrong, right)}
    scores = [Score(example_id=str(n), question=str(n), **asked) for n in range(number)]
    rows = evaluation_tables({"accuracy": 0.5, "n": number}, scores, Path())["replies"].rows
    assert len(rows) == min(number, ASKED)
    assert [int(row[0]) for row in rows] == sorted({int(row[0]) for row in rows})
    assert {row[3] for row in rows} == {"right" if greedy else "wrong"}


def board(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0}).Reload()


def scalars(events: EventAccumulator, name: str = "score/mean") -> dict[int, float]:
    found = [(event.step, round(event.value, 6)) for event in events.Scalars(name)]
    assert len(dict(found)) == len(found)
    return dict(found)


STEPS = {step: step / 10 for step in range(6)}


def test_tensorboard_has_every_step_with_its_replies_and_pictures(tmp_path: Path) -> None:
    events = board(write_steps(tmp_path, 0, 5, None))
    assert scalars(events) == STEPS
    texts = {event.step: event.tensor_proto.string_val[0].decode() for event in events.Tensors("rollouts/text_summary")}
    assert list(texts) == list(STEPS)
    first, second = (example.images[0] for example in generate("count", "train", 2))
    for tag, picture in (("rollouts/picture 1", first), ("rollouts/picture 2", second)):
        shown = events.Images(tag)[0]
        assert (shown.width, shown.height) == (picture.width, picture.height)
    recipe = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(recipe)["name"] == "arm"


def test_in_tensorboard_a_reply_is_text_and_nothing_else(tmp_path: Path) -> None:
    events = board(write_steps(tmp_path, 0, 0, None))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of what it brings along
        from tensorboard.plugin_util import markdown_to_safe_html
    page = markdown_to_safe_html(events.Tensors("rollouts/text_summary")[0].tensor_proto.string_val[0].decode())
    tags = set(re.findall(r"<(\w+)", page))
    assert tags == {"table", "thead", "tbody", "tr", "th", "td", "br"}
    cells = re.findall(r"<td>(.*?)</td>", page, re.S)
    assert html.unescape(cells[3].replace("<br>", "\n")) == REPLY
    assert len(cells) == 2 * 2 * 9


def test_a_run_that_goes_on_tells_tensorboard_each_step_once(tmp_path: Path) -> None:
    write_steps(tmp_path, 0, 4, None)
    assert scalars(board(write_steps(tmp_path, 3, 5, None))) == STEPS


def test_who_has_some_steps_is_told_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, "trackio", "wandb")
    write_steps(tmp_path, 0, 4, Trackers(["trackio"]))  # wandb is asked for only when the run goes on
    office.has["trackio"] = 5
    write_steps(tmp_path, 3, 5, Trackers(["trackio", "wandb"]))
    assert [one.steps for one in office.opened["trackio"]] == [[0, 1, 2, 3, 4], [5]]
    (late,) = office.opened["wandb"]
    assert {step: numbers["score/mean"] for step, numbers, _ in late.told} == STEPS
    assert all(len(tables["rollouts"].rows) == 4 for _, _, tables in late.told)
    assert [one.run.has_begun for one in office.opened["trackio"]] == [False, True]
    assert late.closed is True


@pytest.mark.parametrize("used", [True, False])
def test_a_run_that_a_budget_ends_shows_replies_as_it_is_used_up(
    used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(monkeypatch, "wandb")
    monkeypatch.setitem(tracked_runs.RECIPE, "steps", 6000)  # the most that it may take
    share = {USED: 1 / 6} if used else {}
    step_of = lambda step: Step(step=step, metrics={key: (step + 1) * x for key, x in share.items()}, seconds=1.0)  # noqa: E731
    monkeypatch.setattr(tracked_runs, "step_of", step_of)
    write_steps(tmp_path, 0, 5, Trackers(["wandb"]))
    write_steps(tmp_path, 6, 5, Trackers(["wandb"]))  # tells a tracker that has nothing
    for one in office.opened["wandb"]:
        assert [step for step, _, tables in one.told if tables] == ([0, 1, 2, 3, 4, 5] if used else [0])


def test_what_trackers_are_told_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, "wandb")
    folder = write_steps(tmp_path / "my study", 0, 0, Trackers(["wandb"]))
    run = office.opened["wandb"][0].run
    assert run.project == "my-study"
    assert run.recipe == json.loads((folder / "recipe.json").read_text())
    assert (run.recipe["name"], run.recipe["seed"], run.job) == ("arm", 3, "train")


@pytest.mark.parametrize("fault", [0, 2, "close"])
def test_one_that_fails_is_told_of_once_and_stops_nothing(
    fault: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(monkeypatch, "trackio", "wandb")
    office.faults["trackio"] = {fault: OSError("no space left on device")}
    folder = write_steps(tmp_path, 0, 5, Trackers(["trackio", "wandb"]))
    steps = [Step.model_validate_json(line).step for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == office.opened["wandb"][0].steps == list(STEPS)
    assert office.opened["trackio"][0].steps == list(STEPS)[: None if fault == "close" else fault]
    (told,) = caplog.messages
    assert "trackio" in told
    assert "no space left on device" in told


def test_one_that_cannot_be_opened_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    office = Office(monkeypatch, "trackio", "wandb")
    office.faults["wandb"] = {"open": TimeoutError("90 s")}
    trackers = Trackers(["trackio", "wandb"])
    write_steps(tmp_path / "a", 0, 5, trackers)
    del office.faults["wandb"]["open"]
    write_steps(tmp_path / "b", 0, 5, trackers)
    assert [one.steps for one in office.opened["trackio"]] == [list(STEPS)] * 2
    assert office.opened["wandb"] == []
    assert len(caplog.messages) == 1


def test_what_stops_a_run_leaves_it_marked_as_not_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, "wandb")
    monkeypatch.setattr(tracked_runs, "step_of", lambda step: 1 / (2 - step))
    with pytest.raises(AttributeError):
        write_steps(tmp_path, 0, 5, Trackers(["wandb"]))
    assert office.opened["wandb"][0].closed is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tensorboard,wandbx", "track: expected some of tensorboard, trackio, wandb, or none, got 'wandbx'"),
        ("", "track: expected some of tensorboard, trackio, wandb, or none, got ''"),
        ("none,wandb", "got 'none'"),
        ("tensorboard, trackio", "pip install 'firsthand[trackio]'"),
        ("wandb", "pip install 'firsthand[wandb]'"),
    ],
)
def test_one_that_cannot_be_used_is_refused_before_anything_begins(
    text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name != "tensorboard" else object())
    with pytest.raises(RecipeError, match=re.escape(expected)):
        Trackers.read(text)
    monkeypatch.setenv("FIRSTHAND_TRACK", text)
    recipe = tmp_path / "r.yaml"
    recipe.write_text("{name: r, data: {worlds: [count], number: 2}, steps: 1}")
    assert main(["train", str(recipe), "--out", str(tmp_path / "runs")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_tracker_is_no_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, "wandb")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "{name: r, data: {worlds: [count], number: 2}, prompts: 1, steps: 1, sampling: {max_new_tokens: 4}}"
    )
    main(["train", str(recipe), "--out", str(tmp_path / "a"), "--track", "none"])
    monkeypatch.setenv("FIRSTHAND_TRACK", "wandb")
    main(["train", str(recipe), "--out", str(tmp_path / "b")])
    (a,), (b,) = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    assert a.name == b.name
    assert (a / "recipe.json").read_text() == (b / "recipe.json").read_text()
    assert (a / "rollouts.jsonl").read_text() == (b / "rollouts.jsonl").read_text()
    assert not (a / "tensorboard").exists()
    assert office.opened["wandb"][0].steps == [0]


def test_a_reply_that_holds_signs_which_end_lines_elsewhere_is_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that is split as Python splits it would end the JSON of such a reply in its middle."""
    office = Office(monkeypatch, "trackio")
    asked = {"family": "count", "question": "How many?\u2029", "gold": "7", "images": ()}
    score = Score(example_id="a", greedy=judged("7\u2028\x85"), **asked)
    with Run.open(tmp_path, "a", 0, {"name": "a", "seed": 0}) as run:
        (run.folder / "scores.jsonl").write_text(json_lines([score]), encoding="utf-8")
        run.write_json("evaluation.json", {"accuracy": 1.0, "n": 1})
        track_evaluation(Trackers(["trackio"]), run)
    [one] = office.opened["trackio"]
    assert len(one.told) == 1


def test_an_evaluation_of_a_study_is_tracked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(monkeypatch, "wandb")
    test = {"data": {"worlds": ["count", "chart"], "number": 4}, "protocol": {"max_new_tokens": 2, "samples": 0}}
    shared = {"data": {"worlds": ["count"], "number": 4}, "steps": 0}
    study = Study.model_validate({"shared": shared, "arms": {"base": {}}, "evaluation": test})
    runs = run_study(study, tmp_path, trackers=Trackers(["wandb"]))
    run_study(study, tmp_path, trackers=Trackers(["wandb"]))
    (one,) = office.opened["wandb"]
    assert one.run.folder == runs["base"].evaluation
    assert (one.run.job, one.run.recipe["name"], one.closed) == ("evaluate", "base", True)
    ((_, numbers, tables),) = one.told
    evaluation = json.loads((one.run.folder / "evaluation.json").read_text())
    assert numbers["evaluation/accuracy"] == evaluation["accuracy"]
    assert [numbers["evaluation/low"], numbers["evaluation/high"]] == evaluation["ci95"]
    assert [row[0] for row in tables["evaluation/families"].rows] == ["chart", "count", "all"]
    assert len(tables["evaluation/replies"].rows) == len(tables["evaluation/replies"].pictures) == 4


def test_who_asks_for_no_tracker_imports_none() -> None:
    code = (
        "import sys, firsthand.trainer.trackers; print(sorted({'trackio', 'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def in_a_process(root: Path, first: int, last: int, name: str, **environment: str) -> Path:
    """`write_steps` in a process of its own, for packages read their variables when they are imported."""
    command = [sys.executable, tracked_runs.__file__, str(root), str(first), str(last), name]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert ended.returncode == 0, ended.stderr
    assert "left out" not in ended.stderr
    return Path(ended.stdout.splitlines()[-1])


@pytest.mark.slow
def test_trackio_has_every_step_once_with_its_replies_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    root, home = tmp_path / "study", tmp_path / "trackio"
    in_a_process(root, 0, 4, "trackio", TRACKIO_DIR=str(home))
    folder = in_a_process(root, 3, 5, "trackio", TRACKIO_DIR=str(home))
    with sqlite3.connect(home / "study.db") as database:
        logged = [
            (run, step, json.loads(m))
            for run, step, m in database.execute("SELECT run_name, step, metrics FROM metrics")
        ]
        configs = [json.loads(config) for (config,) in database.execute("SELECT config FROM configs")]
    assert [(run, step) for run, step, _ in logged] == [(folder.name, step) for step in STEPS]
    assert {step: metrics["score/mean"] for _, step, metrics in logged} == STEPS
    (config,) = configs
    assert (config["_Group"], config["seed"], config["id"]) == ("arm", 3, recipe_id(folder))
    for _, _, metrics in logged:
        rows = metrics["rollouts"]["_value"]
        assert [row["reply"] for row in rows] == [REPLY] * 4
        assert [row["advantage"] for row in rows] == [-1, 1, -1, 1]
        for row in rows:
            with Image.open(home / "media" / row["picture"]["file_path"]) as picture:
                picture.load()


@pytest.mark.slow
def test_a_run_that_begins_anew_is_a_new_one_in_trackio(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    home = tmp_path / "trackio"
    for root in (tmp_path / "a/study", tmp_path / "b/study"):  # as when its folder was deleted
        in_a_process(root, 0, 5, "trackio", TRACKIO_DIR=str(home))
    with sqlite3.connect(home / "study.db") as database:
        found = database.execute("SELECT run_id, COUNT(*) FROM metrics GROUP BY run_id").fetchall()
    assert [steps for _, steps in found] == [6, 6]


def wandb_records(path: Path) -> Iterator[Any]:
    """What a .wandb file holds: after 7 bytes, blocks of 32 KiB with parts of records, as LevelDB writes its log."""
    from wandb.proto import wandb_internal_pb2

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


@pytest.mark.slow
def test_wandb_has_every_step_once_with_its_replies_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    root = tmp_path / "study"
    offline = {
        "WANDB_MODE": "offline",
        "WANDB_DATA_DIR": str(tmp_path / "data"),
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
    }
    in_a_process(root, 0, 4, "wandb", **offline)
    folder = in_a_process(root, 3, 5, "wandb", **offline)
    *_, latest = sorted(folder.glob("wandb/offline-run-*"))  # offline, nobody knows what the first one has told
    records = list(wandb_records(next(latest.glob("*.wandb"))))
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.display_name, run.run_group, run.project) == (
        recipe_id(folder),
        folder.name,
        "arm",
        "study",
    )
    assert {entry.key: entry.value_json for entry in run.config.update}["seed"] == "3"
    steps = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert {step["_step"]: step["score/mean"] for step in steps} == STEPS
    assert len(steps) == len(STEPS)
    for step in steps:
        table = json.loads((latest / "files" / step["rollouts/path"]).read_text())
        assert [dict(zip(table["columns"], row, strict=True))["reply"] for row in table["data"]] == [REPLY] * 4
    (*_, kept) = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    pictures = [entry for entry in kept.manifest.contents if entry.path.endswith(".png")]
    assert len(pictures) == 2
    for entry in pictures:
        with Image.open(entry.local_path) as picture:
            picture.load()


@pytest.mark.slow
def test_wandb_that_is_not_logged_in_is_told_before_anything_begins(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    nobody = {"HOME": str(tmp_path), "WANDB_MODE": "online", "NETRC": str(tmp_path / "netrc")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")} | nobody
    code = "from firsthand.trainer.trackers import Trackers; Trackers(['wandb'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "RecipeError: track: wandb is not logged in here: `wandb login`" in ended.stderr


def recipe_id(folder: Path) -> str:
    return str(json.loads((folder / "recipe.json").read_text())["id"])
