"""Rows of the protocol ``frame_scores``: scores of frames or a window in words, and spans or ratings of clips."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, Form, Row, RowError, finite, number_array
from lavis.scoring.windows.highlights import CLIP_SECONDS, clip_ratings
from lavis.scoring.windows.text import require_times

QvhSpans = Literal["original", "repaired"]

_HIGHLIGHT = 4
_MOST_CLIPS = 100_000
_HIGHEST_RATING = 1000
_LARGEST_SCORE = 1e30
"""Beyond it, sums of scores and the stretch to 0..1 may leave the range of numbers."""
_NUMBER = re.compile(r"\d+\.?\d*")


@dataclass(frozen=True, slots=True, eq=False)
class FrameAnswer:
    """Scores of a video's frames, or what a text says.

    Args:
        id: of the question.
        times: ``[F]`` seconds; empty for a text.
        scores: ``[F]``.
        is_text: whether the answer is a text.
        window: start and end in seconds that the text names; ``None`` if it does not name exactly two numbers.
        duration: seconds of the video, where the row tells them.
    """

    id: str
    times: Array
    scores: Array
    is_text: bool = False
    window: tuple[float, float] | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameTruth:
    """What is true of a video.

    Args:
        id: of the question.
        video: its name; the id where the row tells none.
        spans: ``[N, 2]`` seconds.
        ratings: ``[C, K]`` of 2-second clips by K annotators, 0 to 4; ``None`` where the row tells none.
    """

    id: str
    video: str
    spans: Array
    ratings: NDArray[np.float32] | None = None


def answer_forms(score: str, seconds_per_score: float) -> list[Form[FrameAnswer]]:
    """Forms of answers, read for one of the two scores of MMDuet."""
    return [
        Form(
            "MMDuet predictions",
            ("question_id", "debug_data"),
            lambda row: _read_debug(row, score),
            lambda row: row.identity("question_id"),
            "question_id, debug_data [{video_time | time, relevance_score: p | [p0, p1]}]",
        ),
        Form(
            "MMDuet text answers",
            ("question_id", "model_response"),
            _read_text,
            lambda row: row.identity("question_id"),
            "question_id, model_response, video_duration: a text with two numbers",
        ),
        Form(
            "predictions of this project",
            ("id", "frame_scores"),
            lambda row: _read_scores(row, "frame_scores", seconds_per_score),
            lambda row: row.identity("id"),
            "id, frame_scores, perhaps frame_times",
        ),
        Form(
            "QVHighlights submission",
            ("qid", "pred_saliency_scores"),
            lambda row: _read_scores(row, "pred_saliency_scores", CLIP_SECONDS),
            lambda row: row.identity("qid"),
            "qid, pred_saliency_scores of 2-second clips",
        ),
    ]


def truth_forms(qvh_spans: QvhSpans) -> list[Form[FrameTruth]]:
    """Forms of truth; QVHighlights' rated clips become spans as ``qvh_spans`` says."""
    return [
        Form(
            "MMDuet grounding",
            ("question_id", "timestamps"),
            lambda row: _truth(row, "question_id", row.windows("timestamps")),
            lambda row: row.identity("question_id"),
            "question_id, timestamps [[start, end]]",
        ),
        Form(
            "MMDuet grounding in QVHighlights",
            ("question_id", "answer"),
            lambda row: _read_rated_answer(row, qvh_spans),
            lambda row: row.identity("question_id"),
            "question_id, answer {relevant_clip_ids, saliency_scores}",
        ),
        Form(
            "QVHighlights release",
            ("qid", "duration", "relevant_clip_ids", "saliency_scores"),
            lambda row: _read_release(row, qvh_spans),
            lambda row: row.identity("qid"),
            "qid, vid, duration, relevant_clip_ids, saliency_scores",
        ),
        Form(
            "windows",
            ("qid", "relevant_windows"),
            lambda row: _truth(row, "qid", row.windows("relevant_windows")),
            lambda row: row.identity("qid"),
            "qid, vid, relevant_windows",
        ),
    ]


def spans_of_clips(clips: Array, best: Array, how: QvhSpans) -> Array:
    """Spans ``[N, 2]`` in seconds of clips that somebody rated 4.

    Args:
        clips: ``[C]`` numbers of the rated clips, as listed.
        best: ``[C]`` best rating of each.
        how: ``original`` walks the list: the first such clip opens a span, the next other one closes it, as the empty
            point at that other clip's start, so that only a span still open at the end of the list has length;
            ``repaired`` gives each run of consecutive such clips.
    """
    found: list[tuple[float, float]] = []
    opened: float | None = None
    last = -1.0
    for clip, rating in zip(clips.tolist(), best.tolist(), strict=True):
        positive = rating >= _HIGHLIGHT
        if opened is not None and how == "repaired" and (not positive or clip != last + 1):
            found.append((opened * CLIP_SECONDS, (last + 1) * CLIP_SECONDS))
            opened = None
        elif opened is not None and not positive:
            found.append((clip * CLIP_SECONDS, clip * CLIP_SECONDS))
            opened = None
        if positive and opened is None:
            opened = clip
        last = clip
    if opened is not None:
        found.append((opened * CLIP_SECONDS, (last + 1) * CLIP_SECONDS))
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _read_debug(row: Row, name: str) -> FrameAnswer:
    identity, entries = row.identity("question_id"), row.get("debug_data")
    if not isinstance(entries, list) or not entries:
        raise RowError(f"field 'debug_data' must list at least one frame, got {entries!r:.60}")
    times, scores = zip(*(_frame(entry, name) for entry in entries), strict=True)
    return FrameAnswer(identity, require_times(number_array(times, "time", 1), "time"), _scores(scores, name))


def _frame(entry: Any, name: str) -> tuple[Any, Any]:
    """Time and score of a frame; one without a score has 0, and of two probabilities the second is meant."""
    if not isinstance(entry, Mapping):
        raise RowError(f"field 'debug_data': a frame must be a mapping, got {entry!r:.60}")
    time = entry["video_time"] if "video_time" in entry else entry.get("time")
    score = entry.get(name, 0.0)
    if isinstance(score, list):
        if len(score) != 2:
            raise RowError(f"field {name!r} must be one number or two probabilities, got {score!r:.60}")
        score = score[1]
    return finite(time, "video_time"), finite(score, name)


def _read_text(row: Row) -> FrameAnswer:
    identity, response = row.identity("question_id"), row.get("model_response")
    text = response[0] if isinstance(response, list) and response else response
    if not isinstance(text, str):
        raise RowError(f"field 'model_response' must be a text, or a list with one, got {response!r:.60}")
    duration = _duration(row, "video_duration") if "video_duration" in row else None
    return FrameAnswer(identity, np.zeros(0), np.zeros(0), True, _window(text, duration), duration)


def _window(text: str, duration: float | None) -> tuple[float, float] | None:
    """The two numbers of a text: seconds, or percent of the video where it says "from" and "to" anywhere."""
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if len(numbers) != 2:
        return None
    start, end = numbers
    if "from" in text.lower() and "to" in text.lower():
        if duration is None:
            raise RowError("field 'video_duration' is missing: the text gives percent of it")
        start, end = start / 100 * duration, end / 100 * duration
    return start, end


def _read_scores(row: Row, name: str, seconds: float) -> FrameAnswer:
    identity, scores = row.identity("id", "qid"), _scores(row.get(name), name)
    if not len(scores):
        raise RowError(f"field {name!r} is empty")
    times = np.arange(float(len(scores))) * seconds
    if "frame_times" in row:
        times = require_times(row.numbers("frame_times"), "frame_times")
    if len(times) != len(scores):
        raise RowError(f"{len(times)} times ('frame_times') for {len(scores)} scores ({name!r})")
    return FrameAnswer(identity, times, scores)


def _scores(values: Any, name: str) -> Array:
    """Scores ``[F]`` that can be added up."""
    scores = number_array(values, name, 1)
    if (np.abs(scores) > _LARGEST_SCORE).any():
        raise RowError(f"field {name!r} must hold numbers within {_LARGEST_SCORE:g}, got {values!r:.60}")
    return scores


def _truth(row: Row, identity: str, spans: Array, ratings: NDArray[np.float32] | None = None) -> FrameTruth:
    name = row.identity(identity)
    video = next((row.fields[field] for field in ("video", "vid") if field in row), name)
    return FrameTruth(name, str(video), spans, ratings)


def _read_rated_answer(row: Row, how: QvhSpans) -> FrameTruth:
    answer = row.get("answer")
    if not isinstance(answer, Mapping):
        raise RowError(f"field 'answer' must hold relevant_clip_ids and saliency_scores, got {answer!r:.60}")
    inner = Row(answer, row.number, row.place)
    clips, ratings = _rated(inner)
    return _truth(row, "question_id", spans_of_clips(clips, _best(ratings), how))


def _read_release(row: Row, how: QvhSpans) -> FrameTruth:
    clips, rated = _rated(row)
    count = int(_duration(row, "duration") / CLIP_SECONDS)
    try:
        ratings = clip_ratings(count, clips.astype(np.int64), rated)
    except ValueError as error:
        raise RowError(str(error)) from error
    return _truth(row, "qid", spans_of_clips(clips, _best(rated), how), ratings)


def _duration(row: Row, name: str) -> float:
    """Seconds of a video that can be cut into clips."""
    duration = row.number_of(name)
    if not 0 <= duration <= _MOST_CLIPS * CLIP_SECONDS:
        raise RowError(f"field {name!r} must be seconds of a video, got {duration:g}")
    return duration


def _rated(row: Row) -> tuple[Array, Array]:
    """Numbers ``[C]`` and ratings ``[C, K]`` of the rated clips."""
    clips = row.numbers("relevant_clip_ids")
    ratings = number_array(row.get("saliency_scores"), "saliency_scores", 2)
    if not len(clips) and not ratings.size:
        return clips, np.zeros((0, 3))
    if (np.abs(clips) > _MOST_CLIPS).any() or (clips != np.floor(clips)).any():
        raise RowError(f"field 'relevant_clip_ids' must hold numbers of clips, got {clips.tolist()!r:.60}")
    if (np.abs(ratings) > _HIGHEST_RATING).any():
        raise RowError(f"field 'saliency_scores' must hold ratings, got {row.get('saliency_scores')!r:.60}")
    if len(clips) != len(ratings):
        raise RowError(f"{len(clips)} clips ('relevant_clip_ids') have {len(ratings)} ratings ('saliency_scores')")
    return clips, ratings


def _best(ratings: Array) -> Array:
    return ratings.max(axis=1) if len(ratings) else np.zeros(0)
