"""The layouts that annotation files come in, each turned into entries with raw values.

Plain rows (QVHighlights, Charades-STA as JSON lines, CALCE, MR.BLIP and most home-made files) are read by the usual
names of their fields; releases of another shape have a function each. See the documentation of each data set's release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lavis.scoring.base import Form, Row, RowError, ScoringError

PARTS = ("id", "video", "query", "duration", "windows", "clips", "ratings")
"""What an entry has; the keys of ``--fields``."""

USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("qid", "id", "query_id", "question_id", "annotation_id", "sample_id", "desc_id", "uid", "idx"),
    "video": ("vid", "video", "video_id", "video_uid", "video_name", "vid_name", "clip_uid", "video_path"),
    "query": ("query", "sentence", "description", "question", "caption", "desc", "text", "q"),
    "duration": ("duration", "video_duration", "video_length", "vid_duration", "length"),
    "windows": (
        "relevant_windows", "windows", "timestamps", "timestamp", "moments", "segments", "segment", "spans", "ts",
        "gt_windows", "tgt", "pred_relevant_windows", "pred_windows",
    ),
    "clips": ("relevant_clip_ids",),
    "ratings": ("saliency_scores",),
}  # fmt: skip
"""Names under which rows hold these parts in the wild, likeliest first."""

_DIDEMO_SEGMENT_SECONDS = 5


@dataclass(slots=True, eq=False)
class Entry:
    """One query with raw values; ``None`` for what the row does not have.

    Args:
        place: file and line, or row.
        id: ``""`` where the row has none.
        video, query, duration, windows: as found; windows of layouts with another unit are in seconds already.
        clips, ratings: rated 2-second clips and their ratings (QVHighlights).
    """

    place: str
    id: str
    video: Any = None
    query: Any = None
    duration: Any = None
    windows: Any = None
    clips: Any = None
    ratings: Any = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A form of rows.

    Args:
        form: makes entries of a row.
        columns: part of an entry to where it comes from.
        expects: parts that every row should have.
    """

    form: Form[Entry]
    columns: Mapping[str, str]
    expects: frozenset[str]


ROWS = "rows"
SAME_AS_ROWS = ("qvhighlights", "calce", "mr_blip")
"""Annotation formats whose files are plain rows."""


def rows_layout(first: Sequence[Row], columns: Mapping[str, str], name: str, table: bool = False) -> Layout:
    """Plain rows, one query each; where each part lies is found by usual names.

    Args:
        first: the first rows.
        columns: parts whose field is known.
        name: of the file, for messages.
        table: whether all values are text, as in a table; then text may stand for numbers.

    Raises:
        ScoringError: if rows have neither video nor query nor windows, or a part has no such name.
    """
    unknown = sorted(set(columns) - set(PARTS))
    if unknown:
        raise ScoringError(f"an entry has no part {unknown[0]!r}; parts: {', '.join(PARTS)}")
    present = {field_name for row in first for field_name in row.fields}
    found = {part: next((n for n in names if n in present), None) for part, names in USUAL_NAMES.items()}
    taken = {part: n for part, n in {**found, **columns}.items() if n is not None}
    if not {"video", "query", "windows"} & set(taken) and not {"start", "end"} <= present:
        fields = ", ".join(sorted(map(str, present))[:12]) or "no fields"
        raise ScoringError(
            f"{name}: rows of no known layout (they have {fields}). Say which field holds what, such as "
            "--fields video=clip query=words windows=spans, or choose --format: " + ", ".join([ROWS, *LAYOUTS])
        )
    shown = {"windows": "start, end", **taken} if {"start", "end"} <= present else dict(taken)
    if any(row.key is not None for row in first):
        shown.setdefault("id", "key")
    expected = {"video", "query", "duration", *shown} - {"clips", "ratings"}
    if taken.get("windows", "").startswith("pred"):
        expected.discard("duration")  # predictions; annotations without durations are faulty
    return Layout(Form(ROWS, (), partial(_plain_row, taken, table), _id), shown, frozenset(expected))


def _plain_row(columns: Mapping[str, str], table: bool, row: Row) -> Entry:
    if set(row.fields) == {"value"}:
        raise RowError(f"must be an object with named fields, got {row.get('value')!r:.60}")
    part = {name: row.fields.get(column) for name, column in columns.items()}
    windows, duration = part.get("windows"), part.get("duration")
    if windows is None and "start" in row.fields and "end" in row.fields and "windows" not in columns:
        windows = [[row.fields["start"], row.fields["end"]]]
    if table:
        duration = _number(duration)
        windows = [[_number(bound) for bound in window] for window in windows] if isinstance(windows, list) else windows
    query = part.get("query")
    if query in (None, "") and isinstance(row.fields.get("labels"), list):
        query = "; ".join(map(str, row.fields["labels"]))  # all actions of a video: MR.BLIP's rows without a query
    return Entry(
        row.place, _text_id(part.get("id"), row.key), part.get("video"), query, duration,
        windows, part.get("clips"), part.get("ratings"),
    )  # fmt: skip


def _text_id(value: Any, key: str | None = None) -> str:
    """An id as text, ``7`` and ``7.0`` alike; ``""`` where there is none."""
    value = key if value is None else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _number(value: Any) -> Any:
    """Numbers of text rows and tables, which know no other; text that is none stays, to be complained about."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _id(row: Row) -> str:
    return _text_id(None, row.key)


def _charades_line(row: Row) -> Entry:
    """``3MSZA 24.3 30.4##person turn a light on.``"""
    head, mark, query = row.text("line").partition("##")
    words = head.split()
    if not mark or len(words) != 3:
        raise RowError(f"must be 'video start end##query', got {row.text('line')!r:.60}")
    return Entry(row.place, "", words[0], query, None, [[_number(words[1]), _number(words[2])]])


def _sentences(row: Row, scale: float | None, duration: Any) -> list[Entry]:
    """The sentences of a densely captioned video; ``scale`` makes seconds of its times."""
    times, sentences = row.get("timestamps"), row.get("sentences")
    if not isinstance(times, list) or not isinstance(sentences, list) or len(times) != len(sentences):
        raise RowError("needs a window in 'timestamps' for each of 'sentences'")
    video = row.key if row.key is not None else row.fields.get("video", row.fields.get("video_id"))
    return [
        Entry(f"{row.place}, sentence {k + 1}", f"{video}_{k}", video, sentence, duration, [_scaled(window, scale)])
        for k, (window, sentence) in enumerate(zip(times, sentences, strict=True))
    ]


def _scaled(window: Any, scale: float | None) -> Any:
    if scale is None or not isinstance(window, list):
        return window
    return [b * scale if isinstance(b, (int, float)) and not isinstance(b, bool) else b for b in window]


def _tacos(row: Row) -> list[Entry]:
    """Times in frames."""
    fps = row.number_of("fps")
    if fps <= 0:
        raise RowError(f"field 'fps' must be above 0, got {fps!r}")
    return _sentences(row, 1 / fps, row.number_of("num_frames") / fps)


def _activitynet_captions(row: Row) -> list[Entry]:
    return _sentences(row, None, row.get("duration"))


def _segments(row: Row) -> list[Entry]:
    """``{video: {duration, annotations: [{segment, label or sentence}]}}``: ActivityNet's actions, YouCook2."""
    annotations = row.get("annotations")
    if not isinstance(annotations, list) or not all(isinstance(each, dict) for each in annotations):
        raise RowError("field 'annotations' must be a list of objects")
    return [
        Entry(
            f"{row.place}, annotation {k + 1}", f"{row.key}_{_text_id(each.get('id')) or k}", row.key,
            each.get("sentence", each.get("label")), row.get("duration"),
            None if each.get("segment") is None else [each["segment"]],
        )
        for k, each in enumerate(annotations)
    ]  # fmt: skip


def _nextgqa(row: Row) -> list[Entry]:
    """``{video: {duration, location: {question: windows}}}``"""
    location = row.get("location")
    if not isinstance(location, dict):
        raise RowError("field 'location' must map questions to windows")
    return [
        Entry(f"{row.place}, question {key}", f"{row.key}_{key}", row.key, None, row.get("duration"), windows)
        for key, windows in location.items()
    ]


def _didemo(row: Row) -> Entry:
    """Windows of several annotators in segments of five seconds, the last one included."""
    times, count = row.get("times"), row.fields.get("num_segments")
    seconds = _DIDEMO_SEGMENT_SECONDS
    if isinstance(times, list) and all(_is_pair(pair) for pair in times):
        times = [[seconds * a, seconds * (b + 1)] for a, b in dict.fromkeys(map(tuple, times))]
    duration = seconds * count if isinstance(count, int) else None
    return Entry(
        row.place, _text_id(row.get("annotation_id")), row.get("video"), row.get("description"), duration, times
    )


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(b, int) for b in pair)


def _ego4d(row: Row) -> list[Entry]:
    """``clips[].annotations[].language_queries[]`` of a video; times count within the clip."""
    return list(_ego4d_queries(row))


def _ego4d_queries(row: Row) -> Iterator[Entry]:
    for clip in _objects(row.get("clips"), "clips"):
        bounds = clip.get("video_start_sec"), clip.get("video_end_sec")
        numbers = [b for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool)]
        duration = numbers[1] - numbers[0] if len(numbers) == 2 else None
        for annotation in _objects(clip.get("annotations"), "annotations"):
            queries = _objects(annotation.get("language_queries"), "language_queries")
            for k, query in enumerate(queries):
                identity = f"{_text_id(annotation.get('annotation_uid'))}_{k}"
                window = [query.get("clip_start_sec"), query.get("clip_end_sec")]
                place = f"{row.place}, query {identity}"
                yield Entry(place, identity, clip.get("clip_uid"), query.get("query"), duration, [window])


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise RowError(f"field {name!r} must be a list of objects")
    return value


def _etbench(row: Row) -> Entry:
    """Ids count within task and source. Targets of highlight detection, windows of several raters, are joined."""
    windows: Any = row.fields.get("tgt")
    if isinstance(windows, list) and all(isinstance(w, list) and w and isinstance(w[0], list) for w in windows):
        windows = [window for rater in windows for window in rater]
    identity = "/".join(_text_id(row.get(name)) for name in ("source", "task", "idx"))
    return Entry(row.place, identity, row.get("video"), row.get("q"), row.get("duration"), windows)


def _layout(
    name: str, fields: str, read: Callable[[Row], Entry | list[Entry]], may_lack: str = "", **columns: str
) -> tuple[str, Layout]:
    form = Form(name, tuple(fields.split()), read, _id)
    return name, Layout(form, columns, frozenset(columns) - {may_lack})


_VIDEO_KEY = {"video": "key", "duration": "duration"}
LAYOUTS: Mapping[str, Layout] = dict(
    [
        _layout("charades_sta", "line", _charades_line, video="word 1", windows="words 2, 3", query="after ##",
                duration="--durations"),
        _layout("tacos", "timestamps sentences fps num_frames", _tacos, id="key and number", video="key",
                query="sentences", duration="num_frames / fps", windows="timestamps (frames)"),
        _layout("activitynet_captions", "timestamps sentences duration", _activitynet_captions, **_VIDEO_KEY,
                id="key and number", query="sentences", windows="timestamps"),
        _layout("segments", "duration annotations", _segments, **_VIDEO_KEY, id="key and number",
                query="annotations.sentence or label", windows="annotations.segment"),
        _layout("nextgqa", "duration location", _nextgqa, **_VIDEO_KEY, id="key and question", windows="location"),
        _layout("ego4d_nlq", "clips video_uid", _ego4d, id="annotation_uid and number", video="clip_uid",
                query="query", duration="video_end_sec - video_start_sec", windows="clip_start_sec, clip_end_sec"),
        _layout("didemo", "annotation_id times description video", _didemo, id="annotation_id", video="video",
                query="description", duration="5 num_segments", windows="times (segments of 5 s)"),
        _layout("etbench", "task source idx q video duration", _etbench, may_lack="windows", id="source/task/idx",
                video="video", query="q", duration="duration", windows="tgt"),
    ]
)  # fmt: skip
"""Layouts that are not plain rows, most specific first."""
