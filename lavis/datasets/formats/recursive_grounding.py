"""HawkEye's test files of moment retrieval, which it answers by halving the video again and again.

Source: HawkEye (yellow-binary-tree/HawkEye), files ``*-recursive_grounding.json`` of Charades-STA, ActivityNet Captions
and NExT-GQA: rows ``video, question, answer[, duration, qid]``. Its conversions write the truth as ``answer``, its
driver looks for ``span``; both are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats._timed import TimedFormat, id_of_video
from lavis.structures import VideoSample

TRUTHS = ("answer", "span")


@registry.formats.register("recursive_grounding")
class RecursiveGrounding(TimedFormat):
    """Rows ``video, question, answer | span[, duration, qid]``; the truth is ``[start, end]`` or a list of such.

    Ids are ``<video without folder and ending>_<qid>``, or ``RecursiveGrounding_<k>``, k from 0, in files without
    ``qid``. ``query`` is the question or sentence as it stands, ``video`` the name with its ending, or a folder of
    frames.

    Args:
        durations: lengths of the videos, for files without them: a JSON object of seconds, the file of
            ``process_data/videos_metadata.py``, or CSV (``id``, ``length``), by name, its ending may differ or be left
            out; or the folder of folders of frames, three a second. ``{split}`` is filled in.
        on_bad_window, on_unknown_field: see ``AnnotationFormat``.
        beyond_end: windows that end past the video are kept by default: the evaluation compares with them as they are.
    """

    required = ("video", "question")
    optional = (*TRUTHS, "duration", "qid")

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.identified(partial(id_of_video, field="qid", otherwise=f"RecursiveGrounding_{number}"))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        if "qid" in record.fields:
            extra["qid"] = record.get("qid")
        video = record.file_name("video")
        duration = self.lengths.of(record, video)
        given = [field for field in TRUTHS if field in record.fields]
        if len(given) > 1:
            raise record.error("span", "says the same as 'answer'", "Keep one of them")
        moments = None
        if given:
            moments = self.windows(record, given[0], listed(record.get(given[0])), duration, counts)
            if not moments:
                return None
        return VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("question"),
            duration=duration,
            moments=moments,
            extra=extra,
        )


def listed(value: Any) -> Any:
    """One window as a list of one; anything else as it stands, to be judged later."""
    return [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
