"""How windows stand in files of predictions and annotations, for the protocols that score windows.

Ids are compared without the data set's name in front, so that ``QVHighlight_2579`` of CALCE's files is query 2579 of
the release.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Form, Row, RowError, Tally, number_array, outside
from lavis.scoring.windows.highlights import CLIP_SECONDS, clip_ratings
from lavis.scoring.windows.ragged import Array
from lavis.scoring.windows.text import listed_windows, require_times

_NAMED = re.compile(r"(?:QVHighlights?|Charades(?:_STA)?|ANet|ActivityNet)_0*([0-9]+)", re.IGNORECASE)
_MOST_CLIPS = 100_000
_ANNOTATORS = 3
_HIGHEST = 1000
_NONE = np.zeros((0, 2))


@dataclass(slots=True, eq=False)
class WindowAnswer:
    """Predicted windows of one query.

    Args:
        id: of the query.
        windows: ``[N, 2]`` seconds, or ``[N, 3]`` with scores, in the order given.
        readable: false where a text holds no window that can be read.
        first: the number of the window that counts as first; not 0 where several rows were joined.
        rows: how many rows it was made of.
        clips: ``[C]`` scores of clips, ``None`` without them.
    """

    id: str
    windows: Array
    readable: bool = True
    first: int = 0
    rows: int = 1
    clips: Array | None = None

    def top(self) -> Array:
        """The first window, ``[1 or 0, columns]``."""
        return self.windows[self.first : self.first + 1]


@dataclass(slots=True, eq=False)
class WindowTruth:
    """True windows of one query.

    Args:
        id: of the query.
        video: its video.
        windows: ``[G, 2]`` seconds, at least one.
        duration: of the video in seconds, "not a number" if unknown.
        ratings: ``[C, annotators]`` of 2-second clips, ``None`` without them.
    """

    id: str
    video: str
    windows: Array
    duration: float = float("nan")
    ratings: NDArray[np.float32] | None = None


def joined(answers: Sequence[WindowAnswer]) -> WindowAnswer:
    """Several rows for one query as the originals take them: recall sees the last row, precision the windows of all."""
    last = answers[-1]
    columns = min(answer.windows.shape[1] for answer in answers)
    windows = np.concatenate([answer.windows[:, :columns] for answer in answers])
    rows = sum(answer.rows for answer in answers)
    return WindowAnswer(last.id, windows, last.readable, len(windows) - len(last.windows), rows, last.clips)


def count_problems(answer: WindowAnswer, truth: WindowTruth, tally: Tally, place: str) -> None:
    """Counts texts without windows (CALCE and MR.BLIP write ``[-1, -1]`` for them), and windows outside the video,
    reversed or negative."""
    if not answer.readable or bool((answer.windows[:, :2] == -1).all(axis=1).any()):
        tally.add("unparseable", f"{place}: no window can be read")
        return
    if outside(answer.windows, float("inf") if math.isnan(truth.duration) else truth.duration):
        tally.add("out_of_range", f"{place}: a window of {answer.id!r} lies outside the video or is reversed")


def query_id(row: Row, *names: str) -> str:
    """The id of a row without the name of the data set: ``2579`` of ``QVHighlight_2579``, ``"2579"`` and 2579."""
    identity = row.identity(*names)
    named = _NAMED.fullmatch(identity)
    return named[1] if named else identity


def answer_forms(columns: int) -> list[Form[WindowAnswer]]:
    """Predictions: of the QVHighlights server, result rows of CALCE and MR.BLIP, and ours.

    Args:
        columns: 3 to keep the scores of windows (1 where there is none), 2 to leave them.
    """

    def windows(row: Row, name: str) -> Array:
        if _mixed(row.get(name)):
            filled = {**row.fields, name: [[*window, 1.0][:3] for window in row.get(name)]}
            row = Row(filled, row.number, row.place, row.key)
        return _fitted(window_times(row, name, (2, 3)), columns)

    def submission(row: Row) -> WindowAnswer:
        clips = row.numbers("pred_saliency_scores") if row.fields.get("pred_saliency_scores") else None
        return WindowAnswer(query_id(row, "qid", "id"), windows(row, "pred_relevant_windows"), clips=clips)

    def ours(row: Row) -> WindowAnswer:
        clips = row.numbers("frame_scores") if row.fields.get("frame_scores") else None
        readable = not row.fields.get("malformed", False)
        return WindowAnswer(query_id(row, "id"), windows(row, "moments"), readable, clips=clips)

    def told(name: str) -> Callable[[Row], WindowAnswer]:
        def read(row: Row) -> WindowAnswer:
            identity = query_id(row, "qid")
            if not isinstance(row.get(name), str):
                return WindowAnswer(identity, windows(row, name))
            found = listed_windows(row.text(name))
            return WindowAnswer(identity, _fitted(_NONE if found is None else found, columns), found is not None)

        return read

    def mr_blip(row: Row) -> WindowAnswer:
        answer = told("prediction")(row)
        answer.id = _mr_blip_id(row)
        return answer

    by_qid, by_id = (lambda row: query_id(row, "qid")), (lambda row: query_id(row, "id"))
    return [
        Form(
            "QVHighlights submission",
            ("pred_relevant_windows",),
            submission,
            lambda row: query_id(row, "qid", "id"),
            "qid, pred_relevant_windows [[start, end, score]], perhaps pred_saliency_scores",
        ),
        Form("lavis predictions", ("moments",), ours, by_id, "id, moments [[start, end(, score)]], frame_scores"),
        Form("CALCE results", ("qid", "pred_windows"), told("pred_windows"), by_qid, "qid, pred_windows"),
        Form("CALCE stage 1", ("qid", "stage1_result"), told("stage1_result"), by_qid, "qid, stage1_result"),
        Form(
            "CALCE raw texts",
            ("qid", "raw_pred_windows"),
            told("raw_pred_windows"),
            by_qid,
            "qid, raw_pred_windows as text",
        ),
        Form(
            "MR.BLIP results",
            ("qid", "prediction", "target"),
            mr_blip,
            _mr_blip_id,
            "qid with the place in the batch, prediction and target as text",
        ),
    ]


def truth_forms(ratings: bool = False) -> list[Form[WindowTruth]]:
    """Annotations: release rows, CALCE's, and result rows that hold the truth themselves.

    Args:
        ratings: whether to keep the ratings of clips.
    """

    def release(row: Row) -> WindowTruth:
        duration = row.number_of("duration") if row.fields.get("duration") is not None else float("nan")
        identity = query_id(row, "qid", "id")
        video = next((row.identity(name) for name in ("vid", "video") if name in row), identity)
        rated = _ratings(row) if ratings and "saliency_scores" in row else None
        return WindowTruth(
            identity, video, true_windows(window_times(row, "relevant_windows", (2, 3))), duration, rated
        )

    def result(row: Row, name: str, identity: str) -> WindowTruth:
        text = row.get(name)
        found = listed_windows(text) if isinstance(text, str) else window_times(row, name)
        if found is None:
            raise RowError(f"field {name!r} must hold windows such as [[3, 7]], got {text!r:.60}")
        duration = row.number_of("duration") if row.fields.get("duration") is not None else float("nan")
        return WindowTruth(identity, identity, true_windows(found), duration)

    def by_qid(row: Row) -> str:
        return query_id(row, "qid", "id")

    return [
        Form(
            "annotations with relevant_windows",
            ("relevant_windows",),
            release,
            by_qid,
            "qid, vid or video, duration, relevant_windows, perhaps relevant_clip_ids and saliency_scores",
        ),
        Form(
            "CALCE results",
            ("qid", "gt_windows"),
            lambda row: result(row, "gt_windows", by_qid(row)),
            by_qid,
            "qid, duration, gt_windows as text",
        ),
        Form(
            "MR.BLIP results",
            ("qid", "prediction", "target"),
            lambda row: result(row, "target", _mr_blip_id(row)),
            _mr_blip_id,
            "qid with the place in the batch, target as text",
        ),
    ]


def window_times(row: Row, name: str, columns: tuple[int, ...] = (2,)) -> Array:
    """The windows of a field, whose starts and ends can be times of a video.

    Raises:
        RowError: if they cannot.
    """
    windows = row.windows(name, columns)
    require_times(windows[:, :2], name)
    return windows


def true_windows(windows: Array) -> Array:
    """``[G, 2]`` of true windows.

    Raises:
        RowError: if there is none.
    """
    if not len(windows):
        raise RowError("a query without a true window cannot be scored")
    return windows[:, :2]


def _mixed(windows: object) -> bool:
    """Whether some windows have a score and some have none."""
    if not isinstance(windows, list) or not all(isinstance(window, list) for window in windows):
        return False
    return {len(window) for window in windows} == {2, 3}


def _fitted(windows: Array, columns: int) -> Array:
    if windows.shape[1] >= columns:
        return windows[:, :columns]
    return np.concatenate([windows, np.ones((len(windows), columns - windows.shape[1]))], axis=1)


def _mr_blip_id(row: Row) -> str:
    """MR.BLIP writes the place in the batch behind the id: ``QVHighlight_2579_0``."""
    identity = row.identity("qid")
    stem, mark, place = identity.rpartition("_")
    named = _NAMED.fullmatch(stem if mark and place.isdigit() and _NAMED.fullmatch(stem) else identity)
    return named[1] if named else identity


def _ratings(row: Row) -> NDArray[np.float32]:
    rated = row.numbers("relevant_clip_ids")
    scores = number_array(row.get("saliency_scores"), "saliency_scores", ndim=2)
    num_clips = row.number_of("duration") / CLIP_SECONDS
    if scores.size and scores.shape[1] != _ANNOTATORS:
        raise RowError(f"field 'saliency_scores' must hold {_ANNOTATORS} ratings a clip, got {scores.shape[1]}")
    if not 0 <= num_clips <= _MOST_CLIPS:
        raise RowError(f"field 'duration' must be seconds of a video, got {2 * num_clips:g}")
    if (np.abs(rated) > _MOST_CLIPS).any() or (rated != np.floor(rated)).any():
        raise RowError(f"field 'relevant_clip_ids' must hold whole numbers, got {row.get('relevant_clip_ids')!r:.60}")
    if (np.abs(scores) > _HIGHEST).any():
        raise RowError(f"field 'saliency_scores' must hold ratings, got {row.get('saliency_scores')!r:.60}")
    try:
        return clip_ratings(int(num_clips), rated.astype(np.int64), scores.reshape(-1, _ANNOTATORS))
    except ValueError as error:
        raise RowError(str(error)) from error
