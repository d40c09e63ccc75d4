"""VLMEvalKit's own evaluation of the items: its real functions and files, with a scripted judge.

Its `evaluate` methods run as they are. Only three things around them are not theirs: the judge, the model classes and
big libraries that they import and never use here, and a note of which row is being judged. A row on which their code
raises would end the evaluation: a first pass finds those rows, and the second, which is recorded, leaves them out.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import io
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

UNUSED = ("torch", "cv2", "huggingface_hub", "sty", "filelock", "decord", "torchvision", "transformers")
"""Libraries that VLMEvalKit imports and these functions never use."""

FAILED = "Failed to obtain answer via API."
"""What its judge's wrapper returns when a call fails."""

RANDOM = "Failed to predict, thus randomly generate one. "
"""What it logs when it draws an option."""

JUDGE_NAME = "gpt-4o-mini"

Row = dict[str, Any]


class Benchmark(NamedTuple):
    """Where a benchmark's code is.

    `judged` are its functions that ask the judge, each with the key of the judge's script and the result that stands
    in, in the first pass, for one that raised. `checked` is its function that decides after the judging.
    """

    dataset: str
    module: str
    owner: str
    judged: tuple[tuple[str, str, str, Row], ...]
    right: str
    extracted: str | None
    checked: str | None = None
    suffix: str = f"_{JUDGE_NAME}"


UTILS = "vlmeval.dataset.utils."
EMPTY: Row = {"log": "", "res": ""}
BENCHMARKS = {
    "mathvista": Benchmark(
        "MathVista_MINI",
        "vlmeval.dataset.image_vqa",
        "MathVista",
        ((UTILS + "mathvista", "MathVista_auxeval", "answer", EMPTY),),
        "post_check",
        "res",
        UTILS + "mathvista",
    ),
    "mathvision": Benchmark(
        "MathVision",
        "vlmeval.dataset.image_vqa",
        "MathVision",
        ((UTILS + "mathv", "MATH_V_auxeval", "answer", EMPTY),),
        "post_check",
        "res",
        UTILS + "mathv",
    ),
    "mathverse": Benchmark(
        "MathVerse_MINI_Vision_Only",
        "vlmeval.dataset.image_vqa",
        "MathVerse",
        (
            (UTILS + "mathverse", "MathVerse_auxeval_extract", "extract", {"log_extract": "", "extract": ""}),
            (UTILS + "mathverse", "MathVerse_auxeval_score", "score", {"log_score": "", "score": False}),
        ),
        "score",
        "extract",
        suffix=f"_{JUDGE_NAME}_score",
    ),
    "dynamath": Benchmark(
        "DynaMath",
        "vlmeval.dataset.dynamath",
        "Dynamath",
        (
            (
                "vlmeval.dataset.dynamath",
                "DynaMath_auxeval",
                "answer",
                {"parse": False, "extracted": None, "correct": False},
            ),
        ),
        "correct",
        "extracted",
    ),
    "wemath": Benchmark(
        "WeMath",
        "vlmeval.dataset.image_mcq",
        "WeMath",
        ((UTILS + "multiple_choice", "eval_vanilla", "answer", {"hit": 0, "log": ""}),),
        "hit",
        None,
        suffix="_gpt4o-mini",
    ),
    "logicvista": Benchmark(
        "LogicVista",
        "vlmeval.dataset.image_vqa",
        "LogicVista",
        ((UTILS + "logicvista", "LogicVista_auxeval", "answer", EMPTY | {"hit": 0}),),
        "hit",
        "res",
        suffix="_gpt4o-mini",
    ),
}


class Judge:
    """Says what the script of the present row says, as VLMEvalKit's wrapper of the OpenAI API hands it on.

    The wrapper strips answers, and an empty one counts as a failed call. The last entry of a script is repeated.
    """

    system_prompt = ""

    def __init__(self) -> None:
        self.script: Sequence[str | None] = ("hello",)
        self.calls = 0

    def read(self, script: Sequence[str | None]) -> None:
        """Begin a row."""
        self.script, self.calls = script, 0

    def generate(self, _prompt: str, **_options: object) -> str:
        """The next answer."""
        said = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        return (said or "").strip() or FAILED

    def working(self) -> bool:
        """Theirs asks the API something."""
        return True


class Unused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives empty modules for the libraries that are not used."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """A package for every name below an unused library."""
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in UNUSED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module in which every name is an empty class."""
        module = ModuleType(spec.name)
        module.__dict__["__getattr__"] = lambda name: type(name, (), {})
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def import_from(source: Path) -> None:
    """Make `vlmeval` importable without what its packages import for other benchmarks."""
    sys.meta_path.insert(0, Unused())
    for name, folder in (("vlmeval", "vlmeval"), ("vlmeval.dataset", "vlmeval/dataset")):
        package = ModuleType(name)
        package.__path__ = [str((source / folder).resolve())]
        sys.modules[name] = package
    for variable in ("VERBOSE", "PRED_FORMAT", "EVAL_FORMAT"):
        os.environ.pop(variable, None)


class Trace:
    """What happened to each row: calls of the judge, exceptions, what was matched, and whether by chance."""

    def __init__(self, items: dict[str, Row], judge: Judge, *, forgive: bool) -> None:
        self.items, self.judge, self.forgive = items, judge, forgive
        self.calls = dict.fromkeys(items, 0)
        self.errors: dict[str, str] = {}
        self.matched: dict[str, Row] = {}

    def judged(self, function: Callable[..., Row], key: str, instead: Row) -> Callable[..., Row]:
        """`function` of a row, with the judge reading that row's script."""

        def wrapped(model: Judge, line: Any = None, item: Any = None, **more: Any) -> Row:
            row = line if item is None else item
            index = str(row["index"])
            self.judge.read(self.items[index]["judge"][key])
            random.seed(int(index))
            try:
                return function(model, row, **more)
            except Exception as error:
                self._note(index, error)
                return instead
            finally:
                self.calls[index] += self.judge.calls

        return wrapped

    def checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` that decides on a judged row."""

        def wrapped(line: Any, prefetch: bool = False) -> Any:
            try:
                return function(line, prefetch=prefetch)
            except Exception as error:
                self._note(str(line["index"]), error)
                return False

        return wrapped

    def matching(self, function: Callable[..., Row]) -> Callable[..., Row]:
        """`function` that matches a reply with an option, with its result kept."""

        def wrapped(model: Judge, item: Any, dataset_name: str | None = None) -> Row:
            self.matched[str(item["index"])] = found = function(model, item, dataset_name=dataset_name)
            return found

        return wrapped

    def _note(self, index: str, error: Exception) -> None:
        if not self.forgive:
            raise error
        self.errors.setdefault(index, f"{type(error).__name__}: {error}")


@contextlib.contextmanager
def replaced(names: dict[tuple[str, str], Any]) -> Iterator[None]:
    """Put other objects under names of modules, for a while."""
    modules = {name: importlib.import_module(name) for name, _ in names}
    before = {(name, attribute): getattr(modules[name], attribute) for name, attribute in names}
    try:
        for (name, attribute), value in names.items():
            setattr(modules[name], attribute, value)
        yield
    finally:
        for (name, attribute), value in before.items():
            setattr(modules[name], attribute, value)


def evaluate(benchmark: Benchmark, items: dict[str, Row], folder: Path, *, forgive: bool) -> tuple[Trace, Any, Any]:
    """Run their `evaluate`. Returns what was noted, the table that it stored, and the numbers that it reports.

    The cells become a TSV, the TSV and the predictions a spreadsheet, as their inference does it.
    """
    file = importlib.import_module("vlmeval.smp.file")
    pandas: Any = importlib.import_module("pandas")
    tsv, sheet = str(folder / f"{benchmark.dataset}.tsv"), str(folder / f"made_up_{benchmark.dataset}.xlsx")
    file.dump(pandas.DataFrame([item["cells"] for item in items.values()]), tsv)
    meta = file.load(tsv)
    table = meta.copy()
    table["prediction"] = [item["prediction"] for item in items.values()]
    file.dump(table, sheet)
    trace = Trace(items, judge := Judge(), forgive=forgive)
    names: dict[tuple[str, str], Any] = {(benchmark.module, "build_judge"): lambda **_: judge}
    for name, function, key, instead in benchmark.judged:
        real = getattr(importlib.import_module(name), function)
        names[name, function] = trace.judged(real, key, instead)
    if benchmark.checked:
        names[benchmark.checked, "post_check"] = trace.checked(importlib.import_module(benchmark.checked).post_check)
    options = importlib.import_module(UTILS + "multiple_choice")
    names[options.__name__, "extract_answer_from_item"] = trace.matching(options.extract_answer_from_item)
    owner = getattr(importlib.import_module(benchmark.module), benchmark.owner)
    dataset = owner.__new__(owner)
    dataset.data, dataset.dataset_name = meta, benchmark.dataset
    with replaced(names), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        report = dataset.evaluate(sheet, model=JUDGE_NAME, nproc=1)
    return trace, file.load(sheet.replace(".xlsx", f"{benchmark.suffix}.xlsx")), report


def verdicts(benchmark: Benchmark, trace: Trace, stored: Any) -> Iterator[tuple[str, Row]]:
    """What they decided on each row, from the table that they stored."""
    check = importlib.import_module(benchmark.checked).post_check if benchmark.checked else None
    for _, line in stored.iterrows():
        index = str(line["index"])
        with contextlib.redirect_stdout(io.StringIO()):
            right = bool(check(line) if check else line[benchmark.right])
        matched = trace.matched.get(index, {})
        extracted = line[benchmark.extracted] if benchmark.extracted else matched["opt"]
        found: Row = {"right": right, "extracted": text_of(extracted), "calls": trace.calls[index]}
        yield index, found | ({"random": True} if matched.get("log") == RANDOM else {})


def text_of(cell: Any) -> str | None:
    """A cell as text; None where there is no value."""
    return None if cell is None or cell != cell else str(cell)


def plain(value: Any) -> Any:
    """A number or text that JSON knows; None for NaN."""
    value = value.item() if type(value).__module__ == "numpy" else value
    return None if value != value else value


def made_with(source: Path) -> Row:
    """The checkout's commit and the versions that their verdicts depend on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, check=True)
    names = ("pandas", "numpy", "openpyxl", "xlsxwriter", "sympy", "latex2sympy2_extended", "antlr4-python3-runtime")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"vlmevalkit": commit.stdout.strip(), "python": platform.python_version(), **versions}


def record(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Add `theirs` to every item of these sets (all, if none is named) in `folder`, and write their summaries."""
    warnings.filterwarnings("ignore")
    import_from(source)
    for name in names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        path = folder / f"{name}.jsonl"
        items = {row["index"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            tried = evaluate(benchmark, items, Path(first), forgive=True)[0]
            errors = tried.errors
            sound = {index: row for index, row in items.items() if index not in errors}
            trace, stored, report = evaluate(benchmark, sound, Path(second), forgive=False)
            decided = dict(verdicts(benchmark, trace, stored))
        for index, row in items.items():
            raised = {"right": False, "extracted": None, "calls": tried.calls[index], "error": errors.get(index)}
            row["theirs"] = decided.get(index, raised)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in items.values())
        path.write_text("".join(lines), encoding="utf-8")
        summary = {
            "items": len(items),
            "raised": sorted(errors, key=int),
            "right": sum(found["right"] for found in decided.values()),
            "random": sum("random" in found for found in decided.values()),
            "made with": made_with(source),
            "report": [{key: plain(row[key]) for key in sorted(row)} for row in report.to_dict("records")],
        }
        path.with_suffix(".summary.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
        print(f"{name:10s} {summary['right']} of {len(items)} right, {len(errors)} raised, {summary['random']} random")
