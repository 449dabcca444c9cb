"""HawkEye's test files of questions: NExT-QA, TVQA, STAR, and NExT-GQA with the moments that hold the answers.

Source: HawkEye (yellow-binary-tree/HawkEye), ``data_preparing/{videoqa,nextgqa}.py``; rows are equal to the
original's. The format ``candidates`` reads them, ``recursive_grounding`` those of NExT-GQA. Files for the servers of
STAR and TVQA are made by ``lavis.scoring.questions.leaderboards``.

Unlike the original: an answer that is no option, or a show or video that no map has, is an error with file and row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats.tvqa import FOLDERS
from lavis.preparation.annotations_mr_blip import read_table
from lavis.preparation.annotations_qa import read_mapping

Row = dict[str, Any]
NUM_OPTIONS = 5


def nextqa_rows(table: str | Path, video_map: str | Path) -> Iterator[Row]:
    """Rows ``video, question, qid, candidates, answer`` of NExT-QA (multiple choice).

    A ``?`` is put behind each question, and a dot behind each candidate, but not behind the answer.

    Args:
        table: ``<split>.csv`` of the release; its answers are indices.
        video_map: ``map_vid_vidorID.json``.

    Raises:
        AnnotationError: for a bad row; names file and line.
    """
    videos = read_mapping(Path(video_map))
    for record in _table(Path(table), "video", tuple(f"a{i}" for i in range(NUM_OPTIONS))):
        options = [record.text(f"a{i}") for i in range(NUM_OPTIONS)]
        number = record.text("answer")
        if not number.isdecimal() or int(number) >= NUM_OPTIONS:
            raise record.error("answer", f"must be an index below {NUM_OPTIONS}, got {number!r}", "Correct the row")
        yield {
            "video": _mapped(record, "video", videos, video_map),
            "question": record.text("question") + "?",
            "qid": _qid(record),
            "candidates": [f"{option}." for option in options],
            "answer": options[int(number)],
        }


def nextgqa_rows(table: str | Path, spans: str | Path, video_map: str | Path) -> Iterator[Row]:
    """Rows ``video, question, duration, qid, answer`` of NExT-GQA; an answer is a list of ``[start, end]``.

    Args:
        table: ``<split>.csv`` of the release.
        spans: ``gsub_<split>.json``.
        video_map: ``map_vid_vidorID.json``.

    Raises:
        AnnotationError: for a bad row, or a question without moments; names file and line.
    """
    videos, moments = read_mapping(Path(video_map)), read_mapping(Path(spans))
    for record in _table(Path(table), "video_id"):
        found = moments.get(record.text("video_id"))
        windows = found.get("location", {}).get(record.text("qid")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or not isinstance(windows, list) or "duration" not in found:
            raise record.error("qid", f"{spans} has no moments for this question", "Take the file of the same split")
        yield {
            "video": _mapped(record, "video_id", videos, video_map),
            "question": record.text("question") + "?",
            "duration": found["duration"],
            "qid": _qid(record),
            "answer": windows,
        }


def tvqa_rows(file: str | Path) -> Iterator[Row]:
    """Rows ``video, question, qid, candidates[, start, end][, answer]`` of TVQA.

    Args:
        file: ``tvqa_<split>.jsonl``; the public test has no answers.

    Raises:
        AnnotationError: for a bad row; names file and line.
    """
    for record in read_records(Path(file)):
        show = record.text("show_name")
        if show not in FOLDERS:
            raise record.error("show_name", f"{show!r} is none of the shows {', '.join(FOLDERS)}", "Correct the row")
        options = [record.text(f"a{i}") for i in range(NUM_OPTIONS)]
        row: Row = {
            "video": f"{FOLDERS[show]}/{record.file_name('vid_name')}", "question": record.text("q"),
            "qid": record.get("qid"), "candidates": options, **_stretch(record),
        }  # fmt: skip
        if "answer_idx" in record.fields:
            index = record.whole_number("answer_idx")
            if not 0 <= index < NUM_OPTIONS:
                raise record.error("answer_idx", f"must be an index below {NUM_OPTIONS}, got {index}", "Correct it")
            row["answer"] = options[index]
        yield row


def star_rows(file: str | Path) -> Iterator[Row]:
    """Rows ``video, question, qid, candidates[, answer]`` of STAR.

    Args:
        file: ``STAR_<split>.json``; the test has no answers.

    Raises:
        AnnotationError: for a bad row; names file and row.
    """
    for record in read_records(Path(file)):
        options = _choices(record)
        row: Row = {
            "video": f"{record.file_name('video_id')}.mp4", "question": record.text("question"),
            "qid": record.text("question_id"), "candidates": options,
        }  # fmt: skip
        if "answer" in record.fields:
            row["answer"] = record.text("answer")
            if row["answer"] not in options:
                raise record.error("answer", f"{row['answer']!r:.60} is none of the choices", "Correct the row")
        yield row


def _choices(record: Record) -> list[str]:
    choices = record.get("choices")
    if not isinstance(choices, list) or not choices:
        raise record.error(
            "choices", f"must be a list of {{choice_id, choice}}, got {choices!r:.60}", "Correct the row"
        )
    for choice in choices:
        if not isinstance(choice, Mapping) or not isinstance(choice.get("choice"), str):
            raise record.error("choices", f"must be {{choice_id, choice}} each, got {choice!r:.60}", "Correct the row")
    return [choice["choice"] for choice in choices]


def _stretch(record: Record) -> Row:
    """``start`` and ``end`` of ``12.3-15.4``; nothing of ``NaN-NaN``."""
    text = record.text("ts")
    first, _, second = text.partition("-")
    try:
        start, end = float(first), float(second)
    except ValueError:
        raise record.error("ts", f"must be start-end or NaN-NaN, got {text!r:.40}", "Correct the row") from None
    if start != start or end != end:
        return {}
    if not start < end:
        raise record.error("ts", f"goes from {start} to {end} s", "Correct the row")
    return {"start": start, "end": end}


def _table(table: Path, video: str, options: tuple[str, ...] = ()) -> Iterator[Record]:
    columns = (video, "question", "qid", *(("answer",) if options else ()), *options)
    for number, row in enumerate(read_table(table, columns), start=2):
        yield Record(row, table, f"line {number}", row["qid"])


def _qid(record: Record) -> int | str:
    text = record.text("qid")
    return int(text) if text.isdecimal() else text


def _mapped(record: Record, field: str, videos: Mapping[str, Any], source: str | Path) -> str:
    key = record.text(field)
    name = videos.get(key)
    if not isinstance(name, str):
        raise record.error(field, f"{source} has no video {key!r}", "Take the files of one release")
    record.check_inside(name, field)
    return f"{name}.mp4"
