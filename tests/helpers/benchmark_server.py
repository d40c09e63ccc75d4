"""A chat endpoint for benchmarks, in a process of its own: it answers by rules, and keeps what it was asked.

    python tests/benchmark_server.py PORT RULES.json LOG.jsonl

RULES.json holds a list of rules; the first whose `when` stands in the last message's text is carried out:

    {"when": "Question 3", "text": "B"}                  an answer; of a list of texts that of the request's seed
    {..., "finish": "length"}, {..., "reasoning": "hm"}  how it ends, and the thinking beside it
    {..., "status": 500}, {..., "usage": false}          trouble, and no token counts
    {..., "grades": true}                                a reward's judge: a verdict on the quoted answer
    {"die_after": 5}                                     anywhere: the process ends with its sixth request

The file is read anew for every request. A line of LOG.jsonl is a request's body.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from firsthand.teacher import Endpoint, InFlight

Rule = Mapping[str, Any]


class ChatServer:
    """Starts, kills and starts the server again, on one port."""

    def __init__(self, folder: Path, rules: Sequence[Rule] = ({"when": "", "text": "A"},)) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rules, self._log = folder / "rules.json", folder / "requests.jsonl"
        self.follow(*rules)
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """On the port of before, if there was one."""
        self.stop()
        command = [sys.executable, __file__, str(self.port), str(self._rules), str(self._log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        """As `kill -9` does; a server that has ended already stays so."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process = None

    def follow(self, *rules: Rule) -> None:
        """Answer by these rules from now on."""
        self._rules.write_text(json.dumps(rules))

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        lines = self._log.read_bytes().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    def endpoint(self, model: str = "m", **settings: Any) -> Endpoint:
        """Two attempts, one request at a time."""
        given = {"attempts": 2, "in_flight": InFlight(start=1, max=1), **settings}
        return Endpoint(base_url=f"http://127.0.0.1:{self.port}/v1", model=model, **given)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rules: Path
    log: Path
    answered = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[-1]["text"]
        rules = json.loads(self.rules.read_text())
        with self.lock:
            if any(rule.get("die_after") == type(self).answered for rule in rules):
                os._exit(1)
            type(self).answered += 1
            with self.log.open("a") as file:
                file.write(json.dumps(body) + "\n")
        rule = next(rule for rule in rules if "when" in rule and rule["when"] in text)
        rule = {**rule, "text": _verdict(body, text)} if rule.get("grades") else rule
        self._send(rule.get("status", 200), _completion(rule, body))

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def _completion(rule: Rule, body: Mapping[str, Any]) -> dict[str, Any]:
    text = rule.get("text", "")
    if isinstance(text, list):
        text = text[body["seed"] % len(text)]
    message = {"role": "assistant", "content": text}
    message |= {"reasoning_content": rule["reasoning"]} if "reasoning" in rule else {}
    usage = {"prompt_tokens": 7, "completion_tokens": len(text), "total_tokens": 7 + len(text)}
    return {
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": rule.get("finish", "stop")}],
        **({"usage": usage} if rule.get("usage", True) else {}),
    }


def _verdict(body: Mapping[str, Any], asked: str) -> str:
    """From 0 to 10 by the answer's letters, with the word that the judge must return."""
    word = body["messages"][0]["content"].partition("[")[2].partition("]")[0]
    answer = asked.split(f"[{word}]")[1]
    return json.dumps({"word": word, "score": sum(map(ord, answer)) % 11})


if __name__ == "__main__":
    _Handler.rules, _Handler.log = Path(sys.argv[2]), Path(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
