"""A forge as a whole: nothing is lost or asked twice, and it ends in the same bytes however often it was killed."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forged import data_set
from PIL import Image
from tiny import tiny_folder

from firsthand.cli.main import main
from firsthand.config import build
from firsthand.data import load_examples
from firsthand.errors import DataError, RecipeError
from firsthand.forge import STEP_NAMES, ForgeConfig, NothingKept, StepProgress, run_forge, runner
from firsthand.records import Digit, content_id
from firsthand.worlds import generate

WORLDS: dict[str, Any] = {
    "name": "small",
    "sources": [{"worlds": ["count", "chart", "geometry", "locate", "describe"], "number": 60}],
    "teachers": {"default": {"scenes": True}},
}


def config(**changes: Any) -> ForgeConfig:
    return build(ForgeConfig, {**WORLDS, **changes}, "test")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forge that is done. Not to be changed: `again` is a copy."""
    out = tmp_path_factory.mktemp("forge") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "SHARD_ROWS", 7)
        run_forge(config(), out)
    return out


@pytest.fixture
def again(small: Path, tmp_path: Path) -> Path:
    """The same forge, done, in a folder of the test's own."""
    return shutil.copytree(small, tmp_path / "again")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SHARD_ROWS", 7)


# ---- what comes out


def test_what_enters_a_step_is_kept_or_dropped_and_the_funnel_says_so(small: Path) -> None:
    funnel = json.loads((small / "funnel.json").read_text())
    assert [step["step"] for step in funnel["steps"]] == list(STEP_NAMES)
    read = 60
    for step in funnel["steps"]:
        assert step["read"] == read == step["kept"] + sum(step["dropped"].values())
        assert sum(source["read"] for source in step["sources"].values()) == read
        dropped = pq.read_table(small / "dropped" / f"{step['step']}.parquet")
        assert dropped.num_rows == sum(step["dropped"].values())
        assert set(dropped.column("step").to_pylist()) <= {step["step"]}
        read = step["kept"]
    rows = {part: load_examples(str(small / part)) for part in ("sft", "rl")}
    assert len(rows["sft"]) + len(rows["rl"]) == read and rows["sft"] and rows["rl"]
    assert {part: sum(counts.values()) for part, counts in funnel["parts"].items()} == {
        part: len(examples) for part, examples in rows.items()
    }
    assert set(funnel["steps"][4]["dropped"]) >= {"answer_disagrees"}  # the teacher inside errs on purpose


def test_a_row_knows_where_it_comes_from_and_what_was_said_of_it(small: Path) -> None:
    for example in load_examples(str(small / "sft")):
        [trace] = example.traces
        assert trace.style == "distilled" and trace.text.endswith(f"<answer>{example.meta['forge']['answer']}</answer>")
        assert example.meta["source"]["license"] == "Apache-2.0" and example.meta["source"]["name"] == example.family
        forged = example.meta["forge"]
        assert forged["rules"] == "yes" or forged["judge"] == "yes"
        assert forged["caption"] == example.scene and "looks" not in forged


def test_a_row_is_written_once_on_its_way_through_the_steps(small: Path) -> None:
    first, *others = [sorted(folder.glob("*.parquet")) for folder in sorted((small / ".work").glob("[1-6]-*"))]
    assert pq.read_table(first, columns=["row"]).column("row").null_count == 0
    for files in others:
        table = pq.read_table(files, columns=["row", "hashes"])
        assert table.column("row").null_count == table.column("hashes").null_count == table.num_rows > 0


def test_datasets_opens_both_parts_with_their_pictures(small: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for part in ("sft", "rl"):
        rows = datasets.load_dataset(str(small), part, split="train", cache_dir=str(tmp_path / "cache"))
        assert rows.num_rows == len(load_examples(str(small / part)))
        assert rows[0]["images"][0].size[0] > 0 and json.loads(rows[0]["answer"])["kind"]


def test_the_card_counts_sources_and_steps(small: Path) -> None:
    card = (small / "README.md").read_text()
    assert card.startswith("---\npretty_name: small\nlicense: apache-2.0\n")
    assert "| collect |" in card and "| geometry | firsthand worlds | Apache-2.0 |" in card


# ---- again, and after a change


class Counted:
    """Reports of a forge; `asked` are requests that were made in this run."""

    def __init__(self) -> None:
        self.asked = dict.fromkeys(STEP_NAMES, 0)
        self.steps: set[str] = set()

    def __call__(self, progress: StepProgress) -> None:
        self.steps.add(progress.step)
        if progress.requests is not None:
            self.asked[progress.step] = max(self.asked[progress.step], progress.requests.asked)


def test_the_same_forge_again_does_nothing_and_gives_the_same_bytes(again: Path) -> None:
    before, seen = data_set(again), Counted()
    written = (again / "funnel.json").stat().st_mtime_ns
    run_forge(config(), again, on_progress=seen)
    assert data_set(again) == before and seen.steps == set()
    assert (again / "funnel.json").stat().st_mtime_ns == written
    shutil.rmtree(again / "sft")
    run_forge(config(), again)
    assert data_set(again) == before


def lose(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [lose, flip, cut])
@pytest.mark.parametrize("place", ["1-collect", "3-distill", "6-split"])
def test_a_damaged_shard_of_a_step_that_is_done_is_named_and_made_again(
    place: str, damage: Callable[[Path], None], again: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it there were fewer rows, or none, and nobody said so."""
    before, seen = data_set(again), Counted()
    [folder] = (again / ".work").glob(f"{place}-*")
    shards = sorted(folder.glob("*.parquet"))
    decided = ["place", "reason", "detail"]  # a row's picture has its place in this folder, which is a copy
    written = [pq.read_table(shard, columns=decided) for shard in shards]
    damage(shards[1])
    shutil.rmtree(again / "sft")
    run_forge(config(), again, on_progress=seen)
    assert data_set(again) == before
    assert [pq.read_table(shard, columns=decided) for shard in shards] == written
    assert f"{shards[1]}: expected the shard that was written, got" in caplog.text
    assert seen.steps == {place[2:]} and sum(seen.asked.values()) == 0


@pytest.mark.parametrize("damage", [lose, flip, cut])
@pytest.mark.parametrize(
    "file", ["sft/part-00000.parquet", "rl/part-00000.parquet", "dropped/verify.parquet", "funnel.json"]
)
def test_a_damaged_file_of_the_data_set_is_written_again(
    file: str, damage: Callable[[Path], None], again: Path
) -> None:
    before = data_set(again)
    damage(again / file)
    run_forge(config(), again)
    assert data_set(again) == before


@pytest.mark.parametrize("step", ["caption", "distill", "rewrite", "verify"])
def test_another_prompt_does_that_step_again_and_what_follows_and_nothing_before(
    step: str, again: Path, tmp_path: Path
) -> None:
    shipped = Path(runner.__file__).parent / "prompts" / f"{step}.txt"
    own = tmp_path / "own.txt"
    own.write_text(f"{shipped.read_text()}\nBe brief.\n")
    seen = Counted()
    run_forge(config(prompts={step: str(own)}), again, on_progress=seen)
    place = STEP_NAMES.index(step)
    assert seen.steps == set(STEP_NAMES[place:])
    assert seen.asked[step] > 0 and all(seen.asked[name] == 0 for name in STEP_NAMES[:place])
    # What follows asks again only about what has changed: here, what the teacher now answers otherwise.
    back = Counted()
    run_forge(config(), again, on_progress=back)
    assert back.steps == set() and sum(back.asked.values()) == 0


def test_other_settings_of_the_split_ask_nobody(again: Path) -> None:
    seen = Counted()
    funnel, _ = run_forge(config(split={"quotas": {"count": {"sft": 1, "rl": 1}}}), again, on_progress=seen)
    assert seen.steps == {"split"} and sum(seen.asked.values()) == 0
    assert funnel["parts"]["sft"].get("count", 0) <= 1 and funnel["steps"][5]["dropped"]["over_quota"] > 0


def test_steps_of_an_older_format_are_done_again_from_the_answers_that_were_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(sources=[{"worlds": ["count"], "number": 20}])
    run_forge(chosen, tmp_path)
    before, seen = data_set(tmp_path), Counted()
    monkeypatch.setattr(runner, "SHARD_FORMAT", runner.SHARD_FORMAT + 1)
    run_forge(chosen, tmp_path, on_progress=seen)
    assert seen.steps == set(STEP_NAMES) and sum(seen.asked.values()) == 0
    assert data_set(tmp_path) == before


def test_requests_have_the_keys_that_they_have_always_had(tmp_path: Path) -> None:
    """Or what was paid for with an earlier version would be asked again."""

    def change(i: int) -> dict[str, Any]:
        told = {"question": f"What is {i - 60} apples?", "answer": "a lot", "kind": "open", "image": "a.bmp"}
        return told if i >= 60 else {}

    Image.new("L", (8, 8), 3).save(tmp_path / "a.bmp")
    path = rows(tmp_path, 70, change)
    run_forge(config(sources=[{"path": str(path)}]), tmp_path / "out")
    with sqlite3.connect(tmp_path / "out/.work/answers.sqlite") as log:
        keys = sorted(key for (key,) in log.execute("SELECT key FROM answers"))
    log.close()
    assert (len(keys), content_id(keys)) == (111, "01af441b6641ae77")


def test_the_former_name_of_a_key_is_read_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert config(views=["trl"]).exports == ("trl",)
    [warning] = caplog.records
    assert "exports" in warning.getMessage()
    with pytest.raises(RecipeError, match="both are given"):
        config(views=["trl"], exports=["trl"])


# ---- stopped and started


class Killed(Exception):
    pass


@pytest.mark.parametrize("seed", range(2))
def test_a_forge_that_was_stopped_anywhere_ends_in_the_same_bytes_and_repeats_no_request(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = rows(
        tmp_path, 40, lambda i: {"question": f"What is {i % 20} + 1?", "answer": str(i % 20 + 1), "id": str(i)}
    )
    chosen = config(sources=[{"path": str(twice)}, {"worlds": ["count", "describe"], "number": 20}])
    whole, _ = run_forge(chosen, tmp_path / "whole")
    assert whole["steps"][0]["dropped"] == {"duplicate": 20}
    rng, answered = random.Random(seed), list[str]()
    plain = runner.SimulatedTeacher.answer

    def answer(self: Any, request: Any) -> Any:
        if rng.random() < 0.02:
            raise Killed
        answered.append(request.key)
        return plain(self, request)

    def stop(progress: StepProgress) -> None:
        if rng.random() < 0.05:
            raise Killed

    monkeypatch.setattr(runner.SimulatedTeacher, "answer", answer)
    stops = 0
    while stops < 200:
        try:
            run_forge(chosen, tmp_path / "stopped", on_progress=stop)
            break
        except Killed:
            stops += 1
    assert 2 < stops < 200
    assert data_set(tmp_path / "stopped") == data_set(tmp_path / "whole")
    assert len(answered) == len(set(answered))


IN_SHARDS_OF_60 = (
    "from firsthand.cli.main import main; from firsthand.forge import runner; runner.SHARD_ROWS = 60; exit(main())"
)


def files(folder: Path) -> int:
    """How many files there are below it: a forge's progress, whose steps keep files for each shard of their rows."""
    return sum(len(names) for _, _, names in os.walk(folder))


@pytest.mark.slow
def test_kill_9_at_random_instants_changes_nothing(tmp_path: Path) -> None:
    # Ten shards in a step: kills fall into them and between them. They go by the forge's progress and not by the clock
    # alone, for how fast a process gets on depends on what else the machine does.
    (tmp_path / "forge.yaml").write_text(json.dumps({**WORLDS, "sources": [{**WORLDS["sources"][0], "number": 600}]}))
    command = [sys.executable, "-c", IN_SHARDS_OF_60, "forge", str(tmp_path / "forge.yaml"), "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    whole, rng, killed = files(tmp_path / "whole"), random.Random(0), 0
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for share in sorted(rng.uniform(0, 0.8) for _ in range(6)):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], **quiet, start_new_session=True)
        while process.poll() is None and files(tmp_path / "killed") < share * whole:
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 0.2))
        if process.poll() is None:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed >= 3
    subprocess.run([*command, str(tmp_path / "killed")], check=True, **quiet)
    assert data_set(tmp_path / "killed") == data_set(tmp_path / "whole")


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    def again(progress: StepProgress) -> None:
        with pytest.raises(RecipeError, match="another process works on this forge"):
            run_forge(config(), tmp_path)

    run_forge(config(), tmp_path, on_progress=again)


# ---- rows of one's own


def rows(folder: Path, number: int, change: Callable[[int], dict[str, Any]] = lambda i: {}) -> Path:
    path = folder / "rows.jsonl"
    lines = [
        {"question": f"What is {i} + 1?", "answer": str(i + 1), "kind": "digit", **change(i)} for i in range(number)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_bad_row_is_dropped_with_its_place_and_the_others_go_on(tmp_path: Path) -> None:
    path = rows(tmp_path, 5, lambda i: {"image": "../secret.png"} if i == 2 else {})
    funnel, _ = run_forge(config(sources=[{"path": str(path)}]), tmp_path / "out")
    assert funnel["steps"][0]["dropped"] == {"image_outside_root": 1}
    [dropped] = pq.read_table(tmp_path / "out/dropped/collect.parquet").to_pylist()
    assert dropped["id"] == "rows.jsonl line 3" and dropped["source"] == "rows" and "secret.png" in dropped["detail"]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = rows(tmp_path, 3)
    run_forge(config(sources=[{"path": str(path)}]), tmp_path / "out")
    rows(tmp_path, 5)
    funnel, _ = run_forge(config(sources=[{"path": str(path)}]), tmp_path / "out")
    assert funnel["steps"][0]["read"] == 5


def test_a_folder_in_which_a_file_changed_is_read_again(tmp_path: Path) -> None:
    chosen = config(sources=[{"path": str(tmp_path / "data"), "name": "data"}])
    (tmp_path / "data").mkdir()
    for number in (3, 5):
        numbers = [str(i) for i in range(number)]
        table = pa.table({"question": [f"What is {i}?" for i in numbers], "answer": numbers})
        pq.write_table(table, tmp_path / "data/train.parquet")
        assert run_forge(chosen, tmp_path / "out")[0]["steps"][0]["read"] == number


def test_a_key_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    teacher = {"base_url": "http://localhost:1/v1", "model": "m", "key_env": "A_KEY_THAT_NOBODY_HAS"}
    with pytest.raises(RecipeError, match="A_KEY_THAT_NOBODY_HAS"):
        run_forge(config(teachers={"default": {"scenes": True}, "verify": teacher}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_picture_that_changed_under_way_is_not_written_as_another(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    path = rows(tmp_path, 1, lambda i: {"image": "a.png"})

    def repaint(progress: StepProgress) -> None:
        if progress.step == "split":
            Image.new("RGB", (40, 40), "blue").save(tmp_path / "a.png")

    chosen = config(sources=[{"path": str(path)}], verify={"judge": False}, rewrite={"words": 1000})
    with pytest.raises(DataError, match="expected the picture that was loaded"):
        for seed in range(20):  # the teacher inside drops some rows
            rows(tmp_path, 1, lambda i, seed=seed: {"image": "a.png", "question": f"What is {seed}?"})  # type: ignore[misc]
            Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
            with contextlib.suppress(NothingKept):
                run_forge(chosen, tmp_path / f"out{seed}", on_progress=repaint)


def test_a_dry_run_needs_no_server(tmp_path: Path) -> None:
    path = rows(tmp_path, 30)
    asked = config(
        sources=[{"path": str(path)}], teachers={"default": {"base_url": "http://localhost:1/v1", "model": "nobody"}}
    )
    funnel, costs = run_forge(asked, tmp_path / "out", dry_run=True)
    assert funnel["steps"][0]["read"] == 30 and sum(funnel["parts"]["sft"].values()) > 0
    assert "caption" not in [row["step"] for row in costs]  # there are no pictures
    [first, *_] = load_examples(str(tmp_path / "out/sft"))
    assert isinstance(first.answer, Digit)


@pytest.mark.slow
def test_ray_prepares_rows_on_two_workers_and_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'firsthand[ray]'")
    sources = [{"worlds": ["count", "describe"], "number": 1200}]
    (tmp_path / "forge.yaml").write_text(json.dumps({**WORLDS, "sources": sources}))
    for engine in ("local", "ray"):
        command = [sys.executable, "-m", "firsthand", "forge", str(tmp_path / "forge.yaml"), "--engine", engine]
        two = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        done = subprocess.run([*command, "--out", str(tmp_path / engine)], capture_output=True, text=True, env=two)
        assert done.returncode == 0, done.stderr[-2000:]
    assert data_set(tmp_path / "ray") == data_set(tmp_path / "local")


def test_a_picture_is_opened_once_from_its_source_to_every_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for i in range(4):
        picture = Image.effect_noise((40 + i, 30), 90)
        picture.save(tmp_path / f"{i}.jpg", exif=turned if i % 2 else Image.Exif())
        picture.convert("LA").save(tmp_path / f"{i + 4}.png")
    path = rows(tmp_path, 24, lambda i: {"image": f"{i % 8}.{'jpg' if i % 8 < 4 else 'png'}"})  # three rows each
    opened, plain = Counter[str](), Image.open

    def counted(file: Any, *args: Any, **kwargs: Any) -> Any:
        opened[hashlib.sha256(file.getvalue()).hexdigest()] += 1
        return plain(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    funnel, _ = run_forge(config(sources=[{"path": str(path)}], exports=["trl", "vlaa"]), tmp_path / "out")
    assert funnel["steps"][0]["kept"] == 24
    assert set(opened.values()) == {1} and len(opened) == 8


# ---- what it is for


@pytest.mark.parametrize(("part", "objective"), [("sft", {"kind": "sft"}), ("rl", {"kind": "srft", "group_size": 2})])
def test_forged_rows_train_through_an_ordinary_recipe(part: str, objective: dict[str, Any], tmp_path: Path) -> None:
    from firsthand.recipe import Recipe
    from firsthand.records import Step
    from firsthand.trainer import train

    run_forge(config(sources=[{"worlds": ["count", "chart", "geometry"], "number": 30}]), tmp_path / "forge")
    recipe = {
        "name": "forged",
        "model": str(tiny_folder(tmp_path / "tiny", "qwen2_5_vl", layers=1)),
        "data": {"path": str(tmp_path / "forge" / part)},
        "objective": objective,
        "steps": 1,
        "prompts": 2,
        "sampling": {"max_new_tokens": 3},
    }
    steps: list[Step] = []
    folder = train(Recipe.model_validate(recipe), tmp_path / "runs", steps.append)
    assert (folder / "DONE").exists() and len(steps) == 1 and steps[0].metrics["loss/total"] != 0


# ---- mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "sources"),
        ({"teachers": {}}, "nobody is there for caption, distill, rewrite, verify"),
        ({"teachers": {"default": {"scenes": True}, "destill": {"scenes": True}}}, "did you mean 'distill'"),
        ({"prompts": {"collect": "x.txt"}}, "prompts.collect: unknown step"),
        ({"split": {"quotas": {"cuont": {"sft": 1}}}}, "did you mean 'count'"),
        ({"split": {"by": "pass_rate"}}, "give the scores.jsonl of an evaluation"),
        ({"sources": [{"worlds": ["count"]}, {"worlds": ["count"]}]}, r"\['count'\] are there twice"),
        ({"sources": [{"worlds": ["cuont"]}]}, "did you mean 'count'"),
        ({"rewirte": {}}, "did you mean 'rewrite'"),
        ({"name": "a/b"}, "becomes a folder"),
    ],
)
def test_a_mistake_in_the_file_is_told_before_anything_is_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        config(**changes)


def test_a_misspelt_key_of_a_source_is_the_only_complaint() -> None:
    with pytest.raises(RecipeError) as caught:
        config(sources=[{"path": "rows.jsonl", "licence": "MIT"}])
    assert str(caught.value).splitlines()[1:] == ["  sources.0.rows.licence: unknown key; did you mean 'license'?"]


def test_a_forge_whose_pictures_lie_elsewhere_ends_with_the_number_and_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "elsewhere" / "a.png"
    picture.parent.mkdir()
    picture.write_bytes(generate("count", "test", 1)[0].images[0].encoded())
    rows = [{"question": f"{i}?", "answer": "7", "kind": "digit", "image": str(picture)} for i in range(4)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "name": "mine",
        "sources": [{"path": str(tmp_path / "data/rows.jsonl")}],
        "teachers": {"default": {"scenes": True}},
    }
    (tmp_path / "forge.yaml").write_text(json.dumps(content))
    assert main(["forge", str(tmp_path / "forge.yaml"), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "none of 4 rows is left after the six steps" in told
    assert "collect: image_outside_root 4, such as rows.jsonl line 1, column `image`" in told
    assert "or name its folder as the `images` of the source" in told
    assert not (tmp_path / "out").exists()
    content["sources"] = [{"path": str(tmp_path / "data/rows.jsonl"), "images": str(tmp_path / "elsewhere")}]
    (tmp_path / "forge.yaml").write_text(json.dumps(content))
    main(["forge", str(tmp_path / "forge.yaml"), "--out", str(tmp_path / "out")])
    assert "image_outside_root" not in capsys.readouterr().err
