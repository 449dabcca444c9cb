"""Frames, their times and pixels of MeCo and E.T. Chat, compared with what their own code gave for the same inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import FixedRate
from lavis.processors.transforms import ShortSideEval, ShortSideTrain, Transform
from lavis.processors.view import average_rate_times

SYSTEM = "meco"
PIXEL_TOLERANCE = 1e-5
TAG_TOLERANCE = 1e-6
IMAGE_SIZE = 28

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every row of the frames, and every recorded picture."""
    for number, row in enumerate(json.loads((golden / "data" / "frame_sampling.json").read_text())):
        asked = f"{row['num_frames']} frames of {row['avg_fps']:g} a second at {row['fps']:g}"
        yield f"frames {number}: {asked}{', refused' * ('error' in row)}", partial(frames, row)
    path = golden / "data" / "transforms.npz"
    with np.load(path) as recorded:
        names = [name for name in recorded if name.startswith("center_")]
    center = ShortSideEval(IMAGE_SIZE, filter="bilinear")
    for name in names:
        yield f"pixels: {name}", partial(pixels, path, name.replace("center", "in"), name, center)
    yield "pixels: random, at inference", partial(pixels, path, "rand_in", "rand_infer", center)
    square = ShortSideTrain(IMAGE_SIZE, filter="bilinear")
    yield "pixels: random, in training", partial(pixels, path, "rand_in", "rand_out_seed3", square)


def frames(row: Mapping[str, Any]) -> float:
    """Frame numbers, times to a tenth of a second, and those times cut to whole seconds."""
    info = VideoInfo.regular(row["num_frames"], row["avg_fps"])
    if "error" in row:
        try:
            sampler_of(row).indices(info)
        except ValueError:
            return 0.0
        raise AssertionError(f"the original raises {row['error']}")
    chosen = sampler_of(row).indices(info)
    assert chosen == row["frame_idx"], f"ours: {chosen}, recorded: {row['frame_idx']}"
    times = average_rate_times(chosen, info.fps, 1)
    assert [int(time) for time in times] == row["tag_long"], f"ours: {times}, recorded: {row['tag_long']}"
    gap = max(abs(ours - tag) / max(1.0, tag) for ours, tag in zip(times, row["tag"], strict=True))
    assert gap <= TAG_TOLERANCE, f"times differ by up to {gap:.1e} of their size"
    return gap


def sampler_of(row: Mapping[str, Any]) -> FixedRate:
    """MeCo's counting; limits are checked on making it."""
    least = row.get("min_len", 0)
    return FixedRate(row["fps"], row.get("max_len"), times="average_rate", min_seconds=least)


def pixels(path: Path, given: str, recorded: str, transform: Transform) -> float:
    with np.load(path) as arrays:
        video, expected = torch.from_numpy(arrays[given]), torch.from_numpy(arrays[recorded])
    ours = transform(video.permute(0, 3, 1, 2), torch.Generator().manual_seed(3))
    assert ours.shape == expected.shape, f"ours has the shape {tuple(ours.shape)}, recorded {tuple(expected.shape)}"
    difference = float((ours - expected).abs().max())
    assert difference <= PIXEL_TOLERANCE, f"values differ by up to {difference:.2e}, allowed is {PIXEL_TOLERANCE:.0e}"
    return difference
