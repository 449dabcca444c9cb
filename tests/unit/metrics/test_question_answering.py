"""Multiple-choice answers, and whether they were found in the right place."""

from __future__ import annotations

import pytest

from lavis.metrics.question_answering import QuestionAnswering, chosen_option, true_option
from lavis.structures import Moment, Prediction, VideoSample

OPTIONS = ["dance.", "a man.", "walk away.", "sit.", "eat."]


def question(identity: str, answer: str | None = "Option A", **fields: object) -> VideoSample:
    return VideoSample(identity, "a.mp4", "why?", 20, options=OPTIONS, answer=answer, **fields)  # type: ignore[arg-type]


def test_accuracy_overall_and_by_type() -> None:
    metric = QuestionAnswering()
    samples = [question("TN_1_0"), question("TN_2_0"), question("CW_1_0"), question("CW_1_1", kind="CH")]
    texts = ["A", "B", "dance", "no idea"]
    metric.update(samples, [Prediction(s.id, [], text) for s, text in zip(samples, texts, strict=True)])
    assert metric.compute() == {
        "TN": 50,
        "CW": 100,
        "CH": 0,
        "agg_metrics": 0.5,
        "unanswered": 0.25,
        "total": 4,
    }


@pytest.mark.parametrize("answer", [None, "", "5", "a woman", "99999"])
def test_unusable_truth_is_named(answer: str | None) -> None:
    with pytest.raises(ValueError, match="TN_1_0"):
        true_option(question("TN_1_0", answer=answer))


def test_an_option_may_be_given_by_index() -> None:
    """As the ``option_letter`` codec writes and reads them."""
    sample = question("TN_1_0", answer="2")
    assert true_option(sample) == 2
    assert true_option(question("TN_1_0", answer="eat.", extra={"answer_index": 0})) == 0
    assert true_option(question("TN_1_0", answer="eat.")) == 4
    assert chosen_option(sample, Prediction(sample.id, [], "I think B", scores={"option": 1.0})) == 1
    assert chosen_option(sample, Prediction(sample.id, [], "I think B")) is None


def test_grounding() -> None:
    metric = QuestionAnswering(grounded=True)
    truths = [[Moment(0, 10), Moment(40, 44)], [Moment(0, 10)], [Moment(0, 10)], [Moment(0, 10)]]
    samples = [question(f"TN_{i}_0", moments=truth) for i, truth in enumerate(truths)]
    moments = [
        [Moment(40, 50), Moment(0, 10)],  # only the first counts: 0.4 of both
        [Moment(5, 5)],  # without length, inside: IoU 0, all of it in the truth
        [Moment(20, 30)],  # apart
        [],
    ]
    texts = ["A", "A", "A", "B"]
    metric.update(samples, [Prediction(s.id, m, t) for s, m, t in zip(samples, moments, texts, strict=True)])
    figures = metric.compute()
    assert figures["mIoU"] == pytest.approx(10)
    assert figures["mIoP"] == pytest.approx(35)
    assert [figures[f"TIo{x}@{level}"] for x in "UP" for level in (0.3, 0.5)] == [25, 0, 50, 25]
    assert figures["Acc@GQA"] == 25
    assert figures["agg_metrics"] == 0.75


def test_grounding_needs_truth() -> None:
    metric = QuestionAnswering(grounded=True)
    metric.update([question("TN_1_0")], [Prediction("TN_1_0", [], "A")])
    with pytest.raises(ValueError, match="TN_1_0 has no true moment"):
        metric.compute()
