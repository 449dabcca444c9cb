"""Several sentences of one video with their windows, as dense captioning wants them: two lists in step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import AnnotationFormat
from lavis.structures import Moment, VideoSample

Each = Literal["video", "sentence"]

CAPTIONS = "captions"
"""Where ``VideoSample.extra`` has the sentences, one for each of ``VideoSample.moments``."""


def in_step(
    reader: AnnotationFormat, sentences: Iterable[Record], window: str, text: str, duration: float, counts: Counter[str]
) -> tuple[list[Moment], list[str]]:
    """Windows and sentences; a window that is left out takes its sentence with it.

    Args:
        reader: whose options say what a bad window is.
        sentences: one row each.
        window, text: names of the fields.
        duration: of the video, seconds.
        counts: gets ``skipped_windows`` and ``clamped_windows``.

    Raises:
        AnnotationError: for a bad window under ``raise``, or a blank sentence; names the sentence.
    """
    moments: list[Moment] = []
    captions: list[str] = []
    for sentence in sentences:
        caption = sentence.text(text)
        found = reader.windows(sentence, window, [sentence.get(window)], duration, counts)
        moments += found
        captions += [caption] * len(found)
    return moments, captions


def captioned_video(
    record: Record, video: str, duration: float, moments: list[Moment], captions: list[str], extra: dict[str, Any]
) -> VideoSample:
    """The truth of dense captioning: all sentences of a video. Nothing is asked, so the query is empty."""
    return VideoSample(
        id=str(record.id),
        video=video,
        query="",
        duration=duration,
        moments=moments,
        extra={**extra, CAPTIONS: captions},
    )
