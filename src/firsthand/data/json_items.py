"""A .json file: an array of objects, one after the other in flat memory, or JSON Lines under another name."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from firsthand.data import jsonl
from firsthand.data.rows import Cells, Row, not_utf8, readable_file
from firsthand.errors import BadRow, DataError, shown

_CHUNK = 2**20
# Python refuses to read longer numbers. That would end the file here, so they stay text until `_CHECKED` refuses them.
_PLAIN = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 4000 else digits)
_CHECKED = json.JSONDecoder(object_pairs_hook=jsonl.unique_keys)


def rows(path: Path) -> Iterator[Row]:
    """The objects of a file, counted from 1. Raises DataError when it breaks off or stops being JSON.

    What follows a broken item of an array cannot be told from it, so there is no bad row to go on after.
    """
    with readable_file(path) as file:
        start = file.read(2**16).removeprefix(codecs.BOM_UTF8).lstrip()
    line, end, _ = start.partition(b"\n")
    if end and start.startswith(b"{") and line.rstrip().endswith((b"{", b"[", b",")):
        got = "one object over several lines"
        remedy = "make its list of rows the file's only content"
        raise DataError(f"{path}: expected an array of JSON objects, or one object per line, got {got}; {remedy}")
    return _items(path) if start.startswith(b"[") else jsonl.rows(path)


def _items(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, cells in enumerate(_Array(file).items(), start=1):
                yield Row(f"{path.name} item {number}", path.parent, cells, path.name, number)
        except UnicodeDecodeError as broken:
            raise DataError(f"{path}: {not_utf8(broken)}") from broken
        except (ValueError, RecursionError) as broken:
            raise DataError(f"{path}: expected an array of JSON objects, got: {broken}; export it again") from broken


class _Array:
    """A window on the file's text that moves from item to item."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0

    def items(self) -> Iterator[Cells | BadRow]:
        self._step_over("[")
        sign = self._step_over("]") if self._peek() == "]" else ","
        while sign == ",":
            yield self._item()
            sign = self._step_over(",]")
        if self._peek():
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def _item(self) -> Cells | BadRow:
        self._peek()
        while True:
            try:
                value, end = _PLAIN.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > jsonl.LONGEST_LINE or not self._more():
                    raise
                continue
            if end < len(self._text):
                break
            if not self._more():  # a number could go on in the next chunk
                raise json.JSONDecodeError("Unterminated array", self._text, 0)
        taken, self._at = self._text[self._at : end], end
        if not isinstance(value, dict):
            return BadRow(None, "an array of JSON objects", f"a {type(value).__name__}", 'write {"question": ..., ...}')
        try:
            return dict(_CHECKED.decode(taken))
        except ValueError as broken:  # a key that is there twice
            return BadRow(None, "an array of JSON objects", f"{shown(taken[:60])} ({broken})", "repair it")

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _step_over(self, expected: str) -> str:
        """One of the expected characters."""
        sign = self._peek()
        if not sign or sign not in expected:
            raise json.JSONDecodeError(f"Expecting one of {expected}", self._text, self._at)
        self._at += 1
        return sign

    def _more(self) -> bool:
        """Forget what was read, and read as much again as is waiting, so that a long item is parsed few times."""
        self._text = self._text[self._at :]
        self._at = 0
        chunk = self._file.read(max(_CHUNK, len(self._text)))
        self._text += chunk
        return bool(chunk)
