"""Find the moment a question is about, then answer from frames of that moment alone.

Source: MR.BLIP on NExT-GQA (sudo-Boris/mr-Blip): a frozen localizer, and an answerer that sees a few frames of its
first window. An unusable window means the whole video, as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lavis.common.registry import registry
from lavis.models.localizers.base import Localizer
from lavis.structures import Batch, Frames, Moment, Prediction, VideoSample

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


@registry.localizers.register("locate_then_answer")
class LocateThenAnswer(Localizer):
    """Two models in a row.

    Args:
        coarse: finds the moment; set by ``attach``. Without one, ``sample.prior`` is used (oracle or earlier run).
        num_frames: frames of the moment the answerer sees, evenly spread.
    """

    wiring = ("coarse",)

    def __init__(self, coarse: VideoLLM | None = None, num_frames: int = 4) -> None:
        if num_frames < 1:
            raise ValueError(f"localizer.num_frames must be at least 1, got {num_frames}")
        self.coarse = coarse
        self.num_frames = num_frames

    def attach(self, coarse: VideoLLM) -> None:
        """Sets the model that finds the moment."""
        self.coarse = coarse

    def __call__(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        found = [p.moments for p in self.coarse.generate(batch)] if self.coarse is not None else [[]] * len(batch)
        samples = [
            sample.with_prior(list(moments[:1]) or list((sample.prior or [])[:1]))
            for sample, moments in zip(batch.samples, found, strict=True)
        ]
        views = {
            name: [self._inside(f, sample) for f, sample in zip(frames, samples, strict=True)]
            for name, frames in batch.views.items()
        }
        return model.answer(Batch(samples, views))

    def _inside(self, frames: Frames, sample: VideoSample) -> Frames:
        """The ``num_frames`` frames nearest to evenly spread times of the moment."""
        prior = next(iter(sample.prior or []), None)
        usable = prior is not None and 0 <= prior.start < prior.end
        window = prior.clamp(sample.duration) if prior is not None and usable else Moment(0, sample.duration)
        wanted = torch.linspace(float(window.start), float(window.end), self.num_frames + 2)[1:-1]
        nearest = (torch.tensor(frames.times)[None] - wanted[:, None]).abs().argmin(dim=1)
        chosen = torch.unique(nearest).tolist()
        key = None if frames.key is None else f"{frames.key}|{chosen}"
        return Frames(frames.pixels[chosen], [frames.times[i] for i in chosen], key)
