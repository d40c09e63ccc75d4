"""Requests and answers as files in OpenAI's batch format, for hosted batches and vLLM's `run-batch`.

A request is one line, `{"custom_id", "method", "url", "body"}`, with the request's key as custom_id. Answers come back
in any order: https://platform.openai.com/docs/api-reference/batch
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from firsthand.batched import batched
from firsthand.errors import DataError, excerpt
from firsthand.files import write_atomically
from firsthand.teacher.completion import SETTING, Garbled, is_transient, read_completion, read_json, rejection
from firsthand.teacher.endpoint import Endpoint, body
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Failure, Outcome, Request

MOST_LINES = 50_000
"""Lines of one file: OpenAI's limit."""
MOST_BYTES = 100_000_000
"""Bytes of one file (ours): half of OpenAI's limit, because a file is put together in memory."""
_CHUNK = 500


def write_batch(requests: Iterable[Request], folder: Path, log: AnswerLog, *, step: str) -> list[Path]:
    """Write the requests that `log` has no answer to, each once, and return the files; `read_batch` reads the answers.

    Raises DataError when the folder has batch files already: they may be under way.
    """
    there = sorted(folder.glob("batch-*.jsonl"))
    files: list[Path] = []
    for pack in _packed(requests, log):
        if there:
            remedy = "read their answers, name another folder, or delete them"
            raise DataError(f"{folder}: expected no batch files, got {there[0].name}; {remedy}")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"batch-{len(files):03d}.jsonl")
        write_atomically(files[-1], b"".join(pack.values()))
        log.expect(pack, step=step)
    return files


def read_batch(path: Path, log: AnswerLog, endpoints: Mapping[str, Endpoint] | None = None) -> int:
    """Keep the outcomes of an output or an error file; returns how many were new. `endpoints` know the prices, by step.

    Requests that the server could not carry out (it was busy, or the batch expired) stay unanswered. Raises DataError
    that names the lines which cannot be read or which answer no request of this log's; all others have been kept.
    """
    kept, problems = 0, list[str]()
    with path.open("rb") as file:
        for chunk in batched(enumerate(file, 1), _CHUNK):
            lines: list[tuple[str, Outcome]] = []
            for number, line in chunk:
                try:
                    lines.append(_read_line(line))
                except Garbled as error:
                    problems.append(f"line {number}: {error}")
            steps = log.expected(key for key, _ in lines)
            problems += [f"custom_id {key!r} was never asked" for key, _ in lines if key not in steps]
            kept += _keep({key: outcome for key, outcome in lines if key in steps}, steps, log, endpoints or {})
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems[:5])
        raise DataError(
            f"{path}: {len(problems)} lines cannot be used; the other outcomes are kept. "
            f"Download the file again, and read it again:\n{told}"
        )
    return kept


def _packed(requests: Iterable[Request], log: AnswerLog) -> Iterator[dict[str, bytes]]:
    """Lines of what `log` does not have, each once, by their keys, in packs of one file each."""
    written: set[str] = set()
    pack: dict[str, bytes] = {}
    size = 0
    for chunk in batched(requests, _CHUNK):
        written.update(log.get_many(request.key for request in chunk))
        for request in chunk:
            if request.key in written:
                continue
            written.add(request.key)
            content = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body(request)}
            line = json.dumps(content).encode() + b"\n"
            if pack and (len(pack) == MOST_LINES or size + len(line) > MOST_BYTES):
                yield pack
                pack, size = {}, 0
            pack[request.key] = line
            size += len(line)
    if pack:
        yield pack


def _read_line(line: bytes) -> tuple[str, Outcome]:
    """A key and its outcome. Raises Garbled."""
    content = read_json(line)
    key = content.get("custom_id") if isinstance(content, dict) else None
    if not isinstance(key, str) or not key.isascii():  # ours are hashes; SQLite takes no lone surrogates
        raise Garbled(f"expected a custom_id, got {excerpt(line)}")
    response = content.get("response")
    if not isinstance(response, dict):  # the batch ended before this request's turn
        response = {}
    status = response.get("status_code")
    if not isinstance(status, int) or is_transient(status) or status in SETTING:
        return key, Failure(reason="unanswered", detail=excerpt(line))
    raw = json.dumps(response.get("body")).encode()
    return key, read_completion(raw) if status == 200 else rejection(status, raw)


def _keep(
    outcomes: dict[str, Outcome], steps: Mapping[str, str], log: AnswerLog, endpoints: Mapping[str, Endpoint]
) -> int:
    """Log what is new, so that a file which is read twice is paid for once."""
    known = log.get_many(outcomes)
    pending = []
    for key, outcome in outcomes.items():
        if key in known or (isinstance(outcome, Failure) and outcome.reason == "unanswered"):
            continue
        asked = endpoints.get(steps[key])
        pending.append(log.put(key, outcome, step=steps[key], dollars=asked.dollars(outcome) if asked else 0.0))
    for durable in pending:
        durable.result()
    return len(pending)
