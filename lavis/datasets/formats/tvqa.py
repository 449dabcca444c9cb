"""TVQA's and TVQA+'s own releases: questions on a stretch of a clip from a television show, with five answers.

Source: *TVQA: Localized, Compositional Video Question Answering* (jayleicn/TVQA), files ``tvqa_{train,val}.jsonl`` and
``tvqa_test_public.jsonl``, frames at 3 a second in a folder for each show; *TVQA+* (jayleicn/TVQAplus),
``tvqa_plus_{train,val}.json``. The folders are those of the release, as HawkEye (yellow-binary-tree/HawkEye) has them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.formats._choices import (
    WindowedChoiceFormat,
    answered,
    index_of_option,
    noted,
    numbered_options,
)
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats._tables import digits
from lavis.structures import VideoSample

NUM_OPTIONS = 5
FOLDERS = {
    "The Big Bang Theory": "bbt_frames",
    "Castle": "castle_frames",
    "How I Met You Mother": "met_frames",
    "Grey's Anatomy": "grey_frames",
    "Friends": "friends_frames",
    "House M.D.": "house_frames",
}
"""Folder of each show's frames. The third name is spelt so in the release."""
PLUS_SHOW = "The Big Bang Theory"
"""The only show in TVQA+, whose rows do not name it."""

_SPAN = re.compile(r"\s*(nan|[-+.\de]+?)\s*-\s*(nan|[-+.\de]+)\s*", re.IGNORECASE)


@registry.formats.register("tvqa")
class Tvqa(WindowedChoiceFormat):
    """Rows ``qid, q, a0 ... a4, vid_name, ts[, show_name, answer_idx]``; ids are ``qid``, as submissions give it.

    ``video`` is ``<folder of the show>/<vid_name>``, a folder of frames. ``ts`` is ``12.3-15.4`` or, in TVQA+,
    ``[12.3, 15.4]``; rows with ``NaN-NaN`` are about the whole clip. ``kind`` is the show. TVQA+'s boxes (``bbox``) are
    passed over.

    Args:
        window, durations, on_bad_window, beyond_end, on_unknown_field: see ``WindowedChoiceFormat``. The folder of the
            frames will do for ``durations``.
    """

    required = ("qid", "q", *(f"a{i}" for i in range(NUM_OPTIONS)), "vid_name", "ts")
    optional = ("show_name", "answer_idx", "bbox")

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for record in read_records(path):
            yield record.identified(lambda row: str(row.whole_number("qid")))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        options = numbered_options(record, NUM_OPTIONS)
        index = None
        if "answer_idx" in record.fields:
            index = index_of_option(record, "answer_idx", digits(record, "answer_idx"), options)
        show = _show(record)
        video = f"{FOLDERS[show]}/{record.text('vid_name')}"
        sample = VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("q"),
            duration=self.lengths.of(record, video, None),
            kind=show,
            extra=noted(extra, index),
            **answered(options, index),
        )
        return self.placed(sample, record, "ts", _span(record), counts)


def _show(record: Record) -> str:
    if "show_name" not in record.fields:
        return PLUS_SHOW
    show = record.text("show_name")
    if show not in FOLDERS:
        raise record.error("show_name", f"must be one of {', '.join(FOLDERS)}, got {show!r:.40}", "Correct the row")
    return show


def _span(record: Record) -> Any:
    """Raw ``[start, end]``, ``None`` for ``NaN-NaN``."""
    raw = record.get("ts")
    if isinstance(raw, list):
        return raw
    found = _SPAN.fullmatch(raw) if isinstance(raw, str) else None
    try:
        start, end = (float(bound) for bound in found.groups()) if found else (None, None)
    except ValueError:
        start = end = None
    if start is None or end is None:
        raise record.error("ts", f"must be 'start-end' or [start, end], got {raw!r:.40}", "Correct the row")
    return None if start != start or end != end else [start, end]
