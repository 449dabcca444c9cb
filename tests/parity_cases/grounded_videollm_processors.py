"""Frames and pixels of Grounded-VideoLLM, compared with what its own code gave for the same inputs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import FixedRate, Middle, Sampler, key_frames
from lavis.processors.transforms import ShortSideEval
from tests.parity_cases._shuffles import NumpyShuffles

SYSTEM = "grounded_videollm"
PIXEL_TOLERANCE = 1e-5
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP: dict[str, Any] = {}
"""What the transform has as its defaults."""

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Every row of the frames, every choice of key frames, and every recorded picture of both streams."""
    recorded = json.loads((golden / "frame_sampling.json").read_text())
    for row in recorded["rows"]:
        limits = "".join(f", {value:g}" for value in row[4:])
        yield f"frames: {row[0]}, {row[1]} of {row[2]}{limits}", partial(frames, row)
    for asked, chosen in recorded["spatial_indices"].items():
        yield f"key frames: {asked}", partial(spatial, asked, chosen)
    path = golden / "transforms.safetensors"
    for name in _tensors(path):
        if not name.endswith("uint8_chw"):
            yield f"pixels: {name}", partial(pixels, path, name)


def frames(row: Sequence[Any]) -> float:
    kind, num_frames, available, chosen = row[:4]
    fps, most = [*row[4:], *(25.0, None)[len(row) - 4 :]]
    info = VideoInfo.regular(available, fps)
    ours = sampler(kind, num_frames, most).indices(info, None, random.Random(0))
    assert ours == chosen, f"ours: {ours}, recorded: {chosen}"
    return 0.0


def sampler(kind: str, num_frames: int, most: int | None) -> Sampler:
    """The sampler of the original's name, with all of its arithmetic."""
    if kind == "middle":
        return Middle(num_frames, edges="length", short="repeat_last")
    if kind == "rand":
        return NumpyShuffles(num_frames, edges="length", short="repeat_last", narrow="whole_video")
    rate = float(kind.removeprefix("fps"))
    return FixedRate(rate, most, times="average_rate", place="middle", beyond="first")


def spatial(asked: str, chosen: list[int]) -> float:
    num_frames, segments = map(int, asked.split("/"))
    ours = key_frames(num_frames, segments)
    assert ours == chosen, f"ours: {ours}, recorded: {chosen}"
    return 0.0


def pixels(path: Path, name: str) -> float:
    tensors = _tensors(path)
    picture, stream = name.split(".")
    colours = IMAGENET if stream.startswith("video") else CLIP
    transform = ShortSideEval(tensors[name].shape[-1], resizer="pillow", centre="nearest", **colours)
    difference = float((transform(tensors[f"{picture}.uint8_chw"][None])[0] - tensors[name]).abs().max())
    assert difference <= PIXEL_TOLERANCE, f"values differ by up to {difference:.2e}, allowed is {PIXEL_TOLERANCE:.0e}"
    return difference


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))
