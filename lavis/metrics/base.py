"""The contract of metrics: samples and predictions come in pairs, figures go out under flat names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

from lavis.scoring.rounding import shortened
from lavis.structures import Prediction, VideoSample


class Metric(ABC):
    """Figures over a set of predictions: ``reset``, any number of ``update``, ``compute``.

    ``predictable`` tells whether the names of its figures follow from the samples, whatever is predicted.
    """

    predictable: ClassVar[bool] = False

    def __init__(self) -> None:
        self.pairs: list[tuple[VideoSample, Prediction]] = []

    def reset(self) -> None:
        """Forgets everything seen."""
        self.pairs = []

    def update(self, samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> None:
        """Adds predictions to their samples.

        Raises:
            ValueError: if they are not equally many, or one belongs to another sample; names the ids.
        """
        if len(samples) != len(predictions):
            raise ValueError(f"{len(samples)} samples but {len(predictions)} predictions; give one for each, in order")
        wrong = [f"{s.id} / {p.id}" for s, p in zip(samples, predictions, strict=True) if s.id != p.id]
        if wrong:
            raise ValueError(f"predictions of other samples (sample / prediction): {shortened(wrong)}")
        self.pairs.extend(zip(samples, predictions, strict=True))

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The figures, under the names the field knows them by; without samples, ``{"total": 0}``."""

    def names(self, samples: Sequence[VideoSample]) -> set[str] | None:
        """Names of the figures of these samples, found with the truth as predictions; resets the metric.

        Returns:
            ``None`` if they are not known before the predictions are.
        """
        if not self.predictable:
            return None
        self.reset()
        self.update(samples, [_truth(sample) for sample in samples])
        names = set(self.compute())
        self.reset()
        return names

    def known(self) -> list[tuple[VideoSample, Prediction]]:
        """The pairs whose truth is known: all, or none where a split has no truth.

        Raises:
            ValueError: if some have it and some do not, or a sample has an empty list of moments; names the ids.
        """
        unknown = [sample.id for sample, _ in self.pairs if sample.moments is None]
        if len(unknown) == len(self.pairs):
            return []
        if unknown:
            raise ValueError(f"{len(unknown)} of {len(self.pairs)} samples have no truth: {shortened(unknown)}")
        empty = [sample.id for sample, _ in self.pairs if not sample.moments]
        if empty:
            raise ValueError(f"samples with an empty list of true moments cannot be scored: {shortened(empty)}")
        return self.pairs


def grouped(
    metric: Metric,
    samples: Sequence[VideoSample],
    predictions: Sequence[Prediction],
    label: Callable[[VideoSample], str | None] = lambda sample: sample.kind,
) -> dict[str, dict[str, float]]:
    """Figures for each group of samples, such as what is seen and what is said.

    Args:
        metric: is reset for each group, and afterwards.
        samples: in any order.
        predictions: one for each sample, in the same order.
        label: group of a sample; those labelled ``None`` are left out.

    Returns:
        label to figures, labels sorted.
    """
    groups: dict[str, list[tuple[VideoSample, Prediction]]] = {}
    for sample, prediction in zip(samples, predictions, strict=True):
        name = label(sample)
        if name is not None:
            groups.setdefault(name, []).append((sample, prediction))
    figures = {}
    for name in sorted(groups):
        metric.reset()
        metric.update([s for s, _ in groups[name]], [p for _, p in groups[name]])
        figures[name] = metric.compute()
    metric.reset()
    return figures


def _truth(sample: VideoSample) -> Prediction:
    return Prediction(sample.id, list(sample.moments or ()), frame_scores=[1.0 for _ in sample.saliency or ()])
