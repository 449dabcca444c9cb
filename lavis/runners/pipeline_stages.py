"""The stages of a pipeline file, read and checked before the first one is begun."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lavis.common.config import Config, load_config
from lavis.common.yaml_tree import ConfigError

STAGE_KEYS = ("name", "action", "config", "options", "inputs", "outputs", "splits", "folds", "settings")
PIPELINE_KEYS = ("name", "description", "options", "output_dir", "code", "stages")
PREDICTING = ("evaluate", "infer")
CONFIGURED = ("train", *PREDICTING)
JOIN = "join folds"
OnCodeChange = Literal["note", "stale"]


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        name: unique in the pipeline.
        action: what to do.
        config: resolved configuration; ``None`` for actions that need none.
        splits: what ``evaluate`` and ``infer`` predict; empty takes ``run.test_splits``.
        inputs: further files it reads.
        outputs: further files it writes.
        folds: into how many parts ``infer`` divides the training splits, so that each is predicted by a model that was
            trained on the others; 0: not at all.
        settings: arguments of other actions.
        anew: whether it was begun with something else, so that what it left must not be resumed.
        seconds: what earlier stages took, by name.
        record: the pipeline's record, while it runs.
    """

    name: str
    action: str
    config: Config | None = None
    splits: Sequence[str] = ()
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    folds: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    anew: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    record: Path | None = None


Action = Callable[[Stage], Sequence[Path]]
"""Carries a stage out and returns the files it wrote. All processes call those in ``CONFIGURED``, one the others."""


@dataclass(frozen=True, slots=True)
class ReadingAction:
    """An action that says which files it reads, besides those of a configuration."""

    act: Action
    reads: Callable[[Stage], Iterable[Path]]

    def __call__(self, stage: Stage) -> Sequence[Path]:
        return self.act(stage)


def read_stages(pipeline: Config, options: Sequence[str], actions: Collection[str]) -> list[Stage]:
    """The stages of a pipeline with their configurations.

    Args:
        pipeline: the file.
        options: changes to configurations; one that begins with ``stages.<name>.`` is for that stage.
        actions: known ones.

    Raises:
        ConfigError: for an unknown key or action, a missing one, a name given twice, or a faulty configuration.
    """
    where = pipeline.path or "pipeline"
    nodes = pipeline.get("stages")
    _only(pipeline.tree, PIPELINE_KEYS, f"{where}")
    if pipeline.get("code", "note") not in get_args(OnCodeChange):
        raise ConfigError(
            f"{where}: 'code' says what a change of the code does: note (say so) or stale (do stages again), "
            f"got {pipeline['code']!r}"
        )
    if not isinstance(nodes, list) or not nodes:
        raise ConfigError(f"{where}: 'stages' must be a list of stages")
    stages: list[Stage] = []
    for number, node in enumerate(nodes, start=1):
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str) or "action" not in node:
            raise ConfigError(f"{where}: stage {number} needs a name and an action, got {node!r}")
        label = f"{where}: stage {node['name']!r}"
        _check_node(node, actions, label)
        if node["name"] in [stage.name for stage in stages]:
            raise ConfigError(f"{label} is given twice")
        stages.append(_stage(node, [*(pipeline.get("options") or []), *(node.get("options") or [])], options))
    unknown = {o.split(".")[1] for o in options if o.startswith("stages.")} - {stage.name for stage in stages}
    if unknown:
        raise ConfigError(
            f"{where} has no stage {', '.join(sorted(unknown))}; it has {', '.join(s.name for s in stages)}"
        )
    return stages


def predicted_splits(stage: Stage) -> list[str]:
    """Splits that ``evaluate`` or ``infer`` predicts."""
    return list(stage.splits) or list(config_of(stage).find("run.test_splits", ["test"]))


def config_of(stage: Stage) -> Config:
    """The configuration of a stage whose action needs one."""
    assert stage.config is not None, f"stage {stage.name} has no config"
    return stage.config


def _check_node(node: Mapping[str, Any], actions: Collection[str], label: str) -> None:
    _only(node, STAGE_KEYS, label)
    action = node["action"]
    if action not in actions:
        raise ConfigError(f"{label}: unknown action {action!r}; known: {', '.join(sorted(actions))}")
    if action in CONFIGURED and "config" not in node:
        raise ConfigError(f"{label}: the action {action!r} needs a 'config'")
    for key in ("splits", "inputs", "outputs", "options"):
        if not isinstance(node.get(key) or [], list):
            raise ConfigError(f"{label}: {key!r} must be a list, got {node[key]!r}")
    if not isinstance(node.get("settings") or {}, Mapping):
        raise ConfigError(f"{label}: 'settings' must be a mapping, got {node['settings']!r}")
    folds = node.get("folds", 0)
    if "folds" in node and (action != "infer" or not isinstance(folds, int) or isinstance(folds, bool) or folds < 2):
        raise ConfigError(
            f"{label}: 'folds' goes with the action 'infer' and is a number of at least 2, got {folds!r} for {action!r}"
        )


def _stage(node: Mapping[str, Any], own_options: Sequence[str], options: Sequence[str]) -> Stage:
    prefix = f"stages.{node['name']}."
    general = [option for option in options if not option.startswith("stages.")]
    special = [option.removeprefix(prefix) for option in options if option.startswith(prefix)]
    config = load_config(node["config"], [*own_options, *general, *special]) if "config" in node else None
    return Stage(
        name=node["name"],
        action=node["action"],
        config=config,
        splits=tuple(node.get("splits") or ()),
        inputs=tuple(Path(file) for file in node.get("inputs") or ()),
        outputs=tuple(Path(file) for file in node.get("outputs") or ()),
        folds=node.get("folds", 0),
        settings=dict(node.get("settings") or {}),
    )


def _only(node: Mapping[str, Any], keys: Sequence[str], label: str) -> None:
    unknown = [key for key in node if key not in keys]
    if unknown:
        raise ConfigError(f"{label}: unknown key {', '.join(unknown)}; known: {', '.join(keys)}")
