"""Charades-STA as E.T. Chat scores it: two matched frames against the true window.

Source: E.T. Chat (Liu et al., 2024, E.T. Bench; PolyU-ChenLab/ETBench), its evaluation of Charades-STA: a prediction
lists the frames (seconds) that its ``<vid>`` tokens match, and must hold exactly two. They are taken as they stand, so
a reversed pair overlaps nothing. Overlaps are computed in single precision, as there.

Differs: rows are also read in the forms of other systems; of several windows, the first predicted one and the first
true one count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Estimate, Form, Pairs, Protocol, Row, RowError, Scored, Tally, number_array
from lavis.scoring.windows.forms import WindowAnswer, WindowTruth, answer_forms, count_problems, query_id, truth_forms
from lavis.scoring.windows.overlap import overlap

THRESHOLDS = (0.3, 0.5, 0.7)
_LINE = re.compile(r"(\S+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)##(.*)")
_NOWHERE = (0.0, 0.0)


@registry.protocols.register("etchat_charades")
class EtchatCharades(Protocol[WindowAnswer, WindowTruth]):
    """Recall at three overlaps and their mean, as shares; answers without exactly two frames count as missed."""

    source = "Liu et al., 2024 (E.T. Bench); PolyU-ChenLab/ETBench, evaluation of E.T. Chat on Charades-STA"
    keys = ("R@0.3", "R@0.5", "R@0.7", "mIoU")

    @property
    def answer_forms(self) -> Sequence[Form[WindowAnswer]]:
        matches = Form(
            "E.T. Chat matches", ("vid", "query", "pred"), _answer, _identity, "vid, query, pred [start, end] or null"
        )
        ours = Form(
            "lavis predictions of match tokens",
            ("moments", "details"),
            _matched(next(form for form in answer_forms(columns=2) if form.name == "lavis predictions")),
            lambda row: query_id(row, "id"),
            "id, details.times [start, end]",
        )
        return [matches, ours, *answer_forms(columns=2)]

    @property
    def truth_forms(self) -> Sequence[Form[WindowTruth]]:
        return [
            Form("E.T. Chat matches", ("vid", "query", "span"), _truth, _identity, "vid, query, span [start, end]"),
            Form(
                "Charades-STA lines", ("line",), _of_line, lambda row: _of_line(row).id, "vid start end##query as text"
            ),
            *truth_forms(),
        ]

    def checked(self, answer: WindowAnswer, truth: WindowTruth, tally: Tally, place: str) -> None:
        count_problems(answer, truth, tally, place)

    def score(self, pairs: Pairs[WindowAnswer, WindowTruth]) -> Scored:
        first = [None if a is None or not a.readable or not len(a.windows) else a.windows[0] for a in pairs.answers]
        ious = _overlaps(first, np.array([truth.windows[0] for truth in pairs.truths]))
        total = len(ious)
        hits = {str(level): ious >= level for level in THRESHOLDS}
        counts = {f"hit_{level[-1]}": int(hit.sum()) for level, hit in hits.items()}
        shares = {f"R@{level}": round(int(hit.sum()) / total, 3) for level, hit in hits.items()}
        headline = {**shares, "mIoU": round(float(ious.sum()) / total, 3)}
        failed = sum(window is None for window in first)
        figures = {"total": total, "failed": failed, "iou_sum": float(ious.sum()), **counts, **headline}
        estimates = {f"R@{level}": Estimate(hit.astype(np.float64), 1.0) for level, hit in hits.items()}
        estimates["mIoU"] = Estimate(ious, 1.0)
        return Scored(figures, headline, dict(estimates))


def _overlaps(windows: Sequence[Array | None], truths: Array) -> Array:
    """Intersection over union ``[Q]``, computed in single precision; 0 without a window, or where it is not finite."""
    given = np.array([_NOWHERE if window is None else window for window in windows])
    found = np.array([window is not None for window in windows])
    with np.errstate(over="ignore", invalid="ignore"):
        # Sums of single-precision overlaps are what the original prints in full, so no other precision equals it.
        ious = overlap(given.astype(np.float32), truths.astype(np.float32))
    return np.where(found & np.isfinite(ious), ious, 0.0).astype(np.float64)


def _identity(row: Row) -> str:
    """The row's id, or else its video and query."""
    if "qid" in row or "id" in row:
        return query_id(row, "qid", "id")
    return _named(row.identity("vid"), row.text("query"))


def _named(video: str, query: str) -> str:
    return f"{video}: {query.strip().rstrip('.')}"


def _answer(row: Row) -> WindowAnswer:
    frames = np.zeros(0) if row.get("pred") is None else row.numbers("pred")
    readable = len(frames) == 2
    return WindowAnswer(_identity(row), frames.reshape(-1, 2) if readable else np.zeros((0, 2)), readable)


def _matched(windows: Form[WindowAnswer]) -> Callable[[Row], WindowAnswer | list[WindowAnswer]]:
    """Reads the times of match tokens as they stand, or ``windows`` of predictions that have none of these."""

    def read(row: Row) -> WindowAnswer | list[WindowAnswer]:
        details = row.get("details")
        if not isinstance(details, Mapping) or "times" not in details:
            return windows.read(row)
        times = details["times"]
        if not isinstance(times, list) or len(times) != 2 or None in times:
            return WindowAnswer(query_id(row, "id"), np.zeros((0, 2)), readable=False)
        return WindowAnswer(query_id(row, "id"), number_array(times, "details.times", ndim=1).reshape(1, 2))

    return read


def _truth(row: Row) -> WindowTruth:
    span = row.numbers("span")
    if len(span) != 2:
        raise RowError(f"field 'span' must hold a start and an end, got {row.get('span')!r:.60}")
    return WindowTruth(_identity(row), row.identity("vid"), span.reshape(1, 2))


def _of_line(row: Row) -> WindowTruth:
    found = _LINE.fullmatch(row.text("line").strip())
    if found is None:
        raise RowError(f"must be a line like 'VIDEO 3.5 9##a query', got {row.get('line')!r:.60}")
    video, start, end, query = found.groups()
    return WindowTruth(_named(video, query), video, np.array([[float(start), float(end)]]))
