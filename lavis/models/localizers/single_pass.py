"""Ask once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lavis.common.registry import registry
from lavis.models.localizers.base import Localizer
from lavis.structures import Batch, Prediction

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


@registry.localizers.register("single_pass")
class SinglePass(Localizer):
    """One question, one answer."""

    def __call__(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        return model.answer(batch)
