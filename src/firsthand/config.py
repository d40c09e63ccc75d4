"""YAML into frozen pydantic models, with errors that say what to do.

Unknown keys are refused with the nearest name, `--set a.b=c` overrides reach any depth, and YAML is safe-loaded. Keys
of recipes that have been renamed are read under both names.
"""

import difflib
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from firsthand.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)

LONGEST_YAML = 2**20
"""Bytes of a file (ours): the longest recipe that ships has a hundredth of it."""
MOST_NODES = 20_000
"""Keys and values of a file, every alias written out (ours); the largest file that ships has some hundred."""
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: ValueError of a date that does not exist, or of a number of thousands of digits."""

_LOG = logging.getLogger(__name__)


class Renamed(NamedTuple):
    """A key of a recipe that the first version (0.1.0) called something else."""

    section: str
    """The mapping that holds it; empty for the recipe itself."""
    old: str
    new: str | None
    """None: the key is gone, and a value that is still given is ignored."""
    values: Mapping[str, str] = {}
    """Old values -> new ones, where they were renamed with the key."""

    @property
    def line(self) -> str:
        """The change in words."""
        old, new = (".".join(filter(None, (self.section, name))) for name in (self.old, self.new))
        return f"{old} is now {new}" if self.new else f"{old} is ignored"


RENAMED = (
    Renamed("objective", "trace", "style"),
    Renamed("objective", "silent", "zero_variance"),
    Renamed(
        "objective",
        "per",
        "loss_agg_mode",
        {"sequence": "seq-mean-token-mean", "token": "token-mean", "budget": "seq-mean-token-sum-norm"},
    ),
    Renamed("", "updates", "minibatches"),
    Renamed("sampling", "seed", None),
)
"""Every renamed key of a recipe: read here, and nowhere else."""


ELSEWHERE = {
    "adam_beta1": "optimizer.betas",
    "adam_beta2": "optimizer.betas",
    "attn_implementation": "chosen by the package",
    "beta": "objective.kl",
    "bf16": "precision",
    "dataset_name": "data.path",
    "delta": "objective.clip_dual",
    "epsilon": "objective.clip_low and objective.clip_high",
    "fp16": "precision",
    "gradient_accumulation_steps": "tokens_per_forward, which splits a step",
    "learning_rate": "optimizer.lr",
    "lora_alpha": "adapter.alpha",
    "lora_r": "adapter.rank",
    "max_completion_length": "sampling.max_new_tokens",
    "max_steps": "steps",
    "model_name_or_path": "model",
    "num_generations": "objective.group_size",
    "num_iterations": "minibatches",
    "output_dir": "--out",
    "per_device_train_batch_size": "prompts",
    "reward_funcs": "reward.function",
    "save_steps": "checkpoint_every",
    "warmup_ratio": "optimizer.warmup",
}
"""What TRL, transformers and peft call a setting -> its name here."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping. Raises RecipeError when it is missing, malformed or not a mapping."""
    try:
        content = _loaded(_text_of(path))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not readable as YAML: {error}") from error
    except IsADirectoryError as error:
        raise RecipeError(f"{path}: expected a YAML file, got a folder; name the file in it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not readable: {error}") from error
    except _UNREADABLE as error:
        raise RecipeError(f"{path}: not readable as YAML: {_said(error)}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected `key: value` lines, got {type(content).__name__}")
    return content


def read_recipe(path: Path, assignments: Iterable[str] = ()) -> dict[str, Any]:
    """A recipe's or a study's file with `--set` assignments over it, in today's names.

    Old names are told of in one warning. Raises RecipeError on a file or an assignment that cannot be read.
    """
    content = read_yaml(path)
    found = dict.fromkeys(_to_todays_names(content))
    for assignment in assignments:
        content = override(content, [assignment])
        found |= dict.fromkeys(_to_todays_names(content, is_override=True))
    _warn(str(path), found)
    return content


def in_todays_names(content: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A recipe's or a study's content (also of an old recipe.json) in today's names, without keys that are gone.

    Warns of old names when `where` says what was read. Raises RecipeError when a key has both of its names.
    """
    result = deepcopy(dict(content))
    found = dict.fromkeys(_to_todays_names(result))
    if where:
        _warn(where, found)
    return result


def build(model: type[Model], content: Mapping[str, Any], where: str) -> Model:
    """Validate `content`; its numbers are finite. Raises RecipeError with every problem on a line of its own."""
    try:
        built = model.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # A list whose items are wrong is told to be too short as well, for they do not count.
        inside = {e["loc"][:end] for e in found for end in range(len(e["loc"]))}
        own = [e for e in found if e["type"] != "too_short" or e["loc"] not in inside]
        lines = [f"  {line}" for e in own for line in _problem(model, content, dict(e)).splitlines()]
        raise RecipeError("\n".join([f"{where}:", *lines])) from error
    if endless := list(_not_finite(built.model_dump(), "")):
        raise RecipeError("\n".join([f"{where}:", *(f"  {name}: expected a finite number" for name in endless)]))
    return built


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `under`, key by key; a mapping of another `kind` replaces the one below it whole."""
    result = dict(under)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            kind = value.get("kind")
            if kind is None or old.get("kind") in (None, kind):
                value = merge(old, value)
        result[key] = value
    return result


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: the one that was probably meant, or all there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


def override(content: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply `a.b=value` assignments; values are read as YAML. Raises RecipeError on a malformed one."""
    result = deepcopy(dict(content))
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals or not path:
            raise RecipeError(f"--set {assignment}: expected KEY=VALUE, such as --set optimizer.lr=1e-5")
        try:
            read = as_number(_loaded(value))
        except _UNREADABLE as error:
            raise RecipeError(f"--set {assignment}: not readable as YAML: {_said(error)}") from error
        _assign(result, path.strip(), read, f"--set {assignment}")
    return result


def with_settings(content: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`content` with each `a.b` of the settings at its value. Raises RecipeError where `a` holds no mapping."""
    result = deepcopy(dict(content))
    for path, value in settings.items():
        _assign(result, path, value, where)
    return result


def states(content: Mapping[str, Any], path: str) -> bool:
    """Whether the content has a value at `a.b`."""
    first, _, rest = path.partition(".")
    if not rest or first not in content:
        return first in content
    return isinstance(content[first], Mapping) and states(content[first], rest)


def as_number(value: Any) -> Any:
    """What was read from YAML, text that is a number as one: YAML 1.1 reads 1e-5 as text, because it has no dot."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(LONGEST_YAML + 1)
    if len(raw) > LONGEST_YAML:
        raise yaml.YAMLError(f"expected at most {LONGEST_YAML:,} bytes, got more")
    return raw.decode("utf-8-sig")


def _loaded(text: str) -> Any:
    """What YAML says, where aliases repeat no more than a file of people's would. Raises one of _UNREADABLE."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if (size := _size(node, {})) > MOST_NODES:
            raise yaml.YAMLError(f"expected at most {MOST_NODES:,} values, got {size:,} with all aliases written out")
        content = loader.construct_document(node)
    finally:
        loader.dispose()
    _check_keys(content)
    return content


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node is, when every alias in it is written out. Raises YAMLError where one holds itself."""
    if (size := known.get(id(node))) is not None:
        if not size:
            raise yaml.YAMLError("expected aliases of what is complete, got one inside of what it stands for")
        return size
    known[id(node)] = 0
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _check_keys(content: Any) -> None:
    """Raise YAMLError where a key is no text, as `on`, `no`, numbers and dates are, or text that no line can show."""
    if isinstance(content, dict):
        for key in content:
            if not isinstance(key, str) or not key.isprintable():
                raise yaml.YAMLError(f"expected keys that are text, got {key!r}; put it in quotes, or correct it")
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_keys(inner)


def _said(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _not_finite(content: Any, name: str) -> Iterator[str]:
    """The names of the numbers in it that are not finite."""
    if isinstance(content, float) and not math.isfinite(content):
        yield name
    inner = content.items() if isinstance(content, Mapping) else enumerate(content) if _is_list(content) else ()
    for key, value in inner:
        yield from _not_finite(value, f"{name}.{key}" if name else str(key))


def _is_list(content: Any) -> bool:
    return isinstance(content, list | tuple | set | frozenset)


def _assign(content: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Put a value where the path `a.b` points; mappings on the way are made."""
    *parents, last = path.split(".")
    inner = content
    for parent in parents:
        child = inner.setdefault(parent, {})
        if parent == "objective" and isinstance(child, str):  # a method's name alone
            child = inner[parent] = {"kind": child}
        if not isinstance(child, dict):
            raise RecipeError(f"{where}: {parent!r} holds {child!r}, which has no keys of its own")
        inner = child
    inner[last] = value


def _to_todays_names(content: dict[str, Any], *, is_override: bool = False) -> Iterator[str]:
    """Rename the keys of a recipe or a study in place; a line for each that had its old name.

    `is_override`: the old names were set last, so they win. Otherwise a key with both names raises RecipeError.
    """
    arms = content.get("arms")
    inner = [content.get("shared"), *arms.values()] if isinstance(arms, dict) else [content]
    for recipe in inner:
        for renamed in RENAMED:
            holder = recipe.get(renamed.section) if renamed.section and isinstance(recipe, dict) else recipe
            if not isinstance(holder, dict) or renamed.old not in holder:
                continue
            value = holder.pop(renamed.old)
            if renamed.new is not None:
                if renamed.new in holder and not is_override:
                    raise RecipeError(f"{renamed.line}, and both are given; leave {renamed.old} out")
                holder[renamed.new] = renamed.values.get(value, value) if isinstance(value, str) else value
            yield renamed.line


def _warn(where: str, lines: Iterable[str]) -> None:
    if told := ", ".join(lines):
        _LOG.warning("%s: keys have new names, and the old ones are read for one more version: %s", where, told)


def _problem(model: type[BaseModel], content: Mapping[str, Any], error: dict[str, Any]) -> str:
    path = [str(p) for p in error["loc"]]
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        if path[-1] in ELSEWHERE:
            return f"{name}: unknown key; here it is {ELSEWHERE[path[-1]]}"
        known = _keys_beside(model, [p for p in error["loc"] if isinstance(p, str)])
        return f"{name}: unknown key; {nearest(path[-1], known)}"
    if error["type"] == "missing":
        return f"{name}: required, but not given"
    if error["type"] == "value_error":  # one of our own validators: it says it all
        problem = error["ctx"]["error"]
        said = str(problem)
        if isinstance(problem, RecipeError):  # from a `build` inside this one, which has named its place
            head, _, rest = said.partition(":\n")
            return "\n".join(f"{head}.{line.strip()}" for line in rest.splitlines()) if rest else said
        return f"{name}: {said}" if name else said
    return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}"


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """The fields that the model accepts where `path` points; tags of unions in the path are looked through."""
    here: list[type[BaseModel]] = [model]
    for key in path[:-1]:
        deeper = [
            m for owner in here if key in owner.model_fields for m in _models_in(owner.model_fields[key].annotation)
        ]
        tagged = [m for m in here if any(f.default == key for f in m.model_fields.values())]
        here = deeper or tagged or here
    return sorted({name for m in here for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
