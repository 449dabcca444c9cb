"""One query with the windows predicted for it, whatever form the file had: what all plots of windows draw.

Windows are kept as they were predicted, also where they are no moments (reversed, past the end): showing those is the
purpose. The IoU is the usual one, of the first window with the true one it overlaps most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float]
"""Start and end in seconds as they were predicted: unlike a ``Moment``, it may be reversed."""

STATES = {
    "fine": "a window inside the video",
    "no answer": "no row, or one that cannot be read",
    "unreadable": "a row whose text names no window",
    "reversed": "ends before it starts",
    "before the start": "starts before 0 s",
    "past the end": "ends after the video",
    "no length": "starts and ends at the same time",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over time: ``times`` in seconds, rising, ``values`` as many."""

    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Case:
    """One query.

    Args:
        id: as the scoring names it.
        video: name of its video, as the annotation has it.
        query: the sentence; empty where the annotation holds none.
        duration: seconds, "not a number" where the annotation does not tell.
        truth: true windows, at least one.
        windows: predicted ones, the one that counts first.
        readable: whether the answer could be understood.
        answered: whether there is an answer at all.
        rounds: windows after each round, of systems that narrow one down.
        prior: windows of an earlier stage that the annotation holds (CALCE's ``stage1_result``).
        scores: of frames or clips, as predicted.
        saliency: of clips, as annotated: mean over annotators, 0 to 4.
    """

    id: str
    video: str
    query: str
    duration: float
    truth: Sequence[Span]
    windows: Sequence[Span] = ()
    readable: bool = True
    answered: bool = True
    rounds: Sequence[Span] = ()
    prior: Sequence[Span] = ()
    scores: Curve | None = None
    saliency: Curve | None = None

    @property
    def first(self) -> Span | None:
        """The window that counts, ``None`` without one."""
        return self.windows[0] if self.windows else None

    @property
    def length(self) -> float:
        """Seconds to draw: the duration, or the latest time of any window where it is unknown."""
        if not math.isnan(self.duration):
            return self.duration
        return max((bound for span in (*self.truth, *self.windows) for bound in span), default=1.0) or 1.0

    @property
    def iou(self) -> float:
        """IoU of the first window with the true one it overlaps most, in [0, 1]; 0 without a window."""
        return max((iou(self.first, true) for true in self.truth), default=0.0) if self.first else 0.0

    @property
    def nearest(self) -> Span:
        """The true window that the first predicted one overlaps most, or else is closest to."""
        if self.first is None:
            return self.truth[0]
        middle = sum(self.first) / 2
        return max(self.truth, key=lambda true: (iou(self.first, true), -abs(sum(true) / 2 - middle)))

    def state(self, slack_s: float = 0.0) -> str:
        """What is wrong with the first window: a key of ``STATES``.

        Args:
            slack_s: seconds past the end that are let pass, for annotations with rounded durations.
        """
        if not self.answered:
            return "no answer"
        if self.first is None or not self.readable:
            return "unreadable"
        start, end = self.first
        if end < start:
            return "reversed"
        if start < 0:
            return "before the start"
        if not math.isnan(self.duration) and end > self.duration + slack_s:
            return "past the end"
        return "fine" if end > start else "no length"


def iou(one: Span | None, other: Span) -> float:
    """Intersection over union in [0, 1]; 0 for a window that is reversed or absent."""
    if one is None or one[1] < one[0] or other[1] < other[0]:
        return 0.0
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = one[1] - one[0] + other[1] - other[0] - shared
    return shared / union if union > 0 else 0.0
