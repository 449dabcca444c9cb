"""What can be configured: keys and types read from constructor signatures, and the registry a type belongs to."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib
import inspect
import os
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

from lavis.common.registry import Registry, registry
from lavis.common.yaml_tree import Key

LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
SCALARS = (bool, int, float, str, Path, os.PathLike)

_EMPTY = inspect.Parameter.empty
_KIND_OF_KEY = {
    "encoder": "encoders", "compressor": "compressors", "prompt": "prompts", "language_model": "language_models",
    "codec": "codecs", "head": "heads", "localizer": "localizers", "reader": "readers", "sampler": "samplers",
    "transform": "transforms", "format": "formats", "task": "tasks",
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """A key that a node may have: its type, and whether it has to be given."""

    hint: Any
    required: bool


def parameters(target: Any) -> dict[str, Parameter]:
    """Keys that a class, dataclass or function can be configured with; ``*`` stands for any further key."""
    known: dict[str, Parameter] = {}
    if _inherits_blank_constructor(target):
        signature = inspect.Signature()
    else:
        signature = inspect.signature(target)
    hints = hints_of(target)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            known["*"] = Parameter(Any, False)
        elif parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
            known[name] = Parameter(hints.get(name, Any), parameter.default is _EMPTY)
    return known


def wiring_of(target: Any) -> tuple[str, ...]:
    """Names of constructor parameters that the builder passes."""
    return tuple(getattr(target, "wiring", ()))


def kind_of(base: type, at: Key) -> Registry[Any] | None:
    """The registry whose entries fill a parameter annotated ``base``: by the module of ``base``, else by the key."""
    module = getattr(base, "__module__", "")
    for kind in registry.kinds().values():
        if module == kind.location or module == f"{kind.location}.base":
            return kind
    return kind_of_key(str(at[-1])) if at and not module.startswith("lavis.") else None


def kind_of_key(key: str) -> Registry[Any] | None:
    """The registry whose entries customarily stand under ``key``."""
    named = _KIND_OF_KEY.get(key)
    return registry.kinds()[named] if named is not None else None


def describe(hint: Any) -> str:
    """A type in words: ``a number or null``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(a) for a in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments)) if len(arguments) > 1 else str(arguments[0])
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} values"
    if origin in LISTS or hint in LISTS:
        return f"a list of {_plural(describe(arguments[0]))}" if arguments else "a list"
    if origin in MAPPINGS or hint in MAPPINGS:
        return f"a mapping to {_plural(describe(arguments[1]))}" if arguments else "a mapping"
    words = {
        bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path",
        os.PathLike: "a path", None: "null", type(None): "null", Any: "anything",
    }  # fmt: skip
    if hint in words:
        return words[hint]
    if isinstance(hint, type):
        kind = kind_of(hint, ())
        return f"settings of {article(kind.kind if kind is not None else hint.__name__)}"
    return str(hint)


@cache
def hints_of(target: Any) -> dict[str, Any]:
    """Annotations of a constructor, by name; one that is imported for type checkers only is looked up in its module."""
    function = target.__init__ if inspect.isclass(target) else target
    holder = target if dataclasses.is_dataclass(target) else function
    known: dict[str, Any] = {}
    while True:
        try:
            return typing.get_type_hints(holder, localns=known)
        except NameError as error:
            if error.name is None or error.name in known:
                raise
            known[error.name] = _imported_for_typing(inspect.getmodule(function), error.name)


def _imported_for_typing(module: types.ModuleType | None, name: str) -> Any:
    """What an ``if TYPE_CHECKING:`` import of ``module`` binds to ``name``; anything, where that cannot be imported."""
    for node in ast.walk(ast.parse(inspect.getsource(module))) if module is not None else ():
        if isinstance(node, ast.ImportFrom) and node.module and any((a.asname or a.name) == name for a in node.names):
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            try:
                return getattr(importlib.import_module(node.module), original)
            except (ImportError, AttributeError):
                return Any
    return Any


def _inherits_blank_constructor(target: Any) -> bool:
    if not inspect.isclass(target):
        return False
    owner = next((cls for cls in target.__mro__ if "__init__" in vars(cls)), object)
    return owner is object or owner.__module__.split(".")[0] == "torch" or owner.__module__ in ("typing", "abc")


def article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _plural(words: str) -> str:
    return {"a whole number": "whole numbers", "a number": "numbers", "a path": "paths"}.get(words, words)
