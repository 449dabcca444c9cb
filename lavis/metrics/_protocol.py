"""Scoring protocols as metrics of training and evaluation: samples and predictions become the rows a protocol reads."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lavis.metrics.base import Metric
from lavis.scoring.base import Protocol
from lavis.scoring.scorer import score
from lavis.structures import Prediction, VideoSample


class ProtocolMetric(Metric):
    """The headline of a protocol, and ``total``.

    Args:
        protocol: built; a subclass makes it from its own arguments.
    """

    predictable = True

    def __init__(self, protocol: Protocol[Any, Any]) -> None:
        super().__init__()
        self.protocol = protocol

    @abstractmethod
    def rows(self, sample: VideoSample, prediction: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
        """The answer and the truth, each in one of the protocol's forms, with the sample's id."""

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        answers, truths = zip(*(self.rows(sample, prediction) for sample, prediction in pairs), strict=True)
        report = score(self.protocol, list(answers), list(truths), missing="zero")
        return {**report.headline, "total": len(pairs)}
