"""Out-of-fold predictions: the training split, each part of it predicted by a model that was not trained on it.

A second stage that learns from what the first one says of its own training data learns from hints far better than those
it meets later (CALCE's published stage 1: R1@0.5 of 89.0 on train, 78.0 on val). ``folds: N`` at an ``infer`` stage
makes it several stages: a training and its predictions for each part, each interrupted and continued on its own, and
one that joins. ``<run>/out_of_fold/<dataset>_<split>.jsonl`` then has the training splits by folds and all others by
the whole model, for the next stage's ``prior``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lavis.common.config import Config
from lavis.common.io import read_jsonl, write_jsonl
from lavis.common.yaml_tree import ConfigError
from lavis.datasets.build import splits_of
from lavis.runners.pipeline_inputs import run_folder
from lavis.runners.pipeline_stages import JOIN, Stage, config_of, predicted_splits

FOLDER = "out_of_fold"


def expanded(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with each ``folds: N`` written out; every part is a stage of its own in the record.

    Raises:
        ConfigError: if such a stage predicts no training split.
    """
    return [each for stage in stages for each in (_with_folds(stage) if stage.folds else [stage])]


def join_stage(stage: Stage) -> list[Path]:
    """Writes the predictions of all parts as one file for each data set and split.

    Raises:
        ValueError: if two parts answer the same sample.
    """
    written = []
    for target, parts in stage.settings["files"].items():
        rows: dict[str, Any] = {}
        for part in parts:
            for row in read_jsonl(part):
                if row["id"] in rows:
                    raise ValueError(
                        f"{part}: {row['id']} was answered in another fold, too; the folds are of different data. "
                        f"Do them again: lavis pipeline ... --from '{stage.name.rpartition('/')[0]}/fold_1_training'"
                    )
                rows[row["id"]] = row
        path = Path(target)
        write_jsonl(path, rows.values())
        written.append(path)
    return written


def _with_folds(stage: Stage) -> Iterator[Stage]:
    config = config_of(stage)
    splits = predicted_splits(stage)
    learned = [split for split in config.find("run.train_splits", ["train"]) if split in splits]
    others = [split for split in splits if split not in learned]
    if not learned:
        raise ConfigError(
            f"stage {stage.name!r}: 'folds' is for predictions of the training splits, but it predicts "
            f"{', '.join(splits)}; add {', '.join(config.find('run.train_splits', ['train']))} to its splits"
        )
    whole = replace(stage, splits=tuple(others), folds=0)
    if others:
        yield whole
    folds = []
    for index in range(1, stage.folds + 1):
        part = _fold_config(config, index, stage.folds, learned)
        folds.append(part)
        own = replace(whole, config=part, outputs=(), inputs=())
        yield replace(own, name=f"{stage.name}/fold_{index}_training", action="train", splits=())
        yield replace(own, name=f"{stage.name}/fold_{index}", splits=tuple(learned))
    files = {str(target): parts for target, parts in _files(config, folds, learned, others)}
    yield Stage(
        name=f"{stage.name}/joined",
        action=JOIN,
        inputs=tuple(Path(part) for parts in files.values() for part in parts),
        settings={"files": files},
    )


def _files(
    config: Config, folds: Sequence[Config], learned: Sequence[str], others: Sequence[str]
) -> Iterator[tuple[Path, list[str]]]:
    for dataset, node in config["datasets"].items():
        for split in [split for split in (*learned, *others) if split in splits_of(node)]:
            name = f"{dataset}_{split}.jsonl"
            made = folds if split in learned else [config]
            yield run_folder(config) / FOLDER / name, [str(run_folder(c) / "predictions" / name) for c in made]


def _fold_config(config: Config, index: int, count: int, splits: Sequence[str]) -> Config:
    """The configuration of one part: a run folder of its own, and ``fold`` at every data set; it tests nothing."""
    tree = json.loads(json.dumps(config.tree, default=str))
    tree["name"] = f"{config.name}/fold_{index}"
    tree["run"] = {**(tree.get("run") or {}), "test_splits": []}
    _set_fold(tree["datasets"], {"index": index, "count": count, "splits": list(splits)})
    return replace(config, tree=tree)


def _set_fold(nodes: Mapping[str, Any], fold: Mapping[str, Any]) -> None:
    for node in nodes.values():
        if "parts" in node:
            _set_fold(node["parts"], fold)
        else:
            node["fold"] = dict(fold)
