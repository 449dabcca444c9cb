"""E.T. Bench as a metric."""

from __future__ import annotations

from typing import Any

import pytest

from lavis.metrics.etbench import ETBenchMetric
from lavis.structures import Moment, Prediction, VideoSample


def sample(task: str, index: int = 0, **truth: Any) -> VideoSample:
    record = {"task": task, "source": "s", "idx": index, "video": "v.mp4", "duration": 50.0, **truth}
    return VideoSample(f"ETBench_{task}_{index}", "v.mp4", "q", 50.0, extra={"etbench": record})


def test_figures_of_the_tasks_that_are_there() -> None:
    metric = ETBenchMetric()
    samples = [sample("tvg", tgt=[10, 20]), sample("tvg", 1, tgt=[10, 20]), sample("rar", o=["x", "y"], p=1)]
    answers = [
        Prediction(samples[0].id, [], "10 - 20 seconds"),
        Prediction(samples[1].id, [Moment(30, 40)]),
        Prediction(samples[2].id, [], "(B)"),
    ]
    metric.update(samples, answers)
    figures = metric.compute()
    assert {name: figures[name] for name in ("TVG (F1)", "RAR (Acc)", "total")} == {
        "TVG (F1)": 50.0,
        "RAR (Acc)": 100.0,
        "total": 3,
    }
    assert metric.names(samples) is None


def test_tasks_and_options_reach_the_protocol() -> None:
    metric = ETBenchMetric(evs_failures="zero", tasks=["evs"])
    samples = [sample("evs", 0, tgt=[[1, 5]]), sample("evs", 1, tgt=[[1, 5]]), sample("tvg", tgt=[1, 5])]
    metric.update(samples, [Prediction(s.id, [], text) for s, text in zip(samples, ("1 - 5", "no", "no"), strict=True)])
    assert metric.compute() == {"EVS (F1)": 50.0, "Mean F1 (gnd)": 0.5, "total": 3}


def test_without_truth() -> None:
    metric = ETBenchMetric()
    assert metric.compute() == {"total": 0}
    hidden, known = sample("tvg"), sample("tvg", 1, tgt=[1, 2])
    metric.update([hidden], [Prediction(hidden.id, [], "1 - 2")])
    assert metric.compute() == {"total": 1}
    metric.update([known], [Prediction(known.id, [], "1 - 2")])
    with pytest.raises(ValueError, match=r"1 of 2 samples have no truth: ETBench_tvg_0"):
        metric.compute()


def test_a_sample_without_its_record() -> None:
    metric = ETBenchMetric()
    bare = VideoSample("x", "v.mp4", "q", 50.0)
    metric.update([bare], [Prediction("x", [], "1 - 2")])
    with pytest.raises(ValueError, match="sample x carries no record"):
        metric.compute()
