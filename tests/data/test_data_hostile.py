"""Rows that somebody wrote to do harm: each is refused or made harmless, with its reason, and costs only itself."""

import io
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from userdata import animation, deep, encoded, fill, nested, noise, promising, row, write_lines, write_parquet

from firsthand.data import (
    REASONS,
    PictureLimits,
    Refused,
    Source,
    jsonl,
    load_examples,
    parquet,
    stream_rows,
    write_examples,
)
from firsthand.data.text import check_cells
from firsthand.errors import DataError
from firsthand.records import Example

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a source, and beside it what it must not reach."""
    inside = tmp_path / "source"
    inside.mkdir()
    fill(inside)
    (tmp_path / "secret.png").write_bytes(encoded(colour="black"))
    return inside


def streamed(path: Path | str, limits: PictureLimits | None = None, **options: Any) -> list[Example | Refused]:
    return list(stream_rows(Source(path=str(path), **options), limits))


def reasons(path: Path | str, **options: Any) -> list[str]:
    return [found.reason if isinstance(found, Refused) else "ok" for found in streamed(path, **options)]


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "../../../../../../../../etc/passwd",
        "a folder/../../secret.png",
        "/etc/passwd",
        "/dev/zero",
        "/proc/self/environ",
        "link.png",
        "folder_link/secret.png",
        "link_to_link.png",
        "../source_2/red.png",
        "..",
    ],
)
def test_no_path_leads_out_of_the_folder_of_pictures(folder: Path, path: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "link_to_link.png").symlink_to("link.png")
    (folder / "folder_link").symlink_to(folder.parent)
    (folder.parent / "source_2").mkdir()
    (folder.parent / "source_2" / "red.png").write_bytes(encoded())
    [bad] = streamed(write_lines(folder, row(image=path)))
    assert isinstance(bad, Refused)
    assert (bad.reason, "leads out of the folder of pictures" in bad.detail) == ("image_outside_root", True)


def test_it_is_not_told_whether_a_file_outside_exists(folder: Path) -> None:
    spec = write_lines(folder, row(image="../secret.png"), row(image="../nobody.png"))
    there, not_there = (f.detail for f in streamed(spec) if isinstance(f, Refused))
    assert there.replace("secret", "X") == not_there.replace("nobody", "X")


def test_paths_and_links_that_stay_inside_are_taken(folder: Path) -> None:
    (folder / "inner.png").symlink_to("red.png")
    (folder.parent / "way_in").symlink_to(folder)
    spec = write_lines(
        folder, row(image="a folder/../red.png"), row(image=str(folder / "red.png")), row(image="inner.png")
    )
    assert reasons(spec) == ["ok"] * 3
    assert reasons(folder.parent / "way_in" / "data.jsonl") == ["ok"] * 3


def test_the_root_can_be_another_folder(folder: Path) -> None:
    (folder / "data").mkdir()
    spec = write_lines(folder / "data", row(), row(image="data/../red.png"), row(image="../secret.png"))
    assert reasons(spec, images=str(folder)) == ["ok", "ok", "image_outside_root"]
    assert reasons(spec) == ["image_missing", "image_missing", "image_outside_root"]


def test_a_user_s_own_data_may_name_any_path(folder: Path) -> None:
    spec = write_lines(
        folder, row(image="../secret.png"), row(image=str(folder.parent / "secret.png"), question="And?")
    )
    assert len(load_examples(spec)) == 2


@pytest.mark.parametrize("load", [load_examples, streamed])
def test_pipes_devices_and_loops_do_not_hang(folder: Path, load: Callable[[str], Any]) -> None:
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to("loop.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        server.bind("socket.png")
        os.chdir(here)
        names = (
            "a/" * 10_000_000,
            "pipe.png",
            "zero.png",
            "loop.png",
            "socket.png",
            "a folder",
            "a\0b.png",
            "red.png/x",
            "x" * 5000,
        )
        for name in names:
            spec = write_lines(folder, row(image=name))
            if load is load_examples:
                with pytest.raises(DataError, match="column `image`: expected "):
                    load(spec)
            else:
                assert load(spec)[0].reason in ("image_missing", "image_outside_root"), name


def test_addresses_are_never_fetched(folder: Path) -> None:
    paths = ("http://127.0.0.1/a.png", "ftp://x/y.png", "file://http://127.0.0.1/a.png", "file:///etc/passwd")
    said = reasons(write_lines(folder, *(row(image=path) for path in paths)))
    assert said == ["bad_image"] * 3 + ["image_outside_root"]


# Pictures


def text_bomb() -> bytes:
    """A PNG whose compressed comment unfolds to 200 MB."""
    chunk = b"zTXtcomment\0\0" + zlib.compress(b"a" * 200_000_000, 9)
    bomb = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    picture = encoded()
    return picture[:33] + bomb + picture[33:]


def frames(count: int) -> bytes:
    """A GIF of very many frames, each as small as can be: counting them would take long."""
    head = animation()[:13] + b""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 4, 4, 0x80) + b"\0\0\0\xff\xff\xff" + b"\x02\x02\x84\x51\x00"
    return head[:10] + b"\0\0\0" + frame * count + b"\x3b"


PICTURES: list[tuple[str, Callable[[], bytes], str]] = [
    ("an SVG", lambda: SVG, "bad_image"),
    ("an SVG behind a byte order mark", lambda: b"\xef\xbb\xbf" + SVG, "bad_image"),
    ("a web page", lambda: b"<!DOCTYPE html><html><body>404</body></html>", "bad_image"),
    ("a web page that begins like a GIF", lambda: b"GIF89a<html><script>alert(1)</script>", "bad_image"),
    ("a script that begins like a PNG", lambda: encoded()[:8] + b"#!/bin/sh\n", "bad_image"),
    ("PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bad_image"),
    ("a TIFF", lambda: encoded(fmt="TIFF"), "bad_image"),
    ("an icon", lambda: encoded((16, 16), fmt="ICO"), "bad_image"),
    ("a PDF", lambda: encoded(fmt="PDF"), "bad_image"),
    ("nothing", lambda: b"", "bad_image"),
    ("half a photo", lambda: noise()[:-300], "bad_image"),
    ("a picture with a bomb in its comment", text_bomb, "bad_image"),
    ("144 million pixels", lambda: promising(12_000, 12_000), "image_too_large"),
    ("3.6 billion pixels", lambda: promising(60_000, 60_000), "image_too_large"),
    ("a line of 2 billion pixels", lambda: promising(2**31 - 1, 1), "image_too_large"),
    ("one pixel", lambda: encoded((1, 1)), "image_too_small"),
    ("three lines", lambda: encoded((400, 3)), "image_too_small"),
    ("16 bits per channel", deep, "image_not_8_bit"),
    ("an animated GIF", animation, "image_moves"),
    ("an animated WebP", lambda: moving("WEBP"), "image_moves"),
    ("an animated PNG", lambda: moving("PNG"), "image_moves"),
    ("a million frames", lambda: frames(1_000_000), "image_moves"),
    ("colours for print", lambda: print_colours(), "ok"),
    ("a photo on its side", lambda: on_its_side(), "ok"),
    ("a picture with a page behind it", lambda: encoded() + SVG, "ok"),
    ("four pixels", lambda: encoded((4, 4)), "ok"),
]


def moving(fmt: str) -> bytes:
    buffer = io.BytesIO()
    several = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    several[0].save(buffer, fmt, save_all=True, append_images=several[1:])
    return buffer.getvalue()


def print_colours() -> bytes:
    buffer = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def on_its_side() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return encoded((9, 5), "JPEG", exif=exif)


@pytest.mark.parametrize(("make", "reason"), [p[1:] for p in PICTURES], ids=[p[0] for p in PICTURES])
def test_a_picture_is_refused_for_its_reason_or_opens(folder: Path, make: Callable[[], bytes], reason: str) -> None:
    data = make()
    (folder / "it.png").write_bytes(data)
    write_parquet(folder / "it.parquet", [row(image=data)])
    for spec in (write_lines(folder, row(image="it.png")), folder / "it.parquet"):
        [found] = streamed(spec)
        assert (found.reason if isinstance(found, Refused) else "ok") == reason
        if isinstance(found, Example):
            [picture] = found.images
            assert (picture.open().size, picture.open().mode) == ((picture.width, picture.height), "RGB")
        else:
            with pytest.raises(DataError):
                load_examples(str(spec))


def test_a_file_too_large_is_refused_by_its_size(folder: Path) -> None:
    os.truncate(folder / "photo.jpg", 2**40)
    assert reasons(write_lines(folder, row(image="photo.jpg"))) == ["image_too_large"]


# Text


@pytest.mark.parametrize("column", ["question", "answer", "trace", "system", "family", "note", "kind"])
@pytest.mark.parametrize("sign", ["\0", "\x08", "\x0c", "\x1b[31m", "\x7f", "\x9b", "\ud800"])
def test_control_characters_are_refused_wherever_they_stand(folder: Path, column: str, sign: str) -> None:
    cells = {**row(image=None), "kind": "open", column: f"a{sign}b"}
    assert reasons(write_lines(folder, cells)) == ["bad_text"]


def test_they_are_found_inside_of_objects_names_and_text_that_holds_some(folder: Path) -> None:
    rows = [row(meta={"a": ["\0"]}), row(meta={"\0": 1}), row(**{"\x1b": 1}), row(meta=r"{'a': '\x00'}")]
    assert reasons(write_lines(folder, *rows), side="meta.a") == ["bad_text", "bad_text", "bad_text", "bad_text"]


def test_lines_tabs_and_scripts_of_the_world_are_text(folder: Path) -> None:
    text = "a\tb\r\nc\x85 é 数 🙂 \u200b \u202e"
    [example] = streamed(write_lines(folder, row(question=text)))
    assert isinstance(example, Example) and example.question == text


@pytest.mark.parametrize("column", ["question", "answer", "trace", "note"])
def test_huge_text_is_refused(folder: Path, column: str) -> None:
    spec = write_lines(folder, {**row(image=None), "kind": "open", column: "x" * 200_001})
    assert reasons(spec) == ["text_too_large"]
    assert reasons(write_lines(folder, {**row(image=None), "kind": "open", column: "x" * 200_000})) == ["ok"]


@pytest.mark.parametrize(
    "value", [["x" * 1000] * 201, [0] * 200_001, {str(i): "" for i in range(100_001)}, nested(500)]
)
def test_many_small_parts_are_one_huge_cell(folder: Path, value: Any) -> None:
    assert reasons(write_lines(folder, {**row(), "note": value})) == ["text_too_large"]
    with pytest.raises(DataError, match="column `note`: expected at most "):
        load_examples(write_lines(folder, {**row(), "note": value}))


N = 199_000
SLOW = [
    "a" + " " * N + "b",
    "\\boxed{" * (N // 7),
    "\\boxed{" * (N // 14) + "}" * (N // 14),
    "<answer>" * (N // 8),
    "<think>" + "<answer>" * (N // 8) + "</answer>",
    "<CONCLUSION>" * (N // 12) + "</CONCLUSION>x",
    "answer " * (N // 7),
    "[" * N,
    "{'" + "\\'" * 24_000,
    "[0" + " " * 49_000 + "x",
    "$" * N,
    "A) " * (N // 3),
    "<image>" * (N // 7),
    "y = 1, " * (N // 7),
    "\\text{" * (N // 6),
    "1" * N,
]


@pytest.mark.parametrize("text", SLOW, ids=[text[:12] for text in SLOW])
def test_no_text_takes_long(folder: Path, text: str) -> None:
    shapes: list[dict[str, Any]] = [
        {"question": text, "answer": "B", "choices": ["a", "b"]},
        *({"question": "Q?", "answer": text, "kind": kind} for kind in ("digit", "choice", "math", "box", "open")),
        {"question": "Q?", "answer": text},
        {"question": "Q?", "answer": "3", "trace": text},
        *({"question": "Q?", "gt": text, "verifier_type": kind} for kind in ("digit", "mcq", "math", "iou")),
        {"question": "Q?", "gt": "3", "ds_answer": text, "meta": text, "image": text},
        {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": text}]},
        {"prompt": text, "solution": text},
        {"problem": text, "solution": text, "image_1": "red.png"},
        {"instruction": text, "input": text, "output": text},
        {"messages": [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": text}], "gt": text},
        {"question": "Q?", "answer": 3, "image": text},
        {"question": "Q?", "answer": "A", "option_a": text, "option_b": "b"},
    ]
    before = time.process_time()
    assert len(streamed(write_lines(folder, *shapes), normalise=True, side="{meta.a}")) == len(shapes)
    assert time.process_time() - before < 5  # what takes the square of the length takes minutes


def test_very_many_parts_of_a_message_take_no_long_time(folder: Path) -> None:
    parts = [{"type": "text", "text": "a"}] * 15_000
    before = time.process_time()
    for count, said in ((15_000, "text_too_large"), (14_000, "ok")):
        asked = [{"role": "user", "content": parts[:count]}]
        assert reasons(write_lines(folder, {"messages": asked, "answer": 3})) == [said]
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"meta": "{'a': '\\x00'}", "image": "red.png"}, "bad_text"),  # an escape in a text that holds an object
        ({"image": "\x1b/red.png"}, "bad_text"),  # a folder that would become the row's family
    ],
    ids=["meta", "family"],
)
def test_what_is_found_inside_a_cell_is_checked_like_a_cell(folder: Path, cells: dict[str, Any], reason: str) -> None:
    (folder / "\x1b").mkdir()
    shutil.copy(folder / "red.png", folder / "\x1b" / "red.png")
    vlaa = {"question": "How many?", "gt": "3", "verifier_type": "digit"}
    assert reasons(write_lines(folder, {**vlaa, **cells})) == [reason]


def test_numbers_and_lists_that_python_cannot_take_are_refused(folder: Path) -> None:
    cells = [row(answer="[" * 100_000, kind="box"), row(answer=10**400), row(answer="1" * 5000, kind="box")]
    huge = json.dumps(row()).replace('"3"', "1" * 5000)
    assert reasons(write_lines(folder, *cells, huge)) == ["bad_answer", "bad_answer", "bad_answer", "bad_row"]


def test_text_in_parquet_that_is_no_utf_8_costs_one_row(folder: Path) -> None:
    texts = pa.array([b"One?", b"\xff\xfe?", b"Two?"]).cast(pa.string(), safe=False)
    pa.parquet.write_table(pa.table({"question": texts, "answer": [1, 2, 3]}), folder / "t.parquet")
    assert reasons(folder / "t.parquet") == ["ok", "bad_row", "ok"]
    with pytest.raises(DataError, match=r"t.parquet row 2, expected text in UTF-8"):
        load_examples(str(folder / "t.parquet"))


MUTATE = """
import random, sys
from pathlib import Path
from firsthand.data import parquet
from firsthand.errors import DataError
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
for seed in range(int(sys.argv[3])):
    chance, content = random.Random(seed), bytearray(whole)
    for _ in range(chance.choice((1, 2, 4, 16))):
        at = chance.randrange(len(content))
        other = chance.randbytes(4), b"\\xff" * 4, b"\\x7f\\x00\\x00\\x02", content[at : at + 2]
        content[at : at + 4] = chance.choice(other)
    path.write_bytes(content)
    try:
        for row in parquet.rows(path):
            repr(row)
    except DataError:
        pass
"""


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_a_damaged_table_ends_in_an_error_and_not_in_the_process(kind: str, tmp_path: Path) -> None:
    """Offsets that lead beyond a column, and lengths beyond the file, have ended Python itself."""
    pictures = [{"bytes": bytes(range(60)), "path": None}] * 40
    options = [["a", "b", str(i)] for i in range(40)]
    columns = {"question": [f"How many {i}?" for i in range(40)], "image": pictures, "choices": options}
    table = pa.table(columns).append_column("label", pa.array(["x", "y"] * 20).dictionary_encode())
    whole = tmp_path / f"whole.{kind}"
    if kind == "arrow":
        with pa.OSFile(str(whole), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=16)
    else:
        pa.parquet.write_table(table, whole, row_group_size=16)
    command = [sys.executable, "-c", MUTATE, str(whole), str(tmp_path / f"changed.{kind}"), "400"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


SEGFAULT = """
import os, signal
def before_fork(): pass
def prepare(_): pass
def answer(request): os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_a_table_that_ends_the_process_which_reads_it_is_one_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a flaw of Arrow's own would; the next file is read again."""
    write_parquet(tmp_path / "good.parquet", [row(image=None)])
    (tmp_path / "crash.py").write_text(SEGFAULT)
    with monkeypatch.context() as patched:
        patched.setattr(parquet, "_TASK", str(tmp_path / "crash.py"))
        with pytest.raises(DataError, match=r"t\..*: expected a readable .*ends the process that reads it .* -11"):
            list(parquet.rows(tmp_path / f"t.{kind}"))
    assert reasons(tmp_path / "good.parquet") == ["ok"]


READ_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from firsthand.data import parquet
from firsthand.errors import DataError
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
try:
    print(len(list(parquet.rows(Path(sys.argv[1])))))
except DataError as error:
    print(error)
"""


def test_a_table_of_a_few_bytes_that_means_billions_of_values_is_an_error(tmp_path: Path) -> None:
    """Lists of nothing take no bytes, and 2 GB as objects."""
    path = tmp_path / "t.arrow"
    many = pa.ListArray.from_arrays(pa.array([0, 2**28], pa.int32()), pa.nulls(2**28))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema({"answer": many.type})) as stream:
        stream.write_batch(pa.record_batch({"answer": many}))
    assert path.stat().st_size < 1000
    command = [sys.executable, "-c", READ_IN_LITTLE_MEMORY, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "t.arrow: expected a readable Arrow stream file, got: 268,435,457 values in 1 rows" in ended.stdout


def test_a_table_is_read_under_a_limit_of_the_machine_s_own(tmp_path: Path) -> None:
    """`ulimit -v`: nobody may raise it again, and a worker that wants to is no reason to refuse the file."""
    write_parquet(tmp_path / "t.parquet", [row(image=None)])
    limited = READ_IN_LITTLE_MEMORY.replace("RLIMIT_DATA, (2**30, 2**30)", "RLIMIT_AS, (2**32, 2**32)")
    command = [sys.executable, "-c", limited, str(tmp_path / "t.parquet")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "1"), ended.stderr


def test_tables_that_are_read_by_turns_are_validated_to_their_ends(tmp_path: Path) -> None:
    """One worker serves them all, and keeps few of them open."""
    paths = [tmp_path / f"{i}.parquet" for i in range(10)]
    for path in paths:
        write_parquet(path, [row(image=None, question=f"{path.name} {i}?") for i in range(100)])
    found = [[cells["question"] for *_, cells, _, _ in turn] for turn in zip(*map(parquet.rows, paths), strict=True)]
    assert found == [[f"{path.name} {i}?" for path in paths] for i in range(100)]


def test_an_offset_beyond_its_column_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, pa.schema({"answer": pa.string()})) as stream:
        stream.write_batch(pa.record_batch({"answer": ["seven", "eight"]}))
    right, wrong = struct.pack("<3i", 0, 5, 10), struct.pack("<3i", 0, 2**25, 2**25 + 5)
    assert path.read_bytes().count(right) == 1
    path.write_bytes(path.read_bytes().replace(right, wrong))
    with pytest.raises(DataError, match=r"t.arrow: expected a readable Arrow stream file, got: .* out of bounds"):
        list(parquet.rows(path))


def test_a_line_without_an_end_costs_one_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 1000)
    spec = write_lines(folder, row(), json.dumps(row(question="x" * 5000)), row(question="And?"), "x" * 5000)
    assert reasons(spec) == ["ok", "text_too_large", "ok", "text_too_large"]


def test_a_refusal_shows_little_and_no_control_characters(folder: Path) -> None:
    columns = {f"c{i}": "y" * 10_000 for i in range(100)}
    named = row(**{"c" * 10_000: nested(40)})
    for bad in (row(question="\x1b[2J" + "x" * 10_000, **columns), row(**{"\x1b" * 500: 1}), "\x1b" * 500, named):
        [refused] = streamed(write_lines(folder, bad))
        assert isinstance(refused, Refused)
        told = refused.model_dump_json()
        assert len(told) < 3000 and "\x1b" not in refused.detail + "".join([*refused.cells, *refused.cells.values()])


def test_our_own_parquet_is_not_trusted_either(folder: Path) -> None:
    [good] = load_examples(write_lines(folder, row()))
    write_examples([good.model_copy(update={"question": "a\0b"})], folder / "own.parquet")
    assert reasons(folder / "own.parquet") == ["bad_text"]


_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8)
_anything = st.recursive(_leaf, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=4), s, max_size=3))
_inputs = ("question", "answer", "image", "images", "kind", "choices", "options", "id", "family", "meta", "x")
_columns = (*_inputs, "prompt", "conversations", "gt", "ds_answer")
_turns = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "3"}]
_good: list[dict[str, Any]] = [
    {},
    {"question": "Q?", "answer": 3},
    {"question": "Q?", "answer": "B", "choices": ["a", "b"]},
    {"question": "Q?", "gt": 3, "verifier_type": "digit", "meta": "{'a': 1}"},
    {"question": "Q?", "gt": "C", "ds_answer": "<think>a</think><answer>C</answer>", "family": "geoqa170k"},
    {"conversations": _turns},
    {"prompt": [{"role": "user", "content": "Q?"}], "answer": 3},
]
_changes = st.dictionaries(st.sampled_from(_columns), _anything, max_size=3)
_rows = st.builds(lambda good, changes: {**good, **changes}, st.sampled_from(_good), _changes)


@settings(max_examples=300, deadline=None)
@given(st.lists(_rows, min_size=1, max_size=6))
def test_whatever_a_row_holds_it_is_an_example_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, cells: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    found = streamed(write_lines(folder, *cells), fields={"trace": "meta.a.0"}, side="{meta.a} {gt}")
    assert len(found) == len(cells)
    for one in found:
        if isinstance(one, Example):
            one.model_dump_json()
        else:
            assert one.reason in REASONS
            one.model_dump_json()


def test_cells_are_walked_without_recursion() -> None:
    with pytest.raises(Exception, match="at most 32 levels"):
        check_cells({"a": nested(100_000)})


def test_memory_stays_where_it_was_while_bombs_go_by(folder: Path) -> None:
    (folder / "text.png").write_bytes(text_bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    streamed(write_lines(folder, *(row(image=name) for name in ("text.png", "bomb.png", "huge.png"))))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
