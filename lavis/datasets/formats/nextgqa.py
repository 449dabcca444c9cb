"""NExT-GQA's own release: questions as tables, and the moments that show the answers in a file beside them.

Source: *Can I Trust Your Answer? Visually Grounded Video Question Answering* (doc-doc/NExT-GQA), files
``{train,val,test}.csv``, ``gsub_{val,test}.json`` and ``map_vid_vidorID.json``; there are no moments for training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.formats._choices import index_of_text
from lavis.datasets.formats._next_tables import NUM_OPTIONS, SIZES, NextTable, side_file
from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField
from lavis.structures import Moment, VideoSample


@registry.formats.register("nextgqa")
class NextGQA(NextTable):
    """Lines of ``<split>.csv``: the video in ``video_id``, the answer as text; see ``NextTable``.

    ``moments`` are the spans of the answer, as many as annotated; ``duration`` is that of the same file;
    ``extra["fps"]`` its rate.

    Args:
        spans: ``gsub_<split>.json``, ``{split}`` is filled in; ``None`` for the training split, which has none.
        video_map, question_mark: see ``NextTable``.
        durations: needed only without ``spans``; see ``ChoiceFormat``.
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    required = ("video_id", "question", "qid", "type", *(f"a{i}" for i in range(NUM_OPTIONS)))
    optional = ("answer", *SIZES)
    video_field = "video_id"

    def __init__(
        self,
        *,
        spans: str | None = None,
        video_map: str | None = None,
        question_mark: bool = False,
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            video_map=video_map,
            question_mark=question_mark,
            durations=durations,
            on_bad_window=on_bad_window,
            beyond_end=beyond_end,
            on_unknown_field=on_unknown_field,
        )
        self.spans = spans
        self._spans: Mapping[str, Any] | None = None
        self._spans_path = Path()

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        self._spans = None
        if self.spans is not None:
            self._spans = side_file(self.spans, "spans", split)
            self._spans_path = Path(self.spans.replace("{split}", split))
        return super().rows(path, split)

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        sample = super().sample(record, counts)
        entry = self._entry(record)
        if sample is not None and entry is not None and "fps" in entry.fields:
            return replace(sample, extra={**sample.extra, "fps": entry.positive("fps")})
        return sample

    def right(self, record: Record, options: list[str]) -> int:
        return index_of_text(record, "answer", options)

    def duration(self, record: Record, video: str) -> float:
        entry = self._entry(record)
        return super().duration(record, video) if entry is None else entry.positive("duration")

    def moments(self, record: Record, duration: float, counts: Counter[str]) -> list[Moment] | None:
        entry = self._entry(record)
        if entry is None:
            return None
        location, qid = entry.get("location"), record.text("qid")
        if not isinstance(location, dict):
            raise entry.error("location", f"must map questions to spans, got {location!r:.60}", "Correct the entry")
        if qid not in location:
            problem = f"{self._spans_path} has no spans for this question"
            raise record.error("qid", problem, "Take the file of the same split")
        return self.windows(entry, f"location.{qid}", location[qid], duration, counts)

    def _entry(self, record: Record) -> Record | None:
        """What the file of spans holds about the row's video."""
        if self._spans is None:
            return None
        video = record.text("video_id")
        if video not in self._spans:
            problem = f"{self._spans_path} has no video {video!r:.40}"
            raise record.error("video_id", problem, "Take the file of the same split")
        entry = self._spans[video]
        if not isinstance(entry, dict):
            raise record.error("video_id", f"{self._spans_path} has {entry!r:.40} for it", "Download that file again")
        return Record(entry, self._spans_path, f"video {video!r}", record.id)
