"""Compare MathVision's free answers as VLMEvalKit does. A task of zygote.py, not to import.

A request {"answer", "gold"} gets {"equal": bool, "quirk": str}. There the texts are handed to Python's `eval`, beside
local variables `a` and `b`; here their syntax tree is walked, so that arithmetic and those two names mean the same, and
nothing else is carried out: a reply must not run code.
"""

import ast
import operator
import resource
from collections.abc import Callable, Mapping
from typing import Any

from latex2sympy2_extended import latex2sympy  # type: ignore[import-untyped, unused-ignore]

from firsthand.workers.limits import limit

_MEMORY_BYTES = 1 << 30
_NEAR = 1e-6
"""VLMEvalKit's tolerance."""
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_CALLED: dict[str, Callable[..., Any]] = {"abs": abs, "max": max, "min": min, "pow": pow, "round": round, "sum": sum}


def before_fork() -> None:
    """Fill the parser's caches once, for every child."""
    for text in ("5", r"\frac{1}{2}", r"\sqrt{2}", "x^2+1"):
        latex2sympy(text)


def prepare(_: str) -> None:
    """Limit this process's memory."""
    limit(resource.RLIMIT_AS, _MEMORY_BYTES)


def answer(request: dict[str, str]) -> dict[str, object]:
    """Compare; whatever cannot be read is not equal, as there."""
    gold, given = (request[name].lower().strip() for name in ("gold", "answer"))
    if gold == given:
        return {"equal": True, "quirk": ""}
    for equal in (_equal_as_python, _equal_as_latex):
        try:
            is_equal, quirk = equal(gold, given)
        except Exception:  # there, too, every error of reading or comparing means: not in this way
            continue
        if is_equal:
            return {"equal": True, "quirk": quirk}
    return {"equal": False, "quirk": ""}


def _equal_as_python(gold: str, given: str) -> tuple[bool, str]:
    first = _value(gold, {})
    tree = ast.parse(given, mode="eval").body
    second = _walk(tree, {"a": first})
    uses_a = any(isinstance(node, ast.Name) and node.id == "a" for node in ast.walk(tree))
    return bool(abs(first - second) < _NEAR), "name_a" if uses_a else ""


def _equal_as_latex(gold: str, given: str) -> tuple[bool, str]:
    if "%" in gold + given:  # with the ANTLR 4.11 that VLMEvalKit pins, the parser breaks at a percent sign
        return False, ""
    first, second = latex2sympy(gold), latex2sympy(given)
    names = {"a": first, "b": second}
    if abs(_value(str(first), names) - _value(str(second), names)) < _NEAR:
        return True, ""
    return bool(abs(first - second) < _NEAR), ""


def _value(text: str, names: Mapping[str, Any]) -> Any:
    return _walk(ast.parse(text, mode="eval").body, names)


def _walk(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_walk(node.operand, names))
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_walk(node.left, names), _walk(node.right, names))
    if isinstance(node, ast.Tuple | ast.List):
        return [_walk(part, names) for part in node.elts]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _CALLED[node.func.id](*(_walk(part, names) for part in node.args))
    raise ValueError(f"{type(node).__name__} is no arithmetic")
