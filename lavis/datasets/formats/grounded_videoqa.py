"""Grounded VideoQA: open or multiple-choice questions, each with the span of the video that shows the answer.

Source: Grounded-VideoLLM (WHB139426/Grounded-Video-LLM), its set ``G-VideoQA-gpt4o-mini-anno.json``. The fields of that
file are not established; read here is the form that others convert it to, ``video, question, answer, temporal_span``,
with options where there are some. Another file's fields become these with a few lines of Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from lavis.common.registry import registry
from lavis.datasets.formats._choices import checked_options, index_of_letter, index_of_text, noted
from lavis.datasets.formats._gvllm_turns import PLACEHOLDER, span_text
from lavis.datasets.formats._record import Record, read_records
from lavis.datasets.formats._timed import TimedFormat, id_of_video
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, OnUnknownField, check_choice
from lavis.datasets.formats.recursive_grounding import listed
from lavis.scoring.questions.text import LETTERS, question_text
from lavis.structures import Moment, Turn, VideoSample

TurnsOf = Literal["none", "answer", "time_first"]

TIME_QUESTION = "At which time interval in the video can we see the answer to this question: {question}"


@registry.formats.register("grounded_videoqa")
class GroundedVideoQA(TimedFormat):
    """Rows ``video, question, answer, temporal_span[, options, duration, question_id, source]``.

    ``moments`` are the span, or the spans of a list. ``options`` is a list of texts, or an object from ``A`` on; the
    answer is then the text of one, or its letter: ``VideoSample.answer`` is the text, ``extra["answer_index"]`` its
    place. Ids are ``<video without folder and ending>_<question_id>``, or ``GroundedVideoQA_<k>``, k from 0. ``kind``
    is ``open`` or ``choice``; ``extra["source"]`` where a video is from.

    Args:
        turns: conversation to learn from: ``none``; ``answer``: question, answer; ``time_first``: ``time_question``,
            ``From <start> to <end>.`` (seconds, as in ``grounded_videollm``), question, answer. The first message
            begins with ``<image>`` and a line end.
        time_question: how ``time_first`` asks when; ``{question}`` is filled in.
        durations: lengths of the videos, for rows without them: a JSON object of seconds, the file of
            ``process_data/videos_metadata.py``, or CSV (``id``, ``length``), by name, its ending may differ or be left
            out; ``{split}`` is filled in.
        on_bad_window, beyond_end, on_unknown_field: see ``AnnotationFormat``.

    Raises:
        ValueError: if ``time_question`` lacks ``{question}``.
    """

    required = ("video", "question", "answer", "temporal_span")
    optional = ("options", "duration", "question_id", "source")

    def __init__(
        self,
        *,
        turns: TurnsOf = "none",
        time_question: str = TIME_QUESTION,
        durations: str | None = None,
        on_bad_window: OnBadWindow = "raise",
        beyond_end: BeyondEnd = "bad",
        on_unknown_field: OnUnknownField = "raise",
    ) -> None:
        super().__init__(
            durations=durations, on_bad_window=on_bad_window, beyond_end=beyond_end, on_unknown_field=on_unknown_field
        )
        check_choice("format.turns", turns, get_args(TurnsOf))
        if "{question}" not in time_question:
            raise ValueError(f"format.time_question must hold {{question}}, got {time_question!r:.80}")
        self.turns = turns
        self.time_question = time_question

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for number, record in enumerate(read_records(path)):
            yield record.identified(partial(id_of_video, field="question_id", otherwise=f"GroundedVideoQA_{number}"))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        if "source" in record.fields:
            extra["source"] = record.text("source")
        video = record.file_name("video")
        duration = self.lengths.of(record, video)
        raw = listed(record.get("temporal_span"))
        moments = self.windows(record, "temporal_span", raw, duration, counts)
        if not moments:
            return None
        options = options_of(record)
        index = right_option(record, options) if options else None
        answer = options[index] if index is not None else record.text("answer")
        question = record.text("question")
        return VideoSample(
            id=str(record.id),
            video=video,
            query=question,
            duration=duration,
            moments=moments,
            turns=self._conversation(question, options, index, answer, moments),
            options=options,
            answer=answer,
            kind="choice" if options else "open",
            extra=noted(extra, index),
        )

    def _conversation(
        self, question: str, options: list[str], index: int | None, answer: str, moments: list[Moment]
    ) -> list[Turn]:
        if self.turns == "none":
            return []
        asked = question_text(question, options) if options else question
        said = answer if index is None else f"Answer: ({LETTERS[index]}) {answer}"
        texts = [asked, said]
        if self.turns == "time_first":
            texts = [self.time_question.replace("{question}", question), span_text(moments), *texts]
        texts[0] = f"{PLACEHOLDER}\n{texts[0]}"
        return [
            Turn("assistant", text, learned=True) if number % 2 else Turn("user", text)
            for number, text in enumerate(texts)
        ]


def options_of(record: Record) -> list[str]:
    """Options of a row, a list or an object from ``A`` on; none of an open question.

    Raises:
        AnnotationError: if the letters of an object are not those of their places, or an option is no text.
    """
    raw = record.fields.get("options")
    if raw is None or raw == []:
        return []
    if isinstance(raw, dict):
        if "".join(raw) != LETTERS[: len(raw)]:
            raise record.error("options", f"must be lettered in order from A, got {', '.join(raw)}", "Correct the row")
        raw = list(raw.values())
    texts = Record({"options": raw}, record.path, record.row, record.id).texts("options")
    return checked_options(record, "options", texts)


def right_option(record: Record, options: list[str]) -> int:
    """Index of the option that ``answer`` is, or whose letter it is."""
    answer = record.text("answer").strip()
    if answer not in options and len(answer) == 1 and answer in LETTERS:
        return index_of_letter(record, "answer", options)
    return index_of_text(record, "answer", options)
