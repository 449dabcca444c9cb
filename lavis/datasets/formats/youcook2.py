"""YouCook2: the steps of a recipe with their times, as one sample a video or one a sentence.

Source: *Towards Automatic Learning of Procedures from Web Instructional Videos* (Zhou et al., 2018), file
``youcookii_annotations_trainval.json``: ``{"database": {video: {"duration": ..., "subset": "training", "recipe_type":
"113", "video_url": ..., "annotations": [{"segment": [41, 54], "id": 0, "sentence": ...}]}}}``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from lavis.common.registry import registry
from lavis.datasets.formats._captions import Each, captioned_video, in_step
from lavis.datasets.formats._conversation import part_of
from lavis.datasets.formats._record import AnnotationError, Record, read_videos
from lavis.datasets.formats.base import AnnotationFormat, BeyondEnd, OnBadWindow, OnUnknownField, check_choice
from lavis.structures import VideoSample

VideoNames = Literal["flat", "folders"]

SUBSETS = {"train": "training", "val": "validation", "test": "testing"}
"""What the release calls the splits."""


@registry.formats.register("youcook2")
class YouCook2(AnnotationFormat):
    """Videos of a split (``train``, ``val``; another split: all of the file), ids ``<video>``.

    ``extra`` has ``recipe_type`` and, of a video, ``captions``: its sentences, one for each of ``moments``.

    Args:
        each: ``video``: the truth of dense captioning, the query is empty; ``sentence``: one query a sentence, ids
            ``YouCook2_<video>_<k>``.
        video_names: ``flat``: ``<video>``; ``folders``: as the release has them, ``training/<recipe_type>/<video>``.
        on_bad_window: as everywhere; ``skip`` leaves out the sentence with its window.
        beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    required = ("video", "duration", "subset", "annotations")
    optional = ("recipe_type", "video_url")

    def __init__(
        self,
        *,
        each: Each = "video",
        video_names: VideoNames = "flat",
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "clamp",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        check_choice("format.each", each, get_args(Each))
        check_choice("format.video_names", video_names, get_args(VideoNames))
        self.each = each
        self.video_names = video_names

    def records(self, path: Path, split: str) -> Iterator[Record]:
        wanted = SUBSETS.get(split)
        present = []
        for video in read_videos(path, "database"):
            subset = video.text("subset")
            present.append(subset)
            if wanted not in (None, subset):
                continue
            if self.each == "video":
                yield video.with_id(video.text("video"))
                continue
            for k, step in enumerate(self._steps(video)):
                identity = f"YouCook2_{video.text('video')}_{k}"
                yield Record({**video.fields, "annotations": [step.fields]}, path, step.row, identity)
        if present and wanted is not None and wanted not in present:
            raise AnnotationError(
                f"{path}: has no video of subset {wanted!r}, which is split {split!r}. Choose another"
            )

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        duration = record.positive("duration")
        if self.each == "video":
            steps = self._steps(record)
        else:
            steps = [Record(step, record.path, record.row, record.id) for step in record.get("annotations")]
        moments, captions = in_step(self, steps, "segment", "sentence", duration, counts)
        if not moments:
            return None
        if "recipe_type" in record.fields:
            extra["recipe_type"] = record.get("recipe_type")
        if self.each == "video":
            return captioned_video(record, self._file(record), duration, moments, captions, extra)
        return VideoSample(
            id=str(record.id),
            video=self._file(record),
            query=captions[0],
            duration=duration,
            moments=moments,
            extra=extra,
        )

    def _steps(self, record: Record) -> list[Record]:
        """The annotations of a video as rows of their own."""
        steps = record.get("annotations")
        if not isinstance(steps, list) or not steps:
            raise record.error("annotations", f"must be a list of segments, got {steps!r:.80}", "Correct the entry")
        parts = [part_of(record, step, f"annotation {k}") for k, step in enumerate(steps, start=1)]
        for part in parts:
            strict = self.on_unknown_field == "raise"
            part.check_fields(("segment", "sentence"), ("id",) if strict else ("id", *part.fields))
        return parts

    def _file(self, record: Record) -> str:
        name = record.text("video")
        if self.video_names == "flat":
            return name
        return f"{record.text('subset')}/{record.text('recipe_type')}/{name}"
