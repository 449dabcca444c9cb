"""How answers of recursive grounding, and their truth, stand in files: HawkEye's rows, annotations, and ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from lavis.scoring.base import Form, Row, RowError, number_array, window_array
from lavis.scoring.recursive.replay import ANSWERS
from lavis.scoring.windows.ragged import Array
from lavis.scoring.windows.text import require_times

_IDS = ("qid", "id", "question_id")
_VIDEOS = ("video_fname", "video", "vid", "video_id")
_QUESTIONS = ("question", "query")
_WORDS = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Rounds:
    """The answers of all rounds to one query.

    Args:
        id: of the query; the number of the row in files without ids.
        answers: words of ``ANSWERS``, in order; rounds after the last one were not asked.
        duration: seconds of the video as its reader found them, "not a number" to take that of the truth.
        number: of the row.
        named: whether the row has an id.
        asked: video and question, ``None`` if the row does not tell both.
    """

    id: str
    answers: tuple[str, ...]
    duration: float
    number: int
    named: bool
    asked: tuple[str, str] | None


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """The truth of one query: ``spans`` ``[G, 2]`` in seconds; the other fields are those of ``Rounds``."""

    id: str
    video: str
    spans: Array
    duration: float
    number: int
    named: bool
    asked: tuple[str, str] | None


def answer_forms() -> list[Form[Rounds]]:
    """Predictions."""
    return [
        Form(
            "HawkEye rounds",
            ("pred_answer_list", "duration"),
            _rounds,
            row_id,
            "video_fname, duration, question, pred_answer_list",
        ),
        Form("lavis predictions", ("id", "text"), _ours, row_id, "id, text: end, middle, throughout"),
    ]


def truth_forms() -> list[Form[Spans]]:
    """Annotations, and rows of results that hold the truth."""
    return [
        _Filled("HawkEye rounds", ("gt_span",), _spans("gt_span"), row_id, "gt_span"),
        Form("HawkEye annotations", ("question", "answer"), _spans("answer"), row_id, "video, question, answer: spans"),
        Form("annotations", ("relevant_windows",), _spans("relevant_windows"), row_id, "qid, vid, relevant_windows"),
    ]


@dataclass(frozen=True, slots=True)
class _Filled(Form[Spans]):
    """Rows whose first field holds something: HawkEye's driver leaves ``gt_span`` empty for its own annotations."""

    def fits(self, row: Row) -> bool:
        return bool(row.fields.get(self.fields[0]))


def row_id(row: Row) -> str:
    """The id of a row, or else its number."""
    if row.key is not None or any(name in row for name in _IDS):
        return row.identity(*_IDS)
    return str(row.number)


def _rounds(row: Row) -> Rounds:
    if row.get("duration") is None:
        raise RowError("field 'duration' is null: the evaluator failed on this query")
    duration = _seconds(row)
    if duration < 0:
        raise RowError(f"field 'duration' must be 0 or more, got {duration!r}")
    words = row.get("pred_answer_list")
    if not isinstance(words, list):
        raise RowError(f"field 'pred_answer_list' must be a list of answers, got {words!r:.60}")
    return _made(row, words, duration)


def _ours(row: Row) -> Rounds:
    return _made(row, _WORDS.findall(row.text("text").lower()[:1000]), float("nan"))


def _made(row: Row, words: list[Any], duration: float) -> Rounds:
    for word in words:
        if word not in ANSWERS:
            raise RowError(f"an answer must be one of {', '.join(ANSWERS)}, got {word!r:.60}")
    return Rounds(row_id(row), tuple(words), duration, row.number, _named(row), _asked(row))


def _spans(name: str) -> Callable[[Row], Spans]:
    def read(row: Row) -> Spans:
        spans = _span_list(row.get(name), name)
        given = row.fields.get("duration")
        duration = float("nan") if given is None else _seconds(row)
        video = next((str(row.fields[key]) for key in _VIDEOS if row.fields.get(key)), row_id(row))
        return Spans(row_id(row), video, spans, duration, row.number, _named(row), _asked(row))

    return read


def _seconds(row: Row) -> float:
    return float(require_times(np.array(row.number_of("duration")), "duration"))


def _span_list(value: Any, name: str) -> Array:
    """One span or several, ``[G, 2]``."""
    if isinstance(value, list) and value and not isinstance(value[0], list):
        value = [number_array(value, name, ndim=1).tolist()]
    spans = window_array(value, name)
    if not len(spans):
        raise RowError(f"field {name!r} holds no span; a query without one cannot be scored")
    return require_times(spans, name)


def _named(row: Row) -> bool:
    return row.key is not None or any(name in row for name in _IDS)


def _asked(row: Row) -> tuple[str, str] | None:
    """Name of the video without folder and ending, and the question."""
    video = next((row.fields[key] for key in _VIDEOS if isinstance(row.fields.get(key), str)), None)
    question = next((row.fields[key] for key in _QUESTIONS if isinstance(row.fields.get(key), str)), None)
    return None if video is None or question is None else (PurePosixPath(video).stem, question)
