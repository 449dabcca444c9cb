"""Lengths of videos from a file beside the annotations, for releases whose rows hold none.

Source: the metadata cache of MMDuet (yellow-binary-tree/MMDuet), ``videos_metadata.json``: name of the video to
``{"duration": seconds, "fps": ..., ...}``. A mapping to plain seconds and Charades' table are read, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import read_text
from lavis.datasets.formats._charades_text import read_durations
from lavis.datasets.formats._record import AnnotationError, Record, load_json

OnMissingDuration = Literal["raise", "skip"]


class Durations:
    """Seconds by the name of a video, as the annotations write it.

    Args:
        path: JSON object of ``{"duration": seconds}`` or of seconds, or CSV with the columns ``id`` and ``length``.

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._raw: Mapping[str, Any] = read_durations(path) if self.path.suffix == ".csv" else self._read()

    def __contains__(self, video: object) -> bool:
        return video in self._raw

    def of(self, record: Record, video: str) -> float:
        """Length of a row's video, seconds above 0.

        Raises:
            AnnotationError: if the file has none, or it is no length; names the row and the file.
        """
        if video not in self._raw:
            raise record.error(
                "duration",
                f"{self.path} has no video {video!r}",
                "Make the file again (process_data/videos_metadata.py), or remove the row",
            )
        entry = self._raw[video]
        where = Record(entry if isinstance(entry, dict) else {"duration": entry}, self.path, f"video {video!r}")
        return where.positive("duration")

    def _read(self) -> Mapping[str, Any]:
        try:
            loaded = load_json(read_text(self.path), str(self.path))
        except FileNotFoundError:
            raise AnnotationError(
                f"there is no file of durations {self.path}. Correct format.durations, or make the file with "
                "process_data/videos_metadata.py"
            ) from None
        if not isinstance(loaded, dict):
            raise AnnotationError(f"{self.path}: must map videos to their length, got {type(loaded).__name__}")
        return loaded


def durations_of(path: str | None, split: str) -> Durations | None:
    """The file of durations of a split, ``{split}`` filled in; ``None`` without one."""
    return Durations(path.replace("{split}", split)) if path is not None else None
