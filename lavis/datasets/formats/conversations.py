"""LLaVA's conversations about images and videos: LLaVA-558K with WebVid, LLaVA-665K with Video-ChatGPT.

Source: the files of LLaMA-VID (dvlab-research/LLaMA-VID), ``llava_558k_with_webvid.json`` and
``llava_v1_5_mix665k_with_video_chatgpt.json``, which E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo) train
their first two stages on. Rows are ``conversations`` with an ``image``, a ``video`` or neither. The ids of these files
repeat, so rows are numbered here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from lavis.common.registry import registry
from lavis.datasets.formats._conversation import (
    IMAGE,
    STILL_SECONDS,
    TEXT,
    VIDEO,
    ConversationFormat,
    Filters,
    OnBadConversation,
    answer_of,
    without_placeholder,
)
from lavis.datasets.formats._durations import OnMissingDuration
from lavis.datasets.formats._lengths import Lengths
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats.base import OnUnknownField, check_choice
from lavis.structures import VideoSample

CARRIED = ("source", "model")


@registry.formats.register("conversations")
class Conversations(ConversationFormat):
    """Rows ``conversations[, image | video, duration, id, source, model]``, ids ``Conversation_<k>``, k from 0.

    ``VideoSample.turns`` are the messages as they stand, with ``<image>`` where the frames go. ``extra["media"]`` is
    ``video``, ``image`` (``video`` is then the path of the picture) or ``text`` (``video`` is empty); the duration of
    the last two is one second, as a picture is one frame. ``query`` is the first message without its placeholder,
    ``answer`` the reply where there is one only, ``extra["source_id"]`` the ``id`` of the file.

    Args:
        durations: lengths of the videos, where rows have none: the file of ``process_data/videos_metadata.py``, a JSON
            object of seconds, or CSV (``id``, ``length``); ``{split}`` is filled in.
        on_missing_duration: ``raise``, or ``skip`` rows whose video has no length (``without_duration``): videos that
            have vanished from the web are not in that file.
        video_folder: of the names of videos, below the data set's ``videos``; ``""`` if they are relative to that.
        image_folder: the same of images.
        filters, on_bad_conversation, on_unknown_field: see ``ConversationFormat``.
    """

    required = ("conversations",)
    optional = ("image", "video", "duration", "id", *CARRIED)

    def __init__(
        self,
        *,
        durations: str | None = None,
        on_missing_duration: OnMissingDuration = "raise",
        video_folder: str = "",
        image_folder: str = "",
        filters: Filters | None = None,
        on_bad_conversation: OnBadConversation = "raise",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(filters=filters, on_bad_conversation=on_bad_conversation, on_unknown_field=on_unknown_field)
        check_choice("format.on_missing_duration", on_missing_duration, get_args(OnMissingDuration))
        self.durations = durations
        self.on_missing_duration = on_missing_duration
        self.folders = {VIDEO: video_folder, IMAGE: image_folder}
        self._lengths = Lengths()

    def records(self, path: Path, split: str) -> Iterator[Record]:
        self._lengths = Lengths(self.durations, split)
        for number, record in enumerate(read_records(path)):
            yield record.with_id(f"Conversation_{number}")

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        extra |= {name: record.get(name) for name in CARRIED if name in record.fields}
        if "id" in record.fields:
            extra["source_id"] = record.get("id")
        extra["media"] = media = media_of(record)
        if media == VIDEO and self.on_missing_duration == "skip" and not self._lengths.has(record, record.text(VIDEO)):
            counts["without_duration"] += 1
            return None
        turns = self.conversation(record, media, counts)
        if turns is None:
            return None
        return VideoSample(
            id=str(record.id),
            video=self._file(record, media),
            query=without_placeholder(turns[0].text),
            duration=self._lengths.of(record, record.text(VIDEO)) if media == VIDEO else STILL_SECONDS,
            turns=turns,
            answer=answer_of(turns),
            extra=extra,
        )

    def _file(self, record: Record, media: str) -> str:
        if media == TEXT:
            return ""
        name = record.file_name(media)
        folder = self.folders[media]
        return f"{folder.rstrip('/')}/{name}" if folder else name


def media_of(record: Record) -> str:
    """``video``, ``image`` or ``text``, by the fields of a row.

    Raises:
        AnnotationError: if it has both an image and a video.
    """
    if IMAGE in record.fields and VIDEO in record.fields:
        raise record.error("image", "a row has an image or a video, this one has both", "Remove one of them")
    return next((media for media in (IMAGE, VIDEO) if media in record.fields), TEXT)
