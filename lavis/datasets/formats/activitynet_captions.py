"""ActivityNet Captions' own release: a JSON object, each video with its sentences and their times.

Source: *Dense-Captioning Events in Videos* (Krishna et al., 2017), files ``train.json``, ``val_1.json`` and
``val_2.json``. A few hundred windows end up to 0.01 s past the video and are cut; two windows of train are reversed:
``on_bad_window: skip`` leaves them out. MR.BLIP evaluates on ``val_2``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._record import Record, each_sentence, read_videos
from lavis.datasets.formats.base import (
    AnnotationFormat,
    BeyondEnd,
    OnBadWindow,
    OnUnknownField,
)
from lavis.structures import VideoSample


@registry.formats.register("activitynet_captions")
class ActivityNetCaptions(AnnotationFormat):
    """One sample a sentence, ids ``ActivityNet_<video>_<k>`` (as MR.BLIP's).

    Args:
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    required = ("video", "duration", "timestamps", "sentences")

    def __init__(
        self,
        *,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for video in read_videos(path):
            yield from each_sentence(video, f"ActivityNet_{video.text('video')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        moments = self.windows(record, "timestamps", [record.get("timestamps")], duration, counts)
        if not moments:
            return None
        return VideoSample(
            id=str(record.id),
            video=record.text("video"),
            query=record.text("sentences"),
            duration=duration,
            moments=moments,
            extra=extra,
        )
