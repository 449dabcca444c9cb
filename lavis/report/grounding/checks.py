"""Predictions scored by a protocol, with their windows query by query.

Reading and pairing are those of ``lavis score``, so all it accepts with windows in it is accepted here: submissions to
the QVHighlights server, results of CALCE and MR.BLIP, texts, rounds of HawkEye, spans of NExT-GQA.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lavis.report.grounding.cases import STATES, Case, Curve, Span
from lavis.scoring.base import Protocol, Row, RowError, ScoringError
from lavis.scoring.protocols.direct_grounding import DirectGrounding, SpokenSpan, TrueSpan
from lavis.scoring.questions.grounded_rows import GroundedAnswer
from lavis.scoring.reading import Given, chosen_form, has_form, open_rows
from lavis.scoring.recursive.replay import replay
from lavis.scoring.recursive.rows import Rounds
from lavis.scoring.score_report import ScoreReport
from lavis.scoring.scorer import build_protocol, score
from lavis.scoring.windows.forms import WindowAnswer
from lavis.scoring.windows.text import listed_windows
from lavis.scoring.windows.truth_rows import MomentAnswer, MomentTruth, segments_to_seconds

_TEXTS = ("query", "question", "sentence", "caption", "description", "q")
_LAST_SEGMENT = 5


@dataclass(frozen=True, slots=True)
class GroundingCheck:
    """Scores of a file of predictions, and its queries one by one, in the order of the truth."""

    report: ScoreReport
    cases: list[Case] = field(repr=False)

    def ious(self) -> list[float]:
        """IoU of each query's first window."""
        return [case.iou for case in self.cases]

    def states(self, slack_s: float = 0.0) -> dict[str, int]:
        """How many first windows are in which state; all of ``STATES``, in their order."""
        found = [case.state(slack_s) for case in self.cases]
        return {state: found.count(state) for state in STATES}


def check_grounding(
    protocol: str,
    predictions: Given,
    annotations: Given | None = None,
    options: Mapping[str, Any] | None = None,
    **scoring: Any,
) -> GroundingCheck:
    """Scores predictions and keeps their windows.

    Args:
        protocol: registered name of one that scores windows.
        predictions: as ``lavis.scoring.score`` takes them.
        annotations: the same.
        options: arguments of the protocol.
        scoring: ``missing``, ``extra``, ``intervals`` and ``compare`` of ``lavis.scoring.score``.

    Raises:
        ScoringError: if the files do not fit, or the protocol's answers are no windows.
    """
    built = build_protocol(protocol, dict(options or {}))
    report = score(built, predictions, annotations, **scoring)
    report.options = {**report.options, **dict(options or {})}
    truth = _truth(built, predictions if annotations is None else annotations, annotations is None)
    rows = {record.id: (fields, place) for record, fields, place in truth}
    segments = _are_segments(report)
    cases = []
    for answer, truth in zip(report.pairs.answers, report.pairs.truths, strict=True):
        fields, place = rows.get(truth.id, ({}, 0))
        cases.append(_case(built, answer, truth, fields, place, segments))
    return GroundingCheck(report, cases)


def true_cases(protocol: str, annotations: Given, options: Mapping[str, Any] | None = None) -> list[Case]:
    """The queries of annotations, without answers; rows that cannot be read are left out.

    Args:
        protocol: registered name of one that scores windows.
        annotations: file or rows of truth.
        options: arguments of the protocol.
    """
    built = build_protocol(protocol, dict(options or {}))
    return [_case(built, None, *found, segments=False) for found in _truth(built, annotations, joint=False)]


def _case(
    protocol: Protocol[Any, Any], answer: Any, truth: Any, fields: Mapping[str, Any], place: int, segments: bool
) -> Case:
    duration = _duration(answer, truth, fields)
    windows, readable = ([], False) if answer is None else _windows(protocol, answer, duration, segments)
    rounds: Sequence[Span] = ()
    if isinstance(answer, Rounds) and answer.answers:
        rounds = _spans(replay(np.array([duration]), [answer.answers], len(answer.answers))[:, 0])
    clips = getattr(answer, "clips", None)
    return Case(
        id=truth.id,
        video=truth.video,
        query=_sentence(fields, place),
        duration=duration,
        truth=_spans(np.atleast_2d(truth.span) if isinstance(truth, TrueSpan) else _true_windows(truth)),
        windows=windows,
        readable=readable,
        answered=answer is not None,
        rounds=rounds,
        prior=_prior(fields.get("stage1_result")),
        scores=None if clips is None or not len(clips) else _spread(clips, duration),
        saliency=_saliency(fields),
    )


def _windows(protocol: Protocol[Any, Any], answer: Any, duration: float, segments: bool) -> tuple[list[Span], bool]:
    """Predicted windows in seconds, the one that counts first, and whether they could be understood."""
    if isinstance(answer, Rounds):
        turns = max(int(getattr(protocol, "max_turns", 1)), 1)
        return _spans(replay(np.array([duration]), [answer.answers], turns)[-1]), True
    if isinstance(answer, SpokenSpan) and isinstance(protocol, DirectGrounding):
        span = protocol.span(answer.text, answer.seconds)
        return ([] if span is None else [span]), span is not None
    if isinstance(answer, GroundedAnswer):
        if answer.span is None:
            return [], False
        relative = bool(getattr(protocol, "relative", False))
        return _spans(np.atleast_2d(answer.span) * (duration if relative else 1.0)), True
    if isinstance(answer, WindowAnswer):
        found = np.concatenate([answer.windows[answer.first :], answer.windows[: answer.first]])[:, :2]
        if isinstance(answer, MomentAnswer) and answer.relative:
            found = found * duration
        unread = bool(len(found)) and bool((found[0] == -1).all())  # how CALCE and MR.BLIP write an unreadable text
        spans = _spans(segments_to_seconds(found) if segments else found)
        return ([] if unread else spans), answer.readable and not unread
    raise ScoringError(
        f"the answers that {type(protocol).__module__.rpartition('.')[2]} scores are no windows "
        f"({type(answer).__name__}); take a protocol for moments, such as qvhighlights, calce, moment_retrieval, "
        "recursive_grounding, direct_grounding or nextgqa"
    )


def _duration(answer: Any, truth: Any, fields: Mapping[str, Any]) -> float:
    """Of the truth, or else as the row of predictions tells it; rounds are about the duration of their own row."""
    told = [getattr(truth, "duration", None), getattr(answer, "duration", None), fields.get("video_secs")]
    if isinstance(answer, Rounds):
        told.insert(0, answer.duration)
    numbers = (float(value) for value in told if isinstance(value, (int, float)) and value == value)
    return next(numbers, float("nan"))


def _true_windows(truth: Any) -> Any:
    found = getattr(truth, "windows", None)
    return truth.spans if found is None else found


def _are_segments(report: ScoreReport) -> bool:
    """Whether all predictions are pairs of DiDeMo's segments rather than seconds, told as the protocol tells it."""
    if report.options.get("didemo_unit") == "seconds":
        return False
    if not all(isinstance(truth, MomentTruth) and truth.segments is not None for truth in report.pairs.truths):
        return False
    found = [answer.windows[:, :2] for answer in report.pairs.answers if answer is not None and len(answer.windows)]
    values = np.concatenate(found) if found else np.zeros((0, 2))
    return bool((values == np.round(values)).all() and ((values >= 0) & (values <= _LAST_SEGMENT)).all())


def _truth(protocol: Protocol[Any, Any], given: Given, joint: bool) -> Iterator[tuple[Any, Mapping[str, Any], int]]:
    """Each record of truth with its row and its place in the row: records do not keep the sentence."""
    source = open_rows(given, "annotations")
    found = has_form(source, protocol.truth_forms) if joint else None
    form = chosen_form(source, protocol.truth_forms, "annotations") if found is None else found
    for row in source.rows:
        if not isinstance(row, Row):
            continue
        try:
            records = form.records(row)
        except RowError:
            continue  # the scoring has counted it, or refused it
        for place, record in enumerate(records):
            yield record, row.fields, place


def _sentence(fields: Mapping[str, Any], place: int) -> str:
    sentences = fields.get("sentences")
    if isinstance(sentences, list) and place < len(sentences):
        return str(sentences[place]).strip()
    line = fields.get("line")
    if isinstance(line, str):
        return line.partition("##")[2].strip()
    return next((fields[name] for name in _TEXTS if isinstance(fields.get(name), str)), "")


def _prior(value: Any) -> list[Span]:
    found = listed_windows(value if isinstance(value, str) else str(value)) if value else None
    return [] if found is None else [span for span in _spans(found) if span != (-1.0, -1.0)]


def _saliency(fields: Mapping[str, Any]) -> Curve | None:
    """Mean rating of each 2-second clip; clips that nobody rated have 0."""
    clips, ratings, duration = (fields.get(name) for name in ("relevant_clip_ids", "saliency_scores", "duration"))
    if not (isinstance(clips, list) and isinstance(ratings, list) and isinstance(duration, (int, float)) and clips):
        return None
    values = np.zeros(max(int(duration / 2), max(clips) + 1))
    values[clips] = [float(np.mean(rated)) for rated in ratings]
    return Curve([2.0 * clip + 1.0 for clip in range(len(values))], values.tolist())


def _spread(values: Any, duration: float) -> Curve:
    """Scores at the middles of equal parts of the video; of 2 seconds each where its length is unknown."""
    part = 2.0 if math.isnan(duration) else duration / len(values)
    return Curve([part * (number + 0.5) for number in range(len(values))], [float(value) for value in values])


def _spans(windows: Any) -> list[Span]:
    return [(float(start), float(end)) for start, end in np.asarray(windows, dtype=np.float64).reshape(-1, 2).tolist()]
