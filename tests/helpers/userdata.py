"""A user's folder as users have them: good and bad pictures, good and bad rows, and what each bad one is answered with.

A table entry is (column, expected, remedy, [(row, got), ...]): rows that share a complaint stand together. ANY stands
for words of Pillow, Python or the system; FOLDER for the folder.
"""

import base64
import io
import json
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from PIL import Image

Table = list[tuple[str | None, str, str, list[tuple[Any, str]]]]


def encoded(size: tuple[int, int] = (6, 4), fmt: str = "PNG", colour: str = "red", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, fmt, **options)
    return buffer.getvalue()


def noise(size: tuple[int, int] = (64, 64), fmt: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, random.Random(0).randbytes(3 * size[0] * size[1])).save(buffer, fmt)
    return buffer.getvalue()


def animation() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "green")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(fmt="JPEG", exif=exif)


def deep() -> bytes:
    buffer = io.BytesIO()
    Image.new("I;16", (4, 4), 30_000).save(buffer, "PNG")
    return buffer.getvalue()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def promising(width: int, height: int) -> bytes:
    """A tiny PNG whose header promises a size that its data does not have; decoding it would fail, or worse."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    picture = encoded()
    return picture[:12] + header + struct.pack(">I", zlib.crc32(header)) + picture[33:]


def row(**cells: Any) -> dict[str, Any]:
    """A good row, with changes; a value of None leaves the column out."""
    good = {"question": "How many?", "answer": "3", "kind": "digit", "image": "red.png", **cells}
    return {column: value for column, value in good.items() if value is not None}


def write_lines(folder: Path, *rows: Any) -> str:
    path = folder / "data.jsonl"
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows), encoding="utf-8")
    return str(path)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def fill(folder: Path) -> None:
    """Put the pictures that the rows below name into a folder."""
    (folder / "red.png").write_bytes(encoded())
    (folder / "blue.png").write_bytes(encoded((5, 5), colour="blue"))
    (folder / "photo.jpg").write_bytes(noise())
    (folder / "half.jpg").write_bytes(noise()[:-300])
    (folder / "half.png").write_bytes(noise(fmt="PNG")[:-300])
    (folder / "empty.png").write_bytes(b"")
    for name, content in FOREIGN.items():
        (folder / name).write_bytes(content)
    (folder / "bomb.png").write_bytes(promising(12_000, 12_000))
    (folder / "huge.png").write_bytes(promising(60_000, 60_000))
    (folder / "moving.gif").write_bytes(animation())
    (folder / "turned.jpg").write_bytes(turned())
    (folder / "deep.png").write_bytes(deep())
    (folder / "dot.png").write_bytes(encoded((1, 1)))
    (folder / "line.png").write_bytes(encoded((90, 3)))
    os.mkfifo(folder / "pipe.png")
    (folder / "a folder").mkdir()


def messages(table: Table) -> list[tuple[Any, str]]:
    """(row, the whole complaint about it) for every row of a table."""
    return [
        (bad, f"{f'column `{column}`: ' if column else ''}expected {expected}, got {got}; {remedy}")
        for column, expected, remedy, rows in table
        for bad, got in rows
    ]


def base64_of(text: str) -> dict[str, Any]:
    return row(image=f"data:image/png{text}")


FOREIGN = {
    "page.jpg": b"\n<!DOCTYPE html>\n<html><title>404 Not Found</title></html>",
    "login.png": b"<html>Sign in</html>",
    "denied.png": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "limit.png": b'{"error": "rate limit"}',
    "said.png": b"Not found",
    "drawn.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "print.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "paper.png": b"%PDF-1.7\n",
    "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "phone.jpg": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "web.png": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "clip.jpg": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2",
    "scan.png": b"II*\0\x08\0\0\0",
    "all.jpg": b"PK\3\4\x14\0",
    "zeros.jpg": bytes(5000),
    "lines.png": b"\x89PNG\n\x1a\n\0\0\0\rIHDR",
    "text.png": "\x89PNG\r\n\x1a\n".encode(),
    "lossy.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF".decode("utf-8", "replace").encode(),
    "base64.png": base64.b64encode(encoded()),
    "odd.png": b"\x07\x93\xfe\x80 ...",
}
"""Files that are called pictures and are none that is read."""
PATH = "the path of an image file"
START = "correct it: paths start from the folder of the data file"
FORMAT = "a PNG, JPEG, WEBP, BMP or GIF image"
HOLDS = "fill it in, or say which column holds it: fields: {ANY: ...}"
KINDS = "one of digit, choice, letters, math, box, text, open"
BEYOND_DOUBT = "an answer whose kind is beyond doubt, or a `kind`"
BLOCK = "one <answer>...</answer> block, at the end"
NO_TAGS = "leave the tags out, and the gold answer is added as the last block"
NOWHERE = "which does not exist in FOLDER"

PICTURES: Table = [
    (
        "image",
        PATH,
        START,
        [(row(image="no.png"), f"'no.png', {NOWHERE}"), (row(image="../no.png"), f"'../no.png', {NOWHERE}")],
    ),
    ("image", PATH, "name the picture in it", [(row(image="a folder"), "'a folder', which is a folder")]),
    (
        "image",
        PATH,
        "correct it, or give a path that starts from the folder of the data file",
        [(row(image="/no/such.png"), "'/no/such.png', which does not exist")],
    ),
    (
        "image",
        PATH,
        "write the whole path: ~ is not read here",
        [(row(image="~/no.png"), f"'~/no.png', {NOWHERE}")],
    ),
    (
        "image",
        PATH,
        "write a path of this machine, with / between folders",
        [
            (row(image="C:\\photos\\no.png"), f"'C:\\\\photos\\\\no.png', {NOWHERE}"),
            (row(image="D:/no.png"), f"'D:/no.png', {NOWHERE}"),
        ],
    ),
    ("image", PATH, "download it first and give its path", [(row(image="http://a.org/b.png"), "'http://a.org/b.png'")]),
    (
        "image",
        PATH,
        "give a path, a data: URI, the file's bytes, or {bytes, path}",
        [(row(image="x" * 5000), "'xANYx...xANYx', which is 5,000 characters long, and no picture as base64")],
    ),
    (
        "image",
        "a readable image file",
        "check path and rights",
        [(row(image="x" * 500), "'xANYx...xANYx', which cannot be read (File name too long)")],
    ),
    ("image", "an image", "fetch or export it again", [(row(image="empty.png"), "'empty.png', which is empty")]),
    *(
        ("image", FORMAT, remedy, [(row(image=name), f"{name!r}, which is {what}") for name, what in files.items()])
        for remedy, files in (
            (
                "the download failed, or wants a login: open its address in a browser, and fetch the picture itself",
                {
                    "page.jpg": "an HTML page, not a picture",
                    "login.png": "an HTML page, not a picture",
                    "denied.png": "an XML text, such as a server's error message, not a picture",
                    "limit.png": "a JSON text, such as a server's error message, not a picture",
                    "said.png": "text ('Not found'), not a picture",
                },
            ),
            ("draw it into a PNG", {"drawn.png": "an SVG drawing", "print.eps": "a PostScript drawing"}),
            ("draw the page that you mean into a PNG", {"paper.png": "a PDF"}),
            ("fetch the pictures with `git lfs pull`", {"lfs.png": "a pointer of Git LFS, not the picture"}),
            (
                "convert it to PNG or JPEG",
                {"phone.jpg": "an HEIC photo", "web.png": "an AVIF", "scan.png": "a TIFF, or a camera's raw file"},
            ),
            ("export the frame that you mean", {"clip.jpg": "a video"}),
            ("unpack it", {"all.jpg": "a ZIP archive"}),
            ("fetch it again", {"zeros.jpg": "nothing but zeros, as a download leaves it that was cut off"}),
            ("fetch it again, as a binary file", {"lines.png": "a PNG whose line ends were changed on the way"}),
            ("write its bytes as they are, in mode 'wb'", {"text.png": "a PNG that was written as text"}),
            (
                "fetch it again, as bytes",
                {"lossy.jpg": "a picture that was read as text, which has lost its bytes"},
            ),
            (
                "write the bytes that it stands for, e.g. with base64.b64decode",
                {"base64.png": "base64 text"},
            ),
            (
                "look what it is, and convert it to PNG or JPEG",
                {"odd.png": "none of these (it starts with b'\\x07\\x93\\xfe\\x80 ...')"},
            ),
        )
    ),
    (
        "image",
        "a complete image",
        "fetch or export it again",
        [
            (row(image="half.jpg"), "'half.jpg', which does not decode (ANY)"),
            (row(image="half.png"), "'half.png', which does not decode (ANY)"),
        ],
    ),
    (
        "image",
        "an image of at most 120,000,000 pixels",
        "shrink it, or allow more with max_picture_pixels (--max-picture-pixels)",
        [
            (row(image="bomb.png"), "'bomb.png', which has 12000 x 12000 = 144,000,000"),
            (row(image="huge.png"), "'huge.png', which has 60000 x 60000 = 3,600,000,000"),
        ],
    ),
    (
        "image",
        "a still image",
        "export the frame that you mean",
        [(row(image="moving.gif"), "'moving.gif', which has several frames")],
    ),
    (
        "image",
        "an image of at least 4 pixels a side",
        "look what it is: it may stand for a missing one",
        [(row(image="dot.png"), "'dot.png', which has 1 x 1"), (row(image="line.png"), "'line.png', which has 90 x 3")],
    ),
    ("image", PATH, "give a file", [(row(image="pipe.png"), "'pipe.png', which is a pipe or a device")]),
    (
        "image",
        "8 bits per channel",
        "convert it to 8 bits: the usual conversion to RGB would turn it white",
        [(row(image="deep.png"), "'deep.png', which has more (Pillow mode I;16)")],
    ),
    (
        "image",
        "data:image/...;base64,...",
        "encode the file's bytes as base64",
        [
            (base64_of(",xyz"), "'data:image/png,xyz' (no `;base64,`)"),
            (base64_of(";base64,@@"), "'data:image/png;base64,@@' (ANY)"),
        ],
    ),
    (
        "image",
        "an image",
        "give a path, a data: URI, the file's bytes, or {bytes, path}",
        [(row(image=5), "5"), (row(image=" "), "' '"), (row(image={"bytes": None, "path": None}), "None")],
    ),
    (
        "images[1]",
        "an image",
        "give a path, a data: URI, the file's bytes, or {bytes, path}",
        [({**row(image=None), "images": ["red.png", None]}, "None")],
    ),
    (
        "image",
        "either `image` or `images`",
        "keep one of the two columns",
        [({**row(), "images": ["red.png"]}, "both")],
    ),
    *(
        (
            name,
            "pictures in `image` or `images`",
            f"rename the column, or say fields: {{image: {name}}}",
            [({**row(image=None), name: "a"}, f"a column `{name}`")],
        )
        for name in ("image_path", "Image", "imgae", "IMG")
    ),
]

QUESTIONS: Table = [
    (
        "question",
        "one <image> mark per image, or none",
        "add what is missing, or remove all marks to put the images first",
        [
            (row(question="<image> and <image>?"), "2 marks and 1 image"),
            (row(question="See <image>", image=None), "1 mark and 0 images"),
        ],
    ),
    (
        "question",
        "text without control characters",
        r"correct it: in JSON a backslash is written \\, as in \\frac",
        [(row(question="\frac12?"), r"U+000C in '\x0crac12?'"), (row(question="\ud800"), r"U+D800 in '\ud800'")],
    ),
    ("question", "text", "fill it in", [(row(question="  "), "empty text")]),
    ("question", "a question", "fill it in", [(row(question="<image>"), "'<image>'")]),
    ("question", "text", "write it as a string", [(row(question=7), "7")]),
    ("question", "a value", HOLDS, [(row(question=None), "nothing (the row has answer, kind, image)")]),
    (
        "question",
        "a value",
        "rename the column `questoin`, or say fields: {question: questoin}",
        [({**row(question=None), "questoin": "Q"}, "nothing (the row has answer, kind, image, questoin)")],
    ),
]

ANSWERS: Table = [
    ("answer", "a value", HOLDS, [(row(answer=None), "nothing (the row has question, kind, image)")]),
    ("answer", "an answer", "fill it in: every row needs a gold answer", [(row(answer=" "), "empty text")]),
    (
        "answer",
        "a number for kind `digit`",
        "write one number, with at most its unit, or use kind `math` or `text`",
        [(row(answer="several"), "'several'"), (row(answer="6 or 7"), "'6 or 7'"), (row(answer="٣"), "'٣'")],
    ),
    (
        "answer",
        "text or a number for kind `digit`",
        "write one answer, as text",
        [(row(answer=True), "True"), (row(answer=["3", "4"]), "['3', '4']")],
    ),
    *(
        (
            "answer",
            BEYOND_DOUBT,
            f"add a column `kind`: {fits} would fit, or give one kind for all rows (`kind` in a recipe's data, --kind)",
            [(row(kind=None, answer=answer), got)],
        )
        for answer, fits, got in (
            ("cat", "`text`", "'cat'"),
            ("B", "`choice`, or `text`,", "'B'"),
            ("1/2", "`digit`", "'1/2'"),
            ("[1, 2, 3, 4]", "`box`", "'[1, 2, 3, 4]'"),
            ([1, 2, 3], "`math`", "[1, 2, 3]"),
            (r"It is \pi.", "`math`", r"'It is \\pi.'"),
        )
    ),
    (
        "answer",
        BEYOND_DOUBT,
        "add a column `kind` (digit, choice, letters, math, box, text, open), or give one kind for all rows "
        "(`kind` in a recipe's data, --kind)",
        [(row(kind=None, answer={}), "{}")],
    ),
    ("kind", KINDS, "did you mean `digit`?", [(row(kind="digits"), "'digits'"), (row(kind="Integer"), "'Integer'")]),
    ("kind", KINDS, "did you mean `box`?", [(row(kind="bbox"), "'bbox'")]),
    ("kind", KINDS, "did you mean `choice`?", [(row(kind=" MCQ "), "' MCQ '")]),
    ("kind", KINDS, "use one of these", [(row(kind="zzz"), "'zzz'"), (row(kind=1), "1")]),
    (
        "kind",
        "`choice` for a row with options",
        "leave the options out, or use kind `choice`, or `letters` where several may be right",
        [(row(kind="math", options=["a", "b"]), "`math` and 2 options")],
    ),
    (
        "answer",
        "a letter from A to B, or the text of one option",
        "correct the answer or the options",
        [(row(kind="choice", answer="C", options=["a", "b"]), "'C', which is none of 2 options")],
    ),
    (
        "answer",
        "a letter from A to B, or the text of one option",
        'write the letter, or say how the number counts: fields: {answer: "choices[answer]"} from 0, '
        '"choices[answer-1]" from 1',
        [
            (row(kind="choice", answer=1, options=["a", "b"]), "1"),
            (row(kind="choice", answer="1", options=["a", "b"]), "'1', which is none of 2 options"),
        ],
    ),
    (
        "answer",
        "a letter from A to B, or the text of one option",
        "write `(A)`, with brackets, to mean the letter",
        [(row(kind="choice", answer="A", options=["B", "A"]), "'A', which can mean A or B")],
    ),
    (
        "answer",
        "a letter from A to Z",
        "correct the answer or the options",
        [(row(kind="choice", answer="A or B"), "'A or B'")],
    ),
    (
        "answer",
        "a letter from A to Z",
        "use kind `letters` where several options are right",
        [(row(kind="choice", answer="AB"), "'AB'"), (row(kind="choice", answer="A and C"), "'A and C'")],
    ),
    (
        "options",
        "a list of texts",
        'write a list such as ["red", "blue"]',
        [(row(kind="choice", options="a, b"), "'a, b'"), (row(kind="choice", options=["a", None]), "['a', None]")],
    ),
    ("options", "a list of texts", "fill in what is empty", [(row(kind="choice", options=["a", " "]), "['a', '']")]),
    (
        "options",
        "a list of at most 26 texts",
        "correct the list",
        [(row(kind="choice", options=[*range(27)]), "27 texts")],
    ),
    (
        "options",
        "different texts",
        "correct the list: a reply in words could not be told apart",
        [
            (row(kind="choice", options=["a", "b", "a"]), "'a' as A and C"),
            (row(kind="choice", options=["A) up", "B) up"]), "'up' as A and B"),
        ],
    ),
    (
        "options",
        "options A, B, C ... without a gap",
        'write a list such as ["red", "blue"]',
        [(row(kind="choice", options={"A": "up", "C": "down"}), "A, C")],
    ),
    (
        "choices",
        "either `choices` or `options`",
        "keep one of the two columns",
        [(row(choices=["a"], options=["a"]), "both")],
    ),
    (
        "answer",
        "boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        "write four numbers in brackets",
        [
            (row(kind="box", answer=[1, 2, 3]), "[1, 2, 3]"),
            (row(kind="box", answer="1 2 3"), "'1 2 3'"),
            (row(kind="box", answer="[1, 2, 3, NaN]"), "'[1, 2, 3, NaN]'"),
            (row(kind="box", answer=[1, 2, 3, 10**400]), "[1, 2, 3, 10ANY0]"),
        ],
    ),
    (
        "answer",
        "boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2",
        "order the corners; [x, y, width, height] must become [x, y, x + width, y + height]",
        [
            (row(kind="box", answer=[5, 1, 2, 4]), "[5, 1, 2, 4]"),
            (row(kind="box", answer=[1, 4, 2, 4]), "[1, 4, 2, 4]"),
        ],
    ),
]

OTHERS: Table = [
    (
        "trace",
        BLOCK,
        NO_TAGS,
        [
            (row(trace="<answer>3</answer> so"), "'<answer>3</answer> so'"),
            (row(trace="</answer>3<answer>"), "'</answer>3<answer>'"),
            (row(trace="<answer>3</answer><answer>3</answer>"), "'<answer>3</answer><answer>3</answer>'"),
        ],
    ),
    ("solution", BLOCK, NO_TAGS, [(row(solution="<answer>3"), "'<answer>3'")]),
    (
        "answer",
        "at most 200,000 characters in a cell",
        "shorten it, or leave the column out",
        [(row(answer="1" * 200_001), "'11ANY11', which has more")],
    ),
    (
        "level",
        "at most 32 levels of lists and objects",
        "flatten it, or leave the column out",
        [({**row(), "level": nested(33)}, "more levels")],
    ),
    ("id", "text or a whole number", "correct it, or leave the column out", [(row(id=1.5), "1.5")]),
    ("family", "text", "write it as a string", [(row(family=3), "3")]),
    (
        None,
        "one JSON object per line",
        "repair it",
        [
            ("{'question': 1}", "\"{'question': 1}\\n\" (ANY)"),
            ('{"id": 1, "id": 2}', "'{\"id\": 1, \"id\": 2}\\n' (key 'id' is there twice)"),
            ("[" * 100_000, "'[ANY[' (ANY)"),
        ],
    ),
    (None, "one JSON object per line", 'write {"question": ..., ...}', [("[1]", "a list")]),
    (
        None,
        "a row that differs in question, images or answer",
        "delete one, or give each row an `id`",
        [(row(question="A good row."), "a copy of data.jsonl line 1")],
    ),
]

BAD_ROWS = messages([*PICTURES, *QUESTIONS, *ANSWERS, *OTHERS])
"""Each is the second line of data.jsonl, after the row whose question is `A good row.`"""

IMAGE, TEXT = {"type": "image"}, {"type": "text", "text": "Q"}
USER = {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]}
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


BAD_TRL_ROWS = messages(
    [
        (
            "prompt",
            "one <image> mark per image, or none",
            "add what is missing, or remove all marks to put the images first",
            [
                ({"prompt": user(IMAGE, IMAGE, TEXT)}, "2 marks and 1 image"),
                ({"prompt": user(IMAGE, {"type": "text", "text": "<image>"})}, "2 marks and 1 image"),
                ({"prompt": user(IMAGE, TEXT), "images": []}, "1 mark and 0 images"),
            ],
        ),
        (
            "prompt",
            "pictures in the messages, or in a column",
            "keep one of the two",
            [({"prompt": user({"type": "image", "image": "blue.png"}, TEXT)}, "both")],
        ),
        ("prompt", "a question", "fill it in", [({"prompt": user(IMAGE)}, "'<image>'")]),
        (
            "prompt",
            "parts {type: image} and {type: text, text: ...}",
            "write text and pictures, in order; videos, sounds and tools are not read",
            [
                ({"prompt": user({"type": "video"})}, "{'type': 'video'}"),
                ({"prompt": user({"type": "text", "text": None})}, "{'text': None, 'type': 'text'}"),
                ({"prompt": user("Q")}, "'Q'"),
            ],
        ),
        (
            "prompt",
            "messages with role and content",
            'write [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]',
            [({"prompt": [{"role": "user"}]}, "[{'role': 'user'}]"), ({"prompt": 5}, "5")],
        ),
        (
            "prompt",
            "one user's message, and before it at most a system message",
            "put one exchange in each row: later turns need the earlier replies",
            [
                ({"prompt": [SYSTEM]}, "roles ['system']"),
                (
                    {"prompt": [USER, {"role": "assistant", "content": "A"}, USER]},
                    "roles ['user', 'assistant', 'user']",
                ),
            ],
        ),
        (
            "prompt",
            "images in the user's message only",
            "move it to the user's",
            [({"prompt": [{"role": "system", "content": [IMAGE]}, USER]}, "one in another message")],
        ),
        (
            "system",
            "one system prompt",
            "keep one of the two",
            [({"prompt": [SYSTEM, USER], "system": "S"}, "one in `prompt` and one in `system`")],
        ),
        (
            "completion",
            "one assistant message",
            "keep one turn in each row",
            [({"completion": [USER]}, "roles ['user']")],
        ),
        ("completion", BLOCK, NO_TAGS, [({"completion": "<answer>3"}, "'<answer>3'")]),
        (
            "answer",
            "one gold answer",
            "leave one out, or say which you mean: fields: {answer: ground_truth}",
            [({"ground_truth": "4"}, "'3' in `answer` and '4' in `ground_truth`")],
        ),
        (
            "answer",
            "one demonstration",
            "keep one of the two",
            [({"completion": "a", "answer": "b<answer>3</answer>"}, "steps here and a `completion`")],
        ),
        (
            "solution",
            BEYOND_DOUBT,
            "add a column `kind`: `text` would fit, or give one kind for all rows (`kind` in a recipe's data, --kind)",
            [({"answer": None, "solution": "cat"}, "'cat'")],
        ),
        (
            "answer",
            "a value",
            "fill it in, or say which column holds it: fields: {answer: ...}",
            [({"answer": None}, "nothing (the row has images, question)")],
        ),
    ]
)
"""Each is what changes in the good row {"prompt": [USER], "images": ["red.png"], "answer": "3"}."""
