"""MeCo's training file out of E.T. Instruct 164K: answers that describe events, each closed by ``<ent>``.

Source: MeCo (pangzss/MeCo, arXiv 2503.09027), whose ``et_instruct_164k_meco.json`` is not published. Rows stay what
they are in ``et_instruct_164k_vid.json`` or ``_txt.json``; the answer becomes a caption for each event, and the row
gets ``windows``, one for each. Captions come from the row's own texts (``meco_texts``), from a file, or from a model
that sees the middle of each event (``meco_captions``, whose file is then read).

Windows follow MeCo's rule by task (``datasets/formats/_et_windows``). ``<tst>`` is put in when training reads the row,
which knows the frames; ``structure="text"`` writes it and ``tst_windows`` into the file, by seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lavis.common.io import read_text, write_json
from lavis.datasets.formats._conversation import VIDEO, read_turns
from lavis.datasets.formats._et_windows import raw_windows
from lavis.datasets.formats._record import AnnotationError, Record, load_json, read_records
from lavis.models.codecs._segments import EVENT, TRANSITION, with_transitions
from lavis.preparation.meco_texts import NoCaption, conclusion, own_captions, rewritten

Row = dict[str, Any]
OnBadRow = Literal["raise", "skip"]
Structure = Literal["windows", "text"]
Questions = Literal["rewritten", "kept"]
Window = tuple[float, float]
Captions = Mapping[str, Sequence[str]]
"""Captions of the events of rows, by the row's id (``ETInstruct_<k>``, k from 0)."""

MARKS = (EVENT, TRANSITION)


@dataclass(frozen=True, slots=True)
class Style:
    """How rows are written.

    Args:
        structure: ``windows`` leaves transitions to training; ``text`` writes them.
        questions: ``rewritten`` to ask for descriptions, or ``kept`` as they are.
        on_bad_row: a row without usable times or captions is an error, or left out and counted.
    """

    structure: Structure = "windows"
    questions: Questions = "rewritten"
    on_bad_row: OnBadRow = "raise"


@dataclass(slots=True)
class Made:
    """What became of a file.

    Args:
        path: what was written.
        rows: by task.
        events: by task.
        left_out: rows by task.
        described: rows by where their captions are from, ``file`` or ``own text``.
        reasons: why rows were left out, the first few.
    """

    path: Path
    rows: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    described: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.rows.total()} rows, {self.events.total()} events"]
        for task in sorted(self.rows | self.left_out):
            gone = f", {self.left_out[task]} left out" if self.left_out[task] else ""
            lines.append(f"  {task:4} {self.rows[task]:7} rows {self.events[task]:7} events{gone}")
        lines += [f"  captions from {where}: {count}" for where, count in sorted(self.described.items())]
        return "\n".join([*lines, *(f"  left out: {reason}" for reason in self.reasons)])


@dataclass(frozen=True, slots=True)
class Event:
    """A row's events.

    Args:
        record: the row, with its id.
        task: of the row.
        question: what the human says.
        answer: what is answered.
        windows: seconds, in the order of the row.
    """

    record: Record
    task: str
    question: str
    answer: str
    windows: list[Window]

    @property
    def video(self) -> str:
        """Name of its file."""
        return str(self.record.get("video"))


def make_annotations(
    source: str | Path, out: str | Path, captions: str | Path | Captions | None = None, style: Style | None = None
) -> Made:
    """Writes MeCo's file.

    Args:
        source: ``et_instruct_164k_vid.json`` or ``_txt.json``.
        out: JSON file to write.
        captions: of rows by id, or the file of them (``read_captions``); rows that it lacks use their own texts.
        style: how rows are written.

    Returns:
        counts.

    Raises:
        AnnotationError: for a bad row under ``on_bad_row="raise"``, or captions that do not fit; names file and row.
        ValueError: if no row is left.
    """
    how = style or Style()
    given = captions if isinstance(captions, Mapping) else {} if captions is None else read_captions(captions)
    made, rows, known = Made(Path(out)), [], set()
    for record in rows_of(source):
        known.add(record.id)
        task = str(record.fields.get("task", "?"))
        try:
            event = event_of(record)
            texts, where = _captions(event, given)
            rows.append(_row(event, texts, how))
        except AnnotationError as error:
            if how.on_bad_row == "raise":
                raise
            made.left_out[task] += 1
            if len(made.reasons) < 5:
                made.reasons.append(str(error))
            continue
        made.rows[task] += 1
        made.events[task] += len(event.windows)
        made.described[where] += 1
    stray = next((name for name in given if name not in known), None)
    if stray is not None:
        raise AnnotationError(
            f"there are captions of {stray!r}, but no such row in {source}. Take captions of this file"
        )
    if not rows:
        raise ValueError(f"{out}: there is no row to write; is {source} a file of E.T. Instruct?\n{made}")
    write_json(made.path, rows, indent=None)
    return made


def rows_of(source: str | Path) -> Iterator[Record]:
    """The rows of E.T. Instruct, with the ids that its format gives them."""
    for number, record in enumerate(read_records(Path(source))):
        yield record.with_id(f"ETInstruct_{number}")


def event_of(record: Record) -> Event:
    """The events of a row.

    Raises:
        AnnotationError: if it has none, or its fields are bad.
    """
    record.text("source")
    record.file_name("video")
    task = record.text("task")
    turns = read_turns(record, VIDEO)
    if len(turns) != 2:
        raise record.error("conversations", f"has {len(turns)} messages; MeCo trains on two", "Leave the row out")
    found = raw_windows(record, task, record.positive("duration"))
    if found is None or not found[1]:
        raise record.error("task", f"{task!r} has no times here, so there is no event to describe", "Leave the row out")
    name, windows = found
    for window in windows:
        if not isinstance(window, list) or len(window) != 2 or not all(_is_time(bound) for bound in window):
            raise record.error(name, f"holds {window!r:.40}, which is no [start, end]", "Correct or leave out the row")
    marked = next((mark for mark in MARKS if mark in turns[0].text + turns[1].text), None)
    if marked is not None:
        raise record.error("conversations", f"holds {marked}: the row is in MeCo's form already", "Choose another file")
    return Event(record, task, turns[0].text, turns[1].text, [(float(a), float(b)) for a, b in windows])


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _captions(event: Event, given: Captions) -> tuple[list[str], str]:
    """A caption for each event, without blanks around it, and where they are from."""
    record, count = event.record, len(event.windows)
    texts = given.get(str(record.id))
    if texts is None:
        try:
            return own_captions(event.task, event.question, event.answer, count), "own text"
        except NoCaption as error:
            raise record.error("conversations", str(error), "Give captions for the row, or leave it out") from None
    texts = [text.strip() for text in texts]
    bad = next((t for t in texts if not t or any(mark in t for mark in (*MARKS, "<vid>", "<image>"))), None)
    if bad is not None:
        raise record.error(None, f"the caption {bad!r:.60} is blank or holds a mark", "Correct the file of captions")
    if len(texts) != count:
        raise record.error(None, f"has {count} events, the file {len(texts)} captions", "Correct the file of captions")
    return texts, "file"


def _row(event: Event, captions: Sequence[str], how: Style) -> Row:
    """A row of the file."""
    record, windows = event.record, event.windows
    said = "\n".join(caption + EVENT for caption in captions) + conclusion(event.task, event.answer)
    extra: Row = {"windows": [list(window) for window in windows]}
    if how.structure == "text":
        ordered = [(min(window), max(window)) for window in windows]  # as the reader of the file puts them
        parts, found = with_transitions(said, ordered, float(math.ceil(record.positive("duration"))))
        marks = [part for part in parts if part in MARKS]
        said = "".join(parts)
        extra["tst_windows"] = [list(w) for mark, w in zip(marks, found, strict=True) if mark == TRANSITION]
    asked = event.question
    if how.questions == "rewritten":
        asked = rewritten(event.task, str(record.get("source")), asked)
    messages = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
    kept = {name: value for name, value in record.fields.items() if name not in (*extra, "conversations")}
    return {**kept, **extra, "conversations": messages}


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Captions of rows: JSON lines ``{"id": "ETInstruct_<k>", "captions": [...]}``, or one JSON object of lists by id.

    Raises:
        AnnotationError: for another form, or an id that comes twice; names file and row.
    """
    file = Path(path)
    if file.suffix != ".jsonl":
        value = load_json(read_text(file), str(file))
        if isinstance(value, dict):
            return {
                name: Record({"captions": own}, file, f"entry {name!r}").texts("captions")
                for name, own in value.items()
            }
    found: dict[str, list[str]] = {}
    for record in read_records(file):
        name = record.text("id")
        if name in found:
            raise record.error("id", f"{name!r} is there twice", "Keep one row of it")
        found[name] = record.texts("captions")
    return found
