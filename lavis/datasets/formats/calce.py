"""CALCE's annotations: one row a query, with its nouns and, for stage 2, the windows stage 1 found.

Source: *From Coarse to Fine: Caption Assisted MLLM for Video Moment Retrieval* (tjhd1475/CALCE). Rows are
``video, qid, query, duration, items, relevant_windows[, stage1_result]``, in a JSON list. Windows may end past a
rounded duration (278 rows of the published Charades-STA test split, 47 dummy rows of the QVHighlights one): kept so.
"""

from __future__ import annotations

from collections import Counter

from lavis.common.registry import registry
from lavis.datasets.formats._query_rows import QueryRows
from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import clip_of, read_windows, saliency_of
from lavis.structures import Moment, VideoSample


@registry.formats.register("calce")
class Calce(QueryRows):
    """Rows of CALCE's annotation files.

    Args:
        on_bad_window, beyond_end, on_unknown_field: see ``QueryRows``.
        windows_in: unit of ``relevant_windows``: ``seconds``, ``fraction`` or ``percent`` of the duration (files made
            with ``relative_time``). ``stage1_result`` is always in seconds.
    """

    required = ("video", "qid", "query", "duration", "items")
    optional = (
        "relevant_windows", "stage1_result", "start", "end", "rewrite", "kind", "relevant_clip_ids", "saliency_scores",
    )  # fmt: skip

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        moments: list[Moment] | None = None
        if "relevant_windows" in record.fields:
            windows = self.raw_windows(record, duration)
            moments = self.windows(record, "relevant_windows", windows, duration, counts)
            if not moments:
                return None
        if "rewrite" in record.fields:
            extra["rewrite"] = record.texts("rewrite")
        return VideoSample(
            id=str(record.id),
            video=record.text("video"),
            query=record.text("query"),
            duration=duration,
            moments=moments,
            items=record.texts("items"),
            prior=self._prior(record, duration),
            clip=clip_of(record),
            kind=record.text("kind") if "kind" in record.fields else None,
            saliency=saliency_of(record, duration),
            extra=extra,
        )

    def _prior(self, record: Record, duration: float) -> list[Moment] | None:
        if "stage1_result" not in record.fields:
            return None
        windows = record.get("stage1_result")
        if windows == []:
            return []
        # A prior is a model's work and no truth: its windows are not subject to on_bad_window.
        return read_windows(record, "stage1_result", windows, duration, "raise", "keep", Counter())
