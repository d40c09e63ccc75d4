"""The corpus: small whole files of every kind that is read, made by code, the same in every run."""

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
from PIL import Image

from firsthand.findings import Check, CheckState, Health
from firsthand.records import (
    Judged,
    Reply,
    Rollout,
    Score,
    Status,
    Step,
    StopReason,
    Unit,
    Verdict,
    content_id,
    json_lines,
)

Files = Mapping[str, bytes]
"""Relative paths and what is in them."""


def picture(fmt: str = "PNG") -> bytes:
    """Eight by six pixels of a gradient."""
    buffer = io.BytesIO()
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3)
    Image.fromarray(pixels).save(buffer, fmt)
    return buffer.getvalue()


def as_json(content: Any) -> bytes:
    """UTF-8, on one line."""
    return json.dumps(content, ensure_ascii=False).encode()


def _lines(*rows: Any) -> bytes:
    return b"".join(as_json(row) + b"\n" for row in rows)


PLAIN: tuple[dict[str, Any], ...] = (
    {"question": "How many dots?", "answer": "3", "kind": "digit", "image": "red.png", "tolerance": 0.5},
    {"question": "Which one?", "answer": "B", "choices": ["a dog", "a cat"], "image": "red.png", "id": "x-2"},
    {"question": "Solve.", "answer": "\\frac{1}{2}", "kind": "math", "trace": "<think>x</think><answer>1/2</answer>"},
    {"question": "Where?", "answer": [0.1, 0.2, 0.5, 0.6], "kind": "box", "image": "red.png", "meta": {"a": [1]}},
    {"question": "What?", "answer": "a red dot", "kind": "text", "aliases": ["red dot"], "system": "Be short."},
    {"question": "All?", "answer": ["A", "C"], "kind": "letters", "options": ["1", "2", "3"], "family": "f"},
)
MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},
            {"role": "assistant", "content": "<think>I count.</think><answer>3</answer>"},
        ],
        "images": ["red.png"],
    },
    {
        "conversations": [{"from": "human", "value": "<image>How many?"}, {"from": "gpt", "value": "3"}],
        "image": "red.png",
    },
    {"prompt": "How many?", "solution": "<answer>3</answer>", "image": "red.png"},
    {"problem": "Solve.", "solution": "x = 3", "data_source": "geo", "reward_model": {"ground_truth": "3"}},
    {"instruction": "Count.", "input": "1 2 3", "output": "3"},
)
VLAA: tuple[dict[str, Any], ...] = (
    {"id": 1, "image": "/red.png", "question": "How many?", "gt": "3", "verifier_type": "digit", "meta": "{'a': 1}"},
    {"image": "red.png", "question": "Which?", "answer": "<think>It is B.</think><answer>\\boxed{B}</answer>"},
    {"question": "Where?", "gt": "[0.1, 0.2, 0.3, 0.4]", "verifier_type": "iou", "ds_answer": "x<answer>y</answer>"},
)
_CSV = b'question,answer,kind,image\nHow many?,3,digit,red.png\n"Which, then?",B,,red.png\n'
_TSV = (
    b"index\tquestion\tanswer\tA\tB\timage_path\thint\tcategory\n1\tWhich?\tB\tdog\tcat\tred.png\t\tx\n"
    b"2\tHow many?\t3\t\t\tred.png\tlook\ty\n"
)


def _table() -> pa.Table:
    rows = [
        {
            "question": "How many?",
            "answer": "3",
            "kind": "digit",
            "image": {"bytes": picture(), "path": None},
            "n": 0.1,
        },
        {"question": "And now?", "answer": "4", "kind": "digit", "image": {"bytes": picture("JPEG"), "path": "x"}},
    ]
    return pa.Table.from_pylist(rows)


def parquet() -> bytes:
    """Two rows with pictures."""
    buffer = io.BytesIO()
    pa.parquet.write_table(_table(), buffer)
    return buffer.getvalue()


def arrow() -> bytes:
    """The same as a stream."""
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, _table().schema) as stream:
        stream.write_table(_table())
    return buffer.getvalue()


def data(name: str) -> list[Files]:
    """Data files of one ending, each with its picture beside it."""
    lines = (_lines(*PLAIN), _lines(*MESSAGES), _lines(*VLAA))
    found: dict[str, list[bytes]] = {
        "data.jsonl": list(lines),
        "data.json": [as_json([*PLAIN]), as_json([*MESSAGES]), _lines(*VLAA)],
        "data.csv": [_CSV, _CSV.replace(b",", b";")],
        "data.tsv": [_TSV],
        "data.parquet": [parquet()],
        "data.arrow": [arrow()],
    }
    return [{name: content, "red.png": picture()} for content in found[name]]


def pictures() -> list[Files]:
    """A row whose picture is one of each format."""
    row = _lines({**PLAIN[0], "image": "it.png"})
    return [{"it.png": picture(fmt), "data.jsonl": row} for fmt in ("PNG", "JPEG", "GIF", "WEBP", "BMP")]


def _judged(text: str, score: float | None = 1.0) -> Judged:
    reply = Reply(text=text, token_ids=(5, 6, 7), logprobs=(-0.1, -0.2, -0.3), stop=StopReason.EOS)
    status = Status.FAILED if score is None else Status.OK
    return Judged(reply=reply, verdict=Verdict(score=score, status=status, parsed="7", why="equals 7"), advantage=0.5)


def _run(name: str, seed: int, picture_name: str) -> Files:
    """A training that was evaluated in its own directory, as earlier versions did, so that one folder holds all."""
    recipe = {"name": name, "seed": seed, "start": None, "steps": 2, "model": "small", "model_id": name, "data_id": "d"}
    recipe |= {"objective": {"kind": "grpo", "group_size": 2}, "data": {"worlds": ["count"]}}
    identity = content_id(recipe)
    about = {"family": "count", "question": "How many?", "gold": "7", "images": (picture_name,)}
    group = (_judged("<answer>7</answer>"), _judged("<answer>8</answer>", 0.0))
    metrics = {"loss/total": 0.5, "score/mean": 0.5, "optim/lr": 1e-5, "policy/kl": 0.01, "reply/tokens": 3.0}
    steps = [Step(step=n, metrics=metrics, seconds=1.0, timing={"rollout": 0.5}) for n in (0, 1)]
    scores = [
        Score(example_id=f"{n:04}", greedy=_judged("<answer>7</answer>", float(n % 2)), samples=group, **about)
        for n in range(3)
    ]
    units = [Unit(question=f"{n:04}", cluster=f"{n:04}", value=float(n % 2)) for n in range(3)]
    table = {"accuracy": 1 / 3, "ci95": [0.0, 0.9], "n": 3}
    evaluation = {
        **table,
        "families": {"count": table},
        "pass_at": {"1": 0.5},
        "sampled_accuracy": 0.5,
        "unmeasured": 0,
    }
    evaluation |= {"data": {"worlds": ["count"], "number": 3}, "protocol": {"max_new_tokens": 8, "samples": 2}}
    rollouts = [Rollout(step=n, example_id="a", group=group, **about) for n in (0, 1)]
    files = {
        "recipe.json": as_json({**recipe, "id": identity}),
        "environment.json": as_json({"from": "2026-11-27T00:00:00+00:00", "machine": "Linux", "packages": {}}),
        "metrics.jsonl": json_lines(steps).encode(),
        "rollouts.jsonl": json_lines(rollouts).encode(),
        "scores.jsonl": json_lines(scores).encode(),
        "units.jsonl": json_lines(units).encode(),
        "evaluation.json": as_json(evaluation),
        "refused.jsonl": _lines(
            {"place": "a line 1", "reason": "bad_row", "detail": "expected a row", "cells": {}, "source": {"file": "a"}}
        ),
        "DONE": b"",
    }
    return {f"{name}-s{seed}-{identity[:8]}/{file}": content for file, content in files.items()}


def runs() -> list[Files]:
    """Two arms with what a study found of them."""
    name = hashlib.sha256(picture()).hexdigest()
    both = {**_run("sft", 0, name), **_run("grpo", 0, name)}
    for folder in {path.partition("/")[0] for path in both}:
        both[f"{folder}/images/{name}.png"] = picture()
    health = Health(
        arm="sft", checks=(Check(name="loss", state=CheckState.PASSED, what="it fell", value=1.0, limit=2.0),)
    )
    results = {"arms": {"sft": {"accuracy": 0.3}, "grpo": {"accuracy": 0.4}}, "seeds": [0], "verdicts": [],
               "health": [health.model_dump(mode="json")], "tuned": [], "budget": {}}  # fmt: skip
    return [{**both, "results.json": as_json(results)}]


YAML: tuple[bytes, ...] = (
    b"name: a\ndata:\n  worlds: [count]\n  number: 8\nobjective: {kind: grpo, group_size: 4, kl: 0.1}\n"
    b"optimizer: {lr: 1e-5, betas: [0.9, 0.99]}\nsteps: 3\nprompts: 2\nsampling: &s {max_new_tokens: 6}\n",
    b"name: s\nshared: &d\n  data: {path: data.jsonl, kind: digit}\n  steps: 2\narms:\n  base: {steps: 0}\n"
    b"  sft: {objective: {kind: sft, style: plain}}\n  grpo: {objective: grpo}\nevaluation: {data: {worlds: [count], "
    b"number: 4}, protocol: {samples: 2}}\nbudget: {match: flops, of: grpo}\ntune: {grid: {optimizer.lr: [1e-4]}}\n",
    b"name: f\nsources:\n  - {path: data.jsonl, name: mine, fields: {question: ask}}\n  - {worlds: [count], "
    b"number: 3}\nteachers: {default: {scenes: true}}\nsplit: {quotas: {mine: {sft: 3}}}\n",
    b"title: A benchmark\nfiles: [data.tsv]\nrows: 2\ngold: [{kind: choice, options: letters}]\nprompt: plain\n",
    b"base_url: http://127.0.0.1:1/v1\nmodel: m\nkey_env: FIRSTHAND_KEY\nin_flight: {start: 1, max: 4}\ntimeout_s: 5\n",
    b"max_new_tokens: 16\nsamples: 2\ntemperature: 1.0\nanswer: stated\n",
)
COMPLETIONS: tuple[bytes, ...] = (
    as_json({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": "<think>I count.</think><answer>7</answer>"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6}}),
    as_json({"choices": [{"message": {"content": "Yes.", "reasoning": "So it is."}, "finish_reason": "length"}]}),
    as_json({"choices": [{"message": {"content": None, "refusal": "No."}, "finish_reason": "content_filter"}]}),
    as_json({"error": {"message": "bad", "type": "invalid_request_error", "code": 400}}),
)  # fmt: skip
REPLIES: tuple[bytes, ...] = (
    b"<think>\nI count 3 and 4.\n</think>\n<answer>7</answer>",
    b"So the answer is \\boxed{\\frac{1}{2}}.",
    b"The answer is (B) a cat.",
    b"**Answer:** 1{,}234.5 cm^2",
    b"<answer>[0.1, 0.2, 0.5, 0.6]</answer>",
    b'```json\n{"answer": "A, C"}\n```',
    b"$x \\in (-\\infty, 3] \\cup \\{5\\}$ or $x=2$, y=\\sqrt[3]{2}^{2!}",
    b"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    "Es sind 5½ % – also ٣, oder 七".encode(),
    b"yes, it is a red dot",
)
