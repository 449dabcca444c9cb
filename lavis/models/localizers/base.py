"""The contract of localizers: how often, and on what, a model is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from lavis.structures import Batch, Prediction

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


class Localizer(ABC):
    """Turns a batch into predictions by asking a model one or more times."""

    @abstractmethod
    def __call__(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        """One prediction for each sample, in order."""

    def training_batch(self, model: VideoLLM, batch: Batch) -> Batch:
        """What a training step sees of a batch: by default all of it."""
        return batch


def seen_by(model: VideoLLM, batch: Batch) -> Batch:
    """The samples with the frames that ``model`` is used to: its own processor samples the videos again.

    A model without a processor gets the frames there are.
    """
    if model.processor is None or not batch.samples:
        return batch
    views = [model.processor(sample, train=False) for sample in batch.samples]
    again = {name: [view[name] for view in views] for name in views[0]}
    return Batch(batch.samples, again).to(model.language_model.device)
