"""The protocols about answers as metrics of training and evaluation."""

from __future__ import annotations

import pytest

from lavis.metrics.multiple_choice import MultipleChoiceMetric
from lavis.metrics.nextgqa import NextGQAMetric
from lavis.metrics.recursive_grounding import RecursiveGroundingMetric
from lavis.structures import Moment, Prediction, VideoSample

OPTIONS = ["dance.", "a man.", "walk away.", "sit.", "eat."]


def question(identity: str, answer: str = "Option A", **fields: object) -> VideoSample:
    return VideoSample(identity, "a.mp4", "why?", 20, options=OPTIONS, answer=answer, **fields)  # type: ignore[arg-type]


def test_nextgqa() -> None:
    metric = NextGQAMetric()
    samples = [question(f"TN_{i}_0", moments=[Moment(0, 10)]) for i in range(4)]
    moments = [[Moment(0, 10)], [Moment(5, 5)], [Moment(5, 15), Moment(0, 10)], []]
    texts = ["A", "no idea", "B", "dance"]
    metric.update(samples, [Prediction(s.id, m, t) for s, m, t in zip(samples, moments, texts, strict=True)])
    assert metric.compute() == {
        "Acc@QA": 50.0, "Acc@GQA": 25.0, "mIoP": 62.5, "IoP@0.3": 75.0, "IoP@0.5": 75.0, "mIoU": 33.3,
        "IoU@0.3": 50.0, "IoU@0.5": 25.0, "total": 4,
    }  # fmt: skip
    names = {"Acc@QA", "Acc@GQA", "mIoP", "IoP@0.3", "IoP@0.5", "mIoU", "IoU@0.3", "IoU@0.5", "total"}
    assert metric.names(samples) == names


def test_multiple_choice_by_benchmark() -> None:
    samples = [question("TN_1_0"), question("TP_2_0"), question("CW_3_0")]
    answers = [
        Prediction("TN_1_0", [], "A"),
        Prediction("TP_2_0", [], "B"),
        Prediction("CW_3_0", [], "I say B", scores={"option": 0.0}),
    ]
    metric = MultipleChoiceMetric("nextqa")
    metric.update(samples, answers)
    figures = metric.compute()
    assert (figures["Acc_T"], figures["Acc_C"], figures["Acc"]) == (50.0, 100.0, 66.67)
    kinds = MultipleChoiceMetric("mvbench", rule="letter")
    kinds.update([question("1", kind="Action Count")], [Prediction("1", [], "(A) dance.")])
    assert kinds.compute() == {"Action Count": 100.0, "Avg": 100.0, "total": 1}


def test_multiple_choice_of_videomme() -> None:
    metric = MultipleChoiceMetric("videomme", unreadable="wrong")
    extra = {"duration_category": "short", "domain": "Knowledge", "sub_category": "Law"}
    metric.update([question("1-1", kind="OCR Problems", extra=extra)], [Prediction("1-1", [], "A.")])
    figures = metric.compute()
    assert {figures[name] for name in ("Overall", "short", "domain/Knowledge", "sub_category/Law")} == {100.0}
    assert figures["task/OCR Problems"] == 100.0


def test_samples_without_options_have_no_accuracy() -> None:
    metric = MultipleChoiceMetric()
    metric.update([VideoSample("a", "a.mp4", "q", 10)], [Prediction("a", [], "A")])
    assert metric.compute() == {"total": 1}


def test_recursive_grounding() -> None:
    metric = RecursiveGroundingMetric(max_turns=2)
    samples = [VideoSample(name, "a.mp4", "q", 10, [Moment(5, 10)]) for name in "ab"]
    metric.update(samples, [Prediction("a", [], "end, throughout"), Prediction("b", [], "at the end")])
    figures = metric.compute()
    assert figures["turn1/mean_iou"] == pytest.approx(0.5)
    assert figures["turn2/r07"] == pytest.approx(0.5)
    assert figures["total"] == 2
