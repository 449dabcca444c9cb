"""All sentences of a video as one sample: ActivityNet Captions as the truth of dense captioning.

Source: *Dense-Captioning Events in Videos* (Krishna et al., 2017), files ``train.json``, ``val_1.json`` and
``val_2.json``: ``{"v_ab": {"duration": ..., "timestamps": [[0, 4.1], ...], "sentences": [...]}}``. Many data sets are
exchanged in this form. The format ``activitynet_captions`` reads the same files as one sample a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._captions import captioned_video, in_step
from lavis.datasets.formats._record import Record, each_sentence, read_videos
from lavis.datasets.formats._sentences import SentencesFormat
from lavis.structures import VideoSample


@registry.formats.register("dense_captions")
class DenseCaptions(SentencesFormat):
    """One sample a video, its name the id; ``extra["captions"]`` are the sentences, one for each of ``moments``.

    Args:
        on_bad_window: as everywhere; ``skip`` leaves out the sentence with its window.
        beyond_end, on_unknown_field: see ``SentencesFormat``.
    """

    required = ("video", "duration", "timestamps", "sentences")

    def records(self, path: Path, split: str) -> Iterator[Record]:
        for video in read_videos(path):
            yield video.with_id(video.text("video"))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        sentences = list(each_sentence(record, str(record.id)))
        if not sentences:
            raise record.error("sentences", "holds no sentence", "Correct or remove the entry")
        moments, captions = in_step(self, sentences, "timestamps", "sentences", duration, counts)
        if not moments:
            return None
        return captioned_video(record, record.text("video"), duration, moments, captions, extra)
