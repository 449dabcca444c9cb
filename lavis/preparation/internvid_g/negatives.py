"""How far around a captioned segment nothing like it is shown, as HawkEye finds it.

A segment is laid over the scenes of its video and grows over neighbours that are alike to its outermost scenes. From
there its surroundings reach, on both sides, to the next scene that is like any of its own: a picture window anywhere in
between shows what the caption says only inside the segment.

Unlike the original (all named in ``NegativeSpans``, ``ORIGINAL`` turns them back): a segment that begins behind the
start of the last scene, or ends before the end of the first, belongs to no scene and is dropped, where the original
takes the first or the last scene of the video; a segment without surroundings is dropped; every scene counts and not
only the first 100. Rows come in the order of the captions, not of a set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lavis.common.io import write_jsonl
from lavis.preparation.internvid_g.rows import (
    Captioned,
    Matrix,
    Row,
    Scenes,
    Similarity,
    Window,
    matrix_of,
    read_captions,
    read_scenes,
    read_similarity,
)

OnNoScene = Literal["drop", "outermost"]
OnNoNegatives = Literal["drop", "keep"]


@dataclass(frozen=True, slots=True)
class NegativeSpans:
    """How segments are laid over scenes.

    Args:
        slack_s: seconds by which a segment may begin before its first scene, and end behind its last.
        like_from: similarity from which a scene shows what another does.
        min_s, max_s: lengths of segments in seconds; the upper one also holds once a segment has grown.
        max_scenes: how many scenes of a video were compared; ``None``: all.
        on_no_scene: a segment behind whose start no scene begins, or before whose end none ends: ``drop`` it, or take
            the first scene of the video, or the last, as the original does (``outermost``).
        on_no_negatives: a segment with nothing around it: ``drop`` or ``keep`` it, as the original does.
    """

    slack_s: float = 0.25
    like_from: float = 0.8
    min_s: float = 0.5
    max_s: float = 10.0
    max_scenes: int | None = None
    on_no_scene: OnNoScene = "drop"
    on_no_negatives: OnNoNegatives = "drop"

    def __post_init__(self) -> None:
        if not 0 <= self.min_s <= self.max_s:
            raise ValueError(f"segments from {self.min_s} to {self.max_s} s: the limits must rise from 0 on")
        if self.on_no_scene not in ("drop", "outermost") or self.on_no_negatives not in ("drop", "keep"):
            raise ValueError("on_no_scene is drop or outermost, on_no_negatives drop or keep")

    def around(self, start: float, end: float, windows: list[Window], matrix: Matrix, duration: float) -> Row | str:
        """One segment.

        Args:
            start, end: of the segment, in seconds.
            windows: ``[start, end]`` of the scenes of its video.
            matrix: how alike any two are.
            duration: seconds of the video.

        Returns:
            ``start_sec, end_sec, neg_start_sec, neg_end_sec`` and the numbers of the scenes, from 0: of the outermost
            of the segment (``start_scene, end_scene``) and of those that bound its surroundings (``neg_start_scene,
            neg_end_scene``; ``None`` where the video or the segment does); or why it is dropped.
        """
        if not self.min_s <= end - start <= self.max_s:
            return "length"
        windows = windows[: len(matrix)]
        found = self._scenes(start, end, windows)
        if found is None or found[1] < found[0]:
            return "no scene"
        (first, last), (start, end) = self._grown(*found, start, end, windows, matrix)
        if end - start > self.max_s:
            return "length once grown"
        like = [max(matrix[own][s] for own in range(first, last + 1)) >= self.like_from for s in range(len(windows))]
        neg_start, before = _reach_back(like[:first], windows, start)
        neg_end, behind = _reach_on(like[last + 1 :], last + 1, windows, end, duration)
        if self.on_no_negatives == "drop" and neg_start >= start and neg_end <= end:
            return "no surroundings"
        return {
            "start_sec": start, "end_sec": end, "neg_start_sec": neg_start, "neg_end_sec": neg_end,
            "start_scene": first, "end_scene": last, "neg_start_scene": before, "neg_end_scene": behind,
        }  # fmt: skip

    def _scenes(self, start: float, end: float, windows: list[Window]) -> tuple[int, int] | None:
        """The outermost scenes within a segment, before it grows."""
        if not windows:
            return None
        first = next((n for n, window in enumerate(windows) if window[0] >= start - self.slack_s), None)
        ends = (n for n in reversed(range(len(windows))) if windows[n][1] <= end + self.slack_s)
        last = next(ends, None)
        if self.on_no_scene == "outermost":
            return 0 if first is None else first, len(windows) - 1 if last is None else last
        return None if first is None or last is None else (first, last)

    def _grown(
        self, first: int, last: int, start: float, end: float, windows: list[Window], matrix: Matrix
    ) -> tuple[tuple[int, int], tuple[float, float]]:
        """Outermost scenes and ends once the segment took in what is alike to its outermost scenes."""
        low, high = first, last
        while low > 0 and matrix[low - 1][first] > self.like_from:
            low -= 1
        while high < len(windows) - 1 and matrix[high + 1][last] > self.like_from:
            high += 1
        return (low, high), (windows[low][0] if low < first else start, windows[high][1] if high > last else end)


ORIGINAL = NegativeSpans(max_scenes=100, on_no_scene="outermost", on_no_negatives="keep")
"""What HawkEye does."""


def _reach_back(like: list[bool], windows: list[Window], start: float) -> tuple[float, int | None]:
    """Where the surroundings begin, and the scene that bounds them."""
    if not any(like):
        return 0, None
    if all(like):
        return start, None
    bound = max(n for n, alike in enumerate(like) if alike)
    return windows[bound][1], bound


def _reach_on(
    like: list[bool], offset: int, windows: list[Window], end: float, duration: float
) -> tuple[float, int | None]:
    """Where the surroundings end; ``like`` is of the scenes from number ``offset`` on."""
    if not any(like):
        return duration, None
    if all(like):
        return end, None
    bound = offset + like.index(True)
    return windows[bound][0], bound


def negative_spans(
    captions: Iterable[Captioned],
    scenes: Mapping[str, Scenes],
    similarity: dict[str, Similarity],
    durations: Mapping[str, float] | None = None,
    options: NegativeSpans | None = None,
) -> tuple[list[Row], Counter[str]]:
    """Rows of InternVid-G, one for each caption.

    Args:
        captions: segments with their captions.
        scenes, similarity: of the videos.
        durations: seconds of the videos; those that scenes tell are taken where there are none.
        options: how; by default as ``NegativeSpans`` says.

    Returns:
        rows ``video, duration, start_sec, end_sec, neg_start_sec, neg_end_sec, caption, start_scene, end_scene,
        neg_start_scene, neg_end_scene``, and how many captions were dropped for which reason.

    Raises:
        AnnotationError: if a video has no scenes, similarity or duration; names file and row.
    """
    how = options or NegativeSpans()
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    for segment in captions:
        found = scenes.get(segment.video)
        if found is None:
            raise segment.record.error(
                "video_fname", f"no scenes of {segment.video!r} are known", "Take one run's files"
            )
        duration = (durations or {}).get(segment.video, found.duration)
        if duration is None:
            raise segment.record.error("video_fname", f"{segment.video!r} has no duration", "Give a file of durations")
        matrix = matrix_of(segment.video, found, similarity, how.max_scenes)
        span = how.around(segment.start, segment.end, found.windows, matrix, duration)
        if isinstance(span, str):
            dropped[span] += len(segment.captions)
            continue
        times = {key: value for key, value in span.items() if key.endswith("_sec")}
        numbers = {key: value for key, value in span.items() if key.endswith("_scene")}
        about = {"video": segment.video, "duration": duration}
        rows += [{**about, **times, "caption": caption, **numbers} for caption in segment.captions]
    return rows, dropped


def negative_files(
    captions: str | Path,
    scenes: str | Path,
    similarity: str | Path,
    out: str | Path,
    durations: Mapping[str, float] | None = None,
    options: NegativeSpans | None = None,
) -> tuple[int, Counter[str]]:
    """``negative_spans`` from files to a file.

    Returns:
        how many rows were written, and how many captions were dropped for which reason.

    Raises:
        AnnotationError: if a row is bad, or the files do not belong together; names file and row.
    """
    rows, dropped = negative_spans(
        read_captions(captions), read_scenes(scenes), read_similarity(similarity), durations, options
    )
    write_jsonl(out, rows)
    return len(rows), dropped
