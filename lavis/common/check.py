"""Checks a whole configuration before anything is built: every problem at once, each with file, line and cure.

Parts are checked by binding their nodes to constructor signatures, fixed sections by their dataclasses
(``binding.py``); what only shows across sections (splits, parts that need each other) is checked here. No file of data
or weights is read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from lavis.common.binding import Binder, Problem
from lavis.common.config import Config
from lavis.common.registry import registry
from lavis.common.schema import RunConfig
from lavis.common.signatures import Parameter, kind_of_key
from lavis.common.yaml_tree import ConfigError

EXPERIMENT = ("model", "datasets", "task")
"""Sections that training and evaluation need; ``run`` has a default for everything."""

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TOP = {
    "name": Parameter(str, False),
    "model": Parameter(Any, False),
    "datasets": Parameter(Any, False),
    "task": Parameter(Any, False),
    "run": Parameter(RunConfig, False),
    "imports": Parameter(list[str], False),
}
_MODEL = {
    "trainable": Parameter(list[str] | None, False),  # patterns of parameters that learn
    "weights": Parameter(str | list[str] | None, False),  # files to start from, later ones on top
    "fold_adapters": Parameter(bool, False),  # add the updates of their adapters to the weights, and begin these anew
}


def check(config: Config, required: Collection[str] = ()) -> list[Problem]:
    """All problems of a configuration, in the order of its keys; empty if there are none.

    Args:
        config: the composed tree; sections that are absent are not checked.
        required: sections that must be there, such as ``EXPERIMENT``.
    """
    binder = Binder(config.origin)
    binder.keys(config.tree, _TOP, (), "a configuration")
    for section in required:
        if config.get(section) is None:
            binder.add((section,), f"this section is missing; a configuration to run needs {', '.join(required)}")
    _import(binder, config.get("imports") or [])
    if config.get("model") is not None:
        _check_model(binder, config["model"])
    if config.get("datasets") is not None:
        _check_datasets(binder, config["datasets"])
    if config.get("task") is not None:
        binder.entry(config["task"], registry.tasks, ("task",))
    _check_splits(binder, config)
    return binder.problems


def require_valid(config: Config, required: Collection[str] = EXPERIMENT) -> None:
    """Raises one error that lists every problem of a configuration.

    Raises:
        ConfigError: if there is any.
    """
    problems = check(config, required)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{config.path or 'configuration'}: {count}\n{listing}")


def import_modules(config: Mapping[str, Any]) -> None:
    """Imports the modules named under ``imports``, so that the parts they register can be used.

    Raises:
        ConfigError: if one is not found or fails.
    """
    binder = Binder()
    _import(binder, config.get("imports") or [])
    if binder.problems:
        raise ConfigError("\n".join(map(str, binder.problems)))


def _import(binder: Binder, modules: Any) -> None:
    for index, module in enumerate(modules if isinstance(modules, list) else []):
        at = ("imports", index)
        if not isinstance(module, str) or not _MODULE.fullmatch(module):
            binder.add(at, f"must be the name of a module such as my_package.my_parts, got {module!r}")
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            binder.add(at, f"module {module!r} cannot be imported: {error}; install it or put it on PYTHONPATH")


def _check_model(binder: Binder, node: Any) -> None:
    if isinstance(node, Mapping):
        node = {"name": "video_llm", **node}
    binder.entry(node, registry.models, ("model",), extra=_MODEL)
    if not isinstance(node, Mapping):
        return
    chosen = {key: _name(part) for key, part in node.items()}
    for key, name in chosen.items():
        kind = kind_of_key(key)
        entry = Binder().lookup(kind, name, ()) if kind is not None and name is not None else None
        for other, allowed in getattr(entry, "requires", {}).items():
            if chosen.get(other) not in allowed:
                binder.add(
                    ("model", key),
                    f"{name!r} needs model.{other} to be {' or '.join(allowed)}, got {chosen.get(other)!r}",
                )


def _check_datasets(binder: Binder, node: Any) -> None:
    if not isinstance(node, Mapping) or not node:
        binder.add(("datasets",), "must map names of your choice to datasets, such as qvhighlights: {name: grounding}")
        return
    for name, dataset in node.items():
        binder.entry(dataset, registry.datasets, ("datasets", name))


def _check_splits(binder: Binder, config: Config) -> None:
    run, datasets = config.get("run"), config.get("datasets")
    if not isinstance(run, Mapping):
        return
    known = {split for node in datasets.values() for split in _splits(node)} if isinstance(datasets, Mapping) else set()
    for key in ("train_splits", "valid_splits", "test_splits"):
        for split in run.get(key) or [] if isinstance(run.get(key), list) else []:
            if known and split not in known:
                binder.add(("run", key), f"no dataset has a split {split!r}; there are {', '.join(sorted(known))}")
    monitor, valid = run.get("monitor", {}), run.get("valid_splits", ["val"])
    split = monitor.get("split", "val") if isinstance(monitor, Mapping) else None
    if isinstance(split, str) and isinstance(valid, list) and valid and split not in valid:
        binder.add(("run", "monitor"), f"split {split!r} is none of run.valid_splits {valid}; set run.monitor.split")


def _splits(node: Any) -> set[str]:
    """Splits that a dataset's node has annotations for; of a mixture those of its parts."""
    if not isinstance(node, Mapping):
        return set()
    annotations, parts = node.get("annotations"), node.get("parts")
    own = set(annotations) if isinstance(annotations, Mapping) else set()
    below = parts.values() if isinstance(parts, Mapping) else ()
    return own.union(*(_splits(part) for part in below))


def _name(part: Any) -> str | None:
    name = part.get("name") if isinstance(part, Mapping) else part
    return name if isinstance(name, str) else None
