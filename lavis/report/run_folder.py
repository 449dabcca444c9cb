"""What a report reads from a run folder: predictions, logged figures, configuration and environment.

A report can be written while a run is under way, so only the predictions must be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import read_json, read_jsonl, read_text
from lavis.report.results_table import Role
from lavis.structures import Prediction, VideoSample

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of a run, or something to compare it with.

    Args:
        name: as the page calls it, such as ``Stage 1``.
        folders: run folders, ``results/<name>``: one, or one for each seed; timelines show the first.
        predictions: file of the evaluated split below ``predictions``, without its ending: ``quickstart_test``.
        role: ``stage``, or ``comparison`` for a row that has no curves and timelines.
        note: a few words for the table.
    """

    name: str
    folders: Sequence[Path]
    predictions: str
    role: Role = "stage"
    note: str = ""

    def __post_init__(self) -> None:
        if not self.folders:
            raise ValueError(f"{self.name}: a stage needs at least one run folder")


def predictions_of(folder: Path, name: str, samples: Sequence[VideoSample]) -> list[Prediction]:
    """One prediction for each sample, in their order; a sample that was skipped has an empty one.

    Raises:
        ValueError: if the folder has no such predictions, or none of them belongs to the samples.
    """
    path = folder / "predictions" / f"{name}.jsonl"
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.jsonl"))
        raise ValueError(
            f"{path} does not exist; predictions there: {', '.join(there) or 'none'}. Evaluate the run first"
        )
    known = {p.id: p for p in map(Prediction.from_json, read_jsonl(path, drop_torn=True))}
    if samples and not any(sample.id in known for sample in samples):
        raise ValueError(f"{path} has no prediction for any of the {len(samples)} samples, such as {samples[0].id}")
    return [known.get(sample.id, Prediction(sample.id, [])) for sample in samples]


def records_of(folder: Path) -> list[Mapping[str, Any]]:
    """Rows of ``metrics.jsonl``; none if nothing was logged."""
    path = folder / "metrics.jsonl"
    return read_jsonl(path, drop_torn=True) if path.is_file() else []


def json_of(folder: Path, name: str) -> Mapping[str, Any]:
    """A JSON file of the run, such as ``environment.json``; empty if it is absent."""
    path = folder / name
    return read_json(path) if path.is_file() else {}


def text_of(folder: Path, name: str) -> str:
    """A text file of the run, such as ``config.yaml``; empty if it is absent."""
    path = folder / name
    return read_text(path) if path.is_file() else ""


def validation_split(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The split that was evaluated most often, which is the one between epochs; ``None`` if there was none."""
    counts = Counter(row["split"] for row in records if "split" in row)
    return counts.most_common(1)[0][0] if counts else None


def logged(records: Sequence[Mapping[str, Any]], x: str, y: str, split: str | None = None) -> Points:
    """Points of a logged figure, x rising; a repeated x (a resumed run) keeps its last value.

    Args:
        records: rows of ``metrics.jsonl``.
        x: key of the horizontal axis, ``step`` or ``epoch``.
        y: key of the figure.
        split: an evaluated split; ``None`` is training.
    """
    rows = [row for row in records if row.get("split") == split and x in row and isinstance(row.get(y), (int, float))]
    return sorted({float(row[x]): float(row[y]) for row in rows}.items())
