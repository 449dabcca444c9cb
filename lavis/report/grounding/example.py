"""A small corpus with made-up predictions of two stages, so that the notebooks show something without any input.

The videos are real files of the sample corpus; the predictions are the truth with errors of known kinds, drawn from a
fixed seed. They are nobody's results.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import PathLike, read_json, read_jsonl, write_json, write_jsonl
from lavis.preparation.generators.synthetic_moments import SyntheticMoments

_BROKEN = ("absent", "text", "reversed", "late", "empty")


@dataclass(frozen=True, slots=True)
class Example:
    """Paths of what was made: annotations (CALCE's form, with saliency), predictions of two stages, and the corpus."""

    annotations: Path
    training: Path
    stage1: Path
    stage2: Path
    videos: Path
    subtitles: Path


def make_example(root: PathLike, num_videos: int = 6, seed: int = 0) -> Example:
    """Makes the corpus (videos that are there are kept) and predictions for its validation split.

    Args:
        root: folder to fill.
        num_videos: of the validation split, at least 1; about three queries each.
        seed: of the errors in the predictions.

    Raises:
        ValueError: if the folder holds a corpus of other settings, or there is no video.
    """
    if num_videos < 1:
        raise ValueError(f"num_videos must be at least 1, got {num_videos}")
    folder = Path(root)
    SyntheticMoments(compact=True).generate(folder, {"train": 2, "val": num_videos})
    notes = folder / "annotations"
    made = Example(
        annotations=folder / "annotations.json",
        training=notes / "train.json",
        stage1=folder / "stage1.jsonl",
        stage2=folder / "stage2.jsonl",
        videos=folder / "videos",
        subtitles=folder / "srts",
    )
    rows = _with_saliency(read_json(notes / "val.json"), read_jsonl(notes / "highlight_val_release.jsonl"))
    write_json(made.annotations, rows, indent=None)
    write_jsonl(made.stage1, example_predictions(rows, seed, spread=0.35, broken=0.2))
    write_jsonl(made.stage2, example_predictions(rows, seed + 1, spread=0.12, broken=0.04))
    return made


def example_predictions(
    rows: Sequence[Mapping[str, Any]], seed: int, spread: float, broken: float
) -> list[dict[str, Any]]:
    """Rows ``id, moments, text, frame_scores``: a true window of each query, moved and stretched.

    Args:
        rows: annotations in CALCE's form.
        seed: of the errors.
        spread: standard deviation of start and end, as a share of the window's length plus 4 s.
        broken: share of queries that get, in turn, no row, unreadable text, a reversed window, one that ends after
            the video, or one without length.
    """
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    faults = 0
    for row in rows:
        duration = float(row["duration"])
        true = draw.choice(row["relevant_windows"])
        start, end = (
            min(max(bound + draw.gauss(0, spread * (4 + true[1] - true[0])), 0), duration - 1) for bound in true
        )
        window = [round(min(start, end), 1), round(max(start, end) + 0.5, 1)]
        answer: dict[str, Any] = {"id": row["qid"], "moments": [window], "text": str([window])}
        if draw.random() < broken:
            fault = _BROKEN[faults % len(_BROKEN)]
            faults += 1
            if fault == "absent":
                continue
            answer |= _fault(fault, window, duration)
        answer["frame_scores"] = _similarities(draw, row["relevant_windows"], duration, spread)
        made.append(answer)
    return made


def _with_saliency(rows: Sequence[dict[str, Any]], release: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """CALCE's rows with the clips that the release rates; their ids are those of the release with a prefix."""
    rated = {str(row["qid"]): row for row in release}
    names = ("relevant_clip_ids", "saliency_scores")
    return [
        row | {name: found[name] for name in names if name in found}
        for row in rows
        for found in [rated.get(row["qid"].rpartition("_")[2], {})]
    ]


def _fault(kind: str, window: list[float], duration: float) -> dict[str, Any]:
    moments = {
        "text": [],
        "reversed": [window[::-1]],
        "late": [[window[0], duration + 6.0]],
        "empty": [[window[0], window[0]]],
    }[kind]
    return {"moments": moments, "text": "somewhere in the middle" if kind == "text" else str(moments)} | (
        {"malformed": True} if kind == "text" else {}
    )


def _similarities(
    draw: random.Random, windows: Sequence[Sequence[float]], duration: float, noise: float
) -> list[float]:
    """One for each 2-second clip, higher inside the true windows."""
    middles = [2.0 * clip + 1.0 for clip in range(max(1, int(duration / 2)))]
    inside = [any(start <= middle <= end for start, end in windows) for middle in middles]
    return [round(0.25 + 0.5 * hit + draw.gauss(0, noise / 2), 3) for hit in inside]
