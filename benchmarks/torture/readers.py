"""Every reader of what others wrote, by name: its corpus, how it is asked, and what it may raise.

A reader is asked in a folder that holds the files of a case, and reads them from there, as it would a user's. Whatever
it raises beside the package's own errors is a fault, and so is a case that computes for over five seconds, that takes
more than two gigabytes of memory, or that ends the process.
"""

import io
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from firsthand.errors import BadRow, FirsthandError
from torture import seeds


class Reader(NamedTuple):
    """One reader."""

    seeds: Callable[[], list[seeds.Files]]
    read: Callable[[Path], object]
    """Of a folder with a case's files."""
    share: int
    """Of all cases, in parts."""
    refuses: tuple[type[Exception], ...] = (FirsthandError,)
    """What it may raise."""
    needs_torch: bool = False


def _data(folder: Path) -> None:
    from firsthand.data import Source, load_rows, stream_rows

    file = next(folder.glob("data.*"), None)
    if file is None:  # the damage took it away: there is nothing to read
        return
    with suppress(FirsthandError):
        load_rows(str(file))
    for found in stream_rows(Source(path=str(file), normalise=True, side="{meta.a}")):
        found.model_dump()


def _yaml(folder: Path) -> None:
    from firsthand.config import build, read_recipe, read_yaml
    from firsthand.evaluation.benchmarks.spec import find
    from firsthand.evaluation.protocol import Protocol
    from firsthand.forge import ForgeConfig
    from firsthand.recipe import Recipe
    from firsthand.study.plan import Study
    from firsthand.teacher import Endpoint

    file = folder / "it.yaml"
    content = read_yaml(file)
    for model in (Recipe, ForgeConfig, Endpoint, Protocol):
        if {"arms"} & content.keys() == set():
            _refused(build, model, content, "it")
    _refused(Study.read, file)
    _refused(find, str(file))
    read_recipe(file, ["optimizer.lr=1e-5"])


def _refused(read: Callable[..., object], *args: Any) -> None:
    """Ask, and be content with an error of the package's own, so that the next reader is asked, too."""
    with suppress(FirsthandError):
        read(*args)


def _completion(folder: Path) -> None:
    """A teacher's, a judge's and a scorer's answers, as far as they are kept."""
    from firsthand.reward.judge import read_grade
    from firsthand.reward.open_ended import ScoringFailed
    from firsthand.teacher import AnswerLog, Completion, Failure
    from firsthand.teacher.completion import Garbled, read_completion, rejection
    from firsthand.teacher.scrub import Scrubber

    raw = Scrubber("secret-key-of-a-server")((folder / "answer.json").read_bytes())
    rejection(400, raw).model_dump_json()
    try:
        outcome = read_completion(raw)
    except Garbled:
        outcome = Failure(reason="unanswered", detail="")
    if isinstance(outcome, Completion):
        from firsthand.forge.distill import thought_and_answer, without_tags
        from firsthand.forge.verify import yes_or_no

        yes_or_no(outcome.text)
        without_tags(thought_and_answer(outcome)[0])
    with suppress(ScoringFailed):
        read_grade(getattr(outcome, "text", ""), "w")
    with AnswerLog(folder / "answers.sqlite") as log:
        log.put("k", outcome, step="s", dollars=0.1).result(4)
        kept = log.get("k")
        assert kept == (None if getattr(outcome, "reason", "") == "unanswered" else outcome), "another answer was kept"


def _answers_file(folder: Path) -> None:
    from firsthand.teacher import AnswerLog

    with AnswerLog(folder / "answers.sqlite") as log:
        log.get("k")
        log.spent()
        log.expected(["k"])


def _batch(folder: Path) -> None:
    from firsthand.teacher import AnswerLog, read_batch

    with AnswerLog(folder / "answers.sqlite") as log:
        log.expect(["k", "l"], step="s")
        read_batch(folder / "answers.jsonl", log)


def _replies(folder: Path) -> None:
    """A model's reply, through everything that reads one in this process."""
    from firsthand.answers.ground_truth import typed_answer
    from firsthand.answers.maths.objects import read_form
    from firsthand.answers.maths.tokens import Unread
    from firsthand.answers.stated import read_answer, split_last_block
    from firsthand.records import Box
    from firsthand.reward.box import judge_box
    from firsthand.reward.choice import judge_choice
    from firsthand.reward.digit import judge_digit
    from firsthand.reward.letters import judge_letters
    from firsthand.reward.text import judge_text

    text = (folder / "reply.txt").read_bytes().decode("utf-8", "replace")
    golds = _golds()
    for rule in ("tags", "stated"):
        read_answer(text, rule, "answer", is_free=rule == "stated")
    inside = (read_answer(text, "stated")[0] or text)[:2000]
    split_last_block(text, "answer")
    for judge, gold in (
        (judge_digit, "digit"),
        (judge_choice, "choice"),
        (judge_letters, "letters"),
        (judge_text, "text"),
    ):
        judge(inside, golds[gold]).model_dump_json()
    for units in ("auto", "pixels"):
        box = golds["box"]
        assert isinstance(box, Box)
        judge_box(inside, box, coordinates=units).model_dump_json()  # type: ignore[arg-type]
    with suppress(Unread):
        read_form(inside)
    for kind in (None, "digit", "math", "box", "text", "letters", "environment"):
        with suppress(BadRow):
            typed_answer(inside, kind)


@cache
def _golds() -> dict[str, Any]:
    from firsthand.answers.ground_truth import typed_answer

    return {
        "digit": typed_answer("7", "digit"),
        "choice": typed_answer("B", "choice", ["a dog", "a cat"]),
        "letters": typed_answer("A, C", "letters", ["1", "2", "3"]),
        "text": typed_answer("a red dot", "text"),
        "box": typed_answer([1, 2, 5, 6], "box", (), [8, 6]),
    }


def _grading(folder: Path) -> None:
    from firsthand.evaluation.grading import grade
    from firsthand.reward import Reward

    grade(
        folder / "problems.jsonl", folder / "replies.jsonl", folder / "out.jsonl", Reward(), workers=1, deadline_s=5.0
    )


def _report(folder: Path) -> None:
    from firsthand.report import write_report

    write_report([folder], folder / "report.html", "it")


def _compare(folder: Path) -> None:
    from firsthand.evaluation.compare import compare_runs

    compare_runs([folder])


def _resumed(folder: Path) -> None:
    """What the commands that go on with a run read of it."""
    from firsthand.cost import RunCost
    from firsthand.evaluation.replies import read_journal
    from firsthand.run import Run, evaluations_beside, recipe_of, run_of_model

    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        recipe_of(run)
        run_of_model(run / "model")
        evaluations_beside(run)
        _refused(read_journal, run / "scores.jsonl")
        _refused(RunCost.read, run)
        _refused(Run.beside(run).rewind, 2)


def _forged(folder: Path) -> None:
    from firsthand.report.forged import write_forge_report

    write_forge_report(folder)


def _export(folder: Path) -> None:
    from firsthand.evaluation.benchmarks.export import export_replies

    [run] = (path for path in folder.iterdir() if path.is_dir())
    export_replies(run, folder / "out.tsv")


def _tried(folder: Path) -> None:
    from firsthand.study.tuning import read_tries

    read_tries(folder)


def _model(folder: Path) -> None:
    """The config, tokenizer, template, image processor and weights of a folder."""
    from firsthand.policy import Policy
    from firsthand.processor import Encoder

    _refused(Encoder.load, folder)
    Policy.load(folder)


def _checkpoint(folder: Path) -> None:
    """Its hashes, which say first that something has changed; and its tensors, for one that has none."""
    from firsthand.policy.stored import stored_tensors
    from firsthand.trainer.state import damage

    for kept in folder.iterdir():
        damage(kept)
    for tensor in stored_tensors(folder / "step-000002", "optimizer.safetensors").values():
        tensor[...]


def _template(folder: Path) -> None:
    """A chat template, in the process that renders those of others."""
    from firsthand.processor.template import Conversation

    shutil.copytree(
        _small(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("chat_template.jinja", "*.safetensors")
    )
    from firsthand.processor.folder import tokenizer_of

    Conversation(folder, tokenizer_of(folder), in_parts=False).render(
        [{"type": "text", "text": "How many?"}], None, "a row"
    )


def _small() -> Path:
    import firsthand.worlds

    return Path(firsthand.worlds.__file__).with_name("small")


@cache
def _tiny_model() -> dict[str, bytes]:
    """A folder like the small model's, with one layer of few numbers."""
    import torch
    from transformers import AutoConfig

    from firsthand.policy.loading import model_class

    with tempfile.TemporaryDirectory() as place:
        said = json.loads((_small() / "config.json").read_text(encoding="utf-8"))
        layers = {"num_hidden_layers": 1, "layer_types": ["full_attention"], "max_window_layers": 1}
        said["text_config"] |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, **layers}
        said["text_config"] |= {"num_key_value_heads": 2, "head_dim": 8}
        said["text_config"]["rope_parameters"]["mrope_section"] = [2, 1, 1]
        said["vision_config"] |= {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2}
        said["vision_config"] |= {"out_hidden_size": 32, "fullatt_block_indexes": [0]}
        Path(place, "config.json").write_text(json.dumps(said), encoding="utf-8")
        config = AutoConfig.from_pretrained(place, local_files_only=True)
        torch.manual_seed(0)
        model_class(config).from_config(config).to(torch.float32).save_pretrained(place)
        for name in ("chat_template.jinja", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(_small() / name, place)
        return {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}


def _checkpoint_files() -> list[seeds.Files]:
    import torch
    from safetensors.torch import save

    from firsthand.records import content_id

    tensors = save({"exp_avg.a": torch.arange(6.0), "step.a": torch.tensor(2)})
    import hashlib

    kept = {
        "step": 2,
        "kl_weight": 0.1,
        "limits": {"rows": 4},
        "files": {"optimizer.safetensors": hashlib.sha256(tensors).hexdigest()},
    }
    state = seeds.as_json({**kept, "id": content_id(kept)})
    return [{"step-000002/state.json": state, "step-000002/optimizer.safetensors": tensors}]


@cache
def _forged_files() -> dict[str, bytes]:
    """The data set of a forge of six rows."""
    from firsthand.config import build
    from firsthand.forge import ForgeConfig, run_forge

    content = {"name": "f", "sources": [{"worlds": ["count"], "number": 6}], "teachers": {"default": {"scenes": True}}}
    with tempfile.TemporaryDirectory() as place:
        run_forge(build(ForgeConfig, content, "f"), Path(place))
        wanted = [*Path(place).glob("*/*.parquet"), Path(place, "funnel.json")]
        return {str(path.relative_to(place)): path.read_bytes() for path in sorted(wanted)}


def _evaluated_files() -> list[seeds.Files]:
    [files] = seeds.runs()
    first = sorted({name.partition("/")[0] for name in files if "/" in name})[0]
    cells = [{"id": f"{n:04}", "cells": {"question": "How many?", "answer": "7"}} for n in range(3)]
    items = b"".join(seeds.as_json(one) + b"\n" for one in cells)
    return [{**{k: v for k, v in files.items() if k.startswith(f"{first}/")}, f"{first}/items.jsonl": items}]


def _sqlite() -> list[seeds.Files]:
    from firsthand.teacher import AnswerLog, Completion

    with tempfile.TemporaryDirectory() as place:
        with AnswerLog(Path(place, "answers.sqlite")) as log:
            log.put("k", Completion(text="7", prompt_tokens=3), step="s", dollars=0.1).result()
            log.expect(["l"], step="s")
        return [{path.name: path.read_bytes() for path in Path(place).iterdir()}]


def _batches() -> list[seeds.Files]:
    lines = [
        {"custom_id": "k", "response": {"status_code": 200, "body": json.loads(seeds.COMPLETIONS[0])}, "error": None},
        {"custom_id": "l", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}},
        {"custom_id": "l", "response": None, "error": {"code": "batch_expired"}},
    ]
    return [{"answers.jsonl": b"".join(seeds.as_json(line) + b"\n" for line in lines)}]


def _graded() -> list[seeds.Files]:
    problems = b"".join(
        seeds.as_json({"id": n, **row, "image": None}) + b"\n" for n, row in enumerate(seeds.PLAIN) if n != 2
    )
    replies = b"".join(seeds.as_json({"id": n, "reply": "<answer>3</answer>"}) + b"\n" for n in range(6))
    return [{"problems.jsonl": problems, "replies.jsonl": replies}]


def _tries() -> list[seeds.Files]:
    one = {"id": "a", "arm": "sft", "settings": {"optimizer.lr": 1e-4}, "rung": 0, "step": 2, "greedy": 0.5}
    return [{"tune.jsonl": seeds.as_json(one) + b"\n"}]


READERS: dict[str, Reader] = {
    "jsonl": Reader(lambda: seeds.data("data.jsonl"), _data, 14),
    "json": Reader(lambda: seeds.data("data.json"), _data, 8),
    "csv": Reader(lambda: seeds.data("data.csv"), _data, 6),
    "tsv": Reader(lambda: seeds.data("data.tsv"), _data, 6),
    "parquet": Reader(lambda: seeds.data("data.parquet"), _data, 6),
    "arrow": Reader(lambda: seeds.data("data.arrow"), _data, 6),
    "pictures": Reader(seeds.pictures, _data, 8),
    "yaml": Reader(lambda: [{"it.yaml": one} for one in seeds.YAML], _yaml, 8),
    "completion": Reader(lambda: [{"answer.json": one} for one in seeds.COMPLETIONS], _completion, 8),
    "batch": Reader(_batches, _batch, 4),
    "answer log": Reader(_sqlite, _answers_file, 4),
    "replies": Reader(lambda: [{"reply.txt": one} for one in seeds.REPLIES], _replies, 20),
    "grading": Reader(_graded, _grading, 2),
    "report": Reader(seeds.runs, _report, 4),
    "compare": Reader(seeds.runs, _compare, 3),
    "resumed": Reader(seeds.runs, _resumed, 3),
    "export": Reader(_evaluated_files, _export, 3),
    "tries": Reader(_tries, _tried, 1),
    "forged": Reader(lambda: [_forged_files()], _forged, 3),
    "model": Reader(lambda: [_tiny_model()], _model, 2, needs_torch=True),
    "checkpoint": Reader(_checkpoint_files, _checkpoint, 2, needs_torch=True),
    "template": Reader(lambda: [{"chat_template.jinja": (_small() / "chat_template.jinja").read_bytes()}], _template, 1,
                       needs_torch=True),
}  # fmt: skip


def quietly(reader: Reader, folder: Path) -> BaseException | None:
    """Ask a reader; what it raised that it should not, if anything."""
    before, nothing = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(nothing), redirect_stderr(nothing):
            reader.read(folder)
    except reader.refuses:
        return None
    except Exception as error:
        return error
    finally:
        logging.disable(before)
    return None


def names(chosen: str | None, *, with_torch: bool = True) -> Iterator[str]:
    """The readers that are asked for: all, or some with commas."""
    wanted = (
        chosen.split(",") if chosen else [name for name, one in READERS.items() if with_torch or not one.needs_torch]
    )
    for name in wanted:
        if name not in READERS:
            raise SystemExit(f"--readers: expected some of {', '.join(READERS)}, got {name}")
        yield name
