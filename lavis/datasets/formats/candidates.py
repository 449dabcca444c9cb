"""Questions with a list of candidates: the layout of MVBench, into which HawkEye converts NExT-QA, TVQA and STAR.

Source: MVBench (OpenGVLab/Ask-Anything) and HawkEye (yellow-binary-tree/HawkEye), files ``nextqa-test.json``,
``tvqa-test.json``, ``star-test.json``: rows ``video, question, candidates[, answer, qid, start, end]``. NExT-QA's
candidates end with a dot there and its answers do not; both stay, and still match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from lavis.common.registry import registry
from lavis.datasets.formats._choices import (
    WindowedChoiceFormat,
    answered,
    index_of_option,
    index_of_text,
    noted,
    option_texts,
)
from lavis.datasets.formats._record import Record, read_records
from lavis.structures import VideoSample


@registry.formats.register("candidates")
class Candidates(WindowedChoiceFormat):
    """Rows ``video, question, candidates[, answer, qid, start, end, duration, type]``.

    Ids are ``<video without folder and ending>_<qid>``, since NExT-QA counts within a video, or ``Candidates_<k>`` in
    files without ``qid``. ``answer`` is a text or an index. ``kind`` is ``type``. ``extra["qid"]`` is that of the file.

    Args:
        window, durations, on_bad_window, beyond_end, on_unknown_field: see ``WindowedChoiceFormat``.
    """

    required: ClassVar[tuple[str, ...]] = ("video", "question", "candidates")
    optional: ClassVar[tuple[str, ...]] = ("answer", "qid", "start", "end", "duration", "type")

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.identified(partial(_identity, number=number))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        if "qid" in record.fields:
            extra["qid"] = record.get("qid")
        kind = record.text("type") if "type" in record.fields else None
        sample = self.question(record, record.file_name("video"), kind, extra)
        return self.placed(sample, record, "start", raw_window(record), counts)

    def question(self, record: Record, video: str, kind: str | None, extra: dict[str, Any]) -> VideoSample:
        """The sample of a row, without its window.

        Args:
            record: the row, its id known.
            video: name below the folder of videos.
            kind: of the question.
            extra: other fields of the row.
        """
        options = option_texts(record, "candidates")
        index = None
        if "answer" in record.fields:
            whole = isinstance(record.get("answer"), int) and not isinstance(record.get("answer"), bool)
            index = (
                index_of_option(record, "answer", record.whole_number("answer"), options)
                if whole
                else index_of_text(record, "answer", options)
            )
        return VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("question"),
            duration=self.lengths.of(record, video),
            kind=kind,
            extra=noted(extra, index),
            **answered(options, index),
        )


def raw_window(record: Record) -> list[Any] | None:
    """``[start, end]`` as it stands; ``None`` if the row has neither."""
    if "start" not in record.fields and "end" not in record.fields:
        return None
    return [record.get("start"), record.get("end")]


def _identity(record: Record, number: int) -> str:
    if "qid" not in record.fields:
        return f"Candidates_{number}"
    qid = record.get("qid")
    if isinstance(qid, str) and not qid.isdigit():
        return record.text("qid")
    return f"{Path(record.text('video')).stem}_{record.whole_number('qid') if not isinstance(qid, str) else qid}"
