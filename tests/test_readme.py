"""README.md runs as it is written, and its numbers are those of docs/results.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import REPOSITORY, blocks, page, section

import firsthand

ACTIVATION = ". .venv/bin/activate"
"""The one line that a test cannot run: an installation of its own takes minutes."""


@pytest.mark.slow
def test_every_block_runs_as_written_from_top_to_bottom_in_an_empty_folder(tmp_path: Path) -> None:
    home, tools = tmp_path / "home", tmp_path / "tools"
    home.mkdir()
    tools.mkdir()
    for name, words in (("python", ""), ("firsthand", " -m firsthand")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(firsthand.__file__).parents[1]),
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    work = tmp_path / "work"
    work.mkdir()
    shown = blocks(page("README.md"), "bash")
    assert ACTIVATION in shown[0]
    for block in shown:
        script = block.replace(ACTIVATION, "")
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert (work / "mine" / "report.html").exists()

    again = [b for b in shown if "runs/mine-s0-*" in b]
    subprocess.run(
        ["firsthand", "train", "mine/recipe.yaml", "--set", "steps=1"], cwd=work, env=environment, check=True
    )
    for block in again:  # a second run of that name is no reason to fail
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def cells(text: str) -> dict[str, dict[str, str]]:
    """A table's rows by their first column: column -> cell."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (_, *columns), _, *rows = lines
    return {name: dict(zip(columns, rest, strict=True)) for name, *rest in rows}


def test_the_table_is_that_of_the_results() -> None:
    ours = cells(section(page("README.md"), "What `make demo` shows").split("\n\n**Does SFT")[0])
    theirs = cells(section(page("docs/results.md"), "Does SFT help or hurt here?").split("\n\nFrom")[0])
    assert list(ours) == list(theirs)
    for arm, row in ours.items():
        for column in row.keys() & theirs[arm].keys():
            assert row[column] == theirs[arm][column], (arm, column)
    assert {"accuracy", "95 % interval", "pass@8"} <= next(iter(ours.values())).keys()


def test_the_arms_and_the_number_of_methods_are_those_of_the_studies() -> None:
    from firsthand.study import Study

    recipes = REPOSITORY / "src" / "firsthand" / "recipes"
    shown = cells(section(page("README.md"), "What `make demo` shows").split("\n\n**Does SFT")[0])
    assert list(shown) == list(Study.read(recipes / "demo.yaml").arms)
    methods = Study.read(recipes / "methods.yaml")
    (number,) = re.findall(r"`firsthand study methods[^`]*` trains (\d+) arms", page("README.md"))
    assert int(number) == sum(map(methods.is_trained, methods.arms))


def test_the_rows_of_the_rendered_benchmarks_are_counted() -> None:
    from firsthand.evaluation.benchmarks.spec import find

    (told,) = re.findall(r"\| `worlds`, `worlds-shifted` \| (\d+), (\d+) \|", page("docs/evaluation.md"))
    for name, number in zip(("worlds", "worlds-shifted"), told, strict=True):
        _, (benchmark,) = find(name)
        assert benchmark.worlds is not None
        assert len({example.id for example in benchmark.worlds.load()}) == int(number)
