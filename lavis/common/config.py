"""Configuration: YAML files composed through ``_base_``, changed by ``--options``, with the origin of every value.

``_base_`` (one path or a list, relative to a config root, or to the file itself if it starts with ``./`` or ``../``) is
merged first, then the file, then the options. Mappings merge by key, lists replace, and a node whose ``name`` changes
is replaced as a whole, so the fields of one part never leak into another. ``${a.b}``, ``${oc.env:VAR,default}`` and
``${data:path}`` (``layouts.data_path``) are resolved on the merged tree.

Source: the layered YAML files of LAVIS (Li et al., 2022; salesforce/LAVIS). Unlike it: explicit bases instead of
defaults found through class names, safe loading, duplicate keys refused, and ``origin`` tells where a value was set.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.io import read_text, write_text
from lavis.common.layouts import data_path
from lavis.common.yaml_tree import ConfigError, Key, Tree, dump_yaml, parse_yaml

__all__ = [
    "Config", "ConfigError", "config_roots", "find_config", "list_configs", "load_config", "merge_trees",
    "parse_options", "split_options",
]  # fmt: skip

BASE_KEY = "_base_"
OPTIONS_SOURCE = "--options"


@dataclass(frozen=True)
class Config(Mapping[str, Any]):
    """A composed configuration: a read-only mapping of plain Python values.

    Args:
        tree: nested dictionaries and lists, interpolations resolved.
        origins: for each leaf (path of keys) the file and line it was set in, or ``--options``.
        path: the file asked for; ``None`` for a tree made in memory.
    """

    tree: dict[str, Any]
    origins: Mapping[Key, str] = field(default_factory=dict)
    path: Path | None = None

    def __getitem__(self, key: str) -> Any:
        return self.tree[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tree)

    def __len__(self) -> int:
        return len(self.tree)

    @property
    def name(self) -> str:
        """Name of the experiment, under which its results lie: the key ``name``, or else the file's stem."""
        given = self.tree.get("name")
        if isinstance(given, str):
            return given
        return self.path.stem if self.path is not None else "unnamed"

    def find(self, dotted: str, default: Any = None) -> Any:
        """The value at ``a.b.c``, or ``default`` where there is none."""
        node: Any = self.tree
        for part in dotted.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    def origin(self, key: str | Sequence[Any]) -> str:
        """Where ``key`` (dotted, or a sequence of keys) was set: its own origin, else that of the nearest parent.

        Returns:
            ``file:line``, ``--options``, the path of the configuration, or ``""`` where there is none.
        """
        path: Key = tuple(key.split(".")) if isinstance(key, str) else tuple(key)
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        inside = next((self.origins[k] for k in self.origins if k[: len(path)] == path), None) if path else None
        return inside or (_display(self.path) if self.path is not None else "")

    def to_yaml(self, origins: bool = False) -> str:
        """The resolved tree as YAML; with ``origins``, a comment behind each leaf says where it was set."""
        if not origins:
            return dump_yaml(self.tree)
        return "".join(_annotated(self.tree, (), self, 0))

    def save(self, path: str | Path) -> Path:
        """Writes the resolved tree as YAML in one step; ``load_config`` reads it back to the same tree."""
        return write_text(path, self.to_yaml())

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any]) -> Config:
        """A configuration made in memory; interpolations are resolved."""
        return cls(tree=_resolve(_copy(tree), {}, None))


def load_config(path: str | Path, options: Sequence[str] = ()) -> Config:
    """Reads, composes and resolves a configuration.

    Args:
        path: file, absolute or relative to the working directory or a config root, with or without ``.yaml``.
        options: ``a.b=value`` (or ``a.b value`` as two items, as LAVIS also takes), the value in YAML. ``_base_=``
            names a file that is laid upon the configuration before the other options are; there may be several.

    Raises:
        ConfigError: if a file is missing or malformed, bases form a circle, an option is malformed, or an
            interpolation cannot be resolved. Names file, line and key.
    """
    file = find_config(path)
    items = list(split_options(options))
    composed = _compose(file, ())
    for base in (text for key, text in items if key == BASE_KEY):
        composed = merge_trees(composed, _compose(find_config(base), ()))
    composed = merge_trees(composed, parse_options([f"{key}={text}" for key, text in items if key != BASE_KEY]))
    return Config(tree=_resolve(composed.value, composed.origins, file), origins=composed.origins, path=file)


def config_roots() -> list[Path]:
    """Folders that configurations are looked up in, first match wins: ``./configs``, the checkout's, the installed."""
    package = Path(__file__).resolve().parent.parent
    roots = [Path.cwd() / "configs", package.parent / "configs", package / "configs"]
    existing = [root for root in roots if root.is_dir()]
    return list(dict.fromkeys(root.resolve() for root in existing))


def find_config(path: str | Path, relative_to: Path | None = None) -> Path:
    """The file that ``path`` means.

    Args:
        path: with or without ``.yaml``; absolute, or relative to the working directory or a config root.
        relative_to: file in which ``path`` is written as a base: then the working directory does not count, and
            ``./`` and ``../`` start from that file.

    Raises:
        ConfigError: if there is none; names the places looked in and the nearest existing one.
    """
    wanted = Path(path).expanduser()
    if wanted.is_absolute():
        places = [wanted]
    elif relative_to is not None and str(path).startswith(("./", "../")):
        places = [relative_to.parent / str(path)]
    else:
        places = [root / wanted for root in config_roots()]
        if relative_to is None:
            places.insert(0, Path.cwd() / wanted)
    for place in places:
        for candidate in (place, place.with_name(place.name + ".yaml")):
            if candidate.is_file():
                return candidate.resolve()
    raise ConfigError(_not_found(str(path), places, relative_to))


def list_configs(folder: str) -> dict[str, Path]:
    """Files under ``folder`` of all config roots, by their name relative to it without ``.yaml``.

    Files whose name starts with ``_`` are fragments for ``_base_`` and are left out.
    """
    found: dict[str, Path] = {}
    for root in config_roots():
        for file in sorted((root / folder).rglob("*.yaml")):
            if not file.name.startswith("_"):
                found.setdefault(file.relative_to(root / folder).with_suffix("").as_posix(), file)
    return dict(sorted(found.items()))


def merge_trees(base: Tree, over: Tree) -> Tree:
    """``over`` laid upon ``base``; neither is changed.

    Mappings merge by key, everything else replaces, and so does a mapping whose ``name`` differs from the one below it.
    The outermost mapping is exempt: its ``name`` names the experiment and not a part.
    """
    origins = dict(base.origins)
    value = _merge(base.value, over.value, (), origins, over.origins)
    return Tree(value, origins)


def parse_options(options: Sequence[str], source: str = OPTIONS_SOURCE) -> Tree:
    """One tree out of ``a.b=value`` items; ``a.b value`` as two items is taken as well. A later item wins.

    Raises:
        ConfigError: if an item lacks a key or a value, or the value is no YAML.
    """
    tree = Tree({}, {})
    for dotted, text in split_options(options):
        keys = tuple(dotted.split("."))
        if not all(re.fullmatch(r"[\w/-]+", key) for key in keys):
            raise ConfigError(f"{source}: {dotted!r} is no key such as run.batch_size")
        parsed = parse_yaml(text, f"{source} {dotted}", allow_any=True)
        value = parsed.value
        for key in reversed(keys):
            value = {key: value}
        tree = merge_trees(tree, Tree(value, {(*keys, *key): source for key in parsed.origins}))
    return tree


def split_options(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys and values of options in either spelling, ``a.b=value`` or ``a.b value``.

    Raises:
        ConfigError: if one lacks a key or a value.
    """
    items = iter(options)
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            following = next(items, None)
            if following is None:
                raise ConfigError(f"{OPTIONS_SOURCE}: {item!r} has no value; write {item}=VALUE")
            value = following
        if not key:
            raise ConfigError(f"{OPTIONS_SOURCE}: {item!r} has no key; write KEY=VALUE, such as run.batch_size=2")
        yield key, value


def _compose(file: Path, above: tuple[Path, ...]) -> Tree:
    if file in above:
        circle = " -> ".join(str(p) for p in (*above[above.index(file) :], file))
        raise ConfigError(f"{BASE_KEY} goes in a circle: {circle}")
    own = parse_yaml(read_text(file), _display(file))
    value = dict(own.value)
    bases = value.pop(BASE_KEY, [])
    origins = {key: origin for key, origin in own.origins.items() if key[:1] != (BASE_KEY,)}
    composed = Tree({}, {})
    for base in _base_list(bases, file):
        composed = merge_trees(composed, _compose(find_config(base, relative_to=file), (*above, file)))
    return merge_trees(composed, Tree(value, origins))


def _base_list(bases: Any, file: Path) -> list[str]:
    listed = [bases] if isinstance(bases, str) else bases
    if not isinstance(listed, list) or not all(isinstance(base, str) for base in listed):
        raise ConfigError(f"{file}: {BASE_KEY} must be a path or a list of paths, got {bases!r}")
    return listed


def _merge(base: Any, over: Any, at: Key, origins: dict[Key, str], new: Mapping[Key, str]) -> Any:
    if not isinstance(base, Mapping) or not isinstance(over, Mapping) or (at and _renamed(base, over)):
        for key in [key for key in origins if key[: len(at)] == at]:
            del origins[key]
        origins.update({key: origin for key, origin in new.items() if key[: len(at)] == at})
        return _copy(over)
    merged = dict(_copy(base))
    if over:
        origins.pop(at, None)  # an empty mapping is a leaf with an origin of its own, until it is filled
    for key, value in over.items():
        if key in base:
            merged[key] = _merge(base[key], value, (*at, key), origins, new)
        else:
            merged[key] = _copy(value)
            origins.update({k: origin for k, origin in new.items() if k[: len(at) + 1] == (*at, key)})
    return merged


def _renamed(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return "name" in over and "name" in base and base["name"] != over["name"]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    return value


def _resolve(tree: dict[str, Any], origins: Mapping[Key, str], file: Path | None) -> dict[str, Any]:
    if not _has_interpolation(tree):
        return tree
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    tree = _with_data_paths(tree, (), origins)
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", None) or "")
        where = Config(tree, origins, file).origin(key) or "configuration"
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{where}: {key or 'interpolation'}: {reason}") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _with_data_paths(value: Any, at: Key, origins: Mapping[Key, str]) -> Any:
    """``${data:path}`` filled in; not a resolver of OmegaConf, since its interface for these changes by version."""
    if isinstance(value, Mapping):
        return {key: _with_data_paths(item, (*at, key), origins) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_data_paths(item, (*at, number), origins) for number, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return re.sub(r"\$\{data:([^${}]+)\}", lambda found: data_path(found[1]), value)
    except ConfigError as error:
        where = origins.get(at) or "configuration"
        raise ConfigError(f"{where}: {'.'.join(map(str, at))}: {error}") from None


def _has_interpolation(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_interpolation(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_interpolation(item) for item in value)
    return isinstance(value, str) and "${" in value


def _display(file: Path) -> str:
    """A path as people know it: relative to the working directory where it lies below."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _not_found(path: str, places: Sequence[Path], relative_to: Path | None) -> str:
    known = [name for root in config_roots() for name in (f.relative_to(root).as_posix() for f in root.rglob("*.yaml"))]
    wanted = path if path.endswith(".yaml") else path + ".yaml"
    near = difflib.get_close_matches(wanted.removeprefix("configs/"), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    asked = f"{BASE_KEY} of {relative_to}" if relative_to is not None else "configuration"
    looked = ", ".join(str(place) for place in places)
    return f"{asked}: no file {path!r}.{hint} Looked for: {looked} (with and without .yaml)"


def _annotated(node: Mapping[str, Any], at: Key, config: Config, depth: int) -> Iterator[str]:
    for key, value in node.items():
        indent, name = "  " * depth, dump_yaml(key, flow=True).rstrip("\n")
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:\n"
            yield from _annotated(value, (*at, key), config, depth + 1)
        else:
            text = dump_yaml(value, flow=True).rstrip("\n")
            yield f"{indent}{name}: {text}  # {config.origin((*at, key))}\n"
