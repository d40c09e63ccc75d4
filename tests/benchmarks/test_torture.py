"""The short form of the campaigns: some damaged files for every reader, and proof that a fault would be found."""

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torture import disk, fuzz, soak
from torture.commands import differing, result
from torture.readers import READERS, Reader, quietly

from firsthand.errors import DataError

QUICK = [name for name, reader in READERS.items() if not reader.needs_torch and name not in ("yaml", "grading")]


@pytest.mark.parametrize("name", QUICK)
def test_damaged_files_end_in_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    for number in range(8):
        error = fuzz.ask(READERS[name], fuzz.case(0, name, number), tmp_path / "case")
        assert error is None, f"case {number} of {name}: {error!r}"


@pytest.mark.parametrize("name", QUICK)
def test_what_the_corpus_holds_is_read_without_an_error(name: str, tmp_path: Path) -> None:
    """A corpus that is refused at its first byte would try nothing."""
    reader = READERS[name]._replace(refuses=())
    for number, files in enumerate(reader.seeds()):
        assert fuzz.ask(reader, files, tmp_path / f"{number}") is None


def test_a_case_is_a_function_of_its_seed_reader_and_number() -> None:
    assert fuzz.case(0, "jsonl", 3) == fuzz.case(0, "jsonl", 3)
    assert len({fuzz.case(seed, "jsonl", number)["data.jsonl"] for seed in (0, 1) for number in range(4)}) > 4


def fails(folder: Path) -> None:
    if b"{" in (folder / "data.jsonl").read_bytes():
        raise KeyError("a raw error")


def hangs(folder: Path) -> None:
    while True:
        pass


def waits(folder: Path) -> None:
    time.sleep(60)


def dies(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def swells(folder: Path) -> None:
    bytearray(8 << 30)


def refuses(folder: Path) -> None:
    raise DataError("in words")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (fails, "KeyError: 'a raw error'"),
        (hangs, "computed for more than"),
        (waits, "waited for more than"),
        (dies, "ended the process: SIGSEGV"),
        (swells, "MemoryError"),
    ],
    ids=["error", "hang", "wait", "crash", "memory"],
)
def test_a_fault_is_found_and_its_smallest_input_kept(
    read: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READERS, "jsonl", READERS["jsonl"]._replace(read=read))
    monkeypatch.setattr(fuzz, "LONGEST_S", 0.2)
    if read is waits:  # the others may be waiting for a busy machine
        monkeypatch.setattr(fuzz, "LONGEST_WAIT_S", 0.5)
    monkeypatch.setattr(fuzz, "_WARM", {"jsonl"})
    monkeypatch.setattr(fuzz, "smallest", functools.partial(fuzz.smallest, tries=3))
    found = fuzz.run(0, ["jsonl"], 2, tmp_path, say=lambda line: None)
    [failure] = found.failures.values()
    assert found.cases["jsonl"] == failure.count == 2
    note = (Path(failure.kept) / "failure.txt").read_text()
    assert said in note and f"reader jsonl, case {failure.number}" in note
    kept = {path.name: path.read_bytes() for path in (Path(failure.kept) / "input").iterdir()}
    whole = fuzz.case(0, "jsonl", failure.number)
    assert sum(map(len, kept.values())) < sum(map(len, whole.values()))


def test_an_error_of_our_own_is_no_fault(tmp_path: Path) -> None:
    assert quietly(Reader(lambda: [], refuses, 1), tmp_path) is None
    assert isinstance(quietly(Reader(lambda: [], fails, 1), tmp_path), FileNotFoundError)


def test_results_are_compared_byte_for_byte_but_for_wall_time(tmp_path: Path) -> None:
    for name, seconds, scores in (("a", 1.0, b"1\n"), ("b", 2.0, b"1\n"), ("c", 1.0, b"2\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(f'{{"seconds": {seconds}, "accuracy": 0.5}}')
        (tmp_path / name / "scores.jsonl").write_bytes(scores)
    first, second, third = (result(tmp_path / name) for name in "abc")
    assert differing(first, second) == [] and differing(first, third) == ["scores.jsonl"]
    (tmp_path / "b" / "more").touch()
    assert differing(first, result(tmp_path / "b")) == ["more"]


@pytest.mark.parametrize(("fault", "number"), [("full", 28), ("read-only", 30)])
def test_every_write_from_the_one_that_is_asked_for_fails(fault: str, number: int, tmp_path: Path) -> None:
    """In a process of its own: an audit hook stays for good."""
    pid = fuzz.forked()
    if pid == 0:
        disk._fail_from(str(tmp_path), 2, fault)
        try:
            (tmp_path / "first").write_text("1")
            (tmp_path / "second").mkdir()
            (tmp_path / "first").write_text("2")
        except OSError as error:
            said = (tmp_path / "first").read_text() == "1" and (tmp_path / "second").exists()
            os._exit(error.errno if said and error.errno is not None else 99)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number


def test_a_soak_that_grows_is_told() -> None:
    flat = [{"bytes": 100 + n % 2, "descriptors": 6} for n in range(40)]
    assert soak.judged(flat)["failures"] == 0
    leaking = [{**one, "descriptors": 6 + n // 8} for n, one in enumerate(flat)]
    assert soak.judged(leaking)["grown"] == ["descriptors"]
    assert soak.judged([{"bytes": 1000 + 3 * n, "descriptors": 6} for n in range(40)])["grown"] == ["bytes"]
