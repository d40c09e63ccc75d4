"""A .json file: an array of objects, one after the other in flat memory, or JSON Lines under another name."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firsthand.data import jsonl
from firsthand.data.rows import Cells, Row
from firsthand.errors import BadRow, DataError, shown

_CHUNK = 2**20
_START = 2**16
"""Bytes that are searched for the first sign: white space may stand before it."""
# Python refuses to read longer numbers. That would end the file here, so they stay text until `_CHECKED` refuses them.
_PLAIN = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 4000 else digits)
_CHECKED = json.JSONDecoder(object_pairs_hook=jsonl.unique_keys)


def rows(path: Path) -> Iterator[Row]:
    """The objects of a file, counted from 1. Raises DataError when it breaks off or stops being JSON.

    What follows a broken item of an array cannot be told from it, so there is no bad row to go on after.
    """
    return _items(path) if _is_array(path) else jsonl.rows(path)


def _is_array(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_START).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError as broken:
        raise DataError(f"{path}: expected a readable file, got: {broken.strerror}; check its rights") from broken
    return start.startswith(b"[")


def _items(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, cells in enumerate(_Array(file.read).items(), start=1):
                yield Row(f"{path.name} item {number}", path.parent, cells, path.name, number)
        except (ValueError, RecursionError) as broken:
            raise DataError(f"{path}: expected an array of JSON objects, got: {broken}; export it again") from broken


class _Array:
    """A window on the file's text that moves from item to item."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._text = ""
        self._at = 0

    def items(self) -> Iterator[Cells | BadRow]:
        self._next_sign("[")
        sign = self._next_sign("") if self._peek() != "]" else self._next_sign("]")
        while sign != "]":
            yield self._item()
            sign = self._next_sign(",]")
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
        return _checked(value, taken)

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _next_sign(self, expected: str) -> str:
        """Step over one of the expected characters; none are expected before the first item."""
        sign = self._peek()
        if expected:
            if not sign or sign not in expected:
                raise json.JSONDecodeError(f"Expecting one of {expected}", self._text, self._at)
            self._at += 1
        return sign

    def _more(self) -> bool:
        """Forget what was read, and read as much again as is waiting, so that a long item is parsed few times."""
        self._text = self._text[self._at :]
        self._at = 0
        chunk = self._read(max(_CHUNK, len(self._text)))
        self._text += chunk
        return bool(chunk)


def _checked(value: object, text: str) -> Cells | BadRow:
    if not isinstance(value, dict):
        return BadRow(None, "an array of JSON objects", f"a {type(value).__name__}", 'write {"question": ..., ...}')
    try:
        return dict(_CHECKED.decode(text))
    except ValueError as broken:  # a key that is there twice
        return BadRow(None, "an array of JSON objects", f"{shown(text[:60])} ({broken})", "repair it")
