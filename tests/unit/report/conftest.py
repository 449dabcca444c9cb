"""A small run to report on: four queries on two generated videos, two stages, and what the stages logged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lavis.structures import Moment, Prediction, Subtitle, VideoSample


def encode(path: Path, seconds: int = 8, width: int = 64, height: int = 48) -> Path:
    """A video that gets brighter, 5 frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(5 * seconds):
            grey = np.full((height, width, 3), 40 + 4 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [encode(folder / "kitchen.mp4"), encode(folder / "street.mp4", width=48, height=64)]


@pytest.fixture
def samples(videos: list[Path]) -> list[VideoSample]:
    line = Subtitle(1.0, 2.5, "the kettle <b>is</b> ready")
    rows = [
        ("Sample_1", videos[0], "a red circle & a square", [Moment(1, 4)], "seen"),
        ("Sample_2", videos[0], "a voice says that the kettle is ready", [Moment(1, 3), Moment(6, 7)], "said"),
        ("Sample_3", videos[1], "a blue star grows", [Moment(2, 6)], "seen"),
        ("Sample_4", videos[1], 'someone asks "why"', [Moment(4, 8)], "said"),
    ]
    return [
        VideoSample(id, str(video), query, 8.0, moments, subtitles=[line], kind=kind, dataset="quickstart")
        for id, video, query, moments, kind in rows
    ]


ANSWERS = {
    "stage1": [[Moment(1, 4)], [Moment(6, 8)], [Moment(0, 8)], []],
    "stage2": [[Moment(1, 4)], [Moment(1, 3), Moment(6, 7)], [Moment(2, 5)], [Moment(0, 2)]],
}


@pytest.fixture
def run_folders(tmp_path: Path, samples: list[VideoSample]) -> dict[str, Path]:
    """Run folders of two stages, as the runner leaves them."""
    folders = {}
    for stage, answers in ANSWERS.items():
        folder = tmp_path / "results" / stage
        (folder / "predictions").mkdir(parents=True)
        predictions = [
            Prediction(sample.id, moments, text=str([m.to_list() for m in moments]), malformed=not moments)
            for sample, moments in zip(samples, answers, strict=True)
        ]
        rows = "".join(json.dumps(prediction.to_json()) + "\n" for prediction in predictions)
        (folder / "predictions" / "quickstart_test.jsonl").write_text(rows)
        log = [{"step": 10 * n, "epoch": n // 4, "loss": 3.0 / n, "lr": 1e-4 * n} for n in range(1, 9)]
        log += [
            {"step": 40 * n, "epoch": n, "split": "quickstart_val", "R1@0.5": 30 * n, "R1@0.7": 20 * n} for n in (1, 2)
        ]
        log += [{"step": 80, "epoch": 2, "split": "quickstart_test", "R1@0.5": 99.0, "R1@0.7": 99.0}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
        (folder / "metrics.json").write_text(
            json.dumps({"quickstart_test": {"skipped": 1 if stage == "stage2" else 0}})
        )
        (folder / "config.yaml").write_text(f"name: {stage}\nrun:\n  seed: 42\n")
        (folder / "environment.json").write_text(json.dumps({"device": "cpu", "versions": {"torch": "2.13.0"}}))
        folders[stage] = folder
    return folders
