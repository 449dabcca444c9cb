"""How grounded answers stand in files: spans and answers of NExT-GQA, in its own files, MR.BLIP's and ours.

The benchmark keeps three things apart: true spans (``gsub_test.json``), questions with options (``test.csv``), and
predictions in two files, spans (``{video_qid: [start, end]}``) and answers (``{video_qid: {prediction, answer}}``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lavis.scoring.base import Form, Row, RowError, number_array, window_array
from lavis.scoring.questions.rows import Choice, Question, choice, options_of, question_id, video_of
from lavis.scoring.questions.rows import truth_forms as question_forms
from lavis.scoring.windows.ragged import Array
from lavis.scoring.windows.text import listed_windows, require_times

_SPANS = ("moments", "relevant_moments", "pred_relevant_windows", "pred_windows", "moment", "span", "pred_span")
_CHOICES = ("pred", "prediction", "response", "text", "answer")
_TRUE_SPANS = ("relevant_moments_gt", "relevant_windows", "gt_moments", "gt_spans")
_QUESTION_FORMS = ("MR.BLIP results", "NExT-GQA table", "NExT-QA", "questions", "MVBench")


@dataclass(frozen=True, slots=True, eq=False)
class GroundedAnswer:
    """One answer with the span that shows it.

    Args:
        id: ``video_qid``.
        span: ``[2]`` start and end in seconds, as given; ``None`` if there is none.
        choice: the answer; ``None`` if the file holds spans only.
    """

    id: str
    span: Array | None
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GroundedQuestion:
    """The truth of one question.

    Args:
        id: ``video_qid``.
        video: its video.
        spans: ``[G, 2]`` seconds.
        duration: of the video in seconds, "not a number" if the file does not tell.
        question: options and the right one; ``None`` if the file holds spans only.
    """

    id: str
    video: str
    spans: Array
    duration: float
    question: Question | None = None


def answer_forms() -> list[Form[GroundedAnswer]]:
    """Predictions."""
    return [
        _Spanned("rows with spans", (), _row, question_id, "an id; moments (the first counts); pred, text, prediction"),
        Form("NExT-GQA spans", ("value",), _keyed, question_id, "{video_qid: [start, end]}"),
        _Nested("NExT-GQA spans by video", (), _nested, question_id, "{video: {qid: [start, end]}}"),
    ]


def truth_forms() -> list[Form[GroundedQuestion]]:
    """Annotations, and rows of results that hold the truth."""
    return [
        Form("NExT-GQA", ("location",), _located, question_id, "gsub json: {video: {duration, location, fps}}"),
        _TrueSpans("rows with true spans", (), _truth, question_id, "an id; relevant_windows, options, answer"),
    ]


@dataclass(frozen=True, slots=True)
class _Spanned(Form[GroundedAnswer]):
    def fits(self, row: Row) -> bool:
        return any(name in row for name in _SPANS) and (row.key is not None or bool({"id", "qid"} & set(row.fields)))


@dataclass(frozen=True, slots=True)
class _Nested(Form[GroundedAnswer]):
    def fits(self, row: Row) -> bool:
        return row.key is not None and bool(row.fields) and all(isinstance(v, list) for v in row.fields.values())


@dataclass(frozen=True, slots=True)
class _TrueSpans(Form[GroundedQuestion]):
    def fits(self, row: Row) -> bool:
        return any(name in row for name in _TRUE_SPANS)


def _row(row: Row) -> GroundedAnswer:
    identity = question_id(row)
    name = _first(row, _SPANS)
    scores = row.fields.get("scores")
    chosen = scores.get("option") if isinstance(scores, Mapping) else None
    said = next((row.get(name) for name in _CHOICES if name in row), None) if chosen is None else chosen
    answer = None if said is None and not any(name in row for name in _CHOICES) else choice(identity, said, row)
    return GroundedAnswer(identity, None if row.fields.get("malformed") else _span(row.get(name), name), answer)


def _keyed(row: Row) -> GroundedAnswer:
    return GroundedAnswer(question_id(row), _span(row.get("value"), "value"))


def _nested(row: Row) -> list[GroundedAnswer]:
    return [GroundedAnswer(f"{row.key}_{qid}", _span(value, str(qid))) for qid, value in row.fields.items()]


def _located(row: Row) -> list[GroundedQuestion]:
    location = row.get("location")
    if not isinstance(location, Mapping):
        raise RowError(f"field 'location' must map question ids to spans, got {location!r:.60}")
    video = row.key if row.key is not None else video_of(row)
    duration = row.number_of("duration") if row.fields.get("duration") is not None else float("nan")
    return [
        GroundedQuestion(f"{video}_{qid}", video, _times(spans, f"location.{qid}"), duration)
        for qid, spans in location.items()
    ]


def _truth(row: Row) -> GroundedQuestion:
    name = _first(row, _TRUE_SPANS)
    duration = row.number_of("duration") if row.fields.get("duration") is not None else float("nan")
    spans = _times(row.get(name), name, (2, 3))
    return GroundedQuestion(question_id(row), video_of(row), spans, duration, question_of(row))


def question_of(row: Row) -> Question | None:
    """The options and the right one of a row, ``None`` if it does not tell."""
    for form in question_forms():
        if form.name in _QUESTION_FORMS and form.fits(row):
            return form.records(row)[0]
    if "answer" in row or options_of(row):
        raise RowError(f"the answer cannot be told from the fields {', '.join(sorted(map(str, row.fields)))}")
    return None


def _first(row: Row, names: Sequence[str]) -> str:
    """The first of these fields that the row has.

    Raises:
        RowError: if it has none.
    """
    name = next((name for name in names if name in row), None)
    if name is None:
        raise RowError(f"needs one of the fields {', '.join(names)}; it has {', '.join(sorted(map(str, row.fields)))}")
    return name


def _span(value: object, name: str) -> Array | None:
    """The first span of a list, or the span itself; a text is read as such a list."""
    if value is None:
        return None
    if isinstance(value, str):
        found = listed_windows(value)
        return found[0] if found is not None and len(found) else None
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple)):
        span = number_array(value, name, ndim=1)
        # The evaluator takes the first number and the last; a mean of several frames' times has more than two.
        if len(span) < 2:
            raise RowError(f"field {name!r}: a span has a start and an end, got {value!r:.60}")
        return require_times(np.array([span[0], span[-1]]), name)
    spans = _times(value, name, (2, 3))
    return spans[0] if len(spans) else None


def _times(value: object, name: str, columns: Sequence[int] = (2,)) -> Array:
    """Spans ``[N, 2]`` in seconds, or in parts of the video."""
    return require_times(window_array(value, name, columns)[:, :2], name)
