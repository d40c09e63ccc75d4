"""Requests and answers as files in OpenAI's batch format, for hosted batches and vLLM's `run-batch`.

A request is one line, `{"custom_id", "method", "url", "body"}`, with the request's key as custom_id. Answers come back
in any order: https://platform.openai.com/docs/api-reference/batch
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from firsthand.batched import batched
from firsthand.errors import DataError, excerpt
from firsthand.teacher.completion import SETTING, Garbled, is_transient, read_completion, read_json, rejection
from firsthand.teacher.endpoint import Endpoint, body
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Failure, Outcome, Request

MOST_LINES = 50_000
"""Lines of one file: OpenAI's limit."""
MOST_BYTES = 100_000_000
"""Bytes of one file (ours): half of OpenAI's limit, because a file is put together in memory."""
_CHUNK = 500
_NO_ENDPOINTS: Mapping[str, Endpoint] = MappingProxyType({})
_LINES_NAMED = 5
"""Lines that an error names."""


class _Line(NamedTuple):
    key: str
    outcome: Outcome


def write_batch(requests: Iterable[Request], folder: Path, log: AnswerLog, *, step: str) -> list[Path]:
    """Write the requests that `log` has no answer to, each once, and return the files; `read_batch` reads the answers.

    Raises DataError when the folder has batch files already: they may be under way.
    """
    there = sorted(folder.glob("batch-*.jsonl"))
    files: list[Path] = []
    for pack in _packed(_missing(requests, log)):
        if there:
            remedy = "read their answers, name another folder, or delete them"
            raise DataError(f"{folder}: expected no batch files, got {there[0].name}; {remedy}")
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"batch-{len(files):03d}.jsonl")
        files[-1].write_bytes(b"".join(pack.values()))
        log.expect(pack, step=step)
    return files


def read_batch(path: Path, log: AnswerLog, endpoints: Mapping[str, Endpoint] = _NO_ENDPOINTS) -> int:
    """Keep the outcomes of an output or an error file; returns how many were new. `endpoints` know the prices, by step.

    Requests that the server could not carry out (it was busy, or the batch expired) stay unanswered. Raises DataError
    that names the lines which cannot be read or which answer no request of this log's; all others have been kept.
    """
    kept, problems = 0, list[str]()
    with path.open("rb") as file:
        for chunk in batched(enumerate(file, 1), _CHUNK):
            lines: list[_Line] = []
            for number, line in chunk:
                try:
                    lines.append(_read_line(line))
                except Garbled as error:
                    problems.append(f"line {number}: {error}")
            steps = log.expected(line.key for line in lines)
            problems += [f"custom_id {key!r} was never asked" for key, _ in lines if key not in steps]
            kept += _keep({key: outcome for key, outcome in lines if key in steps}, steps, log, endpoints)
    if problems:
        told = "\n".join(f"  {problem}" for problem in problems[:_LINES_NAMED])
        raise DataError(
            f"{path}: {len(problems)} lines cannot be used; the other outcomes are kept. "
            f"Download the file again, and read it again:\n{told}"
        )
    return kept


def _missing(requests: Iterable[Request], log: AnswerLog) -> Iterator[Request]:
    written: set[str] = set()
    for chunk in batched(requests, _CHUNK):
        known = log.get_many(request.key for request in chunk)
        for request in chunk:
            if request.key not in known and request.key not in written:
                written.add(request.key)
                yield request


def _packed(requests: Iterable[Request]) -> Iterator[dict[str, bytes]]:
    """Lines by their keys, in packs of one file each."""
    pack: dict[str, bytes] = {}
    size = 0
    for request in requests:
        content = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body(request)}
        line = json.dumps(content).encode() + b"\n"
        if pack and (len(pack) == MOST_LINES or size + len(line) > MOST_BYTES):
            yield pack
            pack, size = {}, 0
        pack[request.key] = line
        size += len(line)
    if pack:
        yield pack


def _read_line(line: bytes) -> _Line:
    """Raises Garbled."""
    content = read_json(line)
    if not isinstance(content, dict) or not isinstance(content.get("custom_id"), str):
        raise Garbled(f"expected a custom_id, got {excerpt(line)}")
    response = content.get("response")
    if not isinstance(response, dict):  # the batch ended before this request's turn
        return _Line(content["custom_id"], Failure(reason="unanswered", detail=excerpt(line)))
    status, raw = response.get("status_code"), json.dumps(response.get("body")).encode()
    if status == 200:
        return _Line(content["custom_id"], read_completion(raw))
    if not isinstance(status, int) or is_transient(status) or status in SETTING:
        return _Line(content["custom_id"], Failure(reason="unanswered", detail=excerpt(line)))
    return _Line(content["custom_id"], rejection(status, raw))


def _keep(
    outcomes: dict[str, Outcome], steps: Mapping[str, str], log: AnswerLog, endpoints: Mapping[str, Endpoint]
) -> int:
    """Log what is new, so that a file which is read twice is paid for once."""
    known = log.get_many(outcomes)
    new = {
        key: outcome
        for key, outcome in outcomes.items()
        if key not in known and not (isinstance(outcome, Failure) and outcome.reason == "unanswered")
    }
    pending = []
    for key, outcome in new.items():
        asked = endpoints.get(steps[key])
        pending.append(log.put(key, outcome, step=steps[key], dollars=asked.dollars(outcome) if asked else 0.0))
    for durable in pending:
        durable.result()
    return len(new)
