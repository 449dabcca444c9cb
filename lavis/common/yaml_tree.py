"""YAML text to plain values with the line each value stands on.

Differs from a plain ``yaml.safe_load`` in what goes wrong quietly there: a key given twice is refused, tags that would
build Python objects are refused with a reason, ``3e-4`` is a number, and ``yes``, ``12:30`` and dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Key = tuple[Any, ...]

_PLAIN_TAGS = frozenset({"map", "seq", "str", "int", "float", "bool", "null"})


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names file, key and cure."""


@dataclass(frozen=True)
class Tree:
    """A value made of dictionaries, lists and scalars, with the origin (``file:line``) of each leaf.

    A list is one leaf, and so is an empty mapping; origins are keyed by the path of keys.
    """

    value: Any
    origins: Mapping[Key, str]


def parse_yaml(text: str, source: str, *, allow_any: bool = False) -> Tree:
    """The value in ``text``.

    Args:
        text: one YAML document; empty text is an empty mapping.
        source: name for messages and origins.
        allow_any: accept a scalar or list as the whole document.

    Raises:
        ConfigError: for a syntax error, a key given twice or no string, a tag, an alias, several documents, or a
            document that is no mapping.
    """
    import yaml

    loader = _loader_class()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Tree(None if allow_any else {}, {(): source} if allow_any else {})
        builder = _Builder(loader, source)
        value = builder.value(node, ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax_problem(error, source)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply to read") from error
    finally:
        loader.dispose()
    if not allow_any and not isinstance(value, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of keys, got {type(value).__name__}")
    return Tree(value, builder.origins)


def dump_yaml(value: Any, *, flow: bool = False) -> str:
    """``value`` as YAML that ``parse_yaml`` reads back to the same value; ``flow`` puts it on one line."""
    import yaml

    width = float("inf") if flow else 120
    text: str = yaml.dump(
        value, Dumper=_dumper_class(), sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width
    )
    return text.removesuffix("...\n") if flow else text


@cache
def _loader_class() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """The safe loader with numbers and booleans of YAML 1.2."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _add_resolvers(Loader)
    # Decimal only: "010" is ten and not eight.
    Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))
    return Loader


@cache
def _dumper_class() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        """Quotes text that either YAML 1.1 or our loader would take for something else; repeats instead of aliases."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeDumper.yaml_implicit_resolvers.items()}
    _add_resolvers(Dumper)
    return Dumper


def _add_resolvers(cls: Any) -> None:
    digits = r"\d[\d_]*"
    number = rf"(?:{digits}\.[\d_]*|\.{digits})(?:[eE][-+]?\d+)?|{digits}[eE][-+]?\d+|\.(?:inf|Inf|INF)"
    for name, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("float", rf"[-+]?(?:{number})|\.(?:nan|NaN|NAN)", "-+0123456789."),
        ("int", rf"[-+]?{digits}", "-+0123456789"),
    ):
        cls.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"^(?:{pattern})$"), first)


class _Builder:
    """Turns YAML nodes into values, noting where each leaf stands."""

    def __init__(self, loader: Any, source: str) -> None:
        self.origins: dict[Key, str] = {}
        self._loader = loader
        self._source = source
        self._seen: set[int] = set()

    def value(self, node: Any, at: Key, note: bool = True) -> Any:
        import yaml

        # The same node again is an alias: a few of them, nested, stand for billions of values.
        if id(node) in self._seen:
            raise ConfigError(f"{self._place(node)}: anchors and aliases are not read; write ${{other.key}} instead")
        self._seen.add(id(node))
        if node.tag.removeprefix("tag:yaml.org,2002:") not in _PLAIN_TAGS:
            raise ConfigError(f"{self._place(node)}: tag {node.tag!r} is not allowed; only plain values are")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, note)
        if note:
            self.origins[at] = self._place(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, at, note=False) for item in node.value]
        return self._loader.construct_object(node)

    def _mapping(self, node: Any, at: Key, note: bool) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise ConfigError(f"{self._place(key_node)}: a key must be plain text")
            if key == "<<":
                raise ConfigError(f"{self._place(key_node)}: merge keys are not read; use _base_ or repeat the values")
            if key in result:
                raise ConfigError(f"{self._place(key_node)}: key {key!r} is given twice (first on line {lines[key]})")
            lines[key] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*at, key), note)
        if not result and note:
            self.origins[at] = self._place(node)
        return result

    def _place(self, node: Any) -> str:
        return f"{self._source}:{node.start_mark.line + 1}"


def _syntax_problem(error: Any, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}:{mark.line + 1}, column {mark.column + 1}" if mark is not None else source
    shown = mark.get_snippet(indent=2, max_length=100) if mark is not None and mark.buffer is not None else None
    context = f" {error.context}" if error.context else ""
    snippet = f"\n{shown}" if shown else ""
    return f"{where}: not YAML:{context} {error.problem}{snippet}"
