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
