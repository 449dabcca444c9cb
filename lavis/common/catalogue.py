"""Names and one-line descriptions of registered parts, read from source files: nothing is imported, so it is instant
and works where an optional package is missing.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lavis.common.registry import Registry


def describe_entries(kind: Registry[Any]) -> dict[str, str]:
    """Name to the first line of the docstring, sorted; of parts shipped in the registry's own place.

    Names that a module registers by calling the decorator in a loop are not seen; ``Registry.names`` knows them too.
    """
    found: dict[str, str] = {}
    for file in _files(kind):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                for name in _registered_names(node):
                    found[name] = _first_line(ast.get_docstring(node))
    return dict(sorted(found.items()))


def _files(kind: Registry[Any]) -> list[Path]:
    try:
        spec = importlib.util.find_spec(kind.location)
    except ModuleNotFoundError:
        return []
    if spec is None or spec.origin is None:
        return []
    if kind.one_file:  # or a room whose ``__init__.py`` imports its files
        room = spec.submodule_search_locations is not None
        return sorted(Path(spec.origin).parent.glob("*.py")) if room else [Path(spec.origin)]
    names = set(kind.names())
    return [file for file in sorted(Path(spec.origin).parent.glob("*.py")) if file.stem in names]


def _registered_names(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    """``name`` of every decorator ``@....register("name")`` or ``@registry.register_model("name")``."""
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Attribute)
            and decorator.func.attr.startswith("register")
            and decorator.args
            and isinstance(decorator.args[0], ast.Constant)
            and isinstance(decorator.args[0].value, str)
        ):
            yield decorator.args[0].value


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n", 1)[0]
