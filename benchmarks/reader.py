"""How fast the video readers are: ``python -m benchmarks.reader``, or ``--quick`` for a small video.

Sparse reading, as models do it: evenly spaced frames of one video, resized to 224 x 224, probing included, one thread
each. Two ways without a reader are measured beside them: decoding every frame, and resizing after decoding.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lavis.common.registry import registry
from lavis.processors.samplers import Head
from lavis.processors.transforms import ClipEval

SIZE = (224, 224)
PACKAGES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec", "opencv": "opencv-python-headless"}
REFERENCE = "decord"


def make_video(path: Path, seconds: int, width: int, height: int, fps: int = 30, gop: int = 250) -> Path:
    """An H.264 video of drifting shapes, with a keyframe every ``gop`` frames."""
    import av

    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 24, (height, width), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"preset": "veryfast", "sc_threshold": "0"}
        for number in range(seconds * fps):
            wave = 90 + 60 * np.sin((columns + 3 * number) / 40) + 60 * np.cos((rows - 2 * number) / 30)
            grey = np.clip(wave, 0, 230).astype(np.uint8) + np.roll(noise, number, axis=1)
            picture = np.stack([grey, np.roll(grey, 7, axis=0), np.roll(grey, 11, axis=1)], axis=-1)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path


def through(reader: Any, path: Path, num_frames: int, resize_later: bool = False) -> torch.Tensor:
    """Probe, choose, read."""
    info = reader.probe(path)
    indices = Head(num_frames).indices(info)
    frames, _ = reader.read(path, indices, size=None if resize_later else SIZE, info=info)
    return ClipEval(SIZE[0])(frames) if resize_later else frames


def decode_everything(path: Path, num_frames: int) -> torch.Tensor:
    """What a reader without an index does."""
    reader = registry.readers.get("pyav")()
    info = reader.probe(path)
    return reader.read(path, range(info.num_frames), size=SIZE, info=info)[0][Head(num_frames).indices(info)]


def methods(path: Path, num_frames: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Name to what is measured; readers whose package is absent are left out."""
    measured: dict[str, Callable[[], torch.Tensor]] = {}
    for name, package in PACKAGES.items():
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        reader = registry.readers.get(name)()
        measured[name] = lambda reader=reader: through(reader, path, num_frames)
    pyav = registry.readers.get("pyav")()
    measured["pyav, resized afterwards"] = lambda: through(pyav, path, num_frames, resize_later=True)
    measured["pyav, every frame"] = lambda: decode_everything(path, num_frames)
    return measured


def best_of(run: Callable[[], torch.Tensor], repeats: int) -> tuple[float, float]:
    """Least wall and processor seconds."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small video, fewer repeats")
    parser.add_argument("--video", type=Path, help="measure on this file instead of a made one")
    parser.add_argument("--num-frames", type=int, default=60)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    repeats = options.repeats or (2 if options.quick else 5)
    with tempfile.TemporaryDirectory() as folder:
        made = (20, 320, 180) if options.quick else (150, 640, 360)
        path = options.video or make_video(Path(folder, "made.mp4"), *made)
        info = registry.readers.get("pyav")().probe(path)
        figures = {name: best_of(run, repeats) for name, run in methods(path, options.num_frames).items()}
    conditions = {
        "video": f"{info.width}x{info.height}, {info.duration_s:.1f} s, {info.num_frames} frames",
        "task": f"{options.num_frames} frames to {SIZE[0]}x{SIZE[1]}, best of {repeats}, one thread",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, PyAV {metadata.version('av')}",
    }
    for key, value in conditions.items():
        print(f"{key:9} {value}")
    reference = figures.get(REFERENCE, figures["pyav"])
    against = REFERENCE if REFERENCE in figures else "pyav"
    print(f"\n{'method':26} {'wall ms':>9} {'cpu ms':>9}   speed against {against} (cpu)")
    for name, (wall, cpu) in sorted(figures.items(), key=lambda item: item[1][1]):
        print(f"{name:26} {wall * 1000:9.0f} {cpu * 1000:9.0f}   {reference[1] / cpu:.2f}")
    if options.output:
        rows = {name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in figures.items()}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"conditions": conditions, "figures": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
