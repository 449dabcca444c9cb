"""A small corpus of generated videos, and whole runs on it with the time they take.

Runs are those of users: ``lavis.runners.run.train`` and ``evaluate`` on a configuration. Only the clock is added here.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord
from lavis.runners.run import evaluate, train
from lavis.runners.runner import Runner

QUERIES_PER_VIDEO = 2.8  # Charades-STA test has 2.79
SECONDS = 30  # of a video


def make_video(
    path: Path, seconds: int, width: int, height: int, fps: int = 30, gop: int = 250, seed: int = 0
) -> Path:
    """An H.264 video of drifting shapes, with a keyframe every ``gop`` frames."""
    import av

    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).integers(0, 24, (height, width), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"preset": "veryfast", "sc_threshold": "0"}
        for number in range(seconds * fps):
            wave = 90 + 60 * np.sin((columns + 3 * number) / 40 + seed) + 60 * np.cos((rows - 2 * number) / 30)
            grey = np.clip(wave, 0, 230).astype(np.uint8) + np.roll(noise, number, axis=1)
            picture = np.stack([grey, np.roll(grey, 7, axis=0), np.roll(grey, 11, axis=1)], axis=-1)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path


def copies(video: Path, folder: Path, count: int) -> list[Path]:
    """``count`` files that show the same and differ in content: each ends with an MP4 box that no player reads."""
    content, paths = video.read_bytes(), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        paths.append(folder / f"{number:05d}.mp4")
        paths[-1].write_bytes(content + struct.pack(">I4sQ", 16, b"free", number))
    return paths


def corpus(folder: Path, videos: Sequence[Path], queries: int, seconds: int = SECONDS) -> dict[str, Any]:
    """Node of a data set with the splits ``train`` and ``test``, the same questions in both.

    Args:
        folder: where annotations are written.
        videos: in one folder; a query asks about each of them in turn, and so the queries of a video lie apart.
        queries: how many.
        seconds: of a video.
    """
    rows = [
        {
            "video": videos[i % len(videos)].stem,
            "qid": f"query_{i}",
            "query": f"a red circle moves left {i}",
            "duration": seconds,
            "items": ["circle"],
            "relevant_windows": [[i % (seconds // 2), i % (seconds // 2) + seconds // 2]],
        }
        for i in sorted(range(queries), key=lambda i: i % len(videos))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    annotations = folder / f"{queries}_of_{len(videos)}.json"
    annotations.write_text(json.dumps(rows), encoding="utf-8")
    return {
        "name": "grounding",
        "format": {"name": "calce"},
        "annotations": {"train": str(annotations), "test": str(annotations)},
        "videos": str(videos[0].parent),
    }


def experiment(
    name: str, model: Mapping[str, Any], data: Mapping[str, Any], folder: Path, run: Mapping[str, Any]
) -> dict[str, Any]:
    """A configuration; ``run`` adds to the settings of a run without validation and curves."""
    settings = {
        "output_dir": str(folder),
        "seed": 0,
        "valid_splits": [],
        "test_splits": [],
        "hooks": ["benchmark_clock"],
        "log_every": 1_000_000,
        "save_every": 1_000_000,
        **run,
    }
    task = {"name": "moment_retrieval", "metrics": [{"name": "temporal"}]}
    return {"name": name, "model": dict(model), "datasets": {"clips": dict(data)}, "task": task, "run": settings}


@dataclass
class Measured:
    """What a run took and gave: wall and processor seconds of its epochs or of its evaluation, losses by iteration,
    answers by id.
    """

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)


def timed_evaluation(config: Mapping[str, Any]) -> Measured:
    """Evaluates the split ``test``; building the model is not counted, reading and writing files is."""
    measured, original = Measured(), Runner.evaluate

    def clocked(runner: Runner, *args: Any, **kwargs: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        result = original(runner, *args, **kwargs)
        measured.seconds.append(time.perf_counter() - start)
        measured.cpu.append(time.process_time() - cpu)
        return result

    with with_clock(), patch.object(Runner, "evaluate", clocked), redirect_stderr(StringIO()):
        folder = evaluate(config, ["test"])
    lines = (folder / "predictions" / "clips_test.jsonl").read_text(encoding="utf-8").splitlines()
    measured.answers = {row["id"]: row["text"] for row in map(json.loads, lines)}
    return measured


def timed_training(config: Mapping[str, Any]) -> Measured:
    """Trains; an epoch is counted from the end of the one before, or of everything built, to its last step."""
    Clock.measured = Measured()
    with with_clock(), redirect_stderr(StringIO()):  # progress of the run, which would hide the figures
        train(config)
    return Clock.measured


@contextmanager
def with_clock() -> Iterator[None]:
    """Makes the hook ``benchmark_clock`` known while a benchmark runs, and to nobody else."""
    registry.hooks._entries["benchmark_clock"] = Clock
    try:
        yield
    finally:
        del registry.hooks._entries["benchmark_clock"]


class Clock(Hook):
    """Notes when epochs end, and the losses."""

    measured = Measured()

    def start(self, runner: Runner) -> None:
        self._began = time.perf_counter(), time.process_time()

    def step(self, runner: Runner, record: StepRecord) -> None:
        self.measured.losses += [float(value) for value in record.losses.values()]
        self._last = time.perf_counter(), time.process_time()

    def trained(self, runner: Runner) -> None:
        self.measured.seconds.append(self._last[0] - self._began[0])
        self.measured.cpu.append(self._last[1] - self._began[1])
        self.start(runner)
