"""TACoS as the field exchanges it: a JSON object, each video with its sentences and their times in *frames*.

Source: *Grounding Action Descriptions in Videos* (Regneri et al., 2013), in the JSON form of microsoft/VideoX
(2D-TAN), ``{"s30-d41.avi": {"timestamps": [[1191, 1292], ...], "sentences": [...], "fps": 29.4, "num_frames": 5240}}``.
Frames become seconds here. Some windows (43 of 9,790 in train) end up to 15 frames past the video and are cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._record import Record, each_sentence, is_finite, read_videos
from lavis.datasets.formats._sentences import SentencesFormat
from lavis.structures import VideoSample


@registry.formats.register("tacos")
class TACoS(SentencesFormat):
    """One sample a sentence, ids ``TACoS_<video>_<k>``; ``video`` is the name without ``.avi``.

    Args:
        on_bad_window, beyond_end, on_unknown_field: see ``SentencesFormat``.
    """

    required = ("video", "timestamps", "sentences", "fps", "num_frames")

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for video in read_videos(path):
            yield from each_sentence(video, f"TACoS_{video.text('video').removesuffix('.avi')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        fps = record.positive("fps")
        frames = record.get("timestamps")
        duration = record.positive("num_frames") / fps
        seconds = [f / fps if is_finite(f) else f for f in frames] if isinstance(frames, list) else frames
        return self.one_sentence(record, extra, record.text("video").removesuffix(".avi"), duration, seconds, counts)
