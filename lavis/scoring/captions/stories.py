"""Stories: the events of a video with a sentence each, and the forms in which files hold them.

A text that names no event is read as a story without events that says so (``readable``); it counts as an answer that
is empty, as in the originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lavis.scoring.base import Array, Form, Row, RowError, ScoringError, finite, window_array
from lavis.scoring.captions.responses import segments
from lavis.scoring.captions.texts import TextReader, listed_events

Unit = Literal["seconds", "percent", "hundredths"]
_IDS = ("id", "question_id", "video_id", "vid", "video", "image_id", "qid")
_SENTENCES = ("sentence", "caption", "text")
_NO_WINDOWS = np.zeros((0, 2))


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """Timed sentences of one video.

    Args:
        id: of the query.
        video: of the video; the id where a file has no other.
        windows: ``[N, 2]``, in the order given, not put right.
        captions: ``N`` sentences.
        duration: seconds of the video, where the row says so.
        unit: of the windows: ``percent`` of the duration, or ``hundredths`` of it, numbered from 0, where a window
            ends with the *end* of its last hundredth.
        readable: false for a text in which no event, or not every one, could be read.
    """

    id: str
    video: str
    windows: Array
    captions: tuple[str, ...]
    duration: float | None = None
    unit: Unit = "seconds"
    readable: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What happens in one video, as told by one annotator or several.

    Args:
        id: of the query.
        video: of the video.
        references: a story, or ``None``, from each file of truth.
    """

    id: str
    video: str
    references: tuple[Story | None, ...]

    @property
    def stories(self) -> list[Story]:
        """Those that there are."""
        return [story for story in self.references if story is not None]

    @property
    def duration(self) -> float | None:
        """Seconds, if any file says so."""
        return next((story.duration for story in self.stories if story.duration is not None), None)


def answer_forms(read_text: TextReader, first: Literal["discard", "keep"]) -> list[Form[Story]]:
    """Forms of predictions.

    Args:
        read_text: reads a text in which windows are written out.
        first: what becomes of the first caption of a list of responses.
    """

    def own(row: Row) -> Story:
        if "captions" in row or "text" not in row:
            return _events(row, [_pair(window) for window in _list(row, "moments")], _list(row, "captions"))
        return _told(row, row.text("text"), read_text)

    def responses(row: Row) -> Story:
        windows, captions = segments(_list(row, "model_response_list"), first)
        return _events(row, windows, captions)

    def response(row: Row) -> Story:
        text = row.get("model_response")
        text = text[0] if isinstance(text, list) and text else text
        return _told(row, text if isinstance(text, str) else "", read_text)

    def log(row: Row) -> Story | list[Story]:
        if row.fields.get("task", "captioning") != "captioning":
            return []
        found = listed_events(row.text("answer"))
        if found is None:
            return _told(row, row.text("answer"), read_text)
        return _events(row, found.windows, found.captions, "hundredths", found.complete)

    def told(row: Row) -> Story:
        return _told(row, row.text("text"), read_text)

    return [
        Form("prediction lines of this project", ("id", "moments"), own, _id, "id, moments [[s, e]], captions [text]"),
        Form(
            "MMDuet responses",
            ("model_response_list",),
            responses,
            _id,
            "question_id, model_response_list [{role, content, time}]",
        ),
        Form("MMDuet text answers", ("model_response",), response, _id, "question_id, model_response, video_duration"),
        Form("VTimeLLM log", ("video_id", "answer"), log, _id, "video_id, answer (JSON in text, or text), task"),
        *_dense_forms(),
        Form("text answers", ("id", "text"), told, _id, "id, text: From 3 to 10, a man cooks."),
    ]


def truth_forms() -> list[Form[Truth]]:
    """Forms of annotations; none is ever found in rows of predictions, which may look the same."""

    def conversation(row: Row) -> Story:
        turns = _list(row, "answer")
        return _events(row, [_field(turn, "time") for turn in turns], [_field(turn, "content") for turn in turns])

    def own(row: Row) -> Story:
        return _events(row, [_pair(window) for window in _list(row, "moments")], _list(row, "captions"))

    def paragraphs(row: Row) -> Story:
        return _events(row, _list(row, "segments"), row.text("pure_cap").split(". "))

    spoken = Form("MMDuet annotations", ("question_id", "answer"), conversation, _id, "answer [{content, time [s, e]}]")
    written = Form("Vid2Seq annotations", ("segments", "pure_cap"), paragraphs, _id, "image_id, segments, pure_cap")
    ours = Form("stories of this project", ("id", "moments", "captions"), own, _id, "id, moments, captions, duration")
    return [_as_truth(form) for form in (spoken, written, ours, *_dense_forms())]


def _as_truth(form: Form[Story]) -> Form[Truth]:
    def read(row: Row) -> list[Truth]:
        stories = form.records(row)
        if any(not story.captions for story in stories):
            raise RowError("holds no event, so nothing can be scored against it")
        return [Truth(story.id, story.video, (story,)) for story in stories]

    return Form(form.name, form.fields, read, form.identify, form.summary, apart=True)


def in_seconds(story: Story, duration: float | None, percent_first: bool) -> Story:
    """The story with windows in seconds.

    Args:
        story: any.
        duration: of the video, used if the story does not know it.
        percent_first: divide by 100 before multiplying, which may differ in the last digit.

    Raises:
        ScoringError: if its windows are shares of a duration that nobody knows.
    """
    if story.unit == "seconds":
        return story
    length = story.duration if story.duration is not None else duration
    if length is None:
        raise ScoringError(
            f"the answer to {story.id!r} has times in percent, but neither it nor the truth says how long the video "
            "is; give annotations with durations"
        )
    shares = story.windows + np.array([0.0, 1.0 if story.unit == "hundredths" else 0.0])
    windows = shares / 100 * length if percent_first else shares * length / 100
    return Story(story.id, story.video, windows, story.captions, length, "seconds", story.readable)


def _dense_forms() -> list[Form[Story]]:
    def listed(row: Row) -> Story:
        return _events(row, _list(row, "timestamps"), _list(row, "sentences"))

    def rows(row: Row) -> Story:
        events = _list(row, "value")
        names = [next((name for name in _SENTENCES if _has(event, name)), _SENTENCES[0]) for event in events]
        captions = [_field(event, name) for event, name in zip(events, names, strict=True)]
        return _events(row, [_field(event, "timestamp") for event in events], captions)

    return [
        Form("ActivityNet Captions", ("timestamps", "sentences"), listed, _id, "duration, timestamps, sentences"),
        Form("dense captions", ("value",), rows, _id, "{video: [{timestamp [s, e], sentence or caption}]}"),
    ]


def _events(
    row: Row, windows: Sequence[Any], captions: Sequence[Any], unit: Unit = "seconds", complete: bool = True
) -> Story:
    if len(windows) != len(captions):
        raise RowError(f"has {len(windows)} windows but {len(captions)} captions; it needs one for each")
    wrong = [caption for caption in captions if not isinstance(caption, str)]
    if wrong:
        raise RowError(f"a caption must be text, got {wrong[0]!r:.60}")
    array = window_array(list(windows), "timestamps") if len(windows) else _NO_WINDOWS
    return Story(_id(row), _video(row), array, tuple(captions), _duration(row), unit, complete)


def _told(row: Row, text: str, read_text: TextReader) -> Story:
    found = read_text(text)
    unit: Unit = "percent" if found.percent else "seconds"
    return _events(row, found.windows, found.captions, unit, bool(found.windows))


def _id(row: Row) -> str:
    return row.identity(*_IDS)


def _video(row: Row) -> str:
    name = next((row.fields[field] for field in ("video", "vid", "video_id") if _has(row.fields, field)), None)
    return name if isinstance(name, str) else _id(row)


def _duration(row: Row) -> float | None:
    name = next((name for name in ("duration", "video_duration") if row.fields.get(name) is not None), None)
    return None if name is None else finite(row.fields[name], name)


def _list(row: Row, name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise RowError(f"field {name!r} must be a list, got {value!r:.60}")
    return value


def _field(event: Any, name: str) -> Any:
    if not _has(event, name):
        raise RowError(f"an event needs {name!r}, got {event!r:.80}")
    return event[name]


def _has(event: Any, name: str) -> bool:
    return hasattr(event, "keys") and name in event


def _pair(window: Any) -> Any:
    """Start and end; a score after them is left out."""
    return window[:2] if isinstance(window, list) else window
