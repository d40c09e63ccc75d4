"""Rows per second and processor time per row of `BatchClient`, of distilabel and of curator, at one server, in one run.

    python -m venv peers && peers/bin/pip install distilabel bespokelabs-curator
    python benchmarks/teacher_peers.py --peers peers/bin/python --json teacher_peers.json

The server (tests/helpers/teacher_server.py, its own process) answers after exactly one second, however many ask. All
three ask it the same rows with at most so many requests in flight, keep every answer on the disk, and take turns. The
time is from the call with the rows to the last answer; importing and, for distilabel, making the pipeline is not in it.
Processor time is of all processes of a side.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parents[1] / "tests" / "helpers" / "teacher_server.py"

OURS = """
import json, resource, sys, time
from pathlib import Path
from firsthand.teacher import Completion, AnswerLog, BatchClient, Endpoint, InFlight, Message
url, rows, most, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
texts = [f"{i} {sys.argv[5]}" for i in range(rows)]
def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)
began, before = time.monotonic(), used()
endpoint = Endpoint(base_url=url, model="fixed", in_flight=InFlight(start=most, max=most))
with AnswerLog(folder / "answers.sqlite") as log:
    asked = ((text, endpoint.request(Message(role="user", text=text))) for text in texts)
    outcomes = BatchClient(endpoint, log, step="s").answers(asked)
    answered = sum(isinstance(outcome, Completion) for _, outcome in outcomes)
print(json.dumps({"seconds": time.monotonic() - began, "cpu": used() - before, "answered": answered}))
"""

CURATOR = """
import os, sys
os.environ |= {"CURATOR_CACHE_DIR": sys.argv[4], "CURATOR_VIEWER": "0", "TELEMETRY_ENABLED": "false",
               "CURATOR_DISABLE_RICH_DISPLAY": "1", "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
import json, resource, time
import tiktoken
class Quarter:  # its tokenizer is a download; a count by length costs curator less than its own
    def encode(self, text, **settings):
        return [0] * (len(text) // 4)
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda name: Quarter()
from bespokelabs import curator
url, rows, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
texts = [f"{i} {sys.argv[5]}" for i in range(rows)]
def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)
began, before = time.monotonic(), used()
llm = curator.LLM(model_name="gpt-4o-mini", backend="openai", backend_params={
    "base_url": url, "max_concurrent_requests": most, "max_requests_per_minute": 10**7,
    "max_tokens_per_minute": 10**10})
found = llm(texts)
found = getattr(found, "dataset", found)
answered = sum("answer to" in row["response"] for row in found)
print(json.dumps({"seconds": time.monotonic() - began, "cpu": used() - before, "answered": answered}))
"""

DISTILABEL = """
import os, sys
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": sys.argv[4]}
import json, resource, time
from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
def used():
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)
def main():
    url, rows, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    texts = [{"instruction": f"{i} {sys.argv[5]}"} for i in range(rows)]
    with Pipeline(name="p", cache_dir=sys.argv[4]) as pipeline:
        load = LoadDataFromDicts(data=texts, batch_size=most)
        llm = OpenAILLM(model="fixed", base_url=url, api_key="none")
        load >> TextGeneration(llm=llm, input_batch_size=most)
    began, before = time.monotonic(), used()
    found = pipeline.run(use_cache=False)["default"]["train"]
    answered = sum("answer to" in (row["generation"] or "") for row in found)
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": used() - before, "answered": answered}))
if __name__ == "__main__":
    main()
"""

SIDES = {"firsthand": OURS, "curator": CURATOR, "distilabel": DISTILABEL}
FILLER = "Describe what the picture shows, in full sentences. " * 40


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="a Python that has distilabel and curator")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(args.rounds):
        order = list(SIDES) if turn % 2 == 0 else list(SIDES)[::-1]
        for side in order:
            python = sys.executable if side == "firsthand" else str(args.peers)
            found[side].append(measure(python, SIDES[side], args.rows, args.in_flight))
            print(side, found[side][-1], flush=True)
    report = {
        "rows": args.rows,
        "in_flight": args.in_flight,
        "ideal_rows_per_second": args.in_flight / 1.0,
        "sides": {side: summary(runs, args.rows) for side, runs in found.items()},
        "versions": versions(args.peers),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    args.json.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def measure(python: str, script: str, rows: int, most: int) -> dict[str, Any]:
    """One side, once, with a server of its own."""
    command = [sys.executable, str(SERVER), "--latency", "1.0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        path = Path(folder) / "side.py"
        path.write_text(script)
        run = [python, str(path), url, str(rows), str(most), folder, FILLER]
        done = subprocess.run(run, capture_output=True, text=True)
        server.kill()
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(runs: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """Medians over the rounds. Answers that are missing are told, and not made good."""
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "rows_per_second": rows / seconds,
        "seconds": [run["seconds"] for run in runs],
        "cpu_ms_per_row": 1000 * statistics.median(run["cpu"] for run in runs) / rows,
        "answered": [run["answered"] for run in runs],
    }


def versions(python: Path) -> dict[str, str]:
    """What was compared."""
    ask = "import importlib.metadata as m; print(m.version('distilabel'), m.version('bespokelabs-curator'))"
    told = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    return {"firsthand": importlib.metadata.version("firsthand"), "distilabel": told[0], "curator": told[1]}


if __name__ == "__main__":
    main()
