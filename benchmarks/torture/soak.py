"""For hours in one process: memory, descriptors, processes and temporary files must not grow.

A round does what long processes do again and again: it reads data, trains, evaluates, judges replies in workers, asks a
server that answers and one that answers with errors, keeps answers, and writes a report.
"""

import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from torture import seeds

WARM = 5
"""Rounds before the first that counts: caches fill."""
MOST_GROWTH = 0.02
"""Of the memory, between the median of the second and that of the last quarter of the rounds."""


class _Server(BaseHTTPRequestHandler):
    """Answers every other request, and fails the others."""

    asked = 0

    def do_POST(self) -> None:  # the name that http.server wants
        self.rfile.read(int(self.headers["Content-Length"]))
        _Server.asked += 1
        body = seeds.COMPLETIONS[0] if _Server.asked % 2 else b"{"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said."""


def run(
    seed: int, place: Path, *, ends: float, rounds: int = 0, say: Callable[[str], object] = print
) -> dict[str, Any]:
    """Rounds until the time is over, or so many; a line of measurements for each in soak.jsonl."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found: list[dict[str, int]] = []
    number = 0
    temporary = place / "temporary"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    try:
        while time.monotonic() < ends and (not rounds or number < rounds):
            _round(seed + number, place / "round", f"http://127.0.0.1:{server.server_address[1]}/v1")
            shutil.rmtree(place / "round")
            found.append(measured(temporary))
            number += 1
            with (place / "soak.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"round": number, **found[-1]}) + "\n")
            if number % 20 == 1:
                say(f"round {number}: {found[-1]}")
    finally:
        tempfile.tempdir = None
        server.shutdown()
        server.server_close()
    return judged(found[WARM:])


def _round(seed: int, place: Path, url: str) -> None:
    """Everything once."""
    from firsthand.data import load_rows
    from firsthand.evaluation import Protocol
    from firsthand.evaluation.custom import evaluate_folder
    from firsthand.recipe import Data, Recipe
    from firsthand.records import Expression
    from firsthand.report import write_report
    from firsthand.reward import Router
    from firsthand.teacher import AnswerLog, Endpoint, Message, Request, SyncClient
    from firsthand.trainer import train

    place.mkdir()
    for name in ("data.jsonl", "data.csv", "data.parquet"):
        for files in seeds.data(name):
            for path, content in files.items():
                (place / path).write_bytes(content)
            load_rows(str(place / name))
    recipe = {"name": "soak", "seed": seed, "data": {"worlds": ["count"], "number": 4}, "steps": 2, "prompts": 1}
    recipe |= {"objective": {"kind": "grpo", "group_size": 2}, "sampling": {"max_new_tokens": 4}}
    run = train(Recipe.model_validate(recipe), place / "runs")
    data = Data.model_validate({"worlds": ["count"], "split": "test", "number": 4})
    evaluate_folder(run / "model", data, Protocol(max_new_tokens=4, samples=1, seed=seed), place / "runs", name="soak")
    write_report([place / "runs"], place / "report.html", "soak")
    with Router(workers=1, deadline_s=30.0) as router:
        router.judge("<answer>$\\sin(x)^2+\\cos(x)^2$</answer>", Expression(latex="1"))
    endpoint = Endpoint(base_url=url, model="m", timeout_s=30.0)
    with AnswerLog(place / "answers.sqlite") as log, SyncClient(endpoint, log, step="soak") as client:
        client.answer(Request(model="m", messages=(Message(role="user", text=str(seed)),)))


def measured(temporary: Path) -> dict[str, int]:
    """Memory in bytes, and numbers of open descriptors, threads, processes and temporary files."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "processes": len(children),
        "temporary": sum(1 for _ in temporary.rglob("*")),
    }


def judged(found: list[dict[str, int]]) -> dict[str, Any]:
    """Whether it stayed flat: medians of the second and of the last quarter of the rounds."""
    quarter = len(found) // 4
    if not quarter:
        return {"rounds": len(found), "is_flat": None, "failures": 0}
    early, late = found[quarter : 2 * quarter], found[-quarter:]
    medians = {key: [int(statistics.median(one[key] for one in part)) for part in (early, late)] for key in found[0]}
    grown = [key for key, (a, b) in medians.items() if b > a * (1 + MOST_GROWTH if key == "bytes" else 1)]
    return {"rounds": len(found), "is_flat": not grown, "medians": medians, "grown": grown, "failures": len(grown)}
