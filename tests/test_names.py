"""One name, one meaning: a public name that two modules define is in a table here, with the meaning that they share."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import firsthand

PACKAGE = Path(firsthand.__file__).parent
SHARED = {
    "answer": "a worker's task: the answer to one request",
    "before_fork": "a worker's task: what every fork of it shares",
    "panel": "an analysis' panel for the report, None where its data are not there",
    "prepare": "a worker's task: what a fork does before its first request",
    "ask": "a world's question about what it has drawn",
    "draw": "a world's picture and what is in it, from a random generator",
    "main": "where a process begins",
    "rows": "a file format's rows, one after another",
    "score_reply": "a leaderboard's own mark for one reply",
}
"""Name -> what it means in every module that defines it: each is one of several that are called in the same place."""


def public_names(source: str) -> set[str]:
    """Classes, functions, type aliases and constants that a module defines at its top level, without an underscore."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def definitions() -> dict[str, list[str]]:
    """Public name -> the modules that define it, for names that more than one does."""
    modules = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in public_names(path.read_text(encoding="utf-8")):
            modules[name].append(str(path.relative_to(PACKAGE)))
    return {name: found for name, found in sorted(modules.items()) if len(found) > 1}


def test_a_public_name_is_defined_once_or_means_the_same_everywhere() -> None:
    assert {name: modules for name, modules in definitions().items() if name not in SHARED} == {}


def test_the_table_has_no_name_that_is_defined_once() -> None:
    assert set(SHARED) - set(definitions()) == set()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("class A: b = 1", {"A"}),
        ("def f(x): y = x", {"f"}),
        ("async def g(): pass", {"g"}),
        ("A = B = 1; C: int = 2; D, E = 3, 4", {"A", "B", "C", "D", "E"}),
        ("_a = 1\nfrom x import y\nimport z", set()),
    ],
)
def test_the_names_of_a_module_are_those_that_it_defines_at_its_top(source: str, names: set[str]) -> None:
    assert public_names(source) == names
