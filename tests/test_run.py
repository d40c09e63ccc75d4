"""A run directory: one per recipe, one process at a time, resumable after a kill at any moment."""

import hashlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from firsthand.errors import DataError
from firsthand.files import lock_of
from firsthand.records import Picture, Rollout, Step, png
from firsthand.run import Run, folder_of

RECIPE = {"name": "grpo", "steps": 60, "objective": {"kind": "grpo"}}

OPEN_IT = """
import sys
from pathlib import Path
from firsthand.run import Run
with Run.open(Path(sys.argv[1]), "grpo", 0, {"name": "grpo"}):
    print("opened", flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise SystemExit("failed")
"""


def step(number: int) -> Step:
    return Step(step=number, metrics={"score/mean": number / 10}, seconds=1.0)


def rollout(number: int, question: str = "How many?") -> Rollout:
    return Rollout(step=number, example_id="e", question=question, gold="7", images=(), group=())


def steps_in(run: Run, name: str) -> list[int]:
    return [json.loads(line)["step"] for line in (run.folder / name).read_text().splitlines()]


def as_picture(data: bytes) -> Picture:
    return Picture(sha256=hashlib.sha256(data).hexdigest(), width=8, height=6, data=data)


def test_the_same_recipe_has_the_same_directory_and_another_one_another(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as first:
        pass
    with Run.open(tmp_path, "grpo", 0, dict(reversed(RECIPE.items()))) as again:
        assert again.folder == first.folder
    with Run.open(tmp_path, "grpo", 0, {**RECIPE, "steps": 61}) as other:
        assert other.folder != first.folder
    assert len(list(tmp_path.iterdir())) == 2


def test_a_directory_is_named_after_its_recipe_and_keeps_it(tmp_path: Path) -> None:
    with Run.open(tmp_path / "runs", "grpo", 3, RECIPE) as run:
        kept = json.loads((run.folder / "recipe.json").read_text())
    assert {key: kept[key] for key in RECIPE} == RECIPE
    assert run.folder == tmp_path / "runs" / f"grpo-s3-{kept['id'][:8]}"


def test_a_run_is_done_when_it_says_so(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        assert not run.is_done
        run.finish()
    with Run.open(tmp_path, "grpo", 0, RECIPE) as again:
        assert again.is_done
        assert again.model == run.folder / "model"


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_a_second_process_waits_and_says_so_until_the_first_one_ends(
    end: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A clean exit or not; one that fails before its first step takes its directory along."""
    command = [sys.executable, "-c", OPEN_IT, str(tmp_path)]
    opened: list[Run] = []
    second = threading.Thread(target=lambda: opened.append(Run.open(tmp_path, "grpo", 0, {"name": "grpo"})))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdin is not None
        assert first.stdout.readline() == "opened\n"
        second.start()
        second.join(0.5)
        assert second.is_alive() and "another process is working on this; waiting for it" in caplog.text
        if end == "killed":
            first.kill()
        else:
            first.communicate("fail\n")
        first.wait()
    second.join(10)
    with opened[0] as run:
        assert (run.folder / "recipe.json").exists() and (run.folder / ".lock").exists()


def test_an_evaluation_of_the_same_weights_that_came_first_is_not_taken_for_another_run_s(tmp_path: Path) -> None:
    """Two seeds of an untrained arm, at the same time: the second one finds the directory when it has waited."""
    for name in ("a", "b"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "recipe.json").write_text(json.dumps({"id": name}))
        (tmp_path / name / "DONE").touch()
    opened: list[Run] = []

    def second() -> None:
        opened.append(Run.open_evaluation(tmp_path, "evaluate", 0, RECIPE, tmp_path / "b/model"))

    first = folder_of(tmp_path, "evaluate", 0, RECIPE)
    with lock_of(first / ".lock"):  # as if it had been opened, and had not written its recipe yet
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.5)
        (first / "recipe.json").write_text(json.dumps({**RECIPE, "evaluates": "a", "id": "x"}))
    waiting.join(10)
    with opened[0] as run:
        assert run.folder != first and json.loads((run.folder / "recipe.json").read_text())["evaluates"] == "b"


def test_other_runs_under_the_same_root_are_not_locked(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE), Run.open(tmp_path, "sft", 0, {"name": "sft"}):
        assert len(list(tmp_path.iterdir())) == 2


def test_rewinding_forgets_later_steps_and_keeps_earlier_ones_byte_for_byte(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.rewind(0)  # nothing is journalled yet
        for number in range(3):
            run.append_step(step(number), [rollout(number), rollout(number, "5 × 3?")])
        before = {name: (run.folder / name).read_bytes() for name in ("metrics.jsonl", "rollouts.jsonl")}
        run.append_step(step(3), [rollout(3)])
        run.rewind(3)
        assert {name: (run.folder / name).read_bytes() for name in before} == before
        run.rewind(1)
        assert steps_in(run, "metrics.jsonl") == [0]
        assert steps_in(run, "rollouts.jsonl") == [0, 0]
        run.rewind(0)
        assert steps_in(run, "metrics.jsonl") == steps_in(run, "rollouts.jsonl") == []


def test_a_last_line_that_a_kill_tore_anywhere_goes_too(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.append_step(step(0), [rollout(0)])
        path = run.folder / "rollouts.jsonl"
        whole = path.read_bytes()
        torn = f"{rollout(1, '5 × 3?').model_dump_json()}\n".encode()
        for length in range(1, len(torn)):  # also in the middle of ×, which is two bytes
            path.write_bytes(whole + torn[:length])
            run.rewind(1)
            assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["metrics.jsonl", "rollouts.jsonl"])
def test_a_run_that_has_lost_a_step_does_not_go_on_without_it(tmp_path: Path, name: str) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        for number in range(4):
            run.append_step(step(number), [rollout(number)])
        path = run.folder / name
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], *lines[2:]]))
        before = {file: (run.folder / file).read_bytes() for file in ("metrics.jsonl", "rollouts.jsonl")}
        with pytest.raises(
            DataError, match=rf"{name}: expected every step before 3, .* none of step 1 \(1 are missing"
        ):
            run.rewind(3)
        assert {file: (run.folder / file).read_bytes() for file in before} == before, "nothing is thrown away"
        path.unlink()
        with pytest.raises(DataError, match=r"none of step 0 \(3 are missing\); restore the file"):
            run.rewind(3)
        run.rewind(0)


@pytest.mark.parametrize("damaged", [b"\0" * 40, b"[]", b'{"step": null}', b"[" * 100_000])
def test_a_damaged_line_of_a_journal_is_named(tmp_path: Path, damaged: bytes) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        for number in range(2):
            run.append_step(step(number), [rollout(number)])
        path = run.folder / "metrics.jsonl"
        first, second = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(first + damaged + b"\n" + second)
        with pytest.raises(DataError, match=r"metrics\.jsonl line 2: expected a record of a training step, got"):
            run.rewind(2)


def test_the_rollouts_of_a_journalled_step_are_journalled(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Rollout]:
        yield rollout(0)
        raise KeyboardInterrupt

    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        with pytest.raises(KeyboardInterrupt):
            run.append_step(step(0), interrupted())
        assert not (run.folder / "metrics.jsonl").exists()


def test_records_and_json_are_replaced_whole(tmp_path: Path) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.write_records("scores.jsonl", [step(0), step(1)])
        run.write_records("scores.jsonl", [step(2)])
        assert steps_in(run, "scores.jsonl") == [2]
        run.write_json("evaluation.json", {"a": "×"})
        assert (run.folder / "evaluation.json").read_text() == '{\n  "a": "×"\n}\n'


def test_pictures_are_kept_as_png_under_the_hash_of_what_was_found(tmp_path: Path) -> None:
    drawn = Image.new("RGB", (8, 6), (200, 30, 40))
    buffer = io.BytesIO()
    drawn.save(buffer, format="JPEG")
    as_png, as_jpeg = as_picture(png(drawn)), as_picture(buffer.getvalue())
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.keep_pictures([as_png, as_jpeg, as_png])
        images = run.folder / "images"
        assert {p.name for p in images.iterdir()} == {f"{as_png.sha256}.png", f"{as_jpeg.sha256}.png"}
        assert (images / f"{as_png.sha256}.png").read_bytes() == as_png.encoded()
        with Image.open(images / f"{as_jpeg.sha256}.png") as kept:
            assert (kept.format, kept.size) == ("PNG", (8, 6))
            assert kept.convert("RGB").tobytes() == as_jpeg.open().tobytes()


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_a_large_picture_is_kept_smaller(tmp_path: Path, fmt: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4096, 30), "red").save(buffer, format=fmt)
    picture = as_picture(buffer.getvalue()).model_copy(update={"width": 4096, "height": 30})
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.keep_pictures([picture])
        with Image.open(run.folder / "images" / f"{picture.sha256}.png") as kept:
            assert (kept.format, kept.size) == ("PNG", (2048, 15))


def test_a_picture_that_is_kept_is_not_read_again(tmp_path: Path) -> None:
    found = tmp_path / "found.png"
    found.write_bytes(png(Image.new("RGB", (8, 6))))
    picture = Picture(sha256="0" * 64, width=8, height=6, path=str(found))
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        run.keep_pictures([picture])
        found.unlink()
        run.keep_pictures([picture])


def test_a_run_knows_where_it_was_carried_out_and_where_it_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def environments() -> list[dict[str, Any]]:
        with Run.open(tmp_path, "a", 0, {}) as run:
            return list(json.loads((run.folder / "environment.json").read_text())["environments"])

    [first] = environments()
    assert first["packages"]["torch"] == importlib.metadata.version("torch") and first["cores"] == os.cpu_count()
    assert environments() == [first] and not caplog.records
    monkeypatch.setenv("OMP_NUM_THREADS", "61")
    assert environments()[0] == first and environments()[1]["threads"] == "61" and len(environments()) == 2
    [told] = caplog.messages
    assert f"goes on with threads 61 after {first['threads']}: the last digits" in told
    with Run.open(tmp_path, "a", 0, {}) as run:
        run.finish()
    monkeypatch.setenv("OMP_NUM_THREADS", "62")
    assert len(environments()) == 2


@pytest.mark.parametrize("damaged", [b"", b"\0" * 50, b"[]", b"[" * 100_000, b'{"environments": 3}'])
def test_a_run_goes_on_with_a_damaged_recipe_or_environment_which_are_written_again(
    tmp_path: Path, damaged: bytes
) -> None:
    with Run.open(tmp_path, "grpo", 0, RECIPE) as run:
        before = {name: (run.folder / name).read_bytes() for name in ("recipe.json", "environment.json")}
        run.append_step(step(0), [rollout(0)])
    for name in before:
        (run.folder / name).write_bytes(damaged if name != "recipe.json" else damaged.replace(b"environments", b""))
    if damaged.startswith(b"{"):
        (run.folder / "recipe.json").write_bytes(before["recipe.json"])
    with Run.open(tmp_path, "grpo", 0, RECIPE) as again:
        assert (again.folder / "recipe.json").read_bytes() == before["recipe.json"]
        [entry] = json.loads((again.folder / "environment.json").read_text())["environments"]
        assert entry["packages"] == json.loads(before["environment.json"])["environments"][0]["packages"]
