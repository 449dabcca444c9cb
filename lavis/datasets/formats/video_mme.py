"""Video-MME: 900 videos with three questions each, four options a question.

Source: *Video-MME: The First-Ever Comprehensive Evaluation Benchmark of Multi-modal LLMs in Video Analysis*
(MME-Benchmarks/Video-MME): the form of its result file (videos with ``questions``), and the rows of its table on the
model hub (a question each). Its ``duration`` is a group and no length; the length comes from ``durations``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lavis.common.registry import registry
from lavis.datasets.formats._choices import ChoiceFormat, answered, index_of_letter, noted, option_texts
from lavis.datasets.formats._record import Record, read_records
from lavis.scoring.questions.text import LETTERS
from lavis.structures import VideoSample

GROUPS = ("short", "medium", "long")
OF_VIDEO = ("video_id", "duration", "domain", "sub_category")
OF_VIDEO_OPTIONAL = ("videoID", "url")
OF_QUESTION = ("question_id", "task_type", "question", "options")
OF_QUESTION_OPTIONAL = ("answer", "response")

_LETTERED = re.compile(r"\(?([A-Z])[.):]\s*(.*)", re.DOTALL)


@registry.formats.register("video_mme")
class VideoMME(ChoiceFormat):
    """Videos ``video_id, duration, domain, sub_category, questions``, or rows with the fields of both.

    A question is ``question_id, task_type, question, options[, answer]``; ids are ``question_id`` (``001-1``), ``kind``
    is ``task_type``. ``video`` is ``videoID``, the name of the published files, or ``video_id`` where rows lack it.
    Letters in front of the options (``A. ...``) are left out. ``extra`` has ``duration_category`` (``short``,
    ``medium``, ``long``), ``domain``, ``sub_category`` and ``video_id``. The ``response`` of a result file is passed
    over.

    Args:
        durations: see ``ChoiceFormat``; needed.
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.
    """

    required = (*OF_VIDEO, *OF_QUESTION)
    optional = (*OF_VIDEO_OPTIONAL, *OF_QUESTION_OPTIONAL)

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for record in read_records(path):
            for row in _each_question(record) if "questions" in record.fields else (record,):
                yield row.identified(lambda row: row.text("question_id"))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        group = record.text("duration")
        if group not in GROUPS:
            raise record.error("duration", f"must be one of {', '.join(GROUPS)}, got {group!r:.40}", "Correct the row")
        extra |= {"duration_category": group}
        extra |= {name: record.text(name) for name in ("domain", "sub_category", "video_id")}
        video = record.text("videoID" if "videoID" in record.fields else "video_id")
        options = without_letters(record, option_texts(record, "options"))
        index = index_of_letter(record, "answer", options) if "answer" in record.fields else None
        return VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("question"),
            duration=self.lengths.of(record, video, None),
            kind=record.text("task_type"),
            extra=noted(extra, index),
            **answered(options, index),
        )


def _each_question(video: Record) -> Iterator[Record]:
    """The questions of a video as rows that have the video's fields, too."""
    questions = video.get("questions")
    if not isinstance(questions, list) or not questions:
        raise video.error("questions", f"must be a list of questions, got {questions!r:.60}", "Correct the row")
    shared = {name: value for name, value in video.fields.items() if name != "questions"}
    for number, question in enumerate(questions, start=1):
        row = f"{video.row}, question {number}"
        if not isinstance(question, dict):
            problem = f"question {number} must be an object with named fields, got {question!r:.60}"
            raise video.error("questions", problem, "Correct the row")
        twice = sorted(shared.keys() & question.keys())
        if twice:
            problem = f"question {number} repeats a field of its video"
            raise video.error(twice[0], problem, "Keep it in one of the two")
        yield Record({**shared, **question}, video.path, row)


def without_letters(record: Record, options: Sequence[str]) -> list[str]:
    """Options without the letters in front of them.

    Raises:
        AnnotationError: if all have letters, but not those of their places, or nothing follows one.
    """
    found = [_LETTERED.fullmatch(option) for option in options]
    lettered = [match for match in found if match is not None]
    if len(lettered) < len(options):
        return list(options)
    letters = "".join(match[1] for match in lettered)
    if letters != LETTERS[: len(options)]:
        raise record.error("options", f"must be lettered in order from A, got {letters}", "Correct the row")
    blank = next((match[1] for match in lettered if not match[2].strip()), None)
    if blank is not None:
        raise record.error("options", f"nothing follows the letter {blank}", "Correct the row")
    return [match[2] for match in lettered]
