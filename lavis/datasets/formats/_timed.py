"""Formats whose rows may leave the length of their video to a file beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lavis.datasets.formats._lengths import Lengths
from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import AnnotationFormat, BeyondEnd, OnBadWindow, OnUnknownField


class TimedFormat(AnnotationFormat):
    """Rows with or without a duration; ``self.lengths`` tells it while a file is read.

    Args:
        durations: lengths of the videos: a JSON object of seconds, the file of ``process_data/videos_metadata.py``, or
            CSV (``id``, ``length``); names as below the folder of videos, their ending may differ or be left out; or
            that folder, where videos are folders of frames, three a second. ``{split}`` is filled in.
        on_bad_window, on_unknown_field: see ``AnnotationFormat``.
        beyond_end: see ``AnnotationFormat``; kept by default, since such files round or measure lengths anew.
    """

    def __init__(
        self,
        *,
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        self.durations = durations
        self.lengths = Lengths()

    def records(self, path: Path, split: str) -> Iterator[Record]:
        self.lengths = Lengths(self.durations, split)
        yield from self.rows(path, split)

    @abstractmethod
    def rows(self, path: Path, split: str) -> Iterator[Record]:
        """Rows of the file, each with its sample's id."""


def id_of_video(record: Record, field: str, otherwise: str) -> str:
    """Name of the video and the number or text of ``field``, or ``otherwise`` for a row that has no such field."""
    if field not in record.fields:
        return otherwise
    own = record.text(field) if isinstance(record.get(field), str) else record.whole_number(field)
    return f"{PurePosixPath(record.text('video')).stem}_{own}"
