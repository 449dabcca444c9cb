"""What all metrics share: pairing, unknown truth, groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.common.io import write_jsonl
from lavis.common.registry import registry
from lavis.metrics.base import Metric, grouped
from lavis.scoring.rounding import shortened, two_decimals
from lavis.structures import Moment, Prediction, VideoSample


class Count(Metric):
    def compute(self) -> dict[str, float]:
        return {"known": len(self.known()), "total": len(self.pairs)}


def sample(identity: str, known: bool = True, kind: str | None = None) -> VideoSample:
    return VideoSample(identity, "a.mp4", "q", 10, [Moment(0, 5)] if known else None, kind=kind)


def prediction(identity: str) -> Prediction:
    return Prediction(identity, [Moment(0, 5)])


def test_predictions_must_belong_to_their_samples() -> None:
    with pytest.raises(ValueError, match="2 samples but 1 predictions"):
        Count().update([sample("a"), sample("b")], [prediction("a")])
    with pytest.raises(ValueError, match="b / c"):
        Count().update([sample("a"), sample("b")], [prediction("a"), prediction("c")])


def test_reset_and_several_updates() -> None:
    metric = Count()
    metric.update([sample("a")], [prediction("a")])
    metric.update([sample("b")], [prediction("b")])
    assert metric.compute() == {"known": 2, "total": 2}
    metric.reset()
    assert metric.compute() == {"known": 0, "total": 0}


def test_unknown_truth() -> None:
    metric = Count()
    metric.update([sample("a", known=False)], [prediction("a")])
    assert metric.compute() == {"known": 0, "total": 1}
    metric.update([sample("b")], [prediction("b")])
    with pytest.raises(ValueError, match="1 of 2 samples have no truth: a"):
        metric.compute()


def test_empty_truth_is_named() -> None:
    metric = Count()
    metric.update([VideoSample("a", "a.mp4", "q", 10, [])], [prediction("a")])
    with pytest.raises(ValueError, match="cannot be scored: a"):
        metric.compute()


def test_groups() -> None:
    samples = [sample("a", kind="seen"), sample("b", kind="said"), sample("c"), sample("d", kind="said")]
    figures = grouped(Count(), samples, [prediction(s.id) for s in samples])
    assert figures == {"said": {"known": 2, "total": 2}, "seen": {"known": 1, "total": 1}}


def test_numbers_round_as_they_print() -> None:
    assert two_decimals(0.125) == 0.12
    assert two_decimals(2.675) == 2.67
    assert shortened(range(7)) == "0, 1, 2, 3, 4 and 2 more"


def built(name: str, folder: Path) -> Metric:
    """A metric with the least it needs: a judge has to come from somewhere."""
    judge = {"name": "recorded", "file": str(write_jsonl(folder / "judged.jsonl", [{"key": "a", "reply": "3"}]))}
    metric: Metric = registry.metrics.get(name)(**({"judge": judge} if name == "magqa" else {}))
    return metric


@pytest.mark.parametrize("name", list(registry.metrics))
def test_every_metric_reports_nothing_of_nothing(name: str, tmp_path: Path) -> None:
    assert built(name, tmp_path).compute() == {"total": 0}


FIGURES: dict[str, set[str] | None] = {
    "dense_captioning": {"Precision", "Recall", "F1"},
    "etchat_charades": {"R@0.5", "mIoU"},
    "etbench": None,  # follow from what is answered
    "frame_scores": None,
    "magqa": None,
    "meco_charades": {"MR-full-R5@0.7", "MR-full-mIoU"},
    "meco_qvhighlights": {"MR-full-R5@0.7", "HL-min-VeryGood-Hit1"},
    "moment_retrieval": {"R1@0.5", "R5@0.5", "mIoU", "union_mIoU", "best_mIoU"},
    "temporal": {"mIoU", "r1@0.95", "agg_metrics"},
    "qvhighlights": {"MR-short-mAP", "MR-full-R1@0.5", "HL-min-VeryGood-Hit1"},
    "question_answering": {"TN", "agg_metrics", "unanswered"},
    "action_detection": {"mAP@0.5", "class_label_mismatch"},
    "multiple_choice": {"total"},
    "nextgqa": {"mIoP", "IoU@0.5"},
    "recursive_grounding": {"turn1/mean_iou", "turn4/r07"},
}


@pytest.mark.parametrize("name", registry.metrics.names())
def test_names_are_known_before_the_predictions(name: str, tmp_path: Path) -> None:
    metric = built(name, tmp_path)
    ratings = [[4, 3, 4]] * 5
    extra = {"labels": ["jump"], "captions": ["a dog jumps"]}
    samples = [VideoSample(f"TN_{i}", "a.mp4", "q", 10, [Moment(0, 5)], saliency=ratings, extra=extra) for i in "ab"]
    names = metric.names(samples)
    expected = FIGURES[name]
    if expected is None or names is None:
        assert expected == names
        return
    assert expected <= names
    metric.update(samples, [Prediction(s.id, [Moment(4, 9)], "no", frame_scores=[0.5] * 5) for s in samples])
    assert set(metric.compute()) == names
    metric.reset()
    assert metric.names([]) == {"total"}


def test_names_that_are_not_known() -> None:
    assert Count().names([sample("a")]) is None
