"""Find the moment a question is about, then answer from frames of that moment alone.

Source: MR.BLIP on NExT-GQA (sudo-Boris/mr-Blip): a frozen localizer, and an answerer that learns from, and sees, frames
of its first window. An unusable window means the whole video, as there. Unlike there, a moment with fewer frames than
asked for is shown with those it has, and not with its last one again and again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lavis.common.registry import registry
from lavis.models.localizers.base import Localizer, seen_by
from lavis.structures import Batch, Frames, Moment, Prediction, VideoSample

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM


@registry.localizers.register("locate_then_answer")
class LocateThenAnswer(Localizer):
    """Two models in a row.

    The answer's ``moments`` is the moment that was looked at.

    Args:
        coarse: finds the moment; set by ``attach``. Without one, ``sample.prior`` is used (oracle or earlier run).
        num_frames: frames of the moment the answerer sees at most, evenly spread, at least 1.
        resample: read frames of the moment from the video anew, as many as the processor takes, and not only choose
            from those of the whole video.
    """

    wiring = ("coarse",)

    def __init__(self, coarse: VideoLLM | None = None, num_frames: int = 4, resample: bool = False) -> None:
        if num_frames < 1:
            raise ValueError(f"localizer.num_frames must be at least 1, got {num_frames}")
        self.coarse = coarse
        self.num_frames = num_frames
        self.resample = resample

    def attach(self, coarse: VideoLLM) -> None:
        """Sets the model that finds the moment."""
        self.coarse = coarse

    def __call__(self, model: VideoLLM, batch: Batch) -> list[Prediction]:
        return model.answer(self.training_batch(model, batch))

    def training_batch(self, model: VideoLLM, batch: Batch) -> Batch:
        """The samples with frames of their moments only, which become their ``prior``.

        Raises:
            ValueError: if frames are to be read anew and the model has no processor.
            VideoDecodeError: if a video cannot be read in its moment.
        """
        if self.coarse is not None:
            found = [prediction.moments for prediction in self.coarse.generate(seen_by(self.coarse, batch))]
        else:
            found = [sample.prior or [] for sample in batch.samples]
        windows = [_usable(moments, sample) for moments, sample in zip(found, batch.samples, strict=True)]
        views = self._read_again(model, batch, windows) if self.resample else _between(batch, windows)
        views = {name: [self._thinned(frames) for frames in column] for name, column in views.items()}
        samples = [sample.with_prior([window]) for sample, window in zip(batch.samples, windows, strict=True)]
        return Batch(samples, views)

    def _read_again(self, model: VideoLLM, batch: Batch, windows: list[Moment]) -> dict[str, list[Frames]]:
        if model.processor is None:
            raise ValueError("localizer.resample reads videos again, but the model was built without model.processor")
        clips = [replace(sample, clip=window) for sample, window in zip(batch.samples, windows, strict=True)]
        return seen_by(model, Batch(clips, {})).views

    def _thinned(self, frames: Frames) -> Frames:
        if len(frames.times) <= self.num_frames:
            return frames
        return frames.select(torch.linspace(0, len(frames.times) - 1, self.num_frames).long().tolist())


def _usable(moments: list[Moment], sample: VideoSample) -> Moment:
    """The first moment, cut to the video; to its end if it has no length, and all of it if there is none."""
    whole = sample.window
    if not moments or moments[0].start < 0:
        return whole
    first = moments[0].clamp(sample.duration)
    if first.start < first.end:
        return Moment(first.start, first.end)
    return Moment(first.start, whole.end) if first.start < whole.end else whole


def _between(batch: Batch, windows: list[Moment]) -> dict[str, list[Frames]]:
    """Of each sample the frames from the one nearest to the start of its window to the one nearest to its end."""

    def cut(frames: Frames, window: Moment) -> Frames:
        times = torch.tensor(frames.times)
        first, last = (int((times - float(bound)).abs().argmin()) for bound in (window.start, window.end))
        return frames.select(list(range(first, last + 1)))

    return {name: [cut(f, w) for f, w in zip(column, windows, strict=True)] for name, column in batch.views.items()}
