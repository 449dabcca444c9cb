"""Sets that publish an entry a video, with its sentences and their windows in two lists."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import AnnotationFormat, BeyondEnd, OnBadWindow, OnUnknownField
from lavis.structures import VideoSample


class SentencesFormat(AnnotationFormat):
    """Entries with ``timestamps`` and ``sentences``.

    Args:
        on_bad_window, on_unknown_field: see ``AnnotationFormat``.
        beyond_end: see ``AnnotationFormat``; cut by default, since these sets round times past the end.
    """

    def __init__(
        self,
        *,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)

    def one_sentence(
        self, record: Record, extra: dict[str, Any], video: str, duration: float, window: Any, counts: Counter[str]
    ) -> VideoSample | None:
        """The sample of a row with one sentence; ``None`` if its window is left out.

        Args:
            record: the row, of ``each_sentence``.
            extra: what ``check_row`` gave.
            video: its name.
            duration: of the video, seconds.
            window: raw ``[start, end]`` in seconds.
            counts: gets ``skipped_windows`` and ``clamped_windows``.

        Raises:
            AnnotationError: for a bad window, as ``on_bad_window`` says, or a blank sentence.
        """
        moments = self.windows(record, "timestamps", [window], duration, counts)
        if not moments:
            return None
        return VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("sentences"),
            duration=duration,
            moments=moments,
            extra=extra,
        )
