"""Annotated durations against the video files: how long each file really is, by the project's own reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lavis.preparation.audit_checks import Known
from lavis.preparation.audit_findings import Findings

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp", ".ogv")


def leads_out(video: str) -> bool:
    """Whether a name is absolute or has ``..``."""
    path = PurePosixPath(video)
    return path.is_absolute() or ".." in path.parts


@dataclass(slots=True)
class Files:
    """What is in a folder of videos: by name, and by name without the suffix of a video."""

    folder: Path
    by_name: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: str | Path) -> Files:
        """One listing of the folder.

        Raises:
            FileNotFoundError: if there is no such folder.
        """
        path = Path(folder)
        if not path.is_dir():
            raise FileNotFoundError(f"there is no folder of videos {path} (--videos)")
        files = cls(path)
        for entry in sorted(path.iterdir()):
            files.by_name[entry.name] = entry
            if entry.suffix.lower() in SUFFIXES:
                files.by_name.setdefault(entry.name[: -len(entry.suffix)], entry)
        return files

    def find(self, video: str) -> Path | None:
        """The file of a video, whose name may have its suffix and folders or not; ``None`` if there is none.

        There is none either for a name that leads out of the folder: whatever is there is not looked at.
        """
        if leads_out(video):
            return None
        found = self.by_name.get(video)
        if found is not None or "/" not in video:
            return found
        candidates = [self.folder / video, *(self.folder / f"{video}{suffix}" for suffix in SUFFIXES)]
        return next((path for path in candidates if path.is_file()), self.by_name.get(video.rpartition("/")[2]))


def real_durations(videos: Iterable[str], files: Files) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of each video that is there, from the packets of its file.

    Returns:
        seconds by video, and why by video for those that cannot be read; missing ones are in neither.

    Raises:
        ImportError: if the reader's package is not installed.
    """
    from lavis.common.logging import Progress
    from lavis.processors.readers.base import VideoDecodeError
    from lavis.processors.readers.pyav import PyAVReader

    reader = PyAVReader()
    present = [(video, path) for video in videos if (path := files.find(video)) is not None]
    seconds: dict[str, float] = {}
    unreadable: dict[str, str] = {}
    for video, path in Progress(present, "videos", unit="videos"):
        try:
            seconds[video] = reader.probe(path).duration_s
        except VideoDecodeError as error:
            unreadable[video] = str(error)
    return seconds, unreadable


def check_videos(
    known: Iterable[Known], files: Files, seconds: dict[str, float], unreadable: dict[str, str], tolerance: float
) -> Findings:
    """Findings about the videos of one annotation file.

    Args:
        known: its entries.
        files: the folder.
        seconds, unreadable: what ``real_durations`` gave.
        tolerance: seconds by which a duration may differ from the file's, or a window may end past it.
    """
    found = Findings()
    told: set[str] = set()
    for each in known:
        video = each.entry.video
        if not isinstance(video, str) or not video.strip():
            continue
        real = seconds.get(video)
        if video not in told:
            told.add(video)
            if video in unreadable:
                found.add("video_unreadable", each.entry, unreadable[video])
            elif real is None:
                where = "leads out of" if leads_out(video) else "is not in"
                found.add("video_missing", each.entry, f"{video} {where} {files.folder}")
            elif each.duration is not None and abs(each.duration - real) > tolerance:
                detail = f"{video}: {each.duration:g} s, the file has {real:.6g} s"
                found.add("duration_wrong", each.entry, detail)
        for start, end in each.windows if real is not None else ():
            if real is not None and max(start, end) > real + tolerance:
                found.add("past_real_end", each.entry, f"[{start:g}, {end:g}], the file of {video} has {real:.6g} s")
    return found
