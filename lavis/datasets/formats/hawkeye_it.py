"""HawkEye-IT and VideoChat2-IT: instruction data in ``train.json``, one file a set; and HawkEye's two temporal tasks.

Source: *MVBench* (OpenGVLab/Ask-Anything, VideoChat2-IT) and *HawkEye: Training Video-Text LLMs for Grounding Text in
Videos* (yellow-binary-tree/HawkEye). Rows are ``{video | image, QA: [{i, q, a}, ...]}``; temporal rows have one item
with the segment and the widest window that may be shown. Which part of that window is shown, and so which option is
right, is drawn in training; the reader keeps all that is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from lavis.common.registry import registry
from lavis.datasets.formats._conversation import IMAGE, STILL_SECONDS, VIDEO, part_of
from lavis.datasets.formats._hawkeye_temporal import TEMPORAL, temporal_sample
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats._timed import TimedFormat
from lavis.datasets.formats.base import (
    BeyondEnd,
    OnBadWindow,
    OnUnknownField,
    check_choice,
)
from lavis.structures import Turn, VideoSample

Names = Literal["as_is", "stem", "webvid", "clevrer"]

BUCKET = 1000


@registry.formats.register("hawkeye_it")
class HawkEyeIT(TimedFormat):
    """Rows ``video | image, QA[, start, end]``, ids ``HawkEyeIT_<k>``, k from 0.

    Ordinary rows: ``turns`` are the instruction ``i`` of the first item as ``system``, if there is one, then ``q`` as
    ``user`` (none where it is empty: a caption) and ``a`` as ``assistant``; ``query`` is the first question, ``answer``
    the reply where there is one only; ``extra["instructions"]`` all ``i``. ``start`` and ``end`` are the ``clip``.

    Temporal rows (``QA[0]`` has ``start_sec``, ``end_sec``, ``neg_start_sec``, ``neg_end_sec``): see
    ``_hawkeye_temporal``. ``extra["media"]`` is ``video`` or ``image``; the duration of an image is one second.

    Args:
        names: how names become files, as HawkEye maps them for each set: ``as_is``; ``stem``: base name without ending
            (folders of frames of ActivityNet); ``webvid``: ``<first 3 characters>/<stem>``; ``clevrer``:
            ``video_02000-03000/video_02238.mp4``.
        durations: lengths of the videos: a JSON object of seconds, the file of ``process_data/videos_metadata.py``, or
            CSV (``id``, ``length``), by mapped name, its ending may differ or be left out; ``{split}`` is filled in.
        on_bad_window: ``skip`` leaves out the row; ``clamp`` also widens a shown window that lacks a part of the
            segment, which is an error otherwise.
        beyond_end: windows that end past the video are cut by default.
        on_unknown_field: see ``AnnotationFormat``.
    """

    required = ("QA",)
    optional = (VIDEO, IMAGE, "start", "end")
    windows_in_all = False

    def __init__(
        self,
        *,
        names: Names = "as_is",
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            durations=durations, on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field
        )
        check_choice("format.names", names, get_args(Names))
        self.names = names

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.with_id(f"HawkEyeIT_{number}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        if (VIDEO in record.fields) == (IMAGE in record.fields):
            raise record.error(VIDEO, "a row has either a video or an image", "Correct the row")
        media = VIDEO if VIDEO in record.fields else IMAGE
        name = record.file_name(media)
        video = named(record, name, self.names) if media == VIDEO else name
        duration = self.lengths.of(record, video, None) if media == VIDEO else STILL_SECONDS
        base = VideoSample(str(record.id), video, "", duration, extra={**extra, "media": media})
        items = _items(record)
        if any(field in items[0].fields for field in TEMPORAL):
            if len(items) > 1 or media != VIDEO:
                raise record.error("QA", "temporal rows have one item, and a video", "Correct the row")
            return temporal_sample(base, items[0], self.windows, self.on_bad_window, counts)
        return self._ordinary(base, record, items, counts)

    def _ordinary(
        self, base: VideoSample, record: Record, items: list[Record], counts: Counter[str]
    ) -> VideoSample | None:
        turns, instructions = [], []
        for item in items:
            item.check_fields(("a",), ("i", "q", *(item.fields if self.on_unknown_field != "raise" else ())))
            instructions.append(text_or_empty(item, "i"))
            question = text_or_empty(item, "q")
            turns += [Turn("user", question)] if question else []
            turns.append(Turn("assistant", item.text("a"), learned=True))
        if instructions[0]:
            turns.insert(0, Turn("system", instructions[0]))
        clip = None
        if "start" in record.fields or "end" in record.fields:
            found = self.windows(record, "start", [[record.get("start"), record.get("end")]], base.duration, counts)
            if not found:
                return None
            (clip,) = found
        return replace(
            base,
            query=text_or_empty(items[0], "q"),
            turns=turns,
            answer=items[0].text("a") if len(items) == 1 else None,
            clip=clip,
            extra={**base.extra, "instructions": instructions},
        )


def named(record: Record, name: str, names: Names) -> str:
    """The file of a video, below the folder of videos.

    Raises:
        AnnotationError: if ``clevrer`` finds no number in the name.
    """
    path = PurePosixPath(name)
    if names == "stem":
        return path.stem
    if names == "webvid":
        return f"{path.stem[:3]}/{path.stem}"
    if names == "as_is":
        return name
    digits = path.stem.rpartition("_")[2]
    if not (digits.isascii() and digits.isdigit()):
        problem = f"must end with a number, as video_02238.mp4 does, got {name!r:.60}"
        raise record.error(VIDEO, problem, "Set the format's names to 'as_is'")
    first = int(digits) // BUCKET * BUCKET
    return f"video_{first:05d}-{first + BUCKET:05d}/{path.name}"


def text_or_empty(item: Record, field: str) -> str:
    """A text that may be empty or absent."""
    return "" if item.fields.get(field, "") == "" else item.text(field)


def _items(record: Record) -> list[Record]:
    """The items of ``QA`` as rows of their own."""
    raw: Any = record.get("QA")
    if not isinstance(raw, list) or not raw:
        raise record.error("QA", f"must be a list of questions and answers, got {raw!r:.60}", "Correct the row")
    return [part_of(record, item, f"QA {number}") for number, item in enumerate(raw, start=1)]
