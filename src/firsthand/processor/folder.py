"""What is read of a model folder, which others may have written: none of its code runs, and nothing is fetched.

Whatever is wrong with one of its files is a DataError that names the folder.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from firsthand.errors import DataError, FirsthandError, excerpt

UNTRUSTED: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Of every `from_pretrained`. Where it is not said, transformers asks on the terminal whether to run its code."""


@contextmanager
def reading(folder: str | Path, what: str) -> Iterator[None]:
    """Read `what` in the block. Raises DataError for any error: damaged files make transformers raise all kinds."""
    try:
        yield
    except FirsthandError:
        raise
    except Exception as error:
        remedy = "download or copy the folder again"
        if "trust_remote_code" in str(error):
            remedy = (
                "it wants to run code of its own, which is never done here: take a model of a type that is built in"
            )
        raise DataError(
            f"{folder}: expected {what} that can be read, got {type(error).__name__}: {excerpt(str(error))}; {remedy}"
        ) from error


def tokenizer_of(folder: str | Path) -> Any:
    """The tokenizer of a folder. Raises DataError where there is none that can be read."""
    with reading(folder, "a tokenizer"):
        return AutoTokenizer.from_pretrained(str(folder), **UNTRUSTED)


def settings_in(path: Path) -> dict[str, Any]:
    """The object of a JSON file of a folder. Raises DataError when it holds none."""
    with reading(path, "a JSON object"):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
        return content
