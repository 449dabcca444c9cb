"""The tables of NExT-QA and NExT-GQA: one question a line, five options in ``a0`` to ``a4``."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lavis.common.io import read_text
from lavis.datasets.formats._choices import ChoiceFormat, answered, noted, numbered_options
from lavis.datasets.formats._record import AnnotationError, Record, load_json
from lavis.datasets.formats._tables import digits, read_table
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField
from lavis.structures import Moment, VideoSample

NUM_OPTIONS = 5
SIZES = ("frame_count", "width", "height")
TYPES = ("CW", "CH", "TN", "TC", "TP", "DC", "DL", "DO", "DB")
"""Types of questions: causal (why, how), temporal (next, current, previous), descriptive (count, place, other, yes or
no)."""


class NextTable(ChoiceFormat):
    """Lines ``<video>, frame_count, width, height, question, answer, qid, type, a0 ... a4``; ids ``<video>_<qid>``.

    ``kind`` is the type of the question. ``extra`` has ``frame_count``, ``width`` and ``height`` as numbers, where the
    table has them, and ``source_video``, the number of the video, where ``video_map`` gives another name.

    Args:
        video_map: ``map_vid_vidorID.json``, number of a video to its file; ``None``: files are named by their numbers.
        question_mark: put ``?`` behind each question, as MR.BLIP and HawkEye do; the release has none.
        durations, on_bad_window, beyond_end, on_unknown_field: see ``ChoiceFormat``.
    """

    video_field: ClassVar[str]

    def __init__(
        self,
        *,
        video_map: str | None = None,
        question_mark: bool = False,
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            durations=durations,
            on_bad_window=on_bad_window,
            beyond_end=beyond_end,
            on_unknown_field=on_unknown_field,
        )
        self.video_map = video_map
        self.question_mark = question_mark
        self._names: Mapping[str, Any] | None = None

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        self._names = None if self.video_map is None else side_file(self.video_map, "video_map", split)
        for record in read_table(path):
            yield record.identified(lambda row: f"{row.text(self.video_field)}_{row.text('qid')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        extra |= {name: digits(record, name) for name in SIZES if name in record.fields}
        kind = record.text("type")
        if kind not in TYPES:
            raise record.error("type", f"must be one of {', '.join(TYPES)}, got {kind!r:.40}", "Correct the row")
        video = self._video(record)
        if video != record.get(self.video_field):
            extra["source_video"] = record.get(self.video_field)
        options = numbered_options(record, NUM_OPTIONS)
        index = self.right(record, options) if "answer" in record.fields else None
        duration = self.duration(record, video)
        moments = self.moments(record, duration, counts)
        if moments == []:
            return None
        return VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("question") + ("?" if self.question_mark else ""),
            duration=duration,
            moments=moments,
            kind=kind,
            extra=noted(extra, index),
            **answered(options, index),
        )

    @abstractmethod
    def right(self, record: Record, options: list[str]) -> int:
        """Index of the right option."""

    def duration(self, record: Record, video: str) -> float:
        """Seconds of the video."""
        return self.lengths.of(record, video, None)

    def moments(self, record: Record, duration: float, counts: Counter[str]) -> list[Moment] | None:
        """What shows the answer: ``None`` if nobody says, empty if all of it was left out."""
        return None

    def _video(self, record: Record) -> str:
        number = record.text(self.video_field)
        if self._names is None:
            return number
        name = self._names.get(number)
        if not isinstance(name, str) or not name.strip():
            problem = f"{self.video_map} has no file for {number!r:.40}"
            raise record.error(self.video_field, problem, "Take the map of the same release (map_vid_vidorID.json)")
        return name


def side_file(path: str, option: str, split: str) -> Mapping[str, Any]:
    """A JSON object beside the annotations, ``{split}`` filled in.

    Raises:
        AnnotationError: if it is absent or something else.
    """
    file = Path(path.replace("{split}", split)).expanduser()
    try:
        value = load_json(read_text(file), str(file))
    except FileNotFoundError:
        raise AnnotationError(f"there is no file {file}. Correct format.{option} or leave it out") from None
    if not isinstance(value, dict):
        raise AnnotationError(f"{file}: must be an object, got {type(value).__name__}. Correct format.{option}")
    return value
