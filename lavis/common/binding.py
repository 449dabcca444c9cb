"""Fits plain YAML values to types, dataclasses and constructor signatures, and collects everything that does not fit.

The signature of a part's constructor is its schema: parameter names are the keys, annotations the types. A class may
declare ``wiring``, the names of parameters that its builder passes (widths, tokenizers) and that YAML must not set.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from lavis.common.registry import Registry, UnknownEntryError, registry
from lavis.common.schema import RENAMED
from lavis.common.signatures import (
    LISTS,
    MAPPINGS,
    SCALARS,
    Parameter,
    article,
    describe,
    hints_of,
    kind_of,
    parameters,
    wiring_of,
)
from lavis.common.yaml_tree import ConfigError, Key

D = TypeVar("D")


@dataclass(frozen=True)
class Problem:
    """One fault of a configuration: dotted ``key``, ``message`` and ``origin`` (``file:line``) of the value."""

    key: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        origin = f"  [{self.origin}]" if self.origin else ""
        return f"{self.key}: {self.message}{origin}"


class Binder:
    """Walks values and types together; ``problems`` grows with everything that does not fit.

    Args:
        origin: tells where the value at a key was set, for messages.
    """

    def __init__(self, origin: Callable[[Key], str] = lambda key: "") -> None:
        self.problems: list[Problem] = []
        self._origin = origin

    def add(self, at: Key, message: str) -> None:
        """Notes a problem with the value at ``at``."""
        self.problems.append(Problem(".".join(map(str, at)) or "configuration", message, self._origin(at)))

    def value(self, value: Any, hint: Any, at: Key) -> None:
        """Checks ``value`` against the annotation ``hint``."""
        if hint is Any or hint is object or hint is inspect.Parameter.empty:
            return
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (Union, types.UnionType):
            self._union(value, hint, arguments, at)
        elif origin is Literal:
            if not any(value == choice and type(value) is type(choice) for choice in arguments):
                self.add(at, f"must be {describe(hint)}, got {value!r}{_nearest(value, arguments)}")
        elif origin in LISTS or hint in LISTS:
            self._list(value, hint, arguments, at)
        elif origin in MAPPINGS or hint in MAPPINGS:
            self._mapping(value, hint, arguments, at)
        elif hint is None or hint is type(None) or hint in SCALARS:
            if not _is_scalar(value, hint):
                self.add(at, f"must be {describe(hint)}, got {_shown(value)}{_number_hint(value, hint)}")
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            self.dataclass(value, hint, at)
        elif isinstance(hint, type):
            self.part(value, hint, at)
        else:
            self.add(at, f"cannot be set in a configuration (its type is {describe(hint)})")

    def dataclass(self, node: Any, cls: type, at: Key) -> None:
        """Checks a mapping against the fields of a dataclass, and its ranges if the types fit."""
        if not isinstance(node, Mapping):
            self.add(at, f"must be a mapping of {article(cls.__name__)}'s keys, got {_shown(node)}")
            return
        before = len(self.problems)
        self.keys(node, parameters(cls), at, cls.__name__)
        for spec in dataclasses.fields(cls):
            if "kind" in spec.metadata and spec.name in node:
                passed = {*parameters(cls), *spec.metadata.get("wiring", ())}
                self._entries(node[spec.name], registry.kinds()[spec.metadata["kind"]], (*at, spec.name), passed)
        if len(self.problems) == before:
            try:
                _construct(cls, node)
            except ValueError as error:
                self.add(at, str(error))

    def part(self, node: Any, base: type, at: Key) -> None:
        """Checks the node of a part: a registered one (chosen by ``name``), or a plain class of its own."""
        kind = kind_of(base, at)
        if kind is not None:
            self.entry(node, kind, at)
        elif not isinstance(node, Mapping):
            self.add(at, f"must be a mapping of {article(base.__name__)}'s settings, got {_shown(node)}")
        else:
            self.keys(node, parameters(base), at, base.__name__, wiring_of(base))

    def entry(
        self,
        node: Any,
        kind: Registry[Any],
        at: Key,
        passed: Collection[str] = (),
        extra: Mapping[str, Parameter] | None = None,
    ) -> Any:
        """Checks the node of a registered part: a mapping with a name and settings, or only the name.

        Args:
            node: the node.
            kind: registry of its kind.
            at: keys that lead to it.
            passed: parameters it gets from its builder, besides its own ``wiring``.
            extra: keys its builder reads, besides the constructor's.

        Returns:
            The entry, or ``None`` where it is unknown or cannot be imported.
        """
        if isinstance(node, str):
            node = {"name": node}
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
            self.add(at, f"must be a mapping with a name, such as {{name: {_first(kind)}}}, got {_shown(node)}")
            return None
        entry = self.lookup(kind, node["name"], (*at, "name"))
        if entry is not None:
            settings = {key: value for key, value in node.items() if key != "name"}
            owner = f"{kind.kind} {node['name']!r}"
            known = {**parameters(entry), **(extra or {})}
            self.keys(settings, known, at, owner, {*wiring_of(entry), *passed})
        return entry

    def lookup(self, kind: Registry[Any], name: str, at: Key) -> Any:
        """The entry called ``name``, or ``None`` after noting why there is none."""
        try:
            return kind.get(name)
        except UnknownEntryError as error:
            self.add(at, str(error))
        except ImportError as error:
            foreign = error.name is not None and error.name.split(".")[0] != "lavis"
            missing = f"; install the package that provides {error.name!r}" if foreign else ""
            self.add(at, f"{kind.kind} {name!r} cannot be imported: {error}{missing}")
        return None

    def keys(
        self,
        node: Mapping[str, Any],
        known: Mapping[str, Parameter],
        at: Key,
        owner: str,
        wiring: Collection[str] = (),
    ) -> None:
        """Checks a mapping against known keys: unknown, missing and builder-only ones, and each value's type."""
        settable = {name: parameter for name, parameter in known.items() if name not in wiring and name != "*"}
        for key, value in node.items():
            if key in settable:
                self.value(value, settable[key].hint, (*at, key))
            elif key in wiring:
                self.add((*at, key), f"{owner} gets {key!r} from the builder; remove it")
            elif "*" not in known:
                self.add((*at, key), f"unknown key of {owner}.{_suggestion(key, settable)}")
        for name, parameter in settable.items():
            if parameter.required and name not in node:
                words = "" if parameter.hint is Any else f" ({describe(parameter.hint)})"
                self.add(at, f"{owner} needs the key {name!r}{words}")

    def _entries(self, value: Any, kind: Registry[Any], at: Key, passed: Collection[str]) -> None:
        """Parts named inside a section: they get the section's own settings from whoever builds them."""
        nodes = [((*at, index), node) for index, node in enumerate(value)] if isinstance(value, list) else [(at, value)]
        for place, node in nodes:
            self.entry(node, kind, place, passed=passed)

    def _union(self, value: Any, hint: Any, branches: Sequence[Any], at: Key) -> None:
        attempts = []
        for branch in branches:
            attempt = Binder(self._origin)
            attempt.value(value, branch, at)
            if not attempt.problems:
                return
            attempts.append((branch, attempt.problems))
        inner = [problems for branch, problems in attempts if _is_meant(branch, value, at)]
        if len(inner) == 1:  # only one branch is meant: its own complaints say more than "must be A or B"
            self.problems.extend(inner[0])
        else:
            others = [choice for branch in branches for choice in _choices(branch)]
            self.add(at, f"must be {describe(hint)}, got {_shown(value)}{_nearest(value, others)}")

    def _list(self, value: Any, hint: Any, arguments: Sequence[Any], at: Key) -> None:
        if not isinstance(value, (list, tuple)):
            self.add(at, f"must be {describe(hint)}, got {_shown(value)}")
            return
        fixed = typing.get_origin(hint) is tuple and arguments and arguments[-1] is not Ellipsis
        if fixed and len(value) != len(arguments):
            self.add(at, f"must be {describe(hint)}, got {len(value)} values")
            return
        for index, item in enumerate(value):
            wanted = (arguments[index] if fixed else arguments[0]) if arguments else Any
            self.value(item, wanted, (*at, index))

    def _mapping(self, value: Any, hint: Any, arguments: Sequence[Any], at: Key) -> None:
        if not isinstance(value, Mapping):
            self.add(at, f"must be {describe(hint)}, got {_shown(value)}")
            return
        for key, item in value.items():
            if arguments:
                self.value(item, arguments[1], (*at, key))


def bind_dataclass(cls: type[D], node: Mapping[str, Any] | None, where: str = "") -> D:
    """An instance of ``cls`` filled from a mapping, nested dataclasses included; ``None`` gives the defaults.

    Args:
        cls: a dataclass.
        node: keys and plain values.
        where: dotted key of the node, for messages.

    Raises:
        ConfigError: with every key or value that does not fit.
    """
    binder = Binder()
    binder.dataclass(node or {}, cls, tuple(where.split(".")) if where else ())
    if binder.problems:
        raise ConfigError("\n".join(map(str, binder.problems)))
    instance: D = _construct(cls, node or {})
    return instance


def _construct(cls: Any, node: Mapping[str, Any]) -> Any:
    hints = hints_of(cls)
    return cls(**{key: shaped(value, hints.get(key, Any)) for key, value in node.items()})


def shaped(value: Any, hint: Any) -> Any:
    """A checked value in the form its annotation asks for: nested dataclasses, tuples, floats, paths."""
    for branch in _branches(hint):
        origin, arguments = typing.get_origin(branch), typing.get_args(branch)
        if isinstance(value, Mapping):
            if dataclasses.is_dataclass(branch):
                return _construct(branch, value)
            if origin in MAPPINGS and arguments:
                return {key: shaped(item, arguments[1]) for key, item in value.items()}
        elif isinstance(value, list) and (origin in LISTS or branch in LISTS):
            item_hints = list(arguments) if origin is tuple and arguments[-1:] != (Ellipsis,) else []
            items = [shaped(v, item_hints[i] if item_hints else (arguments or (Any,))[0]) for i, v in enumerate(value)]
            return tuple(items) if tuple in (origin, branch) else items
        elif branch is float and type(value) is int:
            return float(value)
        elif branch is Path and isinstance(value, str):
            return Path(value)
    return value


def _branches(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _choices(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _is_meant(branch: Any, value: Any, at: Key) -> bool:
    """Whether a value that fits no branch of a union looks like this one: by being a list, a mapping, a part's name."""
    origin = typing.get_origin(branch)
    if isinstance(value, list):
        return origin in LISTS or branch in LISTS
    is_class = isinstance(branch, type) and branch not in (*SCALARS, *LISTS, *MAPPINGS, type(None))
    if isinstance(value, str):
        return is_class and kind_of(branch, at) is not None
    return isinstance(value, Mapping) and (is_class or origin in MAPPINGS or branch in MAPPINGS)


def _is_scalar(value: Any, hint: Any) -> bool:
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)


def _number_hint(value: Any, hint: Any) -> str:
    if hint is str and isinstance(value, (int, float)):
        return " (put it in quotes)"
    if hint is int and isinstance(value, float) and value.is_integer():
        return f" (write {int(value)})"
    return ""


def _suggestion(key: str, known: Mapping[str, Parameter]) -> str:
    if RENAMED.get(key) in known:
        return f" LAVIS' {key} is called {RENAMED[key]!r} here."
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known)) or 'none'}."


def _nearest(value: Any, choices: Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1, cutoff=0.6)
    return f". Did you mean {near[0]!r}?" if near else ""


def _first(kind: Registry[Any]) -> str:
    return next(iter(kind.names()), "...")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping ({', '.join(map(str, list(value)[:5])) or 'empty'})"
    return "null" if value is None else f"{value!r}"
