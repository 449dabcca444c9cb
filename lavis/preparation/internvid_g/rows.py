"""The rows that steps hand on, read strictly: every complaint names file and row.

Times are seconds and keep the type they have in the file (``0`` stays ``0``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.datasets.formats._record import Record, is_finite, read_records

Window = list[float]
Matrix = list[list[float]]
Row = dict[str, Any]

_BETWEEN = 1e-3
"""Seconds by which scenes may overlap: borders are rounded to thousandths."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """The scenes of a video.

    Args:
        windows: ``[start, end]`` of each, one after the other.
        duration: seconds of the video, where the file has them.
        record: the row, for complaints.
    """

    windows: list[Window]
    duration: float | None
    record: Record


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike the scenes of a video are.

    Args:
        matrix: a row and a column for each scene; 1 is equal.
        record: the row, for complaints.
    """

    matrix: Matrix
    record: Record


@dataclass(frozen=True, slots=True)
class Captioned:
    """A segment and what is said of it.

    Args:
        video: path below the folder of the videos.
        start, end: seconds.
        captions: at least one where they are asked for.
        record: the row, for complaints.
    """

    video: str
    start: float
    end: float
    captions: list[str]
    record: Record


@dataclass(frozen=True, slots=True)
class Scored:
    """A caption and how well it fits its segment (``score``, cosine of its embedding and the pictures')."""

    video: str
    start: float
    end: float
    caption: str
    score: float


def read_scenes(path: str | Path) -> dict[str, Scenes]:
    """Rows ``video_fname, scenes[, duration]`` by video.

    Raises:
        AnnotationError: for a row of another form, scenes out of order, or a video that comes twice.
    """
    found: dict[str, Scenes] = {}
    for record in read_records(Path(path)):
        video = _new(record, found)
        windows = record.get("scenes")
        if not isinstance(windows, list):
            raise record.error("scenes", f"must be a list of [start, end], got {windows!r:.60}", _ANEW)
        last = 0.0
        for number, window in enumerate(windows, start=1):
            if not _is_window(window) or not last - _BETWEEN <= window[0] < window[1]:
                problem = f"scene {number} must be [start, end] behind {last} s, end behind start; got {window!r:.60}"
                raise record.error("scenes", problem, _ANEW)
            last = window[1]
        duration = record.positive("duration") if record.fields.get("duration") is not None else None
        found[video] = Scenes(windows, duration, record)
    return found


def read_similarity(path: str | Path) -> dict[str, Similarity]:
    """Rows ``video_fname, similarity_matrix`` by video.

    Raises:
        AnnotationError: for a row of another form, a matrix that is not square or finite, or a video that comes twice.
    """
    found: dict[str, Similarity] = {}
    for record in read_records(Path(path)):
        video = _new(record, found)
        matrix = record.get("similarity_matrix")
        if not isinstance(matrix, list) or not all(_is_line(line, len(matrix)) for line in matrix):
            raise record.error("similarity_matrix", "must be a square of finite numbers", _ANEW)
        found[video] = Similarity(matrix, record)
    return found


def matrix_of(video: str, scenes: Scenes, similarity: dict[str, Similarity], max_scenes: int | None) -> Matrix:
    """How alike the scenes of a video are, checked against how many there are.

    Args:
        video: which.
        scenes: of the video.
        similarity: of all videos.
        max_scenes: how many scenes of a video are compared at most; ``None``: all.

    Raises:
        AnnotationError: if there is no matrix for the video, or it is not for these scenes.
    """
    given = similarity.get(video)
    if given is None:
        if not scenes.windows:
            return []
        raise scenes.record.error("video_fname", f"nothing says how alike the scenes of {video!r} are", _SAME_RUN)
    expected = len(scenes.windows) if max_scenes is None else min(max_scenes, len(scenes.windows))
    if len(given.matrix) != expected:
        raise given.record.error(
            "similarity_matrix",
            f"is for {len(given.matrix)} scenes, {expected} of {video!r} are to be compared",
            f"{_SAME_RUN}; for files that compare only the first scenes of a video, set max_scenes",
        )
    return given.matrix


def read_captions(path: str | Path) -> list[Captioned]:
    """Rows ``video_fname, start_sec, end_sec, captions``.

    Raises:
        AnnotationError: for a row of another form.
    """
    found = []
    for record in read_records(Path(path)):
        start, end = _segment(record)
        for caption in record.texts("captions"):
            if not caption.strip():
                raise record.error("captions", "holds a blank text", "Remove it")
        found.append(Captioned(record.file_name("video_fname"), start, end, list(record.texts("captions")), record))
    return found


def read_scored(path: str | Path) -> list[Scored]:
    """Rows ``video_fname, start_sec, end_sec, caption, clip_sim``.

    Raises:
        AnnotationError: for a row of another form.
    """
    return list(_scored(Path(path)))


def _scored(path: Path) -> Iterator[Scored]:
    for record in read_records(path):
        start, end = _segment(record)
        yield Scored(record.file_name("video_fname"), start, end, record.text("caption"), record.number("clip_sim"))


_ANEW = "Correct the row, or make the file anew"
_SAME_RUN = "Take files of one run"


def _new(record: Record, found: dict[str, Any]) -> str:
    video = record.file_name("video_fname")
    if video in found:
        raise record.error("video_fname", f"{video!r} comes twice", "Remove one of the rows")
    return video


def _segment(record: Record) -> tuple[float, float]:
    start, end = record.number("start_sec"), record.number("end_sec")
    if not 0 <= start < end:
        raise record.error("end_sec", f"the segment goes from {start} to {end} s", "Correct or remove the row")
    return start, end


def _is_window(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_finite, value))


def _is_line(value: Any, length: int) -> bool:
    return isinstance(value, Sequence) and len(value) == length and all(map(is_finite, value))
