"""Rows of the protocol ``magqa``: replies with times, and reference answers with spans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.scoring.base import Array, Form, Row, RowError, finite, window_array

UNTIMED = -1.0
"""Time of a reply that names none."""

_LARGEST_RATING = 1e6

_PERCENT = re.compile(r"From (\d+) to (\d+), (.*)")
_SECONDS = re.compile(r"(\d+\.\d+) - (\d+\.\d+)\s*seconds,\s*(.*)")


@dataclass(frozen=True, slots=True, eq=False)
class TimedReplies:
    """What a model said, and when.

    Args:
        id: of the question.
        texts: P replies in order.
        times: ``[P]`` seconds; ``UNTIMED`` where a reply names no time.
        ratings: recorded ratings, a row for each reference answer; ``None`` where a judge is still to be asked.
        duration: seconds of the video, where the row tells them.
    """

    id: str
    texts: tuple[str, ...]
    times: Array
    ratings: list[list[Any]] | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TimedAnswers:
    """What is true of a question, and when.

    Args:
        id: of the question.
        video: its name; the id where the row tells none.
        texts: G reference answers.
        spans: ``[G, 2]`` seconds.
        question: its text; empty in judged rows that do not repeat it.
    """

    id: str
    video: str
    texts: tuple[str, ...]
    spans: Array
    question: str


def answer_forms() -> list[Form[TimedReplies]]:
    """Forms of answers."""
    return [
        Form(
            "MMDuet judged replies",
            ("question_id", "evaluator_output", "model_response_list"),
            lambda row: _read_replies(row, row.get("evaluator_output")),
            lambda row: row.identity("question_id"),
            "question_id, model_response_list, evaluator_output, answer, answer_time",
        ),
        Form(
            "MMDuet replies",
            ("question_id", "model_response_list"),
            lambda row: _read_replies(row, None),
            lambda row: row.identity("question_id"),
            "question_id, model_response_list [{role, time, content}]",
        ),
        Form(
            "MMDuet text answers",
            ("question_id", "model_response"),
            _read_text,
            lambda row: row.identity("question_id"),
            "question_id, model_response: 'From a to b, text' (percent) or 'a.b - c.d seconds, text', video_duration",
        ),
        Form(
            "predictions of this project",
            ("id", "moments", "captions"),
            _read_moments,
            lambda row: row.identity("id"),
            "id, moments [[start, end]], captions",
        ),
    ]


def truth_forms() -> list[Form[TimedAnswers]]:
    """Forms of truth."""
    return [
        Form(
            "in MMDuet's judged replies",
            ("question_id", "answer", "answer_time"),
            _read_judged,
            lambda row: row.identity("question_id"),
            "question_id, answer [text], answer_time [[start, end]]",
        ),
        Form(
            "MMDuet question answering",
            ("question_id", "conversation", "answer"),
            _read_gold,
            lambda row: row.identity("question_id"),
            "question_id, conversation [{content}], answer [{content, time: [start, end]}]",
        ),
    ]


def judged_row(truth: TimedAnswers, answer: TimedReplies, ratings: Array) -> dict[str, Any]:
    """A row of the form ``MMDuet judged replies``, which holds its truth, too."""
    asked = [{"time": 0, "content": truth.question, "role": "user"}] if truth.question else []
    said = zip(answer.times.tolist(), answer.texts, strict=True)
    row: dict[str, Any] = {
        "question_id": truth.id,
        "video": truth.video,
        "model_response_list": asked + [{"time": time, "content": text, "role": "assistant"} for time, text in said],
        "evaluator_output": ratings.tolist(),
        "answer": list(truth.texts),
        "answer_time": truth.spans.tolist(),
    }
    return row if answer.duration is None else {**row, "video_duration": answer.duration}


def _read_replies(row: Row, ratings: Any) -> TimedReplies:
    listed = _list(row.get("model_response_list"), "model_response_list")
    turns = [_mapping(turn, "model_response_list") for turn in listed]
    said = [turn for turn in turns if turn.get("role") == "assistant"]
    texts = tuple(_text(turn.get("content"), "content") for turn in said)
    times = np.array([finite(turn.get("time"), "time") for turn in said], dtype=np.float64)
    matrix = _matrix(ratings)
    if matrix and len(matrix[0]) != len(texts) and not (texts and len(matrix[0]) == 1):
        raise RowError(f"field 'evaluator_output' rates {len(matrix[0])} replies, but the row has {len(texts)}")
    return TimedReplies(row.identity("question_id"), texts, times, matrix, _duration(row))


def require_rating(rating: float) -> None:
    """Raises ``RowError`` for a number that no judge gives, of which means would overflow."""
    if abs(rating) > _LARGEST_RATING:
        raise RowError(f"field 'evaluator_output' must hold ratings, got {rating:g}")


def _matrix(ratings: Any) -> list[list[Any]] | None:
    """Ratings as recorded: numbers, or what a judge said."""
    if ratings is None:
        return None
    rows = _list(ratings, "evaluator_output")
    for line in rows:
        for cell in _list(line, "evaluator_output"):
            if not isinstance(cell, str):
                require_rating(finite(cell, "evaluator_output"))
    if len({len(line) for line in rows}) > 1:
        raise RowError("field 'evaluator_output' must have rows of equal length")
    return rows


def _read_text(row: Row) -> TimedReplies:
    response = row.get("model_response")
    text = response[0] if isinstance(response, list) and response else response
    if not isinstance(text, str):
        raise RowError(f"field 'model_response' must be a text, or a list with one, got {response!r:.60}")
    duration = _duration(row)
    found = [(_middle(match, duration), match[2]) for match in _PERCENT.findall(text)]
    found += [((float(start) + float(end)) / 2, said) for start, end, said in _SECONDS.findall(text)]
    times, texts = zip(*(found or [(UNTIMED, text)]), strict=True)
    return TimedReplies(row.identity("question_id"), texts, np.array(times, dtype=np.float64), None, duration)


def _middle(match: tuple[str, str, str], duration: float | None) -> float:
    if duration is None:
        raise RowError("field 'video_duration' is missing: the text gives percent of it")
    return (int(match[0]) / 100 * duration + int(match[1]) / 100 * duration) / 2


def _read_moments(row: Row) -> TimedReplies:
    windows = window_array(row.get("moments"), "moments", (2, 3))[:, :2]
    texts = tuple(_text(text, "captions") for text in _list(row.get("captions"), "captions"))
    if len(texts) != len(windows):
        raise RowError(f"{len(texts)} captions for {len(windows)} moments")
    return TimedReplies(row.identity("id"), texts, windows.mean(axis=1), None, _duration(row))


def _read_judged(row: Row) -> TimedAnswers:
    texts = tuple(_text(text, "answer") for text in _list(row.get("answer"), "answer"))
    turns = row.fields.get("model_response_list")
    asked = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    question = next((turn["content"] for turn in asked if turn.get("role") == "user" and "content" in turn), "")
    return _truth(row, texts, row.get("answer_time"), "answer_time", _text(question, "content"))


def _read_gold(row: Row) -> TimedAnswers:
    answers = [_mapping(answer, "answer") for answer in _list(row.get("answer"), "answer")]
    turns = _list(row.get("conversation"), "conversation")
    if not turns:
        raise RowError("field 'conversation' must begin with the question, got an empty list")
    question = _text(_mapping(turns[0], "conversation").get("content"), "content")
    texts = tuple(_text(answer.get("content"), "content") for answer in answers)
    return _truth(row, texts, [answer.get("time") for answer in answers], "time", question)


def _truth(row: Row, texts: tuple[str, ...], spans: Any, name: str, question: str) -> TimedAnswers:
    identity = row.identity("question_id")
    windows = window_array(spans, name)
    if len(windows) != len(texts):
        raise RowError(f"{len(windows)} spans ({name!r}) for {len(texts)} answers")
    return TimedAnswers(identity, str(row.fields.get("video", identity)), texts, windows, question)


def _duration(row: Row) -> float | None:
    return row.number_of("video_duration") if row.fields.get("video_duration") is not None else None


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise RowError(f"field {name!r} must be a list, got {value!r:.60}")
    return value


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RowError(f"field {name!r} must hold mappings, got {value!r:.60}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"field {name!r} must be text, got {value!r:.60}")
    return value
