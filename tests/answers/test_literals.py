"""Lists and objects that were written as text."""

import ast
import json
from typing import Any

import pytest

from firsthand.answers.literals import literal


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "[" * 20 + "]" * 20,
        "[-" + "-" * 20_000 + "1]",
        "[1" + "+1" * 9_999 + "]",
        "[" + "(" * 90 + ")" * 90 + "]",
        "{**{}}",
        "[__import__('os')]",
        "[1" + "0" * 5000 + "]",
        "['" + "x" * 60_000 + "']",
        "[" + "not " * 5_000 + "1]",
        r"\{1, 2\}",
        "[1, 2)",
        "{1: [}",
        "{[1]: 2}",
    ],
    ids=range(14),
)
def test_text_that_is_no_plain_literal_stays_text(text: str) -> None:
    assert literal(text) == text


@pytest.mark.parametrize(
    "value", [{"a": [1, -2.5e-3, None, True, 'it\'s "x"']}, [], ["a - - b", "((((("], {"t": (1, 2)}]
)
def test_literals_are_read_as_python_and_json_write_them(value: Any) -> None:
    assert literal(str(value)) == value == ast.literal_eval(str(value))
    assert literal(json.dumps(value)) == json.loads(json.dumps(value))
