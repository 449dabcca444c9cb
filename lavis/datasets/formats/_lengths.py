"""Lengths of the videos for rows that may have none: the row's own, or that of a side file.

Question answering sets publish questions and no lengths; a ``VideoSample`` has one. It is never guessed from a window
or from a number of frames without a rate.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from lavis.datasets.formats._durations import Durations, durations_of
from lavis.datasets.formats._record import Record

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif")
FRAMES_PER_SECOND = 3
"""Rate of the folders of frames that TVQA, MVBench and HawkEye publish."""


class Lengths:
    """Seconds of the videos of one annotation file.

    Args:
        path: the format's option ``durations``: JSON object of seconds or of ``{"duration": seconds}``, or CSV with the
            columns ``id`` and ``length``; or the folder of videos that are folders of frames, three a second (as TVQA
            publishes them), which are counted. ``{split}`` is filled in; ``None``: rows must have their own.
        split: of the annotation file.

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """

    def __init__(self, path: str | None = None, split: str = "") -> None:
        given = Path(path.replace("{split}", split)).expanduser() if path is not None else None
        folders = given is not None and given.is_dir()
        self._known: Durations | None = None if folders else durations_of(path, split)
        self._folders: FrameFolders | None = FrameFolders(given) if folders and given is not None else None

    def of(self, record: Record, video: str, field: str | None = "duration") -> float:
        """Length of a row's video, seconds above 0.

        Args:
            record: the row.
            video: its name, as below the folder of videos; the side file may have it with another ending or none.
            field: of the row that may hold seconds; ``None`` if none does.

        Raises:
            AnnotationError: if neither the row nor the file tells it, or it is no length.
        """
        if field is not None and field in record.fields:
            return record.positive(field)
        if self._folders is not None:
            return self._folders.of(record, video)
        if self._known is None:
            raise record.error(
                "duration",
                "is missing, and these rows need not have it",
                "Set format.durations to a file of the lengths of the videos (process_data/videos_metadata.py)",
            )
        known = self._known
        name = next((name for name in _spellings(video) if name in known), video)
        return known.of(record, name)

    def has(self, record: Record, video: str, field: str | None = "duration") -> bool:
        """Whether the row or the file tells the length of a row's video; arguments as of ``of``."""
        if field is not None and field in record.fields:
            return True
        known = self._known
        return known is not None and any(name in known for name in _spellings(video))


class FrameFolders:
    """Seconds of videos that are folders of frames.

    Args:
        root: the folder that names begin from.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._counted: dict[str, int] = {}

    def of(self, record: Record, video: str) -> float:
        """Frames of a row's video over their rate, seconds above 0.

        Raises:
            AnnotationError: if there is no such folder, or it holds no frames; names the row and the folder.
        """
        if video not in self._counted:
            record.check_inside(video)
            self._counted[video] = self._count(video)
        if not self._counted[video]:
            problem = f"{self.root / video} is no folder of frames"
            raise record.error("duration", problem, "Extract its frames, or give a file of lengths in format.durations")
        return self._counted[video] / FRAMES_PER_SECOND

    def _count(self, video: str) -> int:
        from lavis.processors.readers.frame_folder import IMAGE_EXTENSIONS

        try:
            with os.scandir(self.root / video) as entries:
                return sum(os.path.splitext(entry.name)[1].lower() in IMAGE_EXTENSIONS for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return 0


def _spellings(video: str) -> list[str]:
    """A name as it stands, without its ending, and with each usual one."""
    path = PurePosixPath(video)
    stem = str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES else video
    return [video, stem, *(f"{stem}{suffix}" for suffix in VIDEO_SUFFIXES)]
