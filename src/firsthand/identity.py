"""What a run's id holds beside the words of its recipe: examples, model folders, and a user's own code.

Two runs with one id give one result: whatever can change it is read here, whole.
"""

import ast
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from firsthand.files import sha256_of, write_atomically
from firsthand.records import Environment, Example, content_id

FUNCTION_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""`module:function`, a function of a user's own."""
_READ = (".json", ".jinja", ".txt", ".model", ".safetensors")
"""Endings of what is read of a model's folder: config, tokenizer, chat template, picture processor and weights."""
_REMEMBERED = 2**24
"""Bytes from which a file's hash is kept: below, hashing takes less time than asking."""
_SETTLED_S = 2.0
"""A file that changed more recently is not remembered: it may change again within a tick of the file system's clock."""


def data_id(examples: Iterable[Example], unread: Collection[str] = ()) -> str:
    """16 hex digits for all that a run reads of its examples, in their order; `unread` are fields that it does not.

    Pictures count by their content, wherever they lie.
    """
    left_out = {"images", *unread}
    return content_id(
        *(
            content_id(example.model_dump(mode="json", exclude=left_out), [p.sha256 for p in example.images])
            for example in examples
        )
    )


def environments_id(examples: Iterable[Example]) -> dict[str, Any]:
    """The versions of the packages that score these examples; nothing where none does, or none is installed."""
    names = sorted({e.answer.environment for e in examples if isinstance(e.answer, Environment)})
    found = {name: version for name in names if (version := _version(name)) is not None}
    return {"environments": found} if found else {}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder_id(folder: Path) -> str:
    """16 hex digits for what a model's or an adapter's folder holds: every byte of the files that are read of it."""
    found = sorted([*folder.glob("*"), *folder.glob("additional_chat_templates/*")])
    files = [path for path in found if path.suffix in _READ and path.is_file()]
    return content_id(*((str(path.relative_to(folder)), _sha256(path)) for path in files))


def code_id(path: str) -> str | None:
    """16 hex digits for the source of the function at `module:function`; None where its module cannot be found.

    Of the module's file, of the packages that it lies in, and of all that they import from the folder they lie in: the
    one where the command was given. Of an installed one its own file alone. Nothing is imported.
    """
    files = code_files(path.partition(":")[0])
    return content_id(*((name, _sha256(file)) for name, file in sorted(files.items()))) if files else None


def source_id(function: Callable[..., object]) -> str | None:
    """16 hex digits for the file that a function stands in; None where it stands in none."""
    try:
        return content_id(_sha256(Path(inspect.getfile(function))))
    except (TypeError, OSError):  # written at a prompt
        return None


def code_files(module: str) -> dict[str, Path]:
    """The files of a module, of its packages and of the modules beside them that these import, by module name."""
    importlib.invalidate_caches()
    here = [os.getcwd(), *sys.path]  # as a worker finds it, and `python -m`
    own = _file_of(_named(module, here))
    if own is None:
        return {}
    root = own.parents[module.count(".") + (own.name == "__init__.py")]
    if _is_installed(root):
        return {module: own}
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        for name in _with_packages(waiting.pop()):
            file = _file_of(_named(name, [str(root)]))
            if name not in found and file is not None and file.is_relative_to(root):
                found[name] = file
                waiting += _imports(file, name, is_package=file.name == "__init__.py")
    return found


def _with_packages(name: str) -> list[str]:
    """A module's packages, outermost first, and itself."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _named(name: str, path: list[str]) -> ModuleSpec | None:
    """Where a module is, its packages looked through but not imported."""
    places: list[str] | None = path
    spec = None
    for part in _with_packages(name):
        spec = None if places is None else _spec(part, places)
        if spec is None:
            return None
        places = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    return spec


def _spec(name: str, path: list[str]) -> ModuleSpec | None:
    found = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in found if spec is not None), None)


def _file_of(spec: ModuleSpec | None) -> Path | None:
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return file if (file := Path(spec.origin)).is_file() else None  # what lies in an archive has no file of its own


def _is_installed(root: Path) -> bool:
    library = Path(sysconfig.get_path("stdlib"))
    return bool({"site-packages", "dist-packages"} & set(root.parts)) or root.is_relative_to(library)


def _imports(file: Path, module: str, *, is_package: bool) -> Iterator[str]:
    """The names that a file's import statements may mean; a file that is no Python has none."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level + is_package or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from [base] * bool(base)
            yield from (".".join(filter(None, (base, alias.name))) for alias in node.names if alias.name != "*")


def _sha256(path: Path) -> str:
    """A file's hash. That of a large one is kept in the user's cache, under all that changes when the file does.

    ctime is among it, which nobody can set back: a file overwritten by one of the same size and time is another.
    """
    before = path.stat()
    key = content_id(str(path.absolute()), before.st_dev, before.st_ino, *_state(before))
    kept = _cache() / key if before.st_size >= _REMEMBERED and _cache().is_absolute() else None
    if kept is not None and (known := _known(kept)):
        return known
    digest = sha256_of(path)
    changed = max(before.st_mtime, before.st_ctime)
    if kept is not None and _state(path.stat()) == _state(before) and time.time() - changed > _SETTLED_S:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, digest)
        except OSError:
            pass  # a full or read-only disk: it is hashed again next time
    return digest


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _known(kept: Path) -> str | None:
    try:
        text = kept.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _cache() -> Path:
    """Where hashes of large files are kept, 64 bytes each."""
    root = os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache"
    return Path(root) / "firsthand" / "sha256"
