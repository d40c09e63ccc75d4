"""Damage: bytes, trees, tables, pictures and weights that are nearly right. Pure functions of a generator.

Bytes alone rarely get past a parser. So what is a format is taken apart, changed, and put together again: values of
JSON and YAML, cells of tables, chunks of a PNG with their checksums, columns of Parquet and Arrow, the header of
safetensors.
"""

import csv
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

LONGEST = 200_000
"""Bytes of a changed file: more would only take longer."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, -1e308, 1e-320, 0.5, float("nan")),
    *(float("inf"), "", " ", "\0", "\ud800", "\x1b[31m", "[/red]", "a" * 5000, "9" * 5000, "1e999", "NaN", "{}", "[]"),
    *("../../../etc/passwd", "/dev/zero", "data:image/png;base64,AAAA", "http://127.0.0.1:1/x.png", "<image>", "C"),
    *("<answer>7</answer>", "\\boxed{", "\\frac{1}{0}", "7", "5 × 3", "é", "🙂", "ﬀ", "٣", "²", "½", "$$", "\u202e"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": None}, ["7"], [0, 0, 1, 1], "A", "<think>", "1/0", "10**10**10"),
)
"""What readers have stumbled over, here and elsewhere."""
KEYS = (
    "",
    "id",
    "image",
    "images",
    "question",
    "answer",
    "kind",
    "choices",
    "meta",
    "text",
    "name",
    "step",
    "type",
    "0",
)
TOKENS = (
    *(b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\xc2\x85", b"\xe2\x80\xa8", b'"', b"'"),
    *(
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b";",
        b"\t",
        b"&a ",
        b"*a",
        b"!!python/object:os.system",
        b"!!binary ",
    ),
    *(b"<<: ", b"---\n", b"- ", b"? ", b"| \n", b"#", b"%", b"null", b"NaN", b"-Infinity", b"1e999", b"\\ud800"),
    *(b"<answer>", b"</answer>", b"<think>", b"</think>", b"\\boxed{", b"$", b"2001-02-30", b"0x7f", b"1_000", b"~"),
    *(
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"()",
        b"^{",
        b"\\sqrt",
        b"^",
        b"!",
        b"!!!!!!",
        b"**",
        b"\\left",
        b"\\text{",
    ),
)


def changed(rng: random.Random, name: str, content: bytes, others: list[bytes]) -> bytes:
    """A file's content with one to four changes; `others` are files to take pieces from."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        ways = _WAYS.get(name.rpartition(".")[2], ())
        way = rng.choice(ways) if ways and rng.random() < 0.7 else None
        new = None if way is None else way(rng, content)
        content = (new if new is not None else bytes_changed(rng, content, others))[:LONGEST]
    return content


def bytes_changed(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """One change that knows of no format."""
    raw, size = bytearray(content), len(content)
    at = rng.randrange(size + 1)
    end = min(size, at + int(2 ** rng.uniform(0, 10)))
    match rng.randrange(10):
        case 0 if size:
            raw[at % size] ^= 1 << rng.randrange(8)
        case 1 if size:
            raw[at % size] = rng.randrange(256)
        case 2:
            del raw[at:end]
        case 3:
            del raw[at:]
        case 4:
            raw[at:at] = raw[at:end] * rng.choice((1, 1, 2, 50))
        case 5:
            raw[at:end] = bytes(end - at)
        case 6 if size >= 8:
            fmt = rng.choice(("<I", "<Q", ">I", "<i", "<H"))
            number = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFF, size, rng.randrange(2**16)))
            struct.pack_into(fmt, raw, at % (size - 7), number % 2**16 if fmt == "<H" else number)
        case 7:
            piece = rng.choice(others)
            start = rng.randrange(len(piece) + 1)
            raw[at:end] = piece[start : start + int(2 ** rng.uniform(0, 10))]
        case _:
            raw[at : rng.choice((at, end))] = rng.choice(TOKENS) * rng.choice((1, 1, 1, 2, 3, 2000))
    return bytes(raw)


def tree_changed(rng: random.Random, tree: Any) -> Any:
    """One change to a value of JSON: another value somewhere, or a key or an item more, less or renamed."""
    try:
        tree = deepcopy(tree)
    except RecursionError:
        return rng.choice(VALUES)
    places = list(_places(tree, 200))
    if not places:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice((*KEYS, str(key) + "s"))] = holder.pop(key)
        case 2 if isinstance(holder, dict):
            holder[rng.choice(KEYS)] = rng.choice(VALUES)
        case 3:
            inner, inner_key = rng.choice(places)
            holder[key] = deepcopy(inner[inner_key])
        case 4:
            holder[key] = [holder[key]] * rng.choice((1, 2, 30))
        case 5:
            holder[key] = _nested(rng, holder[key])
        case 6 if isinstance(holder[key], str) and holder[key]:
            text = bytes_changed(rng, holder[key].encode("utf-8", "replace"), [b"7"])
            holder[key] = text.decode("utf-8", "replace")
        case _:
            holder[key] = deepcopy(rng.choice(VALUES))
    return tree


def _nested(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 3, 40, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _places(tree: Any, most: int) -> list[tuple[Any, Any]]:
    """Where values stand: their holders with their keys; of a large tree some."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting and len(found) < most:
        holder = waiting.pop(0)
        inner = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in list(inner)[:50]:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _json(rng: random.Random, content: bytes) -> bytes | None:
    tree = _parsed(content)
    return None if tree is None else _dumped(tree_changed(rng, tree))


def _dumped(tree: Any) -> bytes:
    try:
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return b"[" * 2000


def _lines(rng: random.Random, content: bytes) -> bytes | None:
    """JSON Lines: a line changed, doubled, dropped, or moved."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines.insert(at, lines[rng.randrange(len(lines))])
        case 1:
            del lines[at]
        case 2:
            rng.shuffle(lines)
        case _:
            new = _json(rng, lines[at])
            if new is None:
                return None
            lines[at] = new
    return b"\n".join(lines)


def _table(separator: str) -> Callable[[random.Random, bytes], bytes | None]:
    def of(rng: random.Random, content: bytes) -> bytes | None:
        try:
            rows = list(csv.reader(io.StringIO(content.decode()), delimiter=separator))
        except (csv.Error, UnicodeDecodeError):
            return None
        if not rows or not all(rows):
            return None
        row = rng.choice(rows)
        at = rng.randrange(len(row))
        match rng.randrange(4):
            case 0:
                del row[at]
            case 1:
                row.insert(at, str(rng.choice(VALUES)))
            case 2:
                row[at] = rng.choice(rng.choice(rows) or [""])
            case _:
                row[at] = str(rng.choice(VALUES))
        out = io.StringIO()
        csv.writer(out, delimiter=separator, lineterminator="\n").writerows(rows)
        return out.getvalue().encode("utf-8", "replace")

    return of


_TYPES = (pa.string(), pa.large_string(), pa.binary(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.date32())
_TYPES += (
    pa.timestamp("ns"),
    pa.duration("s"),
    pa.list_(pa.int64()),
    pa.dictionary(pa.int32(), pa.string()),
    pa.null(),
)


def _columns_changed(rng: random.Random, table: pa.Table) -> pa.Table:
    """A column of another type and other values, or one more, less or renamed."""
    at = rng.randrange(max(1, table.num_columns))
    if table.num_columns and rng.random() < 0.2:
        return table.remove_column(at)
    if table.num_columns and rng.random() < 0.2:
        names = list(table.column_names)
        names[at] = rng.choice((*KEYS, *names))
        return table.rename_columns(names)
    kind = rng.choice(_TYPES)
    values = [rng.choice((None, 0, -1, 2**40, "7", b"\xff", 0.1, [1], True, "\x00")) for _ in range(table.num_rows)]
    try:
        column = pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        column = pa.array([rng.choice((None, None, 2**62 if kind == pa.int64() else None)) for _ in values], kind)
    name = rng.choice((*KEYS, *table.column_names))
    return table.set_column(at, name, column) if table.num_columns else table.append_column(name, column)


def _parquet(rng: random.Random, content: bytes) -> bytes | None:
    try:
        table = pa.parquet.read_table(io.BytesIO(content))
        out = io.BytesIO()
        pa.parquet.write_table(_columns_changed(rng, table), out, store_schema=rng.random() < 0.8)
    except Exception:  # what was damaged before can fail in any way, and is damaged as bytes then
        return None
    return out.getvalue()


def _arrow(rng: random.Random, content: bytes) -> bytes | None:
    try:
        table = _columns_changed(rng, pa.ipc.open_stream(content).read_all())
        out = io.BytesIO()
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    except Exception:  # as above
        return None
    return out.getvalue()


def _png(rng: random.Random, content: bytes) -> bytes | None:
    """A chunk with another content and the checksum of that; or one more, less or moved."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return None
    which = rng.randrange(len(chunks))
    kind, data = chunks[which]
    match rng.randrange(4):
        case 0:
            del chunks[which]
        case 1:
            chunks.insert(rng.randrange(len(chunks)), chunks[which])
        case 2:
            extra = rng.choice((b"zTXt", b"iTXt", b"tRNS", b"PLTE", b"eXIf", b"acTL", b"fcTL", b"gAMA", b"iCCP"))
            chunks.insert(which, (extra, rng.randbytes(rng.randrange(40))))
        case _:
            chunks[which] = (kind, bytes_changed(rng, data, [data]))
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(parts)


def _safetensors(rng: random.Random, content: bytes) -> bytes | None:
    """Another header, of the length that is said, before the same tensors."""
    if len(content) < 8:
        return None
    size = int.from_bytes(content[:8], "little")
    header = _json(rng, content[8 : 8 + size])
    return None if header is None else len(header).to_bytes(8, "little") + header + content[8 + size :]


_WAYS: dict[str, tuple[Callable[[random.Random, bytes], bytes | None], ...]] = {
    "json": (_json,),
    "jsonl": (_lines,),
    "yaml": (_json,),  # JSON is YAML; the bytes know of its signs
    "csv": (_table(","),),
    "tsv": (_table("\t"),),
    "parquet": (_parquet,),
    "arrow": (_arrow,),
    "png": (_png,),
    "safetensors": (_safetensors,),
}
