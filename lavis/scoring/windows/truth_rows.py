"""How moments stand in the files of Charades-STA, ActivityNet Captions, TACoS, DiDeMo and Ego4D NLQ.

Where a file has no ids of its own, a query's id is made of what it has:

- Charades-STA's text lines: the number of the line from 0, ``0``, ``1`` ...;
- ActivityNet Captions and TACoS: video and number of the sentence from 0, ``v_uqiMw7tQ1Cc_0``, ``s13-d21.avi_2``;
- DiDeMo: ``annotation_id``;
- Ego4D NLQ: ``annotation_uid`` and number of the query from 0, joined by ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lavis.scoring.base import Form, Row, RowError, finite
from lavis.scoring.windows.forms import (
    WindowAnswer,
    WindowTruth,
    answer_forms,
    query_id,
    true_windows,
    truth_forms,
    window_times,
)
from lavis.scoring.windows.ragged import Array

SEGMENT_SECONDS = 5
"""Length of one of DiDeMo's segments."""

TO_NEXT = np.array([0, 1])
"""What makes a window of a pair of segments, of which both are included."""

_IDS = ("qid", "id", "query_id", "question_id", "annotation_id")
_TEXTS = ("answer", "response", "pred", "output", "prediction")
_SENTENCES = ("query", "sentence", "caption", "description")
_LINE = re.compile(r"\s*(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)", re.DOTALL)
_NO_LETTER = re.compile(r"[\W_]+")

Reader = Callable[[str], "tuple[Array, bool] | None"]
"""Reads a text: windows ``[N, 2]`` and whether they are fractions of the video, or ``None``."""


@dataclass(slots=True, eq=False)
class MomentAnswer(WindowAnswer):
    """Predicted windows of one query; ``relative`` ones are fractions of the video.

    ``sentence`` is the query that the row says it answers, letters only, ``""`` if it does not say.
    """

    relative: bool = False
    sentence: str = ""


@dataclass(slots=True, eq=False)
class MomentTruth(WindowTruth):
    """True windows of one query; ``segments`` ``[A, 2]`` are DiDeMo's, one pair for each annotator, both included."""

    segments: Array | None = None
    sentence: str = ""


def letters(row: Row, *names: str) -> str:
    """The sentence of a row without what editions of a data set differ in: case, punctuation, spaces."""
    value = next((row.fields[name] for name in names or _SENTENCES if name in row.fields), "")
    return plain_sentence(value) if isinstance(value, str) else ""


def plain_sentence(text: str) -> str:
    """Letters and digits of a sentence, in lower case."""
    return _NO_LETTER.sub("", text).lower()


def moment_answer_forms(reader: Reader) -> list[Form[MomentAnswer]]:
    """Predictions: rows with windows, with texts, ``{id: windows or text}``, and Ego4D's.

    Args:
        reader: reads texts.
    """

    def told(row: Row, name: str, identity: str) -> MomentAnswer:
        value = row.get(name)
        if isinstance(value, str):
            found = reader(value)
            windows, relative = (np.zeros((0, 2)), False) if found is None else found
            return MomentAnswer(identity, windows, readable=found is not None, relative=relative, sentence=letters(row))
        if isinstance(value, list) and len(value) == 2 and not any(isinstance(part, (list, str)) for part in value):
            row = Row({**row.fields, name: [value]}, row.number, row.place, row.key)
        return MomentAnswer(identity, window_times(row, name, (2, 3))[:, :2], sentence=letters(row))

    def text_form(name: str) -> Form[MomentAnswer]:
        return Form(
            f"texts under {name!r}",
            (name,),
            lambda row: told(row, name, query_id(row, *_IDS)),
            lambda row: query_id(row, *_IDS),
            f"an id ({', '.join(_IDS)}) and {name}: text or windows",
        )

    mapped = Form(
        "windows or texts by id",
        ("value",),
        lambda row: told(row, "value", query_id(row)),
        lambda row: query_id(row),
        "{id: [[start, end]]} or {id: text}",
    )
    ego4d = Form(
        "Ego4D NLQ predictions",
        ("annotation_uid", "query_idx", "predicted_times"),
        lambda row: MomentAnswer(_ego4d_id(row), window_times(row, "predicted_times", (2, 3))[:, :2]),
        lambda row: _ego4d_id(row),
        "clip_uid, annotation_uid, query_idx, predicted_times",
    )
    windows = [_widened(form) for form in answer_forms(columns=2)]
    return [ego4d, *windows, *map(text_form, _TEXTS), mapped]


def _widened(form: Form[WindowAnswer]) -> Form[MomentAnswer]:
    def read(row: Row) -> MomentAnswer:
        found = form.records(row)[0]
        return MomentAnswer(found.id, found.windows, found.readable, sentence=letters(row))

    return Form(form.name, form.fields, read, form.identify, form.summary)


def moment_truth_forms() -> list[Form[MomentTruth]]:
    """Annotations of all these data sets."""
    return [
        Form(
            "Ego4D NLQ",
            ("clips", "video_uid"),
            _ego4d,
            lambda row: row.identity("video_uid"),
            "videos > clips > annotations > language_queries",
        ),
        Form(
            "TACoS",
            ("timestamps", "sentences", "fps", "num_frames"),
            _tacos,
            lambda row: row.identity("video"),
            "{video: {timestamps in frames, sentences, fps, num_frames}}",
        ),
        Form(
            "ActivityNet Captions",
            ("timestamps", "sentences"),
            _activitynet,
            lambda row: row.identity("video"),
            "{video: {duration, timestamps, sentences}}",
        ),
        Form(
            "DiDeMo",
            ("annotation_id", "times"),
            _didemo,
            lambda row: row.identity("annotation_id"),
            "annotation_id, video, times [[first segment, last segment]], description",
        ),
        Form(
            "Charades-STA lines",
            ("line",),
            _charades,
            lambda row: str(row.number),
            "video start end##sentence",
            apart=True,
        ),
        *map(_widened_truth, truth_forms()),
    ]


def _widened_truth(form: Form[WindowTruth]) -> Form[MomentTruth]:
    def read(row: Row) -> MomentTruth:
        found = form.records(row)[0]
        return MomentTruth(found.id, found.video, found.windows, found.duration, sentence=letters(row))

    return Form(form.name, form.fields, read, form.identify, form.summary)


def _charades(row: Row) -> MomentTruth:
    found = _LINE.fullmatch(row.text("line"))
    if not found:
        raise RowError(f"expected 'video start end##sentence', got {row.text('line')!r:.60}")
    video, start, end, sentence = found.groups()
    window = np.array([[_told(start), _told(end)]])
    return MomentTruth(str(row.number), video, window, sentence=plain_sentence(sentence))


def _told(number: str) -> float:
    try:
        return finite(float(number), "line")
    except ValueError as error:
        raise RowError(f"expected 'video start end##sentence', but {number!r} is no time") from error


def _activitynet(row: Row) -> list[MomentTruth]:
    video, duration = row.identity("video", "vid"), row.number_of("duration")
    return _listed(video, window_times(row, "timestamps"), row.get("sentences"), duration)


def _tacos(row: Row) -> list[MomentTruth]:
    fps = row.number_of("fps")
    if fps <= 0:
        raise RowError(f"field 'fps' must be above 0, got {fps:g}")
    return _listed(
        row.identity("video"),
        window_times(row, "timestamps") / fps,
        row.get("sentences"),
        row.number_of("num_frames") / fps,
    )


def _listed(video: str, windows: Array, sentences: Any, duration: float) -> list[MomentTruth]:
    if not isinstance(sentences, list) or len(sentences) != len(windows):
        raise RowError(f"{video}: needs as many sentences as timestamps ({len(windows)})")
    return [
        MomentTruth(f"{video}_{number}", video, windows[number : number + 1], duration, sentence=plain_sentence(str(s)))
        for number, s in enumerate(sentences)
    ]


def _didemo(row: Row) -> MomentTruth:
    segments = true_windows(window_times(row, "times"))
    identity = row.identity("annotation_id")
    video = row.identity("video") if "video" in row else identity
    return MomentTruth(identity, video, segments_to_seconds(segments), segments=segments, sentence=letters(row))


def segments_to_seconds(segments: Array) -> Array:
    """Seconds of pairs of segments, both included: (0, 0) are the first five."""
    seconds: Array = SEGMENT_SECONDS * (segments + TO_NEXT)
    return seconds


def _ego4d_id(row: Row) -> str:
    return f"{row.identity('annotation_uid')}_{row.identity('query_idx')}"


def _ego4d(row: Row) -> list[MomentTruth]:
    video = row.identity("video_uid")
    found = []
    for clip in _parts(row.get("clips"), "clips"):
        length = float("nan")
        if "video_start_sec" in clip and "video_end_sec" in clip:
            length = finite(clip["video_end_sec"], "video_end_sec") - finite(clip["video_start_sec"], "video_start_sec")
        for annotation in _parts(clip.get("annotations"), "annotations"):
            name = annotation.get("annotation_uid")
            for number, query in enumerate(_parts(annotation.get("language_queries"), "language_queries")):
                times = [finite(query.get(f"clip_{end}_sec"), f"clip_{end}_sec") for end in ("start", "end")]
                sentence = plain_sentence(str(query.get("query") or ""))
                found.append(MomentTruth(f"{name}_{number}", video, np.array([times]), length, sentence=sentence))
    return found


def _parts(value: Any, name: str) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise RowError(f"field {name!r} must be a list of mappings, got {value!r:.60}")
    return value
