"""Stages in order: train, predict, train the next stage on it. What is done and still true is not done again.

A pipeline file lists ``stages``. Each has a ``name``, an ``action``, mostly a ``config`` with ``options``, and perhaps
``inputs`` and ``outputs``; ``output_dir`` is where the record goes, by default beside the first stage's run. A stage is
skipped if it was completed, its outputs are still there as written, and its fingerprint is the same: the resolved
configuration and the content of every file it reads. Stages find each other's results by path: the second stage's
``prior`` names the first stage's predictions.

Source: replaces the manual steps of CALCE (tjhd1475/CALCE): run, move files, merge, edit a YAML file, run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lavis.common import distributed
from lavis.common.checkpoint import file_digest
from lavis.common.config import Config, load_config
from lavis.common.io import read_json, write_json
from lavis.common.logging import get_logger, setup_logging
from lavis.common.yaml_tree import ConfigError
from lavis.runners import run as runs
from lavis.runners.evaluation import digest

STAGE_KEYS = ("name", "action", "config", "options", "inputs", "outputs", "splits", "settings")
PIPELINE_KEYS = ("name", "description", "options", "output_dir", "stages")
logger = get_logger(__name__)


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
        settings: arguments of other actions.
        anew: whether it was begun with something else, so that what it left must not be resumed.
        seconds: what earlier stages took, by name.
    """

    name: str
    action: str
    config: Config | None = None
    splits: Sequence[str] = ()
    inputs: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    anew: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageResult:
    """What became of a stage: whether it was ``skipped``, the ``seconds`` it took (then or now), the files it wrote."""

    name: str
    skipped: bool
    seconds: float
    outputs: list[Path]


Action = Callable[[Stage], Sequence[Path]]
"""Carries a stage out and returns the files it wrote; every process calls it."""


def train_stage(stage: Stage) -> list[Path]:
    """Trains; the result is the best weights."""
    config = _config_of(stage)
    if stage.anew:
        config = replace(config, tree={**config.tree, "run": {**config.get("run", {}), "resume": "never"}})
    return [runs.train(config) / "checkpoints" / "best.safetensors"]


def predict_stage(stage: Stage) -> list[Path]:
    """Predicts and scores splits; the result is the predictions."""
    config = _config_of(stage)
    splits = list(stage.splits) or list(config.find("run.test_splits", ["test"]))
    folder = runs.evaluate(config, splits)
    names = [f"{name}_{split}" for split in splits for name in config["datasets"]]
    files = [folder / "predictions" / f"{name}.jsonl" for name in names]
    return [file for file in files if file.is_file()]


ACTIONS: Mapping[str, Action] = {"train": train_stage, "evaluate": predict_stage, "infer": predict_stage}


def run_pipeline(
    path: str | Path, options: Sequence[str] = (), actions: Mapping[str, Action] | None = None
) -> list[StageResult]:
    """Carries out the stages of a pipeline file, passing over those that are done.

    Args:
        path: pipeline, by path or by name below a config root.
        options: changes to the configuration of every stage, such as ``run.device=cpu``; one that begins with
            ``stages.<name>.`` is for that stage.
        actions: further actions by name, besides train, evaluate and infer.

    Returns:
        what became of each stage, in order; ``<output_dir>/pipelines/<name>.json`` keeps what they were done with.

    Raises:
        ConfigError: if the pipeline or the configuration of any stage is faulty; before the first stage is begun.
    """
    pipeline = load_config(path)
    known = {**ACTIONS, **(actions or {})}
    stages = read_stages(pipeline, options, known)
    folders = [stage.config.find("run.output_dir") for stage in stages if stage.config is not None]
    folders.insert(0, pipeline.get("output_dir"))
    record = Record(Path(next(filter(None, folders), "results")) / "pipelines" / f"{pipeline.name}.json")
    results = []
    for number, stage in enumerate(stages, start=1):
        setup_logging()
        results.append(_run_stage(stage, f"stage {number}/{len(stages)} {stage.name}", known[stage.action], record))
    return results


def _run_stage(stage: Stage, label: str, action: Action, record: Record) -> StageResult:
    fingerprint = record.fingerprint(stage)
    reason = distributed.broadcast_object(record.stale(stage.name, fingerprint))
    if reason is None:
        logger.info("%s: done already, nothing it depends on has changed", label)
        return StageResult(stage.name, True, record.seconds().get(stage.name, 0.0), record.outputs(stage.name))
    logger.info("%s: %s (%s)", label, stage.action, reason)
    missing = [str(file) for file in stage.inputs if not file.is_file()]
    if missing:
        raise ValueError(f"{label} reads files that do not exist: {', '.join(missing)}; run the stages that write them")
    anew = record.begin(stage.name, fingerprint)
    start = time.monotonic()
    outputs = [*action(replace(stage, anew=anew, seconds=record.seconds())), *stage.outputs]
    seconds = time.monotonic() - start
    absent = [str(file) for file in outputs if not file.is_file()]
    if absent:
        raise ValueError(f"{label} ended without writing {', '.join(absent)}")
    record.complete(stage.name, fingerprint, outputs, seconds)
    return StageResult(stage.name, False, seconds, list(outputs))


def read_stages(pipeline: Config, options: Sequence[str], actions: Mapping[str, Action]) -> list[Stage]:
    """The stages of a pipeline with their configurations.

    Raises:
        ConfigError: for an unknown key or action, a missing one, a name given twice, or a faulty configuration.
    """
    where = pipeline.path or "pipeline"
    nodes = pipeline.get("stages")
    _only(pipeline.tree, PIPELINE_KEYS, f"{where}")
    if not isinstance(nodes, list) or not nodes:
        raise ConfigError(f"{where}: 'stages' must be a list of stages")
    stages: list[Stage] = []
    for number, node in enumerate(nodes, start=1):
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str) or "action" not in node:
            raise ConfigError(f"{where}: stage {number} needs a name and an action, got {node!r}")
        label = f"{where}: stage {node['name']!r}"
        _only(node, STAGE_KEYS, label)
        if node["action"] not in actions:
            raise ConfigError(f"{label}: unknown action {node['action']!r}; known: {', '.join(sorted(actions))}")
        if node["name"] in [stage.name for stage in stages]:
            raise ConfigError(f"{label} is given twice")
        if node["action"] in ACTIONS and "config" not in node:
            raise ConfigError(f"{label}: the action {node['action']!r} needs a 'config'")
        stages.append(_stage(node, [*(pipeline.get("options") or []), *(node.get("options") or [])], options))
    unknown = {o.split(".")[1] for o in options if o.startswith("stages.")} - {stage.name for stage in stages}
    if unknown:
        raise ConfigError(
            f"{where} has no stage {', '.join(sorted(unknown))}; it has {', '.join(s.name for s in stages)}"
        )
    return stages


class Record:
    """What stages were completed with: their fingerprints and the digests of their outputs, in one JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Any] = read_json(path) if path.is_file() else {}
        self._digests: dict[str, list[Any]] = self._known.setdefault("files", {})
        self._stages: dict[str, Any] = self._known.setdefault("stages", {})

    def fingerprint(self, stage: Stage) -> str:
        """Changes if the stage's configuration, or the content of any file it reads, does."""
        files = sorted({*stage.inputs, *_files_in(stage.config)})
        contents = {str(file): self._digest(file) for file in files if file.is_file()}
        return digest([stage.action, _essence(stage.config), list(stage.splits), dict(stage.settings), contents])

    def stale(self, name: str, fingerprint: str) -> str | None:
        """Why a stage has to be run; ``None`` if it has not."""
        known = self._stages.get(name)
        if known is None:
            return "not done yet"
        if known["fingerprint"] != fingerprint:
            return "its configuration or a file it reads has changed"
        if known["outputs"] is None:
            return "it was interrupted"
        for path, content in known["outputs"].items():
            if not Path(path).is_file():
                return f"{path} is gone"
            if self._digest(Path(path)) != content:
                return f"{path} was changed"
        return None

    def outputs(self, name: str) -> list[Path]:
        """Files a completed stage wrote."""
        return [Path(path) for path in self._stages[name]["outputs"]]

    def begin(self, name: str, fingerprint: str) -> bool:
        """Notes that a stage is under way; says whether it was begun with another fingerprint before."""
        anew = name in self._stages and self._stages[name]["fingerprint"] != fingerprint
        self._stages[name] = {"fingerprint": fingerprint, "outputs": None}
        self._write()
        return anew

    def seconds(self) -> dict[str, float]:
        """What completed stages took, by name; stages that were interrupted count from their last start."""
        return {name: known["seconds"] for name, known in self._stages.items() if known.get("seconds") is not None}

    def complete(self, name: str, fingerprint: str, outputs: Sequence[Path], seconds: float) -> None:
        """Notes that a stage is done."""
        contents = {str(file): self._digest(file) for file in outputs}
        self._stages[name] = {"fingerprint": fingerprint, "outputs": contents, "seconds": round(seconds, 1)}
        self._write()

    def _digest(self, file: Path) -> str:
        facts = file.stat()
        known = self._digests.get(str(file))
        if known is None or known[:2] != [facts.st_size, facts.st_mtime_ns]:
            # Weights may have many gigabytes: their digest is kept as long as size and time stay.
            known = self._digests[str(file)] = [facts.st_size, facts.st_mtime_ns, file_digest(file)]
        return str(known[2])

    def _write(self) -> None:
        if distributed.is_main():
            write_json(self.path, self._known)
        distributed.barrier()


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
        settings=dict(node.get("settings") or {}),
    )


def _config_of(stage: Stage) -> Config:
    assert stage.config is not None, f"stage {stage.name} has no config"
    return stage.config


def _essence(config: Config | None) -> Any:
    """The configuration without settings that change how a stage runs and not what comes of it."""
    if config is None:
        return None
    run = {key: value for key, value in (config.get("run") or {}).items() if key not in runs.INCIDENTAL}
    return {**config.tree, "run": run}


def _files_in(config: Config | None) -> Iterator[Path]:
    """Files a configuration reads: weights, annotations and priors."""
    if config is None:
        return
    weights = config.find("model.weights") or []
    yield from (Path(file) for file in ([weights] if isinstance(weights, str) else weights))
    for node in _datasets(config.get("datasets") or {}):
        annotations = node.get("annotations") or {}
        for split, file in annotations.items():
            for name in (file, node.get("prior")):
                if isinstance(name, str):
                    yield Path(name.replace("{split}", split)).expanduser()


def _datasets(nodes: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for node in nodes.values():
        yield node
        yield from _datasets(node.get("parts") or {})


def _only(node: Mapping[str, Any], keys: Sequence[str], label: str) -> None:
    unknown = [key for key in node if key not in keys]
    if unknown:
        raise ConfigError(f"{label}: unknown key {', '.join(unknown)}; known: {', '.join(keys)}")
