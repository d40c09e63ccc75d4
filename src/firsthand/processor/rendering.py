"""Conversations rendered by a folder's chat template, in a process that ends at a deadline.

A template is a program of others: it may loop for ever, or build a text of gigabytes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import firsthand.workers
from firsthand.errors import DataError
from firsthand.workers.pool import DeadlineExceeded, WorkerDied, shared_pool

RENDERED_WITHIN_S = 20.0
"""Of one conversation (ours), which takes a thousandth of a second, on a machine that is very busy, too."""
_TASK = str(Path(firsthand.workers.__file__).with_name("chat_template.py"))


def rendered(tokenizer: Any, messages: Sequence[dict[str, Any]], where: str, *, add_generation_prompt: bool) -> str:
    """The text that the tokenizer's own template makes of the messages; as `tokenizer.apply_chat_template`.

    Raises DataError, which says `where`, when it refuses them, fails, does not end, or makes too much of them.
    """
    # As transformers does: a key without a value is left out, and what is no JSON is replaced by its type's name.
    said = [{key: value for key, value in message.items() if value is not None} for message in messages]
    settings = {"tools": None, "documents": None, "add_generation_prompt": add_generation_prompt}
    variables = {"messages": said, **settings, **tokenizer.special_tokens_map}
    request = {"template": tokenizer.chat_template, "variables": json.loads(json.dumps(variables, default=_named))}
    try:
        answer = shared_pool(_TASK, RENDERED_WITHIN_S).ask(request)
    except DeadlineExceeded as error:
        raise _refused(where, f"none that ends within {RENDERED_WITHIN_S:g} s") from error
    except WorkerDied as error:
        raise _refused(where, f"one that ends its process ({error})") from error
    if "text" not in answer:
        raise _refused(where, str(answer.get("refused") or answer.get("error")))
    return str(answer["text"])


def _refused(where: str, got: str) -> DataError:
    return DataError(
        f"{where}: expected a conversation that the model folder's chat template takes, got: {got}; some templates "
        "take no system prompt"
    )


def _named(value: Any) -> str:
    return f"<{type(value).__name__}>"
