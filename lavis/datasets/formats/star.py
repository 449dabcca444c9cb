"""STAR's own release: questions on a part of a Charades video, with four options.

Source: *STAR: A Benchmark for Situated Reasoning in Real-World Videos* (csbobby/STAR_Benchmark), files
``STAR_{train,val,test}.json``; the test split has no answers. HawkEye shows the whole video (``window: ignore``), its
converted file is read by ``candidates``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.datasets.formats._choices import (
    WindowedChoiceFormat,
    answered,
    checked_options,
    index_of_text,
    noted,
)
from lavis.datasets.formats._record import Record, read_records
from lavis.structures import VideoSample

CATEGORIES = ("Interaction", "Sequence", "Prediction", "Feasibility")
PROGRAM = "question_program"
MISSPELT = "qustion_program"


@registry.formats.register("star")
class Star(WindowedChoiceFormat):
    """Rows ``question_id, question, video_id, start, end, choices[, answer, question_program, situations]``.

    Ids are those of the questions (``Interaction_T1_13``), ``kind`` the category in front. Options come in the order of
    their ``choice_id``, the number that submissions give. Programs and scene graphs are passed over: they are large,
    and no system reads them. The lengths of the videos are in Charades' tables (``durations``).

    Args:
        window, durations, on_bad_window, beyond_end, on_unknown_field: see ``WindowedChoiceFormat``.
    """

    required = ("question_id", "question", "video_id", "start", "end", "choices")
    optional = ("answer", PROGRAM, MISSPELT, "situations")

    def rows(self, path: Path, split: str) -> Iterator[Record]:
        for record in read_records(path):
            yield record.identified(lambda row: row.text("question_id"))

    def sample(self, record: Record, counts: Counter[str]) -> VideoSample | None:
        extra = self.check_row(record)
        kind = str(record.id).partition("_")[0]
        if kind not in CATEGORIES:
            problem = f"must begin with one of {', '.join(CATEGORIES)}, got {record.id!r:.40}"
            raise record.error("question_id", problem, "Correct the row")
        options = _options(record)
        index = index_of_text(record, "answer", options) if "answer" in record.fields else None
        video = record.text("video_id")
        sample = VideoSample(
            id=str(record.id),
            video=video,
            query=record.text("question"),
            duration=self.lengths.of(record, video, None),
            kind=kind,
            extra=noted(extra, index),
            **answered(options, index),
        )
        return self.placed(sample, record, "start", [record.get("start"), record.get("end")], counts)


def _options(record: Record) -> list[str]:
    """The texts of ``choices``, by ``choice_id``."""
    choices = record.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        problem = f"must be a list of objects with choice_id and choice, got {choices!r:.60}"
        raise record.error("choices", problem, "Correct the row")
    by_id: dict[Any, str] = {}
    for number, choice in enumerate(choices, start=1):
        part = Record(choice, record.path, f"{record.row}, choice {number}", record.id)
        part.check_fields(("choice_id", "choice"), ("choice_program",))
        by_id[part.whole_number("choice_id")] = part.text("choice")
    if sorted(by_id) != list(range(len(choices))):
        problem = f"must be numbered 0 to {len(choices) - 1}, got {sorted(by_id)}"
        raise record.error("choices", problem, "Correct the row")
    return checked_options(record, "choices", [by_id[i] for i in range(len(choices))])
