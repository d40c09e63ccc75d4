"""The prompts of the forge: text files beside this one, which a user's own may replace."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from firsthand.errors import RecipeError
from firsthand.records import content_id

_ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


class PromptTemplate:
    """A template and the text that it makes of a row."""

    def __init__(self, step: str, file: str | None, sample: dict[str, Any]) -> None:
        """The step's own template, or that of `file`; `sample` names what it may use.

        Raises RecipeError when the file cannot be read, is no template, or uses what there is not.
        """
        where = f"{step}.prompt: {file}" if file else f"{step}.txt"
        try:
            text = (Path(file) if file else files("firsthand.forge") / "prompts" / f"{step}.txt").read_text("utf-8")
            self._template = _ENVIRONMENT.from_string(text)
            self._template.render(sample)
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{where}: expected a readable text file, got: {error}; correct the path") from error
        except TemplateError as error:
            raise RecipeError(
                f"{where}: {error}; a prompt may use {', '.join(f'{{{{ {n} }}}}' for n in sample)}"
            ) from error
        self.id = content_id(text)

    def text(self, **fields: Any) -> str:
        """The prompt for one row."""
        return self._template.render(fields).strip()
