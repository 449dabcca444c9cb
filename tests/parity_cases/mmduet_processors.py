"""Frames and pixels of MMDuet, compared with what its own code gave for the same videos.

The clips are read by OpenCV as there; the same frame numbers come of the other readers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import AccumulatedTime, to_frame_time
from lavis.processors.transforms import LetterboxEval

SYSTEM = "mmduet"
LEVELS = 1
"""How many grey levels pixels may differ by: OpenCV resizes in fixed-point numbers."""
TIME_TOLERANCE = 1e-6
DEMONSTRATION = 400

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every recorded choice of frames, and the first two frames of every clip."""
    for video in json.loads((golden / "data" / "video_sampling.json").read_text()):
        path = golden / "videos" / video["video"]
        yield f"video: {video['video']}", partial(known, path, video)
        for loader, options in _OPTIONS.items():
            for row in video[loader] if isinstance(video[loader], list) else [video[loader]]:
                asked = f"{row.get('frame_fps', row.get('frame_fps_arg'))} a second"
                yield f"frames ({loader}): {video['video']}, {asked}", partial(frames, path, row, options(row))
    for row in json.loads((golden / "data" / "time_rounding.json").read_text()):
        yield f"times of frames: {row[0]}, {row[1]:g} s, {row[2]:g} a second", partial(moved, row)
    with np.load(golden / "data" / "first_two_frames_384.npz") as recorded:
        names = list(recorded)
    for name in names:
        yield f"pixels: {name}", partial(pixels, golden, name)


def _rate(row: Mapping[str, Any]) -> float | None:
    """The rate that is asked for; nought or less is told to mean as many frames as fit."""
    asked = row["frame_fps_arg"]
    return asked if asked > 0 else None


_OPTIONS: dict[str, Callable[[Mapping[str, Any]], AccumulatedTime]] = {
    "train": lambda row: AccumulatedTime(row["frame_fps"]),
    "test": lambda row: AccumulatedTime(_rate(row), row["max_num_frames"], count="ceil"),
    "demo": lambda row: AccumulatedTime(_rate(row), DEMONSTRATION),
}


def known(path: Path, video: Mapping[str, Any]) -> float:
    """Rate, number of frames and length of a clip, as every reader has them."""
    info = _probed(path)
    assert info.num_frames == video["decoded_frames"] == video["metadata"]["frame_count"]
    metadata = video["metadata"]
    gap = max(abs(info.fps - metadata["fps"]), abs(info.duration_s - metadata["duration"]))
    assert gap <= TIME_TOLERANCE, f"rate or length differ by {gap:.1e}"
    return gap


def frames(path: Path, row: Mapping[str, Any], sampler: AccumulatedTime) -> float:
    info = _probed(path)
    ours = sampler.indices(info)
    assert ours == row["frame_index"], f"ours: {ours}, recorded: {row['frame_index']}"
    if "n_target" in row:
        wanted = math.floor(info.num_frames / info.fps * row["frame_fps"])
        assert wanted == row["n_target"], f"{wanted} frames are aimed at, not {row['n_target']}"
    if "output_fps" in row:
        assert sampler.rate(info) == row["output_fps"], f"{sampler.rate(info)} a second, not {row['output_fps']}"
    return 0.0


def moved(row: Sequence[Any]) -> float:
    name, seconds, fps, low, high, recorded = row
    ours = to_frame_time(seconds, fps, name.partition("_")[0], low, high)
    assert ours == recorded, f"ours: {ours!r}, recorded: {recorded!r}"
    return 0.0


def pixels(golden: Path, name: str) -> float:
    """The first two frames at two a second, in a square of 384, as grey levels."""
    path = next(p for p in (golden / "videos").iterdir() if p.name.replace(".", "_") == name)
    with np.load(golden / "data" / "first_two_frames_384.npz") as arrays:
        recorded = torch.from_numpy(arrays[name])
    reader = registry.readers.get("pyav")()  # decoded with OpenCV there, equal within the same level
    info = reader.probe(path)
    read, _ = reader.read(path, AccumulatedTime().indices(info)[: len(recorded)], info=info)
    boxed = LetterboxEval(recorded.shape[-1], antialias=False).boxed(read)
    assert boxed.shape == recorded.shape, f"ours has the shape {tuple(boxed.shape)}, not {tuple(recorded.shape)}"
    difference = float((boxed - recorded.float()).abs().max())
    assert difference <= LEVELS, f"differs by up to {difference:g} grey levels, allowed is {LEVELS}"
    return difference


def _probed(path: Path) -> VideoInfo:
    info: VideoInfo = registry.readers.get("pyav")().probe(path)
    return info
