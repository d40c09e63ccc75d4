"""Answers per second that `BatchClient` holds against a server of fixed latency, as share of the ideal.

    python benchmarks/teacher_rate.py --json teacher_rate.json

The server (tests/helpers/teacher_server.py, its own process) answers after exactly one second, however many ask. The
ideal rate is then what is in flight over the latency. Everything a run does is in the time: looking up the log,
sending, reading, and waiting until each answer is on the disk; starting up and the last, half-full second are, too.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firsthand.teacher import AnswerLog, BatchClient, Completion, Endpoint, InFlight, Message, Request

SERVER = Path(__file__).parents[1] / "tests" / "helpers" / "teacher_server.py"
QUESTION = "Describe what the picture shows, in full sentences. " * 40


class Echo:
    """A teacher inside the process, which costs nothing: what is left is `BatchClient` and its log."""

    def answer(self, request: Request) -> Completion:
        """A few hundred characters, whatever is asked."""
        return Completion(text="There are three squares and a circle. " * 10)


def main() -> None:
    """Measure and print; write the JSON file where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--latency", type=float, default=1.0, help="seconds (%(default)s)")
    parser.add_argument("--rounds", type=int, default=40, help="answers per request in flight (%(default)s)")
    parser.add_argument("--scripted", type=int, default=50_000, help="rows for the scripted teacher (%(default)s)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = {
        "http": [over_http(most, options.latency, options.rounds) for most in options.in_flight],
        "scripted_rows_per_second": in_process(options.scripted),
        "latency_s": options.latency,
        "rounds": options.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "python": platform.python_version(),
    }
    print(json.dumps(report, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def over_http(most: int, latency_s: float, rounds: int) -> dict[str, float]:
    """Answers per second with so many in flight, beside the ideal; processor seconds of this side per answer."""
    command = [sys.executable, str(SERVER), "--latency", str(latency_s)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdout is not None
        endpoint = Endpoint(
            base_url=f"http://127.0.0.1:{int(server.stdout.readline())}/v1",
            model="fixed",
            in_flight=InFlight(start=most, max=most),
        )
        number = most * rounds
        asked = ((i, endpoint.request(Message(role="user", text=f"{i} {QUESTION}"))) for i in range(number))
        with AnswerLog(Path(folder) / "answers.db") as log:
            began, used = time.monotonic(), time.process_time()
            answered = sum(
                isinstance(outcome, Completion) for _, outcome in BatchClient(endpoint, log, step="rate").answers(asked)
            )
            seconds, used = time.monotonic() - began, time.process_time() - used
        server.kill()
    if answered != number:
        raise RuntimeError(f"expected {number} answers, got {answered}")
    rate, ideal = number / seconds, most / latency_s
    return {"in_flight": most, "rate": rate, "ideal": ideal, "share": rate / ideal, "cpu_ms": 1000 * used / number}


def in_process(number: int) -> float:
    """Rows per second from a teacher that answers at once; each row is on the disk before it is handed on."""
    asked = ((i, Request(model="echo", messages=(Message(role="user", text=f"question {i}"),))) for i in range(number))
    with tempfile.TemporaryDirectory() as folder, AnswerLog(Path(folder) / "answers.db") as log:
        began = time.monotonic()
        answered = sum(1 for _ in BatchClient(Echo(), log, step="rate").answers(asked))
        return answered / (time.monotonic() - began)


if __name__ == "__main__":
    main()
