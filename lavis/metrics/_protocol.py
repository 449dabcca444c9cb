"""Scoring protocols as metrics of training and evaluation: samples and predictions become the rows a protocol reads."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lavis.metrics.base import Metric
from lavis.scoring.base import Protocol
from lavis.scoring.scorer import score
from lavis.structures import Prediction, VideoSample

TOKENS = ("ent_inds", "tst_inds", "vl_sims", "scale")
"""What MeCo's scripts want of an answer with structural tokens, beside its text."""


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


def structural(prediction: Prediction) -> dict[str, Any]:
    """What is known of the structural tokens of an answer; nothing if it is one in words alone."""
    known = prediction.details
    return {name: known[name] for name in TOKENS} if set(TOKENS) <= known.keys() else {}
