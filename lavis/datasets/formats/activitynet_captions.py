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
from lavis.datasets.formats._sentences import SentencesFormat
from lavis.structures import VideoSample


@registry.formats.register("activitynet_captions")
class ActivityNetCaptions(SentencesFormat):
    """One sample a sentence, ids ``ActivityNet_<video>_<k>`` (as MR.BLIP's).

    Args:
        on_bad_window, beyond_end, on_unknown_field: see ``SentencesFormat``.
    """

    required = ("video", "duration", "timestamps", "sentences")

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for video in read_videos(path):
            yield from each_sentence(video, f"ActivityNet_{video.text('video')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        return self.one_sentence(record, extra, record.text("video"), duration, record.get("timestamps"), counts)
