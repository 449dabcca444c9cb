"""What samples cost, in tokens, before any of their videos is opened: the lengths that batches are filled by.

Training counts with what evaluation counts with, the model's ``count_tokens``. It wants to know how many frames there
are; here they are those the sampler would choose from a video of the annotated duration. So a cost is an estimate
where frames are chosen by the video's own rate; it decides who shares a batch and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lavis.processors.readers.base import VideoInfo
from lavis.structures import Frames, Moment, VideoSample, Views

Counter = Callable[[VideoSample, Views], int]
"""Tokens of a sample's prompt, from the number of its frames and their times; pixels are not looked at."""

RATE = 30.0
"""Frames a second that a video is taken to have; samplers by number or by seconds choose the same from any rate."""


def counter(model: Any) -> Counter | None:
    """How a model counts what it is trained with, the answer included; ``None`` if it does not."""
    count = getattr(model, "count_tokens", None)
    return None if count is None else partial(count, answer=True)


class Costs:
    """Cost of every sample of an epoch, in the order of the data.

    Args:
        datasets: end to end; each has ``samples``, and a ``processor`` with views, as has each part of a mixture.
        count: see ``Counter``.
        enter: makes the samples of an epoch those of the data sets.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]], count: Counter, enter: Callable[[int], None]) -> None:
        self.datasets: list[Any] = list(datasets)
        self.count = count
        self.enter = enter
        self._known: dict[int, tuple[VideoSample, int]] = {}  # by identity; the sample is kept so that it stays one

    def __call__(self, epoch: int) -> list[int]:
        """One whole number of at least 1 for each sample.

        Raises:
            ValueError: if a data set's processor does not say how it samples.
        """
        self.enter(epoch)
        return [self._cost(dataset, index) for dataset in self.datasets for index in range(len(dataset.samples))]

    def _cost(self, dataset: Any, index: int) -> int:
        sample: VideoSample = dataset.samples[index]
        known = self._known.get(id(sample))
        if known is None:
            owner, position = located(dataset, index)
            read = getattr(owner, "with_subtitles", None)
            told = (read(position) if read is not None else None) or sample
            cost = max(1, self.count(told, planned_views(owner, told)))
            known = self._known[id(sample)] = sample, cost
        return known[1]


def located(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set that a sample is from, which within a mixture is one of its parts, and its number there."""
    while hasattr(dataset, "located"):
        dataset, index = dataset.located(index)
    return dataset, index


def planned_views(dataset: Any, sample: VideoSample) -> Views:
    """The frames that a data set would show of a sample, with times but without pixels.

    Raises:
        ValueError: if its processor does not say how it samples.
    """
    views = getattr(getattr(dataset, "processor", None), "views", None)
    if views is None:
        raise ValueError(
            f"run.batch_tokens cannot tell how many frames {type(dataset).__name__} shows: its processor has no views. "
            "Use the processor of model.processor, or set run.batch_size"
        )
    if not sample.video:
        return {name: Frames(_no_pixels, []) for name in views}
    train = bool(dataset.train)
    video = _regular(max(1, round(sample.duration * RATE)))
    return {name: Frames(_no_pixels, _times(view.parts(train)[0], video, sample.clip)) for name, view in views.items()}


@lru_cache(maxsize=64)
def _regular(num_frames: int) -> VideoInfo:
    return VideoInfo.regular(num_frames, RATE)


def _times(sampler: Any, info: VideoInfo, clip: Moment | None) -> list[float]:
    end = info.duration_s
    part = None if clip is None else Moment(min(clip.start, end), min(clip.end, end))
    try:
        indices = sampler.indices(info, part, random.Random(0))
    except ValueError:
        indices = [0]  # the clip lies behind the annotated end; reading the video will say so
    return [info.times[index] for index in indices]


def _no_pixels() -> Tensor:
    raise AssertionError("frames that are only counted have no pixels")  # pragma: no cover
