"""Rows in the layout of the QVHighlights release, which Charades-STA is also exchanged in (from TVR)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from lavis.common.io import read_text
from lavis.datasets.formats._record import AnnotationError, Record, load_json, read_records
from lavis.datasets.formats.base import AnnotationFormat, BeyondEnd, OnBadWindow, OnUnknownField, saliency_of
from lavis.structures import VideoSample


class ReleaseRows(AnnotationFormat):
    """Rows ``qid, query, duration, vid[, relevant_windows, relevant_clip_ids, saliency_scores]``.

    Args:
        items: CALCE's items file to take the nouns of the queries from, ``{split}`` is filled in; ``None``: no nouns.
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    required: ClassVar[tuple[str, ...]] = ("qid", "query", "duration", "vid")
    optional: ClassVar[tuple[str, ...]] = ("relevant_windows", "relevant_clip_ids", "saliency_scores", "kind")
    id_prefix: ClassVar[str]

    def __init__(
        self,
        *,
        items: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "bad",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        self.items = items
        self._nouns: Items | None = None

    def records(self, path: Path, split: str) -> Iterator[Record]:
        self._nouns = Items(Path(self.items.replace("{split}", split))) if self.items is not None else None
        for record in read_records(path):
            yield record.identified(lambda row: f"{self.id_prefix}{row.whole_number('qid')}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        moments = None
        if "relevant_windows" in record.fields:
            moments = self.windows(record, "relevant_windows", record.get("relevant_windows"), duration, counts)
            if not moments:
                return None
        return VideoSample(
            id=str(record.id),
            video=record.text("vid"),
            query=record.text("query"),
            duration=duration,
            moments=moments,
            items=self._nouns.of(record) if self._nouns is not None else [],
            kind=record.text("kind") if "kind" in record.fields else None,
            saliency=saliency_of(record, duration),
            extra=extra,
        )


class Items:
    """The nouns of each query, from CALCE's items file (id to ``{"query": ..., "items": [...]}``).

    Raises:
        AnnotationError: if the file is absent or has another shape.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            entries = load_json(read_text(path), str(path))
        except FileNotFoundError:
            raise AnnotationError(f"there is no items file {path}. Correct format.items or leave it out") from None
        if not isinstance(entries, dict):
            raise AnnotationError(f"{path}: must map ids to items, got {type(entries).__name__}. Choose another file")
        self._entries: Mapping[str, Any] = entries

    def of(self, record: Record) -> list[str]:
        """The nouns of a row's query.

        Raises:
            AnnotationError: if the file has none for its id.
        """
        entry = self._entries.get(str(record.id))
        if not isinstance(entry, dict):
            raise record.error("items", f"{self.path} has no entry for it", "Take the items file of the same split")
        return Record(entry, self.path, "entry", record.id).texts("items")
