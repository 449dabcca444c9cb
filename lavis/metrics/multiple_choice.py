"""Multiple-choice benchmarks in training and evaluation: the figures of the protocol ``multiple_choice``."""

from __future__ import annotations

from typing import Any, Literal

from lavis.common.registry import registry
from lavis.metrics._protocol import ProtocolMetric
from lavis.metrics.question_answering import true_option
from lavis.scoring.protocols.multiple_choice import MultipleChoice
from lavis.scoring.questions.benchmarks import Benchmark
from lavis.scoring.questions.text import Rule
from lavis.scoring.scorer import score
from lavis.structures import Prediction, VideoSample

_LABELS = ("domain", "sub_category")


@registry.metrics.register("multiple_choice")
class MultipleChoiceMetric(ProtocolMetric):
    """Accuracy in percent as a benchmark groups it.

    The kind of a question is ``sample.kind``, or else what stands before the first ``_`` of its id; Video-MME's length,
    domain and sub-category are ``sample.extra`` (``duration_category``, ``domain``, ``sub_category``).

    Args:
        benchmark: see the protocol.
        rule: see the protocol; what a codec read (``scores["option"]``) is taken as it is.
        prefer_parenthesised: see the protocol.
        unreadable: see the protocol.
    """

    def __init__(
        self,
        benchmark: Benchmark = "generic",
        rule: Rule | None = None,
        prefer_parenthesised: bool = False,
        unreadable: Literal["wrong", "drop"] | None = None,
    ) -> None:
        super().__init__(MultipleChoice(benchmark, rule, prefer_parenthesised, unreadable))

    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        answer = {"id": sample.id, "text": prediction.text, "scores": dict(prediction.scores)}
        truth = {"id": sample.id, "video": sample.video, "options": list(sample.options), "answer": true_option(sample)}
        truth |= {name: sample.extra[name] for name in _LABELS if name in sample.extra}
        if "duration_category" in sample.extra:
            truth["duration"] = sample.extra["duration_category"]
        if sample.kind is not None:
            truth["kind"] = sample.kind
        return answer, truth

    def compute(self) -> dict[str, float]:
        pairs = [(sample, prediction) for sample, prediction in self.pairs if sample.options]
        if not pairs:
            return {"total": len(self.pairs)}
        answers, truths = zip(*(self.rows(sample, prediction) for sample, prediction in pairs), strict=True)
        report = score(self.protocol, list(answers), list(truths), missing="zero")
        return {**report.headline, "total": len(pairs)}
