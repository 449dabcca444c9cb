"""Charades-STA as released (``3MSZA 24.3 30.4##person turn a light on.``) and as JSON lines in the layout of TVR.

Source: *TALL: Temporal Activity Localization via Language Query* (jiyanggao/TALL), files
``charades_sta_{train,test}.txt``; the lengths of the videos come from Charades (``Charades_v1_{train,test}.csv``).
Many windows end up to 1.6 s past the video (1,805 of 12,408 in train, 562 of 3,720 in test); the field cuts them, and
so do we by default. Four windows of train are reversed: ``on_bad_window: skip`` leaves them out, as CALCE's files do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._charades_text import read_durations, release_records
from lavis.datasets.formats._record import AnnotationError, Record
from lavis.datasets.formats._release_rows import ReleaseRows
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField


@registry.formats.register("charades_sta")
class CharadesSTA(ReleaseRows):
    """Lines of the release (ids ``CharadesSTA_<video>_<k>``, as MR.BLIP) or TVR rows (``Charades_<qid>``, as CALCE).

    Args:
        durations: where the lengths of the videos are: Charades' CSV (columns ``id`` and ``length``) or a JSON object
            of seconds; ``{split}`` is filled in. Needed for the text release, whose lines have none.
        items, on_bad_window, beyond_end, on_unknown_field: see ``ReleaseRows``.
    """

    optional = ("relevant_windows", "kind")
    id_prefix = "Charades_"

    def __init__(
        self,
        *,
        durations: str | None = None,
        items: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            items=items, on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field
        )
        self.durations = durations

    def records(self, path: Path, split: str) -> Iterator[Record]:
        if path.suffix != ".txt":
            yield from super().records(path, split)
            return
        if self.durations is None or self.items is not None:
            raise AnnotationError(
                f"{path}: the lines of this release hold no durations, and their ids are not those of CALCE's items. "
                "Set format.durations to Charades_v1_<split>.csv and leave format.items out"
            )
        source = self.durations.replace("{split}", split)
        yield from release_records(path, read_durations(source), source)
