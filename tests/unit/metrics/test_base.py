"""What all metrics share: pairing, unknown truth, groups."""

from __future__ import annotations

import pytest

from lavis.common.registry import registry
from lavis.metrics.base import Metric, grouped, shortened, two_decimals
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


@pytest.mark.parametrize("name", list(registry.metrics))
def test_every_metric_reports_nothing_of_nothing(name: str) -> None:
    assert registry.metrics.get(name)().compute() == {"total": 0}


FIGURES = {
    "temporal": {"mIoU", "r1@0.95", "agg_metrics"},
    "qvhighlights": {"MR-short-mAP", "MR-full-R1@0.5", "HL-min-VeryGood-Hit1"},
    "question_answering": {"TN", "agg_metrics", "unanswered"},
    "action_detection": {"mAP@0.5", "class_label_mismatch"},
}


@pytest.mark.parametrize("name", registry.metrics.names())
def test_names_are_known_before_the_predictions(name: str) -> None:
    metric = registry.metrics.get(name)()
    ratings = [[4, 3, 4]] * 5
    extra = {"labels": ["jump"]}
    samples = [VideoSample(f"TN_{i}", "a.mp4", "q", 10, [Moment(0, 5)], saliency=ratings, extra=extra) for i in "ab"]
    names = metric.names(samples)
    assert FIGURES[name] <= names
    metric.update(samples, [Prediction(s.id, [Moment(4, 9)], "no", frame_scores=[0.5] * 5) for s in samples])
    assert set(metric.compute()) == names
    metric.reset()
    assert metric.names([]) == {"total"}


def test_names_that_are_not_known() -> None:
    assert Count().names([sample("a")]) is None
