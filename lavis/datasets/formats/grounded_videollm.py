"""Grounded-VideoLLM's annotation file, the same for all three stages of its training.

Source: *Grounded-VideoLLM: Sharpening Fine-grained Temporal Grounding in Video Large Language Models*
(WHB139426/Grounded-Video-LLM), files ``mix_pretrain.json``, ``mix_grounded.json``, ``mix_sft.json``. Times stay seconds
in the text; which tokens they become, and where the model is told to answer with times, is not the reader's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._conversation import STILL_SECONDS, TEXT, VIDEO, answer_of
from lavis.datasets.formats._gvllm_turns import PLACEHOLDER, read_conversation, spans_in
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats._timed import TimedFormat
from lavis.structures import VideoSample


@registry.formats.register("grounded_videollm")
class GroundedVideoLLM(TimedFormat):
    """Rows ``video_id, question_id, video_file, conversation, dataset_name``, ids ``GroundedVideoLLM_<k>``, k from 0.

    ``turns`` are the messages as they stand, the first with ``<image>`` and a line end where the frames go; times are
    seconds in angle brackets. ``query`` is the first message without the placeholder, ``answer`` the reply where there
    is one only; ``moments`` its windows where it is nothing but ``From <a> to <b>[, <c> to <d>].``. ``kind`` is
    ``dataset_name``. ``extra`` has ``video_id`` and ``question_id`` as texts, and ``media``: ``video``, or ``text`` for
    rows with the ``video_id`` ``text``, whose ``video`` is empty and whose duration is one second.

    Args:
        durations: lengths of the videos: a JSON object of seconds, the file of ``process_data/videos_metadata.py``, or
            CSV (``id``, ``length``), by ``video_file``, its ending may differ or be left out; ``{split}`` is filled in.
        on_bad_window: ``skip`` leaves out the row: its text speaks of the window.
        beyond_end: windows that end past the video are kept by default: the original cuts their tokens.
        on_unknown_field: see ``AnnotationFormat``.
    """

    required = ("video_id", "question_id", "conversation", "dataset_name")
    optional = ("video_file", "duration")
    windows_in_all = False

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.with_id(f"GroundedVideoLLM_{number}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        extra |= {name: name_of(record, name) for name in ("video_id", "question_id")}
        extra["media"] = media = TEXT if extra["video_id"] == TEXT else VIDEO
        video = record.file_name("video_file") if media == VIDEO else ""
        duration = self.lengths.of(record, video) if media == VIDEO else STILL_SECONDS
        turns = read_conversation(record, "conversation", media == VIDEO)
        answer = answer_of(turns)
        spans = spans_in(answer) if answer is not None and media == VIDEO else None
        moments = None
        if spans is not None:
            moments = self.windows(record, "conversation", spans, duration, counts)
            if len(moments) < len(spans):
                return None
        return VideoSample(
            id=str(record.id),
            video=video,
            query=turns[0].text.replace(PLACEHOLDER, "").strip(),
            duration=duration,
            moments=moments,
            turns=turns,
            answer=answer,
            kind=record.text("dataset_name"),
            extra=extra,
        )


def name_of(record: Record, field: str) -> str:
    """A text, or a whole number as text."""
    value = record.get(field)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else record.text(field)
