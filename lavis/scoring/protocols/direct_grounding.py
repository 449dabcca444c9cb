"""Windows told in words by frame number or by second, as HawkEye's question answering script checks them.

Source: HawkEye (yellow-binary-tree/HawkEye), ``tasks/test.py``, modes ``grounding_frame`` and ``grounding_sec``: the
first two whole numbers, or the first two decimal numbers, of the answer against those of the truth (``From second 3.0
to second 9.0.``). Answers with fewer than two numbers are left out.

Differs: recall is reported too; an answer that is left out is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Estimate, Form, Pairs, Policy, Protocol, Row, RowError, Scored, Tally
from lavis.scoring.windows.overlap import hull_overlap

Unit = Literal["frames", "seconds"]
_WHOLE = re.compile(r"\d+")
_DECIMAL = re.compile(r"\d+\.\d+")
_LONGEST = 10_000
_LEVELS = (0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class SpokenSpan:
    """An answer: its text, and the length of the video in seconds (needed for frames; "not a number" if unknown)."""

    id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class TrueSpan:
    """The truth of one query: ``span`` ``[2]`` in seconds."""

    id: str
    video: str
    span: Array


@registry.protocols.register("direct_grounding")
class DirectGrounding(Protocol[SpokenSpan, TrueSpan]):
    """``mIoU`` and ``R1@0.3``, ``R1@0.5``, ``R1@0.7`` (IoU at least that) of answers in words, as fractions.

    Args:
        unit: what the answers name.
        num_frames: frames that the model saw, for ``frames``: number ``i`` begins at ``i / num_frames`` of the video.

    Raises:
        ValueError: if there is no such unit or no frame.
    """

    source = "yellow-binary-tree/HawkEye, tasks/test.py (grounding_frame, grounding_sec)"
    keys = ("mIoU", "R1@0.3", "R1@0.5", "R1@0.7")
    missing: Policy = "drop"

    def __init__(self, unit: Unit = "seconds", num_frames: int = 12) -> None:
        if unit not in ("frames", "seconds"):
            raise ValueError(f"direct_grounding: unit must be frames or seconds, got {unit!r}")
        if num_frames < 1:
            raise ValueError(f"direct_grounding: num_frames must be at least 1, got {num_frames}")
        self.unit: Unit = unit
        self.num_frames = num_frames

    @property
    def answer_forms(self) -> Sequence[Form[SpokenSpan]]:
        return [
            Form("HawkEye rows", ("pred", "video_secs"), self._said, _identity, "task_type, video_secs, pred"),
            Form("rows", ("pred",), self._said, _identity, "pred"),
        ]

    @property
    def truth_forms(self) -> Sequence[Form[TrueSpan]]:
        return [Form("HawkEye rows", ("gt_answer",), _truth, _identity, "gt_answer with two decimal numbers")]

    def _said(self, row: Row) -> SpokenSpan:
        text = row.text("pred")
        needed = self.unit == "frames"
        seconds = row.number_of("video_secs") if needed else float("nan")
        if self.span(text, seconds) is None:
            raise RowError(f"field 'pred' holds fewer than two {self._numbers}, got {text!r:.60}")
        return SpokenSpan(_identity(row), text, seconds)

    @property
    def _numbers(self) -> str:
        return "whole numbers" if self.unit == "frames" else "decimal numbers"

    def span(self, text: str, seconds: float) -> tuple[float, float] | None:
        """Start and end in seconds of what a text names, ``None`` if it holds fewer than two numbers.

        Args:
            text: an answer.
            seconds: length of the video; not looked at for seconds.
        """
        found = (_WHOLE if self.unit == "frames" else _DECIMAL).findall(text[:_LONGEST])[:2]
        if len(found) < 2:
            return None
        if self.unit == "seconds":
            start, end = float(found[0]), float(found[1])
            return (start, end) if math.isfinite(start) and math.isfinite(end) else None
        first, last = (self.num_frames if len(digits) > 9 else min(self.num_frames, int(digits)) for digits in found)
        return first / self.num_frames * seconds, (last + 1) / self.num_frames * seconds

    def checked(self, answer: SpokenSpan, truth: TrueSpan, tally: Tally, place: str) -> None:
        span = self.span(answer.text, answer.seconds)
        if span is not None and span[1] < span[0]:
            tally.add("out_of_range", f"{place}: the window of {answer.id!r} ends before it starts")

    def score(self, pairs: Pairs[SpokenSpan, TrueSpan]) -> Scored:
        spans = [None if answer is None else self.span(answer.text, answer.seconds) for answer in pairs.answers]
        found = np.array([(0.0, 0.0) if span is None else span for span in spans])
        overlaps = hull_overlap(found, np.stack([truth.span for truth in pairs.truths]))
        marks = {"mIoU": overlaps, **{f"R1@{level}": (overlaps >= level).astype(np.float64) for level in _LEVELS}}
        headline = {name: float(np.mean(values)) for name, values in marks.items()}
        return Scored(dict(headline), headline, {name: Estimate(values, scale=1.0) for name, values in marks.items()})


def _truth(row: Row) -> TrueSpan:
    found = _DECIMAL.findall(row.text("gt_answer")[:_LONGEST])[:2]
    if len(found) < 2:
        raise RowError(f"field 'gt_answer' must hold two decimal numbers, got {row.text('gt_answer')!r:.60}")
    video = row.fields.get("video_fname")
    return TrueSpan(_identity(row), str(video) if video else _identity(row), np.array(found, dtype=np.float64))


def _identity(row: Row) -> str:
    if row.key is not None or any(name in row for name in ("qid", "id", "question_id")):
        return row.identity("qid", "id", "question_id")
    return str(row.number)
