"""E.T. Bench as a task."""

from __future__ import annotations

from lavis.scoring.scorer import score
from lavis.structures import Prediction, VideoSample
from lavis.tasks.base import build_task


def test_result_rows_are_official_records() -> None:
    record = {"version": 1.0, "idx": 3, "task": "tvg", "source": "s", "video": "v.mp4", "duration": 50.0, "tgt": [1, 5]}
    sample = VideoSample("ETBench_3", "v.mp4", "q", 50.0, extra={"etbench": record})
    answer = Prediction(sample.id, [], "1 - 5 seconds")
    task = build_task("etbench")
    rows = task.result_rows([sample], [answer])
    assert rows == [{**record, "a": "1 - 5 seconds"}]
    figures = task.evaluate([sample], [answer])
    report = score("etbench", rows)
    assert figures == {"TVG (F1)": 100.0, "Mean F1 (gnd)": 1.0, "total": 1}
    assert {**report.headline, "total": 1} == figures
    assert report.pairs.ids == ["tvg/s/3"]
