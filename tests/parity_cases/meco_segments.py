"""Windows and transitions of MeCo's training targets against recorded ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lavis.datasets.formats._et_windows import raw_windows
from lavis.datasets.formats._record import Record
from lavis.models.codecs._segments import EVENT, TRANSITION, Grid, as_written, bound, with_transitions
from lavis.structures import Moment

SYSTEM = "meco"
TOLERANCE = 1e-5

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for i, row in enumerate(_json(golden / "data" / "bind_boundary.json")):
        yield f"data/bind_boundary {i}", lambda row=row: _bound(row)
    annotations = _json(golden / "data" / "train_annos.json")
    for item in _json(golden / "data" / "dataset_items.json"):
        name = f"data/dataset_items {item['kind']} {item['index']} windows"
        yield name, lambda item=item: _windows(item, annotations[item["index"]])


def _bound(row: dict[str, Any]) -> float:
    frames = np.asarray(row["boundary"], dtype=np.float32) * np.float32(row["fps"])
    return _worst(bound(frames, row["num_frames"]) / np.float32(row["fps"]), row["out"])


def _windows(item: dict[str, Any], annotation: dict[str, Any]) -> float:
    record = Record(annotation, Path("train_annos.json"), "row", str(item["index"]))
    found = raw_windows(record, annotation["task"], annotation["duration"])
    assert found is not None
    text = annotation["conversations"][1]["value"]
    count, duration = item["num_frames"], annotation["duration"]
    if "tst_windows" in annotation:
        parts, windows = as_written(text, found[1], annotation["tst_windows"])
    else:
        parts, windows = with_transitions(text, found[1], count)
    grid = Grid.of(count, Moment(0, duration), 1.0)
    frames = grid.frames(windows)
    tokens = [part for part in parts if part in (EVENT, TRANSITION)]
    worst = 0.0
    for token, field in ((EVENT, "windows"), (TRANSITION, "tst_windows")):
        chosen = frames[[own == token for own in tokens]]
        worst = max(worst, _worst(chosen, item[field]))
    spoken = item["decoded"].split("<|assistant|>", 1)[-1].split("<|im_start|>assistant\n", 1)[-1]
    if "".join(parts) != spoken.removesuffix("<|end|>").removesuffix("<|im_end|>"):
        raise AssertionError(f"{''.join(parts)!r} where {spoken!r} was recorded")
    return worst


def _worst(ours: Any, theirs: Any) -> float:
    expected = np.asarray(theirs, dtype=np.float64).reshape(-1, 2)
    if ours.shape != expected.shape:
        raise AssertionError(f"{len(ours)} windows where {len(expected)} were recorded")
    return float(np.abs(ours - expected).max()) if len(expected) else 0.0


def _json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else []
