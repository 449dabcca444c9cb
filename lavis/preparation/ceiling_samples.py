"""The samples a ceiling is computed on: of a configured data set, or of any annotation file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lavis.common.config import list_configs, load_config
from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.preparation.audit_checks import Known, check_file
from lavis.preparation.entries import read_entries
from lavis.structures import Moment, VideoSample


@dataclass(slots=True)
class Truth:
    """Samples, and how they were read.

    Args:
        samples: with their true windows.
        source: file, and the format or layout it was taken for.
        left_out: what was not usable, with how many.
    """

    samples: list[VideoSample]
    source: str
    left_out: dict[str, int] = field(default_factory=dict)


def load_truth(
    dataset: str,
    *,
    split: str = "test",
    annotations: str | Path | None = None,
    format_name: str | None = None,
    durations: Mapping[str, float] | None = None,
) -> Truth:
    """True windows of a data set.

    Args:
        dataset: name of a configured data set (``configs/datasets``), or an annotation file of any known layout.
        split: of the configured data set.
        annotations: file to read in place of the configured one.
        format_name: registered annotation format to read it with; by default the configured one, or for a plain file,
            or one that is not in the configured format, the layout found by its fields.
        durations: seconds of videos, for files that have none.

    Raises:
        ValueError: if there is no such data set, split or file, or it cannot be read.
    """
    if Path(dataset).is_file():
        return _read(Path(dataset), format_name, None, split, durations)
    names = list_configs("datasets")
    if dataset not in names:
        raise ValueError(f"{dataset} is neither an annotation file nor a data set; data sets: {', '.join(names)}")
    nodes = load_config(f"datasets/{dataset}")["datasets"]
    node = next(iter(nodes.values()))
    if "annotations" not in node or "format" not in node:
        raise ValueError(f"data set {dataset} has no annotations of its own; name one of its parts")
    if annotations is None:
        if split not in node["annotations"]:
            raise ValueError(f"data set {dataset} has no split {split!r}; it has {', '.join(node['annotations'])}")
        file = Path(node["annotations"][split].replace("{split}", split)).expanduser()
        if not file.is_file():
            raise FileNotFoundError(
                f"there is no file {file}: set LAVIS_DATA to the folder that holds the data, or give --annotations FILE"
            )
        return _formatted(file, format_name or node["format"], split)
    return _read(Path(annotations), format_name, node["format"], split, durations)


def _read(
    file: Path, format_name: str | None, configured: Any, split: str, durations: Mapping[str, float] | None
) -> Truth:
    """With the format asked for, or the configured one if the file is of it, or by the file's fields."""
    if format_name is not None and format_name in registry.formats:
        return _formatted(file, format_name, split)
    remark = ""
    if configured is not None and format_name is None:
        try:
            return _formatted(file, configured, split)
        except ValueError as error:
            remark = f"; not in the configured format, {configured['name']}: {error}"
    found = _found(file, format_name, durations)
    found.source += remark
    return found


def _formatted(file: Path, node: Any, split: str) -> Truth:
    reader = build_part(registry.formats, node, "format")
    read = reader.read(file, split)
    name = node if isinstance(node, str) else node["name"]
    left_out = {key: count for key, count in read.counts.items() if key != "rows" and count}
    return Truth([s for s in read.samples if s.moments], f"{file}, format {name}", left_out)


def _found(file: Path, layout: str | None, durations: Mapping[str, float] | None) -> Truth:
    entries = read_entries(file, layout, durations=durations)
    _, known = check_file(entries)
    samples = [sample for each in known if (sample := _sample(each)) is not None]
    truth = Truth(samples, f"{file}, {entries.container}, layout {entries.layout}")
    kept = sum(len(sample.moments or ()) for sample in samples)
    left_out = {
        "rows that cannot be read": len(entries.broken) + (entries.torn is not None),
        "queries without a duration or a usable window": len(known) - len(samples),
        "windows that are reversed": sum(len(each.windows) for each in known if _sample(each) is not None) - kept,
    }
    truth.left_out = {name: count for name, count in left_out.items() if count}
    return truth


def _sample(known: Known) -> VideoSample | None:
    moments = [Moment(_whole(start), _whole(end)) for start, end in known.windows if start <= end]
    if known.duration is None or not moments:
        return None
    entry = known.entry
    return VideoSample(entry.id or entry.place, str(entry.video), str(entry.query), _whole(known.duration), moments)


def _whole(seconds: float) -> float:
    """Whole seconds as ``int``, as formats keep them."""
    return int(seconds) if seconds.is_integer() else seconds
