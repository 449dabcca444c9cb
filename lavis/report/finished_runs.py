"""From run folders alone to what a report needs: which are seeds of one stage, and which queries they answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.config import Config, load_config
from lavis.common.io import PathLike
from lavis.datasets.build import build_dataset, splits_of
from lavis.report.run_folder import StageRun
from lavis.structures import VideoSample, Views

# Settings in which two seeds of one stage differ.
OF_ONE_SEED = (("name",), ("run", "seed"), ("run", "output_dir"), ("run", "resume"), ("model", "weights"))


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run folder and the configuration saved in it."""

    folder: Path
    config: Config

    @classmethod
    def read(cls, folder: PathLike) -> FinishedRun:
        """The run in ``folder``.

        Raises:
            ValueError: if there is none.
        """
        path = Path(folder)
        if not (path / "config.yaml").is_file():
            raise ValueError(
                f"{path} is no run folder: it has no config.yaml; name folders like results/calce/qvh_stage1"
            )
        return cls(path, load_config((path / "config.yaml").resolve()))

    @property
    def run(self) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.config.get("run") or {}
        return section

    def has(self, predictions: str) -> bool:
        """Whether a split was predicted; by ``<dataset>_<split>``."""
        return (self.folder / "predictions" / f"{predictions}.jsonl").is_file()

    def settings(self) -> dict[str, Any]:
        """The configuration without what tells seeds of one stage apart."""
        tree = deepcopy(self.config.tree)
        for *parents, last in OF_ONE_SEED:
            node = tree
            for key in parents:
                node = node.get(key) or {}
            node.pop(last, None)
        for dataset in (tree.get("datasets") or {}).values():
            dataset.pop("prior", None)
        return tree


def stages_of(
    runs: Sequence[FinishedRun], predictions: str, titles: Mapping[Path, str] | None = None
) -> list[StageRun]:
    """Stages in the order given; runs that differ only in their seed are one stage.

    Args:
        runs: finished runs, coarse to fine.
        predictions: file of the evaluated split below ``predictions``, without its ending.
        titles: what to call stages, by folder of their first run; by default their names as far as they differ.
    """
    groups: list[list[FinishedRun]] = []
    for run in runs:
        same = next((group for group in groups if group[0].settings() == run.settings()), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    names = [group[0].config.name for group in groups]
    short = [name.rpartition("/")[2] for name in names]
    shown = short if len(set(short)) == len(short) else names
    shown = [(titles or {}).get(group[0].folder, name) for group, name in zip(groups, shown, strict=True)]
    return [
        StageRun(name, [run.folder for run in group], predictions) for name, group in zip(shown, groups, strict=True)
    ]


def evaluated_split(runs: Sequence[FinishedRun]) -> tuple[str, str]:
    """Data set and split that all runs predicted and whose truth is known: a test split before a validation split.

    Raises:
        ValueError: if there is none.
    """
    last = runs[-1]
    candidates = [*(last.run.get("test_splits") or ["test"]), *(last.run.get("valid_splits") or ["val"])]
    for split in dict.fromkeys(candidates):
        for name, node in (last.config.get("datasets") or {}).items():
            predicted = all(run.has(f"{name}_{split}") for run in runs)
            if predicted and split in splits_of(node) and any(s.moments for s in samples_of(name, node, split)):
                return name, split
    folders = ", ".join(str(run.folder) for run in runs)
    raise ValueError(
        f"no split with known truth was predicted by all of {folders}; evaluate them on the same one first"
    )


def samples_of(name: str, node: Mapping[str, Any], split: str) -> list[VideoSample]:
    """Samples of a split with their subtitles, without decoding any video."""
    # What an earlier stage answered is no part of the question.
    dataset = build_dataset(name, {k: v for k, v in node.items() if k != "prior"}, split, _no_frames, train=False)
    items = (dataset[index] for index in range(len(dataset)))
    return [item[0] for item in items if item is not None]


def _no_frames(sample: VideoSample, train: bool) -> Views:
    return {}
