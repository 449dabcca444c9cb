"""What the annotations of CALCE and MR.BLIP share: rows of a query whose windows may be relative to the video."""

from __future__ import annotations

from typing import Any, get_args

from lavis.datasets.formats._record import Record
from lavis.datasets.formats.base import (
    AnnotationFormat,
    BeyondEnd,
    OnBadWindow,
    OnUnknownField,
    WindowsIn,
    check_choice,
    to_seconds,
)


class QueryRows(AnnotationFormat):
    """Rows with ``relevant_windows``.

    Args:
        on_bad_window, on_unknown_field: see ``AnnotationFormat``.
        beyond_end: see ``AnnotationFormat``; kept by default, as both systems do.
        windows_in: unit of ``relevant_windows``: ``seconds``, ``fraction`` or ``percent`` of the duration.
    """

    def __init__(
        self,
        *,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
        windows_in: WindowsIn = "seconds",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        check_choice("format.windows_in", windows_in, get_args(WindowsIn))
        self.windows_in: WindowsIn = windows_in

    def raw_windows(self, record: Record, duration: float) -> Any:
        """``relevant_windows`` of a row in seconds, not yet checked.

        Args:
            record: the row.
            duration: of the video, seconds.
        """
        return to_seconds(record.get("relevant_windows"), self.windows_in, duration)
