"""The forge against a real model server: `transformers serve` with the small VLM, over HTTP.

The server runs in the environment of benchmarks/same_accuracy.py: this one's torch and transformers, and what serving
needs.
"""

import http.client
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import same_accuracy
from forged import data_set
from tiny_families import text_folder

from firsthand.config import build
from firsthand.data import load_examples
from firsthand.forge import ForgeConfig, run_forge
from firsthand.forge.runner import NothingKept
from firsthand.worlds import SMALL

pytestmark = pytest.mark.slow
NUMBER = 60
"""Rows: enough that some questions are equal, and that some blind guesses at a count are right."""


@pytest.fixture(scope="module")
def environment() -> Path:
    """A Python that can serve models; kept in the user's cache. Skips where the package index cannot be reached."""
    try:
        return same_accuracy.environment()
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"needs what serves a model from a package index: {failed.stderr[-300:]}")


@pytest.fixture(scope="module")
def url(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = "from transformers.cli.transformers import main; main()"
    log = tmp_path_factory.mktemp("log") / "serve.log"
    with log.open("w") as out:
        command = [
            str(environment),
            "-c",
            serve,
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--device",
            "cpu",
        ]
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=out, stderr=out, env=quiet)
    try:
        _await(port, process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _await(port: int, process: "subprocess.Popen[Any]", log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.5)
        finally:
            connection.close()
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def test_a_real_server_captions_reasons_and_judges(url: str, tmp_path: Path) -> None:
    model = shutil.copytree(SMALL, tmp_path / "small")
    (tmp_path / "caption.txt").write_text("Describe the image.")
    (tmp_path / "distill.txt").write_text("{{ question }} Think step by step.")
    (tmp_path / "verify.txt").write_text("Is {{ answer }} {{ gold }}? Yes or No? {{ word }}")
    teacher = {"base_url": url, "model": str(model), "max_tokens": 96, "in_flight": {"start": 2, "max": 4}}
    chosen = build(
        ForgeConfig,
        {
            "name": "real",
            "sources": [{"worlds": ["count", "describe"], "number": NUMBER}],
            "teachers": {"default": teacher},
            "prompts": {step: str(tmp_path / f"{step}.txt") for step in ("caption", "distill", "verify")},
        },
        "test",
    )
    funnel, costs = run_forge(chosen, tmp_path / "out")
    for step in funnel["steps"]:
        assert step["read"] == step["kept"] + sum(step["dropped"].values())
    requests = {row["step"]: row["requests"] for row in costs}
    assert requests["caption"] == NUMBER and 0 < requests["distill"] < NUMBER  # equal questions make one request
    assert all(row["prompt_tokens"] > 0 and row["completion_tokens"] > 0 for row in costs if row["step"] != "verify")
    # The reasoner does not see the picture, and guesses: some guesses at a count are right.
    parts = [part for part in ("sft", "rl") if funnel["parts"][part]]
    kept = [example for part in parts for example in load_examples(str(tmp_path / "out" / part))]
    assert kept and all(e.meta["forge"]["rules"] == "yes" or e.meta["forge"]["judge"] == "yes" for e in kept)
    # The captions are the small VLM's own: they name what is drawn.
    named = [e.meta["forge"]["caption"] for e in kept]
    assert all(any(shape in caption for shape in ("circle", "square", "triangle")) for caption in named)
    before = data_set(tmp_path / "out")
    assert run_forge(chosen, tmp_path / "out")[1] == costs and data_set(tmp_path / "out") == before

    # Another model for one step: it babbles, no row survives it, and the captions are not asked for again.
    babbler = {**teacher, "model": str(text_folder(tmp_path / "babbler", "qwen2")), "max_tokens": 16}
    other = build(
        ForgeConfig,
        {**chosen.model_dump(mode="json", exclude_none=True), "teachers": {"default": teacher, "distill": babbler}},
        "test",
    )
    with pytest.raises(NothingKept, match=rf"none of {NUMBER} rows is left.*\n +distill: "):
        run_forge(other, tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "out" / ".work" / "answers.sqlite")) as log:
        [(requests,)] = log.execute("SELECT requests FROM ledger WHERE step = 'caption'")
    assert requests == NUMBER
