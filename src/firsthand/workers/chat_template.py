"""Render the chat template of a model folder. A task of zygote.py, not to import.

A request {"template", "variables"} gets {"text"}, or {"refused": what the template says}. Templates are programs of
others: the environment is the sandbox of transformers' chat_template_utils.py, name by name, so that the text is the
same, and memory and the length of the text are bounded. Whoever asks has a deadline.
"""

import json
import resource
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from firsthand.workers.limits import limit

MEMORY = 2**30
"""Bytes of a worker (ours); it starts with a twentieth of that."""
MOST_CHARACTERS = 2**22
"""Characters of a rendered conversation (ours): more than any model reads."""


class Generation(Extension):
    """`{% generation %}` marks what an assistant has said; here it only stands around it."""

    tags = {"generation"}  # noqa: RUF012 (as jinja2 has it)

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as it is."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Any) -> Any:
        return caller()


class TemplateDict:
    """What templates know as `dict`."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As that of a dict."""
        return dict.fromkeys(*args)


class TemplateNamespace(Namespace):
    """What templates know as `namespace`; names with an underscore in front lead to Python's own."""

    def __init__(*args: Any, **values: Any) -> None:
        self, args = args[0], args[1:]
        given = dict(*args, **values)
        for name in given:
            _check(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        Namespace.__setitem__(self, name, value)


def before_fork() -> None:
    """Nothing: what is slow is imported above."""


def prepare(_: str) -> None:
    """Bound the memory."""
    limit(resource.RLIMIT_AS, MEMORY)


def answer(request: dict[str, Any]) -> dict[str, object]:
    """The text, or why there is none."""
    try:
        parts, length = [], 0
        for part in _compiled(request["template"]).generate(**request["variables"]):
            parts.append(part)
            length += len(part)
            if length > MOST_CHARACTERS:
                return {"refused": f"a text of more than {MOST_CHARACTERS:,} characters"}
    except TemplateError as error:
        return {"refused": str(error)[:500]}
    except MemoryError:
        return {"refused": f"a text that takes more than {MEMORY // 2**20:,} MiB to make"}
    return {"text": "".join(parts)}


@lru_cache(maxsize=4)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    environment.globals["dict"] = TemplateDict()
    environment.globals["namespace"] = TemplateNamespace
    return environment.from_string(template)


def _to_json(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


def _check(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace takes no name that begins with an underscore, such as {name!r}")
