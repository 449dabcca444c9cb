"""MMDuet's annotations: what is said while a video plays, answers in time, grounding, and its test questions.

Source: *VideoLLM Knows When to Speak* (yellow-binary-tree/MMDuet), data set MMDuetIT: dense captioning of Shot2Story
and COIN, Shot2Story-MAGQA, and grounding of DiDeMo, HiREST and QueryD; its test files of YouCook2, Shot2Story-MAGQA,
Charades-STA and QVHighlights. The rows hold no durations; these come from the file of metadata, as in the original.
That passes over rows it cannot use; here they are errors, or are counted. Conversations are kept as annotated: rounding
to frames, which drops and moves some turns there, is the business of whoever makes the stream.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from lavis.common.registry import registry
from lavis.datasets.formats._captions import CAPTIONS
from lavis.datasets.formats._conversation import OnBadConversation, part_of
from lavis.datasets.formats._durations import Durations, OnMissingDuration, durations_of
from lavis.datasets.formats._record import LONGEST_SECONDS, Record, read_records, read_videos
from lavis.datasets.formats.base import (
    CLIP_SECONDS,
    AnnotationFormat,
    BeyondEnd,
    OnBadWindow,
    OnUnknownField,
    check_choice,
    saliency_of,
    window_problem,
)
from lavis.structures import Moment, Turn, VideoSample

Form = Literal["captions", "magqa", "grounding", "questions"]

FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "captions": (("video", "annotation", "narrations"), ()),
    "magqa": (("video_uid", "conversation"), ("video_start_time",)),
    "grounding": (("video_uid", "query", "timestamps"), ()),
    "questions": (("question_id", "video", "conversation"), ("answer", "timestamps")),
}
"""Required and optional fields of each form's rows."""
CURE = "Correct the row, or set the format's on_bad_conversation to 'skip'"


@registry.formats.register("mmduet")
class MMDuet(AnnotationFormat):
    """Rows of one of four forms; times in seconds.

    - ``captions``: ``{video: {annotation: [{time, text, timespan[, learn]}]}}``, ids ``<video>/<annotation>``. What is
      said becomes ``turns`` of the assistant with their time; ``moments`` are the time spans and ``extra["captions"]``
      the texts, each one for each turn. The query is empty.
    - ``magqa``: ``video_uid, conversation[, video_start_time]``, ids ``MMDuet_<k>``: turns of user and assistant;
      ``moments`` and ``extra["captions"]`` are those of the assistant's turns, ``query`` is the first question.
    - ``grounding``: ``video_uid, query, timestamps``, ids ``MMDuet_<k>``: ``moments``, possibly none.
    - ``questions``: ``question_id, video, conversation[, answer | timestamps]``, ids ``<question_id>``: the user's
      ``turns``; ``moments`` from ``timestamps``, or with ``extra["captions"]`` from ``answer``, whose clip ratings
      (QVHighlights) become ``saliency``.

    ``kind`` is the form, but for ``questions``, which may be of any task.

    Args:
        form: which of them.
        durations: lengths of the videos: ``videos_metadata.json`` as ``process_data/videos_metadata.py`` makes it;
            ``{split}`` is filled in.
        on_missing_duration: ``raise``, or ``skip`` rows whose video is not in that file (``without_duration``).
        on_bad_conversation: ``raise``, or ``skip`` a conversation without turns, or that does not begin with a question
            between 0 and the end of the video (``bad_conversations``).
        on_bad_window: as everywhere; ``skip`` leaves out the turn with its time span.
        beyond_end: time spans past the end, even all of it, are kept by default: the length is a measured one.
        on_unknown_field: see ``AnnotationFormat``.
    """

    def __init__(
        self,
        *,
        form: Form,
        durations: str,
        on_missing_duration: OnMissingDuration = "raise",
        on_bad_conversation: OnBadConversation = "raise",
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "keep",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field)
        check_choice("format.form", form, get_args(Form))
        check_choice("format.on_missing_duration", on_missing_duration, get_args(OnMissingDuration))
        check_choice("format.on_bad_conversation", on_bad_conversation, get_args(OnBadConversation))
        self.form = form
        self.durations = durations
        self.on_missing_duration = on_missing_duration
        self.on_bad_conversation = on_bad_conversation
        self._durations: Durations | None = None

    def records(self, path: Path, split: str) -> Iterator[Record]:
        self._durations = durations_of(self.durations, split)
        if self.form == "captions":
            yield from narrated(path)
            return
        for number, record in enumerate(read_records(path)):
            yield record.identified(partial(self._identity, number=number))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record, *FIELDS[self.form])
        video = record.text("video" if "video" in record.fields else "video_uid")
        assert self._durations is not None  # records() came first
        if self.on_missing_duration == "skip" and video not in self._durations:
            counts["without_duration"] += 1
            return None
        duration = self._durations.of(record, video)
        fields: dict[str, Any] | None
        if self.form == "captions":
            fields = self._captions(record, duration, counts)
        elif self.form == "magqa":
            fields = self._magqa(record, duration, counts)
        elif self.form == "grounding":
            moments = self._grounded(record, duration, counts)
            fields = None if moments is None else {"query": record.text("query"), "moments": moments}
        else:
            fields = self._question(record, duration, counts)
        if fields is None:
            return None
        extra |= fields.pop("extra", {})
        kind = self.form if self.form != "questions" else None
        return VideoSample(id=str(record.id), video=video, duration=duration, kind=kind, extra=extra, **fields)

    def _identity(self, record: Record, number: int) -> str:
        if self.form != "questions":
            return f"MMDuet_{number}"
        value = record.get("question_id")
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else record.text("question_id")

    def _captions(self, record: Record, duration: float, counts: Counter[str]) -> dict[str, Any] | None:
        narrations = record.get("narrations")
        if not narrations:
            self._refuse(record, None, "holds nothing that is said", counts)
            return None
        turns, moments, captions = self._said(record, narrations, "narration", "text", duration, counts)
        return {"query": "", "turns": turns, "moments": moments, "extra": {CAPTIONS: captions}} if turns else None

    def _magqa(self, record: Record, duration: float, counts: Counter[str]) -> dict[str, Any] | None:
        conversation = record.get("conversation")
        problem = _opening_problem(conversation, duration)
        if problem is not None:
            self._refuse(record, "conversation", problem, counts)
            return None
        turns, moments, captions = self._said(record, conversation, "turn", "content", duration, counts)
        extra: dict[str, Any] = {CAPTIONS: captions}
        if "video_start_time" in record.fields:
            extra["video_start_time"] = record.number("video_start_time")
        return {"query": turns[0].text, "turns": turns, "moments": moments, "extra": extra}

    def _question(self, record: Record, duration: float, counts: Counter[str]) -> dict[str, Any] | None:
        asked = self._parts(record, record.get("conversation"), "turn", ("role", "content", "time"), ())
        turns = [Turn("user", part.text("content"), _time(part)) for part in asked if _role(part, ("user",))]
        if not turns:
            self._refuse(record, "conversation", "holds no question", counts)
            return None
        fields: dict[str, Any] = {"query": turns[0].text, "turns": turns}
        if "timestamps" in record.fields:
            moments = self._grounded(record, duration, counts)
            return None if moments is None else {**fields, "moments": moments}
        answer = record.fields.get("answer")
        if isinstance(answer, dict):
            ratings = part_of(record, answer, "answer")
            self.check_row(ratings, ("saliency_scores", "relevant_clip_ids"), ())
            # A measured length is a little off; the clips were cut from whole ones.
            clips = CLIP_SECONDS * round(duration / CLIP_SECONDS)
            return {**fields, "saliency": saliency_of(ratings, clips)}
        if "answer" not in record.fields:
            return fields
        moments, captions = [], []
        for part in self._parts(record, answer, "answer", ("content", "time"), ("role",)):
            text = part.text("content")
            found = self._span(part, "time", duration, counts)
            moments += found
            captions += [text] * len(found)
        if answer and not moments:
            return None
        return {**fields, "moments": moments, "extra": {CAPTIONS: captions}}

    def _grounded(self, record: Record, duration: float, counts: Counter[str]) -> list[Moment] | None:
        """Windows of a row; ``None`` where all of several are left out."""
        windows = record.get("timestamps")
        if windows == []:
            return []  # nothing in this video is meant
        if not isinstance(windows, list):
            raise record.error("timestamps", f"must be a list of [start, end], got {windows!r:.80}", "Correct the row")
        parts = [Record({"timestamps": window}, record.path, record.row, record.id) for window in windows]
        moments = [moment for part in parts for moment in self._span(part, "timestamps", duration, counts)]
        return moments or None

    def _said(
        self, record: Record, value: Any, what: str, text: str, duration: float, counts: Counter[str]
    ) -> tuple[list[Turn], list[Moment], list[str]]:
        """Turns in order, and the time spans and texts of the assistant's."""
        turns: list[Turn] = []
        moments: list[Moment] = []
        captions: list[str] = []
        user = ("role", "time", text)
        assistant = ("time", text, "timespan") if self.form == "captions" else (*user, "timespan")
        for number, each in enumerate(_list_of(record, value, what), start=1):
            part = part_of(record, each, f"{what} {number}")
            asks = self.form != "captions" and _role(part, ("user", "assistant")) == "user"
            self.check_row(part, user if asks else assistant, () if asks else ("learn",))
            if asks:
                turns.append(Turn("user", part.text(text), _time(part)))
                continue
            turn = Turn("assistant", part.text(text), _time(part), _learned(part))
            found = self._span(part, "timespan", duration, counts)
            if found:
                turns.append(turn)
                moments += found
                captions.append(turn.text)
        return turns, moments, captions

    def _parts(
        self, record: Record, value: Any, what: str, required: Sequence[str], optional: Sequence[str]
    ) -> Iterator[Record]:
        for number, each in enumerate(_list_of(record, value, what), start=1):
            part = part_of(record, each, f"{what} {number}")
            self.check_row(part, required, optional)
            yield part

    def _span(self, part: Record, field: str, duration: float, counts: Counter[str]) -> list[Moment]:
        """The time span of a turn, none if it is left out."""
        span = part.get(field)
        if self.beyond_end == "keep" and window_problem(span, math.inf) is None:
            return [Moment(*span)]
        return self.windows(part, field, [span], duration, counts)

    def _refuse(self, record: Record, field: str | None, problem: str, counts: Counter[str]) -> None:
        if self.on_bad_conversation == "raise":
            raise record.error(field, problem, CURE)
        counts["bad_conversations"] += 1


def narrated(path: Path) -> Iterator[Record]:
    """Annotations of the form ``captions``: fields ``video``, ``annotation`` and ``narrations``."""
    for video in read_videos(path):
        name = video.text("video")
        for annotation, narrations in video.fields.items():
            if annotation != "video":
                fields = {"video": name, "annotation": annotation, "narrations": narrations}
                record = Record(fields, path, f"{video.row}, annotation {annotation!r}")
                yield record.with_id(f"{name}/{record.text('annotation')}")


def _opening_problem(conversation: Any, duration: float) -> str | None:
    """Why a conversation cannot be used as a whole; ``None`` if it can."""
    if not isinstance(conversation, list) or not conversation or not isinstance(conversation[0], dict):
        return f"must be a list of turns, got {conversation!r:.80}"
    first = conversation[0]
    if first.get("role") != "user" or not first.get("content"):
        return "must begin with a question of the user"
    time = first.get("time")
    if isinstance(time, (int, float)) and not 0 < time <= duration:
        return f"must begin between 0 and the end of the video ({duration!r} s), got {time!r}"
    return None


def _list_of(record: Record, value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise record.error(None, f"must hold a list of {what}s, got {value!r:.80}", "Correct the row")
    return value


def _role(part: Record, allowed: Sequence[str]) -> str:
    role = part.text("role")
    if role not in allowed:
        raise part.error("role", f"must be {' or '.join(map(repr, allowed))}, got {role!r:.40}", "Correct the row")
    return role


def _time(part: Record) -> float:
    time = part.number("time")
    if not 0 <= time <= LONGEST_SECONDS:
        problem = f"must be at least 0, and no more than any video has, got {time!r:.40}"
        raise part.error("time", problem, "Correct the row")
    return time


def _learned(part: Record) -> bool:
    learn = part.fields.get("learn", True)
    if not isinstance(learn, bool):
        raise part.error("learn", f"must be true or false, got {learn!r:.40}", "Correct the row")
    return learn
