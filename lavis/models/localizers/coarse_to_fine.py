"""Coarse to fine on single videos: one model looks at the whole video, the next looks again where the first pointed.

For whole datasets the same is done by prediction files (``lavis pipeline``); both fill ``VideoSample.prior``.
Source: CALCE (tjhd1475/CALCE), whose second stage is asked with the windows of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavis.common.registry import registry
from lavis.models.localizers.base import Localizer, seen_by
from lavis.structures import Batch, Prediction

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


@registry.localizers.register("coarse_to_fine")
class CoarseToFine(Localizer):
    """Asks ``coarse`` about samples that have no prior, then the model itself.

    Args:
        coarse: the earlier stage, already built; set by ``attach`` where models are loaded from runs.
        max_prior: how many of the earlier moments, best first, the later stage is told.
    """

    wiring = ("coarse",)

    def __init__(self, coarse: VideoLLM | None = None, max_prior: int | None = None) -> None:
        if max_prior is not None and max_prior < 1:
            raise ValueError(f"localizer.max_prior must be at least 1, got {max_prior}")
        self.coarse = coarse
        self.max_prior = max_prior

    def attach(self, coarse: VideoLLM) -> None:
        """Sets the earlier stage."""
        self.coarse = coarse

    def __call__(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        if all(sample.prior is not None for sample in batch.samples):
            return model.answer(batch)
        if self.coarse is None:
            missing = next(sample.id for sample in batch.samples if sample.prior is None)
            raise ValueError(
                f"sample {missing} has no prior and no earlier stage is attached: give datasets.<name>.prior, or load "
                "both stages (lavis localize --coarse RUN)"
            )
        coarse = self.coarse.generate(seen_by(self.coarse, batch))
        samples = [
            sample if sample.prior is not None else sample.with_prior(list(found.moments[: self.max_prior]))
            for sample, found in zip(batch.samples, coarse, strict=True)
        ]
        return model.answer(Batch(samples, batch.views))
