"""Files and folders that appear whole, or not at all."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firsthand.files import append, did_you_mean, replacing, write_atomically


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Every write beyond so many bytes of a file fails, as on a full disk: the beginning is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("content", ["neu und länger als vorher", b"\x00\xff" * 40])
def test_a_write_that_fails_halfway_leaves_the_old_content(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, "old content")
    with files_of_at_most(10), pytest.raises(OSError, match="File too large"):
        write_atomically(path, content)
    assert path.read_text() == "old content"
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_with_all_that_is_in_it_and_what_a_kill_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / ".judged.tmp").mkdir()
    (tmp_path / ".judged.tmp" / "torn.jsonl").touch()
    with replacing(tmp_path / "judged") as draft:
        draft.mkdir()
        (draft / "marks.jsonl").write_text("1")
        assert not (tmp_path / "judged").exists()
        (draft / "units.jsonl").write_text("2")
    assert sorted(path.name for path in (tmp_path / "judged").iterdir()) == ["marks.jsonl", "units.jsonl"]
    assert list(tmp_path.iterdir()) == [tmp_path / "judged"]


def test_an_error_in_the_middle_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("old")
    with pytest.raises(ValueError, match="half"), replacing(path) as draft:
        draft.write_text("ne")
        raise ValueError("half a table")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def on_the_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed from now on, in that order, by name; all of it happens."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        done.append(f"{path.name} -> {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return done


def test_content_is_on_the_disk_before_its_name_is_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that comes to the disk first would lead to nothing, or to zeros, after a loss of power."""
    done = on_the_disk(monkeypatch)
    write_atomically(tmp_path / "DONE", "")
    assert done == [".DONE.tmp", ".DONE.tmp -> DONE", tmp_path.name]
    done.clear()
    with replacing(tmp_path / "model") as draft:
        (draft / "adapter").mkdir(parents=True)
        (draft / "model.safetensors").write_text("weights")
        (draft / "adapter" / "adapter_config.json").write_text("{}")
    *content, renamed, last = done
    assert set(content) == {"model.safetensors", "adapter_config.json", "adapter", ".model.tmp"}
    assert (renamed, last) == (".model.tmp -> model", tmp_path.name)


def test_lines_of_a_journal_are_on_the_disk_and_in_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = on_the_disk(monkeypatch)
    append(tmp_path / "metrics.jsonl", "5 × 3\n")
    append(tmp_path / "metrics.jsonl", "15\n")
    assert done == ["metrics.jsonl", tmp_path.name, "metrics.jsonl"]
    assert (tmp_path / "metrics.jsonl").read_bytes() == "5 × 3\n15\n".encode()


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("sft", "did you mean FOLDER/sft-s0-1a or FOLDER/sft-s1-2b?"),
        ("grop-s0-3c", "did you mean FOLDER/grpo-s0-3c?"),
        ("grpo-s0-3c", None),
        ("wholly else", None),
        ("nowhere/sft", None),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_what_begins_so_or_is_alike(
    tmp_path: Path, asked: str, meant: str | None
) -> None:
    for name in ("sft-s0-1a", "sft-s1-2b", "grpo-s0-3c"):
        (tmp_path / name).mkdir()
    assert did_you_mean(tmp_path / asked) == (meant and meant.replace("FOLDER", str(tmp_path)))
