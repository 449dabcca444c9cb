"""MR.BLIP's annotations: one row a query; also its rows with answer options, and those of its other tasks.

Source: *The Surprising Effectiveness of Multimodal Large Language Models for Video Moment Retrieval*
(sudo-Boris/mr-Blip), as its notebook makes them from QVHighlights, Charades-STA, ActivityNet Captions, NExT-QA and
NExT-GQA. Windows that end past the video are kept, as there. Of its rows for action localisation nothing is published
but what is done with them; here their classes are a list of their own.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.formats._query_rows import QueryRows
from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import clip_of
from lavis.structures import Moment, VideoSample

MAX_OPTIONS = 5


@registry.formats.register("mr_blip")
class MrBlip(QueryRows):
    """Rows of MR.BLIP's annotation files.

    A row asks by ``query`` (moment retrieval) or ``question`` (question answering). With ``num_option`` the options
    ``a0``, ``a1``, ... become ``VideoSample.options``; the index ``answer`` becomes the answer's text, and is kept as
    ``extra["answer_index"]``. With ``labels``, one for each window, a row asks for all actions of a video: they become
    ``extra["labels"]``, and the query may be empty or absent.

    Args:
        on_bad_window, beyond_end, on_unknown_field: see ``QueryRows``.
        windows_in: unit of ``relevant_windows``: ``seconds``, ``fraction`` or ``percent`` of the duration (the files
            named ``relative``).
    """

    required = ("video", "qid", "duration")
    optional = (
        "query", "question", "relevant_windows", "labels", "objects", "start", "end", "kind", "num_option", "answer",
        *(f"a{i}" for i in range(MAX_OPTIONS)),
    )  # fmt: skip

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        moments = None
        if "relevant_windows" in record.fields or "labels" in record.fields:
            windows = self.raw_windows(record, duration)
            if "labels" in record.fields:
                moments, extra["labels"] = self._labelled(record, windows, duration, counts)
            else:
                moments = self.windows(record, "relevant_windows", windows, duration, counts)
            if not moments:
                return None
        if "objects" in record.fields:
            extra["objects"] = record.texts("objects")
        options = self._options(record)
        return VideoSample(
            id=str(record.id),
            video=record.text("video"),
            query=self._query(record),
            duration=duration,
            moments=moments,
            clip=clip_of(record),
            options=options,
            answer=self._answer(record, options, extra),
            kind=record.text("kind") if "kind" in record.fields else None,
            extra=extra,
        )

    def _query(self, record: Record) -> str:
        if "labels" in record.fields and record.fields.get("query", "") == "":
            return ""
        return record.text("question" if "question" in record.fields else "query")

    def _labelled(
        self, record: Record, windows: Any, duration: float, counts: Counter[str]
    ) -> tuple[list[Moment], list[str]]:
        """Moments and their labels; a window that is left out takes its label with it."""
        labels = record.texts("labels")
        if not isinstance(windows, list) or not windows:
            return self.windows(record, "relevant_windows", windows, duration, counts), labels
        if len(labels) != len(windows):
            problem = f"must have one label for each of relevant_windows, got {len(labels)} for {len(windows)}"
            raise record.error("labels", problem, "Correct the row")
        if not all(label.strip() for label in labels):
            raise record.error("labels", "holds a blank label", "Correct the row")
        moments: list[Moment] = []
        kept: list[str] = []
        for window, label in zip(windows, labels, strict=True):
            found = self.windows(record, "relevant_windows", [window], duration, counts)
            moments += found
            kept += [label] * len(found)
        return moments, kept

    def _options(self, record: Record) -> list[str]:
        if "num_option" not in record.fields:
            return []
        count = record.get("num_option")
        if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MAX_OPTIONS:
            raise record.error(
                "num_option", f"must be a whole number from 2 to {MAX_OPTIONS}, got {count!r:.40}", "Correct the row"
            )
        return [record.text(f"a{i}") for i in range(count)]

    def _answer(self, record: Record, options: list[str], extra: dict[str, Any]) -> str | None:
        if "answer" not in record.fields:
            return None
        index = record.get("answer")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(options):
            problem = f"must be the index of one of {len(options)} options, got {index!r:.40}"
            raise record.error("answer", problem, "Correct the row")
        extra["answer_index"] = index
        return options[index]
