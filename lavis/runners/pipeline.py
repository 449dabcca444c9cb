"""Stages in order: train, predict, train the next stage on it. What is done and still true is not done again.

A pipeline file lists ``stages``. Each has a ``name``, an ``action``, mostly a ``config`` with ``options``, and perhaps
``inputs`` and ``outputs``; ``output_dir`` is where the record goes, by default beside the first stage's run. A stage is
passed over if it was completed, its outputs are still there as written, and all it depends on is the same: the resolved
configuration and the content of every file it reads; with ``code: stale`` also the code. Stages find each other's
results by path: the second stage's ``prior`` names the first stage's predictions.

Of several processes the main one alone decides, keeps the record and does what is neither training nor prediction.

Source: replaces the manual steps of CALCE (tjhd1475/CALCE): run, move files, merge, edit a YAML file, run. Workflow
engines do this for files too, but know nothing of what a configuration reads or which setting changes a result.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lavis.common import distributed
from lavis.common.check import require_valid
from lavis.common.config import load_config
from lavis.common.locking import sole_writer
from lavis.common.logging import get_logger, setup_logging
from lavis.common.yaml_tree import ConfigError
from lavis.runners import run as runs
from lavis.runners.pipeline_folds import expanded, join_stage
from lavis.runners.pipeline_inputs import expected_outputs, facts_of, prediction_files, run_folder
from lavis.runners.pipeline_record import Record, shown
from lavis.runners.pipeline_stages import (
    CONFIGURED,
    JOIN,
    PREDICTING,
    Action,
    Stage,
    config_of,
    predicted_splits,
    read_stages,
)

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StageResult:
    """What became of a stage: whether it was ``skipped``, the ``seconds`` it took (then or now), the files it wrote."""

    name: str
    skipped: bool
    seconds: float
    outputs: list[Path]


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """What would become of a stage: ``plan`` is ``run``, ``up to date`` or ``perhaps``; ``why`` in words."""

    name: str
    action: str
    plan: str
    why: str


def train_stage(stage: Stage) -> list[Path]:
    """Trains; the result is the best weights."""
    config = config_of(stage)
    if stage.anew:
        config = replace(config, tree={**config.tree, "run": {**config.get("run", {}), "resume": "never"}})
    return [runs.train(config) / "checkpoints" / "best.safetensors"]


def predict_stage(stage: Stage) -> list[Path]:
    """Predicts and scores splits; the result is the predictions."""
    runs.evaluate(config_of(stage), predicted_splits(stage))
    return [file for file in prediction_files(stage) if file.is_file()]


ACTIONS: Mapping[str, Action] = {"train": train_stage, "evaluate": predict_stage, "infer": predict_stage}
_INTERNAL: Mapping[str, Action] = {JOIN: join_stage}


def run_pipeline(
    path: str | Path,
    options: Sequence[str] = (),
    actions: Mapping[str, Action] | None = None,
    *,
    force: Sequence[str] = (),
    start: str | None = None,
    accept: Sequence[str] = (),
    draw: Callable[[Path], object] | None = None,
) -> list[StageResult]:
    """Carries out the stages of a pipeline file, passing over those that are done.

    Args:
        path: pipeline, by path or by name below a config root.
        options: changes to the configuration of every stage, such as ``run.device=cpu``; one that begins with
            ``stages.<name>.`` is for that stage.
        actions: further actions by name, besides train, evaluate and infer; of several processes the main one does
            them.
        force: stages to do again though they are up to date.
        start: stage from which on all are done again.
        accept: stages whose outputs are taken as they are now, though they were changed by hand.
        draw: called with the path of the record after every stage.

    Returns:
        what became of each stage, in order; ``<output_dir>/pipelines/<name>.json`` keeps what they were done with.

    Raises:
        ConfigError: if the pipeline or the configuration of any stage is faulty; before the first stage is begun.
        BusyError: if another process runs this pipeline.
        ValueError: if a file that a stage reads is not there, or the record cannot be read.
    """
    book = _Book(path, options, actions)
    for stage in book.stages:
        book.read_by(stage)  # an action checks its settings to say what it reads
        if stage.config is not None:
            require_valid(stage.config)
    with sole_writer(book.path.with_suffix(""), "this pipeline"), distributed.Relay("pipeline") as relay:
        if not distributed.is_main():
            return [_follow(stage, book, relay) for stage in book.stages]
        record = book.record()
        for name in accept:
            changed = record.accept(book.known(name))
            logger.info("stage %s: %s accepted as changed", name, ", ".join(map(str, changed)) or "nothing to be")
        record.arrange([stage.name for stage in book.stages])
        forced = book.forced(force, start)
        results = []
        for number, stage in enumerate(book.stages, start=1):
            setup_logging()
            label = f"stage {number}/{len(book.stages)} {stage.name}"
            result = _run_stage(stage, label, book, record, stage.name in forced, relay)
            if draw is not None:
                draw(record.path)
            relay.send({**asdict(result), "outputs": [str(file) for file in result.outputs]})
            results.append(result)
    return results


def plan_pipeline(
    path: str | Path,
    options: Sequence[str] = (),
    actions: Mapping[str, Action] | None = None,
    *,
    force: Sequence[str] = (),
    start: str | None = None,
) -> list[PlannedStage]:
    """What ``run_pipeline`` would do, and why; builds nothing and writes nothing.

    A stage that reads what an earlier one will write anew is done again ``perhaps``: not if the content stays the same.
    """
    book = _Book(path, options, actions)
    record, forced = book.record(), book.forced(force, start)
    rows, writers = [], dict[str, str]()
    for stage in book.stages:
        facts = book.facts(stage, record)
        verdict = record.judge(stage.name, facts, book.code)
        reasons = (["asked for"] if stage.name in forced else []) + verdict.reasons
        read = {each["path"]: writers[each["path"]] for each in facts["inputs"].values() if each["path"] in writers}
        upstream = [_upstream(writer, read) for writer in dict.fromkeys(read.values())]
        plan = "run" if reasons else "perhaps" if upstream else "up to date"
        if plan != "up to date":
            writers.update({str(file): stage.name for file in [*expected_outputs(stage), *record.outputs(stage.name)]})
        rows.append(PlannedStage(stage.name, stage.action, plan, shown(reasons or [*upstream, *verdict.notes])))
    return rows


def _upstream(writer: str, read: Mapping[str, str]) -> str:
    files = [path for path, other in read.items() if other == writer]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"stage {writer!r} will write {files[0]}{more} anew"


def plan_text(plan: Sequence[PlannedStage]) -> str:
    """A plan as a table."""
    rows = [("stage", "action", "plan", "why"), *((p.name, p.action, p.plan, p.why) for p in plan)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


class _Book:
    """A pipeline file, read: its stages, actions and record."""

    def __init__(self, path: str | Path, options: Sequence[str], actions: Mapping[str, Action] | None) -> None:
        pipeline = load_config(path)
        given = {**ACTIONS, **(actions or {})}
        self.actions = {**given, **_INTERNAL}
        self.stages = expanded(read_stages(pipeline, options, given))
        self.code = pipeline.get("code", "note")
        self.name = pipeline.name
        folders = [stage.config.find("run.output_dir") for stage in self.stages if stage.config is not None]
        self.root = Path(next(filter(None, [pipeline.get("output_dir"), *folders]), "results"))
        self.path = self.root / "pipelines" / f"{pipeline.name}.json"

    def record(self) -> Record:
        return Record(self.path, self.root, self.name)

    def facts(self, stage: Stage, record: Record) -> dict[str, Any]:
        """What a stage depends on now."""
        return facts_of(stage, record.digests, self.read_by(stage))

    def read_by(self, stage: Stage) -> list[Path]:
        """Files that a stage's action reads, besides those of its configuration."""
        reads = getattr(self.actions[stage.action], "reads", None)
        return [] if reads is None else list(reads(stage))

    def known(self, name: str) -> str:
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise ConfigError(f"the pipeline {self.name} has no stage {name!r}; it has {', '.join(names)}")
        return name

    def forced(self, force: Sequence[str], start: str | None) -> set[str]:
        names = [stage.name for stage in self.stages]
        after = names[names.index(self.known(start)) :] if start is not None else []
        return {*map(self.known, force), *after}


def _follow(stage: Stage, book: _Book, relay: distributed.Relay) -> StageResult:
    """What a process does that is not the main one: its part of a stage if the main one asks for it."""
    setup_logging()
    message = relay.receive()
    if "anew" in message:
        book.actions[stage.action](replace(stage, anew=message["anew"]))
        message = relay.receive()
    return StageResult(**{**message, "outputs": [Path(file) for file in message["outputs"]]})


def _run_stage(
    stage: Stage, label: str, book: _Book, record: Record, forced: bool, relay: distributed.Relay
) -> StageResult:
    facts = book.facts(stage, record)
    verdict = record.judge(stage.name, facts, book.code)
    reasons = (["asked for"] if forced else []) + verdict.reasons
    if not reasons:
        record.keep(stage.name)
        notes = f"; {shown(verdict.notes)}, its results are kept" if verdict.notes else ""
        logger.info("%s: done already, nothing it depends on has changed%s", label, notes)
        return StageResult(stage.name, True, record.seconds().get(stage.name, 0.0), record.outputs(stage.name))
    logger.info("%s: %s (%s)", label, stage.action, shown(reasons))
    _require_inputs(stage, label, facts, record)
    # What a finished training can resume from are its last weights, and those that are gone were its best.
    anew = verdict.anew or forced or (verdict.spoilt and stage.action == "train")
    redone = forced or any("the code changed" in reason for reason in verdict.reasons)
    edited = record.outputs(stage.name) if redone and stage.action in PREDICTING else verdict.edited
    record.begin(stage.name, facts, anew, edited)
    _clear(stage, edited, anew)
    record.cleared(stage.name)
    start = time.monotonic()
    try:
        action = book.actions[stage.action]
        told = replace(stage, anew=anew, seconds=record.seconds(), record=record.path)
        if stage.action in CONFIGURED:
            relay.send({"anew": anew})
        outputs = [*action(told), *stage.outputs]
        absent = [str(file) for file in outputs if not file.is_file()]
        if absent:
            raise ValueError(f"{label} ended without writing {', '.join(absent)}")
    except Exception as error:
        record.fail(stage.name, str(error))
        raise
    seconds = time.monotonic() - start
    _compare_inputs(stage, label, facts, book, record)
    record.complete(stage.name, facts, outputs, seconds)
    return StageResult(stage.name, False, seconds, list(outputs))


def _clear(stage: Stage, edited: Sequence[Path], anew: bool) -> None:
    """Takes what must not be gone on with out of the way; files changed by hand are kept under another name."""
    for file in edited:
        if file.is_file():
            number = next(n for n in range(1, 10_000) if not _kept(file, n).exists())
            logger.warning("%s is kept as %s and written again", file, _kept(file, number))
            file.replace(_kept(file, number))
    if anew and stage.action == "train":
        # Before the stage is noted as begun with its new settings: an interruption in between must not resume old ones.
        folder = run_folder(config_of(stage))
        for state in (folder / "checkpoints").glob("*"):
            if state.is_dir():
                shutil.rmtree(state)
        # Other code may answer otherwise with the very same weights, and the best ones are chosen by answers.
        for mark in (folder / "predictions").rglob(".*.fingerprint.json"):
            mark.unlink()


def _kept(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.kept{number}")


def _require_inputs(stage: Stage, label: str, facts: Mapping[str, Any], record: Record) -> None:
    """Raises where a file is missing that the stage cannot do without: named, with who wrote it and what to do."""
    missing = []
    for key, each in facts["inputs"].items():
        if each["digest"] is None and each["kind"] not in ("videos", "subtitles") and key != "trained weights":
            writer = record.writer_of(Path(each["path"]))
            if writer is not None:
                hint = f"stage {writer!r} wrote it; --force {writer!r} makes it again"
            elif record.was_read(stage.name, Path(each["path"])):
                hint = "it was there when this stage was last begun; put it back, or correct the configuration"
            else:
                hint = "run the stages that write them, or correct the configuration"
            missing.append(f"{each['path']} ({key}: {hint})" if key != each["path"] else f"{each['path']} ({hint})")
    if missing:
        raise ValueError(f"{label} reads files that do not exist: {', '.join(missing)}")


def _compare_inputs(stage: Stage, label: str, facts: Mapping[str, Any], book: _Book, record: Record) -> None:
    """Says so if an input was changed while the stage ran; the record has it as it was before, so it is done again."""
    after = book.facts(stage, record)["inputs"]
    changed = [
        each["path"] for key, each in facts["inputs"].items() if after.get(key, {}).get("digest") != each["digest"]
    ]
    own = {str(file) for file in expected_outputs(stage)}
    changed = [path for path in changed if path not in own]
    if changed:
        logger.warning("%s: %s changed while it ran; the next start does it again", label, ", ".join(changed))
