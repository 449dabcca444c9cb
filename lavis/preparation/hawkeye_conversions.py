"""HawkEye's instruction files and grounding tests, made from InternVid-G, Charades-STA and ActivityNet Captions.

Source: HawkEye (yellow-binary-tree/HawkEye), ``data_preparing``; with the same ``seed`` rows are equal to the
original's. Questions with answers (NExT-QA and others) are in ``hawkeye_questions.py``.

A segment becomes a row of one of four forms. ``choice`` asks in which part of the video the caption is, with four
options in an order drawn for the row; ``choice_caption`` gives the part and has the segment described; ``grounding``
and ``caption`` do the same with times, which are filled in once a window of the video was drawn in training.

Unlike the original: windows that do not end behind their start are an error, or left out (``on_bad_window``), all
inputs are checked with file and row, and files come in the order of their names.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import read_text, write_json
from lavis.datasets.formats._charades_text import LINE, read_durations
from lavis.datasets.formats._record import (
    AnnotationError,
    Record,
    each_sentence,
    load_json,
    read_lines,
    read_records,
    read_videos,
)
from lavis.preparation.annotations import Prepared

Row = dict[str, Any]
Form = Literal["choice", "choice_caption", "grounding", "caption"]
FORMS: tuple[Form, ...] = ("choice", "choice_caption", "grounding", "caption")
OnBadWindow = Literal["raise", "skip", "keep"]

OPTIONS = {
    "middle": "In the middle of the video.",
    "end": "At the end of the video.",
    "throughout": "Throughout the entire video.",
    "beginning": "At the beginning of the video.",
}
IN_SECONDS = "From second %.1f to second %.1f."
IN_FRAMES = "From frame %d to frame %d."
FRAMES_OF_CHARADES = 5
"""Charades' ids have five characters; tables of lengths may say more."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video and what happens in it.

    Args:
        video: name of its file, or folder of frames.
        caption: what happens, cleaned up as the original does for its data set.
        start, end: seconds.
        shown: the widest window that may be shown, in seconds; ``None`` where the file does not tell.
    """

    video: str
    caption: str
    start: float
    end: float
    shown: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """What rows draw from.

    Args:
        instructions: one opens each row.
        questions: with one ``%s`` each, for the caption; only ``choice`` and ``grounding`` ask.
        times: how times are told, with two places for them.
    """

    instructions: Sequence[str]
    questions: Sequence[str] = ()
    times: str = IN_SECONDS

    def __post_init__(self) -> None:
        if not self.instructions:
            raise ValueError("there is no instruction; give at least one")
        for question in self.questions:
            if question.replace("%%", "").count("%") != 1 or question.count("%s") != 1:
                raise ValueError(f"the question {question!r} must have one %s, where the caption goes")


def read_wordings(given: str) -> list[str]:
    """A JSON file with a list of texts, or the one text itself.

    Raises:
        AnnotationError: if the file holds anything else.
        FileNotFoundError: if what looks like a file is absent.
    """
    path = Path(given).expanduser()
    if not given.endswith(".json"):
        return [given]
    texts = load_json(read_text(path), str(path))
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise AnnotationError(f"{path}: must be a list of texts that are not blank. Choose another file")
    return texts


def internvid_segments(
    files: Iterable[str | Path], on_bad_window: OnBadWindow = "raise", notes: Row | None = None
) -> Iterator[Segment]:
    """Segments of InternVid-G: JSON lines as ``internvid_g.negatives`` writes them.

    Args:
        files: read by name.
        on_bad_window: what becomes of a segment that does not end behind its start.
        notes: gets ``left_out``, how many such there were.

    Raises:
        AnnotationError: for a bad row.
    """
    for file in sorted(map(Path, files)):
        for record in read_records(file):
            start, end = record.number("start_sec"), record.number("end_sec")
            shown = record.number("neg_start_sec"), record.number("neg_end_sec")
            if _usable(record, "end_sec", start, end, on_bad_window, notes):
                caption = _without_last_dot(record.text("caption"))
                yield Segment(record.file_name("video"), caption[:1].upper() + caption[1:], start, end, shown)


def charades_segments(
    file: str | Path,
    durations: str | Path | None = None,
    on_bad_window: OnBadWindow = "raise",
    notes: Row | None = None,
) -> Iterator[Segment]:
    """Segments of Charades-STA's text release.

    Args:
        file: ``charades_sta_<split>.txt``.
        durations: seconds by id, JSON or ``Charades_v1_<split>.csv``; tests need none.
        on_bad_window, notes: see ``internvid_segments``.

    Raises:
        AnnotationError: for a bad line, or a video without a length.
    """
    lengths = {name[:FRAMES_OF_CHARADES]: seconds for name, seconds in _lengths(durations).items()}
    for number, line in read_lines(Path(file)):
        record = Record({}, Path(file), f"line {number}")
        match = LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            raise record.error(None, f"must be 'video start end##query', got {line!r:.80}", "Correct the line")
        times = {name: _number(match[name]) for name in ("start", "end")}
        record = Record({**match.groupdict(), **times}, Path(file), record.row)
        start, end, name = record.number("start"), record.number("end"), record.file_name("video")
        if durations is not None and name not in lengths:
            raise record.error("video", f"{durations} has no video {name!r}", "Take the file of the same split")
        if _usable(record, "end", start, end, on_bad_window, notes):
            caption = record.text("query").replace(".", "").strip()
            yield Segment(f"{name}.mp4", caption, start, end, (0, lengths[name]) if durations is not None else None)


def activitynet_segments(
    file: str | Path,
    more: str | Path | None = None,
    on_bad_window: OnBadWindow = "raise",
    notes: Row | None = None,
) -> Iterator[Segment]:
    """Segments of ActivityNet Captions; a video is a folder of frames.

    Args:
        file: ``train.json``, or ``val_1.json``.
        more: ``val_2.json``, whose sentences follow those of ``file`` on the same video.
        on_bad_window, notes: see ``internvid_segments``.

    Raises:
        AnnotationError: for a bad entry.
    """
    records: dict[str, list[Record]] = {}
    for path in (file, more):
        for record in read_videos(Path(path)) if path is not None else ():
            records.setdefault(record.file_name("video"), []).append(record)
    for video, entries in records.items():
        for record in (sentence for entry in entries for sentence in each_sentence(entry, video)):
            window = record.get("timestamps")
            if not isinstance(window, list) or len(window) != 2:
                raise record.error("timestamps", f"must be [start, end], got {window!r:.60}", "Correct the entry")
            times = Record({"start": window[0], "end": window[1]}, record.path, record.row, record.id)
            start, end, caption = times.number("start"), times.number("end"), record.text("sentences")
            if _usable(times, "end", start, end, on_bad_window, notes):
                shown = (0, record.positive("duration"))
                yield Segment(video, _without_last_dot(caption), start, end, shown)


def training_rows(segments: Iterable[Segment], form: Form, wording: Wording, seed: int = 0) -> Iterator[Row]:
    """Rows ``{"video", "QA": [{"i", start_sec, end_sec, neg_start_sec, neg_end_sec, "q", "a"}]}``.

    What is drawn for a row, in this order: its instruction, the order of its options, its question.

    Args:
        segments: all with the window that may be shown.
        form: see the module.
        wording: what is drawn from.
        seed: of Python's generator.

    Raises:
        ValueError: if ``wording`` has no question and the form asks one, or for an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"there is no form {form!r}; there are {', '.join(FORMS)}")
    if form in ("choice", "grounding") and not wording.questions:
        raise ValueError(f"rows of the form {form} ask questions; give at least one")
    draw = random.Random(seed)
    for segment in segments:
        if segment.shown is None:
            raise ValueError(f"{segment.video}: its length is not known; give the file of durations")
        entry: Row = {
            "i": draw.choice(wording.instructions), "start_sec": segment.start, "end_sec": segment.end,
            "neg_start_sec": segment.shown[0], "neg_end_sec": segment.shown[1],
        }  # fmt: skip
        yield {"video": segment.video, "QA": [{**entry, **_asked(segment.caption, form, wording, draw)}]}


def grounding_test_rows(segments: Iterable[Segment]) -> Iterator[Row]:
    """Rows ``{"video", "question", "answer": [start, end]}`` for recursive grounding; no caption keeps a dot."""
    for segment in segments:
        question = segment.caption.replace(".", "").strip()
        yield {"video": segment.video, "question": question, "answer": [segment.start, segment.end]}


def sampled(rows: Sequence[Row], ratio: float, seed: int = 0) -> list[Row]:
    """A random part of the rows, in their order.

    Raises:
        ValueError: if ``ratio`` is not above 0 and at most 1.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"the part to keep is above 0 and at most 1, got {ratio}")
    kept = random.Random(seed).sample(range(len(rows)), max(1, round(ratio * len(rows)))) if rows else []
    return [rows[number] for number in sorted(kept)]


def write_file(out: str | Path, rows: Iterable[Row], notes: Mapping[str, int] | None = None) -> Prepared:
    """Writes rows as a JSON list, in one step.

    Raises:
        ValueError: if there are none.
    """
    made = list(rows)
    if not made:
        raise ValueError(f"{out}: there is no row to write; are the inputs empty?")
    return Prepared(write_json(out, made, indent=None), len(made), dict(notes or {}))


def _asked(caption: str, form: Form, wording: Wording, draw: random.Random) -> Row:
    """``q`` and ``a`` of a row."""
    if form == "caption":
        return {"q": wording.times, "a": caption}
    if form == "choice_caption":
        return {"q": [list(pair) for pair in OPTIONS.items()], "a": caption}
    if form == "grounding":
        return {"q": draw.choice(wording.questions) % caption, "a": wording.times}
    options = list(OPTIONS.items())
    draw.shuffle(options)
    lettered = [[key, f"({letter}) {text}"] for letter, (key, text) in zip("ABCD", options, strict=True)]
    question = draw.choice(wording.questions) % caption
    return {"q": "\n".join([f"Question: {question}", "Options:", *(text for _, text in lettered)]), "a": lettered}


def _usable(
    record: Record, field: str, start: float, end: float, on_bad_window: OnBadWindow, notes: Row | None
) -> bool:
    """Whether a segment becomes a row; counts those that do not."""
    if start < end or on_bad_window == "keep":
        return True
    if on_bad_window == "raise":
        problem = f"the window goes from {start} to {end} s"
        raise record.error(field, problem, "Correct the row, or choose on_bad_window: skip or keep")
    if notes is not None:
        notes["left_out"] = notes.get("left_out", 0) + 1
    return False


def _without_last_dot(text: str) -> str:
    return text[:-1] if text.endswith(".") else text


def _lengths(durations: str | Path | None) -> Mapping[str, float]:
    return {} if durations is None else read_durations(durations)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
