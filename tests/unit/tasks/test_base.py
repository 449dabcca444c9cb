"""What all tasks share: matching predictions to samples, groups, result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lavis.common.io import FileFormatError
from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.metrics.qvhighlights import QVHighlights
from lavis.metrics.temporal import Temporal
from lavis.structures import Batch, Moment, Prediction, VideoSample
from lavis.tasks.base import Task, build_task, read_results, write_results
from lavis.tasks.moment_retrieval import MomentRetrieval


def sample(identity: str, kind: str | None = None) -> VideoSample:
    return VideoSample(identity, "a.mp4", "a dog", 150, [Moment(0, 10)], kind=kind)


def prediction(identity: str, *windows: tuple[float, float]) -> Prediction:
    return Prediction(identity, [Moment(*w) for w in windows], str([list(w) for w in windows]))


class Constant(Metric):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def compute(self) -> dict[str, float]:
        return {"figure": self.value}


class Echo:
    def generate(self, batch: Batch) -> list[Prediction]:
        return [prediction(s.id, (0, 10)) for s in batch.samples]


def test_predict_asks_the_model() -> None:
    answers = MomentRetrieval().predict(Echo(), Batch([sample("a")], {}))  # type: ignore[arg-type]
    assert [answer.id for answer in answers] == ["a"]


def test_predictions_are_matched_by_id_and_the_last_counts() -> None:
    figures = MomentRetrieval().evaluate(
        [sample("a"), sample("b")], [prediction("b", (0, 10)), prediction("a", (50, 60)), prediction("a", (0, 10))]
    )
    assert figures["R1@0.5"] == 100


def test_unmatched_ids_are_named() -> None:
    with pytest.raises(ValueError, match="no prediction for b"):
        MomentRetrieval().evaluate([sample("a"), sample("b")], [prediction("a", (0, 10))])
    with pytest.raises(ValueError, match="unknown samples: c"):
        MomentRetrieval().evaluate([sample("a")], [prediction("a", (0, 10)), prediction("c", (0, 10))])


def test_nothing_to_score() -> None:
    assert MomentRetrieval().evaluate([], []) == {"total": 0}


def test_kinds_are_scored_apart() -> None:
    samples = [sample("a", "seen"), sample("b", "said"), sample("c", "said")]
    predictions = [prediction("a", (0, 10)), prediction("b", (50, 60)), prediction("c", (0, 10))]
    figures = MomentRetrieval().evaluate(samples, predictions)
    assert [figures[name] for name in ("R1@0.5", "seen/R1@0.5", "said/R1@0.5", "said/total")] == [66.67, 100, 50, 2]
    ungrouped = MomentRetrieval(group_by_kind=False).evaluate(samples, predictions)
    assert not [name for name in ungrouped if "/" in name]


def test_several_metrics() -> None:
    figures = MomentRetrieval([Temporal(), QVHighlights()]).evaluate([sample("a")], [prediction("a", (0, 10))])
    assert figures["mAP"] == figures["MR-full-mAP"] == 100
    assert Task([Constant(1), Constant(1)]).evaluate([], []) == {"figure": 1}
    with pytest.raises(ValueError, match="'figure' differently"):
        Task([Constant(1), Constant(2)]).evaluate([], [])


def test_a_task_is_built_from_its_configuration() -> None:
    metrics = [{"name": "temporal", "recall_at": [0.1]}, "qvhighlights"]
    task = build_task({"name": "moment_retrieval", "metrics": metrics})
    assert [type(metric) for metric in task.metrics] == [Temporal, QVHighlights]
    assert "R1@0.1" in task.evaluate([sample("a")], [prediction("a", (0, 10))])
    with pytest.raises(ValueError, match=r"task\.metrics\[0\]"):
        build_task({"name": "moment_retrieval", "metrics": [{"name": "temporal", "recal_at": [0.1]}]})
    with pytest.raises(ValueError, match="Did you mean 'moment_retrieval'"):
        build_task("moment_retreival")


@pytest.mark.parametrize("name", list(registry.tasks))
def test_every_task_evaluates_nothing_and_lists_nothing(name: str) -> None:
    task = build_task(name)
    assert task.metrics
    assert task.evaluate([], []) == {"total": 0}
    assert task.result_rows([], []) == []


def test_result_files_round_trip(tmp_path: Path) -> None:
    task = MomentRetrieval()
    samples, predictions = [sample("a"), sample("b")], [prediction("a", (0, 10), (3, 4)), prediction("b", (1.5, 2))]
    path = write_results(tmp_path / "deep" / "val_epochbest.json", task.result_rows(samples, predictions))
    assert read_results(path) == predictions
    assert json.loads(path.read_text())[0]["pred_windows"] == [[0, 10], [3, 4]]
    lines = tmp_path / "predictions.jsonl"
    lines.write_text("".join(json.dumps(p.to_json()) + "\n" for p in predictions))
    assert read_results(lines) == predictions


def test_result_files_with_repeated_rows_keep_the_last(tmp_path: Path) -> None:
    path = write_results(tmp_path / "a.json", [{"qid": "a", "pred_windows": [[0, n]]} for n in (1, 2)])
    assert read_results(path) == [Prediction("a", [Moment(0, 2)])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"qid": "a"}', "is a list of rows"),
        ("[3]", "row 1: a result row is a mapping"),
        ('[{"qid": "a", "pred_windows": [[5, 1]]}]', "row 1: prediction a: moment ends before it starts"),
        ("[", "not JSON"),
    ],
)
def test_result_files_of_another_form(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_results(path)
    assert "a.json" in str(caught.value)


def test_names_of_figures_with_those_of_kinds() -> None:
    samples = [sample("a", "seen"), sample("b")]
    task = MomentRetrieval()
    figures = task.evaluate(samples, [prediction("a", (0, 5)), prediction("b")])
    assert task.names(samples) == set(figures)
    assert "seen/mIoU" in figures
    assert MomentRetrieval([Temporal(), Constant(1)]).names(samples) is None
