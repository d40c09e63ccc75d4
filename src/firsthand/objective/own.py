"""A method of a user's own, named in a recipe as `module:function`.

It runs in the training process, on its tensors: only the module that a recipe names is imported, and what that imports.
"""

import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from firsthand.config import nearest
from firsthand.errors import RecipeError, shown
from firsthand.identity import FUNCTION_PATH, code_files, code_id
from firsthand.objective.methods import GRPO, Method
from firsthand.objective.table import Table, Totals

Terms = Callable[[Table, Totals, Any], dict[str, Tensor]]
"""What a method is: the named terms whose sum is the loss."""

_FOUND: dict[str, tuple[str | None, Terms, type[Method]]] = {}
"""By path: the source's id, the function and its settings."""


def own_method(path: str) -> tuple[Terms, type[Method]]:
    """The function at `module:function`, and the settings that its third parameter is annotated with, else `GRPO`.

    The module is found from the working directory first. Raises RecipeError where there is none, or where its source
    has changed since this process imported it.
    """
    if not FUNCTION_PATH.fullmatch(path):
        raise RecipeError(f"objective.kind: expected module:function, got {path!r}; such as mine:plain")
    source = code_id(path)
    if path not in _FOUND:
        function = _imported(path)
        _FOUND[path] = (source, function, _settings_of(function, path))
    known, function, settings = _FOUND[path]
    if source != known:
        raise RecipeError(f"objective: {path} has changed since this process imported it; start a new process")
    return function, settings


def imported_source(path: str) -> str | None:
    """The id of the source that this process has imported: a later edit changes nothing of what runs in it."""
    return _FOUND[path][0]


def own_terms(table: Table, totals: Totals, method: Method) -> dict[str, Tensor]:
    """What a user's own method gives, which must be named scalars. Raises RecipeError naming what it is instead."""
    terms: Any = _FOUND[method.kind][1](table, totals, method)
    expected = f"objective {method.kind}: expected a mapping from names to scalar tensors, whose sum is the loss"
    if not isinstance(terms, Mapping) or not terms:
        raise RecipeError(f"{expected}, got {shown(terms)}")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim or not term.is_floating_point():
            got = f"a tensor of shape {tuple(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise RecipeError(f"{expected}, got {got} as {name!r}; sum or average it")
    return dict(terms)


def _imported(path: str) -> Terms:
    module_name, _, name = path.partition(":")
    files = code_files(module_name)
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise RecipeError(
            f"objective: {module_name} could not be imported from {here}: {type(error).__name__}: {error}; give the "
            "command in the folder where its file is, and mend what it raises"
        ) from error
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)  # for what the module imports later: at the end, where it hides nothing of ours
    file = getattr(module, "__file__", None)
    if file and module_name in files and not Path(file).samefile(files[module_name]):
        raise RecipeError(f"objective: {files[module_name]} has the name of {file}, which is loaded; rename yours")
    found = getattr(module, name, None)
    if found is None:
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise RecipeError(f"objective: {module_name} has no function {name!r}; {nearest(name, functions)}")
    takes_three = f"a function of three parameters: {path}(table, totals, settings)"
    try:
        inspect.signature(found).bind(*"tts")
    except (TypeError, ValueError) as error:
        raise RecipeError(f"objective: expected {takes_three}, got {type(found).__name__} that is no such") from error
    return typing.cast(Terms, found)


def _settings_of(function: Terms, path: str) -> type[Method]:
    """What a recipe may set of it."""
    last = list(inspect.signature(function).parameters)[2:3]
    try:
        hint = typing.get_type_hints(function).get(last[0]) if last else None
    except Exception as error:  # whatever an annotation that is evaluated raises
        raise RecipeError(f"objective: the annotations of {path} cannot be read: {error}; correct them") from error
    if hint is None or hint is Any:
        return GRPO
    if not (isinstance(hint, type) and issubclass(hint, Method)):
        raise RecipeError(
            f"objective: expected settings of {path} that are a class derived from GRPO, Sampled, SFT or Mixed, got "
            f"{hint}; annotate its third parameter with one"
        )
    return hint
